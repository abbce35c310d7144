//! What tests share: numbers compared with a tolerance, goldens, tiny corpora, a tokenizer of bytes, scratch folders, and
//! the assets that only some machines have.
//!
//! Only tests use this crate, so everything here panics with a message instead of returning an error.
//!
//! ```
//! use metier_testkit::{assert_close, corpus, scratch};
//!
//! let folder = scratch("example");
//! corpus::write(folder.path(), &[("a.txt", "One line.\n"), ("deep/b.txt", "Another.\n")]);
//! assert!(folder.path().join("deep/b.txt").is_file());
//! assert_close("logits", &[1.0, 2.0], &[1.0, 2.000_01], 1e-4, 0.0);
//! ```

mod asset;
pub mod bytes;
mod close;
pub mod corpus;
mod damage;
pub mod golden;
pub mod hashed;
mod pages;
mod place;

pub use asset::asset;
pub use close::{Number, assert_close, assert_near, worst_difference};
pub use damage::mutated;
pub use pages::assert_pages;
pub use place::{Scratch, fixture, repository, scratch};
