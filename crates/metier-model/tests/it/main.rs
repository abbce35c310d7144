//! Decoders and local models on tiny seeded weights, and against goldens of a real one.

mod decoder;
mod generation;
mod golden;
mod scoring;
mod tiny;
