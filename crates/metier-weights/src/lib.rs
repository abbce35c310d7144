//! Arithmetic on finished weights.
//!
//! | folder | answers |
//! |---|---|
//! | [`initialize`] | which rows do the new tokens of a vocabulary begin with |
//! | [`skip_gram`] | which tokens stand near each other |
//! | [`vocabulary`] | how does a model get new tokens |

pub mod initialize;
pub mod skip_gram;
pub mod vocabulary;
