//! The header of a safetensors file: 8 bytes with its length, then JSON with each tensor's type, shape and bytes.

use super::layout::Layout;
use super::{Kind, Stored};
use metier_compute::block;
use metier_core::{Error, Fault, Place, Result};
use serde_json::Value;
use std::path::Path;

/// No header is longer: the format's own limit.
const MAXIMUM_HEADER: u64 = 100_000_000;

/// The tensors of a mapped safetensors file, which will be file number `file` of its checkpoint.
///
/// A tensor's bytes are inside the file and as many as its type and shape need; no two overlap.
pub(super) fn read(path: &Path, bytes: &[u8], file: usize) -> Result<Vec<(String, Stored)>> {
    let damaged = |message: String| Error::file(path, message).hint("the file is damaged or no safetensors file");
    let Some(length) = bytes.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(damaged(format!("a safetensors file begins with 8 bytes, and this one has {}", bytes.len())));
    };
    if length > MAXIMUM_HEADER {
        return Err(damaged(format!("the header would have {length} bytes, and at most {MAXIMUM_HEADER} are allowed")));
    }
    let start = 8 + length as usize;
    let Some(header) = bytes.get(8..start) else {
        let message = format!("the header needs bytes 8..{start}, and the file has {}: it was cut", bytes.len());
        return Err(damaged(message));
    };
    let header: Value =
        serde_json::from_slice(header).map_err(|error| damaged(format!("the header is no JSON: {error}")))?;
    let Value::Object(header) = header else {
        return Err(damaged("the header is no JSON object".to_owned()));
    };
    let mut tensors = Vec::with_capacity(header.len());
    let mut faults = Vec::new();
    for (name, entry) in header {
        if name == "__metadata__" {
            continue;
        }
        match tensor(&entry, start, bytes.len()) {
            Ok(stored) => tensors.push((name, Stored { file, ..stored })),
            Err(message) => faults.push(Fault::new(Place::file(path).with_key(name), message)),
        }
    }
    find_overlaps(path, &tensors, &mut faults);
    Error::collect(tensors, faults)
}

fn tensor(entry: &Value, start: usize, length: usize) -> Result<Stored, String> {
    let kind = entry["dtype"].as_str().ok_or("the header gives no `dtype`")?;
    let shape: Vec<usize> = numbers(&entry["shape"]).ok_or("the header gives no `shape` of whole numbers")?;
    let offsets = numbers(&entry["data_offsets"]).filter(|offsets| offsets.len() == 2);
    let offsets = offsets.ok_or("the header gives no two `data_offsets`")?;
    let (Some(from), Some(to)) = (start.checked_add(offsets[0]), start.checked_add(offsets[1])) else {
        return Err(format!("its bytes {}..{} are beyond any file", offsets[0], offsets[1]));
    };
    if from > to {
        return Err(format!("its bytes end at {to}, before they begin at {from}"));
    }
    if to > length {
        return Err(format!("the tensor needs bytes {from}..{to}, and the file has {length}: it was cut"));
    }
    let kind = match kind {
        "F32" | "F16" | "BF16" => block::of_name(kind).map_or_else(|| Kind::Other(kind.to_owned()), Kind::Blocks),
        other => Kind::Other(other.to_owned()),
    };
    if let Kind::Blocks(block) = &kind {
        let values = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        let need = values.and_then(|values| values.checked_mul(block.bytes()));
        if need != Some(to - from) {
            let need = need.map_or_else(|| "more than any file has".to_owned(), |need| need.to_string());
            let message =
                format!("shape {shape:?} of {} needs {need} bytes, and {} are given", block.name(), to - from);
            return Err(message);
        }
    }
    Ok(Stored { shape, file: 0, bytes: from..to, kind, layout: Layout::Same })
}

fn numbers(value: &Value) -> Option<Vec<usize>> {
    value.as_array()?.iter().map(|number| usize::try_from(number.as_u64()?).ok()).collect()
}

fn find_overlaps(path: &Path, tensors: &[(String, Stored)], faults: &mut Vec<Fault>) {
    let mut order: Vec<&(String, Stored)> = tensors.iter().filter(|(_, stored)| !stored.bytes.is_empty()).collect();
    order.sort_by_key(|(_, stored)| (stored.bytes.start, stored.bytes.end));
    for pair in order.windows(2) {
        let [(first, before), (name, after)] = pair else { continue };
        if after.bytes.start < before.bytes.end {
            let message = format!("its bytes {:?} overlap those of `{first}`, {:?}", after.bytes, before.bytes);
            faults.push(Fault::new(Place::file(path).with_key(name), message));
        }
    }
}
