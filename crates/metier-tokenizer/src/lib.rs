//! Learn, encode and pack a vocabulary's tokens.
//!
//! | folder | answers |
//! |---|---|
//! | [`scheme`] | which ids stand for a text, and which bytes for an id |
//! | [`train`] | which tokens serve the texts of a corpus best |
//! | [`mod@compare`] | how well do vocabularies serve these texts |
//! | [`extend`] | which tokens does a vocabulary lack for new texts |
//! | [`pack`] | where do the tokens of a corpus lie, and which document does each come from |

pub mod compare;
pub mod extend;
pub mod pack;
pub mod scheme;
pub mod train;

use metier_core::{Error, Place, Result};

/// Shares texts out among so many threads; what comes out does not depend on it. To be called once, before the first
/// text: the threads are those of all work on texts in the process.
pub fn set_threads(count: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .build_global()
        .map_err(|error| Error::user(Place::key("threads"), format!("{count} threads cannot be started: {error}")))
}
