use super::{Grade, World, Written, spaced};
use crate::tale::Book;
use metier_core::part::{Build, Part};
use metier_core::seed::{Seed, Stream};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Writes small exercises of several skills in one mixture, and says exactly whether a solution is right.
///
/// # How
/// The number of a text gives its skill by turns; the rest is drawn evenly by seed and number:
///
/// | skill | a text |
/// |---|---|
/// | `copy` | `copy: d k a = d k a` |
/// | `reverse` | `reverse: d k a = a k d` |
/// | `add` | `add: 31 + 8 = 2`, modulo `modulus` (37 here) |
/// | `lookup` | `lookup: d 4, k 7, a 1; k = 7` |
/// | `english` | `english: There was once a shy fox named Leo in the park. Leo had a red kite.`, two sentences of `tiny_stories` |
/// | `sort` | `sort: d k a = a d k` |
///
/// Rows of letters have 2 to `length`, without one twice. The opening goes as far as the equals sign, in `english` as far as the first sentence. A solution counts
/// as one sentence: it is well formed if it is of the right kind (letters, a number), and agrees if it is the right one to the letter; what goes on behind it is wrong.
/// In `english` grammar is graded as in `tiny_stories`.
///
/// # When to use
/// To see what training one skill takes from others: train on a mixture, then on a skill that was left out.
///
/// # Differs from the paper in
/// Nothing is known of an original; the skills are those that our check of `CoFiTune` asks for, and `sort` is one to learn later.
///
/// # Source
/// metier's own; the question is that of Zhang et al. 2024, *Balancing Speciality and Versatility* (arXiv:2404.10306).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Skills {
    /// What is in the mixture, in equal parts.
    pub skills: Vec<Skill>,
    /// Most letters of a row.
    #[schemars(range(min = 2, max = 26))]
    pub length: u64,
    /// What sums are taken modulo.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub modulus: u64,
}

/// Something that can be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Skill {
    /// A row of letters again.
    Copy,
    /// A row of letters from its end.
    Reverse,
    /// A sum, modulo a number.
    Add,
    /// The value of a key.
    Lookup,
    /// Two sentences of a story.
    English,
    /// A row of letters by the alphabet.
    Sort,
}

const ENGLISH: &str = "english: ";

impl Default for Skills {
    fn default() -> Self {
        let skills = vec![Skill::Copy, Skill::Reverse, Skill::Add, Skill::Lookup, Skill::English];
        Self { skills, length: 6, modulus: 37 }
    }
}

struct Exercises(Skills, Book);

impl Exercises {
    fn letters(&self, random: &mut Stream) -> Vec<char> {
        let mut letters: Vec<char> = ('a'..='z').collect();
        random.shuffle(&mut letters);
        letters.truncate(2 + random.below(self.0.length - 1) as usize);
        letters
    }

    /// The opening and the solution of a question.
    fn exercise(&self, skill: Skill, random: &mut Stream) -> (String, String) {
        let ask = |name: &str, letters: &[char]| format!("{name}: {} =", spaced(letters));
        let mut letters = self.letters(random);
        match skill {
            Skill::Copy => (ask("copy", &letters), spaced(&letters)),
            Skill::Reverse => {
                let opening = ask("reverse", &letters);
                letters.reverse();
                (opening, spaced(&letters))
            }
            Skill::Sort => {
                let opening = ask("sort", &letters);
                letters.sort_unstable();
                (opening, spaced(&letters))
            }
            Skill::Add => {
                let [one, other] = [(); 2].map(|()| random.below(self.0.modulus));
                (format!("add: {one} + {other} ="), ((one + other) % self.0.modulus).to_string())
            }
            Skill::Lookup => {
                let values: Vec<u64> = letters.iter().map(|_| random.below(10)).collect();
                let wanted = random.below(letters.len() as u64) as usize;
                let pairs: Vec<String> =
                    letters.iter().zip(&values).map(|(key, value)| format!("{key} {value}")).collect();
                (format!("lookup: {}; {} =", pairs.join(", "), letters[wanted]), values[wanted].to_string())
            }
            Skill::English => (String::new(), String::new()),
        }
    }

    /// What is right behind an opening; nothing when it is no question.
    fn solution(&self, opening: &str) -> Option<String> {
        let (name, question) = opening.trim().strip_suffix('=')?.split_once(": ")?;
        let mut row: Vec<&str> = question.split_whitespace().collect();
        match name {
            "copy" => {}
            "reverse" => row.reverse(),
            "sort" => row.sort_unstable(),
            "add" => {
                let (one, other) = question.split_once('+')?;
                let [one, other] = [one, other].map(|number| number.trim().parse::<u64>().ok());
                return Some((one?.checked_add(other?)? % self.0.modulus).to_string());
            }
            "lookup" => {
                let (pairs, key) = question.split_once(';')?;
                let pair = |pair: &str| {
                    pair.trim()
                        .split_once(' ')
                        .filter(|(name, _)| *name == key.trim())
                        .map(|(_, value)| value.to_owned())
                };
                return pairs.split(',').find_map(pair);
            }
            _ => return None,
        }
        Some(row.join(" "))
    }
}

