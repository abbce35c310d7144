//! Loops over plain slices: matrix products, elementwise work, reductions, and the threads they run on.
//!
//! Work is cut into tiles by shape alone, and every sum over tiles is taken in the order of the tiles.

#[macro_use]
mod dispatch;
pub(crate) mod activation;
#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod arena;
pub(crate) mod attention;
pub(crate) mod axis;
pub(crate) mod binary;
pub(crate) mod elementwise;
pub(crate) mod feed_forward;
pub(crate) mod head;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod pages;
mod peak;
pub(crate) mod quantized;
pub(crate) mod reduce;
pub(crate) mod softmax;
pub(crate) mod threads;
pub(crate) mod walk;

use std::sync::atomic::{AtomicBool, Ordering};

pub use dispatch::{Level, check_level, level};
pub use peak::{Ceilings, Product, measure_ceilings, measure_peak};
pub use threads::{set_threads, threads};

/// How the inputs of products are seen; sums and everything else are `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to `bf16`: 8 bits of precision, the range of `f32`.
    Bf16,
}

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
