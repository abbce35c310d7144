//! The parts of a softmax over one row.

use super::math::exp;
use super::reduce::{LANES, fold};

leveled! {
    /// The largest element; negative infinity for none. NaN elements are passed over.
    pub(crate) fn largest(row: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (row, rest) = row.as_chunks::<LANES>();
        for row in row {
            for lane in 0..LANES {
                lanes[lane] = if row[lane] > lanes[lane] { row[lane] } else { lanes[lane] };
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane = if *value > *lane { *value } else { *lane };
        }
        lanes.iter().fold(f32::NEG_INFINITY, |best, lane| if *lane > best { *lane } else { best })
    }
}

leveled! {
    /// Replaces each element `x` by `e^(scale x - shift)` and returns their sum.
    pub(crate) fn exponentials(row: &mut [f32], scale: f32, shift: f32) -> f32 {
        let mut lanes = [0.0_f32; LANES];
        let (row, rest) = row.as_chunks_mut::<LANES>();
        for row in row {
            for lane in 0..LANES {
                row[lane] = exp(row[lane] * scale - shift);
                lanes[lane] += row[lane];
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *value = exp(*value * scale - shift);
            *lane += *value;
        }
        fold(&lanes)
    }
}

leveled! {
    /// The sum of `e^(x - shift)`.
    pub(crate) fn sum_of_exponentials(row: &[f32], shift: f32) -> f32 {
        let mut lanes = [0.0_f32; LANES];
        let (row, rest) = row.as_chunks::<LANES>();
        for row in row {
            for lane in 0..LANES {
                lanes[lane] += exp(row[lane] - shift);
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += exp(*value - shift);
        }
        lanes.iter().sum()
    }
}

leveled! {
    /// Replaces each pair of a probability `p` and its gradient `d` by `(p, p (d - shift) scale)`.
    pub(crate) fn probability_gradient(gradient: &mut [f32], probability: &[f32], shift: f32, scale: f32) {
        for (gradient, probability) in gradient.iter_mut().zip(probability) {
            *gradient = probability * (*gradient - shift) * scale;
        }
    }
}

leveled! {
    /// Takes `e^y total` from each gradient, where `y` is the log-probability.
    pub(crate) fn log_probability_gradient(gradient: &mut [f32], log_probability: &[f32], total: f32) {
        for (gradient, y) in gradient.iter_mut().zip(log_probability) {
            *gradient -= exp(*y) * total;
        }
    }
}

leveled! {
    /// `row *= factor`.
    pub(crate) fn scale_row(row: &mut [f32], factor: f32) {
        for value in row {
            *value *= factor;
        }
    }
}
