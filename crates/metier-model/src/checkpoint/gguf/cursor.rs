//! Reading a GGUF header front to back, every length checked against the bytes that are left.

use metier_core::{Error, Place, Result};
use std::ops::Range;
use std::path::Path;

/// A place in a mapped file.
pub(super) struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self { path, bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// An error at the present place, about `what`.
    pub(super) fn error(&self, what: &str, message: impl Into<String>) -> Error {
        Error::user(Place::file(self.path).with_key(format!("{what} at byte {}", self.at)), message)
    }

    /// The range of the next `count` bytes, which are skipped.
    pub(super) fn skip(&mut self, count: u64, what: &str) -> Result<Range<usize>> {
        if count > self.left() as u64 {
            let message = format!(
                "{what} needs bytes {}..{}, and the file has {}: it was cut",
                self.at,
                (self.at as u64).saturating_add(count),
                self.bytes.len()
            );
            return Err(Error::file(self.path, message).hint("fetch or copy the file again"));
        }
        let range = self.at..self.at + count as usize;
        self.at = range.end;
        Ok(range)
    }

    fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8]> {
        let range = self.skip(count, what)?;
        Ok(&self.bytes[range])
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count of things of at least `least` bytes each, refused when the file cannot hold them.
    pub(super) fn count(&mut self, least: usize, what: &str) -> Result<u64> {
        let count = self.u64(what)?;
        if count.checked_mul(least as u64).is_none_or(|bytes| bytes > self.left() as u64) {
            let message = format!("{count} are announced, and the {} bytes left cannot hold them", self.left());
            return Err(self.error(what, message).hint("the file is damaged or was cut: fetch it again"));
        }
        Ok(count)
    }

    /// A text of at most `longest` bytes with its length before it.
    pub(super) fn text(&mut self, longest: u64, what: &str) -> Result<String> {
        let length = self.u64(what)?;
        if length > longest && length <= self.left() as u64 {
            return Err(self.error(what, format!("the text has {length} bytes, and at most {longest} are allowed")));
        }
        let start = self.at;
        let bytes = self.take(length, what)?;
        String::from_utf8(bytes.to_vec()).map_err(|error| {
            let at = start + error.utf8_error().valid_up_to();
            Error::user(Place::file(self.path).with_key(format!("{what} at byte {at}")), "the text is no UTF-8")
        })
    }
}
