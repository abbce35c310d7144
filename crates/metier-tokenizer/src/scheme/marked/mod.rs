//! Vocabularies of characters, without the `tokenizers` crate: SentencePiece's BPE and Unigram, in which a mark stands for a
//! blank, and WordPiece, which marks the inside of words.
//!
//! Ids are those of the `tokenizers` crate for a vocabulary that came as a `tokenizer.json`, and those of SentencePiece for one
//! that came as a `.model` or out of a GGUF file. The two differ where sums of scores are rounded, in what is a
//! character for the table of replacements, and in which pieces are looked for in a text.

mod characters;
mod trie;
mod unigram;
mod word_piece;

pub(crate) use trie::{ROOT, Trie};

use super::bpe::{Added, Scratch};
use super::byte_level_bpe::TokenKind;
use super::normalize::{Normalized, Normalizer, SentencePiece, bert_words, marked, prefixed};
use super::pieces::{MARK, PieceModel, Pieces};
use characters::Characters;
use metier_core::data::TokenId;
use metier_core::seam::Encoded;
use rayon::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use tokenizers::Tokenizer;
use unigram::{Node, Unigram};
use word_piece::WordPiece;

/// Longer words are not kept.
const LONGEST: usize = 128;
/// With more words, or tokens of words, all are forgotten.
const MOST_WORDS: usize = 1 << 18;
const MOST_TOKENS: usize = 1 << 21;

/// An encoder for texts, with what its threads remember from earlier ones.
pub(super) struct Encoder {
    special: Added,
    plain: Added,
    normalizer: Normalizer,
    /// What is done to a text after its added tokens are found.
    metaspace: Option<Metaspace>,
    split: Split,
    model: Model,
    /// Workers for texts whose special tokens are plain text, and for those where they are not: their words differ.
    idle: [Mutex<Vec<Worker>>; 2],
}

/// Blanks become marks, with one more before the text.
#[derive(Clone, Copy)]
pub(super) struct Metaspace {
    prepend: Prepend,
    /// White space of any kind only separates words.
    pub words_only: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prepend {
    Never,
    /// Only where the text itself begins.
    First,
    Always,
}

/// Where a text may be split before it is encoded.
enum Split {
    /// Before every mark.
    Marks,
    /// Before a mark where no token goes on: by the last byte of what is before it, whether some token does.
    Uncrossed(Box<[bool; 256]>),
    /// Nowhere.
    Whole,
    /// Around BERT's words.
    Bert,
}

enum Model {
    Bpe(Box<Characters>),
    Unigram(Unigram),
    WordPiece(WordPiece),
}

/// A token and the number of bytes of the normal form that it stands for.
type Piece = (TokenId, u32);

/// What a thread needs for itself.
#[derive(Default)]
struct Worker {
    words: HashMap<Box<str>, (u32, u32)>,
    /// The tokens of the words that are known.
    tokens: Vec<Piece>,
    /// Those of the word at hand.
    pieces: Vec<Piece>,
    scratch: Scratch,
    nodes: Vec<Node>,
}

impl Encoder {
    /// The encoder of a `tokenizer.json`, which `tokenizer` was read from; `None` when something in it is not done
    /// here.
    pub(super) fn of(json: &Value, tokenizer: &Tokenizer) -> Option<Self> {
        let normalizer = Normalizer::of(&json["normalizer"])?;
        let kind = json["model"]["type"].as_str()?;
        let (metaspace, split_each) = match kind {
            "WordPiece" if json["pre_tokenizer"]["type"] == "BertPreTokenizer" => (None, false),
            "WordPiece" => return None,
            _ => pre_tokenizer(&json["pre_tokenizer"], &normalizer)?,
        };
        let (model, split) = match kind {
            "BPE" => {
                let (model, split) = Characters::of(&json["model"])?;
                (Model::Bpe(Box::new(model)), split)
            }
            "Unigram" => (Model::Unigram(Unigram::of(json)?), Split::Whole),
            "WordPiece" => (Model::WordPiece(WordPiece::of(&json["model"])?), Split::Bert),
            _ => return None,
        };
        Some(Self {
            special: Added::of(json, tokenizer, true)?,
            plain: Added::of(json, tokenizer, false)?,
            normalizer,
            metaspace,
            split: if split_each { Split::Marks } else { split },
            model,
            idle: Default::default(),
        })
    }

