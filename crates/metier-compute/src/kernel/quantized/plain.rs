//! Products with weights whose numbers are stored by themselves, in 16 bits or 32: a few rows read them where they lie,
//! and for more of them the weight becomes `f32` a tile at a time. The result is that of the same weight in `f32`, to
//! the bit.

use super::tiles::by_lines;
use crate::block::{self, Numbers, Weight};
#[cfg(target_arch = "x86_64")]
use crate::kernel::matmul::lines::{self, Lines};
use crate::kernel::matmul::{self, Matrix};

/// `out = x weight^T`; `x` is `[N, columns]`, `out` `[N, rows]`.
pub(super) fn multiply(out: &mut [f32], x: &[f32], weight: &Weight<'_>, numbers: Numbers) {
    let (rows, columns) = (x.len().checked_div(weight.columns).unwrap_or(0), weight.columns);
    let x = Matrix::new(x, rows, columns);
    #[cfg(target_arch = "x86_64")]
    if rows <= lines::FEW
        && let Some(lines) = Lines::new(weight.bytes, numbers, columns)
    {
        return lines::multiply(out, x, lines, 1.0, false);
    }
    if let Some(numbers) = as_numbers(weight.bytes, numbers) {
        let right = Matrix::new(numbers, weight.rows, columns).transposed();
        return matmul::multiply(out, x, right, 1.0, false);
    }
    let read = |at: usize, part: &mut [f32]| {
        let bytes = &weight.bytes[at * numbers.bytes()..][..part.len() * numbers.bytes()];
        block::decode(weight.block, bytes, part);
    };
    by_lines(out, rows, (weight.rows, columns), read, |out, right, add| {
        matmul::multiply(out, x, right, 1.0, add);
    });
}

/// The numbers themselves, where they lie as the processor reads them.
#[expect(unsafe_code, reason = "bytes are seen as numbers")]
fn as_numbers(bytes: &[u8], numbers: Numbers) -> Option<&[f32]> {
    // SAFETY: any four bytes are a number.
    let (before, values, after) = unsafe { bytes.align_to::<f32>() };
    let whole = before.is_empty() && after.is_empty();
    (numbers == Numbers::F32 && cfg!(target_endian = "little") && whole).then_some(values)
}
