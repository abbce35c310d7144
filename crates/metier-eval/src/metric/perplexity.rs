use super::{Amount, Metric};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Says among how many equally likely tokens a model is undecided at each step, on the geometric mean.
///
/// # How
/// perplexity = exp((sum of −ln p over all scored tokens) / (number of scored tokens)).
///
/// # When to use
/// Only between models with one and the same tokenizer, mostly to set a number beside one from a paper. A
/// vocabulary with longer tokens has a higher perplexity for the same knowledge; use `bits_per_byte` instead.
///
/// # Differs from the paper in
/// Nothing; windows stand alone, where some papers let a window slide and score its last part only, which gives
/// lower numbers.
///
/// # Source
/// Jelinek, Mercer, Bahl and Baker 1977, *Perplexity: a measure of the difficulty of speech recognition tasks*.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Perplexity {}

impl Metric for Perplexity {
    fn name(&self) -> &'static str {
        "perplexity"
    }

    fn title(&self) -> &'static str {
        "perplexity"
    }

    fn value(&self, amount: Amount) -> f64 {
        (amount.nats / amount.tokens).exp()
    }
}

impl Build<dyn Metric> for Perplexity {
    fn build(self, _: &Place) -> Result<Box<dyn Metric>> {
        Ok(Box::new(self))
    }
}

/// Perplexity.
pub static PART: Part<dyn Metric> = Part::of::<Perplexity>("perplexity", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_choice_among_ten_is_ten() {
        let amount =
            Amount { nats: 50.0 * 10_f64.ln(), bytes: 1.0, characters: 1.0, tokens: 50.0, ..Amount::default() };
        assert!((Perplexity {}.value(amount) - 10.0).abs() < 1e-9);
    }
}
