//! The tiles of attention.
//!
//! Keys are taken some at a time, packed once, and met by strips of queries; what a strip does not see at the end of its
//! keys is not computed. All that a piece of work needs besides its inputs lies in memory of its thread.

use std::cell::Cell;
use std::ops::Range;

use metier_core::Result;

use super::Precision;
use super::elementwise::{add_scaled, multiply_slices};
use super::matmul::{Matrix, Output, PackedRight, multiply_packed};
use super::reduce::{LANES, ROWS, dot};
use super::softmax::{Band, online, online_gradient, scale_row, soft_cap, soft_cap_slopes};
use super::threads::{chunks, for_each, piece};
use crate::op::{AttentionShape, Sequence};
use crate::tensor::Tensor;

/// Keys that are packed at one time.
pub(super) const KEYS: usize = 512;
/// Queries that share packed keys in one piece of the work forward.
const QUERIES: usize = 256;
/// Queries of one strip.
pub(super) const STRIP: usize = 32;

/// What the rows of one call mean.
#[derive(Clone, Copy)]
pub(crate) struct Layout<'a> {
    pub shape: &'a AttentionShape,
    pub sequences: &'a [Sequence],
    pub precision: Precision,
}

impl Layout<'_> {
    /// The keys that query `i` of `sequence` sees.
    fn seen(&self, sequence: &Sequence, i: usize) -> Range<usize> {
        let keys = sequence.key.len();
        let own = keys - sequence.query.len() + i;
        let reach = self.shape.window.unwrap_or(keys);
        let end = if self.shape.causal { own + 1 } else { own.saturating_add(reach).min(keys) };
        (own + 1).saturating_sub(reach)..end
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

    /// The most that any sequence has.
    fn longest(&self, length: impl Fn(&Sequence) -> usize) -> usize {
        self.sequences.iter().map(length).max().unwrap_or(0)
    }

    /// Some rows of a matrix of `heads` heads, for one of them.
    fn rows<'d>(&self, data: &'d [f32], heads: usize, head: usize, rows: Range<usize>) -> Matrix<'d> {
        let (step, width) = (heads * self.shape.head_dim, self.shape.head_dim);
        Matrix::strided(&data[rows.start * step + head * width..], rows.len(), width, step)
    }

    /// The columns of a tile of `keys` that `queries` see, from where a packed matrix can be cut, and what each query
    /// sees of those; `None` when they see nothing.
    fn tile(&self, sequence: &Sequence, queries: &Range<usize>, keys: &Range<usize>) -> Option<(Range<usize>, Band)> {
        let seen = self.seen_by(sequence, queries);
        let (start, end) = (seen.start.max(keys.start), seen.end.min(keys.end));
        if start >= end {
            return None;
        }
        let columns = (start - keys.start) / PackedRight::STEP * PackedRight::STEP..end - keys.start;
        // The column of the first query's own key.
        let own = (sequence.key.len() - sequence.query.len() + queries.start) as isize;
        let own = own - (keys.start + columns.start) as isize;
        let reach = self.shape.window.and_then(|window| isize::try_from(window).ok()).unwrap_or(isize::MAX / 2);
        let end = if self.shape.causal { own + 1 } else { own.saturating_add(reach) };
        let band = Band { start: (own + 1).saturating_sub(reach), end, columns: columns.len() };
        Some((columns, band))
    }
}

fn shift(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

/// The tiles of `keys`, at fixed places in the sequence.
pub(super) fn key_tiles(keys: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    (keys.start / KEYS..keys.end.div_ceil(KEYS)).map(move |tile| tile * KEYS..((tile + 1) * KEYS).min(keys.end))
}

/// The strips of `queries`.
pub(super) fn strips(queries: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    queries.clone().step_by(STRIP).map(move |start| start..(start + STRIP).min(queries.end))
}

/// Elements of a row of a tile that is `columns` wide: whole vectors.
pub(super) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(LANES)
}

