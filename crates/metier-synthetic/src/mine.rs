//! Which facts can a program find in documents, and ask for?
//!
//! Facts of five kinds stand in technical documents in a form that a program can read without doubt. Each is stated anew in
//! four wordings, to learn from, and asked for in a fifth.

use crate::form::fill;
use metier_core::data::{Document, Question};
use metier_core::seed::Seed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Wordings of a fact that is stated.
pub const WORDINGS: usize = 4;
/// Choices of a question.
const CHOICES: usize = 4;

/// What a fact is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The number of a name that a table lists: a line `IKE_AUTH   35`, with capital letters and a low line in the name.
    Code,
    /// The size of a field: a line `Source Port:  16 bits`.
    Field,
    /// The place of an object in a management information base: `ifOperStatus OBJECT-TYPE` up to `::= { ifEntry 8 }`.
    Object,
    /// The port of a document's protocol: `UDP port 69`.
    Port,
    /// The code of a reply: a line `2104    "Billing failure"`.
    Reply,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Code, Self::Field, Self::Object, Self::Port, Self::Reply];

    /// As in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Field => "field",
            Self::Object => "object",
            Self::Port => "port",
            Self::Reply => "reply",
        }
    }

    /// How a fact is asked, and how it is stated. `{d}` is the document, `{s}` the subject, `{v}` the value.
    fn forms(self) -> (&'static str, [&'static str; WORDINGS]) {
        match self {
            Self::Code => (
                "What number identifies {s} in {d}?",
                [
                    "{d} assigns to {s} the value {v}.",
                    "In {d}, {s} is encoded as {v}.",
                    "The code of {s} in {d} is {v}.",
                    "Value of {s} by {d}: {v}",
                ],
            ),
            Self::Field => (
                "How large is the {s} field that {d} defines?",
                [
                    "In {d}, the field {s} is {v} long.",
                    "{d} gives the field {s} a length of {v}.",
                    "The headers of {d} have a field {s}, whose size is {v}.",
                    "Size of {s} in {d}: {v}",
                ],
            ),
            Self::Object => (
                "Which number does {s} have among the objects of {d}?",
                [
                    "{d} registers {s} with the number {v}.",
                    "The identifier of {s} in {d} ends in {v}.",
                    "In {d}, the place of {s} is {v}.",
                    "Number of {s} by {d}: {v}",
                ],
            ),
            Self::Port => (
                "Which port does the protocol of {d} use?",
                [
                    "A server that follows {d} listens on {v}.",
                    "The port assigned in {d} is {v}.",
                    "Clients of the protocol in {d} reach it at {v}.",
                    "Port by {d}: {v}",
                ],
            ),
            Self::Reply => (
                "Which reply code means \"{s}\" in {d}?",
                [
                    "{d} has for \"{s}\" the code {v}.",
                    "In {d}, a server says \"{s}\" by sending {v}.",
                    "The result \"{s}\" of {d} is numbered {v}.",
                    "Code of \"{s}\" by {d}: {v}",
                ],
            ),
        }
    }
}

/// Something that a document states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub kind: Kind,
    /// The document's id.
    pub document: String,
    /// Whose value it is; empty where it is the document's own.
    pub subject: String,
    /// The value.
    pub value: String,
}

impl Fact {
    /// The fact in one of its wordings.
    pub fn statement(&self, wording: usize) -> String {
        self.fill(self.kind.forms().1[wording % WORDINGS])
    }

    fn question(&self) -> String {
        self.fill(self.kind.forms().0)
    }

    fn fill(&self, form: &str) -> String {
        fill(&form.replace("{d}", &title(&self.document)), &self.subject, &self.value)
    }
}

/// How a document is called: `rfc768.txt.gz` is `RFC 768`.
fn title(id: &str) -> String {
    let name = id.rsplit('/').next().unwrap_or(id);
    let name = name.split('.').next().unwrap_or(name);
    match name.strip_prefix("rfc") {
        Some(number) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("RFC {number}")
        }
        _ => name.to_owned(),
    }
}

