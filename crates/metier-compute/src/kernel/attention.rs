//! The tiles of attention.

use std::ops::Range;

use metier_core::Result;

use super::elementwise::add_scaled;
use super::matmul::{Matrix, Output, multiply_here};
use super::reduce::{ROWS, dot};
use super::softmax::{exponentials, largest, probability_gradient, scale_row};
use super::threads::{chunks, for_each, piece};
use crate::op::{AttentionShape, Sequence};
use crate::tensor::Tensor;

/// Queries and keys of one tile.
const QUERIES: usize = 128;
const KEYS: usize = 256;

/// What the rows of one call mean.
#[derive(Clone, Copy)]
pub(crate) struct Layout<'a> {
    pub shape: &'a AttentionShape,
    pub sequences: &'a [Sequence],
}

/// One tile of queries of one head of one sequence.
struct Rows<'a> {
    sequence: &'a Sequence,
    head: usize,
    /// Within the sequence.
    queries: Range<usize>,
}

impl Layout<'_> {
    /// The keys that query `i` of `sequence` sees.
    fn seen(&self, sequence: &Sequence, i: usize) -> Range<usize> {
        let end = sequence.key.len() - sequence.query.len() + i + 1;
        end.saturating_sub(self.shape.window.unwrap_or(end))..end
    }

    /// The keys that any of `queries` sees.
    fn seen_by(&self, sequence: &Sequence, queries: &Range<usize>) -> Range<usize> {
        self.seen(sequence, queries.start).start..self.seen(sequence, queries.end - 1).end
    }

    /// Multiply-adds of one product over all heads, about.
    fn steps(&self) -> usize {
        let pairs: usize = self.sequences.iter().map(|sequence| sequence.query.len() * sequence.key.len()).sum();
        pairs * self.shape.heads * self.shape.head_dim
    }

    /// A tile of the rows of a matrix of `heads` heads, for one of them.
    fn rows<'d>(&self, data: &'d [f32], heads: usize, head: usize, rows: Range<usize>) -> Matrix<'d> {
        let (step, width) = (heads * self.shape.head_dim, self.shape.head_dim);
        Matrix::strided(&data[rows.start * step + head * width..], rows.len(), width, step)
    }

    /// The key tiles of `keys`, at fixed places in the sequence.
    fn key_tiles(keys: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        (keys.start / KEYS..keys.end.div_ceil(KEYS))
            .map(move |tile| (tile * KEYS).max(keys.start)..((tile + 1) * KEYS).min(keys.end))
    }
}

