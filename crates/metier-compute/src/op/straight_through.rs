use metier_core::Result;

use super::mismatch;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct StraightThrough {
    soft: Var,
}

/// `y = hard`, as if it had been `soft`; both of one shape.
///
/// Backward: `dsoft = dy`, and `hard` gets none, so that a rounded or sampled value trains what it was made from.
/// Source: Bengio et al., arXiv 1308.3432. Refused for shapes that differ.
pub fn straight_through(tape: &mut Tape<'_>, hard: Var, soft: Var) -> Result<Var> {
    let value = tape.value(hard)?.clone();
    if value.shape() != tape.shape(soft)? {
        let shapes = (("hard", value.shape()), ("soft", tape.shape(soft)?));
        return Err(mismatch("straight_through", shapes.0, shapes.1, "the shapes must be equal"));
    }
    tape.push("straight_through", value, &[soft], || StraightThrough { soft })
}

impl Record<'_> for StraightThrough {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        pass.accumulate(self.soft, gradient)
    }
}
