//! Stories drawn by seed and number.

use super::compose::Composer;
use super::language::Case;
use super::words::Kind;
use super::{Grammar, Unit};
use crate::world::Written;
use metier_core::seed::{Seed, Stream};

/// A noun with what stands around it.
#[derive(Clone, Copy)]
struct Phrase {
    one: Option<usize>,
    adjective: Option<usize>,
    stem: usize,
    plural: bool,
    case: Option<Case>,
    emphasis: Option<usize>,
}

struct Sentence {
    time: Option<usize>,
    phrases: Vec<Phrase>,
    verb: usize,
}

impl Grammar {
    /// The story of a number.
    pub fn write(&self, seed: Seed, number: u64) -> Written {
        let mut draws = Draws { grammar: self, random: seed.derive("story").at(number) };
        let hero = draws.of(Kind::Person);
        let friend = loop {
            let other = draws.of(Kind::Person);
            if other != hero {
                break other;
            }
        };
        let friends = draws.chance(0.3);
        let events = 3 + draws.random.below(3);
        let mut composer = Composer::new(self.level);
        self.compose(&mut composer, &draws.opening(hero));
        for event in 0..events {
            let sentence = if event == 0 {
                draws.meeting(hero, (friend, friends))
            } else if draws.chance(0.5) {
                draws.event((hero, false), (friend, friends))
            } else {
                draws.event((friend, friends), (hero, false))
            };
            self.compose(&mut composer, &sentence);
        }
        composer.finish(self.language)
    }

    fn compose(&self, composer: &mut Composer, sentence: &Sentence) {
        if let Some(time) = sentence.time {
            composer.unit(self, Unit::Word(time));
        }
        for phrase in &sentence.phrases {
            let endings = self.endings_of(phrase.stem, phrase.plural);
            if let Some(one) = phrase.one {
                composer.unit(self, Unit::Word(one));
            }
            if let Some(stem) = phrase.adjective {
                composer.unit(self, Unit::Adjective { stem, ending: endings.adjective });
            }
            let Phrase { stem, plural, case, emphasis, .. } = *phrase;
            composer.unit(self, Unit::Noun { stem, plural, case, emphasis });
        }
        if let Some(subject) = sentence.phrases.first() {
            let endings = self.endings_of(subject.stem, subject.plural);
            let auxiliary = Some(endings.auxiliary);
            composer.unit(self, Unit::Verb { stem: sentence.verb, participle: endings.participle, auxiliary });
        }
        composer.danda();
    }

    /// What agrees with a noun.
    pub(super) fn endings_of(&self, stem: usize, plural: bool) -> super::language::Endings {
        let class = self.stems[stem].class.unwrap_or_else(|| self.language.listed());
        self.language.endings(class, plural)
    }
}

struct Draws<'a> {
    grammar: &'a Grammar,
    random: Stream,
}

impl Draws<'_> {
    fn chance(&mut self, share: f64) -> bool {
        self.random.unit() < share
    }

    fn of(&mut self, kind: Kind) -> usize {
        let stems = self.grammar.of_kind(kind);
        stems[self.random.below(stems.len().max(1) as u64) as usize]
    }

    fn maybe(&mut self, share: f64, kind: Kind) -> Option<usize> {
        self.chance(share).then(|| self.of(kind))
    }

    fn phrase(&mut self, (stem, plural): (usize, bool), case: Option<Case>) -> Phrase {
        let adjective = self.maybe(0.3, Kind::Adjective);
        let emphasis = self.chance(0.15).then(|| self.random.below(2) as usize);
        Phrase { one: None, adjective, stem, plural, case, emphasis }
    }

    fn place(&mut self) -> Phrase {
        let place = self.of(Kind::Place);
        self.phrase((place, false), Some(Case::Inside))
    }

    fn thing(&mut self, case: Option<Case>) -> Phrase {
        let thing = self.of(Kind::Thing);
        let plural = self.chance(0.3);
        self.phrase((thing, plural), case)
    }

    fn opening(&mut self, hero: usize) -> Sentence {
        let time = self.maybe(0.3, Kind::Time);
        let mut subject = self.phrase((hero, false), None);
        subject.one = Some(self.of(Kind::One));
        let place = self.place();
        Sentence { time, phrases: vec![subject, place], verb: self.of(Kind::Lives) }
    }

    /// The hero does something to another, who is thereby introduced.
    fn meeting(&mut self, hero: usize, friend: (usize, bool)) -> Sentence {
        let time = self.maybe(0.4, Kind::Time);
        let phrases = vec![self.phrase((hero, false), None), self.phrase(friend, Some(Case::Object))];
        Sentence { time, phrases, verb: self.of(Kind::ActsOn) }
    }

    fn event(&mut self, subject: (usize, bool), other: (usize, bool)) -> Sentence {
        let time = self.maybe(0.4, Kind::Time);
        let mut phrases = vec![self.phrase(subject, None)];
        if self.chance(0.3) {
            phrases.push(self.place());
        }
        let verb = match self.random.below(4) {
            0 => Kind::Acts,
            1 => {
                phrases.push(self.phrase(other, Some(Case::Recipient)));
                phrases.push(self.thing(None));
                Kind::Gives
            }
            _ => {
                phrases.push(self.thing(Some(Case::Object)));
                Kind::ActsOn
            }
        };
        Sentence { time, phrases, verb: self.of(verb) }
    }
}