/// The facts of a document, in the order of the kinds and of the text. Where a document says two things of one subject, neither is a fact.
pub fn find(document: &Document, kinds: &[Kind]) -> Vec<Fact> {
    let mut found: Vec<(Kind, &str, String)> = Vec::new();
    let mut object = None;
    for line in document.text.lines().map(str::trim) {
        found.extend(code(line).map(|(subject, value)| (Kind::Code, subject, value)));
        found.extend(field(line).map(|(subject, value)| (Kind::Field, subject, value)));
        found.extend(reply(line).map(|(subject, value)| (Kind::Reply, subject, value)));
        found.extend(ports(line).map(|value| (Kind::Port, "", value)));
        if let Some(name) = line.strip_suffix("OBJECT-TYPE") {
            object = Some(name.trim_end()).filter(|name| is_word(name));
        } else if let Some(place) = line.strip_prefix("::= {") {
            let number = place.strip_suffix('}').and_then(|place| place.split_whitespace().last());
            found
                .extend(object.take().zip(number.and_then(number_of)).map(|(name, value)| (Kind::Object, name, value)));
        }
    }
    let mut values: BTreeMap<(Kind, &str), BTreeSet<&str>> = BTreeMap::new();
    for (kind, subject, value) in &found {
        values.entry((*kind, subject)).or_default().insert(value);
    }
    let mut facts = Vec::new();
    for (kind, subject, value) in &found {
        let said = values.remove(&(*kind, subject)).is_some_and(|values| values.len() == 1);
        if said && kinds.contains(kind) {
            let [document, subject] = [&document.id, *subject].map(str::to_owned);
            facts.push(Fact { kind: *kind, document, subject, value: value.clone() });
        }
    }
    facts.sort_by_key(|fact| fact.kind);
    facts
}

fn number_of(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.to_owned())
}

fn is_word(text: &str) -> bool {
    text.len() > 2 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `IKE_AUTH   35`, alone on its line or followed by more columns.
fn code(line: &str) -> Option<(&str, String)> {
    let (name, rest) = line.split_once("  ")?;
    let capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let named =
        name.contains('_') && name.starts_with(|letter: char| letter.is_ascii_uppercase()) && name.bytes().all(capital);
    let value = rest.trim_start().split("  ").next()?;
    named.then(|| number_of(value)).flatten().map(|value| (name, value))
}

/// `Source Port:  16 bits`.
fn field(line: &str) -> Option<(&str, String)> {
    let (name, size) = line.split_once(':')?;
    let named = name.starts_with(|letter: char| letter.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b' ')
        && name.split(' ').count() <= 4;
    let mut words = size.split_whitespace();
    let bits = words.next().and_then(number_of)?;
    let unit = words.next()?.trim_end_matches(['.', ',']);
    (named && (unit == "bits" || unit == "bit")).then(|| (name, format!("{bits} {unit}")))
}

/// `2104    "Billing failure"`.
fn reply(line: &str) -> Option<(&str, String)> {
    let (code, text) = line.split_once("  ")?;
    let text = text.trim_start().strip_prefix('"')?.strip_suffix('"')?;
    let plain = text.len() > 2 && !text.contains('"');
    (plain && (3..=4).contains(&code.len())).then(|| number_of(code)).flatten().map(|code| (text, code))
}

/// `UDP port 69`, anywhere in a line.
fn ports(line: &str) -> impl Iterator<Item = String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = |start: usize| {
        let transport = words[start].trim_start_matches('(');
        let mut rest = words[start + 1..].iter().filter(|word| **word != "number");
        let named = (transport == "TCP" || transport == "UDP") && rest.next() == Some(&"port");
        let number = rest.next()?.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        named.then(|| number_of(number)).flatten().map(|number| format!("{transport} port {number}"))
    };
    (0..words.len()).filter_map(at).collect::<Vec<_>>().into_iter()
}

/// At most `most` facts of each kind, drawn by the seed, in their order. Kinds whose values are too few to choose from are left out.
pub fn choose(facts: &[Fact], most: usize, seed: Seed) -> Vec<Fact> {
    let mut kept = Vec::new();
    for kind in Kind::ALL {
        let mut of_kind: Vec<usize> = (0..facts.len()).filter(|&at| facts[at].kind == kind).collect();
        let values: BTreeSet<&str> = of_kind.iter().map(|&at| facts[at].value.as_str()).collect();
        if values.len() >= CHOICES {
            seed.derive("facts").at(kind as u64).shuffle(&mut of_kind);
            of_kind.truncate(most);
            kept.extend(of_kind);
        }
    }
    kept.sort_unstable();
    kept.into_iter().map(|at| facts[at].clone()).collect()
}

