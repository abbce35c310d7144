//! Rules with published thresholds, under a name.

use super::expression::{Expression, Syntax};
use super::replace::Replacement;
use super::rules::{Rule, Rules};
use metier_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Published rules. Each names the taggers of `curate` that they need, and leaves out what no tagger here measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Web pages of the C4 corpus, as Dolma replicates it: no document with a curly bracket, "lorem ipsum", JavaScript or a
    /// blocked word; lines of fewer than three words or without an end mark are cut out. Needs the tagger `c4`.
    /// Raffel et al. 2020, section 2.2; configs/c4-replication of Dolma. C4 itself drops lines, not documents, that name
    /// JavaScript, and documents of fewer than three sentences or in another language than English.
    C4,
    /// Web pages of Dolma v1.5: Gopher's rules with its thresholds for duplicate characters raised, no more than five
    /// addresses or numbers of persons in a document, and those masked. Needs the taggers `gopher` with `version = 1`, and
    /// `pii`. Soldaini et al. 2024, arXiv 2402.00159; configs/dolma-v1_5/mixing/cc-head.yaml, in
    /// which the rules on the most common 2, 3 and 4 words name no attribute that exists and never fire; here they do. Left
    /// out: duplicate paragraphs, decontamination, and the classifiers of toxic and sexual sentences.
    #[serde(rename = "dolma_v1_5")]
    DolmaV1_5,
    /// Quality and repetition rules of Gopher. Needs the tagger `gopher`. Rae et al. 2021, arXiv 2112.11446, appendix
    /// A.1.1 and table A1. It measures the median word length in place of the mean, and leaves out the rules on duplicate
    /// paragraphs.
    Gopher,
}

/// A tagger's attribute, and the scores that drop a document.
type Threshold = (&'static str, &'static str, f64);

/// What Gopher and Dolma v1.5 agree on.
const GOPHER: [Threshold; 19] = [
    ("word_count", "<", 50.0),
    ("word_count", ">", 100_000.0),
    ("median_word_length", "<", 3.0),
    ("median_word_length", ">", 10.0),
    ("symbol_to_word_ratio", ">", 0.1),
    ("fraction_of_words_with_alpha_character", "<", 0.8),
    ("required_word_count", "<", 2.0),
    ("fraction_of_lines_starting_with_bullet_point", ">", 0.9),
    ("fraction_of_lines_ending_with_ellipsis", ">", 0.3),
    ("fraction_of_duplicate_lines", ">", 0.3),
    ("fraction_of_characters_in_most_common_2grams", ">", 0.2),
    ("fraction_of_characters_in_most_common_3grams", ">", 0.18),
    ("fraction_of_characters_in_most_common_4grams", ">", 0.16),
    ("fraction_of_characters_in_duplicate_5grams", ">", 0.15),
    ("fraction_of_characters_in_duplicate_6grams", ">", 0.14),
    ("fraction_of_characters_in_duplicate_7grams", ">", 0.13),
    ("fraction_of_characters_in_duplicate_8grams", ">", 0.12),
    ("fraction_of_characters_in_duplicate_9grams", ">", 0.11),
    ("fraction_of_characters_in_duplicate_10grams", ">", 0.10),
];
/// What each has for itself.
const OF_GOPHER: [Threshold; 1] = [("fraction_of_characters_in_duplicate_lines", ">", 0.2)];
const OF_DOLMA: [Threshold; 1] = [("fraction_of_characters_in_duplicate_lines", ">", 0.3)];
const C4: [Threshold; 4] = [
    ("has_curly_brace", ">", 0.5),
    ("has_lorem_ipsum", ">", 0.5),
    ("has_javascript", ">", 0.5),
    ("has_naughty_word", ">", 0.5),
];
const PII: &str = "pii_regex_with_counts_fast_v2";

