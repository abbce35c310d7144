//! SentencePiece's `.model` files.
//!
//! A file is one protobuf message. Only the fields that decide ids are read; the rest is skipped.
//!
//! Source: `src/sentencepiece_model.proto` of SentencePiece.

use super::byte_level_bpe::TokenKind;
use super::pieces::{PieceModel, Pieces};
use metier_core::{Error, Place, Result};

/// The vocabulary in a `.model` file.
///
/// The model kinds `word` and `char`, and marks after instead of before a word, are refused: no `tokenizer.json`
/// encodes alike.
pub fn read(bytes: &[u8]) -> Result<Pieces> {
    let mut pieces = Pieces { add_space_prefix: true, remove_extra_spaces: true, ..Pieces::default() };
    let mut message = Message { bytes, at: 0 };
    let mut model = 1;
    let mut asked = Asked::default();
    while let Some((field, value)) = message.next()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => read_piece(&mut pieces, bytes)?,
            (2, Value::Bytes(bytes)) => model = read_trainer(bytes, &mut asked)?,
            (3, Value::Bytes(bytes)) => read_normalizer(&mut pieces, bytes, &mut asked)?,
            _ => {}
        }
    }
    if pieces.tokens.is_empty() {
        return Err(refused("the file holds no pieces").hint("a SentencePiece model begins with its pieces"));
    }
    pieces.model = match model {
        1 => PieceModel::Unigram,
        2 => PieceModel::Bpe,
        3 => return Err(refused("models of the type `word` are not read").hint("known: unigram, bpe")),
        4 => return Err(refused("models of the type `char` are not read").hint("known: unigram, bpe")),
        other => return Err(refused(format!("{other} is the number of no type of model")).hint("known: unigram, bpe")),
    };
    if asked.mark_after {
        return Err(refused("pieces that end, instead of begin, with a space are not read"));
    }
    if asked.no_marks {
        return Err(refused("vocabularies that do not write spaces as `▁` are not read"));
    }
    pieces.unknown = Some(asked.unknown).filter(|&id| pieces.kinds.get(id) == Some(&TokenKind::Unknown));
    Ok(pieces)
}

/// What the file asks for beside its pieces.
#[derive(Default)]
struct Asked {
    unknown: usize,
    mark_after: bool,
    no_marks: bool,
}

fn read_piece(pieces: &mut Pieces, bytes: &[u8]) -> Result<()> {
    let mut message = Message { bytes, at: 0 };
    let (mut token, mut score, mut kind) = (String::new(), 0.0, TokenKind::Normal);
    let number = pieces.tokens.len();
    while let Some((field, value)) = message.next()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => {
                token = String::from_utf8(bytes.to_vec())
                    .map_err(|_| refused(format!("piece {number} is no UTF-8 text")))?;
            }
            (2, Value::Fixed(bits)) => score = f32::from_bits(bits),
            (3, Value::Number(number)) => {
                kind = i64::try_from(number).ok().and_then(TokenKind::from_gguf).ok_or_else(|| {
                    refused(format!("the piece `{token}` has the type {number}, and there are the types 1 to 6"))
                })?;
            }
            _ => {}
        }
    }
    pieces.tokens.push(token);
    pieces.scores.push(score);
    pieces.kinds.push(kind);
    Ok(())
}

/// The number of the model's type.
fn read_trainer(bytes: &[u8], asked: &mut Asked) -> Result<u64> {
    let mut message = Message { bytes, at: 0 };
    let mut model = 1;
    while let Some((field, value)) = message.next()? {
        match (field, value) {
            (3, Value::Number(number)) => model = number,
            (24, Value::Number(number)) => asked.mark_after = number != 0,
            (40, Value::Number(number)) => asked.unknown = usize::try_from(number).unwrap_or(usize::MAX),
            _ => {}
        }
    }
    Ok(model)
}

fn read_normalizer(pieces: &mut Pieces, bytes: &[u8], asked: &mut Asked) -> Result<()> {
    let mut message = Message { bytes, at: 0 };
    while let Some((field, value)) = message.next()? {
        match (field, value) {
            (2, Value::Bytes(bytes)) => pieces.replacements = bytes.to_vec(),
            (3, Value::Number(number)) => pieces.add_space_prefix = number != 0,
            (4, Value::Number(number)) => pieces.remove_extra_spaces = number != 0,
            (5, Value::Number(number)) => asked.no_marks = number == 0,
            _ => {}
        }
    }
    Ok(())
}

enum Value<'a> {
    Number(u64),
    Fixed(u32),
    Bytes(&'a [u8]),
    Skipped,
}

/// A protobuf message, read field by field.
struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Message<'a> {
    /// The next field's number and value; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => {
                self.take(8)?;
                Value::Skipped
            }
            2 => {
                let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed(self.take(4)?.try_into().map_or(0, u32::from_le_bytes)),
            other => {
                return Err(refused(format!("{other} is the number of no type of field, before byte {}", self.at)));
            }
        };
        Ok(Some((tag >> 3, value)))
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(refused("a number has more than 64 bits"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| {
            refused(format!("{length} bytes are expected at {}, and the message has {}", self.at, self.bytes.len()))
        })?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::user(Place::key("sentencepiece"), message)
}
