use super::{Grade, World, Written};
use metier_core::part::{Build, Part};
use metier_core::seed::{Seed, Stream};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// # What it does
/// Writes short documents of many topics, of which few are common and most are rare, and copies some of them with small changes.
///
/// # How
/// Topic `k` has the probability `k^-exponent`, scaled to the sum 1: with 40 topics and the exponent 1.7 the first one has half of the documents and the
/// last one a thousandth. Each topic has 24 words of its own, out of two syllables, and each of these has three followers
/// in the topic, with the probabilities 0.6, 0.3 and 0.1. A document has two to six sentences of six such words, each word the
/// follower of the one before; with the probability 1/3 one of 16 words that all topics share stands before it. Words and
/// followers are the same for every seed and every exponent, so that a world where all topics are alike can examine what was
/// learned from one where they are not. With the probability `copied` a document is one that was written before, drawn evenly, with
/// a third of its shared words exchanged. The topic of a document, and the number of the one that it copies, are among its facts.
///
/// A sentence is well formed if all its words are known, and agrees if those that are not shared are of one topic and each follows the one before.
///
/// # When to use
/// To see what choosing documents is worth: which of them stand for all is known.
///
/// # Differs from the paper in
/// The paper has no such texts.
///
/// # Source
/// metier's own; the question is that of Renduchintala et al. 2023, *INGENIOUS* (arXiv:2305.06677).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// How many topics there are.
    #[schemars(range(min = 1, max = 200))]
    pub topics: u64,
    /// How fast topics become rare; with 0 all are alike.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub exponent: f64,
    /// The probability that a document copies one before it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub copied: f64,
}

/// Words of a topic, followers of a word, and words that all topics share.
const WORDS: usize = 24;
const FOLLOWERS: [f64; 3] = [0.6, 0.3, 0.1];
const SHARED: usize = 16;
/// Words of a topic in a sentence, and sentences of a document.
const LENGTH: usize = 6;
const SENTENCES: std::ops::RangeInclusive<u64> = 2..=6;

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 5] = b"aeiou";

impl Default for Topics {
    fn default() -> Self {
        Self { topics: 40, exponent: 1.7, copied: 0.3 }
    }
}

/// A word of a document: what it is called by, and which shared word stands before it.
struct Step {
    word: usize,
    before: Option<usize>,
}

struct Library {
    copied: f64,
    /// The probability of this topic or one before it.
    up_to: Vec<f64>,
    /// Of each word of a topic those that follow it.
    followers: Vec<[usize; FOLLOWERS.len()]>,
    /// The shared words, then those of the topics.
    words: Vec<String>,
    known: HashMap<String, usize>,
}

impl Library {
    fn new(settings: &Topics) -> Self {
        let topics = settings.topics as usize;
        let weights: Vec<f64> = (1..=topics).map(|topic| (topic as f64).powf(-settings.exponent)).collect();
        let sum: f64 = weights.iter().sum();
        let up_to = weights.iter().scan(0.0, |so_far, weight| {
            *so_far += weight / sum;
            Some(*so_far)
        });
        let mut followers = Vec::with_capacity(topics * WORDS);
        for topic in 0..topics {
            let mut random = Seed::new(0).derive("topics").at(topic as u64);
            for word in 0..WORDS {
                let mut others: Vec<usize> = (0..WORDS).filter(|other| *other != word).collect();
                random.shuffle(&mut others);
                followers.push([others[0], others[1], others[2]].map(|other| topic * WORDS + other));
            }
        }
        let words: Vec<String> = (0..SHARED + topics * WORDS).map(word).collect();
        let known = words.iter().cloned().zip(0..).collect();
        Self { copied: settings.copied, up_to: up_to.collect(), followers, words, known }
    }

    /// The number of the document that this one is, or is a copy of.
    fn original(&self, seed: Seed, mut number: u64) -> u64 {
        let seed = seed.derive("original");
        loop {
            let mut random = seed.at(number);
            if number == 0 || random.unit() >= self.copied {
                return number;
            }
            number = random.below(number);
        }
    }

