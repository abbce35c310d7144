//! Architectures, checkpoints, decoding: the models that run on this machine.
//!
//! | folder | answers |
//! |---|---|
//! | [`arch`] | how does a Llama compute, and what are its weights called |
//! | [`checkpoint`] | how does a model lie on disk, and how is it read and written |
//! | [`layer`] | what is a linear layer, plain or adapted |
//! | [`decode`] | how do logits become text |
//! | [`local`] | how does a model answer the seams `Generate` and `Score` |
//!
//! [`Decoder`] is the model itself; [`LocalModel`] is a decoder with its tokenizer.

pub mod arch;
pub mod checkpoint;
pub mod config;
pub mod decode;
pub mod decoder;
pub mod layer;
pub mod local;
pub mod plan;

pub use config::Config;
pub use decoder::{Batch, Decoder, Site};
pub use local::LocalModel;
