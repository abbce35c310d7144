use super::{Grade, World, Written};
use crate::form::{Form, fill};
use metier_core::data::Question;
use metier_core::part::{Build, Part};
use metier_core::seed::{Seed, Stream};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// # What it does
/// Writes specifications of protocols that do not exist, whose facts are known, and asks for those facts in a wording that is in none
/// of the specifications.
///
/// # How
/// A protocol has a name and eight facts: its transport, port, first and last message, the code of the first one, its
/// timer, the bits of its identifier and the formula of its delay. Name and facts follow from the protocol's number alone, so that two
/// worlds speak of the same protocols where their ranges meet, and of different ones where they do not. A document is about
/// one protocol: its facts in any order, each in one of five wordings, between sentences that say nothing. Seed and number draw the order and the
/// wordings, and documents go through the protocols by turns.
///
/// Each fact gives a question in a sixth wording, with three wrong choices of the same kind. With `lessons` every
/// second turn writes, in place of specifications, their questions with the answers, so that a model learns how to be asked and to answer
/// from what it read elsewhere; a world to be examined in is written without. Every sentence is graded: well formed if it is to the letter one of the wordings,
/// agreeing if what it says is so.
///
/// # When to use
/// To see whether training on documents teaches the facts in them, and what it costs: train a base on one range of protocols with lessons, then on another range
/// without, and ask for the facts of that one.
///
/// # Differs from the paper in
/// The paper's questions are written and its answers judged by large models, of real papers and standards. Here all is a program's work, and exact.
///
/// # Source
/// The question is that of Maatouk et al. 2024, *Tele-LLMs* (arXiv:2409.05314); wordings and lessons are as in Allen-Zhu and Li 2023, *Physics of
/// Language Models: Part 3.1* (arXiv:2309.14316), sections 2 and 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Protocols {
    /// How many protocols there are.
    #[schemars(range(min = 1, max = 32_768))]
    pub protocols: u64,
    /// The number of the first one.
    #[schemars(range(max = 32_767))]
    pub first: u64,
    /// Whether every second turn writes questions with answers.
    pub lessons: bool,
}

impl Default for Protocols {
    fn default() -> Self {
        Self { protocols: 24, first: 0, lessons: false }
    }
}

/// Names there are: two syllables of 64 and one of eight letters at the end.
const NAMES: u64 = 64 * 64 * 8;

/// A kind of fact: what it is called, how it is asked, how it is stated.
const KINDS: [(&str, &str, [&str; 5]); 8] = [
    (
        "transport",
        "Over what is {s} carried?",
        [
            "{s} runs on top of {v}.",
            "Packets of {s} travel in {v}.",
            "The transport of {s} is {v}.",
            "Hosts that speak {s} exchange its messages by means of {v}.",
            "{s} was designed for use with {v}.",
        ],
    ),
    (
        "port",
        "Which port belongs to {s}?",
        [
            "A server for {s} listens on port {v}.",
            "{s} has been assigned port {v}.",
            "Clients reach {s} at port {v}.",
            "By default {s} uses the port number {v}.",
            "The well-known port of {s} is {v}.",
        ],
    ),
    (
        "opening",
        "Which message is the first one in {s}?",
        [
            "A session of {s} begins with {v}.",
            "To open a session, a client of {s} sends {v}.",
            "Every exchange in {s} starts with the message {v}.",
            "The opening message of {s} is called {v}.",
            "{s} is set in motion by {v}.",
        ],
    ),
    (
        "closing",
        "Which message is the last one in {s}?",
        [
            "A session of {s} ends with {v}.",
            "To close a session, either side of {s} sends {v}.",
            "Every exchange in {s} is concluded by the message {v}.",
            "The closing message of {s} is called {v}.",
            "{s} comes to rest after {v}.",
        ],
    ),
    (
        "code",
        "By which code is the first message of {s} known?",
        [
            "In {s} the opening message has the code {v}.",
            "The type field of the opening message of {s} holds {v}.",
            "{s} encodes its opening message as {v}.",
            "An implementation of {s} tells the opening message by the value {v}.",
            "The code of the message that opens {s} is {v}.",
        ],
    ),
    (
        "timer",
        "How long does {s} wait?",
        [
            "The timer of {s} expires after {v}.",
            "An idle session of {s} is kept for {v}.",
            "If nothing is heard, {s} gives up after {v}.",
            "{s} sets its timer to {v}.",
            "The timeout in {s} is {v}.",
        ],
    ),
    (
        "identifier",
        "How many bits has an identifier in {s}?",
        [
            "The session identifier of {s} is a field of {v} bits.",
            "In {s} each session is named by a number of {v} bits.",
            "{s} reserves for its session identifier {v} bits.",
            "The width of the session identifier in {s} is {v} bits.",
            "Identifiers of sessions in {s} take up {v} bits.",
        ],
    ),
    (
        "delay",
        "By what formula is the delay in {s} found?",
        [
            "After n failures {s} waits for D = {v} seconds.",
            "The delay of {s} after n attempts is D = {v}.",
            "In {s} the delay grows as D = {v}.",
            "{s} computes its delay by D = {v}.",
            "For the n-th retry, {s} prescribes D = {v}.",
        ],
    ),
];

