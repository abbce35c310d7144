//! Examples whose truth is known, out of seeded worlds.
//!
//! | folder | answers |
//! |---|---|
//! | [`world`] | which texts can this world write, and how right is a text about it |
//! | [`story`] | what are stories in Hindi, Marathi and Bengali made of, and is one grammatical |
//! | [`tale`] | what are English stories for children made of, and does one agree with itself |

pub mod story;
pub mod tale;
pub mod world;
