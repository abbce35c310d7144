//! How far an interrupted call has come: one JSON file in its scratch folder.

use metier_core::{Error, Result, store};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

const STATE: &str = "state.json";

/// That of the folder; where there is none, the folder is emptied.
pub(crate) fn load<T: Default + DeserializeOwned>(scratch: &Path) -> Result<T> {
    let path = scratch.join(STATE);
    if !path.exists() {
        if scratch.exists() {
            std::fs::remove_dir_all(scratch).map_err(|error| Error::io(scratch, "remove", &error))?;
        }
        store::create_folder(scratch)?;
        return Ok(T::default());
    }
    let text = std::fs::read(&path).map_err(|error| Error::io(&path, "read", &error))?;
    serde_json::from_slice(&text).map_err(|error| {
        Error::file(&path, format!("what an interrupted run left is damaged: {error}"))
            .hint("remove the folder `work` of the store, and begin again")
    })
}

/// Writes it, all of it or nothing.
pub(crate) fn save(state: &impl Serialize, scratch: &Path) -> Result<()> {
    let text = serde_json::to_string(state)
        .map_err(|error| Error::program(format!("the state of the work does not serialize: {error}")))?;
    store::write_atomic(scratch.join(STATE), text)
}
