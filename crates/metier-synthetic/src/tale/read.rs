//! Sentences taken apart by the templates, and put together again.

use super::lexicon::{Class, Gender};
use super::scene::Scene;
use super::template::{Article, Form, Piece, Stage};
use super::{Book, STORY};
use crate::world::Grade;

/// No sentence that is written has as many pieces.
const MOST_TOKENS: usize = 64;

/// What stands in an open place; numbers are entries of the lexicon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Any(usize),
    Name(char, usize),
    Kind(char, usize),
    Pronoun(char, Gender),
    NewPerson { letter: char, kind: usize, name: usize },
    Thing(char, Option<usize>, usize),
    NewThing(char, usize, usize),
    Place(char, usize),
    Look(char, usize),
    Clause(Box<Reading>),
}

/// A sentence as one template has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// The words of time before it.
    pub time: Option<usize>,
    pub template: usize,
    /// One for each open place, in order; two for a new person (the trait first).
    pub said: Vec<Said>,
}

/// The sentences of a text, the broken off last one included, with their blanks.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if !".!?".contains(letter) {
            continue;
        }
        let mut end = at + letter.len_utf8();
        if letters.next_if(|(_, next)| *next == '"').is_some() {
            end += 1;
        }
        out.push(&text[start..end]);
        start = end;
    }
    if !text[start..].trim().is_empty() || out.is_empty() {
        out.push(&text[start..]);
    }
    out
}

/// Words in lower case, marks and the possessive by themselves; quotation marks open and close by turns.
fn tokens(sentence: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut opens = true;
    for word in sentence.split_whitespace() {
        let mut letters = String::new();
        for letter in word.chars() {
            if letter.is_alphanumeric() {
                letters.extend(letter.to_lowercase());
                continue;
            }
            if letter == '\'' {
                out.push(std::mem::take(&mut letters));
                letters.push('\'');
                continue;
            }
            if !letters.is_empty() {
                out.push(std::mem::take(&mut letters));
            }
            if letter == '"' {
                out.push(if opens { "«" } else { "»" }.to_owned());
                opens = !opens;
            } else {
                out.push(letter.to_string());
            }
        }
        if !letters.is_empty() {
            out.push(letters);
        }
    }
    out
}

fn pronoun(gender: Gender, form: Form) -> &'static str {
    match (gender, form) {
        (Gender::Female, Form::Subject | Form::Name | Form::New) => "she",
        (Gender::Female, Form::Object | Form::Possessive) => "her",
        (Gender::Male, Form::Subject | Form::Name | Form::New) => "he",
        (Gender::Male, Form::Object) => "him",
        (Gender::Male, Form::Possessive) => "his",
    }
}

impl Book {
    /// How right the sentences of `continuation` are, given what is stated in `opening`, whose sentences are not counted. A
    /// prompt before the story says which words are wanted, and nothing else.
    pub fn grade(&self, opening: &str, continuation: &str) -> Grade {
        let (header, opening, continuation) = match (opening.rsplit_once(STORY), continuation.split_once(STORY)) {
            (Some((header, story)), _) => (header, story, continuation),
            (None, Some((header, story))) if opening.is_empty() => (header, "", story),
            _ => ("", opening, continuation),
        };
        let mut scene = Scene::default();
        for sentence in sentences(opening) {
            if let Some(reading) = self.read(sentence, &scene) {
                scene.take(&self.lexicon, &self.templates, &reading);
            }
        }
        let mut grade = Grade::default();
        for sentence in sentences(continuation) {
            grade.sentences += 1;
            let Some(reading) = self.read(sentence, &scene) else {
                for known in tokens(sentence).iter().filter_map(|word| scene.knows(&self.lexicon, word)) {
                    grade.mentions += 1;
                    grade.consistent += u64::from(known);
                }
                continue;
            };
            let agreement = scene.take(&self.lexicon, &self.templates, &reading);
            grade.well_formed += 1;
            grade.agreeing += 1;
            grade.coherent += u64::from(agreement.mentions == agreement.right);
            grade.mentions += agreement.mentions;
            grade.consistent += agreement.right;
        }
        // Who speaks of nobody is not consistent for that.
        grade.mentions = grade.mentions.max(1);
        let (words, wanted) = (tokens(continuation), super::write::wanted(header));
        grade.wanted = wanted.len() as u64;
        grade.used =
            wanted.iter().filter(|word| self.forms(word).iter().any(|form| words.contains(form))).count() as u64;
        grade
    }

    /// Every form of a word.
    fn forms(&self, word: &str) -> Vec<String> {
        let verb = [Class::Act, Class::Use].into_iter().find_map(|class| self.lexicon.find(class, 0, word));
        verb.map_or_else(|| vec![word.to_owned()], |verb| self.lexicon.entry(verb).forms.clone())
    }

