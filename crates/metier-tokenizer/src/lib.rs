//! Learn, encode and pack a vocabulary's tokens.
//!
//! | folder | answers |
//! |---|---|
//! | [`scheme`] | which ids stand for a text, and which bytes for an id |
//! | [`pack`] | where do the tokens of a corpus lie, and which document does each come from |

pub mod pack;
pub mod scheme;
