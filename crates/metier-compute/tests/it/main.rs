//! Operations against references in `f64`, goldens from PyTorch, threads, and the tape itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what the tests share may fail as a test does")]

mod bf16;
mod general;
mod general_axes;
mod general_products;
mod general_random;
mod general_shapes;
mod golden;
mod gradients;
mod harness;
mod pages;
mod refusals;
mod tape;
mod threads;
