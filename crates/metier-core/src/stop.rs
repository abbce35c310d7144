//! The wish to stop, set by Ctrl-C and polled by long loops.

use crate::{Error, Place, Result};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static WISHES: AtomicUsize = AtomicUsize::new(0);
static PATIENT: AtomicBool = AtomicBool::new(false);

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
            crate::progress::clear();
            std::process::exit(130);
        }
        if WISHES.fetch_add(1, Ordering::Relaxed) == 0 && PATIENT.load(Ordering::Relaxed) {
            crate::progress::say("finishing what is under way; press Ctrl-C again to stop it");
            return;
        }
        request();
        crate::progress::say("stopping at the next safe point; press Ctrl-C again to end at once");
    })
    .map_err(|error| Error::user(Place::default(), format!("cannot listen to Ctrl-C: {error}")))
}

/// Lets loops under way finish after a first Ctrl-C, which is then seen by [`wished`] alone. For a program that serves
/// others.
pub fn be_patient() {
    PATIENT.store(true, Ordering::Relaxed);
}

/// True once Ctrl-C or a polite kill was heard.
pub fn wished() -> bool {
    WISHES.load(Ordering::Relaxed) > 0
}

/// Takes the wish back, once the loop it was meant for has ended and the program goes on.
pub fn clear() {
    WISHES.store(0, Ordering::Relaxed);
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
