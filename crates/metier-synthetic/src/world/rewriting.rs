use super::{Grade, World, Written, spaced};
use metier_core::part::{Build, Part};
use metier_core::seed::{Seed, Stream};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// # What it does
/// Writes rules and rows of letters to apply them to, and says exactly whether a rule was followed.
///
/// # How
/// A text is `for o f put c i in b p o f h m n f = b p c i h m n f`: one step of a Markov algorithm, in which the leftmost place
/// where the left side of the rule is met is given its right side; a row without the left side stays as it is. `rules` rules are drawn by the number `set`, no two the same, and texts take them
/// by turns, or with the probabilities `k^-exponent`. With the probability `applies` the left side is put at a place of the row that is drawn evenly; otherwise the row is one without it.
/// Of all left sides that there can be, the share `kept` is in no rule, whatever `set` is, but in those that `unseen` asks for: rules to learn from and
/// rules of an exam never share a left side. `given` names rules in place of drawn ones.
///
/// The opening goes as far as the equals sign. A solution counts as one sentence: it is well formed if it is of letters, and agrees if it is the right one.
///
/// # When to use
/// To see how many different instructions a model needs before it follows ones that it never saw.
///
/// # Differs from the paper in
/// The paper's strings are of 26 letters and longer; sizes are settings here. How it builds its three families of strings is not in
/// what we know of it, so that ours are: each letter twice (`aabb`), the first half again (`abab`), the first half from its end (`abba`).
///
/// # Source
/// Zhang, Wang and Charton 2024, *Only-IF* (arXiv:2410.04717), and *Instruction Diversity Drives Generalization To Unseen Tasks* (arXiv:2402.10891).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rewriting {
    /// How many letters there are, from `a` on.
    #[schemars(range(min = 2, max = 26))]
    pub alphabet: u64,
    /// Letters of each side of a rule.
    #[schemars(range(min = 1, max = 8))]
    pub side: u64,
    /// Letters of a row.
    #[schemars(range(min = 1, max = 64))]
    pub length: u64,
    /// How many different rules there are.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rules: u64,
    /// Which rules they are; another number draws others.
    pub set: u64,
    /// How fast rules become rare; with 0 all are alike.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub exponent: f64,
    /// What sides of rules look like; a rule is of one form on both sides, and forms are drawn evenly.
    pub forms: Vec<Form>,
    /// The share of texts in which the left side is met.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub applies: f64,
    /// The share of left sides that are kept for an exam.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub kept: f64,
    /// Whether the rules are of the left sides kept for an exam.
    pub unseen: bool,
    /// Rules in place of drawn ones, such as `"of ci"`.
    pub given: Vec<String>,
    /// Rules of an exam: one of `given` that has the left side of one of these is refused.
    pub apart: Vec<String>,
}

/// What a side of a rule looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Any letters.
    Any,
    /// Different letters, each twice: `aabb`.
    Doubled,
    /// Different letters, and the same again: `abab`.
    Repeated,
    /// Different letters, and the same from their end: `abba`.
    Mirrored,
}

/// A row that has no left side in it is drawn so often at most.
const DRAWS: usize = 1000;

impl Default for Rewriting {
    fn default() -> Self {
        Self {
            alphabet: 16,
            side: 2,
            length: 8,
            rules: 1000,
            set: 1,
            exponent: 0.0,
            forms: vec![Form::Any],
            applies: 0.7,
            kept: 0.22,
            unseen: false,
            given: Vec::new(),
            apart: Vec::new(),
        }
    }
}

/// The two sides of a rule.
type Rule = [Vec<char>; 2];

struct Rewriter {
    settings: Rewriting,
    rules: Vec<Rule>,
    /// The probability of this rule or one before it; none where rules are taken by turns.
    up_to: Vec<f64>,
}

impl Rewriting {
    fn letter(&self, random: &mut Stream) -> char {
        char::from(b'a' + random.below(self.alphabet) as u8)
    }

    fn letters(&self, count: u64, random: &mut Stream) -> Vec<char> {
        (0..count).map(|_| self.letter(random)).collect()
    }

