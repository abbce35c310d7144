//! What adapters put into a model, and where.
//!
//! Legend of shapes: `N` rows, `V` virtual tokens, `D` the residual stream, `K` all key heads, `L` blocks.

use super::{Linear, LowRank};
use metier_compute::op::{self, Span};
use metier_compute::{Gradients, List, ParameterId, Parameters, Tape, Tensor, Var};
use metier_core::Result;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// What stands in the place of a linear layer. It must be affine in `x`: that is what folding rests on.
///
/// Its `Debug` shows every number that changes what it makes and is no parameter; it tells one run from another.
pub trait SiteAdapter: Debug + Send + Sync {
    /// `x` `[rows, inputs]` to `[rows, outputs]`; [`Linear::plain`] is the layer without the adapter.
    fn forward(&self, tape: &mut Tape<'_>, linear: &Linear, x: Var) -> Result<Var>;

    /// The addition to the weight, of an adapter that does nothing else: fused operations and folding know it.
    fn low_rank(&self) -> Option<LowRank> {
        None
    }
}

/// What stands around attention or a feed-forward block.
pub trait SublayerAdapter: Debug + Send + Sync {
    /// What is added to the residual stream, `[N, D]`, given what the sublayer read and what it made, `[N, D]` each.
    fn forward(&self, tape: &mut Tape<'_>, read: Var, made: Var) -> Result<Var>;
}

/// One of the two parts of a block that add to the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sublayer {
    /// Attention.
    Attention,
    /// The feed-forward block.
    FeedForward,
}

/// Tokens without an id that every text begins with.
pub trait VirtualTokens: Debug + Send + Sync {
    /// How many there are: `V`.
    fn count(&self) -> usize;

    /// What they are to the model.
    fn kind(&self) -> VirtualKind;

    /// Their numbers, of the shape that [`VirtualTokens::kind`] says.
    fn table(&self, tape: &mut Tape<'_>) -> Result<Var>;
}

/// What an adapter does between steps of training.
pub trait Upkeep: Debug + Send + Sync {
    /// What is added to the loss of each batch: one element.
    fn penalty(&self, tape: &mut Tape<'_>) -> Result<Var>;

    /// Changes parameters after a step has changed them.
    fn after_step(&self, parameters: &mut Parameters, done: StepDone<'_>) -> Result<()>;

    /// Parameters without a gradient that [`Upkeep::after_step`] changes: checkpoints hold them.
    fn kept(&self) -> &[ParameterId];
}

/// A step of training that is done.
#[derive(Clone, Copy)]
pub struct StepDone<'a> {
    /// The gradients that it was made with.
    pub gradients: &'a Gradients,
    /// What they were multiplied by to keep their length in bounds.
    pub scale: f32,
    /// Its number, counted from 0.
    pub step: u64,
    /// How many steps there will be.
    pub steps: u64,
}

/// What virtual tokens are to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VirtualKind {
    /// Rows `[V, D]` that the first block reads like those of tokens.
    Rows,
    /// Keys and values of every block, `[V, 2 L K]`: keys of the first block, its values, keys of the second, and so on.
    KeysAndValues,
}

/// The rows of virtual tokens in one pass, and of texts behind them.
#[derive(Clone)]
pub struct Leading {
    /// How many there are.
    pub count: usize,
    /// For each row of the pass its place among the table's rows and the text's rows behind them.
    places: Arc<[u32]>,
    /// The rows of the pass that are of texts.
    pub texts: Arc<[u32]>,
}

impl Leading {
    /// The rows of a pass over texts of these rows: `count` rows before each that is at its beginning.
    pub fn new(count: usize, texts: impl IntoIterator<Item = (Range<usize>, bool)>) -> Self {
        let (mut places, mut rows) = (Vec::new(), Vec::new());
        for (range, begins) in texts {
            if begins {
                places.extend(0..count as u32);
            }
            rows.extend((places.len()..places.len() + range.len()).map(|row| row as u32));
            places.extend(range.map(|row| (count + row) as u32));
        }
        Self { count, places: places.into(), texts: rows.into() }
    }

    /// The positions of all rows of a pass, given those of its texts' rows.
    pub fn positions(&self, texts: &[u32]) -> List<u32> {
        let of = |place: &u32| match place.checked_sub(self.count as u32) {
            None => *place,
            Some(row) => self.count as u32 + texts[row as usize],
        };
        self.places.iter().map(of).collect()
    }

    /// `table` `[V, W]` before each text of `rows` `[N, W]`: the rows of the pass.
    pub fn before(&self, tape: &mut Tape<'_>, table: Var, rows: Var) -> Result<Var> {
        let both = op::concat(tape, &[table, rows], 0)?;
        op::index_select(tape, both, 0, &self.places)
    }

    /// As [`Leading::before`] with zeros, for virtual tokens that are keys and values.
    pub fn zeros_before(&self, tape: &mut Tape<'_>, rows: Var) -> Result<Var> {
        let width = tape.shape(rows)?[1];
        let zeros = tape.constant(Tensor::zeros(&[self.count, width])?);
        self.before(tape, zeros, rows)
    }

    /// Keys and values of all rows of a pass `[N, K]`, with those of virtual tokens in one block in the place of what their
    /// rows made.
    pub fn instead(&self, tape: &mut Tape<'_>, table: Var, block: usize, [key, value]: [Var; 2]) -> Result<[Var; 2]> {
        let width = tape.shape(key)?[1];
        let mut placed = |number: usize, made: Var| {
            let columns = (2 * block + number) * width..(2 * block + number + 1) * width;
            let rows = op::slice(tape, table, &[Span::from(0..self.count), columns.into()])?;
            let texts = op::index_select(tape, made, 0, &self.texts)?;
            self.before(tape, rows, texts)
        };
        Ok([placed(0, key)?, placed(1, value)?])
    }
}

/// Everything that is attached to a model besides its linear layers.
#[derive(Default)]
pub(crate) struct Attachments {
    /// Before every text.
    pub virtual_tokens: Option<Arc<dyn VirtualTokens>>,
    /// What is done between steps.
    pub upkeep: Option<Arc<dyn Upkeep>>,
    /// Weights of the model that are trained in place, as they were.
    pub originals: Vec<(ParameterId, Tensor)>,
    /// Parameters that belong to adapters.
    pub parameters: Vec<ParameterId>,
}
