//! Which texts can this world write, and how right is a text about it?

mod agglutination;
mod protocols;
mod rewriting;
mod skills;
mod tiny_stories;
mod topics;

pub use agglutination::Agglutination;
pub use protocols::Protocols;
pub use rewriting::{Form, Rewriting};
pub use skills::{Skill, Skills};
pub use tiny_stories::TinyStories;
pub use topics::Topics;

use metier_core::data::Question;
use metier_core::part::{Part, Record};
use metier_core::seed::Seed;

/// A source of texts of which everything is known.
pub trait World: Send + Sync {
    /// The text of a number. The same seed and number give the same text.
    fn write(&self, seed: Seed, number: u64) -> Written;

    /// How right a text is that begins with `opening`, which is not judged itself.
    fn grade(&self, opening: &str, continuation: &str) -> Grade;

    /// Questions about what its texts state, in a wording that is in none of them; not every world can ask. The seed decides the wrong choices.
    fn questions(&self, _seed: Seed) -> Vec<Question> {
        Vec::new()
    }
}

/// A text with what is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The text.
    pub text: String,
    /// The ISO 639-3 code of its language.
    pub language: &'static str,
    /// Bytes at which a morpheme ends inside a word, ascending.
    pub boundaries: Vec<usize>,
    /// Bytes of its opening, from which it can be continued.
    pub opening: usize,
    /// Words that were asked for and are in it.
    pub words: Vec<String>,
    /// What else was asked for and is in it.
    pub features: Vec<&'static str>,
    /// What it states, in order: who or what, what of it, and which.
    pub facts: Vec<[String; 3]>,
}

/// What is right in a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grade {
    /// Sentences, the broken off last one included.
    pub sentences: u64,
    /// Those whose words, order of suffixes and order of words the grammar allows.
    pub well_formed: u64,
    /// Those of them in which everything agrees that must.
    pub agreeing: u64,
    /// Those of these that speak of whom was introduced before.
    pub coherent: u64,
    /// Mentions of persons, things and places, in worlds that follow what was stated.
    pub mentions: u64,
    /// Those of them that agree with what was stated before.
    pub consistent: u64,
    /// Words that the opening asks for.
    pub wanted: u64,
    /// Those of them that are there.
    pub used: u64,
}

impl Grade {
    /// A solution that is none.
    fn wrong() -> Self {
        Self { sentences: 1, ..Self::default() }
    }

    /// A solution that is right if it has the words of the one that is known; well formed if they are of the same kind, a number or letters.
    fn of_solution(solution: &str, continuation: &str) -> Self {
        let (wanted, given): (Vec<&str>, Vec<&str>) =
            (solution.split(' ').collect(), continuation.split_whitespace().collect());
        let numbers = |row: &[&str]| row.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        let letters = |row: &[&str]| row.iter().all(|word| word.len() == 1 && word.as_bytes()[0].is_ascii_lowercase());
        let form = if numbers(&wanted) { numbers(&given) && given.len() == 1 } else { letters(&given) };
        let right = u64::from(given == wanted);
        let well_formed = u64::from(form && !given.is_empty());
        Self { sentences: 1, well_formed, agreeing: right, coherent: right, ..Self::default() }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            sentences: self.sentences + other.sentences,
            well_formed: self.well_formed + other.well_formed,
            agreeing: self.agreeing + other.agreeing,
            coherent: self.coherent + other.coherent,
            mentions: self.mentions + other.mentions,
            consistent: self.consistent + other.consistent,
            wanted: self.wanted + other.wanted,
            used: self.used + other.used,
        }
    }
}

/// A row of letters as it is written, each a word.
fn spaced(letters: &[char]) -> String {
    letters.iter().map(char::to_string).collect::<Vec<_>>().join(" ")
}

/// Every member, in alphabetical order.
#[rustfmt::skip]
pub static WORLDS: &[&Part<dyn World>] = &[
    &agglutination::PART,
    &protocols::PART,
    &rewriting::PART,
    &skills::PART,
    &tiny_stories::PART,
    &topics::PART,
];

/// The records of all members.
pub fn records() -> Vec<Record> {
    WORLDS.iter().map(|part| part.record()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::part::PAGE_HEADINGS;

    #[test]
    fn every_world_has_a_page() {
        for record in records() {
            let page = record.page();
            for heading in PAGE_HEADINGS {
                assert!(page.contains(&format!("# {heading}\n")), "{}: {heading}", record.name);
            }
            assert!(!record.summary().is_empty());
        }
    }
}
