use super::Syntax;
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::seam::{Encoded, Tokenize};
use std::sync::Arc;

/// A vocabulary some of whose special tokens are part of replies.
struct Showing {
    inner: Arc<dyn Tokenize>,
    ids: Vec<TokenId>,
}

/// The vocabulary with the marks of calls as part of replies, where they are special tokens: without them it could not
/// be told where a call begins.
pub fn showing(tokenize: Arc<dyn Tokenize>, syntax: &Syntax) -> Result<Arc<dyn Tokenize>> {
    let mut ids = Vec::new();
    for id in syntax.marks.iter().filter_map(|mark| tokenize.id_of(mark)) {
        if tokenize.visible_bytes(id)?.is_empty() {
            ids.push(id);
        }
    }
    Ok(if ids.is_empty() { tokenize } else { Arc::new(Showing { inner: tokenize, ids }) })
}

impl Tokenize for Showing {
    fn vocabulary_size(&self) -> usize {
        self.inner.vocabulary_size()
    }

    fn encode(&self, texts: &[&str], special: bool) -> Result<Vec<Encoded>> {
        self.inner.encode(texts, special)
    }

    fn ids(&self, texts: &[&str], special: bool) -> Result<Vec<Vec<TokenId>>> {
        self.inner.ids(texts, special)
    }

    fn decode(&self, ids: &[TokenId], special: bool) -> Result<String> {
        self.inner.decode(ids, special)
    }

    fn bytes_of(&self, id: TokenId) -> Option<Vec<u8>> {
        self.inner.bytes_of(id)
    }

    fn visible_bytes(&self, id: TokenId) -> Result<Vec<u8>> {
        if self.ids.contains(&id) {
            return Ok(self.bytes_of(id).unwrap_or_default());
        }
        self.inner.visible_bytes(id)
    }

    fn id_of(&self, token: &str) -> Option<TokenId> {
        self.inner.id_of(token)
    }

    fn begin_of_text(&self) -> Option<TokenId> {
        self.inner.begin_of_text()
    }

    fn separator(&self) -> Option<TokenId> {
        self.inner.separator()
    }

    fn end_of_text(&self) -> Vec<TokenId> {
        self.inner.end_of_text()
    }

    fn fingerprint(&self) -> String {
        self.inner.fingerprint()
    }
}
