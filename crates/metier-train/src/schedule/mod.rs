//! How fast to learn at each step, as a share of the optimizer's rate.

mod constant;
mod cosine;
mod inverse_sqrt;
mod linear;
mod wsd;

use crate::settings;
use metier_core::part::{Part, Record};
use metier_core::{Error, Fault, Place};

pub use constant::Constant;
pub use cosine::Cosine;
pub use inverse_sqrt::InverseSqrt;
pub use linear::Linear;
pub use wsd::{Fall, Wsd};

/// The share of the optimizer's rate that a step is taken with.
pub trait Schedule: Send + Sync {
    /// The share at `step` (counted from 0) of `steps`, in `0.0..=1.0`.
    fn factor(&self, step: u64, steps: u64) -> f64;
}

/// The members.
#[rustfmt::skip]
pub static SCHEDULES: &[&Part<dyn Schedule>] = &[
    &constant::PART,
    &cosine::PART,
    &inverse_sqrt::PART,
    &linear::PART,
    &wsd::PART,
];

/// The members' records, alphabetical.
pub fn records() -> Vec<Record> {
    SCHEDULES.iter().map(|part| part.record()).collect()
}

/// Number of steps the rate rises over: `warmup_steps` if set, else the rounded fraction of all steps; never
/// more than all of them.
fn warmup(warmup_steps: Option<u64>, warmup_fraction: f64, steps: u64) -> u64 {
    warmup_steps.unwrap_or_else(|| (warmup_fraction * steps as f64).round() as u64).min(steps)
}

/// The warm-up share at `step`, or how far the rest has come: `Err(progress)` with `progress` in `0.0..1.0`.
fn rise(step: u64, warmup: u64, steps: u64) -> Result<f64, f64> {
    if step < warmup {
        return Ok((step + 1) as f64 / warmup as f64);
    }
    Err(((step - warmup) as f64 / (steps - warmup).max(1) as f64).min(1.0))
}

/// Refuses shares outside `0.0..=1.0`, all of them together.
fn check(place: &Place, shares: &[(&str, f64)]) -> metier_core::Result<()> {
    let faults = shares
        .iter()
        .filter(|(_, value)| !(0.0..=1.0).contains(value))
        .map(|(name, value)| {
            Fault::new(settings::key_place(place, name), format!("{value} is no share of a whole"))
                .hint("write a number from 0 to 1")
        })
        .collect();
    Error::collect((), faults)
}
