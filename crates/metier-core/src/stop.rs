//! The wish to stop, set by Ctrl-C and polled by long loops.

use crate::{Error, Place, Result};
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

const MESSAGE: &str = "interrupted";

/// Asks every loop to stop at its next safe point. Safe to call from a signal handler.
pub fn request() {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Lets Ctrl-C (and a polite kill) ask every loop to stop. A second one ends the process at once, with
/// the exit code a shell gives for it.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if requested() {
            std::process::exit(130);
        }
        request();
        crate::progress::say("stopping at the next safe point; press Ctrl-C again to end at once");
    })
    .map_err(|error| Error::user(Place::default(), format!("cannot listen to Ctrl-C: {error}")))
}

/// Takes the wish back, once the loop it was meant for has ended and the program goes on.
pub fn clear() {
    REQUESTED.store(false, Ordering::Relaxed);
}

/// True once [`request`] was called.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// The error a loop returns when it stops early.
pub fn interrupted() -> Error {
    Error::user(Place::default(), MESSAGE).hint("run the same command again to go on where it stopped")
}

/// [`interrupted`] as soon as [`requested`] is true.
pub fn check() -> Result<()> {
    if requested() { Err(interrupted()) } else { Ok(()) }
}

/// True for an error made by [`interrupted`].
pub fn is_interruption(error: &Error) -> bool {
    error.faults.iter().any(|fault| fault.message == MESSAGE && fault.place.is_unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_is_told_from_other_errors() {
        assert!(is_interruption(&interrupted()));
        assert!(!is_interruption(&Error::file("a", MESSAGE)));
        assert!(check().is_ok());
    }
}
