//! Lines of token ids: in memory, or in files that are mapped, so that a text may be larger than memory.

use metier_core::data::TokenId;
use metier_core::{Error, Result, store};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The ids of all lines, and where each line ends among them, counted in ids.
const FILES: [&str; 2] = ["lines.ids", "lines.ends"];

/// Lines of token ids.
#[derive(Clone, Default)]
pub struct Lines {
    stored: Stored,
}

#[derive(Clone)]
enum Stored {
    Here(Vec<Vec<TokenId>>),
    Mapped([Arc<dyn AsRef<[u8]> + Send + Sync>; 2]),
}

impl Default for Stored {
    fn default() -> Self {
        Self::Here(Vec::new())
    }
}

impl From<Vec<Vec<TokenId>>> for Lines {
    fn from(lines: Vec<Vec<TokenId>>) -> Self {
        Self { stored: Stored::Here(lines) }
    }
}

impl Lines {
    /// The lines that a [`LinesWriter`] wrote into a folder.
    ///
    /// # Errors
    /// When they are not there.
    pub fn open(folder: &Path) -> Result<Self> {
        let [ids, ends] = FILES.map(|name| store::map_file(folder.join(name)));
        Ok(Self { stored: Stored::Mapped([Arc::new(ids?), Arc::new(ends?)]) })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.stored {
            Stored::Here(lines) => lines.len(),
            Stored::Mapped([_, ends]) => ends.as_ref().as_ref().len() / size_of::<u64>(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of a line; none where there is no such line.
    pub fn line(&self, at: usize) -> Vec<TokenId> {
        match &self.stored {
            Stored::Here(lines) => lines.get(at).cloned().unwrap_or_default(),
            Stored::Mapped([ids, ends]) => {
                let end = |at: usize| {
                    let bytes = ends.as_ref().as_ref().get(at * size_of::<u64>()..)?.first_chunk()?;
                    Some(u64::from_le_bytes(*bytes) as usize * size_of::<TokenId>())
                };
                let from = if at == 0 { Some(0) } else { end(at - 1) };
                let bytes = from.zip(end(at)).and_then(|(from, to)| ids.as_ref().as_ref().get(from..to));
                let (ids, _) = bytes.unwrap_or_default().as_chunks();
                ids.iter().map(|id| TokenId::from_le_bytes(*id)).collect()
            }
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Vec<TokenId>> {
        (0..self.len()).map(|at| self.line(at))
    }
}

/// Lines being written, to be read by [`Lines::open`].
pub struct LinesWriter {
    folder: PathBuf,
    files: [BufWriter<File>; 2],
    ids: u64,
}

impl LinesWriter {
    /// Begins the files in a folder anew.
    ///
    /// # Errors
    /// When they cannot be created.
    pub fn create(folder: &Path) -> Result<Self> {
        let create = |name: &str| -> Result<BufWriter<File>> {
            let path = folder.join(name);
            let file = File::create(&path).map_err(|error| Error::io(&path, "create the file", &error))?;
            Ok(BufWriter::new(file))
        };
        let [ids, ends] = FILES.map(create);
        Ok(Self { folder: folder.to_path_buf(), files: [ids?, ends?], ids: 0 })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn push(&mut self, line: &[TokenId]) -> Result<()> {
        self.ids += line.len() as u64;
        let [ids, ends] = &mut self.files;
        let written = line.iter().try_for_each(|id| ids.write_all(&id.to_le_bytes()));
        let written = written.and_then(|()| ends.write_all(&self.ids.to_le_bytes()));
        written.map_err(|error| Error::io(&self.folder, "write the lines", &error))
    }

    /// Flushes the files to the disk.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<()> {
        for mut file in self.files {
            let written = file.flush().and_then(|()| file.get_ref().sync_all());
            written.map_err(|error| Error::io(&self.folder, "write the lines", &error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let folder = metier_testkit::scratch("lines");
        let lines = vec![vec![1, 2, 70_000], vec![], vec![5]];
        let mut writer = LinesWriter::create(folder.path()).unwrap();
        for line in &lines {
            writer.push(line).unwrap();
        }
        writer.finish().unwrap();
        let read = Lines::open(folder.path()).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), lines);
        assert_eq!(Lines::from(lines.clone()).iter().collect::<Vec<_>>(), lines);
        assert!(read.line(3).is_empty() && read.len() == 3 && Lines::default().is_empty());
        LinesWriter::create(folder.path()).unwrap().finish().unwrap();
        assert!(Lines::open(folder.path()).unwrap().is_empty());
    }
}
