//! How well vocabularies serve texts: tokens a word, bytes a token, what they cannot write, how evenly they use their ids,
//! whether they cut where words are made, and what that costs.
//!
//! All numbers come from one pass of encoding. A word is a run of characters that are not white space (Unicode's
//! `White_Space`). Of each group of texts, with `T` tokens:
//!
//! | figure | is |
//! |---|---|
//! | fertility | `T` / words |
//! | characters or bytes per token | characters, bytes / `T` |
//! | unknown share | tokens that stand for what the vocabulary lacks / `T` |
//! | byte share | tokens that hold a part of a character only / `T` |
//! | Rényi entropy | `H = log2(sum p^alpha) / (1 - alpha)` with `p` the share of each id among the tokens; Shannon's at `alpha = 1` |
//! | efficiency | `H / log2` of the vocabulary's size |
//! | `MorphScore` | of the known borders of morphemes inside words, those where a token ends. Words that are one token are left out of it and counted apart |
//! | cost | of a million characters, at a price for a million tokens |
//!
//! Sources: Rust et al. 2021 (arXiv:2012.15613) for fertility; Zouhar et al. 2023 (arXiv:2306.16842) for the efficiency with
//! alpha 2.5; Arnett et al. 2025 (arXiv:2507.06378) for `MorphScore`. A border counts each time its word is met, as in no one's
//! list of word types.

mod page;
mod tally;

pub use page::page;

use metier_core::seam::Tokenize;
use metier_core::{Error, Fault, Place, Result, stop};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tally::Tally;

/// Texts encoded at once.
const BATCH: usize = 256;

/// What the numbers depend on besides vocabularies and texts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CompareSettings {
    /// Order of the Rényi entropy: the larger, the more the most frequent tokens decide it.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
    /// Price of a million tokens, in any currency.
    #[schemars(range(min = 0.0))]
    pub price: f64,
}

impl Default for CompareSettings {
    fn default() -> Self {
        Self { alpha: 2.5, price: 1.0 }
    }
}

impl CompareSettings {
    /// Refuses numbers that no comparison can be made with.
    pub fn check(&self, place: &Place) -> Result<()> {
        let mut faults = Vec::new();
        for (key, value) in [("alpha", self.alpha), ("price", self.price)] {
            if !(value >= 0.0 && value.is_finite()) {
                let place = place.clone().with_key(key);
                faults.push(Fault::new(place, format!("{value} is out of range")).hint("a number from 0 on"));
            }
        }
        Error::collect((), faults)
    }
}

/// A text to compare on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// The text.
    pub text: String,
    /// What it is written in, by any name; empty when that is not known.
    pub language: String,
    /// Bytes at which a morpheme ends inside a word, ascending; empty when they are not known.
    pub boundaries: Vec<usize>,
}

/// Texts of one domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Domain {
    /// What it is called.
    pub name: String,
    /// Its texts.
    pub samples: Vec<Sample>,
}

/// A vocabulary under a name.
pub struct Candidate<'a> {
    /// What it is called.
    pub name: String,
    /// Encodes.
    pub tokenizer: &'a dyn Tokenize,
}

/// The figures of one vocabulary on one group of texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The vocabulary.
    pub tokenizer: String,
    /// A domain, `language NAME`, or `all`.
    pub group: String,
    /// Ids that the vocabulary has.
    pub vocabulary_size: usize,
    /// Texts, words, characters, bytes and tokens of the group.
    pub texts: u64,
    /// Runs without white space.
    pub words: u64,
    /// Unicode scalar values.
    pub characters: u64,
    /// Bytes of UTF-8.
    pub bytes: u64,
    /// Ids.
    pub tokens: u64,
    /// Tokens a word.
    pub fertility: f64,
    /// Characters a token.
    pub characters_per_token: f64,
    /// Bytes a token.
    pub bytes_per_token: f64,
    /// Share of tokens that stand for what the vocabulary lacks.
    pub unknown_share: f64,
    /// Share of tokens that hold a part of a character only.
    pub byte_share: f64,
    /// Bits.
    pub renyi_entropy: f64,
    /// Of `log2` of the vocabulary's size.
    pub efficiency: f64,
    /// Share of borders of morphemes where a token ends; none where no border is known in a word of several tokens.
    pub morph_score: Option<f64>,
    /// Borders that the score was made of.
    pub morph_boundaries: u64,
    /// Share of the words with a known border that are one token.
    pub whole_word_share: Option<f64>,
    /// Of a million characters.
    pub cost: f64,
}

