//! Arithmetic on finished weights.
//!
//! | folder | answers |
//! |---|---|
//! | [`initialize`] | which rows do the new tokens of a vocabulary begin with |
//! | [`lines`] | where do the ids of a text lie |
//! | [`skip_gram`] | which tokens stand near each other |
//! | [`vocabulary`] | how does a model get another vocabulary |

pub mod initialize;
pub mod lines;
pub mod skip_gram;
pub mod vocabulary;
