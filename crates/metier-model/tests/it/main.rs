//! Decoders and local models on tiny seeded weights, and against goldens of a real one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what the tests share may fail as a test does")]
#![expect(clippy::single_range_in_vec_init, reason = "one text is one range of rows")]

mod architectures;
mod batching;
mod bidirectional;
mod configs;
mod decoder;
mod encoders;
mod fuzz;
mod generation;
mod gguf;
mod golden;
mod greedy;
mod mutate;
mod scoring;
mod searches;
mod tiny;
mod tokens;
