use metier_core::Result;
use metier_core::seed::Seed;

use super::refuse;
use crate::kernel::threads::chunks;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

/// Elements that draw from one stream of the seed.
const BLOCK: usize = 1 << 12;

#[derive(Clone, Copy)]
struct Mask {
    rate: f32,
    seed: Seed,
}

struct Dropout {
    x: Var,
    mask: Mask,
}

/// `y = x m / (1 - rate)`, any shape, where each element of `m` is 0 with probability `rate` and else 1.
///
/// `m` depends on the seed and the place of the element alone, so a pass that is run again, as under a checkpoint,
/// drops the same elements; each use wants a seed of its own (`Seed::derive`). Elements are dropped on every tape:
/// who only reads a model leaves the operation out. Backward: `dx = dy m / (1 - rate)`; `m` is drawn again.
/// Source: Srivastava et al., JMLR 15 (2014). Refused for a rate outside `0 <= rate < 1`.
pub fn dropout(tape: &mut Tape<'_>, x: Var, rate: f32, seed: &Seed) -> Result<Var> {
    let mut out = tape.value(x)?.clone();
    if !(0.0..1.0).contains(&rate) {
        return Err(refuse("dropout", format!("the rate {rate} for x {:?} is not in 0.0..1.0", out.shape())));
    }
    let mask = Mask { rate, seed: *seed };
    mask.apply(out.data_mut());
    tape.push("dropout", out, &[x], || Dropout { x, mask })
}

impl Mask {
    fn apply(self, values: &mut [f32]) {
        /// What 32 random bits are below.
        const ALL: f64 = (1_u64 << 32) as f64;
        let below = (f64::from(self.rate) * ALL) as u64;
        let factor = 1.0 / (1.0 - self.rate);
        let total = values.len();
        chunks(values, BLOCK, total * 4, |block, values| {
            let mut stream = self.seed.at(block as u64);
            for pair in values.chunks_mut(2) {
                let mut bits = stream.bits();
                for value in pair {
                    *value = if bits & 0xffff_ffff < below { 0.0 } else { *value * factor };
                    bits >>= 32;
                }
            }
        });
    }
}

impl Record<'_> for Dropout {
    fn backward(self, mut gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        self.mask.apply(gradient.data_mut());
        pass.accumulate(self.x, gradient)
    }
}
