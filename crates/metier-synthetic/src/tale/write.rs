//! Stories drawn by seed and number.

use super::lexicon::Class;
use super::read::{Reading, Said};
use super::scene::{Scene, value};
use super::template::{Article, Fact, Form, Piece, Stage};
use super::{Book, Feature, STORY};
use crate::world::Written;
use metier_core::seed::{Seed, Stream};

/// Draws of a sentence until one agrees with what was stated.
const TRIES: usize = 400;
/// Clauses inside clauses.
const DEEPEST: usize = 2;

const WORDS: &str = "Words: ";

/// The words that a prompt asks for.
pub(super) fn wanted(header: &str) -> Vec<String> {
    let words = header.lines().find_map(|line| line.strip_prefix(WORDS)).unwrap_or_default();
    words.split(',').map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty()).collect()
}

impl Book {
    /// The story of a number, with what is asked for before it when `instruct` is set.
    pub fn write(&self, seed: Seed, number: u64, instruct: bool) -> Written {
        let mut draws = Draws::new(self, seed.derive("tale").at(number));
        let features: Vec<Feature> = Feature::ALL.into_iter().filter(|_| draws.chance(0.3)).collect();
        let has = |feature: Feature| features.contains(&feature);
        draws.story(&has);
        let Draws { scene, mut random, sentences, noun, look, verb, .. } = draws;
        let words: Vec<String> = [noun, verb, look].map(|entry| self.lexicon.word(entry, 0).to_owned()).into();
        let features: Vec<&'static str> = features.into_iter().map(Feature::name).collect();
        let mut text = String::new();
        if instruct {
            let one = random.below(sentences.len().max(1) as u64) as usize;
            let one = sentences.get(one).map_or("", String::as_str);
            text = header(&mut random, &words, &features, &self.summary(&scene), one);
        }
        let opening = text.len() + sentences.first().map_or(0, String::len);
        text.push_str(&sentences.join(" "));
        Written { text, language: "eng", opening, words, features, facts: scene.stated, ..Written::default() }
    }

    /// The first two sentences of a story.
    pub fn begin(&self, seed: Seed, number: u64) -> Written {
        let mut draws = Draws::new(self, seed.derive("tale").at(number));
        draws.add(Stage::Begin);
        draws.add(Stage::Own);
        let (opening, text) = (draws.sentences.first().map_or(0, String::len), draws.sentences.join(" "));
        Written { text, language: "eng", opening, facts: draws.scene.stated, ..Written::default() }
    }

    /// The story in a line.
    fn summary(&self, scene: &Scene) -> String {
        let word = |entry: usize| self.lexicon.word(entry, 0);
        let people: Vec<String> =
            scene.people.iter().map(|person| format!("{} the {}", word(person.name), word(person.kind))).collect();
        let things: Vec<String> =
            scene.things.iter().map(|thing| format!("the {} {}", word(thing.look), word(thing.noun))).collect();
        format!("{}, and {}.", people.join(", "), things.join(", "))
    }
}

/// A part of what is asked for, in any order.
fn header(random: &mut Stream, words: &[String], features: &[&str], summary: &str, sentence: &str) -> String {
    let mut fields = vec![
        format!("{WORDS}{}\n", words.join(", ")),
        format!("Summary: {summary}\n"),
        format!("Random sentence: {sentence}\n"),
    ];
    if !features.is_empty() {
        fields.push(format!("Features: {}\n", features.join(", ")));
    }
    random.shuffle(&mut fields);
    fields.truncate(1 + random.below(fields.len() as u64) as usize);
    fields.concat() + STORY
}

struct Draws<'a> {
    book: &'a Book,
    random: Stream,
    scene: Scene,
    sentences: Vec<String>,
    /// Templates that the story has already.
    used: Vec<usize>,
    /// What the first thing is, how it looks, and what is done first.
    noun: usize,
    look: usize,
    verb: usize,
    verb_used: bool,
}

impl<'a> Draws<'a> {
    fn new(book: &'a Book, random: Stream) -> Self {
        let (scene, sentences, used) = (Scene::default(), Vec::new(), Vec::new());
        let mut draws = Self { book, random, scene, sentences, used, noun: 0, look: 0, verb: 0, verb_used: false };
        (draws.noun, draws.look, draws.verb) = (draws.of(Class::Noun), draws.of(Class::Look), draws.of(Class::Act));
        draws
    }

    fn chance(&mut self, share: f64) -> bool {
        self.random.unit() < share
    }

    fn of(&mut self, class: Class) -> usize {
        self.one(self.book.lexicon.of(class)).unwrap_or_default()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { Some(of[self.random.below(of.len() as u64) as usize]) }
    }

    fn story(&mut self, has: &dyn Fn(Feature) -> bool) {
        let few = |draws: &mut Self, stages: &[Stage], least: u64| {
            for _ in 0..least + draws.random.below(2) {
                let stage = draws.one(stages).unwrap_or(Stage::Body);
                draws.add(stage);
            }
        };
        let events = [Stage::Body, Stage::Body, Stage::Go, Stage::Think];
        self.add(Stage::Begin);
        self.add(Stage::Own);
        if has(Feature::Foreshadowing) {
            self.add(Stage::Foreshadow);
        }
        self.add(Stage::Want);
        self.add(Stage::Meet);
        few(self, &events, 1);
        if has(Feature::Dialogue) {
            few(self, &[Stage::Talk], 1);
        }
        if has(Feature::Conflict) {
            self.add(Stage::Conflict);
        }
        self.add(Stage::Problem);
        few(self, &events, 1);
        if has(Feature::Dialogue) {
            self.add(Stage::Talk);
        }
        self.add(if has(Feature::Twist) { Stage::Twist } else { Stage::Solve });
        few(self, &events, 0);
        self.add(if has(Feature::BadEnding) { Stage::Bad } else { Stage::Good });
        if has(Feature::MoralValue) {
            self.add(Stage::Moral);
        }
    }

