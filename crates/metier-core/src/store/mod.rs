//! Where the results of stages lie, each named by the hash of what decided it.
//!
//! | in the store's folder | is |
//! |---|---|
//! | `format` | the version of this layout |
//! | `lock` | held by the one run that may write, with its process id |
//! | `journal.jsonl` | what happened, in order |
//! | `names.json` | which artifact is the newest of a recipe's stage |
//! | `artifacts/<id>/` | a complete result with its `record.json`; never changes |
//! | `work/<id>/` | a result in the making, found again after an interruption |
//! | `damaged/` | artifacts whose files were changed from outside, moved away when made anew |

mod file;
mod journal;
mod record;
mod work;

pub use file::{create_folder, hash_and_size, hash_file, map_file, write_atomic, write_atomic_with};
pub use journal::Event;
pub use record::{Counts, Estimate, FileEntry, InputKind, InputRecord, Key, Record, Spent, canonical_json};
pub use work::{KEY_FILE, SCRATCH, Work};

use crate::fault::near_miss;
use crate::{Error, Fault, Place, Result};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";
const RECORD_FILE: &str = "record.json";
const NAMES_FILE: &str = "names.json";

/// A folder of artifacts.
pub struct Store {
    path: PathBuf,
    writing: Option<Writing>,
}

#[derive(Serialize, Deserialize)]
struct Name {
    key: String,
    id: String,
}

struct Writing {
    journal: journal::Journal,
    /// Closing it lets go of the lock.
    _lock: File,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.path.display())
    }
}

/// A complete result.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// Its name.
    pub id: String,
    /// Its folder.
    pub path: PathBuf,
    /// What it is the result of.
    pub record: Record,
}

impl Artifact {
    /// The path of one of its files, by the path in its record.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        if self.record.files.iter().any(|file| file.path == name) {
            return Ok(self.path.join(name));
        }
        let known: Vec<&str> = self.record.files.iter().map(|file| file.path.as_str()).collect();
        let place = Place::file(&self.path);
        Err(Fault::new(place, format!("the artifact has no file `{name}`"))
            .hint(format!("it has: {}", known.join(", ")))
            .into())
    }
}

