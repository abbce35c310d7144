//! What Hindi, Marathi and Bengali put behind stems.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a story is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Hindi, in Devanagari.
    Hindi,
    /// Marathi, in Devanagari.
    Marathi,
    /// Bengali, in its own script.
    Bengali,
}

/// What others agree with in a noun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A gender.
    Masculine,
    /// A gender.
    Feminine,
    /// A gender of Marathi.
    Neuter,
    /// Takes plain verbs in Bengali.
    Ordinary,
    /// Takes honorific verbs in Bengali.
    Honored,
}

/// What a noun is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// The one or thing that something is done to.
    Object,
    /// The place in which something is done.
    Inside,
    /// The one to whom something is given.
    Recipient,
}

impl Case {
    pub(super) const ALL: [Self; 3] = [Self::Object, Self::Inside, Self::Recipient];
}

/// What agrees with a noun of one class and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endings {
    pub adjective: &'static str,
    pub participle: &'static str,
    pub auxiliary: &'static str,
}

impl Language {
    /// The ISO 639-3 code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Hindi => "hin",
            Self::Marathi => "mar",
            Self::Bengali => "ben",
        }
    }

    /// Its stems: the name of the list and its text.
    pub(super) fn list(self) -> (&'static str, &'static str) {
        match self {
            Self::Hindi => ("hindi.txt", include_str!("hindi.txt")),
            Self::Marathi => ("marathi.txt", include_str!("marathi.txt")),
            Self::Bengali => ("bengali.txt", include_str!("bengali.txt")),
        }
    }

    /// Whether a character is of its script.
    pub(super) fn writes(self, letter: char) -> bool {
        match self {
            Self::Hindi | Self::Marathi => ('\u{900}'..='\u{97f}').contains(&letter),
            Self::Bengali => ('\u{980}'..='\u{9ff}').contains(&letter),
        }
    }

    /// The class that a letter of the list means.
    pub(super) fn class(self, letter: &str) -> Option<Class> {
        match (self, letter) {
            (Self::Hindi | Self::Marathi, "m") => Some(Class::Masculine),
            (Self::Hindi | Self::Marathi, "f") => Some(Class::Feminine),
            (Self::Marathi, "n") => Some(Class::Neuter),
            (Self::Bengali, "o") => Some(Class::Ordinary),
            (Self::Bengali, "h") => Some(Class::Honored),
            _ => None,
        }
    }

    /// The plural of a stem.
    pub(super) fn plural(self, stem: &str, is_person: bool) -> &'static str {
        match (self, ends_in_consonant(stem)) {
            (Self::Hindi, true) => "ों",
            (Self::Hindi, false) => "ओं",
            (Self::Marathi, true) => "ां",
            (Self::Marathi, false) => "आं",
            (Self::Bengali, _) if is_person => "রা",
            (Self::Bengali, _) => "গুলো",
        }
    }

    pub(super) fn case(self, case: Case) -> &'static str {
        match (self, case) {
            (Self::Hindi, Case::Object) => "को",
            (Self::Hindi, Case::Inside) => "में",
            (Self::Hindi, Case::Recipient) => "हेतु",
            (Self::Marathi, Case::Object) => "ला",
            (Self::Marathi, Case::Inside) => "मध्ये",
            (Self::Marathi, Case::Recipient) => "साठी",
            (Self::Bengali, Case::Object) => "কে",
            (Self::Bengali, Case::Inside) => "তে",
            (Self::Bengali, Case::Recipient) => "জন্য",
        }
    }

    pub(super) fn emphases(self) -> [&'static str; 2] {
        match self {
            Self::Hindi => ["ही", "भी"],
            Self::Marathi => ["च", "सुद्धा"],
            Self::Bengali => ["ই", "ও"],
        }
    }

    pub(super) fn endings(self, class: Class, plural: bool) -> Endings {
        let (adjective, participle, auxiliary) = match (self, class, plural) {
            (Self::Hindi, Class::Feminine, false) => ("ी", "ती", "थी"),
            (Self::Hindi, Class::Feminine, true) => ("ी", "ती", "थीं"),
            (Self::Hindi, _, false) => ("ा", "ता", "था"),
            (Self::Hindi, _, true) => ("े", "ते", "थे"),
            (Self::Marathi, Class::Feminine, false) | (Self::Marathi, Class::Neuter, true) => ("ी", "त", "होती"),
            (Self::Marathi, Class::Feminine, true) => ("्या", "त", "होत्या"),
            (Self::Marathi, Class::Neuter, false) | (Self::Marathi, _, true) => ("े", "त", "होते"),
            (Self::Marathi, _, false) => ("ा", "त", "होता"),
            (Self::Bengali, Class::Honored, _) => ("", "তে", "ছিলেন"),
            (Self::Bengali, ..) => ("", "তে", "ছিল"),
        };
        Endings { adjective, participle, auxiliary }
    }

    /// The class whose singular a dictionary lists.
    pub(super) fn listed(self) -> Class {
        if self == Self::Bengali { Class::Ordinary } else { Class::Masculine }
    }

    /// Every class that a noun can have.
    pub(super) fn classes(self) -> &'static [Class] {
        match self {
            Self::Hindi => &[Class::Masculine, Class::Feminine],
            Self::Marathi => &[Class::Masculine, Class::Feminine, Class::Neuter],
            Self::Bengali => &[Class::Ordinary, Class::Honored],
        }
    }
}

/// Whether a stem ends in a bare consonant, with or without a dot below.
fn ends_in_consonant(stem: &str) -> bool {
    stem.chars()
        .next_back()
        .is_some_and(|letter| matches!(letter, '\u{915}'..='\u{939}' | '\u{93c}' | '\u{995}'..='\u{9b9}' | '\u{9bc}'))
}
