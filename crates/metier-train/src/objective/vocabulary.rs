//! Which tokens of a vocabulary stand for text, and which an objective may write between them.

use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::fault::near_miss;
use metier_core::seam::Tokenize;

/// A hint names no more special tokens than this.
const SHOWN: usize = 8;

/// The ids of a vocabulary by what they are for.
pub(super) struct Vocabulary {
    /// Those that stand for text, ascending.
    pub(super) plain: Vec<TokenId>,
    /// The special tokens as they are written, in the order of their ids.
    special: Vec<String>,
}

impl Vocabulary {
    pub(super) fn of(tokenizer: &dyn Tokenize) -> Result<Self> {
        let mut vocabulary = Self { plain: Vec::new(), special: Vec::new() };
        for id in 0..tokenizer.vocabulary_size() as TokenId {
            let Some(bytes) = tokenizer.bytes_of(id).filter(|bytes| !bytes.is_empty()) else { continue };
            if tokenizer.visible_bytes(id)?.is_empty() {
                vocabulary.special.push(String::from_utf8_lossy(&bytes).into_owned());
            } else {
                vocabulary.plain.push(id);
            }
        }
        Ok(vocabulary)
    }

    pub(super) fn is_plain(&self, id: TokenId) -> bool {
        self.plain.binary_search(&id).is_ok()
    }

    /// What to write under `key` in place of a token that is not there.
    pub(super) fn hint(&self, token: &str, key: &str) -> String {
        if let Some(near) = near_miss(token, self.special.iter().map(String::as_str)) {
            return format!("did you mean `{near}`?");
        }
        if self.special.is_empty() {
            return "the vocabulary has no special token: learn one with such, by `special_tokens` of `tokenizer`"
                .to_owned();
        }
        let shown = self.special.iter().take(SHOWN).map(|token| format!("`{token}`")).collect::<Vec<_>>().join(", ");
        let more = self.special.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("name a special token under `{key}` that no text has; the vocabulary has {shown}{more}")
    }
}