    /// The reading that agrees best with what was stated, of all that give the sentence to the letter.
    fn read(&self, sentence: &str, scene: &Scene) -> Option<Reading> {
        let (sentence, tokens) = (sentence.trim(), tokens(sentence));
        if tokens.len() > MOST_TOKENS {
            return None;
        }
        let mut readings = self.readings(&tokens, None);
        for time in self.lexicon.of(Class::Time) {
            let words: Vec<&str> = self.lexicon.word(*time, 0).split(' ').chain([","]).collect();
            if tokens.len() > words.len() && tokens.iter().zip(&words).all(|(token, word)| token == word) {
                readings.extend(self.readings(&tokens[words.len()..], Some(*time)));
            }
        }
        let readings = readings.into_iter().filter(|reading| self.written(reading) == sentence);
        let wrong = |reading: &Reading| {
            let agreement = scene.clone().take(&self.lexicon, &self.templates, reading);
            agreement.mentions - agreement.right
        };
        readings.min_by_key(wrong)
    }

    fn readings(&self, tokens: &[String], time: Option<usize>) -> Vec<Reading> {
        let whole = (0..self.templates.len()).filter(|template| self.templates[*template].stage != Stage::Clause);
        let read = |template: usize| {
            let found = self.pieces(&self.templates[template].pieces, tokens);
            let found = found.into_iter().filter(|(_, used)| *used == tokens.len());
            found.map(move |(said, _)| Reading { time, template, said })
        };
        whole.flat_map(read).collect()
    }

    /// Every way in which the tokens begin with these pieces, each with how many it takes.
    fn pieces(&self, pieces: &[Piece], tokens: &[String]) -> Vec<(Vec<Said>, usize)> {
        let mut states: Vec<(Vec<Said>, usize)> = vec![(Vec::new(), 0)];
        for piece in pieces {
            let mut next = Vec::new();
            for (said, at) in states {
                for (more, used) in self.piece(piece, &tokens[at..]) {
                    next.push((said.iter().cloned().chain(more).collect(), at + used));
                }
            }
            states = next;
        }
        states
    }

