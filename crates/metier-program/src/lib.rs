//! A model used as a function.
//!
//! | folder | answers |
//! |---|---|
//! | [`call`] | how does a model write that it calls a function, and how is that read |
//! | [`constrain`] | how is a reply held to a JSON schema, a pattern, or calls of functions |
//! | [`template`] | how are the turns of a conversation written out for this model |

pub mod call;
pub mod constrain;
pub mod template;
