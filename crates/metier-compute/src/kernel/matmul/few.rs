//! Products of a few rows, which cost what reading the right matrix costs: each of its panels is packed where it is
//! used, and never leaves the nearest cache. Blocks of depth and tiles are those of [`super::multiply`], so a row's
//! product is the same to the bit however many rows there are.

#[cfg(target_arch = "x86_64")]
use super::lines;
use super::{DEPTH, LINE, Matrix, Output, aligned, block, chunk, micro, rows_of_tiles};
use crate::kernel::threads::{for_each, piece};
use crate::tensor::Buffer;

/// Rows up to which reading the matrix takes longer than the arithmetic.
pub(super) const FEW: usize = 32;
/// Numbers of the matrix in one piece of work, about.
const PIECE: usize = 1 << 15;

/// `out = alpha a b`, or `+=`; `a` has at most [`FEW`] rows, which lie side by side one way or the other.
pub(super) fn multiply_few(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, alpha: f32, add: bool) {
    let (columns, depth) = (b.columns, b.rows);
    #[cfg(target_arch = "x86_64")]
    if a.rows <= lines::FEW
        && a.column_step == 1
        && let Some(lines) = lines::Lines::of(b)
    {
        return lines::multiply(out, a, lines, alpha, add);
    }
    let kernel = micro::kernel(crate::kernel::level());
    let together = kernel.columns * (PIECE / (kernel.columns * depth)).max(1);
    let output = Output::new(out);
    for_each(columns.div_ceil(together), columns * depth * 4, |index| {
        let output = &output;
        let mut memory = Buffer::scratch(kernel.columns * depth.min(DEPTH) + LINE);
        for first in piece(index, together, columns).step_by(kernel.columns) {
            let here = first..(first + kernel.columns).min(columns);
            for deep in (0..depth).step_by(chunk(depth)) {
                let end = (deep + chunk(depth)).min(depth);
                let step = block(end - deep);
                for top in (deep..end).step_by(step) {
                    let steps = top..(top + step).min(end);
                    let panel = aligned(memory.as_mut_slice(), kernel.columns * steps.len());
                    micro::pack(kernel, panel, b.part(steps.clone(), here.clone()));
                    #[expect(unsafe_code, reason = "calls the product of a tile")]
                    // SAFETY: the panel is as deep as the steps; the columns lie inside `out`, which is borrowed, and
                    // belong to one piece.
                    unsafe {
                        let out = output.start.add(first);
                        let a = a.part(0..a.rows, steps);
                        let add = add || top > 0;
                        rows_of_tiles(kernel, out, columns, a, panel.as_ptr(), here.len(), alpha, add, false);
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::multiply;
    use super::*;

    #[test]
    fn a_row_is_the_same_alone_and_among_many() {
        let noise = |count: usize, salt: usize| -> Vec<f32> {
            (0..count).map(|at| ((at * 7919 + salt * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
        };
        for (columns, depth) in [(33, 7), (100, 576), (40, 150 * 17), (9, DEPTH * 16 + 700)] {
            let rows = FEW + 40;
            let (x, weight) = (noise(rows * depth, 1), noise(columns * depth, 2));
            for b in [Matrix::new(&weight, columns, depth).transposed(), Matrix::new(&weight, depth, columns)] {
                let mut all = vec![0.5; rows * columns];
                multiply(&mut all, Matrix::new(&x, rows, depth), b, 0.5, true);
                for (first, count) in [(0, 1), (3, 2), (20, 5), (0, FEW), (30, 13), (5, FEW + 1)] {
                    let mut some = vec![0.5; count * columns];
                    let rows = Matrix::new(&x[first * depth..][..count * depth], count, depth);
                    multiply(&mut some, rows, b, 0.5, true);
                    assert_eq!(some, all[first * columns..][..count * columns], "{columns} {depth} {first} {count}");
                }
            }
        }
    }
}
