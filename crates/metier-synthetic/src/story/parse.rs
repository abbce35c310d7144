//! Sentences taken apart, and what is right in them.

use super::language::Case;
use super::words::Kind;
use super::{Grammar, Unit};
use crate::world::Grade;
use std::collections::BTreeSet;

/// No sentence of the grammar has more words.
const MOST_WORDS: usize = 32;

/// A noun with what stands around it.
#[derive(Debug, Clone, Copy)]
struct Phrase {
    one: bool,
    adjective: Option<&'static str>,
    stem: usize,
    plural: bool,
    case: Option<Case>,
}

/// The best reading of a sentence.
#[derive(Default)]
struct Reading {
    well_formed: bool,
    agrees: bool,
    subject: Option<usize>,
    persons: Vec<usize>,
}

impl Grammar {
    /// How right the sentences of `continuation` are. Who appears in `opening` is known; its sentences are not counted.
    /// Nothing at all counts as one sentence that is wrong, and so does what is broken off at the end.
    pub fn grade(&self, opening: &str, continuation: &str) -> Grade {
        let mut known: BTreeSet<usize> = opening.split(super::DANDA).flat_map(|text| self.read(text).persons).collect();
        let mut grade = Grade::default();
        let mut sentences: Vec<&str> = continuation.split(super::DANDA).collect();
        if sentences.len() > 1 && sentences.last().is_some_and(|rest| rest.trim().is_empty()) {
            sentences.pop();
        }
        let last = if continuation.trim_end().ends_with(super::DANDA) { usize::MAX } else { sentences.len() - 1 };
        for (number, text) in sentences.into_iter().enumerate() {
            grade.sentences += 1;
            let reading = self.read(text);
            if number == last || !reading.well_formed {
                continue;
            }
            grade.well_formed += 1;
            if reading.agrees {
                grade.agreeing += 1;
                let introduced = reading.subject.is_some_and(|subject| known.contains(&subject));
                // An opening introduces its own subject.
                grade.coherent += u64::from(introduced || known.is_empty());
            }
            known.extend(reading.persons);
        }
        grade
    }

    fn read(&self, text: &str) -> Reading {
        let mut best = Reading::default();
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() > MOST_WORDS {
            return best;
        }
        let units: Option<Vec<&[Unit]>> = words.iter().map(|word| self.forms.get(*word).map(Vec::as_slice)).collect();
        let Some(units) = units else { return best };
        self.walk(&units, &mut Vec::new(), &mut best);
        let of_time = |unit: &Unit| matches!(unit, Unit::Word(stem) if self.stems[*stem].kind == Kind::Time);
        if let Some((first, rest)) = units.split_first()
            && first.iter().any(of_time)
        {
            self.walk(rest, &mut Vec::new(), &mut best);
        }
        best
    }

    /// Reads phrases up to the verb, in every way there is.
    fn walk(&self, units: &[&[Unit]], phrases: &mut Vec<Phrase>, best: &mut Reading) {
        if best.agrees {
            return;
        }
        self.end(units, phrases, best);
        for (phrase, used) in self.phrase(units) {
            phrases.push(phrase);
            self.walk(&units[used..], phrases, best);
            phrases.pop();
        }
    }

    /// The phrases that can begin here, each with how many words it takes.
    fn phrase(&self, units: &[&[Unit]]) -> Vec<(Phrase, usize)> {
        let has =
            |at: usize, wanted: &dyn Fn(&Unit) -> bool| units.get(at).is_some_and(|units| units.iter().any(wanted));
        let one = has(0, &|unit| matches!(unit, Unit::Word(stem) if self.stems[*stem].kind == Kind::One));
        let mut at = usize::from(one);
        let mut adjectives = vec![None];
        let ending = |unit: &Unit| if let Unit::Adjective { ending, .. } = unit { Some(Some(*ending)) } else { None };
        let found: Vec<_> = units.get(at).into_iter().copied().flatten().filter_map(ending).collect();
        if !found.is_empty() {
            adjectives = found;
            at += 1;
        }
        let mut out = Vec::new();
        for unit in units.get(at).into_iter().copied().flatten() {
            let Unit::Noun { stem, plural, case, emphasis } = *unit else { continue };
            let mut next = at + 1;
            let mut cases = vec![case];
            if case.is_none()
                && let Some(apart) = units.get(next).and_then(|units| {
                    units.iter().find_map(|unit| if let Unit::Case(case) = unit { Some(*case) } else { None })
                })
            {
                cases = vec![Some(apart)];
                next += 1;
            }
            if emphasis.is_none() && has(next, &|unit| matches!(unit, Unit::Emphasis(_))) {
                next += 1;
            }
            for &adjective in &adjectives {
                out.extend(cases.iter().map(|&case| (Phrase { one, adjective, stem, plural, case }, next)));
            }
        }
        out
    }

    /// Whether what is left is the verb of these phrases.
    fn end(&self, units: &[&[Unit]], phrases: &[Phrase], best: &mut Reading) {
        let (verbs, apart) = match units {
            [verbs] => (verbs, None),
            [verbs, auxiliaries] => {
                let form = |unit: &Unit| if let Unit::Auxiliary(form) = unit { Some(*form) } else { None };
                match auxiliaries.iter().find_map(form) {
                    Some(form) => (verbs, Some(form)),
                    None => return,
                }
            }
            _ => return,
        };
        let Some(subject) = phrases.first() else { return };
        for unit in *verbs {
            let Unit::Verb { stem, participle, auxiliary } = *unit else { continue };
            let (Some(auxiliary), true) = (auxiliary.or(apart), auxiliary.is_some() != apart.is_some()) else {
                continue;
            };
            if !self.fits(self.stems[stem].kind, phrases) {
                continue;
            }
            let wanted = self.endings_of(subject.stem, subject.plural);
            let agrees = (participle, auxiliary) == (wanted.participle, wanted.auxiliary)
                && phrases.iter().all(|phrase| {
                    let wanted = self.endings_of(phrase.stem, phrase.plural).adjective;
                    phrase.adjective.is_none_or(|ending| ending == wanted)
                });
            if agrees || !best.well_formed {
                let persons = phrases.iter().map(|phrase| phrase.stem);
                let persons = persons.filter(|&stem| self.stems[stem].kind == Kind::Person).collect();
                *best = Reading { well_formed: true, agrees, subject: Some(subject.stem), persons };
            }
        }
    }

    /// Whether a verb of this kind takes these phrases in this order.
    fn fits(&self, verb: Kind, phrases: &[Phrase]) -> bool {
        let is = |phrase: &Phrase, kinds: &[Kind], case: Option<Case>| {
            kinds.contains(&self.stems[phrase.stem].kind) && phrase.case == case
        };
        let Some((subject, mut rest)) = phrases.split_first() else { return false };
        if !is(subject, &[Kind::Person], None) || subject.one != (verb == Kind::Lives) {
            return false;
        }
        if rest.iter().any(|phrase| phrase.one) {
            return false;
        }
        let mut has_place = false;
        if let Some((first, others)) = rest.split_first()
            && is(first, &[Kind::Place], Some(Case::Inside))
        {
            (has_place, rest) = (true, others);
        }
        match (verb, rest) {
            (Kind::Lives, []) => has_place,
            (Kind::Acts, []) => true,
            (Kind::ActsOn, [object]) => is(object, &[Kind::Thing, Kind::Person], Some(Case::Object)),
            (Kind::Gives, [recipient, object]) => {
                is(recipient, &[Kind::Person], Some(Case::Recipient)) && is(object, &[Kind::Thing], None)
            }
            _ => false,
        }
    }
}