    /// The encoder that gives SentencePiece's ids; `tokenizer` was read from the `tokenizer.json` of the same pieces.
    pub(super) fn of_pieces(pieces: &Pieces, json: &Value, tokenizer: &Tokenizer) -> Option<Self> {
        // Those that the user asked for are pieces to SentencePiece, and only the others are looked for before.
        let mut controls = json.clone();
        let is_piece = |token: &Value| token["id"].as_u64().is_some_and(|id| id < pieces.tokens.len() as u64);
        controls["added_tokens"].as_array_mut()?.retain(|token| token["special"] == true || !is_piece(token));
        let asked: Vec<&str> = pieces.of_kind(TokenKind::UserDefined).map(|(_, token)| token).collect();
        let normalizer =
            SentencePiece::new(&pieces.replacements, &asked, pieces.add_space_prefix, pieces.remove_extra_spaces)?;
        let (model, split) = match pieces.model {
            PieceModel::Bpe => {
                let (model, split) = Characters::of_pieces(pieces, &json["model"])?;
                (Model::Bpe(Box::new(model)), split)
            }
            PieceModel::Unigram => (Model::Unigram(Unigram::of_pieces(pieces)?), Split::Whole),
        };
        Some(Self {
            special: Added::of(&controls, tokenizer, true)?,
            plain: Added::of(&controls, tokenizer, false)?,
            normalizer: Normalizer::SentencePiece(Box::new(normalizer)),
            metaspace: None,
            split,
            model,
            idle: Default::default(),
        })
    }

    /// The ids of each text, with their ends only when asked, the texts shared out among threads.
    pub(super) fn encode(&self, texts: &[&str], special: bool, with_ends: bool) -> Vec<Encoded> {
        let added = if special { &self.special } else { &self.plain };
        let idle = &self.idle[usize::from(special)];
        texts
            .par_iter()
            .map_init(
                || Borrowed {
                    idle,
                    worker: idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default(),
                },
                |borrowed, text| {
                    let mut out = Output::new(text.len(), special, with_ends);
                    added.raw.split(text, |range, token| {
                        self.segment(text, range, added, &mut borrowed.worker, &mut out);
                        out.token(token);
                    });
                    out.encoded
                },
            )
            .collect()
    }

    /// Adds a text that is normalized for itself.
    fn segment(&self, text: &str, range: Range<usize>, added: &Added, worker: &mut Worker, out: &mut Output) {
        out.before = range.start;
        let normal = self.normalizer.apply(&text[range.clone()], out.with_ends);
        added.normalized.split(&normal.text, |inner, token| {
            let is_first = range.start == 0 && inner.start == 0;
            self.part(&normal, inner, is_first, worker, out);
            out.token(token.map(|(id, end)| (id, normal.end(end))));
        });
        out.before = 0;
    }

    /// Adds a part of a normal form that no added token is in.
    fn part(&self, normal: &Normalized, range: Range<usize>, is_first: bool, worker: &mut Worker, out: &mut Output) {
        if range.is_empty() {
            return;
        }
        let Some(metaspace) = self.metaspace else {
            return self.words(&normal.text[range.clone()], |at| normal.end(range.start + at), worker, out);
        };
        let part = Normalized::unchanged(&normal.text[range.clone()]);
        let part = metaspace.apply(part, is_first, out.with_ends);
        self.words(&part.text, |at| normal.end(range.start + part.end(at)), worker, out);
    }

    /// Adds the words of a text that is as the model takes it. `end` says where in the text that was given what is
    /// before a byte ends.
    fn words(&self, text: &str, end: impl Fn(usize) -> usize, worker: &mut Worker, out: &mut Output) {
        if matches!(self.split, Split::Bert) {
            return bert_words(text, |from, to| self.word(&text[from..to], from, &end, worker, out));
        }
        let mut from = 0;
        for (mark, _) in text.match_indices(MARK).filter(|_| !matches!(self.split, Split::Whole)) {
            let is_border = match &self.split {
                Split::Uncrossed(crossed) => mark > 0 && !crossed[usize::from(text.as_bytes()[mark - 1])],
                Split::Marks | Split::Whole | Split::Bert => true,
            };
            if is_border && mark > from {
                self.word(&text[from..mark], from, &end, worker, out);
                from = mark;
            }
        }
        self.word(&text[from..], from, &end, worker, out);
    }

