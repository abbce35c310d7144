//! Small trainable parts inside a frozen model, and folding them back.
//!
//! | folder | answers |
//! |---|---|
//! | [`adapter`] | which weights does a training change |
//! | [`combine`] | how do several adapters become one |
//! | [`folder`] | how does an adapter lie on disk |
//! | [`targets`] | which layers does an adapter attach to |

pub mod adapter;
pub mod combine;
pub mod folder;
pub mod targets;

pub use adapter::{Adapter, Attached};
