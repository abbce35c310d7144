//! English stories for small children: written from templates, read by the same templates, and held to their own facts.
//!
//! A [`Book`] has the words and sentences; what stories are made of stands on the page of
//! [`TinyStories`](crate::world::TinyStories). The engine of [`story`](crate::story) is another: there words are joined from
//! suffixes in an order of words that never changes, here sentences are data and every word has listed forms.

mod lexicon;
mod read;
mod scene;
mod template;
mod write;

use lexicon::Lexicon;
use metier_core::Result;
use template::Template;

/// What stands between a prompt and its story.
const STORY: &str = "Story:\n";

/// The words and sentences that stories are made of.
pub struct Book {
    lexicon: Lexicon,
    templates: Vec<Template>,
}

/// What a story is asked to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feature {
    Dialogue,
    Twist,
    BadEnding,
    MoralValue,
    Foreshadowing,
    Conflict,
}

impl Feature {
    const ALL: [Self; 6] =
        [Self::Dialogue, Self::Twist, Self::BadEnding, Self::MoralValue, Self::Foreshadowing, Self::Conflict];

    fn name(self) -> &'static str {
        match self {
            Self::Dialogue => "Dialogue",
            Self::Twist => "Twist",
            Self::BadEnding => "BadEnding",
            Self::MoralValue => "MoralValue",
            Self::Foreshadowing => "Foreshadowing",
            Self::Conflict => "Conflict",
        }
    }
}

