//! What the settings of learners have in common.

use metier_core::{Error, Fault, Place};
use std::collections::HashSet;

/// Most ids of a vocabulary.
const MOST: usize = 1 << 24;

/// The place of a key in a table.
pub(super) fn key_place(place: &Place, key: &str) -> Place {
    let inside = place.key.as_deref().map_or_else(|| key.to_owned(), |table| format!("{table}.{key}"));
    place.clone().with_key(inside)
}

/// Faults of a vocabulary's size, of which `taken` ids go to what is not learned.
pub(super) fn check_size(place: &Place, size: usize, (taken, by): (usize, &str), faults: &mut Vec<Fault>) {
    let place = key_place(place, "vocabulary_size");
    if size <= taken {
        faults.push(Fault::new(place, format!("{size} ids leave none to learn: {by} take {taken}")));
    } else if size > MOST {
        faults.push(Fault::new(place, format!("{size} is out of range")).hint(format!("at most {MOST}")));
    }
}

/// The fault of a number that is out of its range.
pub(super) fn check_range(place: &Place, key: &str, number: u64, range: (u64, u64), faults: &mut Vec<Fault>) {
    let (least, most) = range;
    if !(least..=most).contains(&number) {
        let hint = if most == u64::MAX { format!("at least {least}") } else { format!("it is in {least}..={most}") };
        faults.push(Fault::new(key_place(place, key), format!("{number} is out of range")).hint(hint));
    }
}

/// Faults of special tokens, among which `unknown` must be.
pub(super) fn check_special(place: &Place, tokens: &[String], unknown: Option<&str>, faults: &mut Vec<Fault>) {
    let place = key_place(place, "special_tokens");
    let mut seen = HashSet::new();
    for token in tokens {
        let message = if token.is_empty() {
            "a special token is empty".to_owned()
        } else if !seen.insert(token) {
            format!("the special token `{token}` stands twice")
        } else if token.chars().count() == 1 {
            format!("the special token `{token}` is a single character, which is a token of texts")
        } else {
            continue;
        };
        faults.push(Fault::new(place.clone(), message));
    }
    if let Some(unknown) = unknown.filter(|unknown| tokens.iter().all(|token| token != unknown)) {
        faults.push(Fault::new(place, format!("`{unknown}` is missing, which stands for what no token has")));
    }
}

/// The fault of texts that make too few tokens, with what would make more.
pub(super) fn few_tokens(tokens: usize, size: usize, least: Option<u64>) -> Error {
    let message = format!("the texts make only {tokens} tokens of the {size} asked for");
    let (message, hint) = match least {
        Some(least) => (
            format!("{message}: no other pair of neighbors is met {least} times"),
            "give more text, ask for a smaller vocabulary, or lower `minimum_count`",
        ),
        None => (message, "give more text, or ask for a smaller vocabulary"),
    };
    Error::user(Place::key("vocabulary_size"), message).hint(hint)
}
