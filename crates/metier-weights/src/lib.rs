//! Arithmetic on finished weights.
//!
//! | folder | answers |
//! |---|---|
//! | [`initialize`] | which rows do the new tokens of a vocabulary begin with |
//! | [`skip_gram`] | which tokens stand near each other |

pub mod initialize;
pub mod skip_gram;
