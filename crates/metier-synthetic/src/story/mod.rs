//! Small grammars of stories in Hindi, Marathi and Bengali: written, translated word by word, and parsed.
//!
//! [`Grammar`] holds the stems and suffixes of a language and every form that a word can have; what stories are made of
//! stands on the page of [`Agglutination`](crate::world::Agglutination).

mod compose;
mod language;
mod parse;
mod translate;
mod words;
mod write;

pub use language::{Case, Class, Language};
pub use translate::Translator;

use metier_core::Result;
use std::collections::HashMap;
use words::{Kind, Stem};

/// Ends a sentence.
const DANDA: &str = "।";

/// From which level on a suffix is joined to what is before it.
mod joins {
    pub(super) const PLURAL: u8 = 1;
    pub(super) const ENDING: u8 = 1;
    pub(super) const PARTICIPLE: u8 = 1;
    pub(super) const CASE: u8 = 2;
    pub(super) const AUXILIARY: u8 = 2;
    pub(super) const EMPHASIS: u8 = 3;
}

/// The stems of a language, with what is joined to one word at a level.
pub struct Grammar {
    language: Language,
    level: u8,
    stems: Vec<Stem>,
    /// What each written word can be.
    forms: HashMap<String, Vec<Unit>>,
}

/// A written word taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Noun {
        stem: usize,
        plural: bool,
        case: Option<Case>,
        emphasis: Option<usize>,
    },
    Adjective {
        stem: usize,
        ending: &'static str,
    },
    Verb {
        stem: usize,
        participle: &'static str,
        auxiliary: Option<&'static str>,
    },
    Case(Case),
    Emphasis(usize),
    Auxiliary(&'static str),
    /// A word that has one form.
    Word(usize),
}

impl Grammar {
    /// The grammar of a language at a level of 1 to 3.
    pub fn new(language: Language, level: u8) -> Result<Self> {
        let (name, text) = language.list();
        let mut grammar = Self { language, level, stems: words::read(language, name, text)?, forms: HashMap::new() };
        for stem in 0..grammar.stems.len() {
            for unit in grammar.units(stem) {
                grammar.know(unit);
            }
        }
        let mut apart: Vec<Unit> = Vec::new();
        if level < joins::CASE {
            apart.extend(Case::ALL.map(Unit::Case));
        }
        if level < joins::EMPHASIS {
            apart.extend((0..language.emphases().len()).map(Unit::Emphasis));
        }
        if level < joins::AUXILIARY {
            apart.extend(grammar.auxiliaries().into_iter().map(Unit::Auxiliary));
        }
        for unit in apart {
            grammar.know(unit);
        }
        Ok(grammar)
    }

    /// The stems of a kind, by their places in the list.
    fn of_kind(&self, kind: Kind) -> Vec<usize> {
        (0..self.stems.len()).filter(|&stem| self.stems[stem].kind == kind).collect()
    }

    fn know(&mut self, unit: Unit) {
        let written = self.written(unit);
        let units = self.forms.entry(written).or_default();
        if !units.contains(&unit) {
            units.push(unit);
        }
    }

    /// The unit as one word.
    fn written(&self, unit: Unit) -> String {
        let mut composer = compose::Composer::new(u8::MAX);
        composer.unit(self, unit);
        composer.finish(self.language).text
    }

    /// Everything that a word with this stem can be at this level.
    fn units(&self, stem: usize) -> Vec<Unit> {
        let kind = self.stems[stem].kind;
        if kind.is_noun() {
            let cases = std::iter::once(None).chain(Case::ALL.map(Some));
            let cases: Vec<_> = if self.level >= joins::CASE { cases.collect() } else { vec![None] };
            let emphases = std::iter::once(None).chain((0..self.language.emphases().len()).map(Some));
            let emphases: Vec<_> = if self.level >= joins::EMPHASIS { emphases.collect() } else { vec![None] };
            let mut out = Vec::new();
            for plural in [false, true] {
                for &case in &cases {
                    out.extend(emphases.iter().map(|&emphasis| Unit::Noun { stem, plural, case, emphasis }));
                }
            }
            return out;
        }
        if kind.is_verb() {
            let auxiliaries: Vec<_> = if self.level >= joins::AUXILIARY {
                self.auxiliaries().into_iter().map(Some).collect()
            } else {
                vec![None]
            };
            let with =
                |participle| auxiliaries.iter().map(move |&auxiliary| Unit::Verb { stem, participle, auxiliary });
            return self.endings(|endings| endings.participle).into_iter().flat_map(with).collect();
        }
        if kind == Kind::Adjective {
            let endings = self.endings(|endings| endings.adjective);
            return endings.into_iter().map(|ending| Unit::Adjective { stem, ending }).collect();
        }
        vec![Unit::Word(stem)]
    }

