//! Tensors, the tape, operations with explicit backward, kernels, quantized blocks.
//!
//! A model's forward pass is written with the functions of [`op`] on a [`Tape`]; [`Tape::backward`] walks
//! the recorded operations back and adds into [`Gradients`]. All tensors are row-major, of `f32` or in
//! blocks. Parallel work is cut into tiles whose number and size depend on shapes only, so a result never depends on
//! the number of threads.

pub mod block;
#[macro_use]
pub mod kernel;
pub mod op;
pub mod tape;
pub mod tensor;

pub use tape::{Gradients, ParameterId, Parameters, Tape, Var};
pub use tensor::{Bytes, Dtype, List, Tensor, memory_in_use, memory_peak, release_unused, set_memory_limit};
