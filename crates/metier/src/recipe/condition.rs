//! `[[check]]`: figures and a bound, compared.

use metier_core::{Fault, Place, Result};
use std::iter::Peekable;

/// A comparison of what two terms come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// As the recipe wrote it, with the values of lists in their places.
    pub text: String,
    /// The same with the names of lists.
    pub written: String,
    left: Term,
    comparison: Comparison,
    right: Term,
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Number(f64),
    Figure { stage: String, figure: String },
    Compute { left: Box<Term>, operation: char, right: Box<Term> },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Condition {
    /// Reads `stage.figure < number` (or `<=`, `>`, `>=`); either side may compute with `+`, `-`, `*`, `/` and parentheses.
    /// Names hold `-` too, so that `+` and `-` stand between spaces.
    pub fn parse(text: &str, place: &Place) -> Result<Self> {
        let fault = |message: String| {
            Fault::new(place.clone(), message)
                .hint("write a figure, a comparison and a bound: `after.domain.difference_high < 0`")
        };
        let (sign, comparison) =
            [("<=", Comparison::AtMost), (">=", Comparison::AtLeast), ("<", Comparison::Less), (">", Comparison::More)]
                .into_iter()
                .find(|(sign, _)| text.contains(sign))
                .ok_or_else(|| fault(format!("`{text}` has none of the comparisons <, <=, >, >=")))?;
        let (left, right) = text.split_once(sign).unwrap_or((text, ""));
        let side = |side: &str| -> Result<Term> {
            let odd = || fault(format!("`{}` is no figure, number or sum of them", side.trim()));
            Ok(Term::parse(side).ok_or_else(odd)?)
        };
        Ok(Self { text: text.to_owned(), written: text.to_owned(), left: side(left)?, comparison, right: side(right)? })
    }

    /// The figures it names, as (stage, figure).
    pub fn figures(&self) -> Vec<(&str, &str)> {
        let mut out = Vec::new();
        self.left.figures(&mut out);
        self.right.figures(&mut out);
        out
    }

    /// Both values and whether it holds; `None` when a figure is not known or not a number, and for a division by 0.
    pub fn judge(&self, figure: impl Fn(&str, &str) -> Option<f64>) -> Option<(f64, f64, bool)> {
        let (left, right) = (self.left.value(&figure)?, self.right.value(&figure)?);
        let holds = match self.comparison {
            Comparison::Less => left < right,
            Comparison::AtMost => left <= right,
            Comparison::More => left > right,
            Comparison::AtLeast => left >= right,
        };
        Some((left, right, holds))
    }
}

impl Term {
    /// More parentheses within each other are no figure, so that no text is too deep to read.
    const DEEPEST: usize = 32;

    fn parse(text: &str) -> Option<Self> {
        let spaced =
            ["(", ")", "*", "/"].iter().fold(text.to_owned(), |text, sign| text.replace(sign, &format!(" {sign} ")));
        let mut words = spaced.split_whitespace().peekable();
        let term = Self::sum(&mut words, 0)?;
        words.next().is_none().then_some(term)
    }

    fn sum<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, depth: usize) -> Option<Self> {
        let mut left = Self::product(words, depth)?;
        while let Some(sign) = words.next_if(|word| ["+", "-"].contains(word)) {
            left = left.with(sign, Self::product(words, depth)?)?;
        }
        Some(left)
    }

    fn product<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, depth: usize) -> Option<Self> {
        let mut left = Self::operand(words, depth)?;
        while let Some(sign) = words.next_if(|word| ["*", "/"].contains(word)) {
            left = left.with(sign, Self::operand(words, depth)?)?;
        }
        Some(left)
    }

    fn with(self, sign: &str, right: Self) -> Option<Self> {
        Some(Self::Compute { left: Box::new(self), operation: sign.chars().next()?, right: Box::new(right) })
    }

    fn operand<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, depth: usize) -> Option<Self> {
        let word = words.next()?;
        if word == "(" {
            let inner = if depth < Self::DEEPEST { Self::sum(words, depth + 1)? } else { return None };
            return words.next().filter(|word| *word == ")").map(|_| inner);
        }
        if let Ok(number) = word.parse::<f64>() {
            return number.is_finite().then_some(Self::Number(number));
        }
        let (stage, figure) = word.split_once('.')?;
        let is_name = |part: &str| {
            !part.is_empty() && part.chars().all(|letter| letter.is_alphanumeric() || "_-.".contains(letter))
        };
        (is_name(stage) && is_name(figure)).then(|| Self::Figure { stage: stage.to_owned(), figure: figure.to_owned() })
    }

    fn figures<'a>(&'a self, out: &mut Vec<(&'a str, &'a str)>) {
        match self {
            Self::Number(_) => {}
            Self::Figure { stage, figure } => out.push((stage, figure)),
            Self::Compute { left, right, .. } => {
                left.figures(out);
                right.figures(out);
            }
        }
    }

    fn value(&self, figure: &impl Fn(&str, &str) -> Option<f64>) -> Option<f64> {
        let value = match self {
            Self::Number(number) => *number,
            Self::Figure { stage, figure: name } => figure(stage, name)?,
            Self::Compute { left, operation, right } => {
                let (left, right) = (left.value(figure)?, right.value(figure)?);
                match operation {
                    '+' => left + right,
                    '-' => left - right,
                    '*' => left * right,
                    _ if right == 0.0 => return None,
                    _ => left / right,
                }
            }
        };
        (!value.is_nan()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_compares_figures_with_bounds() {
        let condition = Condition::parse("after.domain.difference_high < 0", &Place::default()).unwrap();
        assert_eq!(condition.figures(), [("after", "domain.difference_high")]);
        assert_eq!(condition.judge(|_, _| Some(-0.1)), Some((-0.1, 0.0, true)));
        assert_eq!(condition.judge(|_, _| Some(0.0)), Some((0.0, 0.0, false)));
        assert_eq!(condition.judge(|_, _| Some(f64::NAN)), None);
        assert_eq!(condition.judge(|_, _| None), None);
        let at_most = Condition::parse("a.b <= 3", &Place::default()).unwrap();
        assert_eq!(at_most.judge(|_, _| Some(3.0)), Some((3.0, 3.0, true)));
    }

    #[test]
    fn sides_are_computed() {
        let parse = |text: &str| Condition::parse(text, &Place::default()).unwrap();
        let recovered = parse("(before.b - own-1.b) / (before.b - full.b) >= 0.5 + 2*0.05");
        assert_eq!(recovered.figures(), [("before", "b"), ("own-1", "b"), ("before", "b"), ("full", "b")]);
        let bits = |stage: &str, _: &str| {
            Some(match stage {
                "before" => 3.0,
                "own-1" => 2.0,
                _ => 1.0,
            })
        };
        assert_eq!(recovered.judge(bits), Some((0.5, 0.6, false)));
        assert_eq!(recovered.judge(|_, _| Some(1.0)), None, "a division by 0 is no figure");
        assert_eq!(parse("1 - 2 - 3 < 8 / 2 / 2").judge(|_, _| None), Some((-4.0, 2.0, true)));
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for text in [
            "",
            "after.x",
            "after.x = 3",
            "after < 3",
            "a.b < ",
            "a.b < c d.e",
            "a.b < NaN",
            "(a.b < 1",
            "a.b + < 1",
            "a.b - (1 < 2",
            "a.b) < 1",
        ] {
            let error = Condition::parse(text, &Place::key("check")).unwrap_err();
            assert!(error.to_string().contains("hint:"), "{text}: {error}");
        }
    }
}
