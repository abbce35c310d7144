//! Where the files inside a zip archive lie, of archives whose files are stored as they are.
//!
//! Source: PKWARE, APPNOTE.TXT 6.3.10.

use metier_core::{Error, Fault, Place, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// A number at a place; none beyond the end.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut all = [0; 8];
    all[..N].copy_from_slice(bytes.get(at..at.checked_add(N)?)?);
    Some(u64::from_le_bytes(all))
}

fn size(number: u64) -> Option<usize> {
    usize::try_from(number).ok()
}

/// The files of an archive by name.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>> {
    let damaged = |message: &str| Error::file(path, message).hint("the file is damaged or was cut: fetch it again");
    let end = find_end(bytes).ok_or_else(|| damaged("the archive has no end record"))?;
    let (count, start) = directory(bytes, end).ok_or_else(|| damaged("the archive's end record is damaged"))?;
    let mut files = BTreeMap::new();
    let mut at = start;
    for _ in 0..count {
        let (file, next) = entry(bytes, at).ok_or_else(|| damaged("the archive's directory is damaged"))?;
        at = next;
        let place = Place::file(path).with_key(&file.name);
        let Some(range) = file.range else {
            return Err(Fault::new(place, "the file is compressed or beyond the archive")
                .hint("PyTorch stores files as they are")
                .into());
        };
        if files.insert(file.name, range).is_some() {
            return Err(Fault::new(place, "two files of the archive have this name").into());
        }
    }
    Ok(files)
}

/// The place of the end record: the last one whose comment fits.
fn find_end(bytes: &[u8]) -> Option<usize> {
    const LENGTH: usize = 22;
    let last = bytes.len().checked_sub(LENGTH)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    (first..=last).rev().find(|&at| {
        bytes[at..].starts_with(b"PK\x05\x06")
            && number::<2>(bytes, at + 20).and_then(size).is_some_and(|comment| at + LENGTH + comment == bytes.len())
    })
}

/// How many files there are, and where the directory begins.
fn directory(bytes: &[u8], end: usize) -> Option<(u64, usize)> {
    let (count, start) = (number::<2>(bytes, end + 10)?, number::<4>(bytes, end + 16)?);
    if count < u64::from(u16::MAX) && start < u64::from(u32::MAX) {
        return Some((count, size(start)?));
    }
    // Archives beyond 4 GB say it in a record of their own.
    let locator = end.checked_sub(20)?;
    if !bytes.get(locator..)?.starts_with(b"PK\x06\x07") {
        return Some((count, size(start)?));
    }
    let record = size(number::<8>(bytes, locator + 8)?)?;
    if !bytes.get(record..)?.starts_with(b"PK\x06\x06") {
        return None;
    }
    Some((number::<8>(bytes, record.checked_add(32)?)?, size(number::<8>(bytes, record.checked_add(48)?)?)?))
}

struct File {
    name: String,
    /// None when its bytes are not those of the file.
    range: Option<Range<usize>>,
}

/// The entry at a place, and where the next begins.
fn entry(bytes: &[u8], at: usize) -> Option<(File, usize)> {
    let header = bytes.get(at..)?;
    if !header.starts_with(b"PK\x01\x02") {
        return None;
    }
    let part = |place: usize| number::<2>(header, place).and_then(size);
    let (name, extra, comment) = (part(28)?, part(30)?, part(32)?);
    let text = std::str::from_utf8(header.get(46..46 + name)?).ok()?.to_owned();
    let mut long = header.get(46 + name..46 + name + extra)?;
    // Lengths of 4 bytes that are full stand in the extra field, in this order.
    let mut numbers = [number::<4>(header, 24)?, number::<4>(header, 20)?, number::<4>(header, 42)?];
    while let (Some(kind), Some(length)) = (number::<2>(long, 0), number::<2>(long, 2).and_then(size)) {
        let content = long.get(4..4 + length)?;
        if kind == 1 {
            let mut place = 0;
            for number in numbers.iter_mut().filter(|number| **number == u64::from(u32::MAX)) {
                *number = self::number::<8>(content, place)?;
                place += 8;
            }
        }
        long = &long[4 + length..];
    }
    let [plain, stored, offset] = numbers;
    let is_plain = number::<2>(header, 10)? == 0 && number::<2>(header, 8)? & 1 == 0 && plain == stored;
    let range = is_plain.then(|| content(bytes, offset, plain)).flatten();
    Some((File { name: text, range }, at.checked_add(46 + name + extra + comment)?))
}

/// The bytes of a file behind its own header.
fn content(bytes: &[u8], offset: u64, length: u64) -> Option<Range<usize>> {
    let at = size(offset)?;
    let header = bytes.get(at..)?;
    if !header.starts_with(b"PK\x03\x04") {
        return None;
    }
    let before = 30 + size(number::<2>(header, 26)?)? + size(number::<2>(header, 28)?)?;
    let from = at.checked_add(before)?;
    let to = from.checked_add(size(length)?)?;
    (to <= bytes.len()).then_some(from..to)
}
