//! A tiny model, a tiny tokenizer and packs of tiny documents.

use metier_compute::Tensor;
use metier_core::data::TokenId;
use metier_core::memory::Budget;
use metier_core::seam::{Encoded, Tokenize};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use metier_model::{Config, Decoder};
use metier_tokenizer::pack::{Dialogue, Origin, PackSettings, Shards, pack, pack_examples};
use metier_train::{Parts, Run, SoftMask, TrainReport, TrainSettings, train};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Ends documents, where that is asked for.
pub const END: TokenId = 63;

/// Token `i` is the character `'0' + i`, for 64 ids.
pub struct Letters;

/// A vocabulary of words, the last of which are special.
pub struct Marked {
    pub size: usize,
    pub special: Vec<String>,
}

impl Marked {
    /// A mask token, seven sentinels and an end behind words.
    pub fn of(size: usize) -> Self {
        let sentinels = (0..7).map(|number| format!("<extra_id_{number}>"));
        let special = ["<mask>".to_owned()].into_iter().chain(sentinels).chain(["<end>".to_owned()]);
        Self { size, special: special.collect() }
    }

    fn words(&self) -> usize {
        self.size - self.special.len()
    }
}

impl Tokenize for Marked {
    fn vocabulary_size(&self) -> usize {
        self.size
    }

    fn encode(&self, _texts: &[&str], _special: bool) -> Result<Vec<Encoded>> {
        Err(Error::program("there is nothing to encode here"))
    }

    fn decode(&self, ids: &[TokenId], special: bool) -> Result<String> {
        let shown = ids.iter().filter(|id| special || (**id as usize) < self.words());
        Ok(shown.filter_map(|id| self.bytes_of(*id)).map(|bytes| String::from_utf8(bytes).unwrap()).collect())
    }

    fn bytes_of(&self, id: TokenId) -> Option<Vec<u8>> {
        let word = (id as usize) < self.words();
        let special = || self.special.get(id as usize - self.words()).cloned();
        if word { Some(format!("{id} ")) } else { special() }.map(String::into_bytes)
    }

    fn id_of(&self, token: &str) -> Option<TokenId> {
        let at = self.special.iter().position(|special| special == token)?;
        Some((self.words() + at) as TokenId)
    }

    fn begin_of_text(&self) -> Option<TokenId> {
        None
    }

    fn end_of_text(&self) -> Vec<TokenId> {
        vec![self.size as TokenId - 1]
    }

    fn fingerprint(&self) -> String {
        "marked".into()
    }
}

pub fn text(ids: &[TokenId]) -> String {
    ids.iter().map(|id| char::from(b'0' + *id as u8)).collect()
}

impl Tokenize for Letters {
    fn vocabulary_size(&self) -> usize {
        64
    }

    fn encode(&self, texts: &[&str], _special: bool) -> Result<Vec<Encoded>> {
        let encode = |text: &&str| {
            let ids = text.bytes().map(|byte| {
                let id = byte.checked_sub(b'0').filter(|id| *id < 64);
                id.map(TokenId::from).ok_or_else(|| Error::user(Place::default(), format!("byte {byte}")))
            });
            Ok(Encoded { ids: ids.collect::<Result<_>>()?, ends: (1..=text.len()).collect() })
        };
        texts.iter().map(encode).collect()
    }

    fn decode(&self, ids: &[TokenId], _special: bool) -> Result<String> {
        Ok(text(ids))
    }

    fn bytes_of(&self, id: TokenId) -> Option<Vec<u8>> {
        (id < 64).then(|| vec![b'0' + id as u8])
    }

    fn id_of(&self, _token: &str) -> Option<TokenId> {
        None
    }

    fn begin_of_text(&self) -> Option<TokenId> {
        None
    }

    fn end_of_text(&self) -> Vec<TokenId> {
        vec![END]
    }

    fn fingerprint(&self) -> String {
        "letters".into()
    }
}

/// Packs documents given as ids; they are called `d0`, `d1` and so on.
pub fn shards(folder: &Path, documents: &[Vec<TokenId>]) -> Shards {
    let settings = PackSettings { end_of_document: false, shard_tokens: 70, ..PackSettings::default() };
    shards_with(folder, documents, &settings)
}

/// [`shards`] with settings.
pub fn shards_with(folder: &Path, documents: &[Vec<TokenId>], settings: &PackSettings) -> Shards {
    let documents = documents.iter().enumerate();
    let documents = documents.map(|(n, ids)| Ok(metier_testkit::corpus::document(&format!("d{n}"), &text(ids))));
    pack(documents, &Letters, settings, folder).unwrap();
    Shards::open(folder).unwrap()
}

/// Packs rows of texts as examples.
pub fn examples(folder: &Path, rows: &[Value]) -> Shards {
    std::fs::create_dir_all(folder).unwrap();
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(folder.join("rows.jsonl"), lines.join("\n")).unwrap();
    let origin = Origin { path: folder, license: "CC0-1.0" };
    let settings = PackSettings { end_of_document: false, ..PackSettings::default() };
    let dialogue = Dialogue { tokenizer: &Letters, template: None, ends: &[] };
    pack_examples(origin, &dialogue, &settings, &folder.join("pack"), &|| ()).unwrap();
    Shards::open(folder.join("pack")).unwrap()
}

