use super::learn::{Merges, Words, merges};
use super::{Counted, Cut, Learn, Learned, Split, check_range, check_size, check_special, few_tokens};
use crate::scheme::alphabet::{bytes_of, character_of};
use crate::scheme::tokenizer_file::{BpeModel, TokenizerFile, added_token, byte_level, numbered};
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::{Error, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Learns a byte-level BPE vocabulary: frequent sequences of bytes become tokens, and every text can be written.
///
/// # How
/// Texts are split into words, and each word is a sequence of bytes. Of all pairs of neighbors, weighted with how
/// often their words are met, the most frequent one becomes a token, and its bytes are one symbol from then on; of
/// equally frequent pairs that with the smallest ids. This repeats until the vocabulary has its size. Ids go to the
/// special tokens first, then to the 256 bytes in the order of the characters that stand for them, then to merges.
///
/// # When to use
/// For any language model: it is what GPT-2, Llama 3, Qwen and Mistral's newer models use.
///
/// # Differs from the paper in
/// The paper's symbols are characters; here they are bytes, as in GPT-2, so that no text is unknown. Words are not
/// marked at their end; a word has the blank before it.
///
/// # Source
/// Sennrich et al., *Neural Machine Translation of Rare Words with Subword Units*, arXiv:1508.07909; bytes:
/// Radford et al., *Language Models are Unsupervised Multitask Learners*, section 2.2. Order and ties are those of
/// the trainer of the `tokenizers` library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bpe {
    /// How many ids there are, special tokens included.
    #[schemars(range(min = 257, max = 16_777_216))]
    pub vocabulary_size: u32,
    /// How texts are split into words.
    pub split: Split,
    /// Tokens that are no text, in the order of their ids, which begin at 0.
    pub special_tokens: Vec<String>,
    /// Merge only pairs that are met at least this often.
    #[schemars(range(min = 1))]
    pub minimum_count: u64,
}

impl Default for Bpe {
    fn default() -> Self {
        Self {
            vocabulary_size: 32_000,
            split: Split::default(),
            special_tokens: vec!["<|endoftext|>".to_owned()],
            minimum_count: 2,
        }
    }
}

impl Learn for Bpe {
    fn cut(&self) -> Cut {
        self.split.into()
    }

    fn size(&self) -> usize {
        self.vocabulary_size as usize
    }

    fn learn(&self, words: &Counted) -> Result<Learned> {
        let mut alphabet: Vec<(char, u8)> = (0..=255).map(|byte| (character_of(byte), byte)).collect();
        alphabet.sort_unstable();
        let special = self.special_tokens.len();
        let mut ids = [0; 256];
        let mut tokens: Vec<Vec<u8>> =
            self.special_tokens.iter().map(|token| bytes_of(token).unwrap_or_default()).collect();
        for (place, &(_, byte)) in alphabet.iter().enumerate() {
            ids[usize::from(byte)] = (special + place) as TokenId;
            tokens.push(vec![byte]);
        }
        let mut symbols = Words::with_capacity(words.len(), words.bytes());
        for (word, count) in words.iter() {
            symbols.push(word.iter().map(|&byte| ids[usize::from(byte)]), count);
        }
        let wanted = Merges { kept: special, size: self.size(), least: self.minimum_count, prefix: "" };
        let merges = merges(&mut symbols, &mut tokens, wanted, &|_| true)?;
        if tokens.len() < self.size() {
            return Err(few_tokens(tokens.len(), self.size(), Some(self.minimum_count)));
        }
        let mut written: Vec<String> = self.special_tokens.clone();
        written.extend(
            tokens[special..].iter().map(|token| token.iter().map(|&byte| character_of(byte)).collect::<String>()),
        );
        let pairs = merges
            .iter()
            .map(|merge| (written[merge.left as usize].as_str(), written[merge.right as usize].as_str()))
            .collect();
        let mut file = TokenizerFile::new(BpeModel::new(numbered(&written), pairs));
        file.added_tokens =
            self.special_tokens.iter().enumerate().map(|(id, token)| added_token(id, token, true, false)).collect();
        file.pre_tokenizer = self.split.step();
        file.decoder = byte_level(true, true);
        let rarest = merges.last().map(|merge| merge.count);
        Ok(Learned { json: file.to_json()?, tokens: tokens.len(), rarest })
    }
}

impl Build<dyn Learn> for Bpe {
    fn build(self, place: &Place) -> Result<Box<dyn Learn>> {
        let mut faults = Vec::new();
        let taken = (256 + self.special_tokens.len(), "bytes and special tokens");
        check_size(place, self.size(), taken, &mut faults);
        check_range(place, "minimum_count", self.minimum_count, (1, u64::MAX), &mut faults);
        check_special(place, &self.special_tokens, None, &mut faults);
        Error::collect(Box::new(self) as Box<dyn Learn>, faults)
    }
}

/// The record of `bpe`.
pub static PART: Part<dyn Learn> = Part::of::<Bpe>("bpe", 1);
