//! Lists of stems, read with every fault named by its line.

use super::language::{Class, Language};
use metier_core::{Error, Fault, Place, Result};
use std::collections::BTreeMap;
use unicode_normalization::is_nfc;

/// What a stem can be in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Person,
    Thing,
    Place,
    Adjective,
    /// A verb with an object.
    ActsOn,
    /// A verb without one.
    Acts,
    /// The verb of openings.
    Lives,
    /// The verb with a recipient.
    Gives,
    Time,
    One,
}

impl Kind {
    const ALL: [(&'static str, Self); 10] = [
        ("person", Self::Person),
        ("thing", Self::Thing),
        ("place", Self::Place),
        ("adjective", Self::Adjective),
        ("acts_on", Self::ActsOn),
        ("acts", Self::Acts),
        ("lives", Self::Lives),
        ("gives", Self::Gives),
        ("time", Self::Time),
        ("one", Self::One),
    ];

    pub(super) fn is_noun(self) -> bool {
        matches!(self, Self::Person | Self::Thing | Self::Place)
    }

    pub(super) fn is_verb(self) -> bool {
        matches!(self, Self::ActsOn | Self::Acts | Self::Lives | Self::Gives)
    }
}

/// A stem of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stem {
    pub text: String,
    pub kind: Kind,
    /// Of nouns.
    pub class: Option<Class>,
    /// What joins the lists of several languages.
    pub meaning: String,
}

/// Reads a list: a line of four words for each stem, its kind, its class or `-`, itself and its meaning.
///
/// # Errors
/// Lines that are no stem, stems with characters of another script, stems that are not in NFC, stems and meanings
/// that stand twice among words of the same kind, kinds without a stem: all together, each with its line.
pub(super) fn read(language: Language, name: &str, text: &str) -> Result<Vec<Stem>> {
    let mut stems: Vec<Stem> = Vec::new();
    let mut faults = Vec::new();
    let mut seen: BTreeMap<(Kind, String), usize> = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        match stem(language, line) {
            Err(message) => faults.push(Fault::new(Place::file(name).at(number, 1), message)),
            Ok(stem) => {
                for word in [&stem.text, &stem.meaning] {
                    if let Some(before) = seen.insert((stem.kind, word.clone()), number) {
                        let message = format!("`{word}` stands in line {before} already");
                        faults.push(Fault::new(Place::file(name).at(number, 1), message));
                    }
                }
                stems.push(stem);
            }
        }
    }
    for (word, kind) in Kind::ALL {
        if !stems.iter().any(|stem| stem.kind == kind) {
            faults.push(Fault::new(Place::file(name), format!("the list has no `{word}`")));
        }
    }
    Error::collect(stems, faults)
}

fn stem(language: Language, line: &str) -> std::result::Result<Stem, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [kind, class, text, meaning] = words[..] else {
        return Err(format!("a line is a kind, a class or `-`, a stem and its meaning, not {} words", words.len()));
    };
    let known = Kind::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let Some((_, kind)) = Kind::ALL.iter().find(|(name, _)| *name == kind) else {
        return Err(format!("no kind is called `{kind}`; known: {known}"));
    };
    let of_class = language.class(class);
    if kind.is_noun() != of_class.is_some() || (!kind.is_noun() && class != "-") {
        return Err(format!("`{class}` is no class of this kind of word in {language:?}"));
    }
    if let Some(letter) = text.chars().find(|letter| !language.writes(*letter)) {
        return Err(format!("`{text}` has U+{:04X}, which is not of the script of {language:?}", letter as u32));
    }
    if !is_nfc(text) {
        return Err(format!("`{text}` is not in NFC"));
    }
    Ok(Stem { text: text.to_owned(), kind: *kind, class: of_class, meaning: meaning.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_whole_and_mean_the_same() {
        let lists = [Language::Hindi, Language::Marathi, Language::Bengali].map(|language| {
            let (name, text) = language.list();
            read(language, name, text).unwrap()
        });
        let meanings = |stems: &[Stem]| stems.iter().map(|stem| (stem.kind, stem.meaning.clone())).collect::<Vec<_>>();
        assert_eq!(lists[0].len(), 128);
        assert!(lists.iter().all(|stems| meanings(stems) == meanings(&lists[0])));
    }

    #[test]
    fn every_fault_of_a_list_is_named_with_its_line() {
        // U+0958 is written as U+0915 U+093C in NFC.
        let text = "person m king king\nperson m राजा king\nperson m राजा emperor\n\nthing m \u{958}ल pen\nplace x घर house\nnoun m घर house\nplace m";
        let error = read(Language::Hindi, "list.txt", text).unwrap_err().to_string();
        for said in [
            "list.txt:1:1: `king` has U+006B",
            "list.txt:3:1: `राजा` stands in line 2",
            "list.txt:5:1: `\u{958}ल` is not in NFC",
            "list.txt:6:1: `x` is no class",
            "list.txt:7:1: no kind is called `noun`",
            "list.txt:8:1: a line is",
            "list.txt: the list has no `time`",
        ] {
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
