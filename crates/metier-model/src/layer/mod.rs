//! Layers that every architecture is built from.

mod linear;
mod weights;

pub use linear::{Linear, LowRank};
pub use weights::{Axis, Presence, WeightPattern, WeightShape, shapes_of};