impl Store {
    /// Opens the store at `path` for writing; a missing one is made. One run at a time may hold it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        create_folder(path)?;
        check_format(path, true)?;
        let lock = lock(path)?;
        for folder in ["artifacts", "work"] {
            create_folder(path.join(folder))?;
        }
        let journal = journal::Journal::open(&path.join("journal.jsonl"))?;
        Ok(Self { path: path.to_path_buf(), writing: Some(Writing { journal, _lock: lock }) })
    }

    /// Opens the store at `path` for reading, also while a run writes to it.
    pub fn open_read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.join(FORMAT_FILE).is_file() {
            return Err(Error::file(path, "there is no artifact store here")
                .hint("name the store's folder with `--store`, or run a recipe first"));
        }
        check_format(path, false)?;
        Ok(Self { path: path.to_path_buf(), writing: None })
    }

    /// Opens the store at `path` for reading when there is one.
    pub fn open_if_any(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        if path.join(FORMAT_FILE).is_file() { Self::open_read(path).map(Some) } else { Ok(None) }
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The artifact called `id`, when it is complete: its record can be read and every file it names is
    /// there with its size.
    pub fn find(&self, id: &str) -> Result<Option<Artifact>> {
        let path = self.artifact_path(id);
        if !path.is_dir() {
            return Ok(None);
        }
        Ok(open_artifact(&path).ok().filter(|artifact| artifact.record.id == id))
    }

    /// Every complete artifact, oldest first.
    pub fn list(&self) -> Result<Vec<Artifact>> {
        let folder = self.artifacts();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(&folder, "list the artifacts", &error)),
        };
        let mut artifacts = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::io(&folder, "list the artifacts", &error))?;
            if let Some(id) = entry.file_name().to_str()
                && let Some(artifact) = self.find(id)?
            {
                artifacts.push(artifact);
            }
        }
        artifacts.sort_by(|a, b| (a.record.started, &a.id).cmp(&(b.record.started, &b.id)));
        Ok(artifacts)
    }

    /// The artifact a person means by a folder, an id, the first four or more digits of an id,
    /// `recipe/stage`, or a stage's name (the newest of that stage).
    pub fn resolve(&self, name: &str) -> Result<Artifact> {
        let path = Path::new(name);
        if path.join(RECORD_FILE).is_file() {
            return open_artifact(path);
        }
        let artifacts = self.list()?;
        let names = self.names()?;
        let named = names
            .iter()
            .rev()
            .filter(|known| known.key == name || known.key.rsplit_once('/').is_some_and(|(_, stage)| stage == name));
        let named = named.filter_map(|known| artifacts.iter().find(|artifact| artifact.id == known.id));
        let by_record = artifacts.iter().rev().filter(|artifact| artifact.record.stage == name);
        if let Some(artifact) = named.chain(by_record).next() {
            return Ok(artifact.clone());
        }
        if self
            .artifact_path_if_id(name)
            .is_some_and(|path| path.is_dir() && self.find(name).is_ok_and(|a| a.is_none()))
        {
            return open_artifact(&self.artifact_path(name));
        }
        if name.len() >= 4 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let found: Vec<&Artifact> = artifacts.iter().filter(|artifact| artifact.id.starts_with(name)).collect();
            match found.as_slice() {
                [] => {}
                [one] => return Ok((*one).clone()),
                many => {
                    let ids: Vec<String> =
                        many.iter().map(|artifact| format!("{} ({})", artifact.id, artifact.record.stage)).collect();
                    return Err(Error::file(
                        &self.path,
                        format!("`{name}` is the beginning of more than one artifact"),
                    )
                    .hint(format!("write more digits of one of: {}", ids.join(", "))));
                }
            }
        }
        let mut stages: Vec<&str> = artifacts.iter().map(|artifact| artifact.record.stage.as_str()).collect();
        stages.sort_unstable();
        stages.dedup();
        let hint = match near_miss(name, stages.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if stages.is_empty() => "the store is empty: run a recipe first".to_owned(),
            None => format!("stages with artifacts: {}", stages.join(", ")),
        };
        Err(Error::file(&self.path, format!("no artifact is called `{name}`")).hint(hint))
    }

    /// A folder to make the artifact of `key` in, as an interrupted run left it. An artifact of that
    /// name whose files were changed from outside is moved to `damaged/`.
    pub fn begin(&self, key: &Key) -> Result<Work<'_>> {
        if self.writing.is_none() {
            return Err(Error::program("work was begun in a store that is open for reading"));
        }
        let id = key.id();
        if self.find(&id)?.is_some() {
            return Err(Error::program(format!("work was begun on artifact {id}, which is complete")));
        }
        let old = self.artifact_path(&id);
        if old.exists() {
            let folder = self.path.join("damaged");
            create_folder(&folder)?;
            let target = folder.join(format!("{id}-{:x}", now().as_nanos()));
            fs::rename(&old, &target).map_err(|error| Error::io(&old, "move the damaged artifact away", &error))?;
            self.note("", "", "damaged", serde_json::json!({ "id": id, "moved": target }))?;
        }
        Work::begin(self, key)
    }

    /// Hashes every file of an artifact and reports those that differ from its record.
    pub fn verify(&self, artifact: &Artifact) -> Result<()> {
        let mut faults = Vec::new();
        for file in &artifact.record.files {
            let path = artifact.path.join(&file.path);
            match hash_and_size(&path) {
                Ok((hash, bytes)) if hash == file.blake3 && bytes == file.bytes => {}
                Ok((hash, _)) => faults.push(Fault::new(
                    Place::file(&path),
                    format!("the file was changed: its hash is {hash}, the record says {}", file.blake3),
                )),
                Err(error) => faults.extend(error.faults),
            }
        }
        Error::collect((), faults)
    }

    /// Says that an artifact is now the result of a recipe's stage, so that [`Store::resolve`] finds it by
    /// `recipe/stage` and by `stage`.
    pub fn name(&self, recipe: &str, stage: &str, id: &str) -> Result<()> {
        if self.writing.is_none() {
            return Err(Error::program("an artifact was named in a store that is open for reading"));
        }
        let mut names = self.names()?;
        let key = format!("{recipe}/{stage}");
        names.retain(|name| name.key != key);
        names.push(Name { key, id: id.to_owned() });
        let mut text = serde_json::to_vec_pretty(&names)
            .map_err(|error| Error::program(format!("the names do not serialize: {error}")))?;
        text.push(b'\n');
        write_atomic(self.path.join(NAMES_FILE), text)
    }

    /// The names given so far, the newest last.
    fn names(&self) -> Result<Vec<Name>> {
        let path = self.path.join(NAMES_FILE);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let place = Place::file(&path).at(error.line().max(1), error.column().max(1));
                Error::user(place, format!("the names of the artifacts cannot be read: {error}"))
                    .hint("remove the file; the next run writes it anew")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::io(&path, "read the names of the artifacts", &error)),
        }
    }

    /// Appends an event of a run to the journal; `stage` is empty when it is about the whole run.
    pub fn note(&self, run: &str, stage: &str, event: &str, details: Value) -> Result<()> {
        match &self.writing {
            Some(writing) => writing.journal.append(run, stage, event, details),
            None => Err(Error::program("an event was written to a store that is open for reading")),
        }
    }

    /// Every event in the journal, oldest first.
    pub fn events(&self) -> Result<Vec<Event>> {
        journal::read(&self.path.join("journal.jsonl"))
    }

    fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    fn artifact_path(&self, id: &str) -> PathBuf {
        self.artifacts().join(id)
    }

    fn artifact_path_if_id(&self, name: &str) -> Option<PathBuf> {
        (name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| self.artifact_path(name))
    }

    fn work_path(&self, id: &str) -> PathBuf {
        self.path.join("work").join(id)
    }
}