fn shift(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

/// Writes the output `[N, H D]` and the normalizer `[N, H]`.
pub(crate) fn forward(layout: Layout<'_>, [q, k, v]: [&[f32]; 3], out: &mut [f32], normalizer: &mut [f32]) {
    let AttentionShape { heads, head_dim, .. } = *layout.shape;
    out.fill(0.0);
    normalizer.fill(0.0);
    if head_dim == 0 {
        return;
    }
    let mut tiles = Vec::new();
    for sequence in layout.sequences {
        for head in 0..heads {
            for start in (0..sequence.query.len()).step_by(QUERIES) {
                let queries = start..(start + QUERIES).min(sequence.query.len());
                tiles.push(Rows { sequence, head, queries });
            }
        }
    }
    let step = heads * head_dim;
    let (out_at, normalizer_at) = (Output::new(out), Output::new(normalizer));
    for_each(tiles.len(), layout.steps(), |index| {
        let tile = &tiles[index];
        let (result, normal) = forward_tile(layout, tile, q, k, v);
        let first = tile.sequence.query.start + tile.queries.start;
        for (row, (values, normal)) in (first..).zip(result.chunks_exact(head_dim).zip(normal)) {
            #[expect(unsafe_code, reason = "tiles write rows of one head, which are not one slice")]
            // SAFETY: each row and head belongs to exactly one tile, since query ranges do not overlap; both
            // outputs are borrowed for the whole function.
            unsafe {
                out_at.write(row * step + tile.head * head_dim, values);
                normalizer_at.write(row * heads + tile.head, &[normal]);
            }
        }
    });
}

fn forward_tile(layout: Layout<'_>, tile: &Rows<'_>, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let AttentionShape { heads, kv_heads, head_dim, scale, .. } = *layout.shape;
    let (sequence, count) = (tile.sequence, tile.queries.len());
    let kv_head = tile.head / (heads / kv_heads);
    let q = layout.rows(q, heads, tile.head, shift(&tile.queries, sequence.query.start));
    let mut result = vec![0.0_f32; count * head_dim];
    let mut top = vec![f32::NEG_INFINITY; count];
    let mut sums = vec![0.0_f32; count];
    let mut scores = vec![0.0_f32; count * KEYS];
    for keys in Layout::key_tiles(layout.seen_by(sequence, &tile.queries)) {
        let width = keys.len();
        let rows = shift(&keys, sequence.key.start);
        let k = layout.rows(k, kv_heads, kv_head, rows.clone());
        let v = layout.rows(v, kv_heads, kv_head, rows);
        let scores = &mut scores[..count * width];
        multiply_here(scores, width, q, k.transposed(), scale, false);
        for (at, scores) in scores.chunks_exact_mut(width).enumerate() {
            let seen = within(&layout.seen(sequence, tile.queries.start + at), &keys);
            scores[..seen.start].fill(0.0);
            scores[seen.end..].fill(0.0);
            let scores = &mut scores[seen];
            if scores.is_empty() {
                continue;
            }
            let higher = top[at].max(largest(scores));
            let correction = super::math::exp(top[at] - higher);
            if correction < 1.0 {
                scale_row(&mut result[at * head_dim..(at + 1) * head_dim], correction);
            }
            sums[at] = sums[at] * correction + exponentials(scores, 1.0, higher);
            top[at] = higher;
        }
        multiply_here(&mut result, head_dim, Matrix::new(scores, count, width), v, 1.0, true);
    }
    for ((row, sum), top) in result.chunks_exact_mut(head_dim).zip(&sums).zip(&mut top) {
        scale_row(row, 1.0 / sum);
        *top += sum.ln();
    }
    (result, top)
}

/// `seen` as places in the tile `keys`.
fn within(seen: &Range<usize>, keys: &Range<usize>) -> Range<usize> {
    let start = seen.start.clamp(keys.start, keys.end) - keys.start;
    let end = seen.end.clamp(keys.start, keys.end) - keys.start;
    start..end.max(start)
}

/// Writes the gradients of queries, keys and values.
///
/// Each head of each sequence is one piece of work with key gradients of its own; those are added over
/// sequences and heads in their order at the end.
pub(crate) fn backward(
    layout: Layout<'_>,
    [q, k, v]: [&[f32]; 3],
    [out, normalizer, gradient]: [&[f32]; 3],
    [dq, dk, dv]: [&mut [f32]; 3],
) -> Result<()> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = *layout.shape;
    dq.fill(0.0);
    if head_dim == 0 {
        return Ok(());
    }
    // Longest first, so that the last pieces to run are short.
    let mut pieces: Vec<(usize, usize)> =
        (0..layout.sequences.len()).flat_map(|sequence| (0..heads).map(move |head| (sequence, head))).collect();
    pieces.sort_by_key(|&(sequence, _)| std::cmp::Reverse(layout.sequences[sequence].key.len()));
    let mut starts = Vec::with_capacity(layout.sequences.len());
    let mut total = 0;
    for sequence in layout.sequences {
        starts.push(total);
        total += sequence.key.len() * heads * head_dim;
    }
    let mut dk_parts = Tensor::stale(&[total])?;
    let mut dv_parts = Tensor::stale(&[total])?;
    let outputs = [Output::new(dq), Output::new(dk_parts.data_mut()), Output::new(dv_parts.data_mut())];
    for_each(pieces.len(), layout.steps() * 3, |index| {
        let (number, head) = pieces[index];
        let sequence = &layout.sequences[number];
        let inputs = [q, k, v, out, normalizer, gradient];
        let [dq_head, dk_head, dv_head] = backward_head(layout, sequence, head, inputs);
        let start = starts[number] + head * sequence.key.len() * head_dim;
        #[expect(unsafe_code, reason = "pieces write rows of one head, which are not one slice")]
        // SAFETY: each row and head of the queries belongs to one piece, since query ranges do not overlap,
        // and each piece has a stretch of its own in the parts; all three are borrowed throughout.
        unsafe {
            for (row, values) in sequence.query.clone().zip(dq_head.chunks_exact(head_dim)) {
                outputs[0].write((row * heads + head) * head_dim, values);
            }
            outputs[1].write(start, &dk_head);
            outputs[2].write(start, &dv_head);
        }
    });

    let width = kv_heads * head_dim;
    let rows = dk.len().checked_div(width).unwrap_or(0);
    for (target, parts) in [(dk, &dk_parts), (dv, &dv_parts)] {
        chunks(target, ROWS * width, total, |index, target| {
            let rows = piece(index, ROWS, rows);
            target.fill(0.0);
            for (sequence, start) in layout.sequences.iter().zip(&starts) {
                for row in rows.start.max(sequence.key.start)..rows.end.min(sequence.key.end) {
                    for head in 0..heads {
                        let from = start + (head * sequence.key.len() + row - sequence.key.start) * head_dim;
                        let into = (row - rows.start) * width + head / (heads / kv_heads) * head_dim;
                        add_scaled(&mut target[into..][..head_dim], &parts.data()[from..][..head_dim], 1.0);
                    }
                }
            }
        });
    }
    Ok(())
}

