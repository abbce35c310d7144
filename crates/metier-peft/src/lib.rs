//! Small trainable parts inside a frozen model, and folding them back.
//!
//! | folder | answers |
//! |---|---|
//! | [`adapter`] | which weights does a training change |
//! | [`folder`] | how does an adapter lie on disk |

pub mod adapter;
pub mod folder;

pub use adapter::{Adapter, Attached};