/// Prompts of several lengths, each with a reply by a rule and another of other tokens and length.
pub fn replies(count: usize) -> Vec<[String; 3]> {
    let mut random = Seed::new(8).at(0);
    let mut ids = |length: u64| -> Vec<TokenId> { (0..length).map(|_| random.below(64) as TokenId).collect() };
    (0..count as u64)
        .map(|row| {
            let (prompt, bad) = (ids(2 + row % 4), ids(2 + row * 2 % 5));
            let good = (1..2 + row * 3 % 5).map(|step| (prompt[0] + step as TokenId * 7) % 64).collect::<Vec<_>>();
            [text(&prompt), text(&good), text(&bad)]
        })
        .collect()
}

/// Documents of a rule with some noise.
pub fn documents() -> Vec<Vec<TokenId>> {
    let mut random = Seed::new(5).at(0);
    (0..6)
        .map(|n| {
            let mut ids = vec![n + 1];
            while ids.len() < 30 + 7 * n as usize {
                let last = ids[ids.len() - 1];
                ids.push(if random.below(6) == 0 { random.below(64) as u32 } else { (last * 5 + 3) % 64 });
            }
            ids
        })
        .collect()
}

pub fn config() -> Config {
    Config {
        vocabulary_size: 64,
        hidden_size: 16,
        intermediate_size: 24,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        context_length: 64,
        norm_epsilon: 1e-5,
        rope_theta: 10_000.0,
        tied_embeddings: true,
        attention_bias: false,
        feed_forward_bias: false,
        ..Config::default()
    }
}

/// A random model, all of it trainable.
pub fn decoder() -> Decoder {
    let mut decoder = Decoder::random(&config(), Seed::new(11)).unwrap();
    let ids: Vec<_> = decoder.parameters.iter().map(|(id, ..)| id).collect();
    for id in ids {
        decoder.parameters.set_trainable(id, true);
    }
    decoder
}

pub fn settings() -> TrainSettings {
    TrainSettings {
        steps: 7,
        context: 16,
        sequences: 3,
        micro_batch: 2,
        checkpoint_every: 2,
        checkpoint_seconds: 0,
        ..TrainSettings::default()
    }
}

/// Default parts with a rate that a tiny model can bear.
pub fn parts() -> Parts {
    let adamw = metier_train::optimizer::Adamw { rate: 0.01, ..Default::default() };
    Parts { optimizer: metier_train::settings::chosen("adamw", adamw).unwrap(), ..Parts::defaults().unwrap() }
}

/// What a test trains with.
pub struct Bench {
    pub shards: Shards,
    pub settings: TrainSettings,
    pub parts: Parts,
    pub teacher: Option<Arc<Decoder>>,
    pub soft_mask: Option<SoftMask>,
    pub tokenizer: Box<dyn Tokenize>,
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shards = shards(&folder.path().join("pack"), &documents());
        let tokenizer = Box::new(Letters);
        Self { shards, settings: settings(), parts: parts(), teacher: None, soft_mask: None, tokenizer, folder }
    }

    /// A work folder of this name.
    pub fn work(&self, name: &str) -> std::path::PathBuf {
        let work = self.folder.path().join(name);
        std::fs::create_dir_all(&work).unwrap();
        work
    }

    /// Trains a fresh model in a work folder.
    pub fn train(&self, work: &Path, stop: &dyn Fn() -> bool) -> Result<Trained> {
        let mut decoder = decoder();
        let report = self.train_model(&mut decoder, work, stop)?;
        Ok(Trained::new(&decoder, &report, work))
    }

    pub fn train_model(&self, decoder: &mut Decoder, work: &Path, stop: &dyn Fn() -> bool) -> Result<TrainReport> {
        metier_core::progress::set_mode(metier_core::progress::Mode::Silent);
        let run = Run {
            settings: &self.settings,
            parts: &self.parts,
            teacher: self.teacher.as_ref(),
            soft_mask: self.soft_mask.as_ref(),
            seed: Seed::new(3),
            work,
            budget: &Budget::new(None),
            peak: None,
            stop,
            tell: None,
            tokenizer: Some(&*self.tokenizer),
        };
        train(decoder, &self.shards, &run)
    }
}

/// What is to be the same, to the byte, however often a run was killed.
#[derive(PartialEq)]
pub struct Trained {
    pub weights: Vec<u32>,
    pub losses: String,
    pub sampled: String,
    pub totals: (u64, u64, u32, u32, u64),
}

impl Trained {
    pub fn new(decoder: &Decoder, report: &TrainReport, work: &Path) -> Self {
        Self {
            weights: bits(decoder.parameters.iter().map(|(_, _, tensor, _)| tensor)),
            losses: std::fs::read_to_string(work.join("loss.jsonl")).unwrap(),
            sampled: std::fs::read_to_string(work.join("sampled.json")).unwrap(),
            totals: (
                report.steps,
                report.tokens,
                report.loss_first.to_bits(),
                report.loss_last.to_bits(),
                report.flop.to_bits(),
            ),
        }
    }

    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: &str) {
        assert_eq!(self.losses, other.losses, "{what}: loss.jsonl");
        assert_eq!(self.sampled, other.sampled, "{what}: sampled.json");
        assert_eq!(self.totals, other.totals, "{what}: report");
        assert!(self.weights == other.weights, "{what}: weights");
    }
}

fn bits<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Vec<u32> {
    tensors.flat_map(|tensor| tensor.data().iter().map(|value| value.to_bits())).collect()
}

pub fn never() -> bool {
    false
}
