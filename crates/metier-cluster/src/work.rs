//! What is asked of an executor, and the parts that it builds for it, once for all that one run asks.

use metier_core::{Error, Result};
use metier_corpus::{Task, TaskParts};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What one run asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Tells runs apart, for filters remember what they saw.
    pub run: String,
    /// What to do.
    pub task: Task,
}

/// Files of a corpus, each with its name in it.
pub type Files = Vec<(String, PathBuf)>;

/// Bytes of the largest message: a document goes whole.
pub const MESSAGE: u32 = i32::MAX as u32;

/// Runs whose parts are kept.
const KEPT: usize = 4;

/// By the job as it is written, the latest last.
static BUILT: Mutex<Vec<(String, Arc<TaskParts>)>> = Mutex::new(Vec::new());

/// The parts of a job that was written as JSON.
pub fn parts(job: &str) -> Result<Arc<TaskParts>> {
    // Whoever comes meanwhile waits: two sets of parts would each remember half.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = built.iter().position(|(known, _)| known == job) {
        let found = built.remove(place);
        let parts = Arc::clone(&found.1);
        built.push(found);
        return Ok(parts);
    }
    let Job { task, .. } = serde_json::from_str(job)
        .map_err(|error| Error::program(format!("an executor cannot read what it is asked: {error}")))?;
    let parts = Arc::new(task.parts()?);
    if built.len() == KEPT {
        built.remove(0);
    }
    built.push((job.to_owned(), Arc::clone(&parts)));
    Ok(parts)
}
