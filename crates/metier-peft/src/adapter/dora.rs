use super::{Adapter, Attached, Lora, lora::Dropout};
use crate::folder::{Form, Source, name_at};
use metier_compute::op::Activation;
use metier_compute::{ParameterId, Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::layer::{Linear, LowRank, SiteAdapter};
use metier_model::{Decoder, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// # What it does
/// Trains length and direction of each row of a weight apart: the length as a number of its own, the direction by an addition
/// like that of `lora`.
///
/// # How
/// A site with the weight `W` `[outputs, inputs]` computes `y = x W'ᵀ` with `W' = m · V / ‖V‖`, `V = W + s · B A`, the length
/// `‖V‖` of each row over the inputs, and `m` `[outputs]`, which begins at the lengths of the rows of `W`. The lengths are
/// taken for constants in backward. Where `dropout` leaves numbers out, it does so of what is added to `x Wᵀ`. Settings are those
/// of `lora`.
///
/// # When to use
/// Instead of `lora` where its rank is low: it comes nearer to what training all weights does, for about a third more time. Folded
/// it costs nothing.
///
/// # Differs from the paper in
/// Nothing; constants in backward are its section 4.3.
///
/// # Source
/// Liu et al., "`DoRA`: Weight-Decomposed Low-Rank Adaptation", arXiv 2402.09353, equations 5 and 11.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Dora(pub Lora);

impl Build<dyn Adapter> for Dora {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        self.0.check(place)?;
        Ok(Box::new(self))
    }
}

impl Adapter for Dora {
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        self.0.attach_with(decoder, seed, true, |decoder, form, site, low_rank| {
            let magnitude = {
                let mut tape = Tape::inference(&decoder.parameters);
                let weight = tape.parameter(site.weight);
                let lengths = lengths(&mut tape, weight)?;
                tape.value(lengths)?.clone()
            };
            put(decoder, form, site, low_rank, magnitude, self.0.dropout)
        })
    }
}

/// What stands in the place of a linear layer.
#[derive(Debug)]
struct Decomposed {
    low_rank: LowRank,
    /// `[outputs]`.
    magnitude: ParameterId,
    dropout: Option<Dropout>,
}

impl SiteAdapter for Decomposed {
    fn forward(&self, tape: &mut Tape<'_>, linear: &Linear, x: Var) -> Result<Var> {
        let LowRank { a, b, scale } = self.low_rank;
        let norm = {
            let mut tape = Tape::inference(tape.parameters());
            let (a, b, weight) = (tape.parameter(a), tape.parameter(b), tape.parameter(linear.weight));
            let turned = op::permute(&mut tape, a, &[1, 0])?;
            let product = op::linear(&mut tape, b, turned, None)?;
            let addition = op::scale(&mut tape, product, scale)?;
            let whole = op::add(&mut tape, weight, addition)?;
            let lengths = lengths(&mut tape, whole)?;
            tape.value(lengths)?.clone()
        };
        let norm = tape.constant(norm);
        let magnitude = tape.parameter(self.magnitude);
        let factor = op::divide(tape, magnitude, norm)?;
        let (weight, a, b) = (tape.parameter(linear.weight), tape.parameter(a), tape.parameter(b));
        let dropped = match &self.dropout {
            Some(dropout) => dropout.forward(tape, x)?,
            None => None,
        };
        let whole = op::low_rank_linear(tape, dropped.unwrap_or(x), weight, a, b, scale)?;
        let mut y = op::multiply(tape, whole, factor)?;
        if let Some(dropped) = dropped {
            let without = op::subtract(tape, x, dropped)?;
            let rest = op::linear(tape, without, weight, None)?;
            y = op::add(tape, y, rest)?;
        }
        linear.biased(tape, y)
    }
}

/// The length of each row of a matrix: `[rows]`.
fn lengths(tape: &mut Tape<'_>, matrix: Var) -> Result<Var> {
    let rows = tape.shape(matrix)?[0];
    let squares = op::activation(tape, matrix, Activation::Square)?;
    let sums = op::sum_axis(tape, squares, 1)?;
    let lengths = op::activation(tape, sums, Activation::Sqrt)?;
    op::reshape(tape, lengths, &[rows])
}

/// Takes the magnitudes of a site.
pub(super) fn read(source: &mut Source<'_>, site: &Site) -> Result<Option<Tensor>> {
    source.tensor(&name_at(&site.name, PART_OF_SITE), &[site.outputs])
}

const PART_OF_SITE: &str = "lora_magnitude_vector";

/// Puts the magnitudes of a site into the model, and gives what stands in its place.
pub(super) fn put(
    decoder: &mut Decoder,
    form: &mut Form,
    site: &Site,
    low_rank: LowRank,
    magnitude: Tensor,
    dropout: f64,
) -> Result<Arc<dyn SiteAdapter>> {
    let magnitude = decoder.in_order_of(&site.name, magnitude)?;
    let magnitude = form.put(decoder, name_at(&site.name, PART_OF_SITE), magnitude)?;
    Ok(Arc::new(Decomposed { low_rank, magnitude, dropout: Dropout::new(dropout, &site.name) }))
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Dora>("dora", 1);
