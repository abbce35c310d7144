//! Documents of several sources, so many tokens of each.

use crate::document_file::{
    DocumentWriter, HELD_OUT, HELD_OUT_ATTRIBUTES, TRAIN, TRAIN_ATTRIBUTES, read_documents, read_values,
};
use metier_core::data::Document;
use metier_core::seam::Tokenize;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result, stop};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Documents of several sources, so many tokens of each. A source with n tokens has a share in proportion to n^(1/T), where T is the
/// temperature: 1 takes sources as they are, a larger one takes more of the small ones (Arivazhagan et al. 2019, arXiv:1907.05019, section 3). Of a source whole
/// passes are taken, and of the last pass documents at random until there are enough tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlendSettings {
    /// What the roots of sizes are that shares are in proportion to: 1 takes sources by their size, 2 by the square root of it.
    #[schemars(range(min = 0.01, max = 1000.0))]
    pub temperature: f64,
    /// In place of a temperature the share of tokens of each source: `{ general = 0.75, domain = 0.25 }`.
    pub shares: BTreeMap<String, f64>,
    /// Tokens in all; when it is left out, as many as can be had with these shares and epochs.
    #[schemars(range(min = 1))]
    pub tokens: Option<u64>,
    /// In place of shares the tokens of each source: `{ general = 3000000, domain = 1000000 }`.
    pub targets: BTreeMap<String, u64>,
    /// How often a source may be gone through. 1 repeats nothing: more tokens than a source has are refused.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub epochs: f64,
}

impl Default for BlendSettings {
    fn default() -> Self {
        Self { temperature: 1.0, shares: BTreeMap::new(), tokens: None, targets: BTreeMap::new(), epochs: 1.0 }
    }
}

/// How much more than 1 shares may come to, or less.
const ROUNDING: f64 = 1e-6;

impl BlendSettings {
    /// Refuses settings that do not go together, given the names of sources.
    ///
    /// # Errors
    /// All faults together, each at its key.
    pub fn check(&self, sources: &[&str]) -> Result<()> {
        let mut faults = Vec::new();
        let mut refuse = |key: &str, message: String, hint: &str| {
            faults.push(Fault::new(Place::key(key), message).hint(hint));
        };
        let mut names = |key: &str, named: Vec<&String>| {
            for name in named.iter().filter(|name| !sources.contains(&name.as_str())) {
                let near = metier_core::fault::near_miss(name, sources.iter().copied());
                let hint =
                    near.map_or(format!("there are: {}", sources.join(", ")), |near| format!("did you mean `{near}`?"));
                refuse(key, format!("no source is called `{name}`"), &hint);
            }
            if !named.is_empty() {
                for name in sources.iter().filter(|name| !named.iter().any(|known| known == *name)) {
                    refuse(
                        key,
                        format!("nothing is said of the source `{name}`"),
                        "name it too, or leave it out under `from`",
                    );
                }
            }
        };
        names("shares", self.shares.keys().collect());
        names("targets", self.targets.keys().collect());
        if !self.targets.is_empty() && (!self.shares.is_empty() || self.tokens.is_some()) {
            refuse(
                "targets",
                "tokens of each source leave nothing to share".to_owned(),
                "leave out `shares` and `tokens`",
            );
        }
        let is_asked = (self.temperature - 1.0).abs() > f64::EPSILON;
        if is_asked && (!self.shares.is_empty() || !self.targets.is_empty()) {
            refuse("temperature", "shares are given, so no temperature decides".to_owned(), "leave it out");
        }
        let sum: f64 = self.shares.values().sum();
        if !self.shares.is_empty() && ((sum - 1.0).abs() > ROUNDING || self.shares.values().any(|share| *share < 0.0)) {
            refuse("shares", format!("the shares come to {sum}"), "they are 0 or more, and together 1");
        }
        if self.epochs <= 0.0 {
            refuse("epochs", "no source may be read once".to_owned(), "1 repeats nothing");
        }
        Error::collect((), faults)
    }

