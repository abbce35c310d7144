use super::learn::{Merges, Words, merges};
use super::{Counted, Cut, Learn, Learned, characters, check_range, check_size, check_special, few_tokens, written};
use crate::scheme::word_piece::{self, PREFIX, ROLES, UNKNOWN};
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::{Error, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// # What it does
/// Learns a WordPiece vocabulary: frequent beginnings of words, and frequent parts inside words, become tokens.
///
/// # How
/// Texts lose control characters and, if asked, capitals and accents; words are what is between white space, marks of
/// punctuation and Chinese characters, which are words themselves. A word's first character is a symbol and each other one
/// is another symbol, written with `##` before it. Of all pairs of neighbors, weighted with how often their words are met,
/// the most frequent one becomes a token, until the vocabulary has its size. Ids go to the special tokens first, then to
/// characters, then to characters with `##`, both in the order of their codes, then to merges. A text is encoded by the
/// longest token at each place of a word.
///
/// # When to use
/// For encoders like BERT. It loses white space, and what it has no character for is `[UNK]`; for a model that writes,
/// take `bpe` or `unigram`.
///
/// # Differs from the paper in
/// The paper chooses the pair that makes the text most likely; here, as in the `tokenizers` library, it is the most
/// frequent one.
///
/// # Source
/// Schuster and Nakajima, *Japanese and Korean Voice Search*, ICASSP 2012; Devlin et al., *BERT*, arXiv:1810.04805. Merges
/// and ties are those of the trainer of the `tokenizers` library, which gives characters with `##` their ids in the
/// order of a hash table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WordPiece {
    /// How many ids there are, special tokens included.
    #[schemars(range(min = 2, max = 16_777_216))]
    pub vocabulary_size: u32,
    /// Tokens that are no text, in the order of their ids, which begin at 0; `[UNK]` is among them.
    pub special_tokens: Vec<String>,
    /// Merge only pairs that are met at least this often.
    #[schemars(range(min = 1))]
    pub minimum_count: u64,
    /// Keep so many different characters at most, the most frequent ones.
    #[schemars(range(min = 1))]
    pub alphabet: u32,
    /// Make letters small and take their accents off.
    pub lowercase: bool,
}

impl Default for WordPiece {
    fn default() -> Self {
        Self {
            vocabulary_size: 30_000,
            special_tokens: ROLES.map(str::to_owned).to_vec(),
            minimum_count: 2,
            alphabet: 1000,
            lowercase: true,
        }
    }
}

impl Learn for WordPiece {
    fn cut(&self) -> Cut {
        Cut {
            normalizer: word_piece::normalizer(self.lowercase),
            pre_tokenizer: json!({ "type": "BertPreTokenizer" }),
            ..Cut::default()
        }
    }

    fn size(&self) -> usize {
        self.vocabulary_size as usize
    }

    fn learn(&self, counted: &Counted) -> Result<Learned> {
        let words = written(counted)?;
        let mut kept: Vec<char> = characters(&words).into_iter().take(self.alphabet as usize).map(|(c, _)| c).collect();
        kept.sort_unstable();
        let mut tokens: Vec<Vec<u8>> = self.special_tokens.iter().map(|token| token.clone().into_bytes()).collect();
        let mut ids: HashMap<Vec<u8>, TokenId> = (0..).zip(&tokens).map(|(id, token)| (token.clone(), id)).collect();
        let mut id_of = |token: String| {
            *ids.entry(token.into_bytes()).or_insert_with_key(|token| {
                tokens.push(token.clone());
                tokens.len() as TokenId - 1
            })
        };
        let first: HashMap<char, TokenId> = kept.iter().map(|&c| (c, id_of(c.to_string()))).collect();
        let is_inside: HashSet<char> =
            words.iter().flat_map(|(word, _)| word.chars().skip(1)).filter(|c| first.contains_key(c)).collect();
        let inside: HashMap<char, TokenId> =
            kept.iter().filter(|c| is_inside.contains(c)).map(|&c| (c, id_of(format!("{PREFIX}{c}")))).collect();
        let least = tokens.len();
        if least > self.size() {
            let message =
                format!("{} ids are too few: characters and special tokens of these texts take {least}", self.size());
            return Err(Error::user(Place::key("vocabulary_size"), message)
                .hint("ask for a larger vocabulary, or for a smaller `alphabet`"));
        }
        let mut symbols = Words::with_capacity(words.len(), counted.bytes());
        for (word, count) in &words {
            let ids =
                word.chars().enumerate().filter_map(|(place, c)| if place == 0 { &first } else { &inside }.get(&c));
            symbols.push(ids.copied(), *count);
        }
        let wanted = Merges { size: self.size(), least: self.minimum_count, prefix: PREFIX, ..Merges::default() };
        let merges = merges(&mut symbols, &mut tokens, wanted, &|_| true)?;
        if tokens.len() < self.size() {
            return Err(few_tokens(tokens.len(), self.size(), Some(self.minimum_count)));
        }
        let tokens: Vec<String> = tokens.iter().map(|token| String::from_utf8_lossy(token).into_owned()).collect();
        let special: Vec<(usize, &str)> = self.special_tokens.iter().map(String::as_str).enumerate().collect();
        let json = word_piece::written(&tokens, &special, self.lowercase)?;
        Ok(Learned { json, tokens: tokens.len(), rarest: merges.last().map(|merge| merge.count) })
    }
}

impl Build<dyn Learn> for WordPiece {
    fn build(self, place: &Place) -> Result<Box<dyn Learn>> {
        let mut faults = Vec::new();
        check_size(place, self.size(), (self.special_tokens.len(), "special tokens"), &mut faults);
        check_special(place, &self.special_tokens, Some(UNKNOWN), &mut faults);
        check_range(place, "minimum_count", self.minimum_count, (1, u64::MAX), &mut faults);
        check_range(place, "alphabet", self.alphabet.into(), (1, u64::MAX), &mut faults);
        Error::collect(Box::new(self) as Box<dyn Learn>, faults)
    }
}

/// The record of `word_piece`.
pub static PART: Part<dyn Learn> = Part::of::<WordPiece>("word_piece", 1);
