use metier_core::Result;

use super::gather::gathered;
use super::{along, refuse};
use crate::kernel::axis::by_blocks;
use crate::tape::{Tape, Var};

/// The elements of the last dimension in rising order, or in falling order where `falling`, and their indices.
///
/// Equal elements keep their order; NaN counts as the largest. Backward: `dy` goes back to where each element came
/// from. Refused for a scalar and for a last dimension that `u32` cannot count.
pub fn sort(tape: &mut Tape<'_>, x: Var, falling: bool) -> Result<(Var, Vec<u32>)> {
    let count = last("sort", tape.shape(x)?)?;
    ordered(tape, "sort", x, count, falling)
}

/// The `k` largest elements of the last dimension, the largest first, and their indices.
///
/// Of equal elements the first comes first; NaN counts as the largest. The output is `[.., k]`. Backward: `dy` goes
/// back to where each element came from. Refused for a scalar and for a `k` above the last dimension.
pub fn top_k(tape: &mut Tape<'_>, x: Var, k: usize) -> Result<(Var, Vec<u32>)> {
    let shape = tape.shape(x)?;
    if k > last("top_k", shape)? {
        return Err(refuse("top_k", format!("x {shape:?} has no {k} elements in its last dimension")));
    }
    ordered(tape, "top_k", x, k, true)
}

fn last(op: &'static str, shape: &[usize]) -> Result<usize> {
    match shape.last() {
        Some(&size) if u32::try_from(size).is_ok() => Ok(size),
        Some(_) => Err(refuse(op, format!("the last dimension of x {shape:?} is too long"))),
        None => Err(refuse(op, "x has the shape [] and no last dimension to go over")),
    }
}

fn ordered(tape: &mut Tape<'_>, op: &'static str, x: Var, k: usize, falling: bool) -> Result<(Var, Vec<u32>)> {
    let value = tape.value(x)?;
    let mut shape = value.shape().to_vec();
    let axis = along(op, &shape, shape.len() - 1)?;
    if let Some(last) = shape.last_mut() {
        *last = k;
    }
    let (values, size) = (value.data(), axis.size);
    let mut indices = vec![0_u32; axis.outer * k];
    by_blocks(&mut indices, k, values.len() * 16, |row, out| {
        let values = &values[row * size..(row + 1) * size];
        // The rank above, the index below: no two are equal, and of equal elements the first comes first.
        let ranked = values.iter().zip(0_u64..).map(|(value, index)| {
            let rank = rank(*value);
            u64::from(if falling { !rank } else { rank }) << 32 | index
        });
        let mut ranked: Vec<u64> = ranked.collect();
        if k < size {
            ranked.select_nth_unstable(k);
            ranked.truncate(k);
        }
        ranked.sort_unstable();
        for (out, ranked) in out.iter_mut().zip(ranked) {
            *out = ranked as u32;
        }
    });
    let y = gathered(tape, op, x, axis, indices.as_slice().into(), &shape)?;
    Ok((y, indices))
}

/// A number that rises with `x`, equal for both zeros, and the largest for NaN.
fn rank(x: f32) -> u32 {
    const SIGN: u32 = 1 << 31;
    let bits = (x + 0.0).to_bits();
    match (x.is_nan(), bits & SIGN) {
        (true, _) => u32::MAX,
        (false, 0) => bits | SIGN,
        (false, _) => !bits,
    }
}
