use metier_core::Result;

use super::{along, mismatch, refuse};
use crate::block;
use crate::kernel::axis::{Axis, by_blocks};
use crate::kernel::elementwise;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{List, Sizes, Tensor};

struct IndexSelect {
    x: Var,
    axis: Axis,
    indices: List<u32>,
}

struct IndexAdd {
    x: Var,
    source: Var,
    axis: Axis,
    indices: List<u32>,
    shape: Sizes,
}

/// `y[.., j, ..] = x[.., indices[j], ..]` along `axis`: its elements at `indices`, in that order.
///
/// An index may come several times. Backward: `dx[.., indices[j], ..]` gets `dy[.., j, ..]` added, in the order of
/// `j`. Refused for an axis that `x` does not have and for an index of its size or more.
pub fn index_select(tape: &mut Tape<'_>, x: Var, axis: usize, indices: &[u32]) -> Result<Var> {
    selected(tape, "index_select", x, axis, indices)
}

/// [`index_select`] under another name in errors.
pub(super) fn selected(tape: &mut Tape<'_>, op: &'static str, x: Var, axis: usize, indices: &[u32]) -> Result<Var> {
    let value = tape.value(x)?;
    let mut shape = Sizes::from_slice(value.shape());
    let extents = along(op, &shape, axis)?;
    check(op, &shape, axis, indices)?;
    shape[axis] = indices.len();
    let mut out = Tensor::stale(&shape)?;
    select(out.data_mut(), value.data(), extents, indices);
    tape.push(op, out, &[x], || IndexSelect { x, axis: extents, indices: indices.into() })
}

/// Rows of a matrix in blocks that has no gradient; `None` for any other.
pub(super) fn rows_of_blocks(tape: &Tape<'_>, op: &'static str, table: Var, indices: &[u32]) -> Result<Option<Tensor>> {
    if tape.needs_gradient(table) {
        return Ok(None);
    }
    let table = tape.value(table)?;
    let Some(weight) = table.weight() else { return Ok(None) };
    check(op, table.shape(), 0, indices)?;
    let mut out = Tensor::stale(&[indices.len(), weight.columns])?;
    for (row, &index) in out.data_mut().chunks_exact_mut(weight.columns).zip(indices) {
        block::decode(weight.block, weight.row(index as usize), row);
    }
    Ok(Some(out))
}

/// `y = x`, with `source[.., j, ..]` added to `y[.., indices[j], ..]` along `axis`, in the order of `j`.
///
/// `source` has the shape of `x` but for `axis`, where it has as many elements as there are `indices`; an index may
/// come several times. Backward: `dx = dy`, `dsource[.., j, ..] = dy[.., indices[j], ..]`. Refused for an axis that
/// `x` does not have, another shape of `source`, and an index of the axis's size or more.
pub fn index_add(tape: &mut Tape<'_>, x: Var, axis: usize, indices: &[u32], source: Var) -> Result<Var> {
    const OP: &str = "index_add";
    let (value, added) = (tape.value(x)?, tape.value(source)?);
    let mut shape = Sizes::from_slice(value.shape());
    let extents = along(OP, &shape, axis)?;
    check(OP, &shape, axis, indices)?;
    shape[axis] = indices.len();
    if *added.shape() != shape[..] {
        let rule = format!("{} indices along axis {axis} need the source {shape:?}", indices.len());
        return Err(mismatch(OP, ("x", value.shape()), ("source", added.shape()), &rule));
    }
    let mut out = value.clone();
    add_back(out.data_mut(), added.data(), extents, indices);
    tape.push(OP, out, &[x, source], || IndexAdd { x, source, axis: extents, indices: indices.into(), shape })
}

fn check(op: &'static str, x: &[usize], axis: usize, indices: &[u32]) -> Result<()> {
    let size = x[axis];
    match indices.iter().position(|&index| index as usize >= size) {
        Some(at) => {
            let index = indices[at];
            Err(refuse(op, format!("index {index} at position {at} is outside axis {axis} of {x:?}")))
        }
        None => Ok(()),
    }
}

fn select(out: &mut [f32], values: &[f32], Axis { size, inner, .. }: Axis, indices: &[u32]) {
    let (count, steps) = (indices.len(), out.len());
    if inner == 1 {
        return by_blocks(out, count, steps, |outer, out| {
            let values = &values[outer * size..(outer + 1) * size];
            out.iter_mut().zip(indices).for_each(|(out, &index)| *out = values[index as usize]);
        });
    }
    by_blocks(out, inner, steps, |row, out| {
        let from = row / count * size + indices[row % count] as usize;
        out.copy_from_slice(&values[from * inner..(from + 1) * inner]);
    });
}

fn add_back(out: &mut [f32], values: &[f32], Axis { size, inner, .. }: Axis, indices: &[u32]) {
    by_blocks(out, inner * size, values.len(), |outer, out| {
        let length = inner * indices.len();
        let values = &values[outer * length..(outer + 1) * length];
        if inner == 1 {
            values.iter().zip(indices).for_each(|(value, &index)| out[index as usize] += value);
            return;
        }
        for (value, &index) in values.chunks_exact(inner).zip(indices) {
            elementwise::add_scaled(&mut out[index as usize * inner..][..inner], value, 1.0);
        }
    });
}

impl Record<'_> for IndexSelect {
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

impl Record<'_> for IndexAdd {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        if pass.needs(self.source) {
            let mut out = Tensor::stale(&self.shape)?;
            select(out.data_mut(), gradient.data(), self.axis, &self.indices);
            pass.accumulate(self.source, out)?;
        }
        pass.accumulate(self.x, gradient)
    }
}
