//! A few rows: the weight is read once, where it lies.

use super::activations::{ActivationRow, Activations};
use super::{Lines, RUN, TURNS};
use crate::block::Weight;
use crate::kernel::matmul::Output;
use crate::kernel::threads::{for_each, piece};

/// Numbers of the weight in one piece of work, about.
const PIECE: usize = 1 << 15;
/// Rows of the weight that are read side by side.
pub(super) const SIDE: usize = 4;

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
pub(super) fn multiply(out: Output, x: &Activations, weight: &Weight<'_>, add: bool) {
    let step = (PIECE / weight.columns.max(1)).next_multiple_of(SIDE).max(SIDE);
    for_each(weight.rows.div_ceil(step), weight.rows * weight.columns * 4, |index| {
        let mine = piece(index, step, weight.rows);
        #[cfg(target_arch = "x86_64")]
        if super::vnni::few(out, x, weight, mine.clone(), add) {
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
                    out.merge(number * weight.rows + line, &[sum], add);
                }
            }
        }
    });
}
