use metier_core::Result;

use super::broadcast;
use crate::kernel::binary::{self, Binary};
use crate::kernel::walk::apply;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{Sizes, Tensor};

struct Pair {
    operands: [Var; 2],
    shapes: [Sizes; 2],
    /// Kept only where the gradients need them.
    values: Option<[Tensor; 2]>,
    kind: Binary,
}

/// `y = a + b`; the shapes stretch to fit each other as in NumPy, and are refused where they do not.
///
/// Backward: `da = dy`, `db = dy`, each summed over what it was stretched to.
pub fn add(tape: &mut Tape<'_>, a: Var, b: Var) -> Result<Var> {
    forward(tape, "add", [a, b], Binary::Add)
}

/// `y = a - b`, shapes as [`add`].
///
/// Backward: `da = dy`, `db = -dy`, each summed over what it was stretched to.
pub fn subtract(tape: &mut Tape<'_>, a: Var, b: Var) -> Result<Var> {
    forward(tape, "subtract", [a, b], Binary::Subtract)
}

/// `y = a b` element by element, shapes as [`add`].
///
/// Backward: `da = b dy`, `db = a dy`, each summed over what it was stretched to.
pub fn multiply(tape: &mut Tape<'_>, a: Var, b: Var) -> Result<Var> {
    forward(tape, "multiply", [a, b], Binary::Multiply)
}

/// `y = a / b` element by element, shapes as [`add`].
///
/// Backward: `da = dy / b`, `db = -dy a / b^2`, each summed over what it was stretched to.
pub fn divide(tape: &mut Tape<'_>, a: Var, b: Var) -> Result<Var> {
    forward(tape, "divide", [a, b], Binary::Divide)
}

/// `y = max(a, b)` element by element, shapes as [`add`]; NaN when either is.
///
/// Backward: `dy` goes to the greater, half to each where they are equal, summed over what it was stretched to.
pub fn maximum(tape: &mut Tape<'_>, a: Var, b: Var) -> Result<Var> {
    forward(tape, "maximum", [a, b], Binary::Maximum)
}

/// `y = min(a, b)` element by element, shapes as [`add`]; NaN when either is.
///
/// Backward: `dy` goes to the smaller, half to each where they are equal, summed over what it was stretched to.
pub fn minimum(tape: &mut Tape<'_>, a: Var, b: Var) -> Result<Var> {
    forward(tape, "minimum", [a, b], Binary::Minimum)
}

fn forward(tape: &mut Tape<'_>, op: &'static str, operands: [Var; 2], kind: Binary) -> Result<Var> {
    let [a, b] = [tape.value(operands[0])?.clone(), tape.value(operands[1])?.clone()];
    let shape = broadcast::stretched(op, ("a", a.shape()), ("b", b.shape()))?;
    let mut out = Tensor::stale(&shape)?;
    let walk = broadcast::walk([&a, &b], &shape);
    apply(out.data_mut(), &walk, [a.data(), b.data()], |out, operands| binary::values(out, operands, kind));
    tape.push(op, out, &operands, || {
        let shapes = [&a, &b].map(|x| Sizes::from_slice(x.shape()));
        let values = (!matches!(kind, Binary::Add | Binary::Subtract)).then_some([a, b]);
        Pair { operands, shapes, values, kind }
    })
}

impl Record<'_> for Pair {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let full = gradient.shape();
        let [a, b] = self.values.as_ref().map_or([&gradient; 2], |[a, b]| [a, b]);
        let walk = broadcast::walk([a, b, &gradient], full);
        let write = |out: &mut [f32], first: bool, add: bool| {
            apply(out, &walk, [a.data(), b.data(), gradient.data()], |out, operands| {
                binary::gradients(out, operands, self.kind, first, add);
            });
        };
        for (index, (&operand, shape)) in self.operands.iter().zip(&self.shapes).enumerate() {
            let first = index == 0;
            if !pass.needs(operand) {
            } else if matches!((self.kind, first), (Binary::Add, _) | (Binary::Subtract, true)) {
                pass.accumulate(operand, broadcast::reduced(gradient.clone(), shape)?)?;
            } else if shape.as_slice() == full {
                pass.accumulate_with(operand, |out, add| {
                    write(out, first, add);
                    Ok(())
                })?;
            } else {
                let mut stretched = Tensor::stale(full)?;
                write(stretched.data_mut(), first, false);
                pass.accumulate(operand, broadcast::reduced(stretched, shape)?)?;
            }
        }
        Ok(())
    }
}