    /// How many tokens are taken of each source, given how many it has.
    ///
    /// # Errors
    /// Sources of which more is wanted than they have, all of them with both numbers; sources without a token.
    pub fn targets(&self, sizes: &[(&str, u64)]) -> Result<Vec<u64>> {
        let all: u64 = sizes.iter().map(|(_, tokens)| tokens).sum();
        if all == 0 {
            return Err(Error::user(Place::key("from"), "there is not one token to blend"));
        }
        let targets: Vec<u64> = if self.targets.is_empty() {
            let weight = |(name, tokens): &(&str, u64)| match self.shares.get(*name) {
                Some(share) => *share,
                None => (*tokens as f64 / all as f64).powf(1.0 / self.temperature),
            };
            let weights: Vec<f64> = sizes.iter().map(weight).collect();
            let sum: f64 = weights.iter().sum();
            let shares = weights.iter().map(|weight| weight / sum);
            let wanted = self.tokens.map_or_else(
                || {
                    let most = sizes.iter().zip(shares.clone()).filter(|(_, share)| *share > 0.0);
                    most.map(|((_, tokens), share)| self.epochs * *tokens as f64 / share).fold(f64::INFINITY, f64::min)
                },
                |tokens| tokens as f64,
            );
            shares.map(|share| (wanted * share).round() as u64).collect()
        } else {
            sizes.iter().map(|(name, _)| self.targets.get(*name).copied().unwrap_or_default()).collect()
        };
        let mut faults = Vec::new();
        for ((name, tokens), target) in sizes.iter().zip(&targets) {
            if *target as f64 > (self.epochs * *tokens as f64).ceil() {
                let message = format!("the source `{name}` has {tokens} tokens, and {target} are wanted of it");
                let needed = *target as f64 / *tokens as f64;
                let hint = if *tokens == 0 {
                    "leave the source out".to_owned()
                } else {
                    format!("`epochs = {}` allows to repeat it; or want fewer tokens", (needed * 100.0).ceil() / 100.0)
                };
                faults.push(
                    Fault::new(Place::key(if self.targets.is_empty() { "tokens" } else { "targets" }), message)
                        .hint(hint),
                );
            }
        }
        Error::collect(targets, faults)
    }
}

/// A source of documents: its name, and the curated folder.
pub type Named<'a> = (&'a str, &'a Path);

/// What was taken of a source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Taken {
    /// Documents that it has to learn from, and their tokens.
    pub has: [u64; 2],
    /// Tokens that were wanted.
    pub target: u64,
    /// Documents that were written, those repeated as often as they were, and their tokens.
    pub written: [u64; 2],
    /// Bytes of their text.
    pub bytes: u64,
    /// Documents that were not drawn.
    pub left: u64,
    /// Documents that are held out, and bytes of their text.
    pub held_out: [u64; 2],
}

impl Taken {
    /// How often the source was gone through.
    pub fn epochs(&self) -> f64 {
        self.written[1] as f64 / self.has[1].max(1) as f64
    }
}

/// Bytes held for each document: its tokens, how often it is taken, and its place in a random order.
pub const OF_DOCUMENT: u64 = 24;
/// Documents encoded at once, and bytes after which no other joins them.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;

/// The tokens of each document to learn from of a curated folder.
///
/// # Errors
/// A broken line, with its number.
pub fn tokens_of(from: &Path, tokenizer: &dyn Tokenize, passed: &dyn Fn(u64)) -> Result<Vec<u32>> {
    let mut out = Vec::new();
    let mut documents = read_documents(&from.join(TRAIN))?;
    loop {
        let (mut texts, mut bytes) = (Vec::new(), 0);
        while texts.len() < BATCH && bytes < BATCH_BYTES {
            let Some(document) = documents.next() else { break };
            let text = document?.text;
            bytes += text.len();
            texts.push(text);
        }
        if texts.is_empty() {
            return Ok(out);
        }
        stop::check()?;
        let encoded = tokenizer.encode(&texts.iter().map(String::as_str).collect::<Vec<_>>(), false)?;
        out.extend(encoded.iter().map(|encoded| encoded.ids.len() as u32));
        passed(encoded.len() as u64);
    }
}

