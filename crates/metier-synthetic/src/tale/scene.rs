//! What a story has stated so far, and whether what it says next agrees.

use super::lexicon::{Gender, Lexicon};
use super::read::{Reading, Said};
use super::template::{Fact, Template};

/// Somebody in a story; numbers are entries of the lexicon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub name: usize,
    pub kind: usize,
    pub gender: Gender,
    pub place: Option<usize>,
}

/// Something in a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thing {
    pub noun: usize,
    pub look: usize,
    /// The person who has it.
    pub holder: Option<usize>,
    /// Where it lies, when nobody has it.
    pub place: Option<usize>,
}

/// The facts stated so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Scene {
    pub people: Vec<Person>,
    pub things: Vec<Thing>,
    /// Whom "she" and "he" mean: the last one mentioned.
    focus: [Option<usize>; 2],
    /// What was stated, in order: who or what, what of it, and which.
    pub stated: Vec<[String; 3]>,
}

/// What a variable of a sentence stands for: a person or thing of the scene, or an entry of the lexicon.
type Bound = Vec<(char, Option<usize>)>;

/// How far a sentence agrees with what was stated.
#[derive(Debug, Clone, Default)]
pub(super) struct Agreement {
    pub mentions: u64,
    pub right: u64,
    /// Of the sentence itself, not of clauses inside.
    pub bound: Bound,
}

/// The mentions of one sentence, by variable.
#[derive(Default)]
struct Mentions(Vec<(char, bool)>);

impl Mentions {
    fn add(&mut self, letter: char, right: bool) {
        self.0.push((letter, right));
    }

    /// The last mention of a variable is wrong after all.
    fn refute(&mut self, letter: char) {
        if let Some(mention) = self.0.iter_mut().rev().find(|(other, _)| *other == letter) {
            mention.1 = false;
        }
    }
}

pub(super) fn value(bound: &Bound, letter: char) -> Option<usize> {
    bound.iter().find(|(other, _)| *other == letter).and_then(|(_, value)| *value)
}

impl Scene {
    /// Takes in a sentence: counts its mentions and those that agree, and adds what it states.
    pub fn take(&mut self, lexicon: &Lexicon, templates: &[Template], reading: &Reading) -> Agreement {
        let (mut mentions, mut bound) = (Mentions::default(), Bound::new());
        let mut inner = Agreement::default();
        for said in &reading.said {
            match said {
                Said::Any(_) => {}
                Said::Clause(clause) => inner = self.take(lexicon, templates, clause),
                Said::Place(letter, place) | Said::Look(letter, place) => bound.push((*letter, Some(*place))),
                Said::NewThing(letter, look, noun) => {
                    let known = self.things.iter().position(|thing| thing.noun == *noun);
                    if known.is_some() {
                        mentions.add(*letter, false);
                    }
                    bound.push((*letter, Some(known.unwrap_or(self.things.len()))));
                    if known.is_none() {
                        self.things.push(Thing { noun: *noun, look: *look, holder: None, place: None });
                        self.state(lexicon.word(*noun, 0), "looks", lexicon.word(*look, 0));
                    }
                }
                Said::Thing(letter, look, noun) => {
                    let known = self.things.iter().position(|thing| thing.noun == *noun);
                    let agrees = |thing: usize| look.is_none_or(|look| self.things[thing].look == look);
                    mentions.add(*letter, known.is_some_and(agrees) && same(&bound, *letter, known));
                    bound.push((*letter, known));
                }
                Said::NewPerson { letter, kind, name } => {
                    let person = self.introduce(lexicon, *kind, *name);
                    if person.is_none() {
                        mentions.add(*letter, false);
                    }
                    self.mention(*letter, person, &mut bound);
                }
                Said::Name(letter, name) => {
                    let person = self.people.iter().position(|person| person.name == *name);
                    mentions.add(*letter, person.is_some() && same(&bound, *letter, person));
                    self.mention(*letter, person, &mut bound);
                }
                Said::Kind(letter, kind) => {
                    let person = self.people.iter().position(|person| person.kind == *kind);
                    mentions.add(*letter, person.is_some() && same(&bound, *letter, person));
                    self.mention(*letter, person, &mut bound);
                }
                Said::Pronoun(letter, gender) => {
                    let before = value(&bound, *letter);
                    let person = before.or(self.focus[*gender as usize]);
                    let agrees = |person: usize| self.people[person].gender == *gender;
                    mentions.add(*letter, person.is_some_and(agrees));
                    self.mention(*letter, person, &mut bound);
                }
            }
        }
        if value(&bound, 'A').is_some_and(|person| Some(person) == value(&bound, 'B')) {
            mentions.refute('B');
        }
        for fact in &templates[reading.template].facts {
            self.weigh(*fact, &bound, &mut mentions, lexicon);
        }
        let right = mentions.0.iter().filter(|(_, right)| *right).count() as u64;
        Agreement { mentions: mentions.0.len() as u64 + inner.mentions, right: right + inner.right, bound }
    }

