//! Sentences with open places, and what each demands or changes, read with every fault named by its line.

use super::lexicon::Class;
use metier_core::{Error, Fault, Place, Result};

/// Where in a story a sentence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Begin,
    Own,
    Foreshadow,
    Want,
    Meet,
    Problem,
    Conflict,
    Go,
    Body,
    Talk,
    Think,
    Solve,
    Twist,
    Bad,
    Good,
    Moral,
    /// Inside another sentence.
    Clause,
}

const STAGES: [(&str, Stage); 17] = [
    ("begin", Stage::Begin),
    ("own", Stage::Own),
    ("foreshadow", Stage::Foreshadow),
    ("want", Stage::Want),
    ("meet", Stage::Meet),
    ("problem", Stage::Problem),
    ("conflict", Stage::Conflict),
    ("go", Stage::Go),
    ("body", Stage::Body),
    ("talk", Stage::Talk),
    ("think", Stage::Think),
    ("solve", Stage::Solve),
    ("twist", Stage::Twist),
    ("bad", Stage::Bad),
    ("good", Stage::Good),
    ("moral", Stage::Moral),
    ("clause", Stage::Clause),
];

/// How a person is mentioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Subject,
    Object,
    Possessive,
    /// By name, whoever it is.
    Name,
    /// "a little girl named Lily": known from here on.
    New,
}

/// How a thing is mentioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Article {
    /// "the red ball" or "the ball".
    Definite,
    /// "a red ball": known from here on.
    New,
    /// "red ball" or "ball", behind a possessive.
    Bare,
    /// "the ball".
    Plain,
}

/// A piece of a sentence. Variables are letters: `A`, `B` persons, `O` a thing, `P`, `R` places, `L` a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Word(String),
    /// Any word of a class, in a form.
    Any(Class, usize),
    Person(char, Form),
    Thing(char, Article),
    Place(char),
    Look(char),
    Clause,
}

/// What a sentence says of its variables: first what must be so before it, then what is so after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Has(char, char),
    Not(char, char),
    In(char, char),
    Lies(char, char),
    With(char, char),
    Is(char, char),
    Own(char, char),
    Drop(char, char),
    At(char, char),
    Join(char, char),
}

/// A sentence with open places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pub stage: Stage,
    pub pieces: Vec<Piece>,
    pub facts: Vec<Fact>,
}

/// Reads templates, one a line: `stage | pieces | facts`.
///
/// # Errors
/// Lines that are no template, facts about variables that the sentence lacks, and stages without a template: all together.
pub(super) fn read(name: &str, text: &str) -> Result<Vec<Template>> {
    let mut templates: Vec<Template> = Vec::new();
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        match template(line) {
            Ok(template) => templates.push(template),
            Err(message) => faults.push(Fault::new(Place::file(name).at(number, 1), message)),
        }
    }
    for (word, stage) in STAGES {
        if !templates.iter().any(|template| template.stage == stage) {
            faults.push(Fault::new(Place::file(name), format!("there is no template of `{word}`")));
        }
    }
    Error::collect(templates, faults)
}

fn template(line: &str) -> std::result::Result<Template, String> {
    let mut parts = line.split('|').map(str::trim);
    let (Some(word), Some(pieces)) = (parts.next(), parts.next()) else {
        return Err("a line is a stage, a sentence and what it says, with | between them".to_owned());
    };
    let stage = STAGES.iter().find(|(name, _)| *name == word).map(|(_, stage)| *stage);
    let stage = stage.ok_or_else(|| format!("no stage is called `{word}`"))?;
    let pieces = pieces.split_whitespace().map(piece).collect::<std::result::Result<Vec<_>, _>>()?;
    let facts = parts.next().unwrap_or_default().split(';').map(str::trim).filter(|fact| !fact.is_empty());
    let facts = facts.map(|text| fact(text, &pieces)).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Template { stage, pieces, facts })
}

fn piece(text: &str) -> std::result::Result<Piece, String> {
    let wrong = || Err(format!("`{text}` is no piece of a sentence"));
    if text == "CLAUSE" {
        return Ok(Piece::Clause);
    }
    if let Some(inside) = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')) {
        let (class, form) = inside.split_once('.').unwrap_or((inside, "base"));
        let form = ["base", "s", "past"].iter().position(|known| *known == form);
        return match (Class::named(class), form) {
            (Some(class), Some(form)) => Ok(Piece::Any(class, form)),
            _ => wrong(),
        };
    }
    let (head, form) = text.split_once('.').unwrap_or((text, ""));
    let letter = head.chars().next().filter(|letter| head.len() == 1 && letter.is_ascii_uppercase() && *letter != 'I');
    let Some(letter) = letter else { return Ok(Piece::Word(text.to_owned())) };
    Ok(match (letter, form) {
        ('A' | 'B', "") => Piece::Person(letter, Form::Subject),
        ('A' | 'B', "o") => Piece::Person(letter, Form::Object),
        ('A' | 'B', "s") => Piece::Person(letter, Form::Possessive),
        ('A' | 'B', "n") => Piece::Person(letter, Form::Name),
        ('A' | 'B', "new") => Piece::Person(letter, Form::New),
        ('O', "") => Piece::Thing(letter, Article::Definite),
        ('O', "new") => Piece::Thing(letter, Article::New),
        ('O', "bare") => Piece::Thing(letter, Article::Bare),
        ('O', "plain") => Piece::Thing(letter, Article::Plain),
        ('P' | 'R', "") => Piece::Place(letter),
        ('L', "") => Piece::Look(letter),
        _ => return wrong(),
    })
}

fn fact(text: &str, pieces: &[Piece]) -> std::result::Result<Fact, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let letter = |word: &str| {
        let letter = word.chars().next().unwrap_or_default();
        let stands = pieces.iter().any(|piece| match piece {
            Piece::Person(other, _) | Piece::Thing(other, _) | Piece::Place(other) | Piece::Look(other) => {
                *other == letter
            }
            Piece::Word(_) | Piece::Any(..) | Piece::Clause => false,
        });
        if stands && word.len() == 1 {
            Ok(letter)
        } else {
            Err(format!("`{text}` speaks of `{word}`, which the sentence lacks"))
        }
    };
    let [name, one, other] = words[..] else { return Err(format!("`{text}` is no fact")) };
    let make: fn(char, char) -> Fact = match name {
        "has" => Fact::Has,
        "not" => Fact::Not,
        "in" => Fact::In,
        "lies" => Fact::Lies,
        "with" => Fact::With,
        "is" => Fact::Is,
        "own" => Fact::Own,
        "drop" => Fact::Drop,
        "at" => Fact::At,
        "join" => Fact::Join,
        _ => return Err(format!("`{text}` is no fact")),
    };
    Ok(make(letter(one)?, letter(other)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_list_is_named_with_its_line() {
        let text = "begin | A.new lived in P . | at A P\nbegn | A .\nown\nown | A.x had O .\nown | A <act.gone> .\nown | A slept . | own A O\nown | A slept . | eats A A";
        let error = read("templates.txt", text).unwrap_err().to_string();
        for said in [
            "templates.txt:2:1: no stage is called `begn`",
            "templates.txt:3:1: a line is",
            "templates.txt:4:1: `A.x` is no piece",
            "templates.txt:5:1: `<act.gone>` is no piece",
            "templates.txt:6:1: `own A O` speaks of `O`",
            "templates.txt:7:1: `eats A A` is no fact",
            "templates.txt: there is no template of `moral`",
        ] {
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
