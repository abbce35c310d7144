//! Keys and values in pages, in the order in which the tiles of products read them, and attention over those.
//!
//! A page holds some rows of a text in every block of a model. Nothing is packed when a query comes, so one query costs
//! what reading its keys costs; and tiles lie at fixed places of the text, so what a query gathers is the same to the
//! bit whichever others come with it, and however its keys came in.

use std::ops::Range;
use std::sync::Arc;

use metier_core::Result;
use metier_core::memory::{Budget, Reservation};

use super::attention::{KEYS, STRIP, padded, strips, with_memory};
use super::matmul::{Matrix, Output, PackedRight, first_line, multiply_packed};
use super::softmax::{Band, online, scale_row, soft_cap};
use super::threads::for_each;
use crate::op::AttentionShape;
use crate::tensor::Buffer;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyCoding {
    /// As they are.
    #[default]
    F32,
    /// In 8 bits with a scale for each row and head: each number is off by at most 1/254 of the largest beside it.
    Int8,
    /// In 4 bits with the same scales: each number is off by at most 1/14 of the largest beside it.
    Int4,
}

/// What all pages of one model have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageShape {
    /// Blocks of the model.
    pub blocks: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Columns of one head.
    pub head_dim: usize,
    /// How the numbers are stored.
    pub coding: KeyCoding,
}

impl PageShape {
    /// Numbers of keys, and of values, of one head in one block. Those of values are whole panels.
    fn numbers(&self) -> [usize; 2] {
        [KeyPage::ROWS * self.head_dim, KeyPage::ROWS * self.head_dim.next_multiple_of(PackedRight::STEP)]
    }

    /// Words of memory of one head in one block: keys, values, and behind them the scales of both where there are any.
    fn words(&self) -> usize {
        let numbers: usize = self.numbers().iter().sum();
        match self.coding {
            KeyCoding::F32 => numbers,
            KeyCoding::Int8 => numbers / 4 + 2 * KeyPage::ROWS,
            KeyCoding::Int4 => numbers / 8 + 2 * KeyPage::ROWS,
        }
    }

    /// Bytes of one page.
    pub fn bytes(&self) -> u64 {
        (self.blocks as u64).saturating_mul((self.kv_heads * self.words() * size_of::<f32>()) as u64)
    }
}

/// Keys and values of up to [`KeyPage::ROWS`] rows that follow each other in a text, in every block of a model.
pub struct KeyPage {
    shape: PageShape,
    memory: Buffer,
    held: Reservation,
}

/// Whether keys or values are meant.
#[derive(Clone, Copy)]
enum Kind {
    Keys,
    Values,
}

impl KeyPage {
    /// Rows of a page.
    pub const ROWS: usize = 32;

    /// An empty page, whose bytes are taken from `budget` first; refused when it has too few.
    pub fn new(shape: PageShape, budget: &Budget) -> Result<Self> {
        let held = budget.reserve(shape.bytes(), "a page of the cache of keys and values")?;
        let words = shape.blocks * shape.kv_heads * shape.words();
        Ok(Self { shape, memory: Buffer::stale(words + LINE)?, held })
    }

    /// A page of its own with the same rows.
    pub fn copy(&self, budget: &Budget) -> Result<Self> {
        let mut copy = Self::new(self.shape, budget)?;
        copy.words_mut().copy_from_slice(self.words());
        Ok(copy)
    }

    /// What all pages of the model have in common.
    pub fn shape(&self) -> PageShape {
        self.shape
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.held.bytes()
    }

    fn words(&self) -> &[f32] {
        let memory = self.memory.as_slice();
        &memory[first_line(memory)..][..memory.len() - LINE]
    }

    fn words_mut(&mut self) -> &mut [f32] {
        let memory = self.memory.as_mut_slice();
        let (start, length) = (first_line(memory), memory.len() - LINE);
        &mut memory[start..][..length]
    }

    /// The words of one head in one block.
    fn place(&self, block: usize, head: usize) -> Range<usize> {
        let words = self.shape.words();
        let start = (block * self.shape.kv_heads + head) * words;
        start..start + words
    }

