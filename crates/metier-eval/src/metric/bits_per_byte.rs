use super::{Amount, Metric};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Says how many bits a model needs to write down one byte of text. A perfect guesser needs 0, one that knows
/// nothing needs 8, and a small language model needs about 1 for English.
///
/// # How
/// bits per byte = (sum of −ln p over all scored tokens) / ln 2 / (bytes those tokens cover). Sums run over all
/// windows before the division, so long windows count for more than short ones.
///
/// # When to use
/// Always for plain text. It does not depend on how a tokenizer cuts, so models with different vocabularies can
/// be compared.
///
/// # Differs from the paper in
/// A window stands alone. It follows the model's begin-of-text token or, where there is none, the end of another document, as
/// lm-eval does it with tokens of the same roles; so every byte counts, unless the vocabulary has neither.
///
/// # Source
/// Gao et al. 2020, *The Pile* (arXiv:2101.00027), section 3.1; as compression already in Shannon 1951,
/// *Prediction and Entropy of Printed English*.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BitsPerByte {}

impl Metric for BitsPerByte {
    fn name(&self) -> &'static str {
        "bits_per_byte"
    }

    fn title(&self) -> &'static str {
        "bits/byte"
    }

    fn value(&self, amount: Amount) -> f64 {
        amount.nats / std::f64::consts::LN_2 / amount.bytes
    }
}

impl Build<dyn Metric> for BitsPerByte {
    fn build(self, _: &Place) -> Result<Box<dyn Metric>> {
        Ok(Box::new(self))
    }
}

/// Bits per byte.
pub static PART: Part<dyn Metric> = Part::of::<BitsPerByte>("bits_per_byte", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_guess_over_bytes_needs_eight_bits() {
        let amount =
            Amount { nats: 100.0 * 256_f64.ln(), bytes: 100.0, characters: 100.0, tokens: 100.0, ..Amount::default() };
        assert!((BitsPerByte {}.value(amount) - 8.0).abs() < 1e-12);
    }

    #[test]
    fn tokens_do_not_matter() {
        let amount = |tokens| Amount { nats: 70.0, bytes: 100.0, characters: 100.0, tokens, ..Amount::default() };
        assert_eq!(BitsPerByte {}.value(amount(10.0)).to_bits(), BitsPerByte {}.value(amount(99.0)).to_bits());
    }
}
