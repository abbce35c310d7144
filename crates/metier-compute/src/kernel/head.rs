//! An output head and its cross-entropy with products of `bf16`, a tile of the vocabulary at a time.
//!
//! Logits are as large as the vocabulary for every row, so a pass over them costs more than the products that made
//! them. Here a tile of logits stays in the second cache: one sweep over the vocabulary finds each row's normalizer,
//! the second computes the logits again and uses them at once.
//! After Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, arXiv 2411.09009, without its skipping of
//! small gradients.

use super::elementwise::add_scaled;
use super::matmul::bf16::{Packed, Side, multiply_here, multiply_steps};
use super::matmul::{Matrix, Output};
use super::softmax::{exponentials, largest, scale_row, sum_of_exponentials};
use super::threads::{chunks, for_each, piece};
use crate::tensor::Buffer;

/// Tokens of the vocabulary, and rows, of a tile of logits.
const TOKENS: usize = 512;
const ROWS: usize = 256;
/// Parts of the vocabulary that add up a `dx` of their own; fixed, so that no sum depends on the threads.
const PARTS: usize = 8;

/// Rows, their head and what they should say.
pub(crate) struct Head<'a> {
    /// `[N, D]`.
    pub x: Matrix<'a>,
    /// `[V, D]`.
    pub table: Matrix<'a>,
    /// For each row the token it should say and the share of its loss in the whole.
    pub rows: &'a [(usize, f32)],
}

impl Head<'_> {
    fn tiles(&self) -> usize {
        self.table.rows().div_ceil(TOKENS)
    }

    fn tokens(&self, tile: usize) -> std::ops::Range<usize> {
        piece(tile, TOKENS, self.table.rows())
    }

    /// The table's rows of one tile.
    fn part(&self, tile: usize) -> Matrix<'_> {
        self.table.part(self.tokens(tile), 0..self.table.columns())
    }
}

/// Writes each row's loss `-ln p[target]`; `dx` becomes `P table` and `dhead` `P^T x`, with
/// `P = share (softmax - target)`.
pub(crate) fn loss(head: &Head<'_>, losses: &mut [f32], dx: Option<&mut [f32]>, dhead: Option<&mut [f32]>) {
    let (count, width, vocabulary) = (head.rows.len(), head.table.columns(), head.table.rows());
    if count == 0 || vocabulary == 0 {
        return;
    }
    let left = Packed::left(head.x);
    let normalizers = normalizers(head, &left, losses);
    for (loss, normalizer) in losses.iter_mut().zip(normalizers.as_slice()) {
        *loss = normalizer - *loss;
    }
    if dx.is_none() && dhead.is_none() {
        return;
    }
    let right = dhead.is_some().then(|| left.turned());
    let tiles = head.tiles();
    let together = tiles.div_ceil(PARTS);
    let parts = tiles.div_ceil(together);
    let size = count * width;
    let mut sums = Buffer::scratch(if dx.is_some() { parts * size } else { 0 });
    let (sum_output, head_output) = (Output::new(sums.as_mut_slice()), dhead.map(Output::new));
    let wants_x = dx.is_some();
    for_each(parts, usize::MAX, |part| {
        let mut logits = Buffer::scratch(ROWS * TOKENS);
        for (number, tile) in piece(part, together, tiles).enumerate() {
            let tokens = head.tokens(tile);
            let to_logits = Packed::here(head.part(tile), Side::Right);
            let to_x = wants_x.then(|| Packed::here(head.part(tile).transposed(), Side::Right));
            for first in (0..count).step_by(ROWS) {
                let rows = first..(first + ROWS).min(count);
                let p = &mut logits.as_mut_slice()[..rows.len() * tokens.len()];
                multiply_here(
                    Output::new(p),
                    (0, tokens.len()),
                    (&left, rows.clone()),
                    (&to_logits, 0..tokens.len()),
                    false,
                );
                for (row, p) in rows.clone().zip(p.chunks_exact_mut(tokens.len())) {
                    let (target, share) = head.rows[row];
                    exponentials(p, 1.0, normalizers.as_slice()[row]);
                    scale_row(p, share);
                    if tokens.contains(&target) {
                        p[target - tokens.start] -= share;
                    }
                }
                let p = Matrix::new(p, rows.len(), tokens.len());
                if let Some(to_x) = &to_x {
                    let p = Packed::here(p, Side::Left);
                    let start = part * size + first * width;
                    multiply_here(sum_output, (start, width), (&p, 0..rows.len()), (to_x, 0..width), number > 0);
                }
                if let (Some(output), Some(right)) = (head_output, &right) {
                    let p = Packed::here(p.transposed(), Side::Left);
                    let place = (tokens.start * width, width);
                    multiply_steps(output, place, &p, (right, first), first > 0);
                }
            }
        }
    });
    if let Some(dx) = dx {
        chunks(dx, ROWS * width, parts * size, |index, dx| {
            let here = piece(index, ROWS * width, size);
            for part in 0..parts {
                let sums = &sums.as_slice()[part * size..][here.clone()];
                if part == 0 {
                    dx.copy_from_slice(sums);
                } else {
                    add_scaled(dx, sums, 1.0);
                }
            }
        });
    }
}

/// `ln sum e^logit` of each row; the logit of each row's target goes to `at_target`.
fn normalizers(head: &Head<'_>, left: &Packed, at_target: &mut [f32]) -> Buffer {
    let (count, tiles) = (head.rows.len(), head.tiles());
    // For each tile and row the largest logit and the sum of exponentials below it.
    let mut parts = Buffer::scratch(tiles * count * 2);
    let target_output = Output::new(at_target);
    chunks(parts.as_mut_slice(), count * 2, usize::MAX, |tile, parts| {
        let tokens = head.tokens(tile);
        let right = Packed::here(head.part(tile), Side::Right);
        let mut logits = Buffer::scratch(ROWS * TOKENS);
        for first in (0..count).step_by(ROWS) {
            let rows = first..(first + ROWS).min(count);
            let logits = &mut logits.as_mut_slice()[..rows.len() * tokens.len()];
            multiply_here(
                Output::new(logits),
                (0, tokens.len()),
                (left, rows.clone()),
                (&right, 0..tokens.len()),
                false,
            );
            for (row, logits) in rows.zip(logits.chunks_exact(tokens.len())) {
                let top = largest(logits);
                parts[2 * row] = top;
                parts[2 * row + 1] = sum_of_exponentials(logits, top);
                if let Some(logit) = head.rows[row].0.checked_sub(tokens.start).and_then(|at| logits.get(at)) {
                    #[expect(unsafe_code, reason = "rows are written by the tile that has their target")]
                    // SAFETY: each row has one target, which lies in one tile; the output is borrowed throughout.
                    unsafe {
                        target_output.write(row, &[*logit]);
                    }
                }
            }
        }
    });
    let parts = parts.as_slice();
    let mut normalizers = Buffer::scratch(count);
    for (row, normalizer) in normalizers.as_mut_slice().iter_mut().enumerate() {
        let part = |tile: usize| (parts[(tile * count + row) * 2], parts[(tile * count + row) * 2 + 1]);
        let top = (0..tiles).fold(f32::NEG_INFINITY, |top, tile| top.max(part(tile).0));
        let sum: f64 = (0..tiles).map(|tile| f64::from(part(tile).1) * f64::from(part(tile).0 - top).exp()).sum();
        *normalizer = (f64::from(top) + sum.ln()) as f32;
    }
    normalizers
}
