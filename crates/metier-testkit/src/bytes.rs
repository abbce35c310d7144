//! A tokenizer whose ids are bytes.

use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::seam::{Encoded, Tokenize};

/// The id of `<end>`.
pub const END: TokenId = 256;
/// The id of `<begin>`.
pub const BEGIN: TokenId = 257;

/// Ids 0 to 255 are bytes; `<end>` and `<begin>` are special.
pub struct Bytes {
    /// Whether texts begin with `<begin>`.
    pub begin: bool,
}

impl Tokenize for Bytes {
    fn vocabulary_size(&self) -> usize {
        258
    }

    fn encode(&self, texts: &[&str], special: bool) -> Result<Vec<Encoded>> {
        let encode = |text: &&str| {
            let mut encoded = Encoded::default();
            let mut at = 0;
            while at < text.len() {
                let rest = &text[at..];
                let (id, length) = match rest {
                    _ if special && rest.starts_with("<end>") => (END, 5),
                    _ if special && rest.starts_with("<begin>") => (BEGIN, 7),
                    _ => (TokenId::from(text.as_bytes()[at]), 1),
                };
                at += length;
                encoded.ids.push(id);
                encoded.ends.push(at);
                if length == 1 {
                    while !text.is_char_boundary(at) {
                        encoded.ids.push(TokenId::from(text.as_bytes()[at]));
                        at += 1;
                        encoded.ends.push(at);
                    }
                }
            }
            encoded
        };
        Ok(texts.iter().map(encode).collect())
    }

    fn decode(&self, ids: &[TokenId], special: bool) -> Result<String> {
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|id| match u8::try_from(*id) {
                Ok(byte) => vec![byte],
                Err(_) if special => self.bytes_of(*id).unwrap_or_default(),
                Err(_) => Vec::new(),
            })
            .collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn bytes_of(&self, id: TokenId) -> Option<Vec<u8>> {
        match id {
            0..256 => Some(vec![id as u8]),
            END => Some(b"<end>".to_vec()),
            BEGIN => Some(b"<begin>".to_vec()),
            _ => None,
        }
    }

    fn id_of(&self, token: &str) -> Option<TokenId> {
        [("<end>", END), ("<begin>", BEGIN)].iter().find(|(name, _)| *name == token).map(|(_, id)| *id)
    }

    fn begin_of_text(&self) -> Option<TokenId> {
        self.begin.then_some(BEGIN)
    }

    fn end_of_text(&self) -> Vec<TokenId> {
        vec![END]
    }

    fn fingerprint(&self) -> String {
        "bytes".into()
    }
}
