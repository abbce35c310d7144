//! How a model's conversations are written in tokens, and which of these the model itself writes.

use super::rows::{Row, Said, Verdict};
use metier_core::data::{Conversation, Role, TokenId};
use metier_core::seam::{Encoded, Tokenize};
use metier_core::{Error, Fault, Place, Result};
use std::ops::Range;

/// Writes a conversation out, with the beginning of a reply behind it if that is asked for.
pub type Render<'a> = dyn Fn(&Conversation, bool) -> Result<String> + 'a;

/// The contract of a model's conversations: template, tokens, and tokens that end a reply. From it follows which tokens of
/// a conversation are the model's to write.
///
/// A reply begins where the prompt that asks for it ends: what the template makes of the turns before it, with the
/// beginning of a reply, must be how the whole conversation begins too, in bytes and at the border of a token. It ends with the
/// first token that ends a reply. Headers and what the template writes behind that token are not the model's.
#[derive(Clone, Copy)]
pub struct Dialogue<'a> {
    /// The tokens.
    pub tokenizer: &'a dyn Tokenize,
    /// The template's text and how it is applied, if the model has one.
    pub template: Option<(&'a str, &'a Render<'a>)>,
    /// The tokens that end a reply.
    pub ends: &'a [TokenId],
}

/// A text to learn from, before it is encoded.
pub(super) struct Written {
    pub text: String,
    /// Whether special tokens in it are read as such.
    pub special: bool,
    /// Where replies begin, in bytes.
    pub replies: Vec<usize>,
    pub verdict: Option<Verdict>,
}

impl Dialogue<'_> {
    /// BLAKE3 of everything that decides tokens and mask, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let template = self.template.map(|(text, _)| text);
        let contract = serde_json::json!([1, self.tokenizer.fingerprint(), template, self.ends]);
        blake3::hash(contract.to_string().as_bytes()).to_hex().to_string()
    }

    /// The texts of a row: one for each reply.
    pub(super) fn write(&self, row: &Row) -> Result<Vec<Written>> {
        row.replies.iter().map(|(reply, verdict)| self.written(row, reply, *verdict)).collect()
    }

    fn written(&self, row: &Row, reply: &Said, verdict: Option<Verdict>) -> Result<Written> {
        if let (Said::Text(prompt), Said::Text(reply)) = (&row.prompt, reply) {
            return Ok(Written {
                text: format!("{prompt}{reply}"),
                special: false,
                replies: vec![prompt.len()],
                verdict,
            });
        }
        let Some((conversation, prompt)) = row.conversation(reply) else {
            return Err(Error::program("a row has texts and turns"));
        };
        let Some((_, render)) = self.template else {
            return Err(Fault::new(row.place.clone(), "the tokenizer has no chat template, so it cannot write turns")
                .hint("name a model that has one under `tokenizer`, or write `prompt` and `completion` as texts")
                .into());
        };
        self.refuse_marks(&conversation, &row.place)?;
        let at_row = |error: Error| at(error, &row.place);
        let text = render(&conversation, false).map_err(at_row)?;
        let mut replies = Vec::new();
        for (turn, message) in conversation.messages.iter().enumerate().skip(prompt) {
            if message.role != Role::Assistant {
                continue;
            }
            let messages = conversation.messages[..turn].to_vec();
            let before = render(&Conversation { messages, tools: conversation.tools.clone() }, true).map_err(at_row)?;
            if !text.starts_with(&before) {
                let message = format!(
                    "the chat template writes turns 1 to {turn} in another way when turn {} follows, so the prompt of that reply is no prefix",
                    turn + 1
                );
                return Err(Fault::new(row.place.clone().with_key("chat template"), message)
                    .hint("give each reply a row of its own, with the turns before it as `prompt`")
                    .into());
            }
            replies.push(before.len());
        }
        Ok(Written { text, special: true, replies, verdict })
    }

    /// Refuses turns with special tokens written in them, which would be read as the template's own.
    fn refuse_marks(&self, conversation: &Conversation, place: &Place) -> Result<()> {
        let contents: Vec<&str> = conversation.messages.iter().map(|message| message.content.as_str()).collect();
        let plain = self.tokenizer.encode(&contents, false)?;
        for (turn, (read, plain)) in self.tokenizer.encode(&contents, true)?.iter().zip(&plain).enumerate() {
            let differs = |(read, plain): (&TokenId, &TokenId)| read != plain;
            if let Some(at) = read.ids.iter().zip(&plain.ids).position(differs) {
                let mark = self.tokenizer.bytes_of(read.ids[at]).unwrap_or_default();
                let message =
                    format!("turn {} has the special token `{}` in its text", turn + 1, String::from_utf8_lossy(&mark));
                return Err(Fault::new(place.clone(), message)
                    .hint("take it out: it would be read as the template's own")
                    .into());
            }
        }
        Ok(())
    }

    /// The tokens of a text that the model is to write.
    pub(super) fn learned(&self, written: &Written, encoded: &Encoded, place: &Place) -> Result<Vec<Range<u64>>> {
        let mut learned: Vec<Range<u64>> = Vec::with_capacity(written.replies.len());
        for (number, &begin) in written.replies.iter().enumerate() {
            let first = encoded.ends.partition_point(|end| *end <= begin);
            let border = first.checked_sub(1).map_or(0, |before| encoded.ends[before]);
            if border != begin {
                let message = format!("a token lies across the beginning of reply {}", number + 1);
                return Err(Fault::new(place.clone(), message)
                    .hint("begin the reply without the white space, or end the prompt without it")
                    .into());
            }
            let next = written.replies.get(number + 1).copied().unwrap_or(usize::MAX);
            let last = if written.special {
                encoded.ids[first..].iter().position(|id| self.ends.contains(id)).map(|offset| first + offset)
            } else {
                encoded.ids.len().checked_sub(1)
            };
            match last {
                Some(last) if encoded.ends[last] <= next => learned.push(first as u64..last as u64 + 1),
                _ => {
                    let message =
                        format!("the chat template does not end reply {} with a token that ends a reply", number + 1);
                    return Err(Fault::new(place.clone().with_key("chat template"), message)
                        .hint(
                            "a model that learned from it would not know when to stop; name another template or model",
                        )
                        .into());
                }
            }
        }
        Ok(learned)
    }
}

/// The same error; faults without a line are put in `place`.
fn at(mut error: Error, place: &Place) -> Error {
    for fault in &mut error.faults {
        if fault.place.file.is_none() {
            let key = fault.place.key.take();
            fault.place = Place { key, ..place.clone() };
        }
    }
    error
}
