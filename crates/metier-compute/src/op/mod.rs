//! Operations with explicit backward, one file each.
//!
//! Every function takes the tape first and returns the handle of its output. Wrong shapes are refused with
//! the name of the operation and the shapes. Rows are tokens; weights are `[outputs, inputs]`.

mod activation;
mod adamw;
mod adamw_8bit;
mod attention;
mod batched_matmul;
mod binary;
mod broadcast;
mod cached_attention;
mod clamp;
mod concat;
mod conv1d;
mod cumsum;
mod dropout;
mod embedding;
mod gated_feed_forward;
mod gather;
mod head;
mod head_cross_entropy;
mod index_select;
mod inverse;
mod layer_norm;
mod linear;
mod low_rank_linear;
mod mean;
mod normalized_mean;
mod pad;
mod permute;
mod pool1d;
mod reduce_axis;
mod reshape;
mod rms_norm;
pub(crate) mod rotary;
mod scale;
mod slice;
mod softmax;
mod sort;
mod straight_through;
mod sum;
mod swiglu;
mod where_mask;

use metier_core::{Error, Place, Result};

pub use crate::kernel::activation::Activation;
use crate::kernel::axis::Axis;
pub use crate::kernel::pages::{KeyCoding, KeyPage, PageShape};
use crate::kernel::walk::count;
pub use activation::activation;
pub use adamw::{AdamwStep, adamw_step};
pub use adamw_8bit::{adamw_8bit_state, adamw_8bit_step};
pub use attention::{AttentionShape, Sequence, attention};
pub use batched_matmul::{Transpose, batched_matmul};
pub use binary::{add, divide, maximum, minimum, multiply, subtract};
pub use cached_attention::{CachedText, cached_attention};
pub use clamp::clamp;
pub use concat::concat;
pub use conv1d::{Conv1d, conv1d};
pub use cumsum::cumsum;
pub use dropout::dropout;
pub use embedding::embedding;
pub use gated_feed_forward::{GatedFeedForward, gated_feed_forward};
pub use gather::{gather, scatter_add};
pub use head::{Head, head_log_probabilities, head_logits, logit_normalizers, logit_weights};
pub use head_cross_entropy::head_cross_entropy;
pub use index_select::{index_add, index_select};
pub use inverse::inverse;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use low_rank_linear::{LowRank, Projection, low_rank_linear};
pub use mean::mean;
pub use normalized_mean::normalized_mean;
pub use pad::pad;
pub use permute::permute;
pub use pool1d::{average_pool1d, max_pool1d};
pub use reduce_axis::{log_sum_exp, max_axis, mean_axis, min_axis, sum_axis, variance_axis};
pub use reshape::reshape;
pub use rms_norm::rms_norm;
pub use rotary::{Rotary, rotary};
pub use scale::scale;
pub use slice::{Span, slice};
pub use softmax::{log_softmax, softmax};
pub use sort::{sort, top_k};
pub use straight_through::straight_through;
pub use sum::sum;
pub use swiglu::swiglu;
pub use where_mask::{masked_fill, where_mask};

/// An error that names the operation.
fn refuse(op: &'static str, message: impl Into<String>) -> Error {
    Error::user(Place::key(op), message)
}

/// Two shapes that do not go together.
fn mismatch(op: &'static str, first: (&str, &[usize]), second: (&str, &[usize]), rule: &str) -> Error {
    refuse(op, format!("{} {:?} and {} {:?} do not fit", first.0, first.1, second.0, second.1)).hint(rule)
}

/// What lies before, along and behind axis `axis` of `x`.
fn along(op: &'static str, x: &[usize], axis: usize) -> Result<Axis> {
    match x.get(axis) {
        Some(&size) => {
            let outer = count(&x[..axis]);
            // What lies behind in no rows is not counted: it may be more than can be.
            Ok(Axis { outer, size, inner: if outer == 0 { 0 } else { count(&x[axis + 1..]) } })
        }
        None => Err(refuse(op, format!("x {x:?} has no axis {axis}")).hint("axes are numbered from 0, the outermost")),
    }
}
