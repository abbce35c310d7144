use metier_core::Result;

use super::{along, mismatch, refuse};
use crate::kernel::axis::{Axis, by_blocks};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{List, Sizes, Tensor};

struct Gather {
    x: Var,
    axis: Axis,
    indices: List<u32>,
}

struct ScatterAdd {
    x: Var,
    source: Var,
    axis: Axis,
    indices: List<u32>,
    shape: Sizes,
}

/// `y[.., j, ..] = x[.., indices[.., j, ..], ..]` along `axis`: every element of the output has its own index.
///
/// The output has the shape of `x` but for `axis`, where it has `count` elements; `indices` has one for each of its
/// elements, the last dimension fastest. Backward: the element of `dx` that was read gets `dy` added. Refused for an
/// axis that `x` does not have, another number of indices, and an index of the axis's size or more.
pub fn gather(tape: &mut Tape<'_>, x: Var, axis: usize, indices: &[u32], count: usize) -> Result<Var> {
    let shape = tape.shape(x)?;
    let extents = along("gather", shape, axis)?;
    let mut wanted = Sizes::from_slice(shape);
    wanted[axis] = count;
    check("gather", shape, axis, indices, &wanted)?;
    gathered(tape, "gather", x, extents, indices.into(), &wanted)
}

/// [`gather`], checked already, under any name.
pub(super) fn gathered(
    tape: &mut Tape<'_>,
    op: &'static str,
    x: Var,
    axis: Axis,
    indices: List<u32>,
    shape: &[usize],
) -> Result<Var> {
    let mut out = Tensor::stale(shape)?;
    read(out.data_mut(), tape.value(x)?.data(), axis, &indices);
    tape.push(op, out, &[x], || Gather { x, axis, indices })
}

/// `y = x`, with `source[.., j, ..]` added to `y[.., indices[.., j, ..], ..]` along `axis`, in the order of `j`.
///
/// `source` has the shape of `x` but for `axis`, where it may have any size; `indices` has one for each of its
/// elements. Backward: `dx = dy`, and `dsource` is the element of `dy` that it was added to. Refused for an axis that
/// `x` does not have, another shape of `source`, another number of indices, and an index of the axis's size or more.
pub fn scatter_add(tape: &mut Tape<'_>, x: Var, axis: usize, indices: &[u32], source: Var) -> Result<Var> {
    const OP: &str = "scatter_add";
    let (value, added) = (tape.value(x)?, tape.value(source)?);
    let shape = Sizes::from_slice(added.shape());
    let extents = along(OP, value.shape(), axis)?;
    let mut wanted = Sizes::from_slice(value.shape());
    wanted[axis] = shape.get(axis).copied().unwrap_or(0);
    if shape != wanted {
        let rule = format!("the shapes must be equal but for axis {axis}");
        return Err(mismatch(OP, ("x", value.shape()), ("source", &shape), &rule));
    }
    check(OP, value.shape(), axis, indices, &shape)?;
    let mut out = value.clone();
    add_back(out.data_mut(), added.data(), extents, indices);
    tape.push(OP, out, &[x, source], || ScatterAdd { x, source, axis: extents, indices: indices.into(), shape })
}

fn check(op: &'static str, x: &[usize], axis: usize, indices: &[u32], wanted: &[usize]) -> Result<()> {
    // Counted without overflow: a shape that cannot be counted has no list of indices as long.
    let length = wanted.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    if length != Some(indices.len()) {
        return Err(refuse(
            op,
            format!("{} indices do not fill {wanted:?}, along axis {axis} of {x:?}", indices.len()),
        ));
    }
    match indices.iter().position(|&index| index as usize >= x[axis]) {
        Some(at) => {
            let index = indices[at];
            Err(refuse(op, format!("index {index} at position {at} is outside axis {axis} of {x:?}")))
        }
        None => Ok(()),
    }
}

fn read(out: &mut [f32], values: &[f32], Axis { outer, size, inner }: Axis, indices: &[u32]) {
    let (steps, length) = (out.len(), out.len() / outer.max(1));
    by_blocks(out, length, steps, |outer, out| {
        let values = &values[outer * size * inner..(outer + 1) * size * inner];
        let rows = out.chunks_exact_mut(inner).zip(indices[outer * length..].chunks_exact(inner));
        for (out, indices) in rows {
            for (column, (out, &index)) in out.iter_mut().zip(indices).enumerate() {
                *out = values[index as usize * inner + column];
            }
        }
    });
}

fn add_back(out: &mut [f32], values: &[f32], Axis { outer, size, inner }: Axis, indices: &[u32]) {
    let length = values.len() / outer.max(1);
    by_blocks(out, size * inner, values.len(), |outer, out| {
        let own = outer * length..(outer + 1) * length;
        let rows = values[own.clone()].chunks_exact(inner).zip(indices[own].chunks_exact(inner));
        for (values, indices) in rows {
            for (column, (value, &index)) in values.iter().zip(indices).enumerate() {
                out[index as usize * inner + column] += value;
            }
        }
    });
}

impl Record<'_> for Gather {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        pass.accumulate_with(self.x, |out, add| {
            if !add {
                out.fill(0.0);
            }
            add_back(out, gradient.data(), self.axis, &self.indices);
            Ok(())
        })
    }
}

impl Record<'_> for ScatterAdd {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        if pass.needs(self.source) {
            let mut out = Tensor::stale(&self.shape)?;
            read(out.data_mut(), gradient.data(), self.axis, &self.indices);
            pass.accumulate(self.source, out)?;
        }
        pass.accumulate(self.x, gradient)
    }
}
