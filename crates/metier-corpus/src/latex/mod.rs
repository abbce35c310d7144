//! LaTeX to readable text: what a document says, with its mathematics as it is written.
//!
//! The document is read as TeX reads it: a macro's text takes the place of its call, so that a macro may open or close an
//! environment. What is open (braces, environments, mathematics) lies on a stack; nothing is recursive.

mod body;
mod flattened;
mod include;
mod macros;
mod out;
mod stream;
mod words;

use metier_core::data::Pieces;
use metier_core::{Fault, Place};
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use body::Body;
pub(crate) use out::Out;
use stream::{Spot, Stream};

/// Most macros that are left unexpanded because they contain themselves, before none is expanded.
const REFUSED: usize = 8;
/// Most faults that are told of one document.
const FAULTS: usize = 20;

/// A cleaned document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// The text.
    pub text: String,
    /// Where it stands in the main file.
    pub pieces: Pieces,
    /// What could not be cleaned; empty when all was.
    pub faults: Vec<Fault>,
    /// Mathematics in the text, and in environments and sections that were dropped: spans between dollar signs.
    pub mathematics: (usize, usize),
}

/// Why cleaning ends early.
#[derive(Debug)]
enum Stop {
    /// Something is wrong here.
    Fault(Spot, String),
    /// This macro is to be left as it is written.
    Refuse(Spot, String, String),
}

impl Stop {
    fn new(spot: Spot, message: impl Into<String>) -> Self {
        Self::Fault(spot, message.into())
    }
}

/// Cleans the document whose main file is `path` with the text `text`. Files it includes are read where they lie below `root`.
///
/// Where the document's braces or environments do not match, the text is the document's body with its files put together
/// and its comments taken out, and no more.
pub fn clean(root: &Path, path: &Path, text: &str) -> Cleaned {
    let main: Rc<str> = text.into();
    let mut refused = BTreeSet::new();
    let mut told: Vec<Fault> = Vec::new();
    loop {
        let mut body = Body::new(root, Stream::new(path, &main), &refused);
        let stopped = body.read();
        let mut faults = told.clone();
        faults.append(&mut body.faults);
        match stopped {
            Ok(()) => {
                let mathematics = body.mathematics;
                let (text, pieces) = body.out.finish();
                faults.truncate(FAULTS);
                return Cleaned { text, pieces, faults, mathematics };
            }
            Err(Stop::Refuse(spot, name, message)) if refused.len() < REFUSED => {
                told.push(fault(body.stream.place(spot), message));
                refused.insert(name);
            }
            Err(Stop::Refuse(spot, _, message) | Stop::Fault(spot, message)) => {
                faults.insert(0, fault(body.stream.place(spot), message));
                faults.truncate(FAULTS);
                let (text, pieces) = flattened::flattened(root, Stream::new(path, &main)).finish();
                return Cleaned { text, pieces, faults, mathematics: (0, 0) };
            }
        }
    }
}

/// Whether a text is a document of its own and not a part of one: it states a class.
pub fn is_document(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with("\\documentclass") || line.starts_with("\\documentstyle")
    })
}

fn fault(place: Place, message: impl Into<String>) -> Fault {
    Fault::new(place, message)
}

#[cfg(test)]
mod tests;