/// Runs `work` with memory of the calling thread, cut into parts of these sizes, which hold whatever they last held.
pub(super) fn with_memory<const N: usize>(sizes: [usize; N], work: impl FnOnce([&mut [f32]; N])) {
    thread_local! {
        static MEMORY: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let mut memory = MEMORY.take();
    let total = sizes.iter().sum();
    if memory.len() < total {
        memory.resize(total, 0.0);
    }
    let mut rest = memory.as_mut_slice();
    work(sizes.map(|size| {
        let (part, behind) = std::mem::take(&mut rest).split_at_mut(size);
        rest = behind;
        part
    }));
    MEMORY.set(memory);
}

/// Writes the output `[N, H D]` and the normalizer `[N, H]`.
pub(crate) fn forward(layout: Layout<'_>, [q, k, v]: [&[f32]; 3], out: &mut [f32], normalizer: &mut [f32]) {
    let AttentionShape { heads, head_dim, .. } = *layout.shape;
    let covered: usize = layout.sequences.iter().map(|sequence| sequence.query.len()).sum();
    if covered * heads < normalizer.len() || head_dim == 0 {
        out.fill(0.0);
        normalizer.fill(0.0);
    }
    if head_dim == 0 {
        return;
    }
    let outputs = [Output::new(out), Output::new(normalizer)];
    let across = layout.longest(|sequence| sequence.query.len()).div_ceil(QUERIES);
    for_each(layout.sequences.len() * heads * across, layout.steps(), |index| {
        let sequence = &layout.sequences[index / across / heads];
        let queries = piece(index % across, QUERIES, sequence.query.len());
        let head = index / across % heads;
        if !queries.is_empty() {
            forward_piece(layout, sequence, head, queries, [q, k, v], outputs);
        }
    });
}

fn forward_piece(
    layout: Layout<'_>,
    sequence: &Sequence,
    head: usize,
    queries: Range<usize>,
    [q, k, v]: [&[f32]; 3],
    [out, normalizer]: [Output; 2],
) {
    let AttentionShape { heads, kv_heads, head_dim, scale, softcap, .. } = *layout.shape;
    let kv_head = head / (heads / kv_heads);
    let seen = layout.seen_by(sequence, &queries);
    let (count, most) = (queries.len(), seen.end.min(KEYS));
    let sizes = [
        PackedRight::size(head_dim, most),
        PackedRight::size(most, head_dim),
        STRIP * padded(most),
        count * head_dim,
        count,
        count,
    ];
    with_memory(sizes, |[k_memory, v_memory, scores, result, tops, sums]| {
        result.fill(0.0);
        tops.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        for keys in key_tiles(seen) {
            let rows = shift(&keys, sequence.key.start);
            let k = PackedRight::new(
                k_memory,
                layout.rows(k, kv_heads, kv_head, rows.clone()).transposed(),
                layout.precision,
            );
            let v = PackedRight::new(v_memory, layout.rows(v, kv_heads, kv_head, rows), layout.precision);
            for strip in strips(queries.clone()) {
                let Some((columns, band)) = layout.tile(sequence, &strip, &keys) else { continue };
                let width = padded(columns.len());
                let q = layout.rows(q, heads, head, shift(&strip, sequence.query.start));
                let here = strip.start - queries.start..strip.end - queries.start;
                let result = &mut result[here.start * head_dim..here.end * head_dim];
                let scores = &mut scores[..strip.len() * width];
                multiply_packed(scores, width, q, k.part(0..head_dim, columns.clone()), scale, false);
                if let Some(cap) = softcap {
                    soft_cap(scores, cap);
                }
                online(scores, width, band, &mut tops[here.clone()], &mut sums[here], result);
                let p = Matrix::strided(scores, strip.len(), columns.len(), width);
                multiply_packed(result, head_dim, p, v.part(columns, 0..head_dim), 1.0, true);
            }
        }
        for (at, values) in result.chunks_exact_mut(head_dim).enumerate() {
            scale_row(values, 1.0 / sums[at]);
            let place = (sequence.query.start + queries.start + at) * heads + head;
            #[expect(unsafe_code, reason = "pieces write rows of one head, which are not one slice")]
            // SAFETY: each row and head belongs to exactly one piece, since query ranges do not overlap; both
            // outputs are borrowed for the whole of `forward`.
            unsafe {
                out.write(place * head_dim, values);
                normalizer.write(place, &[tops[at] + sums[at].ln()]);
            }
        }
    });
}

/// Where gradients of keys or values of one head of one sequence go.
#[derive(Clone, Copy)]
struct KeyRows {
    start: usize,
    step: usize,
}

/// Writes the gradients of queries, keys and values.
///
/// Each head of each sequence is one piece of work. Where several share a key, each has a key gradient of its
/// own; those are added over sequences and heads in their order at the end.
pub(crate) fn backward(layout: Layout<'_>, inputs: [&[f32]; 6], [dq, dk, dv]: [&mut [f32]; 3]) -> Result<()> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = *layout.shape;
    let width = kv_heads * head_dim;
    let covered: usize = layout.sequences.iter().map(|sequence| sequence.query.len()).sum();
    if covered * heads * head_dim < dq.len() {
        dq.fill(0.0);
    }
    let total: usize = layout.sequences.iter().map(|sequence| sequence.key.len()).sum();
    let apart = layout.sequences.windows(2).all(|pair| pair[0].key.end <= pair[1].key.start);
    let own = heads == kv_heads && apart;
    if own && total * width < dk.len() {
        dk.fill(0.0);
        dv.fill(0.0);
    }
    if head_dim == 0 {
        return Ok(());
    }
    let parts_length = if own { 0 } else { total * heads * head_dim };
    let (mut dk_parts, mut dv_parts) = (Tensor::stale(&[parts_length])?, Tensor::stale(&[parts_length])?);
    let (dk_rows, dv_rows) = if own { (&mut *dk, &mut *dv) } else { (dk_parts.data_mut(), dv_parts.data_mut()) };
    let outputs = [Output::new(dq), Output::new(dk_rows), Output::new(dv_rows)];
    for_each(layout.sequences.len() * heads, layout.steps() * 3, |index| {
        let (number, head) = (index / heads, index % heads);
        let rows = if own {
            KeyRows { start: layout.sequences[number].key.start * width + head * head_dim, step: width }
        } else {
            KeyRows { start: part_start(layout, number, head), step: head_dim }
        };
        backward_piece(layout, &layout.sequences[number], head, inputs, outputs, rows);
    });
    if own {
        return Ok(());
    }
    let rows = dk.len().checked_div(width).unwrap_or(0);
    for (target, parts) in [(dk, &dk_parts), (dv, &dv_parts)] {
        chunks(target, ROWS * width, parts_length, |index, target| {
            let rows = piece(index, ROWS, rows);
            target.fill(0.0);
            for (number, sequence) in layout.sequences.iter().enumerate() {
                for row in rows.start.max(sequence.key.start)..rows.end.min(sequence.key.end) {
                    for head in 0..heads {
                        let from = part_start(layout, number, head) + (row - sequence.key.start) * head_dim;
                        let into = (row - rows.start) * width + head / (heads / kv_heads) * head_dim;
                        add_scaled(&mut target[into..][..head_dim], &parts.data()[from..][..head_dim], 1.0);
                    }
                }
            }
        });
    }
    Ok(())
}

/// Where the rows of one head of one sequence begin when all have rows of their own.
fn part_start(layout: Layout<'_>, number: usize, head: usize) -> usize {
    let before: usize = layout.sequences[..number].iter().map(|sequence| sequence.key.len()).sum();
    (before * layout.shape.heads + head * layout.sequences[number].key.len()) * layout.shape.head_dim
}

fn backward_piece(
    layout: Layout<'_>,
    sequence: &Sequence,
    head: usize,
    [q, k, v, out, normalizer, gradient]: [&[f32]; 6],
    [dq_out, dk_out, dv_out]: [Output; 3],
    key_rows: KeyRows,
) {
    let AttentionShape { heads, kv_heads, head_dim, scale, softcap, .. } = *layout.shape;
    let kv_head = head / (heads / kv_heads);
    let most = sequence.key.len().min(KEYS);
    let (across, down) = (PackedRight::size(head_dim, most), PackedRight::size(most, head_dim));
    let (strip, tile) = (PackedRight::size(STRIP, head_dim), STRIP * padded(most));
    let key = most * head_dim;
    let slope_tile = if softcap.is_some() { tile } else { 0 };
    let sizes = [across, across, down, strip, strip, tile, tile, slope_tile, STRIP * head_dim, key, key, 2 * STRIP];
    with_memory(sizes, |[kt_memory, vt_memory, k_memory, q_memory, dy_memory, p, ds, slopes, dq, dk, dv, numbers]| {
        let (along, normalizers) = numbers.split_at_mut(STRIP);
        for keys in key_tiles(0..sequence.key.len()) {
            let rows = shift(&keys, sequence.key.start);
            let k = layout.rows(k, kv_heads, kv_head, rows.clone());
            let v = layout.rows(v, kv_heads, kv_head, rows);
            let kt = PackedRight::new(kt_memory, k.transposed(), layout.precision);
            let vt = PackedRight::new(vt_memory, v.transposed(), layout.precision);
            let k = PackedRight::new(k_memory, k, layout.precision);
            let (dk, dv) = (&mut dk[..keys.len() * head_dim], &mut dv[..keys.len() * head_dim]);
            dk.fill(0.0);
            dv.fill(0.0);
            for queries in strips(0..sequence.query.len()) {
                let Some((columns, band)) = layout.tile(sequence, &queries, &keys) else { continue };
                let (count, width) = (queries.len(), padded(columns.len()));
                let first = sequence.query.start + queries.start;
                for (at, (along, normal)) in along.iter_mut().zip(&mut *normalizers).enumerate().take(count) {
                    let place = (first + at) * heads + head;
                    let row = place * head_dim..(place + 1) * head_dim;
                    *along = dot(&gradient[row.clone()], &out[row]);
                    *normal = normalizer[place];
                }
                let q = layout.rows(q, heads, head, first..first + count);
                let dy = layout.rows(gradient, heads, head, first..first + count);
                let (p, ds) = (&mut p[..count * width], &mut ds[..count * width]);
                multiply_packed(p, width, q, kt.part(0..head_dim, columns.clone()), scale, false);
                multiply_packed(ds, width, dy, vt.part(0..head_dim, columns.clone()), 1.0, false);
                if let Some(cap) = softcap {
                    soft_cap_slopes(p, &mut slopes[..count * width], cap);
                }
                online_gradient(p, ds, width, band, &normalizers[..count], &along[..count], scale);
                if softcap.is_some() {
                    multiply_slices(ds, &slopes[..count * width]);
                }
                let p = Matrix::strided(p, count, columns.len(), width);
                let ds = Matrix::strided(ds, count, columns.len(), width);
                let of_keys = columns.start * head_dim..columns.end * head_dim;
                let dy = PackedRight::new(dy_memory, dy, layout.precision);
                multiply_packed(&mut dv[of_keys.clone()], head_dim, p.transposed(), dy, 1.0, true);
                let q = PackedRight::new(q_memory, q, layout.precision);
                multiply_packed(&mut dk[of_keys], head_dim, ds.transposed(), q, 1.0, true);
                let dq = &mut dq[..count * head_dim];
                multiply_packed(dq, head_dim, ds, k.part(columns, 0..head_dim), 1.0, false);
                let add = layout.seen_by(sequence, &queries).start < keys.start;
                for (place, values) in (first..).zip(dq.chunks_exact(head_dim)) {
                    #[expect(unsafe_code, reason = "pieces write rows of one head, which are not one slice")]
                    // SAFETY: each row and head of the queries belongs to one piece, since query ranges do not
                    // overlap, and the output is borrowed for the whole of `backward`.
                    unsafe {
                        dq_out.merge((place * heads + head) * head_dim, values, add);
                    }
                }
            }
            let rows = dk.chunks_exact(head_dim).zip(dv.chunks_exact(head_dim));
            for (row, (dk, dv)) in (keys.start..).zip(rows) {
                let place = key_rows.start + row * key_rows.step;
                #[expect(unsafe_code, reason = "as above")]
                // SAFETY: `backward` gives every piece rows of its own in these outputs, and borrows them throughout.
                unsafe {
                    dk_out.write(place, dk);
                    dv_out.write(place, dv);
                }
            }
        }
    });
}
