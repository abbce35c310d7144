//! What the machine can do at most.

use std::time::{Duration, Instant};

use super::matmul::{Matrix, multiply};

/// Rows, columns and depth of the product that is timed.
const SIDE: usize = 1536;

/// The highest rate, in floating point operations a second, that a large `f32` matrix product reaches on
/// the kernel threads; repeats the product for `duration`, twice at least.
pub fn measure_peak(duration: Duration) -> f64 {
    let a: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect();
    let b: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 241) as f32 / 241.0 - 0.5).collect();
    let mut out = vec![0.0_f32; SIDE * SIDE];
    let start = Instant::now();
    let mut best = f64::INFINITY;
    let mut rounds = 0;
    while rounds < 2 || start.elapsed() < duration {
        let round = Instant::now();
        multiply(&mut out, Matrix::new(&a, SIDE, SIDE), Matrix::new(&b, SIDE, SIDE), 1.0, false);
        best = best.min(round.elapsed().as_secs_f64());
        rounds += 1;
    }
    std::hint::black_box(&out);
    2.0 * (SIDE as f64).powi(3) / best
}