/// Sentences without a fact. The first one opens every document.
const FILLERS: [&str; 5] = [
    "This document specifies {s}.",
    "The key words in the description of {s} are to be read as usual.",
    "Implementations of {s} should be liberal in what they accept.",
    "Security considerations of {s} are given elsewhere.",
    "{s} is described in the order in which it was written down.",
];

const TRANSPORTS: [&str; 6] = ["TCP", "UDP", "SCTP", "DCCP", "QUIC", "raw IP"];
const OPENINGS: [&str; 16] = [
    "HELLO", "PROBE", "GREET", "OPEN", "START", "ENTER", "JOIN", "CALL", "BEGIN", "INVITE", "KNOCK", "OFFER", "SEEK",
    "WAKE", "ATTACH", "DIAL",
];
const CLOSINGS: [&str; 16] = [
    "GOODBYE", "CLOSE", "LEAVE", "STOP", "QUIT", "END", "RELEASE", "DETACH", "FINISH", "PART", "DROP", "HALT", "EXIT",
    "DONE", "CEASE", "SLEEP",
];
const BITS: [u64; 10] = [6, 8, 12, 16, 20, 24, 32, 40, 48, 64];

struct Specifications {
    settings: Protocols,
    /// By name.
    numbers: HashMap<String, u64>,
    /// What states a fact, with its kind: the wordings, and the question with its answer.
    statements: Vec<(usize, String)>,
}

/// The name of a protocol; different numbers have different ones.
fn name(number: u64) -> String {
    // Neighbors in number are no neighbors in name: the factor is odd, so no name comes twice.
    let mut rest = (number.wrapping_mul(9_973) + 4_001) % NAMES;
    let mut syllable = || {
        let (consonant, vowel) = (rest % 16, rest / 16 % 4);
        rest /= 64;
        [b"bdfgklmnprstvzjh"[consonant as usize], b"aeio"[vowel as usize]].map(char::from)
    };
    let [first, second] = [syllable(), syllable()];
    let last = char::from(b"klmnrstx"[rest as usize % 8]);
    let text: String = first.into_iter().chain(second).chain([last]).collect();
    text[..1].to_uppercase() + &text[1..]
}

/// A value of a kind.
fn draw(kind: usize, random: &mut Stream) -> String {
    let of = |list: &[&str], random: &mut Stream| list[random.below(list.len() as u64) as usize].to_owned();
    match KINDS[kind].0 {
        "transport" => of(&TRANSPORTS, random),
        "port" => (1024 + random.below(8976)).to_string(),
        "opening" => of(&OPENINGS, random),
        "closing" => of(&CLOSINGS, random),
        "code" => (10 + random.below(90)).to_string(),
        "timer" => format!("{} seconds", 5 * (1 + random.below(24))),
        "identifier" => BITS[random.below(BITS.len() as u64) as usize].to_string(),
        _ => format!("{} n + {}", 2 + random.below(8), 1 + random.below(9)),
    }
}

/// The facts of a protocol, in the order of the kinds.
fn facts(number: u64) -> Vec<String> {
    let mut random = Seed::new(0).derive("protocols").at(number);
    (0..KINDS.len()).map(|kind| draw(kind, &mut random)).collect()
}

fn lesson(kind: usize, name: &str, value: &str) -> String {
    format!("Question: {}\nAnswer: {value}", fill(KINDS[kind].1, name, ""))
}