    /// Whether a word of an unread sentence names somebody or something that is known; nothing for other words.
    pub fn knows(&self, lexicon: &Lexicon, word: &str) -> Option<bool> {
        use super::lexicon::Class;
        if let Some(name) = lexicon.find(Class::Name, 0, word) {
            return Some(self.people.iter().any(|person| person.name == name));
        }
        let noun = lexicon.find(Class::Noun, 0, word)?;
        Some(self.things.iter().any(|thing| thing.noun == noun))
    }

    fn state(&mut self, subject: &str, relation: &str, object: &str) {
        self.stated.push([subject, relation, object].map(str::to_owned));
    }

    /// A new person, none when the name or kind is taken or they do not go together.
    fn introduce(&mut self, lexicon: &Lexicon, kind: usize, name: usize) -> Option<usize> {
        let gender = lexicon.entry(name).gender?;
        let fits = lexicon.entry(kind).gender.is_none_or(|of_kind| of_kind == gender);
        if !fits || self.people.iter().any(|person| person.name == name || person.kind == kind) {
            return None;
        }
        self.people.push(Person { name, kind, gender, place: None });
        self.state(lexicon.word(name, 0), "is", lexicon.word(kind, 0));
        Some(self.people.len() - 1)
    }

    fn mention(&mut self, letter: char, person: Option<usize>, bound: &mut Bound) {
        if let Some(person) = person {
            self.focus[self.people[person].gender as usize] = Some(person);
        }
        if value(bound, letter).is_none() {
            bound.retain(|(other, _)| *other != letter);
            bound.push((letter, person));
        }
    }

    /// Checks a fact that must hold, or adds one. What speaks of somebody unknown is wrong already.
    fn weigh(&mut self, fact: Fact, bound: &Bound, mentions: &mut Mentions, lexicon: &Lexicon) {
        let of = |one: char, other: char| Some((value(bound, one)?, value(bound, other)?));
        match fact {
            Fact::Has(one, other) => {
                if let Some((person, thing)) = of(one, other)
                    && self.things[thing].holder != Some(person)
                {
                    mentions.refute(other);
                }
            }
            Fact::Not(one, other) => {
                if let Some((person, thing)) = of(one, other)
                    && self.things[thing].holder == Some(person)
                {
                    mentions.refute(other);
                }
            }
            Fact::In(one, other) => {
                if let Some((person, place)) = of(one, other) {
                    mentions.add(other, self.people[person].place == Some(place));
                }
            }
            Fact::Lies(one, other) => {
                if let Some((thing, place)) = of(one, other) {
                    mentions.add(other, self.things[thing].place == Some(place));
                }
            }
            Fact::With(one, other) => {
                if let Some((person, companion)) = of(one, other)
                    && self.people[person].place != self.people[companion].place
                {
                    mentions.refute(other);
                }
            }
            Fact::Is(one, other) => {
                if let Some((thing, look)) = of(one, other) {
                    mentions.add(other, self.things[thing].look == look);
                }
            }
            Fact::Own(one, other) => {
                if let Some((person, thing)) = of(one, other) {
                    (self.things[thing].holder, self.things[thing].place) = (Some(person), None);
                    let name = lexicon.word(self.people[person].name, 0).to_owned();
                    self.state(&name, "has", lexicon.word(self.things[thing].noun, 0));
                }
            }
            Fact::Drop(one, other) => {
                if let Some((thing, place)) = of(one, other) {
                    (self.things[thing].holder, self.things[thing].place) = (None, Some(place));
                    self.state(lexicon.word(self.things[thing].noun, 0), "lies in", lexicon.word(place, 0));
                }
            }
            Fact::At(one, other) => {
                if let Some((person, place)) = of(one, other) {
                    self.people[person].place = Some(place);
                    let name = lexicon.word(self.people[person].name, 0).to_owned();
                    self.state(&name, "is in", lexicon.word(place, 0));
                }
            }
            Fact::Join(one, other) => {
                if let Some((person, with)) = of(one, other) {
                    self.people[person].place = self.people[with].place;
                    let [person, with] =
                        [person, with].map(|person| lexicon.word(self.people[person].name, 0).to_owned());
                    self.state(&person, "is with", &with);
                }
            }
        }
    }
}

/// Whether a variable that stands twice means the same both times.
fn same(bound: &Bound, letter: char, meant: Option<usize>) -> bool {
    value(bound, letter).is_none_or(|before| Some(before) == meant)
}