/// A question for each of `asked`, in a wording that no statement has; the wrong choices are values of other facts of the kind, of the same document
/// first.
pub fn questions(asked: &[Fact], facts: &[Fact], seed: Seed) -> Vec<Question> {
    let ask = |(number, fact): (usize, &Fact)| {
        let mut random = seed.derive("choices").at(number as u64);
        let mut others: Vec<&Fact> = facts.iter().filter(|other| other.kind == fact.kind).collect();
        random.shuffle(&mut others);
        others.sort_by_key(|other| other.document != fact.document);
        let mut choices = vec![fact.value.clone()];
        for other in others {
            if choices.len() < CHOICES && !choices.contains(&other.value) {
                choices.push(other.value.clone());
            }
        }
        random.shuffle(&mut choices);
        let id = format!("{}/{}-{}", fact.document, fact.kind.name(), number);
        Question { id, question: fact.question(), answer: fact.value.clone(), choices }
    };
    asked.iter().enumerate().map(ask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::data::{Metadata, Pieces};
    use std::fmt::Write as _;

    fn document(id: &str, text: &str) -> Document {
        Document {
            id: id.to_owned(),
            source: id.to_owned(),
            source_sha256: String::new(),
            license: "none".to_owned(),
            pieces: Pieces::whole(text.len()),
            text: text.to_owned(),
            partial: Vec::new(),
            metadata: Metadata::new(),
        }
    }

    const TEXT: &str = "
   Source Port:  16 bits

   Version:  4 bits.
   Note: 3 of these bits are odd, and so: 12 bits here.
      IKE_AUTH                  35
      ENCR_3DES            3           [RFC2451]
      RATHER_OLD   seven
      TOC_ENTRY ....... 12
      2104    \"Billing failure\"
      The server (on UDP port 69) or TCP port number 8080, not a TCP port.
      ifOperStatus OBJECT-TYPE
              SYNTAX  INTEGER { up(1) }
              ::= { ifEntry 8 }
      ::= { nobody 9 }
      é OBJECT-TYPE
";

    #[test]
    fn what_stands_without_doubt_is_found_and_nothing_else() {
        let found = find(&document("rfc9999.txt.gz", TEXT), &Kind::ALL);
        let found: Vec<_> =
            found.iter().map(|fact| (fact.kind.name(), fact.subject.as_str(), fact.value.as_str())).collect();
        let expected = [
            ("code", "IKE_AUTH", "35"),
            ("code", "ENCR_3DES", "3"),
            ("field", "Source Port", "16 bits"),
            ("field", "Version", "4 bits"),
            ("object", "ifOperStatus", "8"),
            ("reply", "Billing failure", "2104"),
        ];
        assert_eq!(found, expected, "two ports leave neither");
        assert_eq!(find(&document("a", "on UDP port 69."), &[Kind::Port])[0].value, "UDP port 69");
        assert!(find(&document("a", "on UDP port 69."), &[Kind::Code]).is_empty());
        assert!(find(&document("a", "Type: 3 bits\nType: 4 bits"), &Kind::ALL).is_empty());
        assert_eq!(find(&document("a", "Type: 3 bits\nType: 3 bits"), &Kind::ALL).len(), 1);
    }

    #[test]
    fn every_asked_fact_is_stated_in_all_wordings_and_no_question_is() {
        let mut text = String::new();
        for number in 0..30 {
            let _ = writeln!(text, "Field {}: {number} bits\nNAME_{number}   {number}", "x".repeat(number + 1));
        }
        let facts = find(&document("rfc1.txt", &text), &Kind::ALL);
        let asked = choose(&facts, 10, Seed::new(4));
        assert_eq!(asked.len(), 20);
        assert_eq!(asked, choose(&facts, 10, Seed::new(4)));
        let statements: Vec<String> =
            asked.iter().flat_map(|fact| (0..WORDINGS).map(|wording| fact.statement(wording))).collect();
        assert_eq!(statements.iter().collect::<BTreeSet<_>>().len(), 20 * WORDINGS);
        let questions = questions(&asked, &facts, Seed::new(4));
        for (question, fact) in questions.iter().zip(&asked) {
            assert!(!statements.iter().any(|statement| statement.contains(&question.question)));
            let stated = statements
                .iter()
                .filter(|said| said.contains(&fact.subject) && said.contains(&fact.value) && said.contains("RFC 1"));
            assert!(stated.count() >= WORDINGS);
            let right = question.choices.iter().filter(|choice| **choice == question.answer).count();
            assert_eq!((question.choices.len(), right), (CHOICES, 1));
        }
        assert!(choose(&facts[..3], 10, Seed::new(4)).is_empty(), "too few to choose from");
    }

    #[test]
    fn documents_are_called_by_their_numbers() {
        for (id, called) in [("rfc768.txt.gz", "RFC 768"), ("a/b/manual.txt", "manual"), ("rfc-x", "rfc-x"), ("", "")] {
            assert_eq!(title(id), called);
        }
    }
}