    fn word(&self, word: &str, from: usize, end: &impl Fn(usize) -> usize, worker: &mut Worker, out: &mut Output) {
        let is_kept = word.len() <= LONGEST && !matches!(self.split, Split::Whole);
        let known = if is_kept { worker.words.get(word).copied() } else { None };
        if let Some((first, last)) = known {
            return out.pieces(&worker.tokens[first as usize..last as usize], from, end);
        }
        let Worker { words, tokens, pieces, scratch, nodes } = worker;
        pieces.clear();
        match &self.model {
            Model::Bpe(model) => model.encode(word, scratch, pieces),
            Model::Unigram(model) => model.encode(word, out.special, nodes, pieces),
            Model::WordPiece(model) => model.encode(word, pieces),
        }
        if is_kept {
            if words.len() == MOST_WORDS || tokens.len() > MOST_TOKENS {
                words.clear();
                tokens.clear();
            }
            let first = tokens.len() as u32;
            tokens.extend_from_slice(pieces);
            words.insert(word.into(), (first, tokens.len() as u32));
        }
        out.pieces(pieces, from, end);
    }
}

/// The piece of each byte, if there is one for all.
fn byte_pieces(id_of: impl Fn(&str) -> Option<TokenId>) -> Option<Box<[TokenId; 256]>> {
    let mut ids = Box::new([0; 256]);
    for (byte, id) in (0..=255).zip(ids.iter_mut()) {
        *id = id_of(&byte_name(byte))?;
    }
    Some(ids)
}

pub(crate) fn byte_name(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// The step before the model, and whether it splits at every mark; `None` for another step.
pub(super) fn pre_tokenizer(step: &Value, normalizer: &Normalizer) -> Option<(Option<Metaspace>, bool)> {
    let steps = match step["type"].as_str() {
        None => return step.is_null().then_some((None, false)),
        Some("Sequence") => step["pretokenizers"].as_array()?.as_slice(),
        Some(_) => std::slice::from_ref(step),
    };
    let (words_only, last) = match steps {
        [only] => (false, only),
        [first, last] if first["type"] == "WhitespaceSplit" => (true, last),
        _ => return None,
    };
    if last["type"] == "Split" && last["pattern"]["String"] == " " && last["invert"] != true {
        // Gemma's splits at blanks, of which its normalizer leaves none.
        return (!words_only && normalizer.ends_with_marks()).then_some((None, false));
    }
    if last["type"] != "Metaspace" || last["replacement"] != MARK {
        return None;
    }
    let prepend = match (last["prepend_scheme"].as_str(), last["add_prefix_space"].as_bool()) {
        (Some("never"), _) | (_, Some(false)) => Prepend::Never,
        (Some("first"), _) => Prepend::First,
        (Some("always") | None, _) => Prepend::Always,
        _ => return None,
    };
    let splits = last["split"] != false;
    // Where each word is a text of its own, marks must be what tells them apart.
    let is_done = if words_only { splits && prepend == Prepend::Always } else { true };
    // Where a text that was changed begins is not known here.
    let is_placed = prepend != Prepend::First || normalizer.is_idle();
    (is_done && is_placed).then_some((Some(Metaspace { prepend, words_only }), splits))
}

impl Metaspace {
    pub(super) fn apply(self, mut text: Normalized<'_>, is_first: bool, with_ends: bool) -> Normalized<'_> {
        if self.words_only {
            return words_marked(&text.text, with_ends);
        }
        if text.text.contains(' ') {
            text = marked(&text, with_ends);
        }
        let asked = self.prepend == Prepend::Always || (self.prepend == Prepend::First && is_first);
        if asked && !text.text.starts_with(MARK) { prefixed(MARK, &text, with_ends) } else { text }
    }
}

/// The words between white space, each with a mark before it unless it begins with one.
fn words_marked<'a>(text: &str, with_ends: bool) -> Normalized<'a> {
    let mut out = String::with_capacity(text.len() * 2);
    let mut ends = with_ends.then(Vec::new);
    for word in text.split_whitespace() {
        let from = word.as_ptr().addr() - text.as_ptr().addr();
        let mark = if word.starts_with(MARK) { "" } else { MARK };
        out.extend([mark, word]);
        if let Some(ends) = &mut ends {
            ends.resize(ends.len() + mark.len(), from + word.ceil_char_boundary(1));
            ends.extend((1..=word.len()).map(|at| from + word.ceil_char_boundary(at)));
        }
    }
    Normalized::changed(out, ends)
}

/// The ids of a text so far.
struct Output {
    encoded: Encoded,
    special: bool,
    with_ends: bool,
    /// Where in the text that begins from which ends are counted.
    before: usize,
}

impl Output {
    fn new(bytes: usize, special: bool, with_ends: bool) -> Self {
        let encoded = Encoded { ids: Vec::with_capacity(bytes / 4 + 1), ends: Vec::new() };
        Self { encoded, special, with_ends, before: 0 }
    }

    fn token(&mut self, token: Option<(TokenId, usize)>) {
        if let Some((id, end)) = token {
            self.push(id, || end);
        }
    }

    fn pieces(&mut self, pieces: &[Piece], from: usize, end: &impl Fn(usize) -> usize) {
        let mut at = from;
        for &(id, length) in pieces {
            at += length as usize;
            self.push(id, || end(at));
        }
    }

    fn push(&mut self, id: TokenId, end: impl FnOnce() -> usize) {
        self.encoded.ids.push(id);
        if self.with_ends {
            let last = self.encoded.ends.last().copied().unwrap_or(0);
            self.encoded.ends.push(last.max(self.before + end()));
        }
    }
}

/// A worker that goes back to its encoder.
struct Borrowed<'a> {
    idle: &'a Mutex<Vec<Worker>>,
    worker: Worker,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let worker = std::mem::take(&mut self.worker);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }
}