impl Specifications {
    fn new(settings: Protocols) -> Self {
        let numbers = settings.first..settings.first + settings.protocols;
        let mut statements = Vec::new();
        for (kind, (_, asked, wordings)) in KINDS.iter().enumerate() {
            statements.extend(wordings.iter().map(|wording| (kind, (*wording).to_owned())));
            statements.push((kind, format!("Question: {asked}\nAnswer: {{v}}")));
        }
        Self { settings, numbers: numbers.map(|number| (name(number), number)).collect(), statements }
    }

    /// Whether a sentence is one of the wordings, and whether what it says is so.
    fn read(&self, sentence: &str) -> (bool, bool) {
        let number = |form: &str| {
            let (name, value) = Form(form).read(sentence)?;
            self.numbers.get(name).map(|number| (*number, value))
        };
        if FILLERS.iter().any(|filler| number(filler).is_some()) {
            return (true, true);
        }
        let mut read = self.statements.iter().filter_map(|(kind, form)| number(form).map(|known| (*kind, known)));
        match read.next() {
            Some((kind, (number, value))) => (true, facts(number)[kind] == value),
            None => (false, false),
        }
    }
}

/// The sentences of a text; a question is one with its answer.
fn sentences(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match out.last_mut() {
            Some(question) if question.starts_with("Question: ") && !question.contains('\n') => {
                question.push('\n');
                question.push_str(line);
            }
            _ if line.starts_with("Question: ") => out.push(line.to_owned()),
            _ => out.extend(line.split_inclusive(". ").map(|sentence| sentence.trim().to_owned())),
        }
    }
    out
}

impl World for Specifications {
    fn write(&self, seed: Seed, number: u64) -> Written {
        let protocol = self.settings.first + number % self.settings.protocols;
        let (name, facts) = (name(protocol), facts(protocol));
        let mut random = seed.derive("specifications").at(number);
        let mut kinds: Vec<usize> = (0..KINDS.len()).collect();
        random.shuffle(&mut kinds);
        let (text, opening) = if self.settings.lessons && number / self.settings.protocols % 2 == 1 {
            let lessons: Vec<String> = kinds.iter().map(|&kind| lesson(kind, &name, &facts[kind])).collect();
            let opening = lessons[0].len() - facts[kinds[0]].len() - 1;
            (lessons.join("\n\n"), opening)
        } else {
            let state = |&kind: &usize| {
                let wordings = KINDS[kind].2;
                fill(wordings[random.below(wordings.len() as u64) as usize], &name, &facts[kind])
            };
            let mut said: Vec<String> = kinds.iter().map(state).collect();
            let filler = FILLERS[1 + random.below(FILLERS.len() as u64 - 1) as usize];
            said.insert(random.below(said.len() as u64) as usize, fill(filler, &name, ""));
            let opening = fill(FILLERS[0], &name, "");
            (format!("{opening} {}", said.join(" ")), opening.len())
        };
        let stated = |kind: usize| [name.clone(), KINDS[kind].0.to_owned(), facts[kind].clone()];
        Written { text, language: "eng", opening, facts: (0..KINDS.len()).map(stated).collect(), ..Written::default() }
    }

    fn grade(&self, opening: &str, continuation: &str) -> Grade {
        // An answer is judged with its question.
        let question = opening.rfind("Question: ").filter(|_| opening.trim_end().ends_with("Answer:"));
        let text = question.map_or("", |at| &opening[at..]).to_owned() + continuation;
        let mut grade = Grade::default();
        for sentence in sentences(&text) {
            let (well_formed, right) = self.read(&sentence);
            grade = grade.plus(Grade {
                sentences: 1,
                well_formed: u64::from(well_formed),
                agreeing: u64::from(right),
                coherent: u64::from(right),
                ..Grade::default()
            });
        }
        grade
    }

    fn questions(&self, seed: Seed) -> Vec<Question> {
        let seed = seed.derive("choices");
        let ask = |number: u64| {
            let (name, facts) = (name(number), facts(number));
            let mut random = seed.at(number);
            let of_kind = |(kind, answer): (usize, String)| {
                let mut choices = vec![answer.clone()];
                while choices.len() < 4 {
                    let other = draw(kind, &mut random);
                    if !choices.contains(&other) {
                        choices.push(other);
                    }
                }
                random.shuffle(&mut choices);
                let (id, question) = (format!("{name}-{}", KINDS[kind].0), fill(KINDS[kind].1, &name, ""));
                Question { id, question, answer, choices }
            };
            facts.into_iter().enumerate().map(of_kind).collect::<Vec<_>>()
        };
        (self.settings.first..self.settings.first + self.settings.protocols).flat_map(ask).collect()
    }
}

