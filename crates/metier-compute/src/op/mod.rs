//! Operations with explicit backward, one file each.
//!
//! Every function takes the tape first and returns the handle of its output. Wrong shapes are refused with
//! the name of the operation and the shapes. Rows are tokens; weights are `[outputs, inputs]`.

mod activation;
mod adamw;
mod add;
mod attention;
mod embedding;
mod head;
mod head_cross_entropy;
mod layer_norm;
mod linear;
mod low_rank_linear;
mod mean;
mod multiply;
mod permute;
mod reshape;
mod rms_norm;
pub(crate) mod rotary;
mod scale;
mod softmax;
mod sum;
mod swiglu;

use metier_core::{Error, Place};

pub use crate::kernel::activation::Activation;
pub use activation::activation;
pub use adamw::{AdamwStep, adamw_step};
pub use add::add;
pub use attention::{AttentionShape, Sequence, attention};
pub use embedding::embedding;
pub use head::{head_log_probabilities, head_logits};
pub use head_cross_entropy::head_cross_entropy;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use low_rank_linear::low_rank_linear;
pub use mean::mean;
pub use multiply::multiply;
pub use permute::permute;
pub use reshape::reshape;
pub use rms_norm::rms_norm;
pub use rotary::{Rotary, rotary};
pub use scale::scale;
pub use softmax::{log_softmax, softmax};
pub use sum::sum;
pub use swiglu::swiglu;

/// An error that names the operation.
fn refuse(op: &'static str, message: impl Into<String>) -> Error {
    Error::user(Place::key(op), message)
}

/// Two shapes that do not go together.
fn mismatch(op: &'static str, first: (&str, &[usize]), second: (&str, &[usize]), rule: &str) -> Error {
    refuse(op, format!("{} {:?} and {} {:?} do not fit", first.0, first.1, second.0, second.1)).hint(rule)
}