    fn piece(&self, piece: &Piece, tokens: &[String]) -> Vec<(Vec<Said>, usize)> {
        let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token == word);
        let find = |at: usize, class: Class, form: usize| self.lexicon.find(class, form, tokens.get(at)?);
        let one = |said: Option<Said>| said.map(|said| (vec![said], 1)).into_iter().collect::<Vec<_>>();
        match piece {
            Piece::Word(word) => {
                let article = word == "a" && is(0, "an");
                let stands = is(0, word) || article || (word == "I" && is(0, "i"));
                if stands { vec![(Vec::new(), 1)] } else { Vec::new() }
            }
            Piece::Any(class, form) => one(find(0, *class, *form).map(Said::Any)),
            Piece::Place(letter) => match find(1, Class::Place, 0) {
                Some(place) if is(0, "the") => vec![(vec![Said::Place(*letter, place)], 2)],
                _ => Vec::new(),
            },
            Piece::Look(letter) => one(find(0, Class::Look, 0).map(|look| Said::Look(*letter, look))),
            Piece::Thing(letter, article) => self.thing(*letter, *article, tokens).into_iter().collect(),
            Piece::Person(letter, form) => self.person(*letter, *form, tokens),
            Piece::Clause => {
                let clauses = (0..self.templates.len()).filter(|at| self.templates[*at].stage == Stage::Clause);
                let read = |template: usize| {
                    let found = self.pieces(&self.templates[template].pieces, tokens).into_iter();
                    let clause = move |said| Said::Clause(Box::new(Reading { time: None, template, said }));
                    found.map(move |(said, used)| (vec![clause(said)], used))
                };
                clauses.flat_map(read).collect()
            }
        }
    }

    fn thing(&self, letter: char, article: Article, tokens: &[String]) -> Option<(Vec<Said>, usize)> {
        let is = |at: usize, words: &[&str]| tokens.get(at).is_some_and(|token| words.contains(&token.as_str()));
        let find = |at: usize, class: Class| self.lexicon.find(class, 0, tokens.get(at)?);
        let mut at = 0;
        match article {
            Article::Bare => {}
            Article::New if is(0, &["a", "an"]) => at = 1,
            Article::Definite | Article::Plain if is(0, &["the"]) => at = 1,
            _ => return None,
        }
        let look = if article == Article::Plain { None } else { find(at, Class::Look) };
        at += usize::from(look.is_some());
        let noun = find(at, Class::Noun)?;
        let said = match (article, look) {
            (Article::New, look) => Said::NewThing(letter, look?, noun),
            (_, look) => Said::Thing(letter, look, noun),
        };
        Some((vec![said], at + 1))
    }

    fn person(&self, letter: char, form: Form, tokens: &[String]) -> Vec<(Vec<Said>, usize)> {
        let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token == word);
        let find = |at: usize, class: Class| self.lexicon.find(class, 0, tokens.get(at)?);
        let mut out = Vec::new();
        if form == Form::New {
            if let (Some(of), Some(kind), Some(name)) =
                (find(1, Class::Trait), find(2, Class::Kind), find(4, Class::Name))
                && (is(0, "a") || is(0, "an"))
                && is(3, "named")
            {
                out.push((vec![Said::Any(of), Said::NewPerson { letter, kind, name }], 5));
            }
            return out;
        }
        let possessive = |at: usize| form != Form::Possessive || is(at, "'s");
        let extra = usize::from(form == Form::Possessive);
        if let Some(name) = find(0, Class::Name)
            && possessive(1)
        {
            out.push((vec![Said::Name(letter, name)], 1 + extra));
        }
        if form == Form::Name {
            return out;
        }
        if let Some(kind) = find(1, Class::Kind)
            && is(0, "the")
            && possessive(2)
        {
            out.push((vec![Said::Kind(letter, kind)], 2 + extra));
        }
        for gender in [Gender::Female, Gender::Male] {
            if is(0, pronoun(gender, form)) {
                out.push((vec![Said::Pronoun(letter, gender)], 1));
            }
        }
        out
    }

    /// The sentence to the letter.
    pub(super) fn written(&self, reading: &Reading) -> String {
        let mut words: Vec<String> = Vec::new();
        if let Some(time) = reading.time {
            words.extend([self.lexicon.word(time, 0).to_owned(), ",".to_owned()]);
        }
        self.words(reading, &mut words);
        let mut out = String::new();
        let mut capital = true;
        for (at, word) in words.iter().enumerate() {
            let after_open = at > 0 && words[at - 1] == "«";
            if !out.is_empty() && !after_open && ![",", ".", "!", "?", "'s", "»"].contains(&word.as_str()) {
                out.push(' ');
            }
            match word.as_str() {
                "«" | "»" => out.push('"'),
                "a" if words.get(at + 1).is_some_and(|next| next.starts_with(['a', 'e', 'i', 'o', 'u'])) => {
                    out.push_str(if capital { "An" } else { "an" });
                }
                word => {
                    let mut letters = word.chars();
                    let first = letters.next().unwrap_or_default();
                    out.push(if capital { first.to_ascii_uppercase() } else { first });
                    out.push_str(letters.as_str());
                }
            }
            capital = word == "«";
        }
        out
    }

    fn words(&self, reading: &Reading, out: &mut Vec<String>) {
        let word = |entry: usize| self.lexicon.word(entry, 0).to_owned();
        let mut said = reading.said.iter();
        for piece in &self.templates[reading.template].pieces {
            if let Piece::Word(word) = piece {
                out.push(word.clone());
                continue;
            }
            let Some(here) = said.next() else { return };
            match (piece, here) {
                (Piece::Any(_, form), Said::Any(entry)) => out.push(self.lexicon.word(*entry, *form).to_owned()),
                (Piece::Person(..), Said::Any(of)) => {
                    if let Some(Said::NewPerson { kind, name, .. }) = said.next() {
                        out.extend(["a".to_owned(), word(*of), word(*kind), "named".to_owned(), word(*name)]);
                    }
                }
                (Piece::Person(_, form), here) => {
                    match here {
                        Said::Name(_, name) => out.push(word(*name)),
                        Said::Kind(_, kind) => out.extend(["the".to_owned(), word(*kind)]),
                        Said::Pronoun(_, gender) => out.push(pronoun(*gender, *form).to_owned()),
                        _ => {}
                    }
                    if *form == Form::Possessive && !matches!(here, Said::Pronoun(..)) {
                        out.push("'s".to_owned());
                    }
                }
                (Piece::Thing(_, article), Said::Thing(_, look, noun)) => {
                    if *article != Article::Bare {
                        out.push("the".to_owned());
                    }
                    out.extend(look.map(word).into_iter().chain([word(*noun)]));
                }
                (_, Said::NewThing(_, look, noun)) => out.extend(["a".to_owned(), word(*look), word(*noun)]),
                (_, Said::Place(_, place)) => out.extend(["the".to_owned(), word(*place)]),
                (_, Said::Look(_, look)) => out.push(word(*look)),
                (_, Said::Clause(clause)) => self.words(clause, out),
                _ => {}
            }
        }
    }
}
