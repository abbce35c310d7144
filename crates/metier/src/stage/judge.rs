//! `judge`: a model goes on with stories, and a world says how right they are.

use super::eval::held_out;
use super::model::load_model;
use super::synthesize::{WORLD, read_gold};
use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work, one};
use metier_core::part::Chosen;
use metier_core::progress::Progress;
use metier_core::seam::{Ask, Delta, Exchange, Finish, Generate, GenerateRequest, Prompt, Reply, Sampling};
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Fault, Place, Result, stop};
use metier_corpus::DocumentWriter;
use metier_synthetic::world::{self, Grade, World};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What was written, and what is right in it.
const STORIES: &str = "stories.jsonl";

/// The record of `judge`.
pub static VERB: Verb = Verb {
    name: "judge",
    version: 1,
    summary: "let a model go on with texts of a world, and say how right they are",
    makes: Kind::Report,
    inputs: &[
        InputSlot { key: "model", kind: Kind::Model, required: true, many: false, text: "the model that writes" },
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: true,
            many: false,
            text: "what `synthesize` wrote: openings of the documents it held out are gone on with",
        },
    ],
    parts: &[WORLD],
    settings: <JudgeSettings as JsonSchema>::json_schema,
    read: read_settings,
};

/// How the model writes. The recipe's seed and the text's number decide every draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct JudgeSettings {
    /// Texts at most; each held-out document gives one opening.
    #[schemars(range(min = 1, max = 1_000_000))]
    texts: usize,
    /// Characters after which a text is broken off, whatever the vocabulary.
    #[schemars(range(min = 1, max = 1_000_000))]
    characters: usize,
    /// 0 takes the likeliest token.
    #[schemars(range(min = 0.0))]
    temperature: f32,
    /// Keep the `k` likeliest; 0 keeps all.
    top_k: usize,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self { texts: 100, characters: 1000, temperature: 0.8, top_k: 15 }
    }
}

struct Judge(JudgeSettings, Chosen<dyn World>);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let mut faults = Faults::default();
    let settings = faults.take(table.without(&["world"]).read::<JudgeSettings>());
    let world = faults.take(one(table, &WORLD, world::WORLDS));
    match (settings, world) {
        (Some(settings), Some(world)) => Ok(Box::new(Judge(settings, world))),
        _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
    }
}

impl Work for Judge {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0, "world": self.1.identity() })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["characters", "coherent", "distinct", "ended", "grammar", "sentences", "texts", "well_formed"]
            .map(str::to_owned)
            .to_vec()
    }

    fn plan(&self, _: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        Ok((Estimate { rows: Some(self.0.texts as u64), ..Estimate::default() }, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let (model, from) = (load_model(&context.input("model")?.path)?, context.input("from")?);
        let gold = read_gold(&from.path)?;
        let mut openings = Vec::new();
        for document in held_out(&from.path, &from.name)?.into_iter().take(self.0.texts) {
            let known = gold.get(&document.id).and_then(|gold| document.text.get(..gold.opening));
            let opening = known.ok_or_else(|| {
                let fault =
                    Fault::new(Place::file(&from.path).with_key(&document.id), "it is not said where its opening ends");
                Error::from(fault.hint("name what a stage `synthesize` wrote"))
            })?;
            openings.push(opening.to_owned());
        }
        let room = model.decoder().config().context_length;
        let mut asked = Asked {
            settings: &self.0,
            room,
            seed: context.seed.derive("texts").at(0).bits(),
            openings: &openings,
            next: 0,
            characters: vec![0; openings.len()],
            replies: vec![None; openings.len()],
            failed: None,
            progress: Progress::new("texts", Some(openings.len() as u64), "texts"),
        };
        model.run(&mut asked)?;
        if let Some(error) = asked.failed {
            return Err(error);
        }
        stop::check()?;
        asked.progress.finish();
        let mut file = DocumentWriter::create(&context.work.join(STORIES))?;
        let (mut total, mut ended, mut characters) = (Grade::default(), 0_u64, 0_u64);
        let mut distinct = BTreeSet::new();
        for (opening, reply) in openings.iter().zip(asked.replies) {
            let reply = reply.ok_or_else(|| Error::program("a generator left a request without a reply"))?;
            let grade = self.1.part.grade(opening, &reply.text);
            file.write(&json!({
                "opening": opening, "text": reply.text, "ended": reply.finish == Finish::Stop,
                "sentences": grade.sentences, "well_formed": grade.well_formed, "agreeing": grade.agreeing,
                "coherent": grade.coherent,
            }))?;
            total = total.plus(grade);
            ended += u64::from(reply.finish == Finish::Stop);
            characters += reply.text.chars().count() as u64;
            distinct.insert(reply.text);
        }
        file.finish()?;
        let texts = openings.len() as u64;
        let of = |part: u64, whole: u64| part as f64 / whole as f64;
        let figures = [
            ("characters", of(characters, texts)),
            ("coherent", of(total.coherent, total.sentences)),
            ("distinct", of(distinct.len() as u64, texts)),
            ("ended", of(ended, texts)),
            ("grammar", of(total.agreeing, total.sentences)),
            ("sentences", total.sentences as f64),
            ("texts", texts as f64),
            ("well_formed", of(total.well_formed, total.sentences)),
        ];
        let rows: Vec<Vec<String>> =
            figures.iter().map(|(name, value)| vec![(*name).to_owned(), format!("{value:.3}")]).collect();
        Ok(Outcome {
            counts: Counts { read: texts, out: texts, ..Counts::default() },
            figures: figures.map(|(name, value)| (name.to_owned(), value)).into(),
            table: Some(crate::command::table(&["figure", "value"], &rows, &[false, true])),
        })
    }
}

/// The openings as requests, and their replies.
struct Asked<'a> {
    settings: &'a JudgeSettings,
    /// Tokens that the model has room for.
    room: usize,
    seed: u64,
    openings: &'a [String],
    next: usize,
    /// Of each reply so far.
    characters: Vec<usize>,
    replies: Vec<Option<Reply>>,
    failed: Option<Error>,
    progress: Progress,
}

impl Exchange for Asked<'_> {
    fn next(&mut self, _running: usize) -> Option<Ask> {
        if self.failed.is_some() || stop::requested() {
            return None;
        }
        let opening = self.openings.get(self.next)?;
        let number = self.next as u64;
        self.next += 1;
        let sampling = Sampling {
            temperature: self.settings.temperature,
            top_k: self.settings.top_k,
            seed: self.seed.wrapping_add(number),
            ..Sampling::default()
        };
        // A token stands for a byte at least, but for those that begin and end texts.
        let most = self.room.saturating_sub(opening.len() + 2).max(1);
        let request = GenerateRequest {
            prompt: Prompt::Text(opening.clone()),
            max_tokens: Some(most.min(self.settings.characters * 4)),
            stop: Vec::new(),
            sampling,
            top_logprobs: 0,
        };
        Some(Ask { request, processors: Vec::new() })
    }

    fn wanted(&mut self, _number: usize) -> bool {
        self.failed.is_none()
    }

    fn delta(&mut self, number: usize, delta: Delta<'_>) -> bool {
        self.characters[number] += delta.text.chars().count();
        self.failed.is_none() && !stop::requested() && self.characters[number] <= self.settings.characters
    }

    fn finish(&mut self, number: usize, reply: Result<Reply>) {
        self.progress.add(1);
        match reply {
            Ok(reply) => self.replies[number] = Some(reply),
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
    }
}
