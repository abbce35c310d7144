//! BPE of characters, with bytes for those that are no token.

use super::{Piece, Split, byte_pieces};
use crate::scheme::bpe::{IDS, Merges, Scratch, listed_merges};
use crate::scheme::byte_level_bpe::TokenKind;
use crate::scheme::normalize::longest_first;
use crate::scheme::pieces::{MARK, Pieces};
use aho_corasick::AhoCorasick;
use metier_core::data::TokenId;
use serde_json::Value;
use std::collections::HashMap;

pub(super) struct Characters {
    ids: HashMap<char, TokenId>,
    ascii: [TokenId; 128],
    merges: Merges,
    /// The bytes of each token in a text.
    lengths: Vec<u32>,
    unknown: Option<Unknown>,
    bytes: Option<Box<[TokenId; 256]>>,
    /// Pieces that the user asked for; they are neither made nor changed by merges.
    whole: Option<(AhoCorasick, Vec<TokenId>)>,
}

/// What stands for a character that no token has.
#[derive(Clone, Copy)]
struct Unknown {
    id: TokenId,
    /// One for all that follow each other.
    fused: bool,
}

/// No token.
const NONE: TokenId = TokenId::MAX;

type Vocabulary<'a> = HashMap<&'a str, TokenId>;

impl Characters {
    /// The model of a `tokenizer.json`, and where a text may be split before it; `None` when something in it is not done
    /// here.
    pub(super) fn of(model: &Value) -> Option<(Self, Split)> {
        let is_empty = |key: &str| model[key].is_null() || model[key] == "";
        if !is_empty("continuing_subword_prefix") || !is_empty("end_of_word_suffix") || model["ignore_merges"] == true {
            return None;
        }
        let vocabulary: Vocabulary = model["vocab"]
            .as_object()?
            .iter()
            .map(|(token, id)| Some((token.as_str(), TokenId::try_from(id.as_u64()?).ok()?)))
            .collect::<Option<_>>()?;
        let unknown = match model["unk_token"].as_str() {
            Some(token) => Some(Unknown { id: *vocabulary.get(token)?, fused: model["fuse_unk"] == true }),
            None => None,
        };
        let bytes = if model["byte_fallback"] == true {
            Some(byte_pieces(|name| vocabulary.get(name).copied())?)
        } else {
            None
        };
        // Without both, the crate leaves characters out and loses their places.
        if bytes.is_none() && unknown.is_none() {
            return None;
        }
        let merges = listed_merges(model, &vocabulary)?;
        let stands_for_others = |id: TokenId| {
            unknown.is_some_and(|unknown| unknown.id == id) || bytes.iter().any(|bytes| bytes.contains(&id))
        };
        if merges.iter().any(|&(left, right, made)| [left, right, made].into_iter().any(stands_for_others)) {
            return None;
        }
        let size = vocabulary.values().max().map_or(0, |&id| id as usize + 1);
        // As for the table of bytes, which is refused with its reason.
        if size > 4 * vocabulary.len() + (1 << 16) || size > IDS as usize {
            return None;
        }
        let mut lengths = vec![0; size];
        let mut ids = HashMap::new();
        for (token, &id) in &vocabulary {
            lengths[id as usize] = token.len() as u32;
            ids.extend(only_character(token).map(|character| (character, id)));
        }
        for &id in bytes.iter().flat_map(|bytes| bytes.iter()) {
            lengths[id as usize] = 1;
        }
        let split = split(vocabulary.keys().copied());
        let merges = Merges::new(&merges)?;
        Some((Self { ascii: ascii(&ids), ids, merges, lengths, unknown, bytes, whole: None }, split))
    }

