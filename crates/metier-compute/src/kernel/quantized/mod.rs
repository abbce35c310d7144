//! Products of rows of `f32` with weights that stay in their blocks.
//!
//! The rows are rounded to 8-bit integers with a scale for each block of the weight ([`Activations`]), and products of
//! integers are exact. With `q` the codes of a weight and `p` those of a row, and for each step of 16 or 32 of them
//! `s`, `m` the scale and minimum of the weight, `d` the scale of the row:
//!
//! `y = sum over steps of (sum q p - center sum p) (s d) + m (d sum p)`.
//!
//! Steps go to four sums in turn, which are added at the end as `(a + b) + (c + d)`; nothing is contracted. So every
//! level, every number of threads, and a few rows or many give the same bits. A few rows cost what reading the
//! weight costs, and read it where it lies; more rows meet panels of 16 lines of the weight.
//!
//! Weights in NF4, whose levels are no whole numbers, become `f32` a tile at a time ([`nf4`]). Numbers that are stored by
//! themselves meet rows that are not rounded ([`plain`]).

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod few;
pub(crate) mod nf4;
mod panel;
mod plain;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod vnni;

use super::matmul::Output;
use crate::block::{Codes, Coding, Weight};
use activations::Activations;

/// Rows that meet the weight together where it is read where it lies, and the most that do where no special
/// instructions unpack it.
const FEW: usize = 8;
/// The most that do with those: unpacking lines into panels costs more than reading them again from a near cache.
const SOME: usize = 32;
/// Steps that are summed apart.
const TURNS: usize = 4;
/// Numbers of a step that lie side by side, see [`Activations`].
const RUN: usize = 16;

/// `out = x weight^T`; `x` is `[N, columns]`, `out` `[N, rows]`.
pub(crate) fn multiply(out: &mut [f32], x: &[f32], weight: &Weight<'_>) {
    if out.is_empty() {
        return;
    }
    if let Some(numbers) = weight.block.numbers() {
        return plain::multiply(out, x, weight, numbers);
    }
    let Some(coding) = weight.block.coding() else { return };
    Activations::with(x, weight.columns, coding, weight.block.values(), |x| {
        let output = Output::new(out);
        if x.rows() <= most_few(weight) {
            few::multiply(output, x, weight);
        } else {
            panel::multiply(output, x, weight);
        }
    });
}

leveled! {
    /// The numbers of one block.
    pub(crate) fn unfold(coded: &Codes, coding: Coding, out: &mut [f32]) {
        let Coding { step, center, has_minimum, .. } = coding;
        for (part, (out, codes)) in out.chunks_mut(step).zip(coded.codes.chunks(step)).enumerate() {
            let (scale, minimum) = (coded.scales[part], coded.minima[part]);
            for (x, &code) in out.iter_mut().zip(codes) {
                *x = f32::from(i16::from(code) - i16::from(center)) * scale;
            }
            if has_minimum {
                for x in out {
                    *x += minimum;
                }
            }
        }
    }
}

/// Rows up to which the weight is read where it lies.
fn most_few(weight: &Weight<'_>) -> usize {
    #[cfg(target_arch = "x86_64")]
    if few::reads_stored(weight) {
        return SOME;
    }
    let _ = weight;
    FEW
}

/// Lines of a weight with their codes arranged as [`Activations`] are.
#[derive(Default)]
struct Lines {
    codes: Vec<u8>,
    scales: Vec<f32>,
    minima: Vec<f32>,
    /// Steps of a line.
    steps: usize,
    /// Codes of a line.
    width: usize,
    block: Codes,
}

impl Lines {
    /// Makes room for `count` lines that meet `x`; what lies behind their ends is zero.
    fn prepare(&mut self, x: &Activations, count: usize) {
        self.steps = x.groups() * TURNS;
        self.width = self.steps * x.coding().step;
        self.codes.clear();
        self.codes.resize(count * self.width, 0);
        for list in [&mut self.scales, &mut self.minima] {
            list.clear();
            list.resize(count * self.steps, 0.0);
        }
    }

    /// Takes line `line` in.
    fn read(&mut self, line: usize, weight: &Weight<'_>, row: usize, coding: Coding) {
        let Coding { step, has_minimum, .. } = coding;
        let (block, steps) = (weight.block, weight.block.values() / step);
        let codes = &mut self.codes[line * self.width..][..self.width];
        for (number, bytes) in weight.row(row).chunks_exact(block.bytes()).enumerate() {
            block.codes(bytes, &mut self.block);
            let first = number * steps;
            let at = line * self.steps + first;
            self.scales[at..at + steps].copy_from_slice(&self.block.scales[..steps]);
            if has_minimum {
                self.minima[at..at + steps].copy_from_slice(&self.block.minima[..steps]);
            }
            for (at, run) in self.block.codes[..block.values()].chunks_exact(RUN).enumerate() {
                let place = place(step, first * step + at * RUN);
                codes[place..place + RUN].copy_from_slice(run);
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
