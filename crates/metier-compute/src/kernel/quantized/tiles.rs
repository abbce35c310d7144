//! Products with weights that become `f32` a tile at a time: a tile meets all rows, and is forgotten.
//!
//! Tiles are of outputs on the way forward and of inputs on the way back, so that each number of the output is summed in
//! one product, as with the whole weight in `f32`, to the bit.

use std::ops::Range;

use crate::kernel::matmul::Matrix;
use crate::kernel::threads::chunks;
use crate::tensor::Buffer;

/// Numbers of the weight that are unpacked together: 4 MiB.
const TILE: usize = 1 << 20;
/// Rows and columns of tiles are multiples of this where they can be.
const STEP: usize = 32;
/// Numbers that one thread unpacks at a time.
pub(super) const PIECE: usize = 1 << 12;

/// `out = x weight^T`; `out` is `[count, rows]`, the weight `[rows, columns]`. `read(at, part)` fills `part` with the weight's
/// numbers from `at` on. `product(out, right, add)` writes or adds the product of `x` with `right`, which is `[columns, some rows]`.
pub(super) fn by_lines(
    out: &mut [f32],
    count: usize,
    (rows, columns): (usize, usize),
    read: impl Fn(usize, &mut [f32]) + Sync,
    mut product: impl FnMut(&mut [f32], Matrix<'_>, bool),
) {
    by_columns(out, count, rows, columns, false, |out, here, add| {
        let mut tile = Buffer::scratch(here.len() * columns);
        let first = here.start * columns;
        chunks(tile.as_mut_slice(), PIECE, here.len() * columns, |index, part| read(first + index * PIECE, part));
        product(out, Matrix::new(tile.as_slice(), here.len(), columns).transposed(), add);
    });
}

/// Lets `product` write each piece of columns of `out`, `[count, columns]`, so many that `depth` times them are a tile.
pub(super) fn by_columns(
    out: &mut [f32],
    count: usize,
    columns: usize,
    depth: usize,
    add: bool,
    mut product: impl FnMut(&mut [f32], Range<usize>, bool),
) {
    if out.is_empty() {
        return;
    }
    let step = (TILE / depth.max(1)).max(STEP) / STEP * STEP;
    if step >= columns {
        return product(out, 0..columns, add);
    }
    let mut made = Buffer::scratch(count * step);
    for first in (0..columns).step_by(step) {
        let here = first..(first + step).min(columns);
        let made = &mut made.as_mut_slice()[..count * here.len()];
        product(made, here.clone(), false);
        chunks(out, columns, made.len(), |row, out| {
            let made = &made[row * here.len()..][..here.len()];
            if add {
                crate::kernel::elementwise::add_in_place(&mut out[here.clone()], made);
            } else {
                out[here.clone()].copy_from_slice(made);
            }
        });
    }
}
