//! Architectures, checkpoints, decoding.
