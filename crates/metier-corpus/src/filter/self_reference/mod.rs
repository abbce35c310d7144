mod words;

use super::{Filter, Verdict};
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use words::{
    AT_HAND, AUTHORS, BEFORE, BEHIND, BETWEEN, EXPERIMENTS, GOODS, NUMBERED, PARTS, SAYS, STUDIED, WORKS, WRITINGS,
};

/// # What it does
/// Drops questions that cannot be answered away from the text they were made from, because they point at it: "this paper", "the
/// authors", "Figure 4", "section 3.2", "the above text".
///
/// # How
/// The question is read word by word. It is dropped when it has
/// - `this` or `these` before a kind of text or of its parts (paper, section, table, experiment, approach ...), with adjectives between,
/// - `above`, `given`, `following`, `previous` and the like before one, or an echo such as "mentioned above", "described earlier", "shown here",
/// - `the` before one, where it can only be a text (`the paper`), where a preposition stands before it and no other noun behind it
///   (`in the table?`), or where it says or shows something (`the report describes`),
/// - the authors, `we` or `our` as those of a paper, "the proposed scheme", "the experiments",
/// - a part with a number or letter (`Eq. (7)`, `Appendix B`) or a number in brackets (`in [12]`).
///
/// A part of something that is named stays: "section 4.1 of RFC 793", "the authors of RFC 2616".
///
/// # When to use
/// On generated questions, one a document (`read = { method = "jsonl", text_key = "Statement" }`), before they become a benchmark.
///
/// # Differs from the paper in
/// The paper asks a language model as well. The rules are ours; they are for English.
///
/// # Source
/// Maatouk et al. 2024, *Tele-LLMs* (arXiv:2409.05314), making of Tele-Eval.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelfReference {}

/// A word, a number or a mark.
struct Word<'a> {
    written: &'a str,
    lower: String,
    range: Range<usize>,
}

/// The words of a question. Hyphens, points and apostrophes inside a word belong to it.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut out = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some((start, letter)) = letters.next() {
        if letter.is_whitespace() {
            continue;
        }
        let mut end = start + letter.len_utf8();
        if letter.is_alphanumeric() {
            while let Some((at, next)) = letters.peek().copied() {
                let inside = "-.'’".contains(next) && text[at + next.len_utf8()..].starts_with(char::is_alphanumeric);
                if !next.is_alphanumeric() && !inside {
                    break;
                }
                end = at + next.len_utf8();
                letters.next();
            }
        }
        let written = &text[start..end];
        out.push(Word { written, lower: written.to_lowercase().replace('’', "'"), range: start..end });
    }
    out
}

/// Where a question points at the text it was made from.
pub fn points_at_source(question: &str) -> Option<Range<usize>> {
    let words = words(question);
    let reader = Reader { words: &words };
    (0..words.len()).find_map(|at| reader.pointer(at).map(|end| words[at].range.start..words[end].range.end))
}

struct Reader<'a> {
    words: &'a [Word<'a>],
}

