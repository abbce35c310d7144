//! A model used as a function.
//!
//! | folder | answers |
//! |---|---|
//! | [`template`] | how are the turns of a conversation written out for this model |

pub mod template;
