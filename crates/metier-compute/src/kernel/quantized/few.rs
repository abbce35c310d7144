//! A few rows: the weight is read once, where it lies.

use super::activations::{ActivationRow, Activations};
#[cfg(target_arch = "x86_64")]
use super::{FEW, avx2, vnni};
use super::{Lines, RUN, TURNS};
use crate::block::Weight;
use crate::kernel::matmul::Output;
use crate::kernel::threads::{for_each, piece};
#[cfg(target_arch = "x86_64")]
use std::ops::Range;

/// Numbers of the weight in one piece of work, about.
const PIECE: usize = 1 << 15;
/// Rows of the weight that are read side by side.
pub(super) const SIDE: usize = 4;
/// How far behind the lines that are read the bytes lie that are asked for.
#[cfg(target_arch = "x86_64")]
pub(super) const AHEAD: usize = 2048;
/// Bytes of the largest group that may stand cut at the end of a line.
#[cfg(target_arch = "x86_64")]
pub(super) const LARGEST_GROUP: usize = 4 * 34;

leveled! {
    /// The product of the only line of `line` with `x`.
    pub(super) fn product(line: &Lines, x: ActivationRow<'_>, step: usize) -> f32 {
        let mut sums = [0.0_f32; TURNS];
        let groups = line.codes.chunks_exact(TURNS * step).zip(x.codes.chunks_exact(TURNS * step));
        for (group, (codes, values)) in groups.enumerate() {
            for (turn, sum) in sums.iter_mut().enumerate() {
                let index = group * TURNS + turn;
                let mut whole = x.starts[index];
                for run in (turn * RUN..TURNS * step).step_by(TURNS * RUN) {
                    let (codes, values) = (&codes[run..run + RUN], &values[run..run + RUN]);
                    for lane in 0..RUN {
                        whole += i32::from(codes[lane]) * i32::from(values[lane]);
                    }
                }
                *sum += whole as f32 * (line.scales[index] * x.scales[index]);
                *sum += line.minima[index] * x.sums[index];
            }
        }
        (sums[0] + sums[1]) + (sums[2] + sums[3])
    }
}

/// `out = x weight^T`, or `+=`.
pub(super) fn multiply(out: Output, x: &Activations, weight: &Weight<'_>) {
    let step = (PIECE / weight.columns.max(1)).next_multiple_of(SIDE).max(SIDE);
    for_each(weight.rows.div_ceil(step), weight.rows * weight.columns * 4, |index| {
        let mine = piece(index, step, weight.rows);
        #[cfg(target_arch = "x86_64")]
        if reads_stored(weight) {
            // Lines that were read for the first rows are near for the others.
            for first in (0..x.rows()).step_by(FEW) {
                let rows = first..(first + FEW).min(x.rows());
                let Some(run) = stored(weight, rows.len()) else { return };
                #[expect(unsafe_code, reason = "a function for an instruction set can only be called so")]
                // SAFETY: the processor has the features, and the columns `mine` belong to this piece.
                unsafe {
                    run(out, (x, rows), weight, mine.clone());
                }
            }
            return;
        }
        let coding = x.coding();
        let mut one = Lines::default();
        one.prepare(x, 1);
        for line in mine {
            one.read(0, weight, line, coding);
            for number in 0..x.rows() {
                let sum = product(&one, x.row(number), coding.step);
                #[expect(unsafe_code, reason = "pieces write columns of one row, which are not one slice")]
                // SAFETY: each column belongs to one piece, and the output is borrowed throughout.
                unsafe {
                    out.write(number * weight.rows + line, &[sum]);
                }
            }
        }
    });
}

/// The part of some lines' product for an instruction set: rows of the activations, lines of the weight.
#[cfg(target_arch = "x86_64")]
pub(super) type Few = unsafe fn(Output, (&Activations, Range<usize>), &Weight<'_>, Range<usize>);

/// The function `few` of an instruction set that has `available`, `Stored` and `few_rows`: names of types and how each is stored,
/// then for numbers of rows how many of them `few_rows` takes.
#[cfg(target_arch = "x86_64")]
macro_rules! few_of {
    ($($name:literal: $stored:ty),+; $($rows:pat => $taken:literal),+) => {
        /// The function for lines of `weight` and `rows` rows; none when the processor or the type is none for it.
        pub(super) fn few(weight: &Weight<'_>, rows: usize) -> Option<Few> {
            fn of_rows<S: Stored>(rows: usize) -> Few {
                match rows {
                    $($rows => few_rows::<S, $taken>,)+
                }
            }
            const { assert!(FEW == 8) };
            if !available() {
                return None;
            }
            Some(match weight.block.name() {
                $($name => of_rows::<$stored>(rows),)+
                _ => return None,
            })
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use few_of;

/// The best one here for lines of `weight` and `rows` rows.
#[cfg(target_arch = "x86_64")]
fn stored(weight: &Weight<'_>, rows: usize) -> Option<Few> {
    vnni::few(weight, rows).or_else(|| avx2::few(weight, rows))
}

/// Whether special instructions read this weight where it lies.
#[cfg(target_arch = "x86_64")]
pub(super) fn reads_stored(weight: &Weight<'_>) -> bool {
    stored(weight, 1).is_some()
}

/// Asks for part `group`, of `length` bytes, of the lines that follow. Lines are too short for the processor to see by itself
/// where it goes.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn fetch(next: *const u8, length: usize, group: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in (0..length).step_by(64) {
        #[expect(unsafe_code, reason = "an instruction that every processor of this kind has")]
        // SAFETY: asking for bytes that are not there does nothing.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(group * length + line).cast());
        }
    }
}

/// Where group `whole` of `lines` can be read, of which they have a part: at addresses, and its number from there. A group has
/// `bytes` bytes. Behind the end of a line lies the next, but for the last ones: `spare` takes their parts. `end` is the line
/// behind the last.
#[cfg(target_arch = "x86_64")]
pub(super) fn last_group<const N: usize>(
    lines: [&[u8]; N],
    weight: &Weight<'_>,
    end: usize,
    (bytes, whole): (usize, usize),
    spare: &mut [[u8; LARGEST_GROUP]; N],
) -> ([*const u8; N], usize) {
    if end * lines[0].len() + bytes <= weight.bytes.len() {
        return (lines.map(<[u8]>::as_ptr), whole);
    }
    for (spare, line) in spare.iter_mut().zip(lines) {
        let rest = &line[whole * bytes..];
        spare[..rest.len()].copy_from_slice(rest);
    }
    (spare.each_ref().map(|spare| spare.as_ptr()), 0)
}

/// Scales and minima, of 6 bits, of the first or the second four steps of a block of `Q4_K` or `Q5_K`.
///
/// # Safety
/// The block can be read.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
pub(super) unsafe fn scales_of_q4_k(block: *const u8, half: usize) -> (u32, u32) {
    // SAFETY: the caller says so.
    let [a, b, c] = unsafe { block.add(4).cast::<[u32; 3]>().read_unaligned() };
    if half == 0 {
        (a & 0x3f3f_3f3f, b & 0x3f3f_3f3f)
    } else {
        let low = 0x0f0f_0f0f;
        ((c & low) | ((a >> 2) & 0x3030_3030), ((c >> 4) & low) | ((b >> 2) & 0x3030_3030))
    }
}
