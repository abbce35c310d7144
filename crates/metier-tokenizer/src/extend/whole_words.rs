use super::learn::{Allowed, check, few, spelling};
use super::{Extend, Extended, Given, Origin, cut_of, missing, read, wanted, written};
use crate::scheme::HuggingFace;
use crate::scheme::words::with_marks;
use crate::train::Cut;
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::seam::Tokenize;
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::cmp::Reverse;

/// # What it does
/// Makes the most frequent words of documents tokens of their own, behind those that the model has.
///
/// # How
/// A word with its blank is a token as it stands, without merges that lead to it: the vocabulary is told to look for whole
/// words first (`ignore_merges`). All other words are written in the old tokens as before, so that nothing new is to be
/// learned for them. Where the old split cuts words at marks, as GPT-2's does at the vowel signs of Indic scripts, marks
/// are made to belong to the letter before them; texts without marks are split as before.
///
/// # When to use
/// When there is little text to train on and the model writes its words in many pieces. New tokens made of pairs (`learn`)
/// stand in nearly every word of a new script, and the model has to learn to read and say all words anew; whole words
/// leave the spelling of the others as it is. With much text, `learn` shortens rare words too.
///
/// # Differs from the paper in
/// `AdaptiVocab` takes runs of words too, and chooses by the tokens saved; here single words are chosen by how often they are met,
/// since each must be learned from where it is met.
///
/// # Source
/// Nakash et al., "`AdaptiVocab`: Enhancing LLM Efficiency in Focused Domains through Lightweight Vocabulary Adaptation", arXiv
/// 2503.19693; Mundra et al., arXiv 2407.05841, section 3, for tokens free of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WholeWords {
    /// New tokens.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub tokens: usize,
    /// Take only words that are met at least this often.
    #[schemars(range(min = 1))]
    pub minimum_count: u64,
    /// Which words may become tokens.
    pub allowed: Allowed,
}

impl Default for WholeWords {
    fn default() -> Self {
        Self { tokens: 512, minimum_count: 2, allowed: Allowed::default() }
    }
}

impl Build<dyn Extend> for WholeWords {
    fn build(self, place: &Place) -> Result<Box<dyn Extend>> {
        Error::collect(Box::new(self) as Box<dyn Extend>, check(place, self.tokens, self.minimum_count))
    }
}

impl Extend for WholeWords {
    fn reads_text(&self) -> bool {
        true
    }

    fn cut(&self, json: &str) -> Result<Cut> {
        let cut = cut_of(json)?;
        let pre_tokenizer = with_marks(&cut.pre_tokenizer)
            .ok_or_else(|| Error::program(format!("{} is not split at marks", cut.pre_tokenizer)))?;
        Ok(Cut { pre_tokenizer, ..cut })
    }

    fn extend(&self, given: Given<'_>) -> Result<Extended> {
        let cut = self.cut(given.json)?;
        let tokenizer = HuggingFace::from_json(given.json)?;
        let old = tokenizer.vocabulary_size();
        made_by_merges(&tokenizer, &cut)?;
        let words = wanted(&given)?;
        let mut parts = Vec::with_capacity(words.len());
        written(&tokenizer, words, |ids, _| parts.push(ids))?;
        let mut found: Vec<_> = words
            .iter()
            .zip(parts)
            .filter(|((word, count), parts)| {
                *count >= self.minimum_count && parts.len() > 1 && self.allowed.holds(word)
            })
            .collect();
        if found.len() < self.tokens {
            let what = format!("no other word is met {} times", self.minimum_count);
            return Err(few(found.len(), self.tokens, &what));
        }
        found.sort_by_key(|((_, count), _)| Reverse(*count));
        found.truncate(self.tokens);
        let mut file = read(given.json)?;
        file["pre_tokenizer"] = cut.pre_tokenizer;
        file["model"]["ignore_merges"] = json!(true);
        let vocabulary = file["model"]["vocab"].as_object_mut().ok_or_else(|| missing("model.vocab"))?;
        for (id, ((word, _), _)) in (old..).zip(&found) {
            vocabulary.insert(spelling(word), json!(id));
        }
        let rarest = found.last().map(|((_, count), _)| *count);
        let kept = (0..old as TokenId).map(Origin::Kept);
        let tokens = kept.chain(found.into_iter().map(|(_, parts)| Origin::Made(parts))).collect();
        Ok(Extended { json: file.to_string(), tokens, rarest })
    }
}

/// Refuses a vocabulary with words that merges do not make: looked for first, they would be made now, also in old texts.
fn made_by_merges(tokenizer: &HuggingFace, cut: &Cut) -> Result<()> {
    let cutter = cut.cutter()?;
    let whole = |id: TokenId| {
        let text = String::from_utf8(tokenizer.bytes_of(id)?).ok()?;
        let mut words = 0;
        cutter.words(&text, |_| words += 1);
        (words == 1).then_some((id, text))
    };
    let all: Vec<(TokenId, String)> = (0..tokenizer.vocabulary_size() as TokenId).filter_map(whole).collect();
    let texts: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
    let encoded = tokenizer.encode(&texts, true)?;
    let not_made: Vec<_> = all.iter().zip(encoded).filter(|((id, _), encoded)| encoded.ids != [*id]).collect();
    let Some(((id, text), _)) = not_made.first() else { return Ok(()) };
    let message = format!(
        "{} words of the vocabulary are not made by its merges ({text:?}, id {id}): looked for before merges are done, they \
         would change how old texts are written",
        not_made.len()
    );
    Err(Fault::new(Place::key("model.merges"), message).hint("choose `method = \"learn\"`").into())
}

/// The part's record.
pub static PART: Part<dyn Extend> = Part::of::<WholeWords>("whole_words", 1);
