use std::sync::Arc;

use metier_core::Result;

use super::refuse;
use crate::kernel::reduce::ROWS;
use crate::kernel::threads::{chunks, piece};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{List, Tensor};

/// How [`rotary`] turns pairs of columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Columns of one head.
    pub head_dim: usize,
    /// Pair `i` turns by `position frequencies[i]`. The pairs are the first columns of a head; those behind the last
    /// pair stay as they are.
    pub frequencies: Arc<[f32]>,
    /// What cosines and sines are multiplied by, mostly 1.
    pub magnitude: f32,
    /// True pairs columns `2 i` and `2 i + 1`; false pairs `i` and `i` + the number of pairs, as Hugging Face does.
    pub interleaved: bool,
}

impl Rotary {
    /// The plain ones: all `head_dim` columns turn, pair `i` by `position theta^(-2 i / head_dim)`.
    /// Source: Su et al., arXiv 2104.09864.
    pub fn new(head_dim: usize, theta: f32) -> Self {
        let frequencies = (0..head_dim / 2).map(|i| 1.0 / theta.powf((2 * i) as f32 / head_dim as f32)).collect();
        Self { head_dim, frequencies, magnitude: 1.0, interleaved: false }
    }
}

/// Cosines and sines of one list of positions, kept on the tape because every layer turns by the same.
pub(crate) struct Angles {
    frequencies: Arc<[f32]>,
    magnitude: f32,
    positions: List<u32>,
    /// For each position a cosine for each frequency, then as many sines.
    table: Tensor,
}

struct Turn {
    x: Var,
    table: Tensor,
    head_dim: usize,
    interleaved: bool,
}

leveled! {
    fn turn_halves(out: &mut [f32], x: &[f32], cosines: &[f32], sines: &[f32], sign: f32) {
        let half = cosines.len();
        let (x1, x2) = x.split_at(half);
        let (out1, out2) = out.split_at_mut(half);
        let (x2, out1, out2, sines) = (&x2[..half], &mut out1[..half], &mut out2[..half], &sines[..half]);
        for i in 0..half {
            let sine = sign * sines[i];
            out1[i] = x1[i] * cosines[i] - x2[i] * sine;
            out2[i] = x2[i] * cosines[i] + x1[i] * sine;
        }
    }
}

leveled! {
    fn turn_neighbors(out: &mut [f32], x: &[f32], cosines: &[f32], sines: &[f32], sign: f32) {
        let pairs = out.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0);
        for ((out, x), (cosine, sine)) in pairs.zip(cosines.iter().zip(sines)) {
            let sine = sign * sine;
            out[0] = x[0] * cosine - x[1] * sine;
            out[1] = x[1] * cosine + x[0] * sine;
        }
    }
}

/// Turns each pair of columns of each head by an angle that grows with the position.
///
/// `x` is `[N, heads * head_dim]`, `positions` has `N` elements, the output has the shape of `x`. With the
/// angle `t` of a pair and the magnitude `m`: `y1 = m (x1 cos t - x2 sin t)`, `y2 = m (x2 cos t + x1 sin t)`.
/// Backward: the same with `-t`.
pub fn rotary(tape: &mut Tape<'_>, x: Var, shape: &Rotary, positions: &[u32]) -> Result<Var> {
    let (rows, width) = tape.matrix("rotary", "x", x)?;
    if shape.head_dim == 0 || !width.is_multiple_of(shape.head_dim) {
        return Err(refuse(
            "rotary",
            format!("x {:?} does not divide into heads of {} columns", [rows, width], shape.head_dim),
        )
        .hint("head_dim must divide the columns of x"));
    }
    let pairs = shape.frequencies.len();
    if pairs == 0 || pairs > shape.head_dim / 2 {
        return Err(refuse(
            "rotary",
            format!("a head of {} columns cannot have {pairs} pairs that turn", shape.head_dim),
        )
        .hint("the frequencies are at least 1 and at most half the columns of a head"));
    }
    if positions.len() != rows {
        return Err(refuse("rotary", format!("x {:?} needs {rows} positions, not {}", [rows, width], positions.len())));
    }
    let table = angles(tape, shape, positions)?;
    let mut out = Tensor::stale(&[rows, width])?;
    turn(out.data_mut(), tape.value(x)?, &table, shape.head_dim, shape.interleaved, 1.0);
    let Rotary { head_dim, interleaved, .. } = *shape;
    tape.push("rotary", out, &[x], || Turn { x, table, head_dim, interleaved })
}

fn angles(tape: &mut Tape<'_>, shape: &Rotary, positions: &[u32]) -> Result<Tensor> {
    let slots = tape.angles();
    let known = slots.iter().flatten().find(|known| {
        known.magnitude.to_bits() == shape.magnitude.to_bits()
            && known.frequencies == shape.frequencies
            && *known.positions == *positions
    });
    if let Some(known) = known {
        return Ok(known.table.clone());
    }
    let Rotary { frequencies, magnitude, .. } = shape;
    let pairs = frequencies.len();
    let mut table = Tensor::stale(&[positions.len(), 2 * pairs])?;
    let steps = positions.len() * pairs * 64;
    chunks(table.data_mut(), ROWS * 2 * pairs, steps, |index, rows| {
        let positions = &positions[piece(index, ROWS, positions.len())];
        for (row, &position) in rows.chunks_exact_mut(2 * pairs).zip(positions) {
            let (cosines, sines) = row.split_at_mut(pairs);
            for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(&**frequencies) {
                let (s, c) = (position as f32 * frequency).sin_cos();
                (*sine, *cosine) = (s * magnitude, c * magnitude);
            }
        }
    });
    let (frequencies, magnitude) = (Arc::clone(frequencies), *magnitude);
    slots.swap(0, 1);
    slots[0] = Some(Angles { frequencies, magnitude, positions: positions.into(), table: table.clone() });
    Ok(table)
}

fn turn(out: &mut [f32], x: &Tensor, table: &Tensor, head_dim: usize, interleaved: bool, sign: f32) {
    let (rows, turned) = (table.shape()[0], table.shape()[1]);
    let width = if out.is_empty() { 0 } else { out.len() / rows };
    let total = out.len();
    chunks(out, ROWS * width, total, |index, out| {
        for (row, out) in piece(index, ROWS, rows).zip(out.chunks_exact_mut(width)) {
            let (cosines, sines) = table.data()[row * turned..][..turned].split_at(turned / 2);
            let x = x.data()[row * width..][..width].chunks_exact(head_dim);
            for (out, x) in out.chunks_exact_mut(head_dim).zip(x) {
                let ((out, rest), (x, still)) = (out.split_at_mut(turned), x.split_at(turned));
                rest.copy_from_slice(still);
                if interleaved {
                    turn_neighbors(out, x, cosines, sines, sign);
                } else {
                    turn_halves(out, x, cosines, sines, sign);
                }
            }
        }
    });
}

impl Record<'_> for Turn {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let mut dx = Tensor::stale(gradient.shape())?;
        turn(dx.data_mut(), &gradient, &self.table, self.head_dim, self.interleaved, -1.0);
        drop(gradient);
        pass.accumulate(self.x, dx)
    }
}
