//! `compare`: how well vocabularies serve documents.

use super::model::open_tokenizer;
use super::synthesize::read_gold;
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work, named};
use crate::command::{count, table};
use metier_core::data::Document;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, write_atomic};
use metier_core::{Error, Place, Result};
use metier_corpus::layout::Layout;
use metier_corpus::tag::{Language, Tag};
use metier_tokenizer::compare::{self, Candidate, CompareSettings, Domain, FIGURES, Row, Sample};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of documents encoded by one vocabulary in a second.
const BYTES_PER_SECOND: f64 = 2e6;

/// The record of `compare`.
pub static VERB: Verb = Verb {
    name: "compare",
    version: 1,
    summary: "say how well vocabularies serve documents, by domain and language",
    makes: Kind::Report,
    inputs: &[
        InputSlot {
            key: "tokenizers",
            kind: Kind::Tokenizer,
            required: true,
            many: true,
            text: "vocabularies, or models with theirs, by the name they get in the report",
        },
        InputSlot {
            key: "texts",
            kind: Kind::Documents,
            required: true,
            many: true,
            text: "documents, by the name of their domain; those held out count too",
        },
    ],
    parts: &[],
    settings: <CompareSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Compare(CompareSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: CompareSettings = table.read()?;
    settings.check(&table.place())?;
    Ok(Box::new(Compare(settings)))
}

impl Work for Compare {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn figures(&self, inputs: &BTreeMap<String, String>) -> Vec<String> {
        let groups: Vec<&str> = named(inputs, "texts").map(|(name, _)| name).chain(["all"]).collect();
        named(inputs, "tokenizers")
            .flat_map(|(name, _)| groups.iter().map(move |group| format!("{name}.{group}")))
            .flat_map(|of| FIGURES.iter().map(move |figure| format!("{of}.{figure}")))
            .collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        let bytes: u64 = named(inputs, "texts").filter_map(|(_, flow)| Some(flow.bytes? + flow.held_out_bytes?)).sum();
        let tokenizers = named(inputs, "tokenizers").count();
        let estimate = Estimate {
            rows: Some(named(inputs, "texts").filter_map(|(_, flow)| flow.documents).sum()),
            memory_bytes: Some(bytes.saturating_mul(3).saturating_add(200 << 20)),
            seconds: Some(bytes as f64 * tokenizers as f64 / BYTES_PER_SECOND),
            ..Estimate::default()
        };
        Ok((estimate, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let mut tokenizers = Vec::new();
        for (name, input) in named(context.inputs, "tokenizers") {
            tokenizers.push((name.to_owned(), open_tokenizer(&input.path)?));
        }
        let mut domains = Vec::new();
        for (name, input) in named(context.inputs, "texts") {
            domains.push(domain(name, &input.path, documents_of(&input.path)?)?);
        }
        let candidates: Vec<Candidate<'_>> = tokenizers
            .iter()
            .map(|(name, tokenizer)| Candidate { name: name.clone(), tokenizer: tokenizer.as_ref() })
            .collect();
        let rows = compare::compare(&candidates, &domains, self.0)?;
        write_atomic(context.work.join("report.json"), format!("{:#}\n", json!({ "rows": rows })))?;
        write_atomic(context.work.join("report.html"), compare::page(&rows, self.0))?;
        let documents = domains.iter().map(|domain| domain.samples.len() as u64).sum();
        let of_row = |row: &Row| {
            let of = format!("{}.{}", row.tokenizer, row.group.replace(' ', "_"));
            row.figures().into_iter().map(move |(name, value)| (format!("{of}.{name}"), value)).collect::<Vec<_>>()
        };
        Ok(Outcome {
            counts: Counts { read: documents, out: documents, ..Counts::default() },
            figures: rows.iter().flat_map(of_row).collect(),
            table: Some(comparison_table(&rows)),
        })
    }
}

/// All documents of a stage, those held out after the others.
fn documents_of(folder: &Path) -> Result<Vec<Document>> {
    let mut out = Vec::new();
    for file in [metier_corpus::TRAIN, metier_corpus::HELD_OUT] {
        let path = folder.join(file);
        if path.exists() {
            out.extend(metier_corpus::read_documents(&path)?.collect::<Result<Vec<_>>>()?);
        }
    }
    Ok(out)
}

/// Documents as a domain: their language and their morphemes as the folder knows them, else the language as guessed.
pub fn domain(name: &str, folder: &Path, documents: Vec<Document>) -> Result<Domain> {
    let mut gold = read_gold(folder)?;
    let guess = Language { model: None, ..Language::default() };
    let guess = metier_core::part::Build::<dyn Tag>::build(guess, &Place::default())?;
    let (kinds, mut guess) = (guess.kinds(), guess.start());
    let (mut layout, mut spans) = (Layout::default(), Vec::new());
    let mut samples = Vec::new();
    for document in documents {
        let known = gold.remove(&document.id);
        let language = if let Some(known) = &known {
            known.language.clone()
        } else {
            spans.clear();
            layout.set(&document.text);
            guess.tag(&layout, &mut spans);
            spans.first().and_then(|span| kinds.get(usize::from(span.kind))).cloned().unwrap_or_default()
        };
        samples.push(Sample {
            text: document.text,
            language,
            boundaries: known.map(|known| known.boundaries).unwrap_or_default(),
        });
    }
    if samples.is_empty() {
        return Err(Error::file(folder, format!("`{name}` has no documents")));
    }
    Ok(Domain { name: name.to_owned(), samples })
}

/// The comparison for people.
pub fn comparison_table(rows: &[Row]) -> String {
    let share = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{:.1} %", value * 100.0));
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.group.clone(),
                row.tokenizer.clone(),
                count(row.vocabulary_size as u64),
                count(row.tokens),
                format!("{:.3}", row.fertility),
                format!("{:.3}", row.characters_per_token),
                format!("{:.3}", row.bytes_per_token),
                share(Some(row.unknown_share)),
                share(Some(row.byte_share)),
                format!("{:.3}", row.renyi_entropy),
                format!("{:.3}", row.efficiency),
                row.morph_score.map_or("-".to_owned(), |score| format!("{score:.3}")),
                share(row.whole_word_share),
                format!("{:.3}", row.cost),
            ]
        })
        .collect();
    let headings = [
        "texts",
        "tokenizer",
        "ids",
        "tokens",
        "tokens/word",
        "characters/token",
        "bytes/token",
        "unknown",
        "bytes alone",
        "Rényi bits",
        "efficiency",
        "MorphScore",
        "one token",
        "cost",
    ];
    let mut right = [true; 14];
    right[..2].fill(false);
    table(&headings, &cells, &right)
}
