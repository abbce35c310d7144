//! `blend`: documents of several sources, so many tokens of each.

use super::model::open_tokenizer;
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work, named, pack, placed};
use crate::command::{count, table};
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Place, Result};
use metier_corpus::blend::{self, BlendSettings, Taken};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes of text whose tokens are counted in a second.
const BYTES_PER_SECOND: f64 = 2.5e6;

/// The record of `blend`.
pub static VERB: Verb = Verb {
    name: "blend",
    version: 1,
    summary: "join documents of several sources, so many tokens of each",
    makes: Kind::Documents,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: true,
            many: true,
            text: "the sources, by the names that shares and figures call them; those that are held out stay held out",
        },
        InputSlot {
            key: "tokenizer",
            kind: Kind::Tokenizer,
            required: true,
            many: false,
            text: "the tokenizer, or the model with it, that tokens are counted with",
        },
    ],
    parts: &[],
    settings: <BlendSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Blend {
    settings: BlendSettings,
    table: Table,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    Ok(Box::new(Blend { settings: table.read()?, table: table.clone() }))
}

/// Figures of each source.
const FIGURES: [&str; 4] = ["documents", "epochs", "share", "tokens"];

impl Blend {
    /// What will be taken of each source, as far as sizes in bytes tell.
    fn notes(&self, sizes: &[(&str, u64)]) -> (Vec<String>, u64) {
        match self.settings.targets(sizes) {
            Ok(targets) => {
                let all: u64 = targets.iter().sum();
                let note = |((name, tokens), target): (&(&str, u64), &u64)| {
                    format!(
                        "about {} of the {} tokens of `{name}`: {:.1} % of all, {:.2} epochs",
                        count(*target),
                        count(*tokens),
                        100.0 * *target as f64 / all.max(1) as f64,
                        *target as f64 / (*tokens).max(1) as f64
                    )
                };
                (sizes.iter().zip(&targets).map(note).collect(), all)
            }
            Err(error) => (error.faults.iter().map(|fault| format!("about: {}", fault.message)).collect(), 0),
        }
    }
}

impl Work for Blend {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.settings })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let sources: Vec<&str> = named(inputs, "from").map(|(name, _)| name).collect();
        self.settings.check(&sources)
    }

    fn figures(&self, inputs: &BTreeMap<String, String>) -> Vec<String> {
        let own = ["bytes", "documents", "held_out_bytes", "held_out_documents", "tokens"].map(str::to_owned);
        let of = named(inputs, "from").flat_map(|(name, _)| FIGURES.map(|figure| format!("{name}.{figure}")));
        own.into_iter().chain(of).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        let sources: Vec<(&str, &Flow)> = named(inputs, "from").collect();
        let sum = |of: fn(&Flow) -> Option<u64>| sources.iter().map(|(_, flow)| of(flow)).sum::<Option<u64>>();
        let (documents, bytes, held_out) =
            (sum(|flow| flow.documents), sum(|flow| flow.bytes), sum(|flow| flow.held_out_bytes));
        let sizes: Option<Vec<(&str, u64)>> = sources
            .iter()
            .map(|(name, flow)| Some((*name, (flow.bytes? as f64 / pack::BYTES_PER_TOKEN) as u64)))
            .collect();
        let (notes, tokens) = sizes.map(|sizes| self.notes(&sizes)).unwrap_or_default();
        let written = (tokens > 0).then_some((tokens as f64 * pack::BYTES_PER_TOKEN) as u64);
        let estimate = Estimate {
            rows: documents,
            tokens: (tokens > 0).then_some(tokens),
            memory_bytes: Some((256 << 20) + documents.unwrap_or_default() * blend::OF_DOCUMENT),
            disk_bytes: written.map(|written| written + held_out.unwrap_or_default()),
            seconds: bytes.map(|bytes| bytes as f64 / BYTES_PER_SECOND),
            ..Estimate::default()
        };
        let flow = Flow { bytes: written, held_out_bytes: held_out, tokens: estimate.tokens, notes, ..Flow::default() };
        Ok((estimate, flow))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let tokenizer = open_tokenizer(&context.input("tokenizer")?.path)?;
        let sources: Vec<blend::Named> =
            named(context.inputs, "from").map(|(name, input)| (name, input.path.as_path())).collect();
        let progress = Progress::new("tokens", None, "documents");
        let mut tokens = Vec::new();
        for (_, from) in &sources {
            tokens.push(blend::tokens_of(from, tokenizer.as_ref(), &|documents| progress.add(documents))?);
        }
        progress.finish();
        let documents: u64 = tokens.iter().map(|tokens| tokens.len() as u64).sum();
        let _held = context.budget.reserve(documents * blend::OF_DOCUMENT, "what is known of each document")?;
        let size = |tokens: &Vec<u32>| tokens.iter().map(|tokens| u64::from(*tokens)).sum();
        let sizes: Vec<(&str, u64)> =
            sources.iter().zip(&tokens).map(|((name, _), tokens)| (*name, size(tokens))).collect();
        let targets = self.settings.targets(&sizes).map_err(|error| placed(&self.table, error))?;
        let taken = blend::blend(&sources, &tokens, &targets, context.seed, context.work)?;
        if taken.iter().all(|taken| taken.written[0] == 0) {
            return Err(Error::user(Place::key("tokens"), "no document is as small as what is wanted of its source")
                .hint("want more tokens"));
        }
        Ok(outcome(&sources, &taken))
    }
}

fn outcome(sources: &[blend::Named], taken: &[Taken]) -> Outcome {
    let sum = |of: &dyn Fn(&Taken) -> u64| taken.iter().map(of).sum::<u64>();
    let tokens = sum(&|taken| taken.written[1]);
    let mut figures: BTreeMap<String, f64> = [
        ("bytes", sum(&|taken| taken.bytes)),
        ("documents", sum(&|taken| taken.written[0])),
        ("held_out_bytes", sum(&|taken| taken.held_out[1])),
        ("held_out_documents", sum(&|taken| taken.held_out[0])),
        ("tokens", tokens),
    ]
    .map(|(name, value)| (name.to_owned(), value as f64))
    .into();
    let mut rows = Vec::new();
    for ((name, _), taken) in sources.iter().zip(taken) {
        let share = taken.written[1] as f64 / tokens.max(1) as f64;
        let values = [taken.written[0] as f64, taken.epochs(), share, taken.written[1] as f64];
        figures.extend(FIGURES.iter().zip(values).map(|(figure, value)| (format!("{name}.{figure}"), value)));
        rows.push(vec![
            (*name).to_owned(),
            count(taken.has[0]),
            count(taken.has[1]),
            count(taken.target),
            count(taken.written[0]),
            count(taken.written[1]),
            format!("{:.2} %", share * 100.0),
            format!("{:.3}", taken.epochs()),
        ]);
    }
    let headings = ["source", "has documents", "has tokens", "wanted", "documents", "tokens", "share", "epochs"];
    let mut right = [true; 8];
    right[0] = false;
    let held_out = sum(&|taken| taken.held_out[0]);
    Outcome {
        counts: Counts {
            read: sum(&|taken| taken.has[0]) + held_out,
            out: sum(&|taken| taken.written[0]) + held_out,
            dropped: BTreeMap::from([("not drawn".to_owned(), sum(&|taken| taken.left))]),
        },
        figures,
        table: Some(table(&headings, &rows, &right)),
    }
}
