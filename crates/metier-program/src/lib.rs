//! A model used as a function.
//!
//! | folder | answers |
//! |---|---|
//! | [`constrain`] | how is a reply held to a JSON schema or a pattern |
//! | [`template`] | how are the turns of a conversation written out for this model |

pub mod constrain;
pub mod template;