impl Book {
    /// The book that comes with metier.
    ///
    /// # Errors
    /// Lists with faults; those that come with metier have none.
    pub fn new() -> Result<Self> {
        Ok(Self {
            lexicon: Lexicon::read("words.txt", include_str!("words.txt"))?,
            templates: template::read("templates.txt", include_str!("templates.txt"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Grade, Written};
    use metier_core::seed::Seed;

    fn stories(count: u64) -> (Book, Vec<Written>) {
        let book = Book::new().unwrap();
        let stories = (0..count).map(|number| book.write(Seed::new(5), number, true)).collect();
        (book, stories)
    }

    #[test]
    fn what_is_written_is_read_to_the_letter_and_agrees() {
        let (book, stories) = stories(500);
        let mut endings = 0;
        for (number, story) in (0..).zip(&stories) {
            assert_eq!(story, &book.write(Seed::new(5), number, true));
            let (opening, rest) = story.text.split_at(story.opening);
            let grade = book.grade(opening, rest);
            assert!((5..=20).contains(&grade.sentences), "{}", story.text);
            assert_eq!(grade.agreeing, grade.sentences, "{}", story.text);
            assert_eq!(grade.consistent, grade.mentions, "{}", story.text);
            assert!(grade.mentions >= grade.sentences, "{}", story.text);
            assert_eq!(grade.used, grade.wanted, "{}", story.text);
            assert!(story.facts.len() >= 4 && story.words.len() == 3);
            endings += u64::from(story.features.contains(&"BadEnding"));
            let whole = book.write(Seed::new(5), number, false);
            let whole = book.grade("", &whole.text);
            assert_eq!((whole.agreeing, whole.wanted), (whole.sentences, 0), "the opening is a sentence too");
        }
        assert!((100..200).contains(&endings), "{endings}");
        // Recursion, speech and rare turns are there.
        let text: String = stories.iter().map(|story| story.text.as_str()).collect();
        for words in ["who had", "all the way to", "\"Do you want to ", " knew that ", " said that ", ", for it was"] {
            assert!(text.contains(words), "{words}");
        }
    }

    fn graded(text: &str) -> Grade {
        let opening = "Words: ball, run, red\nStory:\nOnce upon a time, a little girl named Lily lived in the park.";
        Book::new().unwrap().grade(opening, text)
    }

    /// Sentences, those that are read, mentions, and those that agree.
    fn counts(text: &str) -> [u64; 4] {
        let grade = graded(text);
        [grade.sentences, grade.agreeing, grade.mentions, grade.consistent]
    }

    #[test]
    fn faults_of_grammar_and_of_facts_are_told_apart() {
        assert_eq!(counts(" Lily had a red ball. She was in the park."), [2, 2, 3, 3]);
        // Tense, the third person, an article, a capital, a blank, a word that is no word.
        for wrong in [
            " Lily has a red ball.",
            " Lily had an red ball.",
            " Lily had a orange ball.",
            " lily had a red ball.",
            " Lily had a red  ball.",
            " Lily had a reddish ball.",
            " Lily had a red ball",
            " Lily said, \"Lily run every day.\"",
            " Had Lily a red ball.",
        ] {
            assert_eq!(counts(wrong)[1], 0, "{wrong}");
        }
        assert_eq!(counts(" Lily had an orange ball.")[1], 1);
        let ball = " Lily had a red ball.";
        for (text, mentions, right) in [
            (" Tom was happy.", 2, 1),
            (" He was happy.", 2, 1),
            (" The girl was happy.", 2, 2),
            (" The boy was happy.", 2, 1),
            (" Lily was in the castle.", 3, 2),
            (" Lily still had her ball.", 4, 4),
            (" Lily still had his ball.", 4, 3),
            (" But Lily lost the blue ball in the park.", 4, 3),
            (" Lily looked around in the park.", 3, 3),
            (" The ball was red.", 3, 3),
            (" The ball was blue.", 3, 2),
            (" Lily said, \"I have the ball.\"", 3, 3),
            (" Lily said, \"I have the kite.\"", 3, 2),
            (" Lily knew that Lily knew that Lily had the ball.", 5, 5),
            (" Lily met a tall boy named Lily in the park.", 4, 3),
            (" Lily met a tall boy named Anna in the park.", 4, 3),
            (" Lily and Lily both wanted the ball.", 4, 3),
        ] {
            let [_, read, all, agreeing] = counts(&format!("{ball}{text}"));
            assert_eq!((read, all, agreeing), (2, mentions, right), "{text}");
        }
        // Who has what changes; a sentence that cannot be read still speaks of people and things.
        let lost = format!("{ball} But Lily lost the ball in the park.");
        assert_eq!(counts(&format!("{lost} Lily said, \"I have the ball.\""))[3], counts(&lost)[3] + 1);
        assert_eq!(counts(" Lily ran ran Tom the kite"), [1, 0, 3, 1]);
        assert_eq!(counts(""), [1, 0, 1, 0]);
        assert_eq!(counts(&"the the \" ' . ! é 漢".repeat(500))[1], 0);
        let grade = graded(" Lily ran in the park. Lily had a red kite.");
        assert_eq!((grade.wanted, grade.used), (3, 2), "a verb counts in any form");
    }

    /// Puts words out of place: with a chance of `share` each becomes another one of the story or of another story.
    fn corrupted(text: &str, other: &str, share: f64, seed: u64) -> String {
        let mut random = Seed::new(seed).at(0);
        let others: Vec<&str> = other.split(' ').collect();
        let word = |word| if random.unit() < share { others[random.below(others.len() as u64) as usize] } else { word };
        text.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    /// Spearman's correlation of five levels of corruption with what a grader says of each: of grammar and of facts.
    fn rank(grader: &dyn Fn(&str, &str) -> Grade) -> [f64; 2] {
        let (_, stories) = stories(60);
        let level = |share: f64| {
            let mut total = Grade::default();
            for (number, story) in stories.iter().enumerate() {
                let (opening, rest) = story.text.split_at(story.opening);
                let other = &stories[(number + 1) % stories.len()];
                total =
                    total.plus(grader(opening, &corrupted(rest, &other.text[other.opening..], share, number as u64)));
            }
            let part = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
            [part(total.agreeing, total.sentences), part(total.consistent, total.mentions)]
        };
        let levels = [0.0, 0.02, 0.06, 0.15, 0.4].map(level);
        [0, 1].map(|axis| {
            let values = levels.map(|level| level[axis]);
            // Ties get no rank of their own, and so no correlation of 1.
            let ranks = values.map(|value| values.iter().filter(|other| **other > value).count() as f64);
            let squares: f64 = ranks.iter().zip(0..).map(|(rank, place)| (rank - f64::from(place)).powi(2)).sum();
            1.0 - 6.0 * squares / (5.0 * 24.0)
        })
    }

    #[test]
    fn five_levels_of_corruption_rank_in_order_and_a_grader_that_always_agrees_does_not() {
        let book = Book::new().unwrap();
        let ranked = rank(&|opening, text| book.grade(opening, text));
        assert!(ranked.iter().all(|correlation| (correlation - 1.0).abs() < 1e-12), "{ranked:?}");
        let yes =
            |_: &str, _: &str| Grade { sentences: 9, agreeing: 9, mentions: 9, consistent: 9, ..Grade::default() };
        assert!(rank(&yes).iter().all(|correlation| *correlation < 0.9));
    }
}
