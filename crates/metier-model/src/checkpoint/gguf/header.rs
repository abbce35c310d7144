//! A GGUF file's header: counts, metadata, and where each tensor lies.
//!
//! Layout (versions 2 and 3, little endian): the four letters `GGUF`, the version, the numbers of tensors and
//! of metadata keys, the metadata, one record for each tensor, padding up to the alignment, then the tensors'
//! bytes at offsets that the records count from there.

use super::cursor::Cursor;
use super::metadata::Metadata;
use metier_compute::block::{self, Block};
use metier_core::{Error, Fault, Place, Result};
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

const LONGEST_NAME: u64 = 1024;
const MOST_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: usize = 32;
/// Faults of more tensors than this are counted and not shown.
const MOST_FAULTS: usize = 20;

/// A tensor as the file describes it.
pub(super) struct TensorInfo {
    pub name: String,
    /// Row-major: the file's own order reversed.
    pub shape: Vec<usize>,
    pub block: &'static dyn Block,
    pub bytes: Range<usize>,
}

/// What stands before the tensors' bytes.
pub(super) struct Header {
    pub metadata: Metadata,
    pub tensors: Vec<TensorInfo>,
}

struct Record {
    name: String,
    dimensions: Vec<u64>,
    kind: u32,
    offset: u64,
}

/// Reads the header of a mapped file and checks every size and place in it.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Header> {
    let mut cursor = Cursor::new(path, bytes);
    let magic: [u8; 4] = cursor.array("the magic")?;
    if magic != *b"GGUF" {
        return Err(Error::file(path, "this is no GGUF file: it does not begin with `GGUF`")
            .hint("name a Hugging Face folder or a GGUF file"));
    }
    let version = cursor.u32("the version")?;
    if version.swap_bytes() == 2 || version.swap_bytes() == 3 {
        return Err(Error::file(path, "the file is big endian, and only little-endian ones are read"));
    }
    if version != 2 && version != 3 {
        return Err(Error::file(path, format!("the file has GGUF version {version}, and versions 2 and 3 are read")));
    }
    // A record has at least 8 bytes of name length, 4 of dimensions, 8 of one, 4 of type and 8 of offset; a key
    // 8 of length, 4 of type and 1 of value.
    let tensors = cursor.count(32, "the number of tensors")?;
    let keys = cursor.count(13, "the number of metadata keys")?;
    let metadata = Metadata::read(path, &mut cursor, keys)?;
    let mut records = Vec::new();
    for number in 0..tensors {
        records.push(read_record(&mut cursor, number)?);
    }
    let alignment = metadata.size("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() {
        let message = format!("the alignment is {alignment}, and must be a power of two");
        return Err(metadata.fault("general.alignment", message).into());
    }
    let start = cursor.at().next_multiple_of(alignment);
    let tensors = place_tensors(path, records, start, alignment, bytes.len())?;
    Ok(Header { metadata, tensors })
}

fn read_record(cursor: &mut Cursor<'_>, number: u64) -> Result<Record> {
    let name = cursor.text(LONGEST_NAME, &format!("the name of tensor {number}"))?;
    let what = format!("the record of tensor `{name}`");
    let count = cursor.u32(&what)?;
    if count == 0 || count > MOST_DIMENSIONS {
        let message = format!("the tensor has {count} dimensions, and 1 to {MOST_DIMENSIONS} are allowed");
        return Err(cursor.error(&what, message));
    }
    let dimensions = (0..count).map(|_| cursor.u64(&what)).collect::<Result<_>>()?;
    Ok(Record { name, dimensions, kind: cursor.u32(&what)?, offset: cursor.u64(&what)? })
}

fn place_tensors(
    path: &Path,
    records: Vec<Record>,
    start: usize,
    alignment: usize,
    length: usize,
) -> Result<Vec<TensorInfo>> {
    let mut faults = Vec::new();
    let mut names = HashSet::new();
    let mut tensors: Vec<TensorInfo> = Vec::with_capacity(records.len());
    for record in records {
        let place = Place::file(path).with_key(&record.name);
        if !names.insert(record.name.clone()) {
            faults.push(Fault::new(place.clone(), "two tensors have this name"));
        }
        match place_tensor(record, start, alignment, length) {
            Ok(tensor) => tensors.push(tensor),
            Err(fault) => faults.push(Fault { place, ..*fault }),
        }
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.bytes.start);
    for pair in order.windows(2) {
        if pair[1].bytes.start < pair[0].bytes.end {
            let message =
                format!("its bytes {:?} overlap those of `{}`, {:?}", pair[1].bytes, pair[0].name, pair[0].bytes);
            faults.push(Fault::new(Place::file(path).with_key(&pair[1].name), message));
        }
    }
    if faults.len() > MOST_FAULTS {
        let more = faults.len() - MOST_FAULTS;
        faults.truncate(MOST_FAULTS);
        faults.push(Fault::new(Place::file(path), format!("{more} more faults of tensors are not shown")));
    }
    Error::collect(tensors, faults)
}

