//! Morphemes put together, with the borders inside words noted.

use super::language::{Case, Language};
use super::{Grammar, Unit, joins};
use crate::world::Written;

pub(super) struct Composer {
    level: u8,
    text: String,
    boundaries: Vec<usize>,
    /// Bytes up to the end of the first sentence.
    opening: Option<usize>,
}

impl Composer {
    pub(super) fn new(level: u8) -> Self {
        Self { level, text: String::new(), boundaries: Vec::new(), opening: None }
    }

    /// A morpheme that begins a word.
    pub(super) fn word(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(text);
    }

    /// A word whose borders are known.
    pub(super) fn whole(&mut self, text: &str, boundaries: &[usize]) {
        self.word(text);
        let start = self.text.len() - text.len();
        self.boundaries.extend(boundaries.iter().map(|at| start + at));
    }

    /// A morpheme that is joined to the word before it from a level on, and a word of its own below it.
    fn suffix(&mut self, text: &str, from: u8) {
        if text.is_empty() {
            return;
        }
        if self.level < from || self.text.is_empty() {
            self.word(text);
        } else {
            self.boundaries.push(self.text.len());
            self.text.push_str(text);
        }
    }

    pub(super) fn case(&mut self, language: Language, case: Case) {
        self.suffix(language.case(case), joins::CASE);
    }

    pub(super) fn unit(&mut self, grammar: &Grammar, unit: Unit) {
        let language = grammar.language;
        let text = |stem: usize| grammar.stems[stem].text.as_str();
        match unit {
            Unit::Noun { stem, plural, case, emphasis } => {
                self.word(text(stem));
                if plural {
                    let is_person = grammar.stems[stem].kind == super::Kind::Person;
                    self.suffix(language.plural(text(stem), is_person), joins::PLURAL);
                }
                if let Some(case) = case {
                    self.case(language, case);
                }
                if let Some(which) = emphasis {
                    self.suffix(language.emphases()[which], joins::EMPHASIS);
                }
            }
            Unit::Adjective { stem, ending } => {
                self.word(text(stem));
                self.suffix(ending, joins::ENDING);
            }
            Unit::Verb { stem, participle, auxiliary } => {
                self.word(text(stem));
                self.suffix(participle, joins::PARTICIPLE);
                if let Some(auxiliary) = auxiliary {
                    self.suffix(auxiliary, joins::AUXILIARY);
                }
            }
            Unit::Case(case) => self.case(language, case),
            Unit::Emphasis(which) => self.suffix(language.emphases()[which], joins::EMPHASIS),
            Unit::Auxiliary(form) => self.suffix(form, joins::AUXILIARY),
            Unit::Word(stem) => self.word(text(stem)),
        }
    }

    /// Ends a sentence.
    pub(super) fn danda(&mut self) {
        self.word(super::DANDA);
        self.opening.get_or_insert(self.text.len());
    }

    pub(super) fn finish(self, language: Language) -> Written {
        Written {
            opening: self.opening.unwrap_or(self.text.len()),
            text: self.text,
            language: language.code(),
            boundaries: self.boundaries,
            ..Written::default()
        }
    }
}