    fn steps(&self, random: &mut Stream) -> (usize, Vec<Step>) {
        let draw = random.unit();
        let topic = self.up_to.partition_point(|up_to| *up_to <= draw).min(self.up_to.len() - 1);
        let mut word = topic * WORDS + random.below(WORDS as u64) as usize;
        let sentences = SENTENCES.start() + random.below(SENTENCES.end() - SENTENCES.start() + 1);
        let mut steps = Vec::new();
        for _ in 0..sentences as usize * LENGTH {
            let before = (random.unit() < 1.0 / 3.0).then(|| random.below(SHARED as u64) as usize);
            steps.push(Step { word, before });
            let draw = random.unit();
            let follower = if draw < FOLLOWERS[0] { 0 } else { 1 + usize::from(draw >= FOLLOWERS[0] + FOLLOWERS[1]) };
            word = self.followers[word][follower];
        }
        (topic, steps)
    }

    /// The numbers of the words of a sentence that are of a topic; nothing if a word is not known.
    fn read(&self, sentence: &str) -> Option<Vec<usize>> {
        let numbers = sentence.split(' ').map(|word| self.known.get(word).copied()).collect::<Option<Vec<_>>>()?;
        Some(numbers.into_iter().filter_map(|number| number.checked_sub(SHARED)).collect())
    }
}

/// The word of a number: no two are the same.
fn word(number: usize) -> String {
    let syllables = CONSONANTS.len() * VOWELS.len();
    // A prime, so that neighbors do not look alike.
    let mixed = (number * 2731 + 17) % (syllables * syllables);
    let letter =
        |syllable: usize| [CONSONANTS[syllable / VOWELS.len()], VOWELS[syllable % VOWELS.len()]].map(char::from);
    [mixed / syllables, mixed % syllables].into_iter().flat_map(letter).collect()
}

impl World for Library {
    fn write(&self, seed: Seed, number: u64) -> Written {
        let original = self.original(seed, number);
        let (topic, mut steps) = self.steps(&mut seed.derive("topics").at(original));
        let fact = |what: &str, which: String| ["document".to_owned(), what.to_owned(), which];
        let mut facts = vec![fact("topic", (topic + 1).to_string())];
        if original != number {
            let mut random = seed.derive("changes").at(number);
            for before in steps.iter_mut().filter_map(|step| step.before.as_mut()) {
                if random.unit() < 1.0 / 3.0 {
                    *before = random.below(SHARED as u64) as usize;
                }
            }
            facts.push(fact("copy of", original.to_string()));
        }
        let mut text = String::new();
        let mut opening = 0;
        for (at, step) in steps.iter().enumerate() {
            let of_topic = SHARED + step.word;
            for number in step.before.into_iter().chain([of_topic]) {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&self.words[number]);
            }
            if at % LENGTH == LENGTH - 1 {
                text.push('.');
                opening = if opening == 0 { text.len() } else { opening };
            }
        }
        Written { text, language: "zxx", opening, facts, ..Written::default() }
    }

    fn grade(&self, opening: &str, continuation: &str) -> Grade {
        let mut last = opening.trim_end_matches('.').rsplit('.').next().and_then(|sentence| self.read(sentence.trim()));
        let mut grade = Grade::default();
        for sentence in continuation.trim().split_inclusive('.') {
            grade.sentences += 1;
            let whole = sentence.strip_suffix('.').and_then(|sentence| self.read(sentence.trim_start()));
            let Some(numbers) = whole else {
                last = None;
                continue;
            };
            grade.well_formed += 1;
            let before = last.as_ref().and_then(|last| last.last());
            let chain: Vec<usize> = before.into_iter().chain(&numbers).copied().collect();
            let agrees = chain.windows(2).all(|pair| self.followers[pair[0]].contains(&pair[1]));
            grade.agreeing += u64::from(agrees && !numbers.is_empty());
            grade.coherent += u64::from(agrees && !numbers.is_empty());
            last = Some(numbers);
        }
        grade
    }
}

impl Build<dyn World> for Topics {
    fn build(self, place: &Place) -> Result<Box<dyn World>> {
        let mut faults = Vec::new();
        let mut say = |key: &str, bad: bool, message: &str| {
            if bad {
                faults.push(Fault::new(place.clone().with_key(key), message));
            }
        };
        say("topics", !(1..=200).contains(&self.topics), "there are 1 to 200 topics");
        say("exponent", !(0.0..=10.0).contains(&self.exponent), "it is a number from 0 to 10");
        say("copied", !(0.0..=1.0).contains(&self.copied), "it is a share from 0 to 1");
        Error::collect((), faults)?;
        Ok(Box::new(Library::new(&self)))
    }
}