fn place_tensor(record: Record, start: usize, alignment: usize, length: usize) -> Result<TensorInfo, Box<Fault>> {
    let fault = |message: String| Box::new(Fault::new(Place::default(), message));
    let Some(block) = block::of_gguf_type(record.kind) else {
        let known: Vec<&str> = block::BLOCKS.iter().map(|block| block.name()).collect();
        let message = format!("the tensor is stored as {}, which is not read", kind_name(record.kind));
        return Err(Box::new(fault(message).hint(format!("known: {}", known.join(", ")))));
    };
    let shape: Option<Vec<usize>> = record.dimensions.iter().rev().map(|&size| usize::try_from(size).ok()).collect();
    let size = shape.as_ref().and_then(|shape| {
        let values = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
        let row = *shape.last()?;
        if values > 0 && row.is_multiple_of(block.values()) { block::bytes_for(block, values) } else { None }
    });
    let (Some(shape), Some(size)) = (shape, size) else {
        let message = format!(
            "dimensions {:?} are too many, none, or no rows of whole {} blocks of {}",
            record.dimensions,
            block.name(),
            block.values()
        );
        return Err(fault(message));
    };
    if !record.offset.is_multiple_of(alignment as u64) {
        return Err(fault(format!("its offset {} is no multiple of the alignment {alignment}", record.offset)));
    }
    let from = usize::try_from(record.offset).ok().and_then(|offset| start.checked_add(offset));
    let Some((from, to)) = from.and_then(|from| Some((from, from.checked_add(size)?))) else {
        return Err(fault(format!("its offset {} is beyond any file", record.offset)));
    };
    if to > length {
        let message = format!("the tensor needs bytes {from}..{to}, and the file has {length}: it was cut");
        return Err(Box::new(fault(message).hint("fetch or copy the file again")));
    }
    Ok(TensorInfo { name: record.name, shape, block, bytes: from..to })
}

/// What ggml calls a type that is not read here.
fn kind_name(kind: u32) -> String {
    let name = match kind {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24..=27 => return format!("integers (type {kind})"),
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("type {kind}"),
    };
    format!("{name} (type {kind})")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of matrices, of which each is given by its width, its kind and its offset; all have two rows.
    fn file(tensors: &[(u64, u32, u64)], data: usize) -> Vec<u8> {
        let mut bytes = [&b"GGUF"[..], &3_u32.to_le_bytes()].concat();
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        for (number, (width, kind, offset)) in tensors.iter().enumerate() {
            bytes.extend(1_u64.to_le_bytes());
            bytes.push(b'a' + number as u8);
            bytes.extend(2_u32.to_le_bytes());
            bytes.extend(width.to_le_bytes());
            bytes.extend(2_u64.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(DEFAULT_ALIGNMENT) + data, 0);
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        read(Path::new("a.gguf"), bytes).err().expect("the file was read").to_string()
    }

    #[test]
    fn sizes_and_places_of_every_type_are_checked() {
        for block in block::BLOCKS {
            let (width, kind, name) = (2 * block.values() as u64, block.gguf_type(), block.name());
            let size = 4 * block.bytes();
            let second = size.next_multiple_of(DEFAULT_ALIGNMENT) as u64;
            let two = [(width, kind, 0), (width, kind, second)];
            let whole = file(&two, second as usize + size);
            let Header { tensors, .. } = read(Path::new("a.gguf"), &whole).unwrap();
            assert_eq!((tensors[1].bytes.len(), tensors[1].bytes.end), (size, whole.len()), "{name}");
            assert!(refusal(&whole[..whole.len() - 1]).contains("b: the tensor needs bytes"), "{name}");
            let overlapping = file(&[(width, kind, 0), (width, kind, 0)], size);
            assert!(refusal(&overlapping).contains("overlap those of `a`"), "{name}");
            assert!(refusal(&file(&[(width, kind, 1)], size + 1)).contains("no multiple of the alignment"), "{name}");
            assert!(refusal(&file(&[(width, kind, u64::MAX - 31)], size)).contains("beyond any file"), "{name}");
            assert!(
                refusal(&file(&[(u64::MAX / 2, kind, 0)], size)).contains("are too many, none, or no rows"),
                "{name}"
            );
            if block.values() > 1 {
                let cut = file(&[(width / 4, kind, 0)], size);
                assert!(refusal(&cut).contains(&format!("no rows of whole {name} blocks")), "{name}");
            }
        }
        assert!(refusal(&file(&[(256, 16, 0)], 256)).contains("stored as IQ2_XXS (type 16), which is not read"));
    }
}
