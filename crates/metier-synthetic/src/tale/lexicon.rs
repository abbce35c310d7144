//! The words of the stories, read with every fault named by its line.

use metier_core::{Error, Fault, Place, Result};
use std::collections::HashMap;

/// What a word can be in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Name,
    Kind,
    Noun,
    Place,
    Look,
    Trait,
    Mood,
    Act,
    Use,
    Way,
    Time,
}

impl Class {
    const ALL: [(&'static str, Self); 11] = [
        ("name", Self::Name),
        ("kind", Self::Kind),
        ("noun", Self::Noun),
        ("place", Self::Place),
        ("look", Self::Look),
        ("trait", Self::Trait),
        ("mood", Self::Mood),
        ("act", Self::Act),
        ("use", Self::Use),
        ("way", Self::Way),
        ("time", Self::Time),
    ];

    /// The class of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, class)| *class)
    }
}

/// What pronouns stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gender {
    Female,
    Male,
}

/// A word with its forms: of verbs the plain one, the third person and the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub class: Class,
    /// Of names and kinds; none where it can be either.
    pub gender: Option<Gender>,
    pub forms: Vec<String>,
}

/// Every word that has a class.
pub(super) struct Lexicon {
    entries: Vec<Entry>,
    by_form: HashMap<(Class, usize, String), usize>,
    by_class: HashMap<Class, Vec<usize>>,
}

impl Lexicon {
    /// Reads a list, one entry a line: a class, of names and kinds `f`, `m` or `x`, and the forms.
    ///
    /// # Errors
    /// Lines that are no entry, entries that stand twice in a class, and classes without an entry: all together.
    pub fn read(name: &str, text: &str) -> Result<Self> {
        let mut lexicon = Self { entries: Vec::new(), by_form: HashMap::new(), by_class: HashMap::new() };
        let mut faults = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if let Err(message) = entry(line).and_then(|entry| lexicon.add(entry)) {
                faults.push(Fault::new(Place::file(name).at(number, 1), message));
            }
        }
        for (word, class) in Class::ALL {
            if lexicon.of(class).is_empty() {
                faults.push(Fault::new(Place::file(name), format!("the list has no `{word}`")));
            }
        }
        Error::collect(lexicon, faults)
    }

    fn add(&mut self, entry: Entry) -> std::result::Result<(), String> {
        let number = self.entries.len();
        for (form, word) in entry.forms.iter().enumerate() {
            if self.by_form.insert((entry.class, form, word.to_lowercase()), number).is_some() {
                return Err(format!("`{word}` stands twice in its class"));
            }
        }
        self.by_class.entry(entry.class).or_default().push(number);
        self.entries.push(entry);
        Ok(())
    }

    /// The entries of a class.
    pub fn of(&self, class: Class) -> &[usize] {
        self.by_class.get(&class).map_or(&[], Vec::as_slice)
    }

    pub fn entry(&self, number: usize) -> &Entry {
        &self.entries[number]
    }

    /// A form of an entry.
    pub fn word(&self, number: usize, form: usize) -> &str {
        &self.entries[number].forms[form]
    }

    /// The entry that is written so, in lower case.
    pub fn find(&self, class: Class, form: usize, word: &str) -> Option<usize> {
        self.by_form.get(&(class, form, word.to_owned())).copied()
    }
}

fn entry(line: &str) -> std::result::Result<Entry, String> {
    let (class, rest) = line.split_once(' ').unwrap_or((line, ""));
    let known = || Class::ALL.map(|(name, _)| name).join(", ");
    let class = Class::named(class).ok_or_else(|| format!("no class is called `{class}`; known: {}", known()))?;
    let mut forms: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
    let mut gender = None;
    if matches!(class, Class::Name | Class::Kind) && !forms.is_empty() {
        gender = match forms.remove(0).as_str() {
            "f" => Some(Gender::Female),
            "m" => Some(Gender::Male),
            "x" if class == Class::Kind => None,
            other => return Err(format!("`{other}` is neither f nor m")),
        };
    }
    if class == Class::Time {
        forms = vec![forms.join(" ")];
    }
    let wanted = if matches!(class, Class::Act | Class::Use) { 3 } else { 1 };
    if forms.len() != wanted || forms.iter().any(String::is_empty) {
        return Err(format!("this class has {wanted} forms, not {}", forms.len()));
    }
    if let Some(form) =
        forms.iter().find(|form| !form.chars().all(|letter| letter.is_ascii_alphabetic() || letter == ' '))
    {
        return Err(format!("`{form}` has characters besides letters"));
    }
    Ok(Entry { class, gender, forms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_list_is_named_with_its_line() {
        let text = "noun ball\n# no entry\nnoun ball\nnuon box\nname x Sam\nact run ran\nlook r3d\nnoun";
        let error = Lexicon::read("words.txt", text).err().unwrap().to_string();
        for said in [
            "words.txt:3:1: `ball` stands twice",
            "words.txt:4:1: no class is called `nuon`",
            "words.txt:5:1: `x` is neither f nor m",
            "words.txt:6:1: this class has 3 forms, not 2",
            "words.txt:7:1: `r3d` has characters",
            "words.txt:8:1: this class has 1 forms, not 0",
            "words.txt: the list has no `way`",
        ] {
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