fn backward_head(
    layout: Layout<'_>,
    sequence: &Sequence,
    head: usize,
    [q, k, v, out, normalizer, gradient]: [&[f32]; 6],
) -> [Vec<f32>; 3] {
    let AttentionShape { heads, kv_heads, head_dim, scale, .. } = *layout.shape;
    let kv_head = head / (heads / kv_heads);
    let mut dq = vec![0.0_f32; sequence.query.len() * head_dim];
    let mut dk = vec![0.0_f32; sequence.key.len() * head_dim];
    let mut dv = vec![0.0_f32; sequence.key.len() * head_dim];
    let mut probabilities = vec![0.0_f32; QUERIES * KEYS];
    let mut changes = vec![0.0_f32; QUERIES * KEYS];
    for start in (0..sequence.query.len()).step_by(QUERIES) {
        let queries = start..(start + QUERIES).min(sequence.query.len());
        let rows = shift(&queries, sequence.query.start);
        let along: Vec<f32> = rows
            .clone()
            .map(|row| {
                let at = (row * heads + head) * head_dim;
                dot(&gradient[at..at + head_dim], &out[at..at + head_dim])
            })
            .collect();
        let q = layout.rows(q, heads, head, rows.clone());
        let dy = layout.rows(gradient, heads, head, rows);
        for keys in Layout::key_tiles(layout.seen_by(sequence, &queries)) {
            let width = keys.len();
            let key_rows = shift(&keys, sequence.key.start);
            let k = layout.rows(k, kv_heads, kv_head, key_rows.clone());
            let v = layout.rows(v, kv_heads, kv_head, key_rows);
            let p = &mut probabilities[..queries.len() * width];
            let ds = &mut changes[..queries.len() * width];
            multiply_here(p, width, q, k.transposed(), scale, false);
            multiply_here(ds, width, dy, v.transposed(), 1.0, false);
            for (at, (p, ds)) in p.chunks_exact_mut(width).zip(ds.chunks_exact_mut(width)).enumerate() {
                let seen = within(&layout.seen(sequence, queries.start + at), &keys);
                for row in [&mut *p, &mut *ds] {
                    row[..seen.start].fill(0.0);
                    row[seen.end..].fill(0.0);
                }
                let row = sequence.query.start + queries.start + at;
                exponentials(&mut p[seen.clone()], 1.0, normalizer[row * heads + head]);
                probability_gradient(&mut ds[seen.clone()], &p[seen], along[at], scale);
            }
            let p = Matrix::new(p, queries.len(), width);
            let ds = Matrix::new(ds, queries.len(), width);
            let of_keys = keys.start * head_dim..keys.end * head_dim;
            let of_queries = queries.start * head_dim..queries.end * head_dim;
            multiply_here(&mut dv[of_keys.clone()], head_dim, p.transposed(), dy, 1.0, true);
            multiply_here(&mut dk[of_keys], head_dim, ds.transposed(), q, 1.0, true);
            multiply_here(&mut dq[of_queries], head_dim, ds, k, 1.0, true);
        }
    }
    [dq, dk, dv]
}