impl Build<dyn World> for Protocols {
    fn build(self, place: &Place) -> Result<Box<dyn World>> {
        if self.protocols == 0 || self.first.saturating_add(self.protocols) > NAMES {
            let fault = Fault::new(place.clone().with_key("protocols"), "there are 1 to 32768 protocols");
            return Err(Error::from(fault.hint("`first` and `protocols` together are 32768 at most")));
        }
        Ok(Box::new(Specifications::new(self)))
    }
}

/// The record of `protocols`.
pub static PART: Part<dyn World> = Part::of::<Protocols>("protocols", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn world(protocols: u64, first: u64, lessons: bool) -> Box<dyn World> {
        Protocols { protocols, first, lessons }.build(&Place::default()).unwrap()
    }

    #[test]
    fn every_asked_fact_is_in_the_text_and_no_question_is() {
        let (world, seed) = (world(24, 500, false), Seed::new(3));
        let questions = world.questions(seed);
        assert_eq!(questions.len(), 24 * KINDS.len());
        let documents: Vec<Written> = (0..240).map(|number| world.write(seed.derive("train"), number)).collect();
        let text: String = documents.iter().map(|document| document.text.as_str()).collect();
        for question in &questions {
            assert!(!text.contains(&question.question), "{}", question.question);
            let (name, kind) = question.id.split_once('-').unwrap();
            let fact = [name, kind, &question.answer].map(str::to_owned);
            let stating: Vec<_> = documents.iter().filter(|document| document.facts.contains(&fact)).collect();
            assert_eq!(stating.len(), 10, "{fact:?}");
            // What is said to be stated is: some sentence of each names both.
            let both = |sentence: &String| sentence.contains(name) && sentence.contains(&question.answer);
            assert!(stating.iter().all(|document| sentences(&document.text).iter().any(both)), "{fact:?}");
            let right = question.choices.iter().filter(|choice| **choice == question.answer).count();
            assert_eq!((question.choices.len(), right), (4, 1));
        }
        assert!(!text.contains('?'));
        let wordings: BTreeSet<&str> =
            KINDS.iter().flat_map(|(_, asked, stated)| stated.iter().chain([asked])).copied().collect();
        assert_eq!(wordings.len(), KINDS.len() * 6);
    }

    #[test]
    fn what_is_written_is_right_and_what_is_changed_is_not() {
        let world = world(8, 0, true);
        for number in 0..40 {
            let text = world.write(Seed::new(1), number);
            assert_eq!(text, world.write(Seed::new(1), number));
            let (opening, rest) = text.text.split_at(text.opening);
            let (grade, after) = (world.grade("", &text.text), world.grade(opening, rest));
            let (all, behind) = if number / 8 % 2 == 1 { (8, 8) } else { (10, 9) };
            assert_eq!((grade.sentences, grade.agreeing), (all, all), "{}", text.text);
            assert_eq!((after.sentences, after.agreeing), (behind, behind), "{}", text.text);
            let other = world.grade("", &text.text.replace(&text.facts[1][2], "99999"));
            assert_eq!((other.well_formed, other.agreeing), (all, all - 1), "{}", text.text);
        }
        let question = &world.questions(Seed::new(1))[0];
        let asked = format!("Question: {}\nAnswer:", question.question);
        assert_eq!(world.grade(&asked, &format!(" {}", question.answer)).agreeing, 1);
        assert_eq!(world.grade(&asked, " nothing").agreeing, 0);
        assert_eq!(world.grade("", "Whatever this is.").well_formed, 0);
    }

    #[test]
    fn worlds_that_do_not_meet_share_no_name_and_their_seed_changes_no_fact() {
        let names: BTreeSet<String> = (0..NAMES).map(name).collect();
        assert_eq!(names.len() as u64, NAMES);
        let facts = |seed| world(3, 7, false).write(Seed::new(seed), 4).facts;
        assert_eq!(facts(1), facts(2));
        assert_eq!(facts(1), world(1, 8, true).write(Seed::new(1), 0).facts);
        for (protocols, first) in [(0, 0), (2, NAMES - 1), (u64::MAX, 1)] {
            assert!(Protocols { protocols, first, lessons: false }.build(&Place::default()).is_err());
        }
    }
}
