use super::{Grade, World, Written};
use crate::story::{Grammar, Language, Translator};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Writes short stories in Hindi, Marathi or Bengali words with suffixes whose borders are known, and parses any text to
/// say how grammatical it is.
///
/// # How
/// Stems are real words (128 of a language, the same meanings in all three); suffixes are real ones, put on stems that
/// never change. A noun is `stem plural case emphasis`, an adjective `stem ending`, a verb `stem participle auxiliary`.
/// `level` says how much is written as one word: at 1 the plural, endings and participles; at 2 also case and
/// auxiliary; at 3 also the emphasis. What is not joined is a word of its own. Adjectives and verbs agree: in
/// Hindi and Marathi with gender and number, in Bengali verbs with whether the subject is honored; Bengali's plural
/// tells persons from things. A story is an opening (`[time] one [adjective] person place-in live`), which introduces a hero,
/// and three to five events of one or two persons: subject first, then place, recipient, object, verb, each sentence ended
/// by a danda. All choices are drawn evenly by seed and number. A text is graded by parsing: of its sentences, those that
/// are well formed, those of them that agree everywhere, and those of these whose subject was introduced before.
///
/// With `translated_from` the story is written in that language and put into this one word by word: stem for stem and
/// case for case, with plurals and emphasis lost, and every adjective and verb in the form that a dictionary lists.
///
/// # When to use
/// To compare vocabularies and data for a language where truth is wanted: borders of morphemes are exact gold, and grammar
/// is judged without a judge.
///
/// # Differs from the paper in
/// The paper's stories are written and judged by a large model. Here both are a grammar's work, so that numbers are exact; the
/// stories are poorer, and the languages are regular: no stem changes, no oblique adjectives, no ergative.
///
/// # Source
/// The questions are those of Patil et al. 2025, *Regional Tiny Stories* (arXiv:2504.07989); the world is metier's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Agglutination {
    /// What stories are written in.
    pub language: Language,
    /// How much is joined to one word.
    #[schemars(range(min = 1, max = 3))]
    pub level: u8,
    /// The language that stories are translated from, word by word; they are native when it is left out.
    pub translated_from: Option<Language>,
}

impl Default for Agglutination {
    fn default() -> Self {
        Self { language: Language::Hindi, level: 2, translated_from: None }
    }
}

struct Stories {
    grammar: Grammar,
    source: Option<(Grammar, Translator)>,
}

impl World for Stories {
    fn write(&self, seed: Seed, number: u64) -> Written {
        match &self.source {
            None => self.grammar.write(seed, number),
            Some((source, translator)) => translator.translate(&source.write(seed, number)),
        }
    }

    fn grade(&self, opening: &str, continuation: &str) -> Grade {
        self.grammar.grade(opening, continuation)
    }
}

impl Build<dyn World> for Agglutination {
    fn build(self, place: &Place) -> Result<Box<dyn World>> {
        if !(1..=3).contains(&self.level) {
            let place = place.clone().with_key("level");
            return Err(Fault::new(place, format!("{} is no level", self.level)).hint("1, 2 or 3").into());
        }
        if self.translated_from == Some(self.language) {
            let place = place.clone().with_key("translated_from");
            let fault = Fault::new(place, "nothing is translated from a language into itself");
            return Err(fault.hint("name another language, or leave it out").into());
        }
        let grammar = Grammar::new(self.language, self.level)?;
        let source = match self.translated_from {
            None => None,
            Some(from) => {
                let source = Grammar::new(from, self.level)?;
                let translator = Translator::new(&source, &grammar);
                Some((source, translator))
            }
        };
        Ok(Box::new(Stories { grammar, source }))
    }
}

/// The record of `agglutination`.
pub static PART: Part<dyn World> = Part::of::<Agglutination>("agglutination", 1);