    fn auxiliaries(&self) -> Vec<&'static str> {
        self.endings(|endings| endings.auxiliary)
    }

    /// The different forms of an ending.
    fn endings(&self, which: fn(language::Endings) -> &'static str) -> Vec<&'static str> {
        let mut out = Vec::new();
        for class in self.language.classes() {
            for plural in [false, true] {
                let form = which(self.language.endings(*class, plural));
                if !out.contains(&form) {
                    out.push(form);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Grade;
    use metier_core::seed::Seed;

    const LANGUAGES: [Language; 3] = [Language::Hindi, Language::Marathi, Language::Bengali];

    #[test]
    fn what_is_written_is_grammatical_and_known_to_the_byte() {
        for language in LANGUAGES {
            for level in 1..=3 {
                let grammar = Grammar::new(language, level).unwrap();
                for number in 0..200 {
                    let story = grammar.write(Seed::new(3), number);
                    assert_eq!(story, grammar.write(Seed::new(3), number));
                    let (opening, rest) = story.text.split_at(story.opening);
                    let grade = grammar.grade(opening, rest);
                    let all = grade.sentences;
                    assert!((3..=5).contains(&all), "{}", story.text);
                    let right =
                        Grade { sentences: all, well_formed: all, agreeing: all, coherent: all, ..Grade::default() };
                    assert_eq!(grade, right, "{}", story.text);
                    let whole = grammar.grade("", &story.text);
                    assert_eq!(whole.agreeing, all + 1, "the opening is a sentence too: {}", story.text);
                    assert!(unicode_normalization::is_nfc(&story.text));
                    for &at in &story.boundaries {
                        let around = (story.text[..at].chars().next_back(), story.text[at..].chars().next());
                        assert!(around.0.is_some_and(|letter| language.writes(letter)), "{at} in {}", story.text);
                        assert!(around.1.is_some_and(|letter| language.writes(letter)), "{at} in {}", story.text);
                    }
                }
            }
        }
    }

    #[test]
    fn levels_join_more_and_more() {
        for language in LANGUAGES {
            let count = |level| {
                let grammar = Grammar::new(language, level).unwrap();
                let stories: Vec<_> = (0..100).map(|number| grammar.write(Seed::new(1), number)).collect();
                let words: usize = stories.iter().map(|story| story.text.split_whitespace().count()).sum();
                let borders: usize = stories.iter().map(|story| story.boundaries.len()).sum();
                (words, borders)
            };
            let counts = [1, 2, 3].map(count);
            assert!(counts.is_sorted_by(|one, other| one.0 > other.0 && one.1 < other.1), "{counts:?}");
            assert!(counts.iter().all(|(words, borders)| words + borders == counts[0].0 + counts[0].1));
        }
    }

    fn graded(level: u8, text: &str) -> Grade {
        Grammar::new(Language::Hindi, level).unwrap().grade("एक राजा घरमें रहताथा ।", text)
    }

    fn grade(sentences: u64, well_formed: u64, agreeing: u64, coherent: u64) -> Grade {
        Grade { sentences, well_formed, agreeing, coherent, ..Grade::default() }
    }

    #[test]
    fn faults_of_grammar_are_told_apart() {
        // The king saw an apple.
        assert_eq!(graded(2, " राजा सेबको देखताथा ।"), grade(1, 1, 1, 1));
        // The verb's gender, then its number.
        assert_eq!(graded(2, " राजा सेबको देखतीथी ।"), grade(1, 1, 0, 0));
        assert_eq!(graded(2, " राजाओं सेबको देखताथा ।"), grade(1, 1, 0, 0));
        assert_eq!(graded(2, " राजाओं सेबको देखतेथे ।"), grade(1, 1, 1, 1));
        // An adjective that does not agree.
        assert_eq!(graded(2, " राजा अच्छी सेबको देखताथा ।"), grade(1, 1, 0, 0));
        // The order of suffixes, then of words, then a suffix of another level.
        assert_eq!(graded(2, " राजा सेबकोों देखताथा ।"), grade(1, 0, 0, 0));
        assert_eq!(graded(2, " राजा देखताथा सेबको ।"), grade(1, 0, 0, 0));
        assert_eq!(graded(2, " राजा सेब को देखताथा ।"), grade(1, 0, 0, 0));
        assert_eq!(graded(1, " राजा सेब को देखता था ।"), grade(1, 1, 1, 1).plus(Grade::default()));
        // The queen was not introduced; what is broken off, empty or nothing is wrong.
        assert_eq!(graded(2, " रानी सेबको देखतीथी ।"), grade(1, 1, 1, 0));
        assert_eq!(graded(2, " राजा सेबको देखताथा । राजा"), grade(2, 1, 1, 1));
        assert_eq!(graded(2, " । राजा चलताथा ।"), grade(2, 1, 1, 1));
        assert_eq!(graded(2, " "), grade(1, 0, 0, 0));
        assert_eq!(graded(2, &" राजा".repeat(10_000)), grade(1, 0, 0, 0));
    }

    #[test]
    fn a_translation_word_by_word_loses_agreement_and_nothing_else() {
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            let (from, to) = (Grammar::new(LANGUAGES[from], 2).unwrap(), Grammar::new(LANGUAGES[to], 2).unwrap());
            let translator = Translator::new(&from, &to);
            let mut total = Grade::default();
            for number in 0..300 {
                let story = from.write(Seed::new(1), number);
                let translated = translator.translate(&story);
                assert_eq!(translated.language, to.language.code());
                let (opening, rest) = translated.text.split_at(translated.opening);
                assert!(opening.ends_with(DANDA) && rest.starts_with(' '), "{}", translated.text);
                total = total.plus(to.grade(opening, rest));
            }
            assert_eq!(total.well_formed, total.sentences);
            let right = total.agreeing as f64 / total.sentences as f64;
            assert!((0.2..0.9).contains(&right), "{right}");
        }
    }
}
