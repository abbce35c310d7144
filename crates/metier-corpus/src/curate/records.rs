//! Numbers that stand for each document, on the disk, so that an interrupted call has them again.

use metier_core::{Error, Result};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// A file of records of `N` numbers each.
pub(super) struct Records<const N: usize> {
    path: PathBuf,
    out: BufWriter<File>,
}

impl<const N: usize> Records<N> {
    /// The file, of which the first `records` count. Calls `take` with each of them, in order; what comes after is removed.
    pub fn resume(path: &Path, records: u64, mut take: impl FnMut([u64; N])) -> Result<Self> {
        let wrong = |error: std::io::Error| Error::io(path, "open", &error);
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(wrong)?;
        let mut reader = BufReader::new(&file);
        for _ in 0..records {
            let mut record = [0; N];
            for number in &mut record {
                let mut bytes = [0; 8];
                reader.read_exact(&mut bytes).map_err(wrong)?;
                *number = u64::from_le_bytes(bytes);
            }
            take(record);
        }
        let length = records * 8 * N as u64;
        file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length))).map_err(wrong)?;
        Ok(Self { path: path.to_path_buf(), out: BufWriter::new(file) })
    }

    /// Adds a record.
    pub fn add(&mut self, record: [u64; N]) -> Result<()> {
        let mut written = record.iter().map(|number| self.out.write_all(&number.to_le_bytes()));
        written.find(std::io::Result::is_err).unwrap_or(Ok(())).map_err(|error| Error::io(&self.path, "write", &error))
    }

    /// Brings all records to the disk.
    pub fn sync(&mut self) -> Result<()> {
        let written = self.out.flush().and_then(|()| self.out.get_ref().sync_data());
        written.map_err(|error| Error::io(&self.path, "write", &error))
    }
}