/// The record of `topics`.
pub static PART: Part<dyn World> = Part::of::<Topics>("topics", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn world(settings: Topics) -> Box<dyn World> {
        settings.build(&Place::default()).unwrap()
    }

    fn topic(written: &Written) -> u64 {
        written.facts[0][2].parse().unwrap()
    }

    #[test]
    fn topics_are_as_common_as_they_are_said_to_be() {
        const TEXTS: u64 = 4000;
        let world = world(Topics::default());
        let (mut counts, mut copies): (BTreeMap<u64, f64>, f64) = (BTreeMap::new(), 0.0);
        for number in 0..TEXTS {
            let written = world.write(Seed::new(3), number);
            assert_eq!(written, world.write(Seed::new(3), number));
            *counts.entry(topic(&written)).or_default() += 1.0 / TEXTS as f64;
            copies += (written.facts.len() as f64 - 1.0) / TEXTS as f64;
        }
        let sum: f64 = (1..=40).map(|topic| f64::from(topic).powf(-1.7)).sum();
        for rank in [1, 2, 3] {
            let expected = (rank as f64).powf(-1.7) / sum;
            assert!((counts[&rank] - expected).abs() < 0.05, "{rank}: {} and {expected}", counts[&rank]);
        }
        assert!((copies - 0.3).abs() < 0.03 && counts.len() > 30, "{copies} {}", counts.len());
        let even = self::world(Topics { exponent: 0.0, ..Topics::default() });
        let first = (0..TEXTS).filter(|number| topic(&even.write(Seed::new(3), *number)) == 1).count();
        assert!((50..150).contains(&first), "{first}");
    }

    #[test]
    fn copies_differ_in_shared_words_alone_and_every_text_is_right() {
        let library = Library::new(&Topics::default());
        let mut changed = 0;
        for number in 0..500 {
            let written = library.write(Seed::new(4), number);
            let grade = library.grade("", &written.text);
            assert!(grade.sentences >= 2 && grade.agreeing == grade.sentences, "{}", written.text);
            let (opening, rest) = written.text.split_at(written.opening);
            let grade = library.grade(opening, rest);
            assert!(grade.sentences >= 1 && grade.agreeing == grade.sentences, "{opening}|{rest}");
            let Some([_, _, original]) = written.facts.get(1) else { continue };
            let original = library.write(Seed::new(4), original.parse().unwrap());
            assert_eq!(original.facts.len(), 1);
            let [one, other] =
                [&written.text, &original.text].map(|text| library.read(&text.replace('.', "")).unwrap());
            assert_eq!(one, other);
            changed += u64::from(written.text != original.text);
        }
        assert!(changed > 100, "{changed}");
    }

    #[test]
    fn words_are_all_different_and_what_is_wrong_is_seen() {
        let library = Library::new(&Topics { topics: 200, ..Topics::default() });
        assert_eq!(library.known.len(), SHARED + 200 * WORDS);
        let [one, stranger] = [0, WORDS].map(|word| library.words[SHARED + word].clone());
        let follower = &library.words[SHARED + library.followers[0][2]];
        let agreeing = |text: &str| library.grade("", text).agreeing;
        assert_eq!(agreeing(&format!("{one} {} {follower}.", library.words[0])), 1);
        assert_eq!(agreeing(&format!("{one} {stranger}.")), 0);
        assert_eq!(agreeing(&format!("{one} {follower}")), 0);
        assert_eq!(
            library.grade("", &format!("{one} xyz. {one} {follower}.")),
            Grade { sentences: 2, well_formed: 1, agreeing: 1, coherent: 1, ..Grade::default() }
        );
        for nothing in ["", ".", " .", "é."] {
            assert_eq!(agreeing(nothing), 0, "{nothing}");
        }
        let build = |settings: Topics| settings.build(&Place::default()).map(drop).unwrap_err().to_string();
        let said = build(Topics { topics: 0, exponent: f64::NAN, copied: 1.5 });
        assert!(["topics", "exponent", "copied"].iter().all(|key| said.contains(key)), "{said}");
    }
}
