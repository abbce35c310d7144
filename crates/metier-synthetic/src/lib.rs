//! Examples whose truth is known, out of seeded worlds and out of documents.
//!
//! | folder | answers |
//! |---|---|
//! | [`world`] | which texts can this world write, and how right is a text about it |
//! | [`mine`] | which facts can a program find in documents, and ask for |
//! | [`story`] | what are stories in Hindi, Marathi and Bengali made of, and is one grammatical |
//! | [`tale`] | what are English stories for children made of, and does one agree with itself |

mod form;
pub mod mine;
pub mod story;
pub mod tale;
pub mod world;