impl Reader<'_> {
    fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| &word.lower)
    }

    fn is(&self, at: usize, of: &[&str]) -> bool {
        of.contains(&self.word(at))
    }

    /// A mark, or the end.
    fn is_mark(&self, at: usize) -> bool {
        !self.word(at).starts_with(char::is_alphanumeric)
    }

    /// A form of a verb of saying.
    fn says(&self, at: usize) -> bool {
        let word = self.word(at);
        SAYS.iter().any(|verb| {
            let stem = verb.strip_suffix('e').unwrap_or(verb);
            let stem =
                stem.strip_suffix('y').filter(|_| word.starts_with(*verb) == word.ends_with("ying")).unwrap_or(stem);
            word == *verb
                || word
                    .strip_prefix(stem)
                    .is_some_and(|end| matches!(end, "s" | "es" | "ed" | "ing" | "ies" | "ied" | "ying"))
        }) || matches!(word, "said" | "found" | "shown")
    }

    /// A word with a capital, or a label with digits, that is no first word: a name.
    fn is_name(&self, at: usize) -> bool {
        self.words.get(at).is_some_and(|word| {
            word.written.starts_with(|letter: char| letter.is_uppercase() || letter.is_ascii_digit())
        })
    }

    /// `of RFC 793`, `in the IEEE standard`, `by Shannon`.
    fn names_source(&self, at: usize) -> bool {
        let article = usize::from(self.is(at + 1, &["the", "an", "a"]));
        self.is(at, &["of", "in", "from", "by"])
            && self.is_name(at + 1 + article)
            && !self.is(at + 1 + article, NUMBERED)
    }

    /// The word at which a pointer that begins at `at` ends.
    fn pointer(&self, at: usize) -> Option<usize> {
        let word = self.word(at);
        match word {
            "this" | "these" => self.noun(at + 1, &[WRITINGS, PARTS, WORKS, AUTHORS]),
            "that" | "those" => self.noun(at + 1, &[WRITINGS]),
            "the" => self.definite(at),
            "their" => {
                self.noun(at + 1, &[EXPERIMENTS, &["paper", "article", "study", "survey", "manuscript", "findings"]])
            }
            "(" => self.equation(at),
            "our" | "my" => self
                .noun(at + 1, &[WRITINGS, PARTS, WORKS])
                .or_else(|| self.is(at + 1, &["proposed"]).then_some(at + 1)),
            "we" => (self.says(at + 1)
                && !self.is(at.wrapping_sub(1), &["do", "can", "should", "must", "would", "could"]))
            .then_some(at + 1),
            "[" => self.citation(at),
            "§" => self.words.get(at + 1).filter(|next| is_number(next.written)).map(|_| at + 1),
            "aforementioned" | "abovementioned" | "above-mentioned" | "hereinabove" => Some(at),
            "here" if self.is_mark(at + 1) && !self.is(at.wrapping_sub(1), &["from", "to", "click"]) => Some(at),
            _ if AT_HAND.contains(&word) => self.at_hand(at),
            _ => None,
        }
        .or_else(|| self.echo(at))
        .or_else(|| self.numbered(at))
    }

    /// A noun of these kinds, at most two adjectives on.
    fn noun(&self, at: usize, kinds: &[&[&str]]) -> Option<usize> {
        let is_noun = |at: usize| kinds.iter().any(|kind| self.is(at, kind));
        let adjectives = (at..at + 2)
            .take_while(|at| self.is(*at, BETWEEN) || self.is(*at, AT_HAND) || self.is(*at, &["proposed"]))
            .count();
        (at..=at + adjectives).rev().find(|at| is_noun(*at)).or_else(|| {
            // `paper's` is the paper still.
            let owner = self.word(at).strip_suffix("'s")?;
            kinds.iter().any(|kind| kind.contains(&owner)).then_some(at)
        })
    }

    fn definite(&self, at: usize) -> Option<usize> {
        if self.is(at + 1, AUTHORS) {
            let goods = self.is(at + 2, &["field", "header", "tag", "element", "attribute", "name", "property"]);
            return (!goods && !self.names_source(at + 2)).then_some(at + 1);
        }
        if self.is(at + 1, STUDIED) {
            return (!self.is(at + 2, &["standard", "rule"])).then_some(at + 2).filter(|at| *at < self.words.len());
        }
        if self.is(at + 1, &["above", "foregoing"]) {
            return self
                .words
                .get(at + 2)
                .filter(|next| !next.written.starts_with(|letter: char| letter.is_ascii_digit()))
                .map(|_| at + 1);
        }
        if let Some(end) = self.noun(at + 1, &[WRITINGS]) {
            return (!self.is(end + 1, GOODS) && !self.names_source(end + 1)).then_some(end);
        }
        let found = self.noun(at + 1, &[&["experiments", "simulations", "findings", "results"]]);
        if let Some(end) = found.filter(|end| end - at > 1 || !self.is(*end, &["results"]) || self.says(end + 1)) {
            return (!self.names_source(end + 1)).then_some(end);
        }
        if let Some(end) = self.noun(at + 1, &[EXPERIMENTS]).filter(|_| self.is(at.wrapping_sub(1), BEFORE)) {
            return (!self.names_source(end + 1)).then_some(end);
        }
        // `as shown in the ...`, whatever it is.
        if at > 2
            && self.is(at - 3, &["as"])
            && self.told(at - 2)
            && self.is(at - 1, &["in", "by", "on"])
            && !self.is_name(at + 1)
        {
            return Some(at + 1);
        }
        let end = self.noun(at + 1, &[PARTS, WORKS])?;
        if self.is(
            end + 1,
            &["provided", "given", "above", "supplied", "below", "described", "discussed", "outlined", "presented"],
        ) && (self.is_mark(end + 2) || self.is(end + 2, BEHIND))
        {
            return Some(end + 1);
        }
        let part = self.noun(at + 1, &[PARTS])?;
        if self.says(part + 1) && !self.is(part + 2, &["by", "in"]) {
            return Some(part + 1);
        }
        if self.is(part, &["report", "study", "survey", "review"]) && self.is(part + 1, &["on", "about"]) {
            return Some(part);
        }
        let is_text =
            self.is(part, &["text", "document", "chapter", "survey", "report", "study"]) && !self.is(part + 1, GOODS);
        let told = at > 1 && self.told(at - 2) && self.is(part + 1, &["in"]);
        let alone = self.is_mark(part + 1) || self.is(part + 1, BEHIND) || told || is_text;
        // `in a graph ... of the graph` points into the question.
        if self.words[..at].iter().any(|word| word.lower == self.word(part)) {
            return None;
        }
        let asked = self.is(at.wrapping_sub(1), &["does", "do", "did"]) && self.says(part + 1);
        ((self.is(at.wrapping_sub(1), BEFORE) && alone) || asked).then_some(part)
    }

    /// `above equation`, `given context`, `following table`.
    fn at_hand(&self, at: usize) -> Option<usize> {
        let end = self.noun(at + 1, &[WRITINGS, PARTS])?;
        // What follows may stand in the question itself.
        let follows = self.word(at) == "following"
            && self.words[end..].iter().any(|word| matches!(word.written, ":" | "$" | "="));
        let article = self.is(at.wrapping_sub(1), &["a", "an", "no", "any", "each", "every"]);
        // "the case above", but "has presented data".
        let loose = self.is(
            at,
            &[
                "presented",
                "included",
                "shown",
                "described",
                "listed",
                "said",
                "mentioned",
                "given",
                "provided",
                "source",
                "present",
                "current",
                "original",
                "underlying",
                "previous",
            ],
        );
        let held = self.is(at.wrapping_sub(1), &["the", "this", "these", "in", "from", "by", "on"]);
        let other =
            !self.is_mark(end + 1) && !self.is(end + 1, BEHIND) && !self.is(end + 1, BEFORE) && !self.says(end + 1);
        (!follows && !article && !(loose && (!held || other))).then_some(end)
    }

    /// `mentioned above`, `described earlier`, `previously defined`, `see below`.
    fn echo(&self, at: usize) -> Option<usize> {
        if self.told(at) && self.is(at + 1, &["above", "below", "earlier", "previously", "here", "herein", "hereafter"])
        {
            let ends = self.is_mark(at + 2) || self.is(at + 2, BEHIND) || self.is(at + 2, BEFORE);
            return ends.then_some(at + 1);
        }
        (self.is(at, &["previously", "earlier", "above", "just"])
            && self.told(at + 1)
            && !self.is(at + 1, &["see", "used"]))
        .then_some(at + 1)
    }

    /// A participle of telling.
    fn told(&self, at: usize) -> bool {
        const OTHERS: &[&str] = &[
            "given",
            "shown",
            "seen",
            "defined",
            "provided",
            "see",
            "used",
            "specified",
            "supplied",
            "reproduced",
            "quoted",
            "written",
            "plotted",
        ];
        self.says(at) && self.word(at).ends_with("ed") || self.is(at, OTHERS)
    }

    /// `by (7)`.
    fn equation(&self, at: usize) -> Option<usize> {
        let number = self.words.get(at + 1)?.written;
        let whole = number.chars().all(|letter| letter.is_ascii_digit()) && self.word(at + 2) == ")";
        (whole && self.is(at.wrapping_sub(1), &["in", "from", "by", "using", "via", "see"])).then_some(at + 2)
    }

    /// `Figure 4`, `Eq. (7)`, `Appendix B`.
    fn numbered(&self, at: usize) -> Option<usize> {
        if !self.is(at, NUMBERED) || self.is(at.wrapping_sub(1), &["a", "an"]) {
            return None;
        }
        let mut next = at + 1;
        while self.is(next, &[".", "(", "no", "number", "#", "nos", "["]) {
            next += 1;
        }
        let number = self.words.get(next).filter(|word| is_number(word.written))?;
        let mut end = next;
        while self.is(end + 1, &[")", "("])
            || (self.is(end + 1, &["and", "to", "or", ",", "-", "–"])
                && self.words.get(end + 2).is_some_and(|word| is_number(word.written)))
        {
            end += if self.is(end + 1, &[")", "("]) { 1 } else { 2 };
        }
        // `RFC 2616, section 14.9`: the label of what it is a part of stands before it.
        let labeled = (1..=2).any(|back| {
            at.checked_sub(back)
                .and_then(|at| self.words.get(at))
                .is_some_and(|word| word.written.chars().any(|letter| letter.is_ascii_digit()))
        });
        let bankruptcy = self.is(end + 1, &["bankruptcy"]);
        let lone_letter = number.written.chars().all(char::is_alphabetic)
            && !self.is(
                at,
                &[
                    "appendix",
                    "annex",
                    "theorem",
                    "lemma",
                    "section",
                    "table",
                    "figure",
                    "fig",
                    "algorithm",
                    "scheme",
                    "panel",
                    "box",
                    "experiment",
                    "chapter",
                ],
            );
        (!labeled && !bankruptcy && !lone_letter && !self.names_source(end + 1)).then_some(end)
    }

    /// `in [12]`, `by [3, 4]`; no interval and no index.
    fn citation(&self, at: usize) -> Option<usize> {
        let before = self.words.get(at.checked_sub(1)?)?;
        let apart = before.range.end < self.words[at].range.start;
        let mut end = at + 1;
        while self.words.get(end).is_some_and(|word| {
            word.written.chars().all(|letter| letter.is_ascii_digit()) || matches!(word.written, "," | "-" | "–")
        }) {
            end += 1;
        }
        let several = end > at + 2;
        let cites = !several
            || self.is(at - 1, BEFORE)
            || self.is(at - 1, &["ref", "refs", "reference", "references", "and", "see", "work"]);
        (apart && cites && end > at + 1 && self.word(end) == "]" && self.word(at + 1) != "0").then_some(end)
    }
}

/// `4`, `3.2`, `4a`, `A.1`, `IV`, `B`.
fn is_number(word: &str) -> bool {
    let digits = word.starts_with(|letter: char| letter.is_ascii_digit());
    let lettered =
        word.len() > 1 && word.starts_with(|letter: char| letter.is_ascii_uppercase()) && word[1..].starts_with('.');
    let roman = word.chars().all(|letter| "IVXL".contains(letter));
    let letter = word.len() == 1 && word.starts_with(|letter: char| letter.is_ascii_uppercase());
    (digits && word.len() <= 8) || (lettered && word.chars().any(|letter| letter.is_ascii_digit())) || roman || letter
}

impl Filter for SelfReference {
    fn apply(&self, document: Document) -> Verdict {
        match points_at_source(&document.text) {
            Some(_) => Verdict::Drop("points at its source".to_owned()),
            None => Verdict::Keep(document),
        }
    }
}

impl Build<dyn Filter> for SelfReference {
    fn build(self, _: &Place) -> Result<Box<dyn Filter>> {
        Ok(Box::new(self))
    }
}

/// The record of `self_reference`.
pub static PART: Part<dyn Filter> = Part::of::<SelfReference>("self_reference", 1);

#[cfg(test)]
mod tests;