/// How often each document is taken, so that their tokens come as near to the target as whole documents in a random order can.
fn times(tokens: &[u32], target: u64, seed: Seed) -> Vec<u32> {
    let all: u64 = tokens.iter().map(|tokens| u64::from(*tokens)).sum();
    if all == 0 {
        return vec![0; tokens.len()];
    }
    let mut times = vec![(target / all) as u32; tokens.len()];
    let mut left = target % all;
    let mut order: Vec<(u64, u32)> =
        (0..tokens.len() as u32).map(|number| (seed.at(number.into()).bits(), number)).collect();
    order.sort_unstable();
    for (_, number) in order {
        let own = u64::from(tokens[number as usize]);
        if left < own.div_ceil(2).max(1) {
            break;
        }
        times[number as usize] += 1;
        left = left.saturating_sub(own);
    }
    times
}

/// Writes the documents of all sources into `out`, in the order of the sources, given the tokens of each document and how many are
/// wanted of each source. What is held out of any of them stays held out. Ids begin with the name of the source; those of a document
/// that is taken again end in its number, as `#2`. What was said of documents goes with them where all sources have it.
///
/// # Errors
/// A broken line, with its number; a full disk.
pub fn blend(sources: &[Named], tokens: &[Vec<u32>], targets: &[u64], seed: Seed, out: &Path) -> Result<Vec<Taken>> {
    let has = |(_, from): &Named| from.join(TRAIN_ATTRIBUTES).exists();
    let tagged = sources.iter().all(has);
    if !tagged && sources.iter().any(has) {
        metier_core::progress::say(
            "warning: what was said of documents is left out, as some sources have nothing of it",
        );
    }
    let mut taken = vec![Taken::default(); sources.len()];
    for (which, (documents, attributes)) in
        [(TRAIN, TRAIN_ATTRIBUTES), (HELD_OUT, HELD_OUT_ATTRIBUTES)].into_iter().enumerate()
    {
        let mut writer = DocumentWriter::create(&out.join(documents))?;
        let mut beside = tagged.then(|| DocumentWriter::create(&out.join(attributes))).transpose()?;
        for (((name, from), taken), (tokens, target)) in sources.iter().zip(&mut taken).zip(tokens.iter().zip(targets))
        {
            let times = (which == 0).then(|| times(tokens, *target, seed.derive(name)));
            if let Some(times) = &times {
                taken.left = times.iter().filter(|times| **times == 0).count() as u64;
                taken.has = [tokens.len() as u64, tokens.iter().map(|tokens| u64::from(*tokens)).sum()];
                taken.target = *target;
            }
            let passes = times.as_ref().map_or(1, |times| times.iter().max().copied().unwrap_or_default());
            for pass in 0..passes {
                let wanted = |number: usize| {
                    times.as_ref().is_none_or(|times| times.get(number).is_some_and(|times| *times > pass))
                };
                let called = |id: &str| match pass {
                    0 => format!("{name}/{id}"),
                    _ => format!("{name}/{id}#{}", pass + 1),
                };
                for (number, document) in
                    read_documents(&from.join(documents))?.enumerate().filter(|(number, _)| wanted(*number))
                {
                    stop::check()?;
                    let mut document: Document = document?;
                    document.id = called(&document.id);
                    writer.write(&document)?;
                    let counts = if which == 0 { &mut taken.written } else { &mut taken.held_out };
                    counts[0] += 1;
                    if which == 0 {
                        counts[1] += u64::from(tokens[number]);
                        taken.bytes += document.text.len() as u64;
                    } else {
                        counts[1] += document.text.len() as u64;
                    }
                }
                let Some(beside) = &mut beside else { continue };
                let path = from.join(attributes);
                for (number, said) in read_values::<Value>(&path)?.enumerate().filter(|(number, _)| wanted(*number)) {
                    let said = said?;
                    let Some(id) = said["id"].as_str() else {
                        return Err(Error::user(Place::file(&path).at(number + 1, 1), "the line has no `id`"));
                    };
                    beside.write(&json!({ "id": called(id), "attributes": said["attributes"] }))?;
                }
            }
        }
        writer.finish()?;
        beside.map_or(Ok(()), DocumentWriter::finish)?;
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::data::{Metadata, Pieces, TokenId};
    use metier_core::seam::Encoded;

    const SIZES: [(&str, u64); 3] = [("a", 1_000), ("b", 10_000), ("c", 100_000)];

    fn settings(text: Value) -> BlendSettings {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn shares_are_in_proportion_to_roots_of_sizes() {
        let shares = |text: Value| {
            let targets = settings(text).targets(&SIZES).unwrap();
            let all: u64 = targets.iter().sum();
            targets.iter().map(|target| *target as f64 / all as f64).collect::<Vec<_>>()
        };
        assert_eq!(settings(json!({})).targets(&SIZES).unwrap(), [1_000, 10_000, 100_000]);
        assert_eq!(settings(json!({ "tokens": 1110 })).targets(&SIZES).unwrap(), [10, 100, 1000]);
        // The roots of 1, 10 and 100 are 1, 3.162 and 10.
        let root = 10_f64.sqrt();
        for (share, right) in shares(json!({ "temperature": 2.0, "tokens": 5000 })).iter().zip([1.0, root, 10.0]) {
            assert!((share - right / (11.0 + root)).abs() < 1e-3, "{share}");
        }
        // Without a number of tokens the source that is used up first says how many there are.
        assert_eq!(settings(json!({ "temperature": 1000.0 })).targets(&SIZES).unwrap()[0], 1_000);
        assert_eq!(settings(json!({ "temperature": 1000.0, "epochs": 3.0 })).targets(&SIZES).unwrap()[0], 3_000);
        let given = json!({ "shares": { "a": 0.5, "b": 0.5, "c": 0.0 }, "tokens": 2000 });
        assert_eq!(settings(given).targets(&SIZES).unwrap(), [1000, 1000, 0]);
        let given = json!({ "targets": { "a": 500, "b": 1, "c": 2 } });
        assert_eq!(settings(given).targets(&SIZES).unwrap(), [500, 1, 2]);
    }

    #[test]
    fn more_than_there_is_and_what_does_not_go_together_is_refused() {
        let said = |text: Value| settings(text).targets(&SIZES).unwrap_err().to_string();
        let text = said(json!({ "tokens": 333_000, "temperature": 1000.0 }));
        assert!(text.contains("`a` has 1000 tokens, and 110745 are wanted") && text.contains("`b`"), "{text}");
        assert!(text.contains("`epochs = 110.75`"), "{text}");
        assert!(said(json!({ "targets": { "a": 2001, "b": 1, "c": 1 }, "epochs": 2.0 })).contains("2001 are wanted"));
        assert!(settings(json!({})).targets(&[("a", 0)]).unwrap_err().to_string().contains("not one token"));
        let said = |text: Value| settings(text).check(&["first", "other"]).unwrap_err().to_string();
        let text = said(json!({ "shares": { "frist": 0.5, "other": 0.5 } }));
        assert!(
            text.contains("did you mean `first`?") && text.contains("nothing is said of the source `first`"),
            "{text}"
        );
        let text = said(json!({
            "shares": { "first": 0.5, "other": 0.6 }, "targets": { "first": 1, "other": 1 }, "temperature": 2.0, "epochs": 0.0,
        }));
        for part in ["come to 1.1", "leave nothing to share", "no temperature decides", "no source may be read"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(settings(json!({ "tokens": 7 })).check(&["first"]).is_ok());
    }

    /// A token for each byte.
    struct Bytes;

    impl Tokenize for Bytes {
        fn vocabulary_size(&self) -> usize {
            256
        }
        fn encode(&self, texts: &[&str], _: bool) -> Result<Vec<Encoded>> {
            let encoded = |text: &&str| Encoded {
                ids: text.bytes().map(TokenId::from).collect(),
                ends: (1..=text.len()).collect(),
            };
            Ok(texts.iter().map(encoded).collect())
        }
        fn decode(&self, _: &[TokenId], _: bool) -> Result<String> {
            Ok(String::new())
        }
        fn bytes_of(&self, _: TokenId) -> Option<Vec<u8>> {
            None
        }
        fn id_of(&self, _: &str) -> Option<TokenId> {
            None
        }
        fn begin_of_text(&self) -> Option<TokenId> {
            None
        }
        fn end_of_text(&self) -> Vec<TokenId> {
            Vec::new()
        }
        fn fingerprint(&self) -> String {
            String::new()
        }
    }

    fn source(folder: &Path, count: usize, length: usize) {
        std::fs::create_dir_all(folder).unwrap();
        for (documents, attributes, count) in [(TRAIN, TRAIN_ATTRIBUTES, count), (HELD_OUT, HELD_OUT_ATTRIBUTES, 1)] {
            let mut writer = DocumentWriter::create(&folder.join(documents)).unwrap();
            let mut said = DocumentWriter::create(&folder.join(attributes)).unwrap();
            for number in 0..count {
                let text = "x".repeat(length + number % 3);
                let document = Document {
                    id: format!("d{number}"),
                    source: String::new(),
                    source_sha256: String::new(),
                    license: String::new(),
                    pieces: Pieces::whole(text.len()),
                    text,
                    partial: Vec::new(),
                    metadata: Metadata::new(),
                };
                writer.write(&document).unwrap();
                said.write(&json!({ "id": document.id, "attributes": { "n": [[0, 1, number]] } })).unwrap();
            }
            writer.finish().unwrap();
            said.finish().unwrap();
        }
    }

    fn ids_of(out: &Path) -> Vec<String> {
        read_documents(&out.join(TRAIN)).unwrap().map(|document| document.unwrap().id).collect()
    }

    #[test]
    fn as_many_tokens_are_written_as_wanted_and_repeated_documents_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let [first, other, out, again] = ["first", "other", "out", "again"].map(|name| folder.path().join(name));
        source(&first, 300, 10);
        source(&other, 20, 30);
        let sources = [("first", first.as_path()), ("other", other.as_path())];
        let tokens: Vec<_> = sources.iter().map(|(_, from)| tokens_of(from, &Bytes, &|_| ()).unwrap()).collect();
        let targets = [1000, 1500];
        for out in [&out, &again] {
            std::fs::create_dir_all(out).unwrap();
        }
        let taken = blend(&sources, &tokens, &targets, Seed::new(3), &out).unwrap();
        assert_eq!(blend(&sources, &tokens, &targets, Seed::new(3), &again).unwrap(), taken);
        for (taken, longest) in taken.iter().zip([12, 32]) {
            assert!(taken.written[1].abs_diff(taken.target) <= longest / 2, "{taken:?}");
            assert_eq!((taken.bytes, taken.held_out[0]), (taken.written[1], 1));
        }
        assert_eq!((taken[0].has, taken[1].has[0]), ([300, 3300], 20));
        let drawn = ids_of(&out).iter().filter(|id| id.starts_with("first/")).count() as u64;
        assert_eq!((taken[0].left, taken[1].left), (300 - drawn, 0));
        assert!((taken[1].epochs() - 2.42).abs() < 0.05, "{}", taken[1].epochs());
        let ids = ids_of(&out);
        let mut different = ids.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), ids.len());
        let passes = ["d7", "d7#2"].map(|id| ids.iter().filter(|one| **one == format!("other/{id}")).count());
        assert_eq!(passes, [1, 1], "every document of two passes");
        let said: Vec<Value> = read_values(&out.join(TRAIN_ATTRIBUTES)).unwrap().map(Result::unwrap).collect();
        assert!(ids.iter().zip(&said).all(|(id, said)| said["id"] == *id) && ids.len() == said.len());
        for file in [TRAIN, HELD_OUT, TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES] {
            assert_eq!(std::fs::read(out.join(file)).unwrap(), std::fs::read(again.join(file)).unwrap());
        }
        let elsewhere = blend(&sources, &tokens, &targets, Seed::new(4), &again).unwrap();
        assert_eq!(elsewhere[0].has, taken[0].has);
        assert_ne!(std::fs::read(out.join(TRAIN)).unwrap(), std::fs::read(again.join(TRAIN)).unwrap(), "another draw");
        std::fs::remove_file(other.join(TRAIN_ATTRIBUTES)).unwrap();
        let bare = folder.path().join("bare");
        std::fs::create_dir_all(&bare).unwrap();
        blend(&sources, &tokens, &targets, Seed::new(3), &bare).unwrap();
        assert!(!bare.join(TRAIN_ATTRIBUTES).exists() && !bare.join(HELD_OUT_ATTRIBUTES).exists());
    }
}
