//! Writing a GGUF file: first a plan that says all of it, then the tensors, one after another.

use super::describe::{Description, Entry, describe};
use super::mixture::{Chooser, Mixture};
use super::names::{Pair, pairs};
use super::vocabulary;
use crate::arch::dialect::TiedHead;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::layout::Layout;
use crate::config::Config;
use crate::layer::Part;
use metier_compute::block::{self, Block};
use metier_core::{Error, Fault, Place, Result, store};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

const ALIGNMENT: usize = 32;

/// A GGUF file before it is written.
pub struct GgufPlan {
    tensors: Vec<Planned>,
    header: Vec<u8>,
    /// What another program will compute otherwise, for people.
    pub notes: Vec<String>,
}

/// A tensor of the file.
struct Planned {
    name: String,
    /// Outputs first.
    shape: Vec<usize>,
    block: &'static dyn Block,
    bytes: usize,
    /// Why it is not of the type of most matrices.
    why: Option<String>,
    content: Content,
}

enum Content {
    /// Tensors of a Hugging Face checkpoint, one after another.
    Weights(Vec<Source>),
    /// These numbers.
    Numbers(Vec<f32>),
}

struct Source {
    name: String,
    shape: Vec<usize>,
    layout: Layout,
}

/// Tensors of one type in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The type, as ggml calls it.
    pub block: &'static str,
    /// Why these are not of the type that was asked for; none for those that are, and for what is never stored in fewer bits.
    pub why: Option<String>,
    /// How many.
    pub tensors: usize,
    /// Their numbers.
    pub values: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl GgufPlan {
    /// The file that holds a model with the configuration, tokenizer and chat template of `like`.
    ///
    /// Refused, with all reasons together, when the format cannot say what the model computes.
    pub fn new(like: &Checkpoint, mixture: Mixture) -> Result<Self> {
        let config = Config::from_json(&like.config).map_err(|error| error.in_file(like.path()))?;
        let architecture = config.design.architecture;
        let Some(dialect) = &architecture.dialect else {
            let message =
                format!("llama.cpp does not have the architecture `{}` with its head", architecture.model_type);
            return Err(Fault::new(Place::file(like.path()).with_key("config.json: model_type"), message)
                .hint("export a Hugging Face folder: it holds every model that is read")
                .into());
        };
        let Description { keys: own, divisors, mut notes } =
            describe(&config, dialect).map_err(|error| error.in_file(like.path()))?;
        let to = mixture.block_name();
        if mixture.is_quantized()
            && let Some(from) = like.rounded_to().filter(|from| *from != to)
        {
            notes.push(format!(
                "the weights are in {from} and are rounded once more to {to}: from a model in 16 bits or more, if there is one, the \
                 file gets better"
            ));
        }
        let repeats = config.tied_embeddings && dialect.tied_head == TiedHead::Repeated;
        let chooser = Chooser::new(mixture, &config, dialect, !config.tied_embeddings || repeats);
        let mut tensors = planned(pairs(&config, dialect), repeats, &chooser)?;
        for (name, numbers) in divisors {
            let shape = vec![numbers.len()];
            tensors.push(Planned::new(name.to_owned(), shape, "F32", None, Content::Numbers(numbers))?);
        }
        let mut keys = vec![
            ("general.architecture".to_owned(), Entry::Text(dialect.name.to_owned())),
            ("general.type".to_owned(), Entry::Text("model".to_owned())),
            ("general.file_type".to_owned(), Entry::Whole(mixture.file_type())),
            // Of the layouts of blocks.
            ("general.quantization_version".to_owned(), Entry::Whole(2)),
        ];
        keys.extend(own.into_iter().map(|(key, entry)| (format!("{}.{key}", dialect.name), entry)));
        keys.extend(vocabulary::describe(like, config.vocabulary_size)?);
        let header = header(&keys, &tensors);
        Ok(Self { tensors, header, notes })
    }

    /// How many bytes the file will have.
    pub fn bytes(&self) -> u64 {
        let tensors: usize = self.tensors.iter().map(|tensor| tensor.bytes.next_multiple_of(ALIGNMENT)).sum();
        (self.header.len() + tensors) as u64
    }

    /// Numbers in the largest tensor, which is held as `f32` and in its blocks while it is written.
    pub fn largest(&self) -> usize {
        self.tensors.iter().map(Planned::values).max().unwrap_or_default()
    }

    /// Numbers in all tensors.
    pub fn values(&self) -> usize {
        self.tensors.iter().map(Planned::values).sum()
    }

    /// How many tensors of which types there will be, and why where it is not the type asked for.
    pub fn shares(&self) -> Vec<Share> {
        let mut shares: BTreeMap<(&str, Option<&str>), Share> = BTreeMap::new();
        for tensor in &self.tensors {
            let block = tensor.block.name();
            let share = shares.entry((block, tensor.why.as_deref())).or_insert_with(|| Share {
                block,
                why: tensor.why.clone(),
                tensors: 0,
                values: 0,
                bytes: 0,
            });
            share.tensors += 1;
            share.values += tensor.values();
            share.bytes += tensor.bytes;
        }
        shares.into_values().collect()
    }

    /// Writes the file, which is whole or not there. `read` gives the numbers of a tensor by its name in a Hugging Face
    /// checkpoint; one tensor at a time is held, and of merged experts one expert.
    pub fn write(&self, path: &Path, mut read: impl FnMut(&str) -> Result<Vec<f32>>) -> Result<()> {
        let failed = |error: std::io::Error| Error::io(path, "write the file", &error);
        store::write_atomic_with(path, |file| {
            file.write_all(&self.header).map_err(failed)?;
            for tensor in &self.tensors {
                let mut written = 0;
                let mut put = |values: &[f32]| -> Result<()> {
                    // In pieces of whole rows, so that numbers and blocks are not held at once.
                    for rows in values.chunks(tensor.piece()) {
                        let bytes = block::quantize(tensor.block, rows)?;
                        written += bytes.len();
                        file.write_all(&bytes).map_err(failed)?;
                    }
                    Ok(())
                };
                match &tensor.content {
                    Content::Numbers(numbers) => put(numbers)?,
                    Content::Weights(sources) => {
                        for source in sources {
                            put(&source.layout.written(source.values(&mut read)?, &source.shape))?;
                        }
                    }
                }
                if written != tensor.bytes {
                    return Err(Error::program(format!("`{}` has {written} bytes, not {}", tensor.name, tensor.bytes)));
                }
                let fill = tensor.bytes.next_multiple_of(ALIGNMENT) - tensor.bytes;
                file.write_all(&[0; ALIGNMENT][..fill]).map_err(failed)?;
            }
            Ok(())
        })
    }
}

