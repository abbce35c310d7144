//! `judge`: a model goes on with stories; a world says how right they are, and how much in them stands elsewhere.

use super::eval::held_out;
use super::model::load_model;
use super::synthesize::{WORLD, opening_of, read_gold};
use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work, one};
use metier_core::data::Document;
use metier_core::part::Chosen;
use metier_core::progress::Progress;
use metier_core::seam::{Ability, Ask, Delta, Exchange, Finish, Generate, GenerateRequest, Prompt, Reply, Sampling};
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Place, Result, stop};
use metier_corpus::{DocumentWriter, TRAIN, read_documents};
use metier_eval::{Ngrams, Texts};
use metier_synthetic::world::{self, Grade, World};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What was written, and what is right in it.
const STORIES: &str = "stories.jsonl";
/// The last two only of worlds that know of them.
const FIGURES: [&str; 15] = [
    "characters",
    "coherent",
    "copied_words",
    "copied_words_most",
    "distinct",
    "ended",
    "grammar",
    "rouge_others",
    "rouge_training",
    "rouge_true",
    "sentences",
    "texts",
    "well_formed",
    "consistency",
    "required",
];

/// The record of `judge`.
pub static VERB: Verb = Verb {
    name: "judge",
    version: 2,
    summary: "let a model go on with texts of a world, and say how right they are and what they copy",
    makes: Kind::Report,
    inputs: &[
        InputSlot { key: "model", kind: Kind::Model, required: false, many: false, text: "the model that writes" },
        InputSlot {
            key: "ngrams",
            kind: Kind::Documents,
            required: false,
            many: false,
            text: "in place of `model`: documents that n-grams of words learn from, the baseline",
        },
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: true,
            many: false,
            text: "what `synthesize` wrote: openings of the documents it held out are gone on with, and the others are what may be copied",
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
    /// Words of the longest of the `ngrams`.
    #[schemars(range(min = 1, max = 100))]
    order: usize,
    /// In place of a model: recite the texts that are not held out, a memorizer that `rouge_training` must find out.
    recite: bool,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self { texts: 100, characters: 1000, temperature: 0.8, top_k: 15, order: 5, recite: false }
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

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let writers = ["model", "ngrams"].iter().filter(|key| inputs.contains_key(**key)).count();
        if writers + usize::from(self.0.recite) == 1 {
            return Ok(());
        }
        let hint = "name a `model`, or documents under `ngrams`, or set `recite = true`";
        Err(Error::user(Place::key("model"), "one writer is judged at a time").hint(hint))
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        FIGURES.map(str::to_owned).to_vec()
    }

    fn plan(&self, _: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        Ok((Estimate { rows: Some(self.0.texts as u64), ..Estimate::default() }, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let from = context.input("from")?;
        let gold = read_gold(&from.path)?;
        let split = |document: &Document| -> Result<(String, String)> {
            let (opening, rest) = document.text.split_at(opening_of(gold.get(&document.id), document, &from.path)?);
            Ok((opening.to_owned(), rest.to_owned()))
        };
        let (mut openings, mut endings) = (Vec::new(), Vec::new());
        for document in held_out(&from.path, &from.name)?.into_iter().take(self.0.texts) {
            let (opening, rest) = split(&document)?;
            openings.push(opening);
            endings.push(rest);
        }
        let mut learned = Vec::new();
        for document in read_documents(&from.path.join(TRAIN))? {
            learned.push(split(&document?)?.1);
        }
        let (model, room) = self.writer(context, &learned)?;
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
        let replies: Vec<Reply> = asked
            .replies
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| Error::program("a generator left a request without a reply"))?;
        let (training, others) = (Texts::new(2, &learned), Texts::new(2, replies.iter().map(|reply| &reply.text)));
        let mut file = DocumentWriter::create(&context.work.join(STORIES))?;
        let (mut total, mut ended, mut characters) = (Grade::default(), 0_u64, 0_u64);
        let mut alike = [0.0; 4];
        let mut most = 0;
        let mut distinct = BTreeSet::new();
        for (number, reply) in replies.iter().enumerate() {
            stop::check()?;
            let (text, grade) = (&reply.text, self.1.part.grade(&openings[number], &reply.text));
            let copied = training.longest_copy(text);
            let rouge = [
                training.most_alike(text, None),
                others.most_alike(text, Some(number)),
                metier_eval::rouge(2, text, &endings[number]),
            ];
            file.write(&json!({
                "opening": openings[number], "text": text, "ended": reply.finish == Finish::Stop,
                "sentences": grade.sentences, "well_formed": grade.well_formed, "agreeing": grade.agreeing,
                "coherent": grade.coherent, "mentions": grade.mentions, "consistent": grade.consistent,
                "wanted": grade.wanted, "used": grade.used, "rouge_training": rouge[0], "rouge_others": rouge[1],
                "rouge_true": rouge[2], "copied_words": copied,
            }))?;
            total = total.plus(grade);
            ended += u64::from(reply.finish == Finish::Stop);
            characters += text.chars().count() as u64;
            distinct.insert(text);
            most = most.max(copied);
            for (sum, value) in alike.iter_mut().zip(rouge.into_iter().chain([copied as f64])) {
                *sum += value;
            }
        }
        file.finish()?;
        let texts = openings.len() as u64;
        let of = |part: u64, whole: u64| part as f64 / whole as f64;
        let [rouge_training, rouge_others, rouge_true, copied] = alike.map(|sum| sum / texts as f64);
        let mut figures = vec![
            ("characters", of(characters, texts)),
            ("coherent", of(total.coherent, total.sentences)),
            ("copied_words", copied),
            ("copied_words_most", most as f64),
            ("distinct", of(distinct.len() as u64, texts)),
            ("ended", of(ended, texts)),
            ("grammar", of(total.agreeing, total.sentences)),
            ("rouge_others", rouge_others),
            ("rouge_training", rouge_training),
            ("rouge_true", rouge_true),
            ("sentences", total.sentences as f64),
            ("texts", texts as f64),
            ("well_formed", of(total.well_formed, total.sentences)),
        ];
        if total.mentions > 0 {
            figures.push(("consistency", of(total.consistent, total.mentions)));
        }
        if total.wanted > 0 {
            figures.push(("required", of(total.used, total.wanted)));
        }
        let rows: Vec<Vec<String>> =
            figures.iter().map(|(name, value)| vec![(*name).to_owned(), format!("{value:.3}")]).collect();
        Ok(Outcome {
            counts: Counts { read: texts, out: texts, ..Counts::default() },
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            table: Some(crate::command::table(&["figure", "value"], &rows, &[false, true])),
        })
    }
}

impl Judge {
    /// Who writes, and how many tokens there is room for.
    fn writer(&self, context: &Context, learned: &[String]) -> Result<(Box<dyn Generate>, usize)> {
        if self.0.recite {
            return Ok((Box::new(Reciter(learned.to_vec())), usize::MAX));
        }
        if let Some(documents) = context.inputs.get("ngrams") {
            let documents = read_documents(&documents.path.join(TRAIN))?;
            let texts = documents.map(|document| document.map(|document| document.text));
            return Ok((Box::new(Ngrams::learn(self.0.order, texts)?), usize::MAX));
        }
        let model = load_model(&context.input("model")?.path)?;
        let room = model.decoder().config().context_length;
        Ok((Box::new(model), room))
    }
}

/// Goes on with what it has learned by heart, whatever the opening.
struct Reciter(Vec<String>);

impl Generate for Reciter {
    fn can(&self, ability: Ability) -> bool {
        ability == Ability::RawText
    }

    fn run(&self, exchange: &mut dyn Exchange) -> Result<()> {
        for (number, text) in self.0.iter().cycle().enumerate() {
            let Some(Ask { .. }) = exchange.next(0) else { break };
            exchange.finish(
                number,
                Ok(Reply {
                    text: text.clone(),
                    tokens: Vec::new(),
                    prompt_tokens: 0,
                    cached_tokens: 0,
                    drafted_tokens: 0,
                    accepted_tokens: 0,
                    finish: Finish::Stop,
                }),
            );
        }
        Ok(())
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
