//! Fetched assets on this machine, each in a folder named by its hash.

use metier_core::store::{create_folder, write_atomic};
use metier_core::{Error, Place, Result, progress, stop};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A folder of assets that may be shared by many runs at once.
///
/// `assets/<id>/` holds the files of one asset, `stamps/<id>.json` their hashes with the sizes and times
/// they were checked at, `locks/` one lock an asset, and `temporary/` what is being fetched.
#[derive(Debug, Clone)]
pub struct Cache {
    path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stamp {
    sha256: String,
    bytes: u64,
    /// When the file was changed last, in nanoseconds since 1970.
    modified: u128,
}

/// An asset in the cache.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) folder: PathBuf,
    pub(super) bytes: u64,
}

impl Cache {
    /// The cache at `METIER_CACHE`, else in `XDG_CACHE_HOME`, else in `~/.cache`.
    pub fn open() -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = set("METIER_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("metier")))
            .or_else(|| set("HOME").map(|folder| folder.join(".cache").join("metier")));
        match path {
            Some(path) => Self::at(path),
            None => Err(Error::user(Place::default(), "it is not known where to keep fetched assets")
                .hint("set METIER_CACHE to a folder")),
        }
    }

    /// The cache at a path; nothing is written before something is fetched.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self> {
        let path: PathBuf = path.into();
        let path = std::path::absolute(&path).map_err(|error| Error::io(&path, "find the cache", &error))?;
        Ok(Self { path })
    }

    /// The cache's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The asset of files with these names and hashes, when all are there unchanged. A file whose size
    /// or time differs from its stamp is hashed again.
    pub(super) fn find(&self, id: &str, files: &BTreeMap<String, String>) -> Result<Option<Held>> {
        let stamp_path = self.stamp_path(id);
        let stamps =
            fs::read(&stamp_path).ok().and_then(|text| serde_json::from_slice::<BTreeMap<String, Stamp>>(&text).ok());
        let Some(mut stamps) = stamps else { return Ok(None) };
        let folder = self.asset_path(id);
        let mut restamped = false;
        for (name, hash) in files {
            let Some(stamp) = stamps.get_mut(name) else { return Ok(None) };
            let path = folder.join(name);
            let Some((bytes, modified)) = size_and_time(&path) else { return Ok(None) };
            if (bytes, modified) != (stamp.bytes, stamp.modified) || *hash != stamp.sha256 {
                if sha256_of(&path)? != *hash {
                    progress::say(&format!("{} was changed; it is fetched again", path.display()));
                    return Ok(None);
                }
                *stamp = Stamp { sha256: hash.clone(), bytes, modified };
                restamped = true;
            }
        }
        if restamped {
            write_stamps(&stamp_path, &stamps)?;
        }
        let bytes = stamps.values().map(|stamp| stamp.bytes).sum();
        Ok(Some(Held { folder, bytes }))
    }

    /// A folder for something being fetched; removed when dropped.
    pub(super) fn temporary(&self) -> Result<tempfile::TempDir> {
        let folder = self.path.join("temporary");
        create_folder(&folder)?;
        remove_old(&folder);
        tempfile::Builder::new()
            .prefix("fetch-")
            .tempdir_in(&folder)
            .map_err(|error| Error::io(&folder, "create a folder", &error))
    }

    /// Puts a folder of files, whose hashes were checked, in the place of the asset `id`.
    pub(super) fn put(&self, id: &str, content: &Path, files: &BTreeMap<String, String>) -> Result<Held> {
        let target = self.asset_path(id);
        create_folder(self.path.join("assets"))?;
        create_folder(self.path.join("stamps"))?;
        if target.exists() {
            let old = self.temporary()?;
            fs::rename(&target, old.path().join("old"))
                .map_err(|error| Error::io(&target, "move the changed asset away", &error))?;
        }
        let mut stamps = BTreeMap::new();
        for (name, hash) in files {
            let path = content.join(name);
            let Some((bytes, modified)) = size_and_time(&path) else {
                return Err(Error::file(&path, "the fetched file is gone"));
            };
            stamps.insert(name.clone(), Stamp { sha256: hash.clone(), bytes, modified });
        }
        fs::rename(content, &target).map_err(|error| Error::io(&target, "put the asset into the cache", &error))?;
        write_stamps(&self.stamp_path(id), &stamps)?;
        let bytes = stamps.values().map(|stamp| stamp.bytes).sum();
        Ok(Held { folder: target, bytes })
    }

    /// Waits until no other run fetches the asset `id`, and keeps others out until dropped.
    pub(super) fn lock(&self, id: &str) -> Result<File> {
        let folder = self.path.join("locks");
        create_folder(&folder)?;
        let path = folder.join(id);
        let file = File::create(&path).map_err(|error| Error::io(&path, "open the lock of an asset", &error))?;
        let mut told = false;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                    if !told {
                        progress::say("another run fetches this asset; waiting for it");
                        told = true;
                    }
                    stop::check()?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) => return Err(Error::io(&path, "lock an asset", &error.into())),
            }
        }
    }

    fn asset_path(&self, id: &str) -> PathBuf {
        self.path.join("assets").join(id)
    }

    fn stamp_path(&self, id: &str) -> PathBuf {
        self.path.join("stamps").join(format!("{id}.json"))
    }
}

/// The SHA-256 of a file's bytes in hexadecimal.
pub(super) fn sha256_of(path: &Path) -> Result<String> {
    let failed = |error: std::io::Error| Error::io(path, "read the file", &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        stop::check()?;
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok(hexadecimal(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

/// One hash for several files: the SHA-256 of the lines `hash  name`, sorted by name.
pub(super) fn hash_of_files(files: &BTreeMap<String, String>) -> String {
    let mut hasher = Sha256::new();
    for (name, hash) in files {
        hasher.update(format!("{hash}  {name}\n"));
    }
    hexadecimal(&hasher.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn write_stamps(path: &Path, stamps: &BTreeMap<String, Stamp>) -> Result<()> {
    let text = serde_json::to_vec_pretty(stamps)
        .map_err(|error| Error::program(format!("the stamps of an asset do not serialize: {error}")))?;
    write_atomic(path, text)
}

fn size_and_time(path: &Path) -> Option<(u64, u128)> {
    let metadata = fs::metadata(path).ok()?;
    let modified = metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    metadata.is_file().then_some((metadata.len(), modified.as_nanos()))
}

/// Removes what runs that were killed left behind more than a day ago.
fn remove_old(folder: &Path) {
    const DAY: Duration = Duration::from_hours(24);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > DAY) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
