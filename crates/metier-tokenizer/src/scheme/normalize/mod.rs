//! What happens to a text before it is split: its normal form, and where each byte of that comes from.

mod bert;
mod charsmap;
mod sentence_piece;

pub(in crate::scheme) use bert::{Bert, bert_words};
pub(in crate::scheme) use charsmap::Charsmap;
pub(in crate::scheme) use sentence_piece::{SentencePiece, longest_first};

use super::pieces::MARK;
use serde_json::Value;
use std::borrow::Cow;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::{NormalizedString, Normalizer as _};
use unicode_normalization_alignments as unicode;

/// Makes the normal form.
pub(in crate::scheme) enum Normalizer {
    /// Step by step, as a `tokenizer.json` says. No step leaves the text as it is.
    Steps(Vec<Step>),
    /// As SentencePiece does.
    SentencePiece(Box<SentencePiece>),
}

/// One step.
pub(in crate::scheme) enum Step {
    /// Blanks become marks.
    Marks,
    /// This comes before a text that is not empty.
    Prepend(String),
    /// What BERT's vocabularies take.
    Bert(Bert),
    /// The step of the `tokenizers` crate, for texts that it may change.
    Other(Box<NormalizerWrapper>, Stable),
}

/// How it is known without the step that it changes nothing.
pub(in crate::scheme) enum Stable {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    /// The text does not contain this.
    Without(String),
    /// The text has no blank at its ends.
    Trimmed,
    /// No character is in the table.
    Unmapped(Box<Charsmap>),
    /// Not at all.
    Unknown,
}

/// A normal form.
pub(in crate::scheme) struct Normalized<'a> {
    pub text: Cow<'a, str>,
    /// For each byte, the end of what it comes from in the text that was given; `None` when the two are the same.
    ends: Option<Vec<usize>>,
}

impl<'a> Normalized<'a> {
    pub(in crate::scheme) fn unchanged(text: &'a str) -> Self {
        Self { text: Cow::Borrowed(text), ends: None }
    }

    pub(in crate::scheme) fn changed(text: String, ends: Option<Vec<usize>>) -> Self {
        Self { text: Cow::Owned(text), ends }
    }

    /// Where in the text that was given that ends which is before byte `at` here.
    pub(in crate::scheme) fn end(&self, at: usize) -> usize {
        match &self.ends {
            None => self.text.ceil_char_boundary(at),
            Some(ends) => at.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0),
        }
    }
}

impl Normalizer {
    /// The steps of a `tokenizer.json`'s `normalizer`; `None` when one cannot be read.
    pub(in crate::scheme) fn of(step: &Value) -> Option<Self> {
        let mut steps = Vec::new();
        collect(step, &mut steps)?;
        Some(Self::Steps(steps))
    }

    /// Whether every text is its own normal form.
    pub(in crate::scheme) fn is_idle(&self) -> bool {
        matches!(self, Self::Steps(steps) if steps.is_empty())
    }

    /// Whether blanks are marks in the end.
    pub(in crate::scheme) fn ends_with_marks(&self) -> bool {
        match self {
            Self::Steps(steps) => matches!(steps.last(), Some(Step::Marks)),
            Self::SentencePiece(_) => true,
        }
    }

    /// Whether the normal form of a text is surely the text itself.
    pub(in crate::scheme) fn keeps(&self, text: &str) -> bool {
        match self {
            Self::Steps(steps) => steps.iter().all(|step| step.keeps(text)),
            Self::SentencePiece(_) => false,
        }
    }

    /// The normal form, with where it comes from only when asked.
    pub(in crate::scheme) fn apply<'a>(&self, text: &'a str, with_ends: bool) -> Normalized<'a> {
        match self {
            Self::Steps(steps) => {
                steps.iter().fold(Normalized::unchanged(text), |before, step| step.apply(before, with_ends))
            }
            Self::SentencePiece(normalizer) => normalizer.apply(text, with_ends),
        }
    }
}