impl Preset {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::C4, Self::DolmaV1_5, Self::Gopher];

    /// The thresholds, each with its tagger.
    fn thresholds(self) -> Vec<(&'static str, Threshold)> {
        let of = |tagger, lists: &[&[Threshold]]| -> Vec<_> {
            lists.iter().flat_map(|list| list.iter()).map(|threshold| (tagger, *threshold)).collect()
        };
        match self {
            Self::C4 => of("c4_v2", &[&C4]),
            Self::DolmaV1_5 => {
                let mut out = of("gopher_v1", &[&GOPHER, &OF_DOLMA]);
                out.push((PII, ("doc_count", ">", 5.0)));
                out
            }
            Self::Gopher => of("gopher_v2", &[&GOPHER, &OF_GOPHER]),
        }
    }

    /// What is replaced: tagger, attribute and text.
    fn replacements(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            Self::C4 => &[("c4_v2", "lines_with_no_ending_punctuation", ""), ("c4_v2", "lines_with_too_few_words", "")],
            Self::DolmaV1_5 => &[
                (PII, "EMAIL_ADDRESS", " |||EMAIL_ADDRESS||| "),
                (PII, "PHONE_NUMBER", " |||PHONE_NUMBER||| "),
                (PII, "IP_ADDRESS", " |||IP_ADDRESS||| "),
            ],
            Self::Gopher => &[],
        }
    }

    /// Adds its rules to others.
    ///
    /// # Errors
    /// None, unless a rule of ours cannot be read.
    pub fn add_to(self, rules: &mut Rules) -> Result<()> {
        let broken =
            |wrong: super::Wrong| Error::program(format!("a rule of {self:?} cannot be read: {}", wrong.message));
        for (tagger, (kind, sign, score)) in self.thresholds() {
            let text = format!("$.attributes[?(@.{tagger}__{tagger}__{kind}[0][2] {sign} {score})]");
            let expression = Expression::new(Syntax::Jsonpath, &text).map_err(broken)?;
            rules.exclude.push(Rule {
                name: format!("{tagger} {kind} {sign} {score}"),
                place: "preset".to_owned(),
                expression,
            });
        }
        for (tagger, kind, with) in self.replacements() {
            let span = format!("$.attributes.{tagger}__{tagger}__{kind}");
            let replacement = Replacement::new(Syntax::Jsonpath, &span, with, Some(0.5), None);
            rules.replace.push(replacement.map_err(|(_, wrong)| broken(wrong))?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_attributes_that_taggers_give() {
        let taggers = crate::tag::dolma().unwrap();
        let known: Vec<String> = taggers
            .iter()
            .flat_map(|tagger| {
                let name = tagger.name();
                tagger.kinds().into_iter().map(move |kind| format!("{name}__{name}__{kind}"))
            })
            .collect();
        for (preset, count) in Preset::ALL.into_iter().zip([4 + 2, 21 + 3, 20]) {
            let mut rules = Rules::default();
            preset.add_to(&mut rules).unwrap();
            assert_eq!(rules.exclude.len() + rules.replace.len(), count);
            for name in rules.attributes().keys() {
                assert!(known.contains(name), "{preset:?}: {name}");
            }
        }
    }

    #[test]
    fn thresholds_drop_what_is_beyond_them() {
        let mut rules = Rules::default();
        Preset::DolmaV1_5.add_to(&mut rules).unwrap();
        let reasons = rules.reasons();
        let judge = |kind: &str, score: f64| {
            let name = format!("gopher_v1__gopher_v1__{kind}");
            let document = serde_json::json!({ "text": "x", "attributes": { name: [[0, 1, score]] } });
            match rules.judge(&document).unwrap() {
                super::super::rules::Verdict::Drop(number) => Some(reasons[number].as_str()),
                super::super::rules::Verdict::Keep(_) => None,
            }
        };
        assert_eq!(judge("word_count", 50.0), None);
        assert_eq!(judge("word_count", 49.0), Some("gopher_v1 word_count < 50"));
        assert_eq!(
            judge("fraction_of_characters_in_most_common_2grams", 0.21),
            Some("gopher_v1 fraction_of_characters_in_most_common_2grams > 0.2")
        );
        assert_eq!(judge("fraction_of_characters_in_duplicate_lines", 0.25), None);
    }
}
