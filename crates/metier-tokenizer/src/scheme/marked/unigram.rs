//! Unigram: of all ways to cut a text into pieces, the one whose scores have the highest sum.
//!
//! For each place in the text the best way to it is kept, by the sum of its scores and the piece it ends with. A way must
//! be better than the one that is kept, not equal, to replace it; places are looked at from left to right and pieces
//! from short to long. So what a tie becomes depends on how sums are rounded.
//!
//! Source: Kudo, "Subword Regularization" (2018), section 3; `Model::EncodeOptimized` in `src/unigram_model.cc` of SentencePiece.

use super::trie::{ROOT, Trie};
use super::{Piece, byte_name, byte_pieces};
use crate::scheme::byte_level_bpe::TokenKind;
use crate::scheme::pieces::Pieces;
use metier_core::data::TokenId;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// What an unknown character scores below the least of all pieces.
const PENALTY: f64 = 10.0;

pub(super) struct Unigram {
    trie: Trie,
    scores: Vec<f64>,
    /// Pieces that no text is made of unless special tokens are read.
    special: Vec<bool>,
    unknown: TokenId,
    unknown_score: f64,
    /// The pieces of single bytes, for characters that no piece has.
    bytes: Option<Box<[TokenId; 256]>>,
    /// Sums are rounded to `f32`, and unknown characters are written byte by byte each for itself.
    sentence_piece: bool,
}

/// The best way to a place.
#[derive(Clone, Copy)]
pub(super) struct Node {
    score: f64,
    /// Where its last piece begins.
    start: u32,
    id: TokenId,
}

const UNREACHED: Node = Node { score: 0.0, start: u32::MAX, id: 0 };

impl Unigram {
    /// The model of a `tokenizer.json`; `None` when it has no unknown piece, which is then a fault of a text.
    pub(super) fn of(json: &Value) -> Option<Self> {
        let model = &json["model"];
        let vocabulary = model["vocab"].as_array()?;
        let special: HashSet<&str> = json["added_tokens"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|token| token["special"] == true)
            .filter_map(|token| token["content"].as_str())
            .collect();
        let mut out = Self::empty(model["unk_id"].as_u64().and_then(|id| TokenId::try_from(id).ok())?, false);
        let mut least = f64::INFINITY;
        for (id, piece) in (0..).zip(vocabulary) {
            let (text, score) = (piece[0].as_str()?, piece[1].as_f64()?);
            out.trie.insert(text, id);
            out.scores.push(score);
            out.special.push(special.contains(text));
            least = least.min(score);
        }
        out.unknown_score = least - PENALTY;
        if model["byte_fallback"] == true {
            out.bytes = byte_pieces(|name| out.trie.get(name));
            // With some of them it depends on the character.
            if out.bytes.is_none() && (0..=255).any(|byte| out.trie.get(&byte_name(byte)).is_some()) {
                return None;
            }
        }
        ((out.unknown as usize) < out.scores.len()).then_some(out)
    }

    /// The model of a SentencePiece vocabulary; `None` when it has no unknown piece.
    pub(super) fn of_pieces(pieces: &Pieces) -> Option<Self> {
        let mut out = Self::empty(TokenId::try_from(pieces.unknown?).ok()?, true);
        let least = pieces.of_kind(TokenKind::Normal).map(|(id, _)| pieces.scores[id]).fold(f32::MAX, f32::min);
        out.special = vec![false; pieces.tokens.len()];
        out.scores = pieces.scores.iter().map(|&score| f64::from(score)).collect();
        for (id, token) in pieces.of_kind(TokenKind::Normal) {
            out.trie.insert(token, id as TokenId);
        }
        for (id, token) in pieces.of_kind(TokenKind::UserDefined) {
            // Whatever the file says; the longer of two is the better one.
            out.scores[id] = f64::from((0.1 * token.len().saturating_sub(1) as f64) as f32);
            out.trie.insert(token, id as TokenId);
        }
        out.unknown_score = f64::from(least - PENALTY as f32);
        let named: HashMap<&str, usize> = pieces.of_kind(TokenKind::Byte).map(|(id, token)| (token, id)).collect();
        out.bytes = byte_pieces(|name| named.get(name).map(|&id| id as TokenId));
        Some(out)
    }