    /// Takes in the keys and values of one row, `[kv_heads * head_dim]` each.
    pub(crate) fn write(&mut self, block: usize, row: usize, keys: &[f32], values: &[f32]) {
        let PageShape { kv_heads, head_dim, coding, .. } = self.shape;
        let width = PackedRight::panel_columns();
        let [key_numbers, value_numbers] = self.shape.numbers();
        for head in 0..kv_heads {
            let place = self.place(block, head);
            let words = &mut self.words_mut()[place];
            let (keys, values) = (&keys[head * head_dim..][..head_dim], &values[head * head_dim..][..head_dim]);
            let key_at = |column: usize| (row / width * head_dim + column) * width + row % width;
            let value_at = |column: usize| (column / width * Self::ROWS + row) * width + column % width;
            if coding == KeyCoding::F32 {
                for (column, (key, value)) in keys.iter().zip(values).enumerate() {
                    words[key_at(column)] = *key;
                    words[key_numbers + value_at(column)] = *value;
                }
                continue;
            }
            let (words, scales) = words.split_at_mut(words.len() - 2 * Self::ROWS);
            let bytes = bytes_mut(words);
            for (kind, numbers) in [(Kind::Keys, keys), (Kind::Values, values)] {
                let most = numbers.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
                let steps = if coding == KeyCoding::Int8 { 127.0 } else { 7.0 };
                let (scale, inverse) = if most > 0.0 { (most / steps, steps / most) } else { (0.0, 0.0) };
                let (first, row_of_scales) = match kind {
                    Kind::Keys => (0, row),
                    Kind::Values => (key_numbers, Self::ROWS + row),
                };
                scales[row_of_scales] = scale;
                for (column, number) in numbers.iter().enumerate() {
                    let code = (number * inverse).round() as i8;
                    let at = first
                        + match kind {
                            Kind::Keys => key_at(column),
                            Kind::Values => value_at(column),
                        };
                    debug_assert!(at < key_numbers + value_numbers);
                    if coding == KeyCoding::Int8 {
                        bytes[at] = code as u8;
                    } else {
                        // A group of 32 numbers is 16 bytes: the first 16 are low halves, the others high ones.
                        let (byte, high) = (at / 32 * 16 + at % 16, at % 32 >= 16);
                        let half = (code + 8) as u8;
                        bytes[byte] = if high { (bytes[byte] & 15) | (half << 4) } else { (bytes[byte] & 0xf0) | half };
                    }
                }
            }
        }
    }

    /// The keys or the values of one head as a product reads them, unpacked into `memory` where they are coded, and what
    /// each row of them is to be multiplied by.
    fn read<'a>(
        &'a self,
        block: usize,
        head: usize,
        kind: Kind,
        memory: &'a mut [f32],
    ) -> (PackedRight<'a>, Option<&'a [f32]>) {
        let PageShape { head_dim, coding, .. } = self.shape;
        let [key_numbers, value_numbers] = self.shape.numbers();
        let words = &self.words()[self.place(block, head)];
        let (here, size) = match kind {
            Kind::Keys => (0..key_numbers, (head_dim, Self::ROWS)),
            Kind::Values => (key_numbers..key_numbers + value_numbers, (Self::ROWS, head_dim)),
        };
        if coding == KeyCoding::F32 {
            return (PackedRight::packed(&words[here], size.0, size.1), None);
        }
        let (words, scales) = words.split_at(words.len() - 2 * Self::ROWS);
        let memory = &mut memory[..here.len()];
        if coding == KeyCoding::Int8 {
            unpack_bytes(memory, &bytes(words)[here]);
        } else {
            unpack_halves(memory, &bytes(words)[here.start / 2..here.end / 2]);
        }
        let (keys, values) = scales.split_at(Self::ROWS);
        let scales = match kind {
            Kind::Keys => keys,
            Kind::Values => values,
        };
        (PackedRight::packed(memory, size.0, size.1), Some(scales))
    }
}

/// Numbers in a line of the cache.
const LINE: usize = 16;

