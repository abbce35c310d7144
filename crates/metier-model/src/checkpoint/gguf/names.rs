//! Which tensor of a GGUF file holds which of a Hugging Face checkpoint, for every architecture by the same rules.

use super::header::TensorInfo;
use crate::arch::{self, Dialect};
use crate::checkpoint::layout::Layout;
use crate::checkpoint::{Kind, Stored};
use crate::config::Config;
use crate::layer::{NormKind, Part, WeightShape};
use metier_compute::block::{self, Block};
use metier_core::{Error, Fault, Place, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Tensors that the configuration is made of.
const OF_POSITIONS: &[&str] = &["rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"];

/// A tensor in both ways of writing it.
pub(super) struct Pair {
    /// What a Hugging Face checkpoint has.
    pub weight: WeightShape,
    /// What the file calls it; experts of a layer share one.
    pub name: String,
    /// How it lies there.
    pub layout: Layout,
}

/// Every tensor of a model, in the order of the forward pass.
pub(super) fn pairs(config: &Config, dialect: &Dialect) -> Vec<Pair> {
    arch::weight_shapes(config)
        .into_iter()
        .map(|weight| {
            let stem = Dialect::name_of(weight.part, weight.expert.is_some());
            let end = if weight.is_bias() { "bias" } else { "weight" };
            let name = format!("{}.{end}", stem.replace("{}", &weight.block.to_string()));
            let layout = layout(&weight, config, dialect);
            Pair { weight, name, layout }
        })
        .collect()
}

fn layout(weight: &WeightShape, config: &Config, dialect: &Dialect) -> Layout {
    match weight.part {
        Part::Query if dialect.interleaved => Layout::Interleaved { heads: config.heads },
        Part::Key if dialect.interleaved => Layout::Interleaved { heads: config.kv_heads },
        Part::QueryKeyValueByHead => Layout::ByKind { heads: config.heads },
        part if part.is_norm() && config.design.norm == NormKind::RmsOffset => Layout::PlusOne,
        _ if weight.transposed => Layout::OutputsFirst,
        _ => Layout::Same,
    }
}

/// A file's tensors under their Hugging Face names. What the model has no place for is refused, all together; what it lacks is
/// left out.
pub(super) fn hugging_face(
    path: &Path,
    infos: &[TensorInfo],
    config: &Config,
    dialect: &Dialect,
) -> Result<BTreeMap<String, Stored>> {
    let by_name: BTreeMap<&str, &TensorInfo> = infos.iter().map(|info| (info.name.as_str(), info)).collect();
    let mut tensors = BTreeMap::new();
    let mut used: BTreeSet<&str> = OF_POSITIONS.iter().copied().collect();
    let mut faults = Vec::new();
    for pair in pairs(config, dialect) {
        let Some((name, slice)) = find(&pair, &by_name, config) else { continue };
        let Some(info) = by_name.get(name.as_str()) else { continue };
        used.insert(&info.name);
        match slice.and_then(|slice| place(info, &pair, &slice)) {
            Ok(stored) => {
                tensors.insert(pair.weight.name, stored);
            }
            Err(message) => faults.push(Fault::new(Place::file(path).with_key(&info.name), message)),
        }
    }
    let model_type = config.design.architecture.model_type;
    faults.extend(infos.iter().filter(|info| !used.contains(info.name.as_str())).map(|info| {
        let message = format!("a model of the type `{model_type}` has no such tensor");
        Fault::new(Place::file(path).with_key(&info.name), message)
    }));
    Error::collect(tensors, faults)
}

/// The part of a file's tensor that one of the model's is.
enum Slice {
    All,
    /// One of so many along the first axis.
    Expert {
        number: usize,
        of: usize,
    },
    /// Some rows of a matrix or numbers of a list.
    Rows {
        first: usize,
        count: usize,
        of: usize,
    },
}

type Found = (String, Result<Slice, String>);

/// Where a file has a tensor: under its name, in a tensor of all experts, or among queries, keys and values in one.
fn find(pair: &Pair, by_name: &BTreeMap<&str, &TensorInfo>, config: &Config) -> Option<Found> {
    if by_name.contains_key(pair.name.as_str()) {
        let of = config.design.experts.as_ref().map_or(0, |experts| experts.count);
        let slice = pair.weight.expert.map_or(Slice::All, |number| Slice::Expert { number, of });
        return Some((pair.name.clone(), Ok(slice)));
    }
    if let Some(expert) = pair.weight.expert {
        // As older converters wrote them.
        let apart = pair.name.replace("_exps.", &format!(".{expert}."));
        return by_name.contains_key(apart.as_str()).then_some((apart, Ok(Slice::All)));
    }
    let (query, key) = (config.query_width(), config.key_width());
    let (own, first, count) = match pair.weight.part {
        Part::Query => ("attn_q.", 0, query),
        Part::Key => ("attn_k.", query, key),
        Part::Value => ("attn_v.", query + key, key),
        _ => return None,
    };
    let all = pair.name.replace(own, "attn_qkv.");
    by_name.contains_key(all.as_str()).then_some((all, Ok(Slice::Rows { first, count, of: query + 2 * key })))
}

fn place(info: &TensorInfo, pair: &Pair, slice: &Slice) -> Result<Stored, String> {
    let mut shape = info.shape.clone();
    let mut bytes = info.bytes.clone();
    let misfit = || format!("its shape {:?} is not what the configuration asks for", info.shape);
    match *slice {
        Slice::All => {}
        Slice::Expert { number, of } => {
            if shape.len() < 2 || shape.first() != Some(&of) || number >= of {
                return Err(misfit());
            }
            shape.remove(0);
            let size = bytes.len() / of;
            bytes = bytes.start + number * size..bytes.start + (number + 1) * size;
        }
        Slice::Rows { first, count, of } => {
            if shape.first() != Some(&of) {
                return Err(misfit());
            }
            let row: usize = shape[1..].iter().product();
            let size = row_bytes(info.block, row, first).zip(row_bytes(info.block, row, count));
            let (before, size) = size.ok_or_else(misfit)?;
            shape[0] = count;
            bytes = bytes.start + before..bytes.start + before + size;
        }
    }
    if pair.layout == Layout::OutputsFirst {
        shape.reverse();
    }
    // A matrix of one row may be a list in the file.
    if pair.weight.part == Part::SharedShare && shape.len() == 1 {
        shape.insert(0, 1);
    }
    // Other shapes are refused with all that the configuration asks for.
    if shape == pair.weight.stored()
        && let Some(message) = pair.layout.fault(shape.first().copied().unwrap_or_default())
    {
        return Err(message);
    }
    let layout = if shape == pair.weight.stored() { pair.layout } else { Layout::Same };
    Ok(Stored { shape, file: 0, bytes, kind: Kind::Blocks(info.block), layout })
}

fn row_bytes(block: &dyn Block, row: usize, rows: usize) -> Option<usize> {
    block::bytes_for(block, row.checked_mul(rows)?)
}