impl World for Exercises {
    fn write(&self, seed: Seed, number: u64) -> Written {
        let skill = self.0.skills[(number % self.0.skills.len() as u64) as usize];
        if skill == Skill::English {
            let story = self.1.begin(seed, number);
            let opening = ENGLISH.len() + story.opening;
            return Written { text: format!("{ENGLISH}{}", story.text), opening, ..story };
        }
        let (opening, solution) = self.exercise(skill, &mut seed.derive("skills").at(number));
        let text = format!("{opening} {solution}");
        Written { text, language: "zxx", opening: opening.len(), ..Written::default() }
    }

    fn grade(&self, opening: &str, continuation: &str) -> Grade {
        if opening.is_empty() && !continuation.starts_with(ENGLISH) {
            let at = continuation.find('=').map_or(0, |at| at + 1);
            return if at == 0 { Grade::wrong() } else { self.grade(&continuation[..at], &continuation[at..]) };
        }
        if let Some(story) = opening.strip_prefix(ENGLISH).or_else(|| continuation.strip_prefix(ENGLISH)) {
            return if opening.is_empty() { self.1.grade("", story) } else { self.1.grade(story, continuation) };
        }
        self.solution(opening).map_or_else(Grade::wrong, |solution| Grade::of_solution(&solution, continuation))
    }
}

impl Build<dyn World> for Skills {
    fn build(self, place: &Place) -> Result<Box<dyn World>> {
        let mut faults = Vec::new();
        let mut say = |key: &str, bad: bool, message: &str| {
            if bad {
                faults.push(Fault::new(place.clone().with_key(key), message));
            }
        };
        say("skills", self.skills.is_empty(), "there is no skill to learn");
        say("length", !(2..=26).contains(&self.length), "a row has 2 to 26 letters");
        say("modulus", !(2..=1_000_000).contains(&self.modulus), "sums are taken modulo 2 to 1000000");
        Error::collect((), faults)?;
        Ok(Box::new(Exercises(self, Book::new()?)))
    }
}

/// The record of `skills`.
pub static PART: Part<dyn World> = Part::of::<Skills>("skills", 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn world(skills: Vec<Skill>) -> Box<dyn World> {
        Skills { skills, ..Skills::default() }.build(&Place::default()).unwrap()
    }

    #[test]
    fn every_exercise_is_right_and_a_changed_one_is_not() {
        let mut all = Skills::default().skills;
        all.push(Skill::Sort);
        let world = world(all);
        for number in 0..600 {
            let text = world.write(Seed::new(2), number);
            assert_eq!(text, world.write(Seed::new(2), number));
            let (opening, rest) = text.text.split_at(text.opening);
            let (one, whole) = (world.grade(opening, rest), world.grade("", &text.text));
            assert_eq!((one.sentences, one.agreeing), (1, 1), "{}", text.text);
            assert_eq!(whole.agreeing, whole.sentences, "{}", text.text);
            let longer = world.grade(opening, &format!("{rest} x"));
            assert!(longer.agreeing < longer.sentences, "{}", text.text);
            assert_eq!(world.grade(opening, "").agreeing, 0);
        }
    }

    #[test]
    fn solutions_are_those_of_the_page() {
        let world = world(vec![Skill::Copy]);
        let right = |opening: &str, text: &str| {
            let grade = world.grade(opening, text);
            (grade.well_formed, grade.agreeing)
        };
        for (opening, solution, other, ill) in [
            ("copy: d k a =", " d k a", " d a k", " d 4"),
            ("reverse: d k a =", "a k d", "d k a", "a kd"),
            ("sort: d k a =", "a d k", "d k a", "7"),
            ("add: 31 + 8 =", "2", "39", "2 2"),
            ("lookup: d 4, k 7, a 1; k =", "7", "4", "k"),
        ] {
            assert_eq!(right(opening, solution), (1, 1), "{opening}");
            assert_eq!(right(opening, other), (1, 0), "{opening}");
            assert_eq!(right(opening, ill), (0, 0), "{opening}");
        }
        for nothing in ["", "add: x + 3 =", "lookup: ; =", "add: 18446744073709551615 + 1 =", "é = ="] {
            assert_eq!(right(nothing, "1").1, 0, "{nothing}");
        }
        assert!(Skills { skills: vec![], ..Skills::default() }.build(&Place::default()).is_err());
    }
}
