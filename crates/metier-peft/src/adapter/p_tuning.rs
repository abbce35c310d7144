use super::prompt_tuning::{self, Layer, Start};
use super::{Adapter, Attached};
use crate::folder::Form;
use crate::targets::Check;
use metier_compute::op::{Activation, Span};
use metier_compute::{ParameterId, Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::Decoder;
use metier_model::layer::{VirtualKind, VirtualTokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// # What it does
/// As `prompt_tuning`, with rows that a small network makes of others while they are trained.
///
/// # How
/// Rows `E` `[tokens, hidden]` of the model's width pass through three layers with `ReLU` between them, or through a recurrent network (LSTM) of
/// `layers` layers that reads them in both directions and two layers with `ReLU`. What comes out is put before each text. Files hold
/// what comes out only, so a training cannot go on from them.
///
/// # When to use
/// Where `prompt_tuning` learns slowly: the rows move together.
///
/// # Differs from the paper in
/// All virtual tokens come before the text, as in the PEFT library.
///
/// # Source
/// Liu et al., "GPT Understands, Too", arXiv 2103.10385, section 3.2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PTuning {
    /// How many virtual tokens there are.
    #[schemars(range(min = 1, max = 4096))]
    pub tokens: usize,
    /// What the rows pass through.
    pub encoder: Encoder,
    /// Width inside the encoder.
    #[schemars(range(min = 1, max = 65536))]
    pub width: usize,
    /// Layers of the recurrent network.
    #[schemars(range(min = 1, max = 16))]
    pub layers: usize,
}

/// What the rows of virtual tokens pass through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// Three layers with `ReLU`.
    #[default]
    Mlp,
    /// A recurrent network in both directions, and two layers with `ReLU`.
    Lstm,
}

impl Default for PTuning {
    fn default() -> Self {
        Self { tokens: 20, encoder: Encoder::default(), width: 128, layers: 2 }
    }
}

impl Build<dyn Adapter> for PTuning {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        let mut check = Check::new(place);
        check.count("tokens", self.tokens);
        check.count("width", self.width);
        check.count("layers", self.layers);
        check.done(Box::new(self))
    }
}

impl Adapter for PTuning {
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        decoder.freeze();
        let hidden = decoder.config().hidden_size;
        let mut form = Form::new("P_TUNING", prompt_tuning::config(decoder, self.tokens));
        form.config.insert("encoder_hidden_size".into(), json!(self.width));
        form.config.insert("encoder_num_layers".into(), json!(self.layers));
        let kind = if self.encoder == Encoder::Mlp { "MLP" } else { "LSTM" };
        form.config.insert("encoder_reparameterization_type".into(), json!(kind));
        let rows = Start::Random.rows(decoder, self.tokens, seed)?;
        let rows = decoder.put_parameter("prompt_encoder.embedding.weight", rows, true)?;
        let mut directions = Vec::new();
        let mut shapes = vec![[self.width, hidden], [self.width, self.width], [hidden, self.width]];
        if self.encoder == Encoder::Lstm {
            for layer in 0..self.layers {
                let inputs = if layer == 0 { hidden } else { 2 * self.width };
                for end in ["", "_reverse"] {
                    let mut part = |which: &str, inputs: usize| {
                        let names = ["weight", "bias"].map(|kind| format!("lstm_head.{kind}_{which}_l{layer}{end}"));
                        Layer::named(decoder, names, [4 * self.width, inputs], seed)
                    };
                    directions.push(Direction { of_row: part("ih", inputs)?, of_state: part("hh", self.width)? });
                }
            }
            shapes = vec![[2 * self.width, 2 * self.width], [hidden, 2 * self.width]];
        }
        let head = (0..)
            .zip(shapes)
            .map(|(number, shape)| Layer::new(decoder, &format!("mlp_head.{}", 2 * number), shape, seed));
        let head = head.collect::<Result<_>>()?;
        let tokens = Encoded { count: self.tokens, rows, width: self.width, directions, head };
        prompt_tuning::put_computed(decoder, &mut form, Arc::new(tokens))?;
        Ok(Attached::of(decoder, Some(form)))
    }
}

/// Rows that are computed from others.
#[derive(Debug)]
struct Encoded {
    count: usize,
    /// `[tokens, hidden]`.
    rows: ParameterId,
    /// Of the recurrent network's states.
    width: usize,
    /// Forth and back for each layer of the recurrent network.
    directions: Vec<Direction>,
    head: Vec<Layer>,
}

/// A recurrent layer in one direction.
#[derive(Debug, Clone, Copy)]
struct Direction {
    /// Gates from a row, `[4 width, inputs]`.
    of_row: Layer,
    /// Gates from the state before, `[4 width, width]`.
    of_state: Layer,
}

impl VirtualTokens for Encoded {
    fn count(&self) -> usize {
        self.count
    }

    fn kind(&self) -> VirtualKind {
        VirtualKind::Rows
    }

    fn table(&self, tape: &mut Tape<'_>) -> Result<Var> {
        let mut rows = tape.parameter(self.rows);
        for both in self.directions.chunks(2) {
            let mut states = Vec::new();
            for (direction, is_back) in both.iter().zip([false, true]) {
                states.push(self.pass(tape, *direction, rows, is_back)?);
            }
            rows = op::concat(tape, &states, 1)?;
        }
        for (number, layer) in self.head.iter().enumerate() {
            if number > 0 {
                rows = op::activation(tape, rows, Activation::Relu)?;
            }
            rows = layer.forward(tape, rows)?;
        }
        Ok(rows)
    }
}

impl Encoded {
    /// The states of a direction at each row, `[tokens, width]`. Gates are input, forget, cell and output: `c = f c + i g`,
    /// `h = o tanh(c)`.
    fn pass(&self, tape: &mut Tape<'_>, direction: Direction, rows: Var, is_back: bool) -> Result<Var> {
        let width = self.width;
        let of_rows = direction.of_row.forward(tape, rows)?;
        let mut state = tape.constant(Tensor::zeros(&[1, width])?);
        let mut cell = state;
        let mut states = Vec::new();
        for step in 0..self.count {
            let row = if is_back { self.count - 1 - step } else { step };
            let of_row = op::slice(tape, of_rows, &[Span::from(row..row + 1), (0..4 * width).into()])?;
            let of_state = direction.of_state.forward(tape, state)?;
            let gates = op::add(tape, of_row, of_state)?;
            let mut gate = |number: usize, activation: Activation| {
                let columns = number * width..(number + 1) * width;
                let gate = op::slice(tape, gates, &[Span::from(0..1), columns.into()])?;
                op::activation(tape, gate, activation)
            };
            let (input, forget) = (gate(0, Activation::Sigmoid)?, gate(1, Activation::Sigmoid)?);
            let (new, output) = (gate(2, Activation::Tanh)?, gate(3, Activation::Sigmoid)?);
            let kept = op::multiply(tape, forget, cell)?;
            let added = op::multiply(tape, input, new)?;
            cell = op::add(tape, kept, added)?;
            let shown = op::activation(tape, cell, Activation::Tanh)?;
            state = op::multiply(tape, output, shown)?;
            states.push(state);
        }
        if is_back {
            states.reverse();
        }
        op::concat(tape, &states, 0)
    }
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<PTuning>("p_tuning", 1);