impl Source {
    fn values(&self, read: &mut impl FnMut(&str) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
        let values = read(&self.name)?;
        if values.len() == self.shape.iter().product::<usize>() {
            return Ok(values);
        }
        let message = format!("the tensor has {} numbers, and its shape is {:?}", values.len(), self.shape);
        Err(Fault::new(Place::key(&self.name), message).into())
    }
}

impl Planned {
    fn new(
        name: String,
        shape: Vec<usize>,
        block: &'static str,
        why: Option<String>,
        content: Content,
    ) -> Result<Self> {
        let found = block::of_name(block);
        let block = found.ok_or_else(|| Error::program(format!("there is no type `{block}`")))?;
        let bytes = shape
            .iter()
            .try_fold(1_usize, |product, &size| product.checked_mul(size))
            .and_then(|values| block::bytes_for(block, values))
            .ok_or_else(|| Fault::new(Place::key(&name), format!("the shape {shape:?} is of no size a file has")))?;
        Ok(Self { name, shape, block, bytes, why, content })
    }

    fn values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Numbers that are made into blocks at once: whole rows, some megabytes.
    fn piece(&self) -> usize {
        let row = self.shape.last().copied().unwrap_or(1).max(1);
        row * (1_usize << 20).div_ceil(row)
    }
}

/// The tensors of the file; experts of a layer are one.
fn planned(pairs: Vec<Pair>, repeats: bool, chooser: &Chooser) -> Result<Vec<Planned>> {
    let mut tensors: Vec<Planned> = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, layer: usize, source: Source| -> Result<()> {
        let (block, why) = chooser.choose(&name, &shape, layer);
        tensors.push(Planned::new(name, shape, block, why, Content::Weights(vec![source]))?);
        Ok(())
    };
    let mut merged: BTreeMap<String, (Vec<usize>, usize, Vec<Source>)> = BTreeMap::new();
    let mut embedding = None;
    for Pair { weight, name, layout } in pairs {
        let source = Source { name: weight.name.clone(), shape: weight.stored(), layout };
        if weight.part == Part::Embedding && repeats {
            embedding =
                Some((weight.shape.clone(), Source { name: weight.name.clone(), shape: weight.stored(), layout }));
        }
        if weight.expert.is_some() {
            merged.entry(name).or_insert_with(|| (weight.shape, weight.block, Vec::new())).2.push(source);
            continue;
        }
        add(name, weight.shape, weight.block, source)?;
    }
    if let Some((shape, source)) = embedding {
        add("output.weight".to_owned(), shape, 0, source)?;
    }
    for (name, (shape, layer, sources)) in merged {
        let shape = [&[sources.len()][..], &shape].concat();
        let (block, why) = chooser.choose(&name, &shape, layer);
        tensors.push(Planned::new(name, shape, block, why, Content::Weights(sources))?);
    }
    Ok(tensors)
}

/// Everything before the tensors' bytes.
fn header(keys: &[(String, Entry)], tensors: &[Planned]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (key, entry) in keys {
        put_text(&mut out, key);
        put_entry(&mut out, entry);
    }
    let mut offset = 0_usize;
    for tensor in tensors {
        put_text(&mut out, &tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            out.extend((*size as u64).to_le_bytes());
        }
        out.extend(tensor.block.gguf_type().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes.next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A value with the number of its type before it.
fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    const ARRAY: u32 = 9;
    let list = |out: &mut Vec<u8>, kind: u32, length: usize| {
        out.extend(ARRAY.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend((length as u64).to_le_bytes());
    };
    match entry {
        Entry::Whole(number) => {
            out.extend(4_u32.to_le_bytes());
            out.extend(number.to_le_bytes());
        }
        Entry::Number(number) => {
            out.extend(6_u32.to_le_bytes());
            out.extend(number.to_le_bytes());
        }
        Entry::Flag(flag) => {
            out.extend(7_u32.to_le_bytes());
            out.push(u8::from(*flag));
        }
        Entry::Text(text) => {
            out.extend(8_u32.to_le_bytes());
            put_text(out, text);
        }
        Entry::Texts(texts) => {
            list(out, 8, texts.len());
            for text in texts {
                put_text(out, text);
            }
        }
        Entry::Wholes(numbers) => {
            list(out, 5, numbers.len());
            for number in numbers {
                out.extend(number.to_le_bytes());
            }
        }
        Entry::Numbers(numbers) => {
            list(out, 6, numbers.len());
            for number in numbers {
                out.extend(number.to_le_bytes());
            }
        }
        Entry::Flags(flags) => {
            list(out, 7, flags.len());
            out.extend(flags.iter().map(|flag| u8::from(*flag)));
        }
    }
}
