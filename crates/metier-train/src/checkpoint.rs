//! How a killed run goes on as if nothing had happened.
//!
//! A checkpoint is one file, `checkpoint-<step>.bin`:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `metier-train-ck\n` |
//! | 4 | version of this layout, little endian |
//! | 8 | length of the header, little endian |
//! | … | header, JSON: fingerprint of the run, step, length of the log, name and length of each tensor |
//! | … | the log: the run's `loss.jsonl` up to the step |
//! | … | the tensors in the header's order, `f32`, little endian |
//! | 32 | BLAKE3 of everything before |
//!
//! It is written under another name, flushed to the disk and renamed, so a file of this name is whole
//! unless the disk lost it; then the last 32 bytes tell. The newest two are kept.

use metier_core::{Error, Place, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"metier-train-ck\n";
const VERSION: u32 = 1;
const KEPT: usize = 2;
const HASH: u64 = 32;
/// Larger headers are not ours: a hundred bytes for each of some hundred thousand tensors.
const HEADER_LIMIT: u64 = 1 << 26;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    fingerprint: String,
    step: u64,
    log_bytes: u64,
    tensors: Vec<(String, u64)>,
}

/// A named tensor's numbers, to be written.
pub type Stored<'a> = (String, &'a [f32]);

/// The checkpoints of one run.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    fingerprint: String,
}

/// A checkpoint that was found whole.
#[derive(Debug)]
pub struct Found {
    path: PathBuf,
    header: Header,
    log_at: u64,
}