impl Row {
    /// Its figures by name; those that are not known are left out.
    pub fn figures(&self) -> BTreeMap<&'static str, f64> {
        let optional = [("morph_score", self.morph_score), ("whole_word_share", self.whole_word_share)];
        let mut figures = BTreeMap::from([
            ("byte_share", self.byte_share),
            ("bytes_per_token", self.bytes_per_token),
            ("characters_per_token", self.characters_per_token),
            ("cost", self.cost),
            ("efficiency", self.efficiency),
            ("fertility", self.fertility),
            ("renyi_entropy", self.renyi_entropy),
            ("tokens", self.tokens as f64),
            ("unknown_share", self.unknown_share),
            ("vocabulary_size", self.vocabulary_size as f64),
        ]);
        figures.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        figures
    }
}

/// Every name that [`Row::figures`] may give.
pub const FIGURES: [&str; 12] = [
    "byte_share",
    "bytes_per_token",
    "characters_per_token",
    "cost",
    "efficiency",
    "fertility",
    "morph_score",
    "renyi_entropy",
    "tokens",
    "unknown_share",
    "vocabulary_size",
    "whole_word_share",
];

/// The figures of every vocabulary on every domain, on every language where there are several, and on all texts
/// together where there are several domains; groups in this order, vocabularies in theirs within a group.
///
/// A domain without a word is refused, and so is a border of a morpheme that is none inside its text.
pub fn compare(candidates: &[Candidate<'_>], domains: &[Domain], settings: CompareSettings) -> Result<Vec<Row>> {
    settings.check(&Place::default())?;
    check(domains)?;
    let groups = groups(domains);
    let mut rows = vec![Vec::new(); groups.len()];
    for candidate in candidates {
        let mut tallies = vec![Tally::new(candidate.tokenizer); groups.len()];
        for domain in domains {
            for batch in domain.samples.chunks(BATCH) {
                stop::check()?;
                let texts: Vec<&str> = batch.iter().map(|sample| sample.text.as_str()).collect();
                let encoded = candidate.tokenizer.encode(&texts, false)?;
                for (sample, encoded) in batch.iter().zip(&encoded) {
                    for (group, tally) in groups.iter().zip(&mut tallies) {
                        if group.holds(domain, sample) {
                            tally.add(sample, encoded);
                        }
                    }
                }
            }
        }
        for ((group, tally), rows) in groups.iter().zip(&tallies).zip(&mut rows) {
            rows.push(tally.row(&candidate.name, &group.name(), settings));
        }
    }
    Ok(rows.concat())
}

fn check(domains: &[Domain]) -> Result<()> {
    let mut faults = Vec::new();
    for domain in domains {
        if domain.samples.iter().all(|sample| sample.text.trim().is_empty()) {
            let fault = Fault::new(Place::key(&domain.name), "the texts to compare on hold no word");
            faults.push(fault.hint("name other texts"));
        }
        for (number, sample) in domain.samples.iter().enumerate() {
            let sorted = sample.boundaries.is_sorted();
            let wrong = sample.boundaries.iter().find(|&&at| !sample.text.is_char_boundary(at));
            if let Some(at) = wrong.or_else(|| sample.boundaries.first().filter(|_| !sorted)) {
                let place = Place::key(format!("{}: text {}", domain.name, number + 1));
                let message = format!(
                    "the border of morphemes at byte {at} is not between two of its characters, or not in order"
                );
                faults.push(Fault::new(place, message));
            }
        }
    }
    faults.truncate(20);
    Error::collect((), faults)
}

/// Texts whose figures are taken together.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Domain(String),
    Language(String),
    All,
}

impl Group {
    fn holds(&self, domain: &Domain, sample: &Sample) -> bool {
        match self {
            Self::Domain(name) => *name == domain.name,
            Self::Language(name) => *name == sample.language,
            Self::All => true,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Domain(name) => name.clone(),
            Self::Language(name) => format!("language {name}"),
            Self::All => "all".to_owned(),
        }
    }
}

