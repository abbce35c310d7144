//! PyTorch's files of state dicts (`pytorch_model.bin`): zip archives, and the pickles of before version 1.6.
//!
//! Pickles are programs. Here they are read as data: see `pickle.rs` for what is understood.

mod pickle;
mod zip;

use super::layout::Layout;
use super::{Kind, Stored};
use metier_compute::block;
use metier_core::{Error, Fault, Place, Result};
use pickle::{Storage, Tensor};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// What files of before version 1.6 begin with: a pickle of PyTorch's number.
const OLD: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The tensors of a mapped file, which will be file number `file` of its checkpoint.
pub(super) fn read(path: &Path, bytes: &[u8], file: usize) -> Result<Vec<(String, Stored)>> {
    let (tensors, storages) = if bytes.starts_with(b"PK\x03\x04") {
        archive(path, bytes)?
    } else if bytes.starts_with(OLD) {
        old(path, bytes)?
    } else {
        return Err(Error::file(
            path,
            "this is no file of PyTorch: it begins neither as its archives nor as its pickles",
        ));
    };
    let mut found = Vec::with_capacity(tensors.len());
    let mut faults = Vec::new();
    for (name, tensor) in tensors {
        match place(&tensor, &storages) {
            Ok(stored) => found.push((name, Stored { file, ..stored })),
            Err(message) => faults.push(Fault::new(Place::file(path).with_key(name), message)),
        }
    }
    faults.truncate(20);
    Error::collect(found, faults)
}

type Contents = (Vec<(String, Tensor)>, BTreeMap<String, Range<usize>>);

fn archive(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let mut files = zip::read(path, bytes)?;
    let pickles: Vec<String> = files.keys().filter(|name| name.ends_with("/data.pkl")).cloned().collect();
    let [name] = pickles.as_slice() else {
        return Err(Error::file(path, format!("the archive has {} files `data.pkl`, not one", pickles.len())));
    };
    let folder = name.strip_suffix("data.pkl").unwrap_or_default();
    let order = files.get(&format!("{folder}byteorder")).and_then(|range| bytes.get(range.clone()));
    if order.is_some_and(|order| order != b"little") {
        return Err(Error::file(path, "the file is big endian, and only little-endian ones are read"));
    }
    let content = files.remove(name).and_then(|range| bytes.get(range)).unwrap_or_default();
    let (pickle, _) = pickle::read(path, content)?;
    let start = format!("{folder}data/");
    let storages =
        files.into_iter().filter_map(|(name, range)| Some((name.strip_prefix(&start)?.to_owned(), range))).collect();
    Ok((pickle.tensors(path)?, storages))
}

/// Five pickles (PyTorch's number, a version, the machine, the state dict, the keys of its storages), then each storage
/// behind its length.
fn old(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let mut at = 0;
    let mut next = || -> Result<pickle::Pickle> {
        let (pickle, length) = pickle::read(path, bytes.get(at..).unwrap_or_default())?;
        at += length;
        Ok(pickle)
    };
    for _ in 0..3 {
        next()?;
    }
    let tensors = next()?.tensors(path)?;
    let keys = next()?.texts().ok_or_else(|| Error::file(path, "the keys of storages are no list of texts"))?;
    let sizes: BTreeMap<&str, usize> =
        tensors.iter().map(|(_, tensor)| (&*tensor.storage.key, tensor.storage.kind.bytes)).collect();
    let mut storages = BTreeMap::new();
    for key in keys {
        let size = sizes.get(key.as_str());
        let size = *size.ok_or_else(|| Error::file(path, format!("no tensor is in the storage `{key}`")))?;
        let range = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).and_then(|length| {
            let from = at + 8;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?.checked_mul(size)?;
            let to = from.checked_add(length)?;
            (to <= bytes.len()).then_some(from..to)
        });
        let range =
            range.ok_or_else(|| Error::file(path, format!("the storage `{key}` is not whole: the file was cut")))?;
        at = range.end;
        storages.insert(key, range);
    }
    Ok((tensors, storages))
}