impl Checkpoints {
    /// The checkpoints under `folder` (made if missing) of the run with this fingerprint.
    pub fn open(folder: &Path, fingerprint: String) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, "make the folder of checkpoints", &error))?;
        Ok(Self { folder: folder.to_path_buf(), fingerprint })
    }

    /// The newest whole checkpoint, and a note for each torn one, which is removed.
    ///
    /// # Errors
    /// When the newest whole one belongs to another run or was written in another layout.
    pub fn newest(&self) -> Result<(Option<Found>, Vec<String>)> {
        let mut notes = Vec::new();
        for (_, path) in self.list()?.into_iter().rev() {
            match inspect(&path)? {
                Ok(found) if found.header.fingerprint == self.fingerprint => return Ok((Some(found), notes)),
                Ok(found) => {
                    return Err(Error::file(
                        &path,
                        format!(
                            "this checkpoint belongs to another run (its fingerprint is {}, this run's is {})",
                            short(&found.header.fingerprint),
                            short(&self.fingerprint)
                        ),
                    )
                    .hint(
                        "go on with the settings, model and documents it was made with, or remove it to begin anew",
                    ));
                }
                Err(why) => {
                    notes.push(format!("{}: passed over, {why}", path.display()));
                    fs::remove_file(&path).map_err(|error| Error::io(&path, "remove the torn checkpoint", &error))?;
                }
            }
        }
        Ok((None, notes))
    }

    /// Writes the checkpoint of `step` and removes all but the newest two.
    ///
    /// # Errors
    /// When the disk refuses; what was there before stays.
    pub fn save(&self, step: u64, log: &str, tensors: &[Stored<'_>]) -> Result<()> {
        let path = self.folder.join(format!("checkpoint-{step:010}.bin"));
        let partial = self.folder.join(format!("checkpoint-{step:010}.partial"));
        let header = Header {
            fingerprint: self.fingerprint.clone(),
            step,
            log_bytes: log.len() as u64,
            tensors: tensors.iter().map(|(name, values)| (name.clone(), values.len() as u64)).collect(),
        };
        let written =
            write(&partial, &header, log, tensors).and_then(|()| fs::rename(&partial, &path)).and_then(|()| {
                // The new name itself must be on the disk before an older file goes.
                File::open(&self.folder)?.sync_all()
            });
        if let Err(error) = written {
            // Best effort: what matters is told by `error`.
            drop(fs::remove_file(&partial));
            return Err(Error::io(&path, "write the checkpoint", &error));
        }
        let all = self.list()?;
        for (_, old) in &all[..all.len().saturating_sub(KEPT)] {
            fs::remove_file(old).map_err(|error| Error::io(old, "remove an old checkpoint", &error))?;
        }
        Ok(())
    }

    /// Steps and files, ascending; leftovers of an interrupted write are removed on the way.
    fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        let failed = |error: &std::io::Error| Error::io(&self.folder, "list the checkpoints", error);
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|error| failed(&error))? {
            let path = entry.map_err(|error| failed(&error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some(name) = name.strip_prefix("checkpoint-") else { continue };
            if let Some(step) = name.strip_suffix(".bin").and_then(|step| step.parse().ok()) {
                all.push((step, path));
            } else if name.ends_with(".partial") {
                fs::remove_file(&path).map_err(|error| Error::io(&path, "remove a half-written checkpoint", &error))?;
            }
        }
        all.sort();
        Ok(all)
    }
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

fn write(path: &Path, header: &Header, log: &str, tensors: &[Stored<'_>]) -> std::io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let mut file = Hashing { to: BufWriter::with_capacity(1 << 20, File::create(path)?), hash: blake3::Hasher::new() };
    file.write_all(MAGIC)?;
    file.write_all(&VERSION.to_le_bytes())?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    file.write_all(log.as_bytes())?;
    let mut bytes = Vec::with_capacity(4 * BLOCK);
    for (_, values) in tensors {
        for block in values.chunks(BLOCK) {
            bytes.clear();
            bytes.extend(block.iter().flat_map(|value| value.to_le_bytes()));
            file.write_all(&bytes)?;
        }
    }
    let hash = *file.hash.finalize().as_bytes();
    file.to.write_all(&hash)?;
    file.to.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}

/// Numbers converted at once.
const BLOCK: usize = 1 << 16;

struct Hashing<W> {
    to: W,
    hash: blake3::Hasher,
}

impl<W: Write> Hashing<W> {
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.to.write_all(bytes)
    }
}

/// The checkpoint at `path` if it is whole, else in words why not. The outer error is that of reading.
fn inspect(path: &Path) -> Result<std::result::Result<Found, String>> {
    let failed = |error: &std::io::Error| Error::io(path, "read the checkpoint", error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let length = file.metadata().map_err(|error| failed(&error))?.len();
    let prefix = (MAGIC.len() + 4 + 8) as u64;
    if length < prefix + HASH {
        return Ok(Err(format!("it is only {length} bytes long")));
    }
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut (&mut file).take(length - HASH), &mut hasher).map_err(|error| failed(&error))?;
    let mut end = [0; HASH as usize];
    file.read_exact(&mut end).map_err(|error| failed(&error))?;
    if *hasher.finalize().as_bytes() != end {
        return Ok(Err("its last 32 bytes do not fit the rest".into()));
    }
    file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
    let mut start = [0; 28];
    file.read_exact(&mut start).map_err(|error| failed(&error))?;
    let version = u32::from_le_bytes([start[16], start[17], start[18], start[19]]);
    if start[..16] != *MAGIC || version != VERSION {
        return Err(Error::file(path, format!("this checkpoint is not of layout {VERSION}"))
            .hint("go on with the program that wrote it, or remove it to begin anew"));
    }
    let header_length = u64::from_le_bytes(std::array::from_fn(|i| start[20 + i]));
    if header_length > HEADER_LIMIT || header_length > length - prefix - HASH {
        return Ok(Err(format!("its header claims {header_length} bytes")));
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header).map_err(|error| failed(&error))?;
    let header: Header = match serde_json::from_slice(&header) {
        Ok(header) => header,
        Err(error) => return Ok(Err(format!("its header cannot be read: {error}"))),
    };
    let numbers = header.tensors.iter().try_fold(0_u64, |sum, (_, count)| sum.checked_add(count.checked_mul(4)?));
    let claimed =
        numbers.and_then(|bytes| bytes.checked_add(header.log_bytes)?.checked_add(prefix + header_length + HASH));
    if claimed != Some(length) {
        return Ok(Err(format!("its header does not fit its {length} bytes")));
    }
    Ok(Ok(Found { path: path.to_path_buf(), header, log_at: prefix + header_length }))
}

impl Found {
    /// Number of steps done.
    pub fn step(&self) -> u64 {
        self.header.step
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to read it back. `expected` is what the run would save: names and lengths, in the same order.
    pub fn restore(&self, expected: &[(String, usize)]) -> Result<Restoring> {
        let known = self.header.tensors.iter().map(|(name, count)| (name.as_str(), *count));
        if !known.eq(expected.iter().map(|(name, count)| (name.as_str(), *count as u64))) {
            return Err(Error::file(&self.path, "the checkpoint's tensors are not those of this model")
                .hint("go on with the model it was made with, or remove it to begin anew"));
        }
        let failed = |error: &std::io::Error| Error::io(&self.path, "read the checkpoint", error);
        let mut file = BufReader::with_capacity(1 << 20, File::open(&self.path).map_err(|error| failed(&error))?);
        file.seek(SeekFrom::Start(self.log_at)).map_err(|error| failed(&error))?;
        let mut log = vec![0; self.header.log_bytes as usize];
        file.read_exact(&mut log).map_err(|error| failed(&error))?;
        let log = String::from_utf8(log)
            .map_err(|_| Error::user(Place::file(&self.path).with_key("log"), "the log is no UTF-8"))?;
        Ok(Restoring { path: self.path.clone(), file, bytes: vec![0; 4 * BLOCK], log })
    }
}

/// A checkpoint that is being read back.
#[derive(Debug)]
pub struct Restoring {
    path: PathBuf,
    file: BufReader<File>,
    bytes: Vec<u8>,
    /// The run's `loss.jsonl` up to the checkpoint.
    pub log: String,
}

impl Restoring {
    /// Reads the next tensor.
    pub fn fill(&mut self, values: &mut [f32]) -> Result<()> {
        for block in values.chunks_mut(BLOCK) {
            let bytes = &mut self.bytes[..4 * block.len()];
            self.file.read_exact(bytes).map_err(|error| Error::io(&self.path, "read the checkpoint", &error))?;
            for (value, word) in block.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*word);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(checkpoints: &Checkpoints, step: u64) {
        let values = [step as f32, -0.0, f32::MIN_POSITIVE];
        checkpoints.save(step, "one\n", &[("a".into(), &values), ("b".into(), &values[..1])]).unwrap();
    }

    fn read(found: &Found) -> (String, [f32; 3]) {
        let (mut a, mut b) = ([0.0; 3], [0.0; 1]);
        let mut restoring = found.restore(&[("a".into(), 3), ("b".into(), 1)]).unwrap();
        restoring.fill(&mut a).unwrap();
        restoring.fill(&mut b).unwrap();
        assert_eq!(a[0].to_bits(), b[0].to_bits());
        (restoring.log, a)
    }

    #[test]
    fn what_was_saved_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(folder.path(), "f".into()).unwrap();
        assert!(checkpoints.newest().unwrap().0.is_none());
        for step in [1, 2, 10] {
            save(&checkpoints, step);
        }
        let (found, notes) = checkpoints.newest().unwrap();
        let found = found.unwrap();
        assert_eq!((found.step(), notes.len()), (10, 0));
        let (log, values) = read(&found);
        assert_eq!(log, "one\n");
        assert_eq!(values.map(f32::to_bits), [10.0, -0.0, f32::MIN_POSITIVE].map(f32::to_bits));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), KEPT);
    }

    #[test]
    fn every_torn_file_falls_back_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(folder.path(), "f".into()).unwrap();
        save(&checkpoints, 1);
        save(&checkpoints, 2);
        let newest = folder.path().join("checkpoint-0000000002.bin");
        let whole = fs::read(&newest).unwrap();
        for length in 0..whole.len() {
            fs::write(&newest, &whole[..length]).unwrap();
            let (found, notes) = checkpoints.newest().unwrap();
            assert_eq!((found.unwrap().step(), notes.len()), (1, 1), "cut to {length} bytes");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&newest, &flipped).unwrap();
            assert_eq!(checkpoints.newest().unwrap().0.unwrap().step(), 1, "flipped byte {at}");
        }
    }

    #[test]
    fn a_half_written_file_is_no_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(folder.path(), "f".into()).unwrap();
        save(&checkpoints, 1);
        fs::write(folder.path().join("checkpoint-0000000002.partial"), b"metier").unwrap();
        assert_eq!(checkpoints.newest().unwrap().0.unwrap().step(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_foreign_checkpoint_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        save(&Checkpoints::open(folder.path(), "one".into()).unwrap(), 3);
        let error = Checkpoints::open(folder.path(), "other".into()).unwrap().newest().unwrap_err();
        assert!(error.to_string().contains("checkpoint-0000000003.bin: this checkpoint belongs to another run"));
    }

    #[test]
    fn other_tensors_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(folder.path(), "f".into()).unwrap();
        save(&checkpoints, 1);
        let found = checkpoints.newest().unwrap().0.unwrap();
        assert!(found.restore(&[("a".into(), 2), ("b".into(), 1)]).is_err());
    }
}
