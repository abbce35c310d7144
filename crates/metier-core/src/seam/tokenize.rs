use crate::Result;
use crate::data::TokenId;

/// Token ids of a text, with the bytes each one stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The ids.
    pub ids: Vec<TokenId>,
    /// For each id, one past the last byte of the text it covers; never decreasing.
    pub ends: Vec<usize>,
}

impl Encoded {
    /// The ends in characters of `text`, which was encoded: for each id the number of characters that lie, in part at
    /// least, before its end.
    pub fn character_ends(&self, text: &str) -> Vec<usize> {
        let mut starts = text.char_indices().map(|(start, _)| start).peekable();
        let mut characters = 0;
        let count = |&end: &usize| {
            while starts.next_if(|&start| start < end).is_some() {
                characters += 1;
            }
            characters
        };
        self.ends.iter().map(count).collect()
    }
}

/// Names that end a document (rather than a turn) in published vocabularies.
const DOCUMENT_ENDS: [&str; 5] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>"];

/// Text to token ids and back.
pub trait Tokenize: Send + Sync {
    /// Number of ids, added tokens included.
    fn vocabulary_size(&self) -> usize;

    /// Ids of each text. No begin or end token is added; special tokens written in the text are read as
    /// such only when `special` is true.
    fn encode(&self, texts: &[&str], special: bool) -> Result<Vec<Encoded>>;

    /// The ids of [`Tokenize::encode`] alone.
    fn ids(&self, texts: &[&str], special: bool) -> Result<Vec<Vec<TokenId>>> {
        Ok(self.encode(texts, special)?.into_iter().map(|encoded| encoded.ids).collect())
    }

    /// The text of ids, special tokens skipped unless `special` is true. Bytes that are no UTF-8 become U+FFFD.
    fn decode(&self, ids: &[TokenId], special: bool) -> Result<String>;

    /// The bytes one id stands for; `None` for an id out of the vocabulary.
    fn bytes_of(&self, id: TokenId) -> Option<Vec<u8>>;

    /// The bytes an id adds to a reply: none for a special token, which is no part of it.
    fn visible_bytes(&self, id: TokenId) -> Result<Vec<u8>> {
        let bytes = self.bytes_of(id).unwrap_or_default();
        let special = !bytes.is_empty() && self.decode(&[id], false)?.is_empty();
        Ok(if special { Vec::new() } else { bytes })
    }

    /// The id of a token written as in the vocabulary (`<|im_end|>`), if there is one.
    fn id_of(&self, token: &str) -> Option<TokenId>;

    /// The id put before a text that has no context, if the model was trained with one.
    fn begin_of_text(&self) -> Option<TokenId>;

    /// The id put behind a text that stands alone, if the vocabulary's template has one: `[SEP]` of BERT.
    fn separator(&self) -> Option<TokenId> {
        None
    }

    /// Ids that end a text or a turn.
    fn end_of_text(&self) -> Vec<TokenId>;

    /// The id that ends a document: the vocabulary's end of a text rather than of a turn, where it tells them apart.
    fn end_of_document(&self) -> Option<TokenId> {
        let ends = self.end_of_text();
        let named = DOCUMENT_ENDS.iter().filter_map(|name| self.id_of(name)).find(|id| ends.contains(id));
        named.or_else(|| ends.first().copied())
    }

    /// BLAKE3 of everything that decides the ids, in hexadecimal.
    fn fingerprint(&self) -> String;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_character_ends_with_it() {
        let encoded = Encoded { ids: vec![0; 7], ends: vec![0, 1, 2, 3, 3, 7, 8] };
        assert_eq!(encoded.character_ends("aé🎈b"), [0, 1, 2, 2, 2, 3, 4]);
        assert_eq!(Encoded::default().character_ends(""), [0_usize; 0]);
    }
}
