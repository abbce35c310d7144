//! `[[check]]`: a figure, a comparison and a bound.

use metier_core::{Fault, Place, Result};

/// A comparison of two operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// As the recipe wrote it, with the values of lists in their places.
    pub text: String,
    /// The same with the names of lists.
    pub written: String,
    left: Operand,
    comparison: Comparison,
    right: Operand,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Number(f64),
    Figure { stage: String, figure: String },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Condition {
    /// Reads `stage.figure < number` (or `<=`, `>`, `>=`; a figure or a number on either side).
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
        Ok(Self {
            text: text.to_owned(),
            written: text.to_owned(),
            left: Operand::parse(left.trim())
                .ok_or_else(|| fault(format!("`{}` is no figure or number", left.trim())))?,
            comparison,
            right: Operand::parse(right.trim())
                .ok_or_else(|| fault(format!("`{}` is no figure or number", right.trim())))?,
        })
    }

    /// The figures it names, as (stage, figure).
    pub fn figures(&self) -> Vec<(&str, &str)> {
        [&self.left, &self.right]
            .into_iter()
            .filter_map(|operand| match operand {
                Operand::Number(_) => None,
                Operand::Figure { stage, figure } => Some((stage.as_str(), figure.as_str())),
            })
            .collect()
    }

    /// Both values and whether it holds; `None` when a figure is not known or not a number.
    pub fn judge(&self, figure: impl Fn(&str, &str) -> Option<f64>) -> Option<(f64, f64, bool)> {
        let value = |operand: &Operand| match operand {
            Operand::Number(number) => Some(*number),
            Operand::Figure { stage, figure: name } => figure(stage, name).filter(|number| !number.is_nan()),
        };
        let (left, right) = (value(&self.left)?, value(&self.right)?);
        let holds = match self.comparison {
            Comparison::Less => left < right,
            Comparison::AtMost => left <= right,
            Comparison::More => left > right,
            Comparison::AtLeast => left >= right,
        };
        Some((left, right, holds))
    }
}

impl Operand {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<f64>() {
            return number.is_finite().then_some(Self::Number(number));
        }
        let (stage, figure) = text.split_once('.')?;
        let word = |part: &str| {
            !part.is_empty() && part.chars().all(|letter| letter.is_alphanumeric() || "_-.".contains(letter))
        };
        (word(stage) && word(figure)).then(|| Self::Figure { stage: stage.to_owned(), figure: figure.to_owned() })
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
    fn nonsense_is_refused_with_a_hint() {
        for text in ["", "after.x", "after.x = 3", "after < 3", "a.b < ", "a.b < c d.e", "a.b < NaN"] {
            let error = Condition::parse(text, &Place::key("check")).unwrap_err();
            assert!(error.to_string().contains("hint:"), "{text}: {error}");
        }
    }
}
