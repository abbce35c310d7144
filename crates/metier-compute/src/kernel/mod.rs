//! Loops over plain slices: matrix products, elementwise work, reductions, and the threads they run on.
//!
//! Work is cut into tiles by shape alone, and every sum over tiles is taken in the order of the tiles.

#[macro_use]
mod dispatch;
pub(crate) mod activation;
pub(crate) mod arena;
pub(crate) mod attention;
pub(crate) mod axis;
pub(crate) mod binary;
pub(crate) mod elementwise;
pub(crate) mod math;
pub(crate) mod matmul;
mod matvec;
mod peak;
pub(crate) mod reduce;
pub(crate) mod softmax;
pub(crate) mod threads;
pub(crate) mod walk;

use std::sync::atomic::{AtomicBool, Ordering};

pub use dispatch::{Level, check_level, level};
pub use peak::{Ceilings, Product, measure_ceilings, measure_peak};
pub use threads::{set_threads, threads};

static CHECK_FINITE: AtomicBool = AtomicBool::new(false);

/// Makes every operation refuse an output or a gradient that is not finite, naming the operation and the
/// tensor. Costs a pass over every output; off at start.
pub fn set_check_finite(on: bool) {
    CHECK_FINITE.store(on, Ordering::Relaxed);
}

/// True when [`set_check_finite`] is on.
pub fn check_finite() -> bool {
    CHECK_FINITE.load(Ordering::Relaxed)
}
