//! Products of rows of `f32` with weights that stay in their blocks.
//!
//! The rows are rounded to 8-bit integers with a scale for each block of the weight ([`Activations`]), and products of
//! integers are exact. With `q` the codes of a weight and `p` those of a row, and for each step of 16 or 32 of them
//! `s`, `m` the scale and minimum of the weight, `d` the scale of the row:
//!
//! `y = sum over steps of (sum q p - center sum p) (s d) + m (d sum p)`.
//!
//! Steps go to four sums in turn, which are added at the end as `(a + b) + (c + d)`; nothing is contracted. So every
//! level, every number of threads, and a few rows or many give the same bits. Up to [`FEW`] rows cost what reading the
//! weight costs, and read it where it lies; more rows meet panels of 16 lines of the weight.

mod activations;
mod few;
mod panel;
#[cfg(target_arch = "x86_64")]
mod stored;
#[cfg(target_arch = "x86_64")]
mod vnni;

use super::matmul::Output;
use crate::block::{Block, Codes, Coding};
use activations::Activations;

/// Rows up to which the weight is read where it lies.
const FEW: usize = 8;
/// Steps that are summed apart.
const TURNS: usize = 4;
/// Numbers of a step that lie side by side, see [`Activations`].
const RUN: usize = 16;

/// A matrix in blocks of a type with codes.
#[derive(Clone, Copy)]
pub(crate) struct Weight<'a> {
    pub block: &'static dyn Block,
    /// Row after row.
    pub bytes: &'a [u8],
    pub rows: usize,
    pub columns: usize,
}

impl<'a> Weight<'a> {
    /// The bytes of a row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let length = self.columns / self.block.values() * self.block.bytes();
        &self.bytes[row * length..][..length]
    }
}

/// `out = x weight^T`, or `+=`; `x` is `[N, columns]`, `out` `[N, rows]`. Does nothing for a type without codes.
pub(crate) fn multiply(out: &mut [f32], x: &[f32], weight: &Weight<'_>, add: bool) {
    let Some(coding) = weight.block.coding() else { return };
    if out.is_empty() {
        return;
    }
    Activations::with(x, weight.columns, coding, weight.block.values(), |x| {
        let output = Output::new(out);
        if x.rows() <= FEW { few::multiply(output, x, weight, add) } else { panel::multiply(output, x, weight, add) }
    });
}

/// A row of a weight: its codes arranged as [`Activations`] are, its scales and its minima.
struct Row {
    codes: Vec<u8>,
    scales: Vec<f32>,
    minima: Vec<f32>,
    block: Codes,
}

impl Row {
    /// Room for rows that meet `x`.
    fn new(x: &Activations) -> Self {
        let steps = x.groups() * TURNS;
        let empty = || vec![0.0; steps];
        Self {
            codes: vec![0; steps * x.coding().step],
            scales: empty(),
            minima: empty(),
            block: Codes::default(),
        }
    }

    /// Takes a row of blocks in; what lies behind its end stays zero.
    fn read(&mut self, block: &dyn Block, coding: Coding, bytes: &[u8]) {
        let Coding { step, .. } = coding;
        let steps = block.values() / step;
        for (number, bytes) in bytes.chunks_exact(block.bytes()).enumerate() {
            block.codes(bytes, &mut self.block);
            let first = number * steps;
            self.scales[first..first + steps].copy_from_slice(&self.block.scales[..steps]);
            self.minima[first..first + steps].copy_from_slice(&self.block.minima[..steps]);
            for (at, run) in self.block.codes[..block.values()].chunks_exact(RUN).enumerate() {
                let place = place(step, first * step + at * RUN);
                self.codes[place..place + RUN].copy_from_slice(run);
            }
        }
    }
}

/// Where the run that begins with number `at` of a row lies.
fn place(step: usize, at: usize) -> usize {
    let (number, run) = (at / step, at % step / RUN);
    number / TURNS * (TURNS * step) + run * (TURNS * RUN) + number % TURNS * RUN
}

#[cfg(test)]
mod tests;