    fn empty(unknown: TokenId, sentence_piece: bool) -> Self {
        Self {
            trie: Trie::new(),
            scores: Vec::new(),
            special: Vec::new(),
            unknown,
            unknown_score: 0.0,
            bytes: None,
            sentence_piece,
        }
    }

    /// Adds the pieces of a text. Pieces of special tokens are among them only if `special`.
    pub(super) fn encode(&self, text: &str, special: bool, nodes: &mut Vec<Node>, out: &mut Vec<Piece>) {
        let mut unknown = Unknown::default();
        // The text before `base` is done: no piece goes across, so the best way to there is a part of the best way.
        let mut base = 0;
        nodes.clear();
        nodes.push(Node { score: 0.0, start: 0, id: 0 });
        for (at, character) in text.char_indices() {
            if at + 1 == base + nodes.len() && at > base {
                base = self.finish(text, base, nodes, &mut unknown, out);
            }
            let here = at - base;
            let so_far = nodes[here].score;
            let length = character.len_utf8();
            let mut is_known = false;
            let mut node = ROOT;
            for (end, &byte) in (here + 1..).zip(&text.as_bytes()[at..]) {
                let Some((child, id)) = self.trie.step(node, byte) else { break };
                node = child;
                let Some(id) = id.filter(|&id| special || !self.special[id as usize]) else { continue };
                is_known |= end == here + length;
                self.offer(nodes, end, Node { score: self.scores[id as usize] + so_far, start: here as u32, id });
            }
            if !is_known {
                let score = self.unknown_score + so_far;
                self.offer(nodes, here + length, Node { score, start: here as u32, id: self.unknown });
            }
        }
        self.finish(text, base, nodes, &mut unknown, out);
        self.write_unknown(text, &mut unknown, out);
    }

    #[inline]
    fn offer(&self, nodes: &mut Vec<Node>, end: usize, mut way: Node) {
        way.score = self.rounded(way.score);
        if end >= nodes.len() {
            nodes.resize(end + 1, UNREACHED);
        }
        let kept = &mut nodes[end];
        if kept.start == UNREACHED.start || way.score > kept.score {
            *kept = way;
        }
    }

    #[inline]
    fn rounded(&self, score: f64) -> f64 {
        if self.sentence_piece { f64::from(score as f32) } else { score }
    }

    /// Adds the pieces of the best way to the last place, which begins anew from there. Returns where it is.
    fn finish(
        &self,
        text: &str,
        base: usize,
        nodes: &mut Vec<Node>,
        unknown: &mut Unknown,
        out: &mut Vec<Piece>,
    ) -> usize {
        let last = nodes.len() - 1;
        // The way is known backwards: each piece is noted where it begins.
        let mut end = last;
        let mut next = UNREACHED.start;
        while end > 0 {
            let start = nodes[end].start;
            nodes[end].start = next;
            next = end as u32;
            end = start as usize;
        }
        let mut from = 0;
        while next != UNREACHED.start {
            let Node { start: after, id, .. } = nodes[next as usize];
            let length = next as usize - from;
            if id == self.unknown {
                unknown.length += length;
                unknown.end = base + next as usize;
            } else {
                self.write_unknown(text, unknown, out);
                out.push((id, length as u32));
            }
            from = next as usize;
            next = after;
        }
        let score = nodes[last].score;
        nodes.clear();
        nodes.push(Node { score, start: 0, id: 0 });
        base + last
    }

    /// Adds the characters that no piece has, which follow each other.
    fn write_unknown(&self, text: &str, unknown: &mut Unknown, out: &mut Vec<Piece>) {
        let Unknown { length, end } = std::mem::take(unknown);
        if length == 0 {
            return;
        }
        let written = &text[end - length..end];
        let named = if self.sentence_piece { None } else { self.trie.get(written) };
        match (&self.bytes, named) {
            (_, Some(id)) => out.push((id, length as u32)),
            (None, None) => out.push((self.unknown, length as u32)),
            (Some(bytes), None) => {
                let ids = written.bytes().map(|byte| bytes[usize::from(byte)]);
                if self.sentence_piece {
                    out.extend(ids.map(|id| (id, 1)));
                } else {
                    // All of them stand for all of the text.
                    out.extend(ids.enumerate().map(|(place, id)| (id, if place == 0 { length as u32 } else { 0 })));
                }
            }
        }
    }
}

/// Characters that no piece has, so far.
#[derive(Default)]
struct Unknown {
    length: usize,
    end: usize,
}
