//! Models made of a formula.

use metier_core::progress::{Mode, Progress, set_mode};
use metier_core::seam::{Score, ScoreRequest, Scored};
use metier_core::seed::Seed;
use metier_core::{Error, Result};
use metier_eval::{Evaluation, Measured};
use std::sync::atomic::{AtomicUsize, Ordering};

/// One token a byte; needs `nats` for each, a little more for vowels.
pub struct Formula {
    pub nats: f64,
    /// Fails once this many windows were scored.
    pub fails_after: Option<usize>,
    pub scored: AtomicUsize,
}

impl Formula {
    pub fn new(nats: f64) -> Self {
        Self { nats, fails_after: None, scored: AtomicUsize::new(0) }
    }

    pub fn failing_after(nats: f64, windows: usize) -> Self {
        Self { fails_after: Some(windows), ..Self::new(nats) }
    }
}

impl Score for Formula {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Scored>> {
        let before = self.scored.fetch_add(requests.len(), Ordering::Relaxed);
        if self.fails_after.is_some_and(|limit| before + requests.len() > limit) {
            return Err(Error::program("out of luck"));
        }
        Ok(requests
            .iter()
            .map(|request| {
                assert!(request.context.is_empty());
                let vowels = request.continuation.bytes().filter(|byte| b"aeiou".contains(byte)).count();
                let bytes = request.continuation.len();
                let nats = self.nats * (bytes as f64 + vowels as f64 / 3.0);
                Scored { log_probability: -nats, tokens: bytes, bytes, greedy: false }
            })
            .collect())
    }
}

/// A hand that counts nobody's windows.
pub fn silent() -> Progress {
    set_mode(Mode::Silent);
    Progress::new("test", None, "windows")
}

/// `documents` documents of `windows` windows of 1000 bytes. A window needs `level` bits a byte, plus normal
/// noise of width `shared` that depends on the document and the window alone, plus noise of width `own` that
/// depends on `name`, too.
pub fn synthetic(name: &str, documents: usize, windows: usize, level: f64, shared: f64, own: f64) -> Evaluation {
    let mut out = Vec::new();
    for document in 0..documents {
        for window in 0..windows {
            let position = (document * windows + window) as u64;
            let noise = |purpose: &str| Seed::new(9).derive(purpose).at(position).normal();
            let bits = level + shared * noise("shared") + own * noise(name);
            out.push(Measured {
                document: format!("d{document:03}"),
                start: window * 1000,
                end: (window + 1) * 1000,
                hash: "0".repeat(16),
                nats: bits * std::f64::consts::LN_2 * 1000.0,
                bytes: 1000,
                characters: 1000,
                tokens: 250,
                ..Measured::default()
            });
        }
    }
    Evaluation { windows: out }
}