fn collect(step: &Value, steps: &mut Vec<Step>) -> Option<()> {
    if step.is_null() {
        return Some(());
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let stable = match step["type"].as_str()? {
        "Sequence" => return step["normalizers"].as_array()?.iter().try_for_each(|step| collect(step, steps)),
        "Prepend" => {
            steps.push(Step::Prepend(text(&step["prepend"])?));
            return Some(());
        }
        "BertNormalizer" => {
            steps.push(Step::Bert(Bert::of(step)?));
            return Some(());
        }
        "Replace" => match (step["pattern"]["String"].as_str(), step["pattern"]["Regex"].as_str()) {
            (Some(" "), _) if step["content"] == MARK => {
                steps.push(Step::Marks);
                return Some(());
            }
            (Some(pattern), _) => Stable::Without(pattern.to_owned()),
            (_, Some(" {2,}")) => Stable::Without("  ".to_owned()),
            (_, Some("^ +| +$")) => Stable::Trimmed,
            _ => Stable::Unknown,
        },
        "NFC" => Stable::Nfc,
        "NFD" => Stable::Nfd,
        "NFKC" => Stable::Nfkc,
        "NFKD" => Stable::Nfkd,
        "Precompiled" => Stable::Unmapped(Box::new(Charsmap::of_base64(step["precompiled_charsmap"].as_str()?)?)),
        _ => Stable::Unknown,
    };
    steps.push(Step::Other(Box::new(serde_json::from_value(step.clone()).ok()?), stable));
    Some(())
}

impl Step {
    fn keeps(&self, text: &str) -> bool {
        match self {
            Self::Marks => !text.contains(' '),
            Self::Prepend(prefix) => text.is_empty() || prefix.is_empty(),
            Self::Bert(_) => text.is_empty(),
            Self::Other(_, stable) => stable.keeps(text),
        }
    }

    fn apply<'a>(&self, before: Normalized<'a>, with_ends: bool) -> Normalized<'a> {
        if self.keeps(&before.text) {
            return before;
        }
        match self {
            Self::Marks => marked(&before, with_ends),
            Self::Prepend(prefix) => prefixed(prefix, &before, with_ends),
            Self::Bert(bert) => bert.apply(&before, with_ends),
            Self::Other(step, _) => changed(step, before, with_ends),
        }
    }
}

/// Blanks become marks.
pub(in crate::scheme) fn marked<'a>(before: &Normalized, with_ends: bool) -> Normalized<'a> {
    let text = before.text.replace(' ', MARK);
    let ends = with_ends.then(|| {
        let mut ends = Vec::with_capacity(text.len());
        for (at, byte) in before.text.bytes().enumerate() {
            let count = if byte == b' ' { MARK.len() } else { 1 };
            ends.resize(ends.len() + count, before.end(at + 1));
        }
        ends
    });
    Normalized::changed(text, ends)
}

/// The text after a prefix, which comes from its first character.
pub(in crate::scheme) fn prefixed<'a>(prefix: &str, before: &Normalized, with_ends: bool) -> Normalized<'a> {
    let text = [prefix, &before.text].concat();
    let ends = with_ends.then(|| {
        let mut ends = vec![before.end(1); prefix.len()];
        ends.extend((0..before.text.len()).map(|at| before.end(at + 1)));
        ends
    });
    Normalized::changed(text, ends)
}

fn changed<'a>(step: &NormalizerWrapper, before: Normalized<'a>, with_ends: bool) -> Normalized<'a> {
    let mut string = NormalizedString::from(before.text.as_ref());
    // None of the crate's steps ever fails; what it left is the answer if one should.
    if step.normalize(&mut string).is_err() {
        return before;
    }
    let text = string.get().to_owned();
    let ends = with_ends.then(|| {
        let end = |at| string.convert_offsets(tokenizers::tokenizer::normalizer::Range::Normalized(at..=at));
        (0..text.len()).map(|at| before.end(end(at).map_or(0, |range| range.end))).collect()
    });
    Normalized::changed(text, ends)
}

impl Stable {
    fn keeps(&self, text: &str) -> bool {
        let yes = unicode::IsNormalized::Yes;
        match self {
            // The first character that another joins is U+0300, and the first byte of no earlier one is as high.
            Self::Nfc => text.bytes().all(|byte| byte < 0xcc) || unicode::is_nfc_quick(text.chars()) == yes,
            Self::Nfd => text.is_ascii() || unicode::is_nfd_quick(text.chars()) == yes,
            Self::Nfkc => text.is_ascii() || unicode::is_nfkc_quick(text.chars()) == yes,
            Self::Nfkd => text.is_ascii() || unicode::is_nfkd_quick(text.chars()) == yes,
            Self::Without(pattern) => !pattern.is_empty() && !text.contains(pattern.as_str()),
            Self::Trimmed => !text.starts_with(' ') && !text.ends_with(' '),
            Self::Unmapped(charsmap) => charsmap.keeps(text),
            Self::Unknown => text.is_empty(),
        }
    }
}
