//! Architectures, checkpoints, decoding: the models that run on this machine.
//!
//! | folder | answers |
//! |---|---|
//! | [`arch`] | what does a `config.json` mean, and what are the weights called |
//! | [`checkpoint`] | how does a model lie on disk, and how is it read and written |
//! | [`layer`] | what is a model made of, from a linear layer to a block |
//! | [`decode`] | how do logits become text |
//! | [`local`] | how does a model answer the seams `Generate` and `Score` |
//!
//! [`Decoder`] is the model itself; [`LocalModel`] is a decoder with its tokenizer.

mod adapt;
pub mod arch;
pub mod checkpoint;
pub mod config;
pub mod decode;
pub mod decoder;
mod fingerprint;
pub mod layer;
pub mod local;
pub mod plan;
mod quantize;

pub use adapt::Folded;
pub use config::Config;
pub use decoder::{Advance, Batch, Decoder, Site};
pub use fingerprint::Fingerprint;
pub use local::{Decoding, LocalModel};
pub use metier_compute::op::KeyCoding;
