use super::{Filter, Verdict, keep_ranges, replace_ranges};
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::{Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Beside a script's own characters and white space.
const PUNCTUATION: &str = "0123456789.,!?;:'\"()-–—‘’“”…।॥";
/// Zero-width joiner and non-joiner: they decide which form a conjunct has.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// # What it does
/// Takes out characters that are not of a script, writes the rest in one way (NFC), and drops documents that lose too much.
///
/// # How
/// Kept are the characters of the script's block, white space, digits, `. , ! ? ; : ' " ( ) -`, dashes, curly quotes, the
/// ellipsis, danda and double danda, and the zero-width joiner and non-joiner. With `share = deleted / characters`, a document with
/// `share > maximum_deleted` is dropped. What is left is normalized to NFC, in which the letters with a dot below of both scripts
/// are written as two characters. Doing it twice changes nothing more. Words that NFC changed point back to no source.
///
/// # When to use
/// On generated or collected texts of one language, before a vocabulary is learned from them.
///
/// # Differs from the paper in
/// The paper's code deletes joiners too, which breaks conjuncts, and keeps a text whatever it lost.
///
/// # Source
/// Patil et al. 2025, *Regional Tiny Stories* (arXiv:2504.07989), cleaning; Unicode Standard Annex 15 for NFC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The script.
    pub script: Name,
    /// Largest share of characters that may be deleted.
    #[serde(default = "usual_share")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub maximum_deleted: f64,
}

fn usual_share() -> f64 {
    0.02
}

/// The scripts that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// Of Hindi, Marathi, Nepali and Sanskrit: U+0900 to U+097F.
    Devanagari,
    /// Of Bengali and Assamese: U+0980 to U+09FF.
    Bengali,
}

impl Name {
    fn has(self, letter: char) -> bool {
        match self {
            Self::Devanagari => ('\u{900}'..='\u{97f}').contains(&letter),
            Self::Bengali => ('\u{980}'..='\u{9ff}').contains(&letter),
        }
    }
}

impl Script {
    fn keeps(&self, letter: char) -> bool {
        self.script.has(letter) || letter.is_whitespace() || JOINERS.contains(&letter) || PUNCTUATION.contains(letter)
    }
}

impl Filter for Script {
    fn apply(&self, document: Document) -> Verdict {
        let (mut all, mut deleted) = (0_usize, 0_usize);
        let mut kept: Vec<Range<usize>> = Vec::new();
        for (at, letter) in document.text.char_indices() {
            all += 1;
            let end = at + letter.len_utf8();
            match kept.last_mut() {
                _ if !self.keeps(letter) => deleted += 1,
                Some(range) if range.end == at => range.end = end,
                _ => kept.push(at..end),
            }
        }
        if deleted as f64 > self.maximum_deleted * all as f64 {
            let percent = 100.0 * self.maximum_deleted;
            return Verdict::Drop(format!("more than {percent} % of characters of another script"));
        }
        Verdict::Keep(normalized(if deleted > 0 { keep_ranges(document, &kept) } else { document }))
    }
}

/// The document in NFC, word by word: white space takes part in no composition.
fn normalized(mut document: Document) -> Document {
    if is_nfc(&document.text) {
        return document;
    }
    let mut text = String::with_capacity(document.text.len());
    let mut replaced = Vec::new();
    let mut start = 0;
    for word in document.text.split_inclusive(char::is_whitespace) {
        if is_nfc(word) {
            text.push_str(word);
        } else {
            let before = text.len();
            text.extend(word.nfc());
            replaced.push((start..start + word.len(), text.len() - before));
        }
        start += word.len();
    }
    document.pieces = replace_ranges(&document.pieces, &replaced, document.text.len());
    document.text = text;
    document
}

impl Build<dyn Filter> for Script {
    fn build(self, place: &Place) -> Result<Box<dyn Filter>> {
        if !(0.0..=1.0).contains(&self.maximum_deleted) {
            let place = place.clone().with_key("maximum_deleted");
            return Err(Fault::new(place, format!("{} is no share", self.maximum_deleted)).hint("from 0 to 1").into());
        }
        Ok(Box::new(self))
    }
}

/// The record of `script`.
pub static PART: Part<dyn Filter> = Part::of::<Script>("script", 1);

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;
    use metier_core::seed::Seed;

    fn kept(script: Name, maximum_deleted: f64, text: &str) -> Option<Document> {
        match (Script { script, maximum_deleted }).apply(document(text)) {
            Verdict::Keep(document) => Some(document),
            Verdict::Drop(_) => None,
        }
    }

    #[test]
    fn a_thousand_mixed_strings_come_out_clean_and_stay_so() {
        // Conjuncts with joiners, letters with a dot below in both writings, and what does not belong.
        const GOOD: [&str; 14] =
            ["क्ष", "क्‍ष", "क्‌ष", "\u{958}", "क\u{93c}", "न\u{93c}", "ड\u{93c}ा", "राजा", "में", " ", "\n", "।", "5", "!"];
        const BAD: [&str; 6] = ["abc", "🎈", "👨‍👩‍👧", "é", "漢", "ক"];
        for number in 0..1000 {
            let mut random = Seed::new(11).at(number);
            let pieces: Vec<&str> = (0..random.below(40))
                .map(|_| {
                    let of = if random.unit() < 0.8 { &GOOD[..] } else { &BAD[..] };
                    of[random.below(of.len() as u64) as usize]
                })
                .collect();
            let text = pieces.concat();
            let once = kept(Name::Devanagari, 1.0, &text).unwrap();
            assert!(is_nfc(&once.text), "{text:?}");
            let filter = Script { script: Name::Devanagari, maximum_deleted: 1.0 };
            assert!(once.text.chars().all(|letter| filter.keeps(letter)), "{text:?}");
            let own: String = text.chars().filter(|letter| filter.keeps(*letter)).collect();
            assert_eq!(once.text, own.nfc().collect::<String>(), "{text:?}");
            assert_eq!(kept(Name::Devanagari, 0.0, &once.text).unwrap().text, once.text, "{text:?}");
            for piece in &once.pieces.0 {
                let here = &once.text.as_bytes()[piece.start..piece.start + piece.length];
                assert_eq!(here, &text.as_bytes()[piece.source..piece.source + piece.length], "{text:?}");
            }
        }
    }

    #[test]
    fn a_share_of_two_in_a_hundred_is_the_border() {
        let text = |bad: usize| "क".repeat(100 - bad) + &"x".repeat(bad);
        assert_eq!(kept(Name::Devanagari, 0.02, &text(2)).unwrap().text.chars().count(), 98);
        assert!(kept(Name::Devanagari, 0.02, &text(3)).is_none());
        assert!(kept(Name::Bengali, 0.02, &text(0)).is_none());
        assert_eq!(kept(Name::Bengali, 0.02, "বাঘ ছিল।").unwrap().text, "বাঘ ছিল।");
    }
}
