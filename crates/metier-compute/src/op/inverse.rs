use metier_core::Result;

use super::refuse;
use crate::kernel::axis::by_blocks;
use crate::kernel::matmul::{Matrix, multiply_here};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

const OP: &str = "inverse";

struct Inverse {
    x: Var,
    y: Tensor,
    size: usize,
}

/// `y = x⁻¹` of each square matrix of a batch, `[.., N, N]`.
///
/// By elimination with the largest pivot of each column, in `f64`, each matrix on one thread. Backward: `dx = -yᵀ dy yᵀ`. Refused for
/// matrices that are not square, and for one without an inverse, with its number.
pub fn inverse(tape: &mut Tape<'_>, x: Var) -> Result<Var> {
    let value = tape.value(x)?;
    let size = match *value.shape() {
        [.., rows, columns] if rows == columns => rows,
        _ => return Err(refuse(OP, format!("x {:?} is not made of square matrices", value.shape()))),
    };
    let mut out = Tensor::stale(value.shape())?;
    let steps = value.len() * size;
    by_blocks(out.data_mut(), size * size, steps, |number, out| {
        invert(out, &value.data()[number * size * size..][..out.len()], size);
    });
    let broken =
        out.data().chunks(size.max(1) * size.max(1)).position(|matrix| matrix.iter().any(|value| !value.is_finite()));
    if let Some(number) = broken {
        return Err(refuse(OP, format!("matrix {number} of x {:?} has no inverse", value.shape())));
    }
    let y = out.clone();
    tape.push(OP, out, &[x], || Inverse { x, y, size })
}

/// Writes the inverse of a matrix, or numbers that are not finite where there is none.
fn invert(out: &mut [f32], x: &[f32], size: usize) {
    // Each row of the matrix and of the identity side by side.
    let width = 2 * size;
    let mut rows = vec![0.0_f64; size * width];
    for (row, (full, x)) in rows.chunks_exact_mut(width.max(1)).zip(x.chunks_exact(size.max(1))).enumerate() {
        full.iter_mut().zip(x).for_each(|(full, x)| *full = f64::from(*x));
        full[size + row] = 1.0;
    }
    for column in 0..size {
        let largest = |row: &usize| rows[row * width + column].abs();
        let pivot = (column..size).max_by(|a, b| largest(a).total_cmp(&largest(b))).unwrap_or(column);
        for at in 0..width {
            rows.swap(column * width + at, pivot * width + at);
        }
        let factor = 1.0 / rows[column * width + column];
        let line: Vec<f64> = rows[column * width..][..width].iter().map(|value| value * factor).collect();
        for (row, full) in rows.chunks_exact_mut(width).enumerate() {
            if row == column {
                full.copy_from_slice(&line);
            } else {
                let factor = full[column];
                full.iter_mut().zip(&line).for_each(|(full, line)| *full -= factor * line);
            }
        }
    }
    for (out, full) in out.chunks_exact_mut(size.max(1)).zip(rows.chunks_exact(width.max(1))) {
        out.iter_mut().zip(&full[size..]).for_each(|(out, full)| *out = *full as f32);
    }
}

impl Record<'_> for Inverse {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let (size, count) = (self.size, self.size * self.size);
        let mut out = Tensor::stale(gradient.shape())?;
        by_blocks(out.data_mut(), count, gradient.len() * size, |number, out| {
            let y = Matrix::new(&self.y.data()[number * count..][..out.len()], size, size).transposed();
            let dy = Matrix::new(&gradient.data()[number * count..][..out.len()], size, size);
            let mut inner = vec![0.0; out.len()];
            multiply_here(&mut inner, size, y, dy, -1.0, false);
            multiply_here(out, size, Matrix::new(&inner, size, size), y, 1.0, false);
        });
        pass.accumulate(self.x, out)
    }
}
