use super::{Amount, Metric};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Says how many bits a model needs to write down one character of text.
///
/// # How
/// bits per character = (sum of −ln p over all scored tokens) / ln 2 / (characters those tokens cover). A character is a
/// Unicode scalar value, so a vowel sign counts by itself; one that is covered in part counts whole.
///
/// # When to use
/// Between models of one language whose vocabularies differ, above all where a character takes several bytes: three in
/// most scripts of India. For one text it ranks models as `bits_per_byte` does.
///
/// # Differs from the paper in
/// Windows stand alone, as with `bits_per_byte`; and a character is no letter as people count them, which may be several.
///
/// # Source
/// Graves 2013, *Generating Sequences with Recurrent Neural Networks* (arXiv:1308.0850), section 3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BitsPerCharacter {}

impl Metric for BitsPerCharacter {
    fn name(&self) -> &'static str {
        "bits_per_character"
    }

    fn title(&self) -> &'static str {
        "bits/character"
    }

    fn value(&self, amount: Amount) -> f64 {
        amount.nats / std::f64::consts::LN_2 / amount.characters
    }
}

impl Build<dyn Metric> for BitsPerCharacter {
    fn build(self, _: &Place) -> Result<Box<dyn Metric>> {
        Ok(Box::new(self))
    }
}

/// Bits per character.
pub static PART: Part<dyn Metric> = Part::of::<BitsPerCharacter>("bits_per_character", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_choice_of_eight_for_each_of_three_bytes_is_nine_bits() {
        let amount =
            Amount { nats: 300.0 * 8_f64.ln(), bytes: 300.0, characters: 100.0, tokens: 300.0, ..Amount::default() };
        assert!((BitsPerCharacter {}.value(amount) - 9.0).abs() < 1e-12);
    }
}