    fn side(&self, form: Form, random: &mut Stream) -> Vec<char> {
        let (side, half) = (self.side as usize, self.side as usize / 2);
        if form == Form::Any {
            return self.letters(self.side, random);
        }
        let mut letters: Vec<char> = (b'a'..).take(self.alphabet as usize).map(char::from).collect();
        random.shuffle(&mut letters);
        let place = |at: usize| match form {
            Form::Doubled => at / 2,
            Form::Mirrored => at.min(side - 1 - at),
            Form::Any | Form::Repeated => at % half,
        };
        (0..side).map(|at| letters[place(at)]).collect()
    }

    /// Whether a left side is kept for an exam; the same whatever rules are drawn.
    fn keeps(&self, left: &[char]) -> bool {
        let number = left.iter().fold(1, |number, letter| number * 27 + u64::from(*letter) - u64::from('a'));
        Seed::new(0).derive("kept").at(number).unit() < self.kept
    }

    /// The rules, as many as there can be of those asked for.
    fn draw(&self) -> Vec<Rule> {
        let seed = Seed::new(self.set).derive(if self.unseen { "rules of an exam" } else { "rules" });
        let (mut rules, mut known) = (Vec::new(), HashSet::new());
        for number in 0..self.rules.saturating_mul(100).max(10_000) {
            if rules.len() as u64 == self.rules {
                break;
            }
            let mut random = seed.at(number);
            let form = self.forms[random.below(self.forms.len() as u64) as usize];
            let rule = [(); 2].map(|()| self.side(form, &mut random));
            if rule[0] != rule[1] && self.keeps(&rule[0]) == self.unseen && known.insert(rule.clone()) {
                rules.push(rule);
            }
        }
        rules
    }

    /// The rules of a list, and what is wrong with them.
    fn read(&self, key: &str, list: &[String], place: &Place, faults: &mut Vec<Fault>) -> Vec<Rule> {
        let known = |side: &str| side.chars().all(|letter| (letter as u64).wrapping_sub('a' as u64) < self.alphabet);
        let mut rules: Vec<Rule> = Vec::new();
        for (number, written) in list.iter().enumerate() {
            let place = place.clone().with_key(format!("{key}[{number}]"));
            let mut fault =
                |message: String| faults.push(Fault::new(place.clone(), message).hint("a rule is such as \"of ci\""));
            let sides: Vec<&str> = written.split(' ').collect();
            let &[left, right] = sides.as_slice() else {
                fault(format!("`{written}` has not two sides"));
                continue;
            };
            if left.is_empty() || left == right {
                fault(format!("`{written}` changes nothing: its left side is empty, or the right one"));
            } else if !known(left) || !known(right) {
                fault(format!("`{written}` has what is none of the {} letters", self.alphabet));
            } else if left.len() as u64 > self.length {
                fault(format!("the left side of `{written}` is longer than a row of {} letters", self.length));
            } else {
                let rule = [left, right].map(|side| side.chars().collect());
                if rules.contains(&rule) {
                    fault(format!("`{written}` is there twice"));
                }
                rules.push(rule);
            }
        }
        rules
    }
}

/// The row after the rule was applied once, at the leftmost place where its left side is met.
fn rewritten(row: &[char], [left, right]: &Rule) -> Vec<char> {
    match row.windows(left.len()).position(|window| window == left) {
        Some(at) => [&row[..at], right, &row[at + left.len()..]].concat(),
        None => row.to_vec(),
    }
}

impl Rewriter {
    fn rule(&self, number: u64, random: &mut Stream) -> &Rule {
        if self.up_to.is_empty() {
            return &self.rules[(number % self.rules.len() as u64) as usize];
        }
        let draw = random.unit();
        &self.rules[self.up_to.partition_point(|up_to| *up_to <= draw).min(self.rules.len() - 1)]
    }

    fn row(&self, left: &[char], random: &mut Stream) -> Vec<char> {
        let settings = &self.settings;
        if random.unit() < settings.applies {
            let mut row = settings.letters(settings.length - left.len() as u64, random);
            let at = random.below(row.len() as u64 + 1) as usize;
            row.splice(at..at, left.iter().copied());
            return row;
        }
        let mut row = Vec::new();
        for _ in 0..DRAWS {
            row = settings.letters(settings.length, random);
            if !row.windows(left.len()).any(|window| window == left) {
                break;
            }
        }
        row
    }