fn groups(domains: &[Domain]) -> Vec<Group> {
    let mut groups: Vec<Group> = domains.iter().map(|domain| Group::Domain(domain.name.clone())).collect();
    let languages = domains.iter().flat_map(|domain| &domain.samples).map(|sample| sample.language.clone());
    let mut languages: Vec<String> = languages.filter(|name| !name.is_empty()).collect();
    languages.sort_unstable();
    languages.dedup();
    if languages.len() > 1 {
        groups.extend(languages.into_iter().map(Group::Language));
    }
    if domains.len() > 1 {
        groups.push(Group::All);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Bpe, Learn};
    use metier_core::part::Build;

    fn bytes() -> std::sync::Arc<dyn Tokenize> {
        let bpe = Bpe { vocabulary_size: 258, special_tokens: vec!["<end>".into()], ..Bpe::default() };
        let learn: Box<dyn Learn> = bpe.build(&Place::default()).unwrap();
        let folder = metier_testkit::scratch("compare");
        let texts = ["aa aa aa aa"].into_iter().map(|text| Ok(text.into()));
        let (learned, _) = crate::train::train(learn.as_ref(), texts, folder.path(), 1 << 24).unwrap();
        crate::scheme::from_json(&learned.json).unwrap()
    }

    fn domain(name: &str, samples: &[(&str, &str, &[usize])]) -> Domain {
        let samples = samples.iter().map(|(text, language, boundaries)| Sample {
            text: (*text).into(),
            language: (*language).into(),
            boundaries: boundaries.to_vec(),
        });
        Domain { name: name.into(), samples: samples.collect() }
    }

    #[test]
    fn figures_are_what_their_formulas_say() {
        let tokenizer = bytes();
        let candidates = [Candidate { name: "b".into(), tokenizer: tokenizer.as_ref() }];
        // Tokens: "aa", " ", "क" in three bytes, "b".
        let domains = [domain("one", &[("aa कb", "x", &[1, 6])])];
        let rows = compare(&candidates, &domains, CompareSettings { alpha: 2.0, price: 2.0 }).unwrap();
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.words, row.characters, row.bytes, row.tokens), (2, 5, 7, 6));
        assert!((row.fertility - 3.0).abs() < 1e-12 && (row.byte_share - 0.5).abs() < 1e-12);
        // Six different tokens: the entropy is log2 6 at every order.
        assert!((row.renyi_entropy - 6_f64.log2()).abs() < 1e-12, "{}", row.renyi_entropy);
        assert!((row.efficiency - 6_f64.log2() / 258_f64.log2()).abs() < 1e-12);
        // "aa" is one token, so its border does not count; the other is met.
        assert_eq!((row.morph_score, row.morph_boundaries, row.whole_word_share), (Some(1.0), 1, Some(0.5)));
        assert!((row.cost - 2.0 * 6.0 / 5.0).abs() < 1e-12);
    }

    #[test]
    fn groups_are_domains_languages_and_all() {
        let tokenizer = bytes();
        let candidates = [Candidate { name: "b".into(), tokenizer: tokenizer.as_ref() }];
        let domains = [domain("one", &[("aa", "x", &[]), ("ab", "y", &[])]), domain("two", &[("ba", "y", &[])])];
        let rows = compare(&candidates, &domains, CompareSettings::default()).unwrap();
        let named: Vec<_> = rows.iter().map(|row| (row.group.as_str(), row.texts)).collect();
        assert_eq!(named, [("one", 2), ("two", 1), ("language x", 1), ("language y", 2), ("all", 3)]);
        let page = page(&rows, CompareSettings::default());
        assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && !page.contains("http"));
    }

    #[test]
    fn texts_without_words_and_wrong_borders_are_refused() {
        let tokenizer = bytes();
        let candidates = [Candidate { name: "b".into(), tokenizer: tokenizer.as_ref() }];
        let refused =
            |domains: &[Domain]| compare(&candidates, domains, CompareSettings::default()).unwrap_err().to_string();
        assert!(refused(&[domain("one", &[(" ", "", &[])])]).contains("one: the texts"));
        assert!(refused(&[domain("one", &[("क", "", &[1])])]).contains("one: text 1"));
        assert!(refused(&[domain("one", &[("abc", "", &[2, 1])])]).contains("in order"));
    }
}
