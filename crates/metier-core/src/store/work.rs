//! An artifact in the making.

use super::file::sync_folder;
use super::{Artifact, FileEntry, Key, Record, Store, create_folder, hash_and_size, write_atomic};
use crate::{Error, Result, stop};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The file of a work folder, and of an artifact, that holds its [`Key`].
pub const KEY_FILE: &str = "key.json";
/// The folder in a work folder that is removed before the artifact is complete.
pub const SCRATCH: &str = "scratch";

/// A folder in which a stage puts its files. It outlives an interruption: the next [`Store::begin`]
/// with the same key finds it as it was left.
///
/// A crash at any instant leaves either this folder or the complete artifact.
#[derive(Debug)]
pub struct Work<'store> {
    store: &'store Store,
    key: Key,
    id: String,
    path: PathBuf,
    begun: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    id: String,
    key: Key,
    begun: Vec<u64>,
}

impl<'store> Work<'store> {
    pub(super) fn begin(store: &'store Store, key: &Key) -> Result<Self> {
        let id = key.id();
        let path = store.work_path(&id);
        create_folder(&path)?;
        let key_path = path.join(KEY_FILE);
        let mut begun = fs::read(&key_path)
            .ok()
            .and_then(|text| serde_json::from_slice::<KeyFile>(&text).ok())
            .map(|file| file.begun)
            .unwrap_or_default();
        begun.push(super::now().as_secs());
        let file = KeyFile { id: id.clone(), key: key.clone(), begun: begun.clone() };
        write_atomic(&key_path, json(&file)?)?;
        Ok(Self { store, key: key.clone(), id, path, begun })
    }

    /// The artifact's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What decides the result.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The folder to write into.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it that is removed before the artifact is complete. It outlives an interruption too.
    pub fn scratch(&self) -> Result<PathBuf> {
        let path = self.path.join(SCRATCH);
        create_folder(&path)?;
        Ok(path)
    }

    /// How often this work was begun before.
    pub fn resumed(&self) -> u32 {
        self.begun.len().saturating_sub(1) as u32
    }

    /// When the work was begun for the first time, in seconds since 1970.
    pub fn started(&self) -> u64 {
        self.begun.first().copied().unwrap_or_default()
    }

    /// A record with all that is known before the work: id, verb, settings, parts, seed, start.
    pub fn record(&self) -> Record {
        Record { started: self.started(), resumed: self.resumed(), ..Record::new(&self.key, "") }
    }

    /// Removes every file, so that the work begins anew.
    pub fn clear(&mut self) -> Result<()> {
        remove_folder(&self.path)?;
        create_folder(&self.path)?;
        self.begun = vec![super::now().as_secs()];
        let file = KeyFile { id: self.id.clone(), key: self.key.clone(), begun: self.begun.clone() };
        write_atomic(self.path.join(KEY_FILE), json(&file)?)
    }

    /// Makes the folder a complete artifact: removes the scratch folder, hashes and flushes every file,
    /// writes `record.json` and renames the folder.
    ///
    /// `id`, `verb`, `settings`, `parts`, `seed`, `started`, `resumed`, `files` and the disk used are filled in here.
    pub fn finish(self, mut record: Record) -> Result<Artifact> {
        let scratch = self.path.join(SCRATCH);
        if scratch.exists() {
            remove_folder(&scratch)?;
        }
        record.files = self.list_files()?;
        record.id.clone_from(&self.id);
        record.verb.clone_from(&self.key.verb);
        record.settings.clone_from(&self.key.settings);
        record.parts = self.key.parts();
        record.seed = self.key.seed;
        record.started = self.started();
        record.resumed = self.resumed();
        record.real.disk_bytes = record.files.iter().map(|file| file.bytes).sum();
        write_atomic(self.path.join(super::RECORD_FILE), json(&record)?)?;
        let target = self.store.artifact_path(&self.id);
        if target.exists() {
            return Err(Error::program(format!("{} is already there", target.display())));
        }
        fs::rename(&self.path, &target).map_err(|error| Error::io(&target, "complete the artifact", &error))?;
        sync_folder(&self.store.artifacts())?;
        Ok(Artifact { id: self.id, path: target, record })
    }

    fn list_files(&self) -> Result<Vec<FileEntry>> {
        let mut entries = Vec::new();
        collect(&self.path, "", &mut entries)?;
        entries.retain(|entry| entry.path != super::RECORD_FILE && entry.path != KEY_FILE);
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }
}

fn collect(folder: &Path, prefix: &str, entries: &mut Vec<FileEntry>) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(folder, "list the folder", &error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        stop::check()?;
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let name = entry
            .file_name()
            .into_string()
            .map_err(|_| Error::file(&path, "the name of this file is not UTF-8, which an artifact cannot hold"))?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), entries)?;
        } else if kind.is_file() {
            if name.ends_with(".temporary") {
                fs::remove_file(&path).map_err(|error| Error::io(&path, "remove the file", &error))?;
                continue;
            }
            let (blake3, bytes) = hash_and_size(&path)?;
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|error| Error::io(&path, "flush the file", &error))?;
            entries.push(FileEntry { path: format!("{prefix}{name}"), bytes, blake3 });
        } else {
            return Err(Error::file(&path, "an artifact holds files and folders only, and this is neither"));
        }
    }
    sync_folder(folder)
}

fn remove_folder(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).map_err(|error| Error::io(path, "remove the folder", &error))
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::program(format!("a record does not serialize: {error}")))?;
    text.push(b'\n');
    Ok(text)
}