    /// What is right behind an opening; nothing when it is no question.
    fn solution(opening: &str) -> Option<String> {
        let rest = opening.trim().strip_prefix("for ")?.strip_suffix(" =")?;
        let (left, rest) = rest.split_once(" put ")?;
        let (right, row) = rest.split_once(" in ")?;
        let [left, right, row] =
            [left, right, row].map(|side| side.split(' ').flat_map(str::chars).collect::<Vec<char>>());
        (!left.is_empty()).then(|| spaced(&rewritten(&row, &[left, right])))
    }
}

impl World for Rewriter {
    fn write(&self, seed: Seed, number: u64) -> Written {
        let mut random = seed.derive("rewriting").at(number);
        let rule = self.rule(number, &mut random);
        let row = self.row(&rule[0], &mut random);
        let opening = format!("for {} put {} in {} =", spaced(&rule[0]), spaced(&rule[1]), spaced(&row));
        let sides = [("left", 0), ("right", 1)];
        let facts = sides.map(|(name, side)| ["rule".to_owned(), name.to_owned(), rule[side].iter().collect()]);
        Written {
            text: format!("{opening} {}", spaced(&rewritten(&row, rule))),
            language: "zxx",
            opening: opening.len(),
            facts: facts.to_vec(),
            ..Written::default()
        }
    }

    fn grade(&self, opening: &str, continuation: &str) -> Grade {
        if opening.is_empty() {
            let at = continuation.find('=').map_or(0, |at| at + 1);
            return if at == 0 { Grade::wrong() } else { self.grade(&continuation[..at], &continuation[at..]) };
        }
        Self::solution(opening).map_or_else(Grade::wrong, |solution| Grade::of_solution(&solution, continuation))
    }
}

impl Build<dyn World> for Rewriting {
    fn build(self, place: &Place) -> Result<Box<dyn World>> {
        let mut faults = Vec::new();
        let mut say = |key: &str, bad: bool, message: &str| {
            if bad {
                faults.push(Fault::new(place.clone().with_key(key), message));
            }
        };
        let halves = self.forms.iter().any(|form| *form != Form::Any);
        say("alphabet", !(2..=26).contains(&self.alphabet), "there are 2 to 26 letters");
        say("side", !(1..=8).contains(&self.side), "a side has 1 to 8 letters");
        say(
            "side",
            halves && (self.side < 4 || self.side % 2 == 1),
            "a side of a form other than `any` has 4, 6 or 8 letters",
        );
        say(
            "alphabet",
            halves && self.alphabet < self.side / 2,
            "a side of a form other than `any` has half as many different letters",
        );
        say("length", !(1..=64).contains(&self.length), "a row has 1 to 64 letters");
        say(
            "length",
            self.given.is_empty() && self.length < self.side,
            "a row is as long as a side of a rule at least",
        );
        say("rules", !(1..=1_000_000).contains(&self.rules), "there are 1 to 1000000 rules");
        say("exponent", !(0.0..=10.0).contains(&self.exponent), "it is a number from 0 to 10");
        say("forms", self.forms.is_empty(), "there is no form to draw");
        say("applies", !(0.0..=1.0).contains(&self.applies), "it is a share from 0 to 1");
        say("kept", !(0.0..=0.9).contains(&self.kept), "it is a share from 0 to 0.9");
        let usual = Self::default();
        let drawn = (self.side, self.rules, self.set, &self.forms, self.kept.to_bits(), self.unseen)
            == (usual.side, usual.rules, usual.set, &usual.forms, usual.kept.to_bits(), usual.unseen);
        say(
            "given",
            !self.given.is_empty() && !drawn,
            "rules that are given are not drawn: leave out `side`, `rules`, `set`, `forms`, `kept` and `unseen`",
        );
        say(
            "apart",
            !self.apart.is_empty() && self.given.is_empty(),
            "rules that are drawn are apart from those of an exam by `kept`",
        );
        Error::collect((), faults)?;
        let mut faults = Vec::new();
        let given = self.read("given", &self.given, place, &mut faults);
        let apart: HashMap<Vec<char>, Rule> = self
            .read("apart", &self.apart, place, &mut faults)
            .into_iter()
            .map(|rule| (rule[0].clone(), rule))
            .collect();
        for (number, [left, right]) in given.iter().enumerate() {
            if let Some([_, of_exam]) = apart.get(left) {
                let [left, right, of_exam] = [left, right, of_exam].map(|side| side.iter().collect::<String>());
                let message = format!("`{left} {right}` has the left side of `{left} {of_exam}`, a rule of the exam");
                faults.push(
                    Fault::new(place.clone().with_key(format!("given[{number}]")), message)
                        .hint("take it out of one of the two"),
                );
            }
        }
        Error::collect((), faults)?;
        let rules = if given.is_empty() { self.draw() } else { given };
        let asked = if self.given.is_empty() { self.rules } else { rules.len() as u64 };
        if (rules.len() as u64) < asked {
            let message = format!("{asked} different rules are not found; about {} are", rules.len());
            return Err(Fault::new(place.clone().with_key("rules"), message)
                .hint("ask for fewer, or for more letters")
                .into());
        }
        let weight = |number: usize| (number as f64).powf(-self.exponent);
        let sum: f64 = (1..=rules.len()).map(weight).sum();
        let up_to = (1..=rules.len()).scan(0.0, |so_far, number| {
            *so_far += weight(number) / sum;
            Some(*so_far)
        });
        let up_to = if self.exponent > 0.0 { up_to.collect() } else { Vec::new() };
        Ok(Box::new(Rewriter { settings: self, rules, up_to }))
    }
}

