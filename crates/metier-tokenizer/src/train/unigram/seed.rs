//! The pieces that learning begins with: the substrings of words that cover most text.
//!
//! All beginnings of all ends of words are sorted, so that equal ones lie side by side; a substring is a candidate if
//! what follows it differs, the end of the word counted in, so that of substrings that always stand in the same longer
//! one only that is.
//!
//! Source: Kudo, "Subword Regularization" (2018), section 3.2; Abouelhoda et al., "Replacing suffix trees with enhanced
//! suffix arrays" (2004), for the walk.

use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::HashSet;

/// A substring with the number of its characters and how often it is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    pub text: &'a str,
    pub count: u64,
    /// `count` times the characters: how much text it covers.
    pub covers: u64,
}

/// At most so many substrings of at least two and at most `longest` characters, all of them in `alphabet`, that are met at
/// least twice: those that cover most, of equal ones the first in order.
pub(super) fn candidates<'a>(
    words: &[(&'a str, u64)],
    alphabet: &HashSet<char>,
    longest: usize,
    most: usize,
) -> Vec<Candidate<'a>> {
    let mut ends = Vec::with_capacity(words.iter().map(|(word, _)| word.len()).sum());
    for &(word, count) in words {
        for (from, _) in word.char_indices() {
            let rest = &word[from..];
            let known = rest.char_indices().find(|(_, c)| !alphabet.contains(c)).map_or(rest.len(), |(at, _)| at);
            let short = rest.char_indices().nth(longest).map_or(rest.len(), |(at, _)| at);
            ends.push((&rest[..known.min(short)], count));
        }
    }
    ends.par_sort_unstable_by_key(|(text, _)| *text);
    let mut found = Found { kept: Vec::new(), most };
    // The substrings that the texts so far begin with, from short to long, each with its count so far.
    let mut open: Vec<(usize, u64)> = Vec::new();
    let mut last = "";
    for (text, count) in ends.into_iter().chain([("", 0)]) {
        let shared = shared(last, text);
        let mut inner = 0;
        while let Some((length, sum)) = open.pop_if(|(length, _)| *length > shared) {
            inner += sum;
            found.add(&last[..length], inner);
        }
        match open.last_mut() {
            Some((length, sum)) if *length == shared => *sum += inner,
            _ => open.push((shared, inner)),
        }
        if text.len() > shared {
            open.push((text.len(), count));
        } else if let Some((_, sum)) = open.last_mut() {
            *sum += count;
        }
        last = text;
    }
    found.finish()
}

/// The bytes of the characters that both begin with.
fn shared(one: &str, other: &str) -> usize {
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    one.floor_char_boundary(same)
}

/// The best so far.
struct Found<'a> {
    kept: Vec<Candidate<'a>>,
    most: usize,
}

impl<'a> Found<'a> {
    fn add(&mut self, text: &'a str, count: u64) {
        let characters = text.chars().count() as u64;
        if characters < 2 || count < 2 {
            return;
        }
        self.kept.push(Candidate { text, count, covers: count.saturating_mul(characters) });
        if self.kept.len() > 2 * self.most {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.kept.len() > self.most {
            self.kept.select_nth_unstable_by_key(self.most, order);
            self.kept.truncate(self.most);
        }
    }

    fn finish(mut self) -> Vec<Candidate<'a>> {
        self.cut();
        self.kept.sort_unstable_by_key(order);
        self.kept
    }
}

fn order<'a>(candidate: &Candidate<'a>) -> (Reverse<u64>, &'a str) {
    (Reverse(candidate.covers), candidate.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substrings_are_counted_as_often_as_their_words_are_met() {
        let words = [("▁ab", 3), ("▁abc", 2), ("▁xab", 5), ("▁q", 9), ("▁aé", 1), ("▁", 7)];
        let alphabet: HashSet<char> = "▁abcx".chars().collect();
        let mut found: Vec<_> =
            candidates(&words, &alphabet, 4, 100).into_iter().map(|found| (found.text, found.count)).collect();
        found.sort_unstable();
        // `▁x` and `xa` always stand in `▁xab`, `bc` is an end of a word, `▁a` goes on in two ways.
        let wanted = [("ab", 10), ("abc", 2), ("bc", 2), ("xab", 5), ("▁a", 6), ("▁ab", 5), ("▁abc", 2), ("▁xab", 5)];
        assert_eq!(found, wanted);
        let best: Vec<_> = candidates(&words, &alphabet, 4, 3).into_iter().map(|found| found.text).collect();
        assert_eq!(best, ["ab", "▁xab", "xab"]);
        let short = candidates(&words, &alphabet, 2, 100);
        assert!(
            short.iter().all(|found| found.text.chars().count() == 2)
                && short.contains(&Candidate { text: "▁x", count: 5, covers: 10 })
        );
    }
}
