//! The loop against PyTorch, against itself after kills, and against bad input.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod average;
mod contrastive;
mod corruption;
mod curve;
mod distill;
mod errors;
mod examples;
mod families;
mod guard;
mod importance;
mod kit;
mod lead;
mod mixture;
mod model_curves;
mod preferences;
mod rates;
mod resume;
mod soft_mask;
mod watch;
