//! A dictionary that is looked up word by word.

use super::compose::Composer;
use super::language::{Case, Language};
use super::words::Kind;
use super::{DANDA, Grammar, Unit};
use crate::world::Written;
use std::collections::HashMap;

/// Puts stories into another language word by word, with what that loses: plurals, emphasis and all agreement.
pub struct Translator {
    language: Language,
    level: u8,
    /// By written word of the source: what is written for it.
    entries: HashMap<String, Entry>,
}

#[derive(Clone, Default)]
struct Entry {
    /// The word as the dictionary lists it: its morphemes, none for what is lost.
    listed: Option<Listed>,
    case: Option<Case>,
}

/// A word as a dictionary lists it, ready to be composed.
#[derive(Clone)]
struct Listed {
    text: String,
    boundaries: Vec<usize>,
}

impl Translator {
    /// The dictionary from one language to another; both write at the same level.
    pub fn new(from: &Grammar, to: &Grammar) -> Self {
        let places: HashMap<(Kind, &str), usize> =
            to.stems.iter().enumerate().map(|(place, stem)| ((stem.kind, stem.meaning.as_str()), place)).collect();
        let same = |stem: usize| {
            let stem = &from.stems[stem];
            places.get(&(stem.kind, stem.meaning.as_str())).copied()
        };
        let listed = to.language.endings(to.language.listed(), false);
        let entry = |unit: Unit| {
            let translated = match unit {
                Unit::Noun { stem, .. } => {
                    same(stem).map(|stem| Unit::Noun { stem, plural: false, case: None, emphasis: None })
                }
                Unit::Adjective { stem, .. } => {
                    same(stem).map(|stem| Unit::Adjective { stem, ending: listed.adjective })
                }
                Unit::Verb { stem, auxiliary, .. } => same(stem).map(|stem| {
                    let auxiliary = auxiliary.map(|_| listed.auxiliary);
                    Unit::Verb { stem, participle: listed.participle, auxiliary }
                }),
                Unit::Auxiliary(_) => Some(Unit::Auxiliary(listed.auxiliary)),
                Unit::Word(stem) => same(stem).map(Unit::Word),
                Unit::Case(_) | Unit::Emphasis(_) => None,
            };
            let listed = translated.map(|unit| {
                let mut composer = Composer::new(to.level);
                composer.unit(to, unit);
                let Written { text, boundaries, .. } = composer.finish(to.language);
                Listed { text, boundaries }
            });
            let case = match unit {
                Unit::Noun { case, .. } => case,
                Unit::Case(case) => Some(case),
                _ => None,
            };
            Entry { listed, case }
        };
        let entries =
            from.forms.iter().filter_map(|(word, units)| Some((word.clone(), entry(*units.first()?)))).collect();
        Self { language: to.language, level: to.level, entries }
    }

    /// A story in the other language. A word that the dictionary lacks is lost.
    pub fn translate(&self, story: &Written) -> Written {
        let mut composer = Composer::new(self.level);
        for word in story.text.split_whitespace() {
            if word == DANDA {
                composer.danda();
            }
            let Some(entry) = self.entries.get(word) else { continue };
            if let Some(Listed { text, boundaries }) = &entry.listed {
                composer.whole(text, boundaries);
            }
            if let Some(case) = entry.case {
                composer.case(self.language, case);
            }
        }
        composer.finish(self.language)
    }
}