    /// The model of a SentencePiece vocabulary whose `tokenizer.json` has this `model`.
    pub(super) fn of_pieces(pieces: &Pieces, model: &Value) -> Option<(Self, Split)> {
        let (mut out, split) = Self::of(model)?;
        let mut texts = Vec::new();
        let mut ids = Vec::new();
        for (id, token) in pieces.of_kind(TokenKind::UserDefined) {
            texts.push(token);
            ids.push(id as TokenId);
            out.lengths[id] = token.len() as u32;
        }
        // No text is read as these.
        let is_text = |id: TokenId| matches!(pieces.kind(id as usize), TokenKind::Normal | TokenKind::Unused);
        out.ids.retain(|_, id| is_text(*id));
        out.ascii = ascii(&out.ids);
        if !texts.is_empty() {
            out.whole = Some((longest_first(&texts)?, ids));
        }
        Some((out, split_with(split, &texts)))
    }

    /// Adds the pieces of a text.
    pub(super) fn encode(&self, text: &str, scratch: &mut Scratch, out: &mut Vec<Piece>) {
        let mut unknown = Vec::new();
        let mut symbols = Vec::with_capacity(text.len());
        let mut from = 0;
        if let Some((automaton, ids)) = &self.whole {
            for found in automaton.find_iter(text) {
                self.spell(&text[from..found.start()], &mut symbols, &mut unknown);
                symbols.push(ids[found.pattern().as_usize()]);
                from = found.end();
            }
        }
        self.spell(&text[from..], &mut symbols, &mut unknown);
        let mut unknown = unknown.into_iter();
        let found = self.merges.apply(symbols.into_iter(), scratch);
        out.extend(found.iter().map(|&id| match self.unknown {
            Some(Unknown { id: other, .. }) if id == other => (id, unknown.next().unwrap_or(0)),
            _ => (id, self.lengths[id as usize]),
        }));
    }

    /// Adds the symbols of a text, and the number of bytes of each that is unknown.
    fn spell(&self, text: &str, symbols: &mut Vec<TokenId>, unknown: &mut Vec<u32>) {
        let mut goes_on = false;
        for (at, character) in text.char_indices() {
            let known = match self.ascii.get(character as usize) {
                Some(&id) => Some(id).filter(|&id| id != NONE),
                None => self.ids.get(&character).copied(),
            };
            let length = character.len_utf8();
            let was_unknown = std::mem::replace(&mut goes_on, false);
            match (known, &self.bytes, self.unknown) {
                (Some(id), ..) => symbols.push(id),
                (None, Some(bytes), _) => {
                    symbols.extend(text.as_bytes()[at..at + length].iter().map(|&byte| bytes[usize::from(byte)]));
                }
                (None, None, Some(Unknown { id, fused })) => {
                    match unknown.last_mut() {
                        Some(last) if was_unknown && fused => *last += length as u32,
                        _ => {
                            symbols.push(id);
                            unknown.push(length as u32);
                        }
                    }
                    goes_on = true;
                }
                (None, None, None) => {}
            }
        }
    }
}

fn only_character(token: &str) -> Option<char> {
    let mut characters = token.chars();
    characters.next().filter(|_| characters.next().is_none())
}

fn ascii(ids: &HashMap<char, TokenId>) -> [TokenId; 128] {
    let mut out = [NONE; 128];
    for (code, id) in (0..128_u8).zip(&mut out) {
        *id = ids.get(&char::from(code)).copied().unwrap_or(NONE);
    }
    out
}

/// Where no token goes across a mark.
fn split<'a>(tokens: impl Iterator<Item = &'a str> + Clone) -> Split {
    // What is unknown to the left of a mark that is unknown too goes across it.
    if !tokens.clone().any(|token| token == MARK) {
        return Split::Whole;
    }
    let mut crossed = Box::new([false; 256]);
    for token in tokens {
        cross(token, &mut crossed);
    }
    Split::Uncrossed(crossed)
}

/// The same with more tokens.
fn split_with(split: Split, tokens: &[&str]) -> Split {
    match split {
        Split::Uncrossed(mut crossed) => {
            for token in tokens {
                cross(token, &mut crossed);
            }
            Split::Uncrossed(crossed)
        }
        other => other,
    }
}

fn cross(token: &str, crossed: &mut [bool; 256]) {
    for (at, _) in token.match_indices(MARK).filter(|(at, _)| *at > 0) {
        crossed[usize::from(token.as_bytes()[at - 1])] = true;
    }
}
