use metier_core::{Fault, Place, Result};
use rayon::prelude::*;

/// Faulty rows that are named.
const NAMED: usize = 8;
/// Numbers that are multiplied side by side.
const LANES: usize = 16;

/// Rows of numbers, each of length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    values: Vec<f32>,
    dimension: usize,
}

impl Features {
    /// Takes rows of `dimension` numbers, one behind the other, and divides each by its length. Rows with a number that is none and rows of length 0
    /// are a fault that names the first of them.
    pub fn new(mut values: Vec<f32>, dimension: usize) -> Result<Self> {
        if dimension == 0 || !values.len().is_multiple_of(dimension) {
            let message = format!("{} numbers are no rows of {dimension}", values.len());
            return Err(Fault::new(Place::key("features"), message).into());
        }
        let (mut no_number, mut no_length) = (Vec::new(), Vec::new());
        for (number, row) in values.chunks_exact_mut(dimension).enumerate() {
            let length = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            if !length.is_finite() {
                no_number.push(number);
            } else if length == 0.0 {
                no_length.push(number);
            } else {
                for value in row {
                    *value = (f64::from(*value) / length) as f32;
                }
            }
        }
        let faults = [(no_number, "have a number that is not finite"), (no_length, "have the length 0")];
        for (rows, message) in faults {
            if !rows.is_empty() {
                let first: Vec<_> = rows.iter().take(NAMED).map(usize::to_string).collect();
                return Err(Fault::new(
                    Place::key("features"),
                    format!("{} rows {message}, first {}", rows.len(), first.join(", ")),
                )
                .hint("such rows are similar to nothing: leave them out")
                .into());
            }
        }
        Ok(Self { values, dimension })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// Of each row the cosine of the angle to the row of others that is most similar to it. All have as many numbers.
    pub fn nearest(&self, others: &Self) -> Vec<f32> {
        let nearest = |row: u32| {
            let similar = (0..others.rows() as u32).map(|other| product(self.row(row), others.row(other)));
            similar.fold(f32::NEG_INFINITY, f32::max)
        };
        (0..self.rows() as u32).into_par_iter().map(nearest).collect()
    }

    /// How many numbers a row has.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// A row.
    pub(in crate::select) fn row(&self, row: u32) -> &[f32] {
        &self.values[row as usize * self.dimension..][..self.dimension]
    }
}

/// How similar the rows of a part are, each to each.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    values: Vec<f32>,
    size: usize,
}

impl Kernel {
    /// Takes `size` rows of `size` similarities, one behind the other; those of i to j and of j to i are the same.
    pub fn new(values: Vec<f32>, size: usize) -> Option<Self> {
        let is_whole = values.len() == size.checked_mul(size)?;
        let is_even =
            || (0..size).all(|i| (0..i).all(|j| values[i * size + j].to_bits() == values[j * size + i].to_bits()));
        (is_whole && is_even()).then_some(Self { values, size })
    }

    /// The cosine of the angle between rows.
    pub fn cosine(features: &Features, rows: &[u32]) -> Self {
        let size = rows.len();
        let mut values = vec![0.0; size * size];
        for (i, row) in rows.iter().enumerate() {
            for (j, other) in rows[..=i].iter().enumerate() {
                let cosine = product(features.row(*row), features.row(*other));
                values[i * size + j] = cosine;
                values[j * size + i] = cosine;
            }
        }
        Self { values, size }
    }

    /// The number of rows.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Similarities of a row to all.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.size..][..self.size]
    }

    /// Whether no two rows are opposed.
    pub(super) fn is_positive(&self) -> bool {
        self.values.iter().all(|value| *value >= 0.0)
    }
}

/// The sum of products, in a fixed order.
pub(crate) fn product(left: &[f32], right: &[f32]) -> f32 {
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
    let mut sums = [0.0_f32; LANES];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    sums.iter().sum::<f32>() + left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum::<f32>()
}
