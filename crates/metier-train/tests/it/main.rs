//! The loop against PyTorch, against itself after kills, and against bad input.

mod curve;
mod errors;
mod families;
mod kit;
mod resume;