    /// Adds a sentence of a stage, if one that agrees is found. No template stands twice in a story.
    fn add(&mut self, stage: Stage) {
        for _ in 0..TRIES {
            let Some((mut reading, meant)) = self.reading(stage, 0) else { continue };
            if self.used.contains(&reading.template) {
                continue;
            }
            let mut scene = self.scene.clone();
            let agreement = scene.take(&self.book.lexicon, &self.book.templates, &reading);
            let as_meant = meant.iter().all(|(letter, person)| value(&agreement.bound, *letter) == Some(*person));
            if agreement.mentions != agreement.right || !as_meant {
                continue;
            }
            if stage != Stage::Begin && self.chance(0.2) {
                reading.time = Some(self.of(Class::Time));
            }
            self.scene = scene;
            self.used.push(reading.template);
            self.verb_used |= self.book.templates[reading.template].pieces.contains(&Piece::Any(Class::Act, 0));
            self.sentences.push(self.book.written(&reading));
            return;
        }
    }

    /// A sentence drawn without regard to what was stated, and whom its variables mean.
    fn reading(&mut self, stage: Stage, depth: usize) -> Option<(Reading, Vec<(char, usize)>)> {
        let book = self.book;
        let of_stage: Vec<usize> = (0..book.templates.len()).filter(|at| book.templates[*at].stage == stage).collect();
        let template = self.one(&of_stage)?;
        let mut meant: Vec<(char, usize)> = Vec::new();
        let mut said = Vec::new();
        for piece in &book.templates[template].pieces {
            match piece {
                Piece::Word(_) => {}
                Piece::Any(Class::Act, 0) if !self.verb_used => said.push(Said::Any(self.verb)),
                Piece::Any(class, _) => said.push(Said::Any(self.of(*class))),
                Piece::Person(letter, Form::New) => {
                    let (of, kind, name) = (self.of(Class::Trait), self.of(Class::Kind), self.of(Class::Name));
                    said.extend([Said::Any(of), Said::NewPerson { letter: *letter, kind, name }]);
                }
                Piece::Person(letter, form) => said.push(self.person(*letter, *form, &mut meant)?),
                Piece::Thing(letter, article) => said.push(self.thing(*letter, *article)?),
                Piece::Place(letter) => {
                    let checked =
                        |fact: &Fact| matches!(fact, Fact::In(_, place) | Fact::Lies(_, place) if place == letter);
                    let checked = book.templates[template].facts.iter().any(checked);
                    said.push(Said::Place(*letter, self.place(checked)?));
                }
                Piece::Look(letter) => {
                    let looks: Vec<usize> = self.scene.things.iter().map(|thing| thing.look).collect();
                    said.push(Said::Look(*letter, self.one(&looks)?));
                }
                Piece::Clause if depth == DEEPEST => return None,
                Piece::Clause => said.push(Said::Clause(Box::new(self.reading(Stage::Clause, depth + 1)?.0))),
            }
        }
        Some((Reading { time: None, template, said }, meant))
    }

    fn person(&mut self, letter: char, form: Form, meant: &mut Vec<(char, usize)>) -> Option<Said> {
        let before = meant.iter().find(|(other, _)| *other == letter).map(|(_, person)| *person);
        let person = match before {
            Some(person) => person,
            None => self.random.below(self.scene.people.len().max(1) as u64) as usize,
        };
        if before.is_none() {
            meant.push((letter, person));
        }
        let known = self.scene.people.get(person)?.clone();
        let draw = self.random.unit();
        Some(match form {
            Form::Name => Said::Name(letter, known.name),
            _ if before.is_some() || draw < 0.25 => Said::Pronoun(letter, known.gender),
            _ if draw < 0.4 => Said::Kind(letter, known.kind),
            _ => Said::Name(letter, known.name),
        })
    }

    fn thing(&mut self, letter: char, article: Article) -> Option<Said> {
        if article == Article::New {
            let first = self.scene.things.is_empty();
            let (noun, look) =
                if first { (self.noun, self.look) } else { (self.of(Class::Noun), self.of(Class::Look)) };
            return Some(Said::NewThing(letter, look, noun));
        }
        let number = self.random.below(self.scene.things.len().max(1) as u64) as usize;
        let thing = self.scene.things.get(number)?.clone();
        let look = article != Article::Plain && self.chance(0.5);
        Some(Said::Thing(letter, look.then_some(thing.look), thing.noun))
    }

    /// A place that was spoken of when something is `checked` there, else one where nobody is.
    fn place(&mut self, checked: bool) -> Option<usize> {
        let people = self.scene.people.iter().filter_map(|person| person.place);
        let known: Vec<usize> = people.chain(self.scene.things.iter().filter_map(|thing| thing.place)).collect();
        if checked {
            return self.one(&known);
        }
        Some(self.of(Class::Place)).filter(|place| !known.contains(place))
    }
}