/// The record of `rewriting`.
pub static PART: Part<dyn World> = Part::of::<Rewriting>("rewriting", 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn world(settings: Rewriting) -> Box<dyn World> {
        settings.build(&Place::default()).unwrap()
    }

    fn said(settings: Rewriting) -> String {
        settings.build(&Place::default()).map(drop).unwrap_err().to_string()
    }

    fn sides(written: &Written) -> [String; 2] {
        [0, 1].map(|side| written.facts[side][2].clone())
    }

    /// The row and what becomes of it.
    fn rows(text: &str) -> [String; 2] {
        let (before, after) = text.split_once(" = ").unwrap();
        [before.split_once(" in ").unwrap().1, after].map(|row| row.replace(' ', ""))
    }

    #[test]
    fn the_leftmost_place_is_rewritten_as_the_standard_library_does() {
        // Two letters and short rows, so that sides overlap with themselves, stand at ends and in one another.
        let mut random = Seed::new(5).at(0);
        for _ in 0..100_000 {
            let mut letters = |least: u64, most: u64| -> Vec<char> {
                let count = least + random.below(most - least + 1);
                (0..count).map(|_| char::from(b'a' + random.below(2) as u8)).collect()
            };
            let (rule, row) = ([letters(1, 3), letters(0, 4)], letters(0, 8));
            let [left, right, text] = [&rule[0], &rule[1], &row].map(|side| side.iter().collect::<String>());
            let wanted = text.replacen(&left, &right, 1);
            assert_eq!(rewritten(&row, &rule).iter().collect::<String>(), wanted, "{left} {right} {text}");
        }
    }

    #[test]
    fn texts_are_right_and_rules_as_often_as_they_are_to_be() {
        const TEXTS: u64 = 4000;
        for exponent in [0.0, 1.0] {
            let world = world(Rewriting { rules: 10, exponent, ..Rewriting::default() });
            let (mut counts, mut applied) = (HashMap::<_, u64>::new(), 0);
            for number in 0..TEXTS {
                let written = world.write(Seed::new(1), number);
                assert_eq!(written, world.write(Seed::new(1), number));
                let ([left, right], [row, after]) = (sides(&written), rows(&written.text));
                assert_eq!(row.replacen(&left, &right, 1), after);
                applied += u64::from(row != after);
                *counts.entry([left, right]).or_default() += 1;
                let (opening, rest) = written.text.split_at(written.opening);
                assert!(opening.ends_with('='));
                assert_eq!((world.grade(opening, rest).agreeing, world.grade("", &written.text).agreeing), (1, 1));
                assert_eq!(world.grade(opening, &format!("{rest} a")).agreeing, 0);
            }
            let most = counts.values().copied().max().unwrap();
            let wanted =
                if exponent == 0.0 { 400.0 } else { 4000.0 / (1..=10).map(|k| 1.0 / f64::from(k)).sum::<f64>() };
            assert!(counts.len() == 10 && (most as f64 - wanted).abs() < 120.0, "{counts:?}");
            assert!((applied as f64 / TEXTS as f64 - 0.7).abs() < 0.03, "{applied}");
        }
    }

    #[test]
    fn an_exam_shares_no_left_side_with_any_set_of_rules() {
        let lefts = |settings: Rewriting| -> HashSet<String> {
            let rules = settings.rules;
            let world = world(settings);
            (0..rules).map(|number| sides(&world.write(Seed::new(1), number))[0].clone()).collect()
        };
        let exam = lefts(Rewriting { unseen: true, rules: 5000, ..Rewriting::default() });
        assert!((40..75).contains(&exam.len()), "{}", exam.len());
        let mut all = HashSet::new();
        for set in 1..=3 {
            let learned = lefts(Rewriting { set, rules: 5000, ..Rewriting::default() });
            assert!(exam.is_disjoint(&learned));
            all.extend(learned);
        }
        assert_eq!(exam.len() + all.len(), 256);
    }

    #[test]
    fn forms_look_as_they_are_called() {
        for (form, pattern) in
            [(Form::Doubled, [0, 0, 1, 1]), (Form::Repeated, [0, 1, 0, 1]), (Form::Mirrored, [0, 1, 1, 0])]
        {
            let world = world(Rewriting { side: 4, length: 10, rules: 100, forms: vec![form], ..Rewriting::default() });
            for number in 0..100 {
                for side in sides(&world.write(Seed::new(1), number)) {
                    let letters: Vec<char> = side.chars().collect();
                    let first = [letters[0], if pattern[1] == 1 { letters[1] } else { letters[2] }];
                    assert!(first[0] != first[1] && pattern.map(|which| first[which]) == letters[..], "{side}");
                }
            }
        }
    }

    #[test]
    fn a_rule_that_an_exam_has_too_is_refused_and_every_fault_is_named() {
        let given = |given: &[&str], apart: &[&str]| Rewriting {
            given: given.iter().map(|rule| (*rule).to_owned()).collect(),
            apart: apart.iter().map(|rule| (*rule).to_owned()).collect(),
            ..Rewriting::default()
        };
        let own = world(given(&["ab cd", "aa b"], &["ba cd"]));
        assert_eq!(sides(&own.write(Seed::new(1), 1)), ["aa", "b"]);
        let leak = said(given(&["ab cd", "aa b"], &["aa cd"]));
        assert!(leak.contains("given[1]") && leak.contains("`aa cd`") && !leak.contains("given[0]"), "{leak}");
        let wrong = said(given(&[" b", "ab ab", "az b", "ab", "ab cd", "ab cd", "abcdefghi a"], &[]));
        for number in [0, 1, 2, 3, 5, 6] {
            assert!(wrong.contains(&format!("given[{number}]")), "{number}: {wrong}");
        }
        let wrong = said(Rewriting {
            alphabet: 1,
            side: 9,
            length: 0,
            rules: 0,
            exponent: f64::NAN,
            forms: Vec::new(),
            applies: 2.0,
            kept: 1.0,
            ..Rewriting::default()
        });
        assert!(
            ["alphabet", "side", "length", "rules", "exponent", "forms", "applies", "kept"]
                .iter()
                .all(|key| wrong.contains(key)),
            "{wrong}"
        );
        assert!(said(Rewriting { side: 2, forms: vec![Form::Mirrored], ..Rewriting::default() }).contains("4, 6 or 8"));
        assert!(
            said(Rewriting { alphabet: 2, side: 1, kept: 0.0, rules: 9, ..Rewriting::default() })
                .contains("about 2 are")
        );
        for nothing in ["", "=", "for put in =", "for  put  in  =", "for é put a in b =", "add: 1 + 1 ="] {
            assert!(own.grade(nothing, " a").agreeing == 0 || nothing.contains('é'), "{nothing}");
        }
    }
}
