//! The matrix of a given rank that is nearest to a product of two thin ones.

use super::Matrix;

/// Below this share of the largest length a column is what rounding left of nothing.
const NOTHING: f64 = 1e-13;
/// Passes over all pairs of columns; some six to ten are enough.
const PASSES: usize = 60;

/// `(a, b)` with `b a` the matrix of at most `rank` that is nearest to `B A`; `A` is `[R, inputs]`, `B` `[outputs, R]`. Rows of `a` have
/// length 1 and lengths of the columns of `b` are the singular values, in order; where there are fewer, zeros follow.
///
/// `B = Q X` and `Aᵀ = P Y` with orthonormal `Q` and `P` leave the singular values to `X Yᵀ`, a matrix of `R` by `R`.
pub(super) fn nearest(a: &Matrix, b: &Matrix, rank: usize) -> (Matrix, Matrix) {
    let turned = |matrix: &Matrix| -> Vec<Vec<f64>> {
        let column =
            |column: usize| (0..matrix.rows).map(move |row| f64::from(matrix.values[row * matrix.columns + column]));
        (0..matrix.columns).map(|at| column(at).collect()).collect()
    };
    let rows_of_a = a.values.chunks_exact(a.columns.max(1)).map(|row| row.iter().copied().map(f64::from).collect());
    let (q, x) = orthonormal(&turned(b));
    let (p, y) = orthonormal(&rows_of_a.collect::<Vec<_>>());
    // Columns of X Yᵀ: one for each of `p`.
    let mut core: Vec<Vec<f64>> = (0..p.len())
        .map(|column| (0..q.len()).map(|row| x.iter().zip(&y).map(|(x, y)| x[row] * y[column]).sum()).collect())
        .collect();
    let right = rotate(&mut core);
    let mut order: Vec<(f64, usize)> = core.iter().map(|column| length(column)).zip(0..).collect();
    order.sort_by(|one, other| other.0.total_cmp(&one.0));
    let (inputs, outputs) = (a.columns, b.rows);
    let (mut near_a, mut near_b) = (vec![0.0; rank * inputs], vec![0.0; outputs * rank]);
    for (at, (_, column)) in order.into_iter().take(rank).enumerate() {
        for (factor, direction) in right[column].iter().zip(&p) {
            for (value, part) in near_a[at * inputs..][..inputs].iter_mut().zip(direction) {
                *value += factor * part;
            }
        }
        for (factor, direction) in core[column].iter().zip(&q) {
            for (row, part) in direction.iter().enumerate() {
                near_b[row * rank + at] += factor * part;
            }
        }
    }
    let single = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    (
        Matrix { rows: rank, columns: inputs, values: single(near_a) },
        Matrix { rows: outputs, columns: rank, values: single(near_b) },
    )
}

/// Orthonormal vectors `q` and, for each of `vectors`, its share of each: `vector = sum share q`.
fn orthonormal(vectors: &[Vec<f64>]) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let most = vectors.iter().map(|vector| length(vector)).fold(0.0, f64::max);
    let mut basis: Vec<Vec<f64>> = Vec::new();
    let mut shares = Vec::new();
    for vector in vectors {
        let mut rest = vector.clone();
        let mut share = vec![0.0; basis.len()];
        // Twice, since the first time leaves rounding of the size of what it took away.
        for _ in 0..2 {
            for (share, direction) in share.iter_mut().zip(&basis) {
                let along = dot(&rest, direction);
                *share += along;
                rest.iter_mut().zip(direction).for_each(|(rest, part)| *rest -= along * part);
            }
        }
        let left = length(&rest);
        if left > NOTHING * most {
            share.push(left);
            basis.push(rest.into_iter().map(|value| value / left).collect());
        }
        shares.push(share);
    }
    for share in &mut shares {
        share.resize(basis.len(), 0.0);
    }
    (basis, shares)
}

/// Turns pairs of columns until all are at right angles (Hestenes, 1958); gives the turns: the matrix before is the one after times
/// the transposed of its columns.
fn rotate(columns: &mut [Vec<f64>]) -> Vec<Vec<f64>> {
    let count = columns.len();
    let mut turns: Vec<Vec<f64>> =
        (0..count).map(|at| (0..count).map(|row| if row == at { 1.0 } else { 0.0 }).collect()).collect();
    for _ in 0..PASSES {
        let mut is_done = true;
        for one in 0..count {
            for other in one + 1..count {
                let (a, b) = (dot(&columns[one], &columns[one]), dot(&columns[other], &columns[other]));
                let c = dot(&columns[one], &columns[other]);
                if c.abs() <= 1e-15 * (a * b).sqrt() || c == 0.0 {
                    continue;
                }
                is_done = false;
                let zeta = (b - a) / (2.0 * c);
                let tangent = 1.0_f64.copysign(zeta) / (zeta.abs() + zeta.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                for matrix in [&mut *columns, &mut turns] {
                    let (head, tail) = matrix.split_at_mut(other);
                    for (left, right) in head[one].iter_mut().zip(&mut tail[0]) {
                        let (before, after) = (*left, *right);
                        *left = cosine * (before - tangent * after);
                        *right = cosine * (tangent * before + after);
                    }
                }
            }
        }
        if is_done {
            break;
        }
    }
    turns
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn length(vector: &[f64]) -> f64 {
    dot(vector, vector).sqrt()
}
