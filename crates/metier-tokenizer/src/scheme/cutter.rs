//! The words that a vocabulary sees of a text, without their ids.

use super::marked::{self, Metaspace};
use super::normalize::{Normalized, Normalizer, bert_words, longest_first};
use super::pieces::MARK;
use super::words::Words;
use aho_corasick::AhoCorasick;
use serde_json::Value;

/// Cuts texts as a normalizer and a pre-tokenizer of a `tokenizer.json` do.
pub(crate) struct Cutter {
    how: How,
    /// Tokens that are found before, and are in no word.
    added: Option<AhoCorasick>,
}

enum How {
    /// Parts of the text itself.
    Bytes(Words),
    /// Words of the normal form, each with a mark before it.
    Marked(Normalizer, Metaspace),
    /// BERT's words of the normal form.
    Bert(Normalizer),
}

impl Cutter {
    /// `None` when a step is not done here.
    pub(crate) fn of(normalizer: &Value, pre_tokenizer: &Value, added: &[String]) -> Option<Self> {
        let added: Vec<&str> = added.iter().map(String::as_str).collect();
        let added = if added.is_empty() { None } else { Some(longest_first(&added)?) };
        let how = match Words::of(pre_tokenizer) {
            Some(words) if normalizer.is_null() => How::Bytes(words),
            Some(_) => return None,
            None => {
                let normalizer = Normalizer::of(normalizer)?;
                if pre_tokenizer["type"] == "BertPreTokenizer" {
                    How::Bert(normalizer)
                } else {
                    let (metaspace, _) = marked::pre_tokenizer(pre_tokenizer, &normalizer)?;
                    // Else a long text cannot be cut and counted in pieces.
                    How::Marked(normalizer, metaspace.filter(|metaspace| metaspace.words_only)?)
                }
            }
        };
        Some(Self { how, added })
    }

    /// Calls `word` with each word of a text, or of a piece of it that [`super::words::cut`] makes.
    pub(crate) fn words(&self, text: &str, mut word: impl FnMut(&[u8])) {
        let mut from = 0;
        for found in self.added.iter().flat_map(|added| added.find_iter(text)) {
            self.part(&text[from..found.start()], &mut word);
            from = found.end();
        }
        self.part(&text[from..], &mut word);
    }

    fn part(&self, text: &str, word: &mut impl FnMut(&[u8])) {
        match &self.how {
            How::Bytes(words) => words.split(text.as_bytes(), |from, to| word(&text.as_bytes()[from..to])),
            How::Bert(normalizer) => {
                let normal = normalizer.apply(text, false);
                bert_words(&normal.text, |from, to| word(&normal.text.as_bytes()[from..to]));
            }
            How::Marked(normalizer, metaspace) => {
                let normal = normalizer.apply(text, false);
                let marked = metaspace.apply(Normalized::unchanged(&normal.text), true, false);
                // The marks are the borders; the text begins with one.
                let borders = marked.text.match_indices(MARK).map(|(at, _)| at);
                let ends = borders.clone().skip(1).chain([marked.text.len()]);
                borders.zip(ends).for_each(|(from, to)| word(&marked.text.as_bytes()[from..to]));
            }
        }
    }
}