fn place(tensor: &Tensor, storages: &BTreeMap<String, Range<usize>>) -> Result<Stored, String> {
    let Tensor { storage: Storage { key, kind, count }, offset, shape, strides } = tensor;
    let range = storages.get(&**key).ok_or_else(|| format!("its storage `{key}` is not in the file"))?;
    let beyond = || format!("its shape {shape:?} at {offset} is beyond its storage of {count} numbers");
    let size = |number: u64| usize::try_from(number).ok();
    let dimensions: Option<Vec<usize>> = shape.iter().map(|length| size(*length)).collect();
    let dimensions = dimensions.ok_or_else(beyond)?;
    let mut whole = 1_usize;
    let mut in_order = shape.len() == strides.len();
    for (length, stride) in dimensions.iter().zip(strides).rev() {
        in_order &= *length < 2 || size(*stride) == Some(whole);
        whole = whole.checked_mul(*length).ok_or_else(beyond)?;
    }
    let bytes = whole.checked_mul(kind.bytes).zip(size(*offset).and_then(|offset| offset.checked_mul(kind.bytes)));
    let bytes = bytes.and_then(|(length, first)| {
        let from = range.start.checked_add(first)?;
        let to = from.checked_add(length)?;
        (to <= range.end).then_some(from..to)
    });
    let other = match kind.block {
        _ if !in_order => Some(format!("a view with the strides {strides:?}")),
        None => Some(kind.class.to_owned()),
        Some(_) => None,
    };
    let (kind, bytes) = match (other, kind.block.and_then(block::of_name)) {
        (None, Some(block)) => (Kind::Blocks(block), bytes.ok_or_else(beyond)?),
        (other, _) => (Kind::Other(other.unwrap_or_default()), bytes.unwrap_or(0..0)),
    };
    Ok(Stored { shape: dimensions, file: 0, bytes, kind, layout: Layout::Same })
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_testkit::{fixture, golden};

    fn read_fixture(name: &str) -> (Vec<u8>, Result<Vec<(String, Stored)>>) {
        let path = fixture(format!("models/{name}"));
        let bytes = std::fs::read(&path).unwrap();
        let read = read(&path, &bytes, 0);
        (bytes, read)
    }

    #[test]
    fn both_forms_of_files_hold_the_numbers_of_pytorch() {
        let golden = golden::read(fixture("golden/state_dict.json"));
        for name in ["state_dict.bin", "state_dict_old.bin"] {
            let (bytes, found) = read_fixture(name);
            let found: BTreeMap<String, Stored> = found.unwrap().into_iter().collect();
            assert_eq!(found.len(), golden["tensors"].as_object().unwrap().len());
            for (tensor, want) in golden["tensors"].as_object().unwrap() {
                let stored = &found[tensor];
                let shape: Vec<usize> = serde_json::from_value(want["shape"].clone()).unwrap();
                assert_eq!(stored.shape, shape, "{name}: {tensor}");
                match &stored.kind {
                    Kind::Blocks(block) => {
                        let numbers = block::dequantize(*block, &bytes[stored.bytes.clone()]).unwrap();
                        assert_eq!(numbers, golden::numbers(&want["values"]), "{name}: {tensor}");
                    }
                    Kind::Other(kind) => assert!(
                        (tensor == "steps" && kind == "LongStorage")
                            || (tensor == "turned.weight" && kind == "a view with the strides [1, 6]"),
                        "{name}: {tensor}: {kind}"
                    ),
                }
            }
        }
    }

    #[test]
    fn what_a_pickle_would_run_is_refused_by_name() {
        let error = read_fixture("state_dict_hostile.bin").1.err().unwrap().to_string();
        assert!(error.contains("it asks for `posix.mkdir`, and no code of a file is run"), "{error}");
        assert!(!Path::new("opened-by-a-pickle").exists());
    }

    #[test]
    fn a_cut_file_is_refused_at_every_length() {
        for name in ["state_dict.bin", "state_dict_old.bin"] {
            let (bytes, _) = read_fixture(name);
            for length in 0..bytes.len() {
                assert!(read(Path::new("cut.bin"), &bytes[..length], 0).is_err(), "{name}: {length}");
            }
        }
    }
}
