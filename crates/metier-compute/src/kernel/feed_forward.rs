//! A gated feed-forward network with products of `bf16`, a tile of rows and inner columns at a time.
//!
//! The inner values are several times as wide as the rows. Passing over them in memory costs more than their products,
//! so a tile of them stays in the second cache from the first product to the last, and backward computes it again.

use std::ops::Range;

use super::math::{exp, silu};
use super::matmul::bf16::{Packed, Shared, Side, multiply_here, multiply_steps};
use super::matmul::{Matrix, Output};
use super::threads::{for_each, piece};
use crate::tensor::Buffer;

/// Rows and inner columns of a tile.
const ROWS: usize = 256;
const COLUMNS: usize = 256;

/// The weights: `gate` and `up` are `[F, D]`, `down` is `[D, F]`.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub gate: Matrix<'a>,
    pub up: Matrix<'a>,
    pub down: Matrix<'a>,
}

/// Rows of a tile, such that there are several tiles, of whole panels.
fn tile_rows(rows: usize) -> usize {
    rows.div_ceil(8).next_multiple_of(32).min(ROWS)
}

leveled! {
    /// Makes `silu(gate) up` of `gate`.
    fn join(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = silu(*gate) * up;
        }
    }
}

leveled! {
    /// Makes `d_gate` of `gate`, `d_up` of `up` and `silu(gate) up` of its gradient `inner`.
    fn part(gate: &mut [f32], up: &mut [f32], inner: &mut [f32]) {
        for ((gate, up), inner) in gate.iter_mut().zip(up).zip(inner) {
            let share = 1.0 / (1.0 + exp(-*gate));
            let (opened, gradient) = (*gate * share, *inner);
            *inner = opened * *up;
            *gate = gradient * *up * (share + opened * (1.0 - share));
            *up = gradient * opened;
        }
    }
}

/// The weights packed for the products that make the inner values.
struct Inward {
    gate: Packed,
    up: Packed,
}

impl Inward {
    fn new(weights: Weights<'_>) -> Self {
        Self { gate: Packed::right(weights.gate.transposed()), up: Packed::right(weights.up.transposed()) }
    }

    /// Gate and up of some rows and inner columns.
    fn tile<'a>(
        &self,
        x: &Packed,
        rows: Range<usize>,
        columns: Range<usize>,
        [gate, up]: [&'a mut [f32]; 2],
    ) -> [&'a mut [f32]; 2] {
        let length = rows.len() * columns.len();
        let (gate, up) = (&mut gate[..length], &mut up[..length]);
        for (out, weight) in [(&mut *gate, &self.gate), (&mut *up, &self.up)] {
            let place = (0, columns.len());
            multiply_here(Output::new(out), place, (x, rows.clone()), (weight, columns.clone()), false);
        }
        [gate, up]
    }
}

/// `out = (silu(x gate^T) (x up^T)) down^T`, `x` and `out` of `[N, D]`.
pub(crate) fn forward(out: &mut [f32], x: &Packed, weights: Weights<'_>) {
    let (rows, width, inner) = (x.line_count(), weights.down.rows(), weights.down.columns());
    if inner == 0 {
        return out.fill(0.0);
    }
    let inward = Inward::new(weights);
    let down = Packed::right(weights.down.transposed());
    let output = Output::new(out);
    let together = tile_rows(rows);
    for_each(rows.div_ceil(together.max(1)), rows * width * inner, |tile| {
        let here = piece(tile, together, rows);
        let mut memory = Buffer::scratch(2 * here.len() * COLUMNS);
        for first in (0..inner).step_by(COLUMNS) {
            let columns = first..(first + COLUMNS).min(inner);
            let (gate, up) = memory.as_mut_slice().split_at_mut(here.len() * COLUMNS);
            let [gate, up] = inward.tile(x, here.clone(), columns.clone(), [gate, up]);
            join(gate, up);
            let joined = Packed::here(Matrix::new(gate, here.len(), columns.len()), Side::Left);
            multiply_steps(output, (here.start * width, width), &joined, (&down, first), first > 0);
        }
    });
}

/// What the gradients of the weights are products of.
pub(crate) struct Inner {
    /// The transposed gradients of the gate's and the up projection's outputs, `[F, N]`, for the left of a product.
    pub gate: Packed,
    pub up: Packed,
    /// The inner values, `[N, F]`, for the right of a product.
    pub joined: Packed,
}

/// Writes `dx`, given that of the output as `dy`; gives what the gradients of the weights need, if they are wanted.
pub(crate) fn backward(
    dx: &mut [f32],
    x: &Packed,
    dy: Matrix<'_>,
    weights: Weights<'_>,
    wanted: bool,
) -> Option<Inner> {
    let (rows, width, inner) = (x.line_count(), weights.down.rows(), weights.down.columns());
    let inputs = x.depth();
    if inner == 0 {
        dx.fill(0.0);
    }
    let inward = Inward::new(weights);
    // Of dy down, dgate gate and dup up.
    let (down, gate_back, up_back) =
        (Packed::right(weights.down), Packed::right(weights.gate), Packed::right(weights.up));
    let dy = Packed::left(dy);
    let kept_rows = if wanted { rows } else { 0 };
    let mut kept = Inner {
        gate: Packed::stale(Side::Left, inner, kept_rows),
        up: Packed::stale(Side::Left, inner, kept_rows),
        joined: Packed::stale(Side::Right, inner, kept_rows),
    };
    let shared = [kept.gate.shared(), kept.up.shared(), kept.joined.shared()];
    let output = Output::new(dx);
    let together = tile_rows(rows);
    for_each(rows.div_ceil(together.max(1)), rows * width * inner, |tile| {
        let here = piece(tile, together, rows);
        let size = here.len() * COLUMNS;
        let mut memory = Buffer::scratch(3 * size);
        for first in (0..inner).step_by(COLUMNS) {
            let columns = first..(first + COLUMNS).min(inner);
            let (gate, rest) = memory.as_mut_slice().split_at_mut(size);
            let (up, joined) = rest.split_at_mut(size);
            let [gate, up] = inward.tile(x, here.clone(), columns.clone(), [gate, up]);
            let joined = &mut joined[..gate.len()];
            let place = (0, columns.len());
            multiply_here(Output::new(joined), place, (&dy, here.clone()), (&down, columns.clone()), false);
            part(gate, up, joined);
            let [gate, up, joined] = [&*gate, &*up, &*joined].map(|all| Matrix::new(all, here.len(), columns.len()));
            for (number, (gradient, weight)) in [(gate, &gate_back), (up, &up_back)].into_iter().enumerate() {
                let gradient = Packed::here(gradient, Side::Left);
                let add = first > 0 || number > 0;
                multiply_steps(output, (here.start * inputs, inputs), &gradient, (weight, first), add);
            }
            if wanted {
                for (target, part) in shared.iter().zip([gate, up, joined]) {
                    #[expect(unsafe_code, reason = "tiles write parts of one packed matrix")]
                    // SAFETY: each tile has rows and columns of its own, and the matrices are not read before the end.
                    unsafe {
                        Shared::write(*target, part.transposed(), (columns.start, here.start));
                    }
                }
            }
        }
    });
    wanted.then_some(kept)
}