#[expect(unsafe_code, reason = "words seen as bytes")]
fn bytes(words: &[f32]) -> &[u8] {
    // SAFETY: any bits are bytes, and they are borrowed as the words are.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

#[expect(unsafe_code, reason = "words seen as bytes")]
fn bytes_mut(words: &mut [f32]) -> &mut [u8] {
    // SAFETY: as above; any bits are numbers.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

leveled! {
    fn unpack_bytes(out: &mut [f32], codes: &[u8]) {
        for (out, code) in out.iter_mut().zip(codes) {
            *out = f32::from(*code as i8);
        }
    }
}

leveled! {
    fn unpack_halves(out: &mut [f32], codes: &[u8]) {
        for (out, codes) in out.as_chunks_mut::<32>().0.iter_mut().zip(codes.as_chunks::<16>().0) {
            for lane in 0..16 {
                out[lane] = f32::from((codes[lane] & 15) as i8 - 8);
                out[lane + 16] = f32::from((codes[lane] >> 4) as i8 - 8);
            }
        }
    }
}

leveled! {
    /// Multiplies the columns of a tile, whose rows are `width` apart, by a factor each.
    fn scale_columns(tile: &mut [f32], width: usize, factors: &[f32]) {
        for row in tile.chunks_mut(width) {
            for (value, factor) in row.iter_mut().zip(factors) {
                *value *= factor;
            }
        }
    }
}

/// New rows of a text, whose keys are in its pages already.
pub(crate) struct Text<'a> {
    /// Rows of the queries.
    pub query: Range<usize>,
    /// The position of the first.
    pub first: usize,
    pub pages: &'a [Arc<KeyPage>],
}

/// Heads and queries of a text that meet its keys together: one of both is one.
struct Piece {
    text: usize,
    heads: Range<usize>,
    queries: Range<usize>,
}

/// Writes what the queries gather in `block`, `[N, heads * head_dim]`.
pub(crate) fn forward(out: &mut [f32], q: &[f32], shape: &AttentionShape, block: usize, texts: &[Text<'_>]) {
    /// Pieces that are enough for some threads.
    const ENOUGH: usize = 8;
    let AttentionShape { heads, kv_heads, head_dim, .. } = *shape;
    if head_dim == 0 {
        return;
    }
    let together = if texts.len() * kv_heads >= ENOUGH { heads / kv_heads } else { 1 };
    let mut pieces = Vec::new();
    let mut steps = 0;
    for (number, text) in texts.iter().enumerate() {
        steps += text.query.len() * (text.first + text.query.len()) * heads * head_dim;
        let together = if text.query.len() == 1 { together } else { 1 };
        for queries in strips(0..text.query.len()) {
            for head in (0..heads).step_by(together) {
                pieces.push(Piece { text: number, heads: head..head + together, queries: queries.clone() });
            }
        }
    }
    let output = Output::new(out);
    for_each(pieces.len(), steps, |index| {
        let piece = &pieces[index];
        let text = &texts[piece.text];
        meet(text, piece, shape, block, q, |row, values| {
            let query = text.query.start + piece.queries.start + if piece.heads.len() == 1 { row } else { 0 };
            let head = piece.heads.start + if piece.heads.len() == 1 { 0 } else { row };
            #[expect(unsafe_code, reason = "pieces write rows of some heads, which are not one slice")]
            // SAFETY: each row and head belongs to one piece, since query ranges do not overlap; the output is borrowed
            // throughout.
            unsafe {
                output.write((query * heads + head) * head_dim, values);
            }
        });
    });
}

/// Gives what each row of a piece gathers.
fn meet(
    text: &Text<'_>,
    piece: &Piece,
    shape: &AttentionShape,
    block: usize,
    q: &[f32],
    mut result_of: impl FnMut(usize, &[f32]),
) {
    let AttentionShape { heads, kv_heads, head_dim, scale, window, softcap, .. } = *shape;
    let kv_head = piece.heads.start / (heads / kv_heads);
    let (many_heads, rows) = (piece.heads.len() > 1, piece.heads.len() * piece.queries.len());
    let start = (text.query.start + piece.queries.start) * heads * head_dim + piece.heads.start * head_dim;
    let step = if many_heads { head_dim } else { heads * head_dim };
    let q = Matrix::strided(&q[start..], rows, head_dim, step);
    let position = text.first + piece.queries.start;
    let seen = (position + 1).saturating_sub(window.unwrap_or(position + 1))..text.first + piece.queries.end;
    let [key_numbers, value_numbers] = text.pages[0].shape().numbers();
    let most = padded(KEYS.min(seen.end.next_multiple_of(KeyPage::ROWS)));
    let sizes = [key_numbers.max(value_numbers) + LINE, STRIP.max(rows) * most, rows * head_dim, rows, rows];
    with_memory(sizes, |[memory, scores, result, tops, sums]| {
        let aligned = first_line(memory);
        let memory = &mut memory[aligned..];
        result.fill(0.0);
        tops.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        for tile in seen.start / KEYS..seen.end.div_ceil(KEYS) {
            let first = (tile * KEYS).max(seen.start / KeyPage::ROWS * KeyPage::ROWS);
            let end = ((tile + 1) * KEYS).min(seen.end);
            let width = padded(end - first);
            let scores = &mut scores[..rows * width];
            let pages = || (first..end).step_by(KeyPage::ROWS);
            for at in pages() {
                let count = KeyPage::ROWS.min(end - at);
                let (keys, scales) = text.pages[at / KeyPage::ROWS].read(block, kv_head, Kind::Keys, memory);
                let scores = &mut scores[at - first..];
                multiply_packed(scores, width, q, keys.part(0..head_dim, 0..count), scale, false);
                if let Some(scales) = scales {
                    scale_columns(scores, width, &scales[..count]);
                }
            }
            if let Some(cap) = softcap {
                soft_cap(scores, cap);
            }
            let last = (position + 1) as isize - first as isize;
            let begin = window.map_or(isize::MIN / 2, |window| last.saturating_sub_unsigned(window));
            let band = Band { start: begin, end: last, columns: width };
            let together = if many_heads { 1 } else { rows };
            let parts = scores.chunks_exact_mut(together * width).zip(result.chunks_exact_mut(together * head_dim));
            let numbers = tops.chunks_exact_mut(together).zip(sums.chunks_exact_mut(together));
            for ((scores, result), (tops, sums)) in parts.zip(numbers) {
                online(scores, width, band, tops, sums, result);
            }
            for at in pages() {
                let count = KeyPage::ROWS.min(end - at);
                let (values, scales) = text.pages[at / KeyPage::ROWS].read(block, kv_head, Kind::Values, memory);
                let scores = &mut scores[at - first..];
                if let Some(scales) = scales {
                    scale_columns(scores, width, &scales[..count]);
                }
                let p = Matrix::strided(scores, rows, count, width);
                multiply_packed(result, head_dim, p, values.part(0..count, 0..head_dim), 1.0, true);
            }
        }
        for (row, values) in result.chunks_exact_mut(head_dim).enumerate() {
            scale_row(values, 1.0 / sums[row]);
            result_of(row, values);
        }
    });
}
