//! Examples whose truth is known, out of seeded worlds.
//!
//! | folder | answers |
//! |---|---|
//! | [`world`] | which texts can this world write, and how right is a text about it |
//! | [`story`] | what are stories in Hindi, Marathi and Bengali made of, and is one grammatical |

pub mod story;
pub mod world;
