//! A made-up language: the words of a text under a cipher, in another script.
//!
//! Each word of the letters a to z becomes one of as many Devanagari consonants. Two passes over its letters, from the front
//! and from the back, shift each letter by what stands before it and by the word's length, so that all letters of a word
//! depend on all of them: words that share letters look as unlike as any two, and no two words become the same.

use crate::read::hex;
use metier_core::data::{Document, Pieces};
use metier_core::seed::Seed;
use sha2::{Digest, Sha256};

/// Letters that are ciphered, from `a` and from `FIRST` on.
const LETTERS: u32 = 26;
/// The Devanagari letter ka.
const FIRST: u32 = 0x915;

/// A cipher of words.
#[derive(Debug, Clone)]
pub struct Cipher {
    key: u64,
    /// The part of all words that it is put on.
    share: f64,
    /// Decides which those are.
    seed: Seed,
}

impl Cipher {
    /// The cipher that a seed gives, put on a share of all words, drawn for each anew.
    pub fn new(seed: Seed, share: f64) -> Self {
        Self { key: seed.derive("cipher").at(0).bits(), share, seed: seed.derive("share") }
    }

    /// A text with its words ciphered; the name says which of them when it is a share. Capital letters become small ones
    /// first; all other characters stay.
    pub fn text(&self, name: &str, text: &str) -> String {
        let mut draws = self.seed.derive(name).at(0);
        let mut end = |word: &mut Vec<u32>, out: &mut String| {
            if !word.is_empty() {
                self.end(word, draws.unit() < self.share, out);
            }
        };
        let mut out = String::with_capacity(text.len() * 3);
        let mut word: Vec<u32> = Vec::new();
        for character in text.chars() {
            if character.is_ascii_alphabetic() {
                word.push(u32::from(character.to_ascii_lowercase()) - u32::from('a'));
            } else {
                end(&mut word, &mut out);
                out.push(character);
            }
        }
        end(&mut word, &mut out);
        out
    }

    /// A document of the ciphered text. Its text is a source of its own: no byte of it stands in the old one.
    pub fn document(&self, document: &Document) -> Document {
        let text = self.text(&document.id, &document.text);
        Document {
            id: document.id.clone(),
            source: format!("{} ciphered", document.source),
            source_sha256: hex(&Sha256::digest(text.as_bytes())),
            license: document.license.clone(),
            pieces: Pieces::whole(text.len()),
            partial: document.partial.clone(),
            metadata: document.metadata.clone(),
            text,
        }
    }

    fn end(&self, word: &mut Vec<u32>, ciphered: bool, out: &mut String) {
        let first = if ciphered { FIRST } else { u32::from('a') };
        if ciphered {
            self.shift(word);
            word.reverse();
            self.shift(word);
        }
        out.extend(word.drain(..).filter_map(|letter| char::from_u32(first + letter)));
    }

    fn shift(&self, word: &mut [u32]) {
        let mut state = mixed(self.key ^ word.len() as u64);
        for letter in word {
            *letter = (*letter + (state % u64::from(LETTERS)) as u32) % LETTERS;
            state = mixed(state ^ u64::from(*letter));
        }
    }
}

/// Splitmix64's last step (Steele, Lea and Flood 2014): every bit of the input moves every bit of the output.
fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn words_become_words_of_another_script() {
        let cipher = Cipher::new(Seed::new(1), 1.0);
        let text = "The cat saw the cats, 42 of them.";
        let out = cipher.text("a", text);
        assert_eq!(out.chars().count(), text.chars().count());
        assert!(!out.chars().any(|c| c.is_ascii_alphabetic()) && out.contains(", 42 "));
        let words: Vec<&str> = out.split(' ').collect();
        assert_eq!(words[0], words[3], "a word is the same wherever it stands");
        assert_ne!(words[1].chars().next(), words[4].chars().next(), "words with a stem in common do not show it");
        assert_eq!(out, Cipher::new(Seed::new(1), 1.0).text("b", text));
        assert_ne!(out, Cipher::new(Seed::new(2), 1.0).text("b", text));
        assert_eq!(cipher.text("a", ""), "");
    }

    #[test]
    fn a_share_of_the_words_is_ciphered_as_in_the_whole() {
        let (some, all) = (Cipher::new(Seed::new(1), 0.5), Cipher::new(Seed::new(1), 1.0));
        let text = "one two three four five six seven eight nine ten ".repeat(20);
        let (mixed, whole) = (some.text("a", &text), all.text("a", &text));
        let mut ciphered = 0;
        for ((word, old), new) in mixed.split(' ').zip(text.split(' ')).zip(whole.split(' ')) {
            assert!(word == old || word == new, "{word}");
            ciphered += usize::from(word == new && !word.is_empty());
        }
        assert!((70..130).contains(&ciphered), "{ciphered} of 200");
        assert_ne!(mixed, some.text("b", &text), "another document has other words ciphered");
    }

    #[test]
    fn no_two_words_become_the_same() {
        let cipher = Cipher::new(Seed::new(3), 1.0);
        let mut seen = BTreeSet::new();
        for number in 0..26_u32.pow(3) {
            let letter = |place: u32| char::from_u32(97 + number / 26_u32.pow(place) % 26).unwrap();
            assert!(seen.insert(cipher.text("a", &[letter(0), letter(1), letter(2)].iter().collect::<String>())));
        }
    }
}