/// Time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn check_format(path: &Path, create: bool) -> Result<()> {
    let file = path.join(FORMAT_FILE);
    match fs::read_to_string(&file) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(version) if version <= FORMAT => Ok(()),
            Ok(version) => Err(Error::file(
                path,
                format!("the store has format {version}, and this version of metier knows formats up to {FORMAT}"),
            )
            .hint("use a newer metier, or another folder for the store")),
            Err(_) => Err(Error::file(&file, "the store's format file does not hold a number")
                .hint("name a folder that is a store, or an empty one")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => {
            let mut entries = fs::read_dir(path).map_err(|error| Error::io(path, "list the folder", &error))?;
            // A kill between the first two steps leaves the lock or a temporary file.
            let foreign = entries.any(|entry| {
                entry.is_ok_and(|entry| {
                    let name = entry.file_name();
                    let name = name.to_string_lossy();
                    name != "lock" && !name.ends_with(".temporary")
                })
            });
            if foreign {
                return Err(Error::file(path, "the folder holds other files and is not an artifact store")
                    .hint("name an empty folder, or one that does not exist yet"));
            }
            write_atomic(&file, format!("{FORMAT}\n"))
        }
        Err(error) => Err(Error::io(&file, "read the store's format", &error)),
    }
}

fn lock(path: &Path) -> Result<File> {
    let lock_path = path.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|error| Error::io(&lock_path, "open the store's lock", &error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
            let holder = fs::read_to_string(&lock_path).unwrap_or_default();
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            return Err(Error::file(path, format!("the store is in use by {holder}"))
                .hint("wait until that run ends, or name another store with `--store`"));
        }
        Err(error) => return Err(Error::io(&lock_path, "lock the store", &error.into())),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| Error::io(&lock_path, "write the store's lock", &error))?;
    Ok(file)
}

/// The artifact that this folder is, whichever store it lies in.
///
/// # Errors
/// When its record cannot be read, or its files are not those that it names.
pub fn open_artifact(path: &Path) -> Result<Artifact> {
    let record_path = path.join(RECORD_FILE);
    let text = fs::read(&record_path).map_err(|error| Error::io(&record_path, "read the record", &error))?;
    let record: Record = serde_json::from_slice(&text).map_err(|error| {
        let place = Place::file(&record_path).at(error.line().max(1), error.column().max(1));
        Error::user(place, format!("this is not a record of an artifact: {error}"))
    })?;
    let mut faults = Vec::new();
    for file in &record.files {
        let file_path = path.join(&file.path);
        let message = match fs::metadata(&file_path) {
            Ok(metadata) if metadata.is_file() && metadata.len() == file.bytes => continue,
            Ok(metadata) => format!("the file has {} bytes, and the record says {}", metadata.len(), file.bytes),
            Err(error) => format!("cannot open the file: {error}"),
        };
        let hint = "the artifact is damaged: run its recipe again to make it anew";
        faults.push(Fault::new(Place::file(file_path), message).hint(hint));
    }
    Error::collect(Artifact { id: record.id.clone(), path: path.to_path_buf(), record }, faults)
}

#[cfg(test)]
mod tests;
