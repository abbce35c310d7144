//! The file: settings, dictionary, input matrix, output matrix, little endian.

use super::{Buckets, LABEL, Loss, Matrix, Model, Pruned};
use metier_core::{Error, Fault, Place, Result};
use std::collections::HashMap;
use std::path::Path;

const MAGIC: i32 = 793_712_314;
const VERSION: i32 = 12;
/// Centers in a codebook of quantized rows.
const CENTERS: usize = 256;

struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn fault(&self, message: impl std::fmt::Display) -> Error {
        Fault::new(Place::file(self.path), format!("{message} (at byte {})", self.at))
            .hint("a fastText classifier ends in .bin or .ftz")
            .into()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else { return Err(self.fault(format!("the file ends before {count} more bytes"))) };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.fault("the file ends"))
    }

    fn number(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    fn long(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool> {
        Ok(self.array::<1>()?[0] != 0)
    }

    /// A number that must lie from 0 to `most`.
    fn count(&self, what: &str, number: impl Into<i64>, most: i64) -> Result<usize> {
        let number = number.into();
        if (0..=most).contains(&number) {
            return Ok(number as usize);
        }
        Err(self.fault(format!("{what} is {number}, but must be from 0 to {most}")))
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>> {
        let bytes = self.take(count.checked_mul(4).ok_or_else(|| self.fault("a matrix is too large"))?)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    fn word(&mut self) -> Result<&'a [u8]> {
        let length = self.bytes[self.at..].iter().position(|byte| *byte == 0);
        let Some(length) = length else { return Err(self.fault("a word has no end")) };
        let word = self.take(length)?;
        self.at += 1;
        Ok(word)
    }
}

/// Most of anything that a file can state: what lies beyond is a broken file.
const MOST: i64 = 1 << 31;
/// Numbers that a matrix may have once it is read out.
const LARGEST: usize = 1 << 31;

pub(super) fn read(path: &Path) -> Result<Model> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, "read", &error))?;
    let mut reader = Reader { path, bytes: &bytes, at: 0 };
    let (magic, version) = (reader.number()?, reader.number()?);
    if magic != MAGIC || version != VERSION {
        return Err(reader.fault(format!("no fastText model of version {VERSION}: it begins with {magic}, {version}")));
    }
    let mut settings = [0; 12];
    for setting in &mut settings {
        *setting = reader.number()?;
    }
    reader.take(8)?;
    let [dimension, _, _, _, _, word_sequences, loss, kind, buckets, shortest, longest, _] = settings;
    if kind != 3 {
        return Err(reader.fault("the model is no classifier, but word vectors"));
    }
    let loss = match loss {
        1 => Loss::Hierarchical,
        3 => Loss::Softmax,
        2 | 4 => Loss::OneVersusAll,
        other => return Err(reader.fault(format!("there is no loss of number {other}"))),
    };
    let dimension = reader.count("the dimension", dimension, 1 << 16)?;
    let buckets = reader.count("the number of buckets", buckets, MOST)?;
    let shortest = reader.count("the shortest n-gram", shortest, 1 << 10)?;
    let longest = reader.count("the longest n-gram", longest, 1 << 10)?;
    let word_sequences = reader.count("the longest sequence of words", word_sequences, 1 << 10)?;
    if buckets == 0 && (longest > 0 || word_sequences > 1) {
        return Err(reader.fault("the model has n-grams but no buckets for them"));
    }
    let size = reader.number()?;
    let size = reader.count("the size of the dictionary", size, MOST)?;
    let word_count = reader.number()?;
    let word_count = reader.count("the number of words", word_count, size as i64)?;
    let label_count = reader.number()?;
    let label_count = reader.count("the number of labels", label_count, (size - word_count) as i64)?;
    reader.long()?;
    let prunes = reader.long()?;
    let mut words = HashMap::default();
    let mut labels = Vec::new();
    let mut counts = Vec::new();
    for index in 0..size {
        let word = reader.word()?;
        let count = reader.long()?;
        if reader.flag()? {
            let label = String::from_utf8_lossy(word);
            labels.push(label.strip_prefix(LABEL).unwrap_or(&label).to_owned());
            counts.push(count);
        } else {
            words.insert(word.into(), index as u32);
        }
    }
    if labels.len() != label_count || words.len() > word_count || labels.is_empty() {
        return Err(reader.fault("the dictionary does not have the words and labels that it states"));
    }
    let pruned = if prunes >= 0 {
        let mut kept = HashMap::default();
        for _ in 0..reader.count("the number of kept rows", prunes, MOST)? {
            let (from, to) = (reader.number()?, reader.number()?);
            kept.insert(from as u32, reader.count("a kept row", to, MOST)? as u32);
        }
        Some(Pruned::new(kept))
    } else {
        None
    };
    let quantized = reader.flag()?;
    let input = if quantized { quantized_matrix(&mut reader)? } else { matrix(&mut reader)? };
    let quantized = reader.flag()? && quantized;
    let output = if quantized { quantized_matrix(&mut reader)? } else { matrix(&mut reader)? };
    if input.columns != dimension || output.columns != dimension {
        return Err(reader.fault(format!("the matrices have not {dimension} columns")));
    }
    let tree = if loss == Loss::Hierarchical { tree(&counts) } else { Vec::new() };
    let buckets = buckets.max(1) as u32;
    let hash = blake3::hash(reader.bytes).to_hex().to_string();
    Ok(Model {
        hash,
        dimension,
        shortest,
        longest,
        word_sequences,
        buckets: Buckets::new(buckets),
        loss,
        words,
        word_count,
        labels,
        pruned,
        input,
        output,
        tree,
    })
}

fn matrix(reader: &mut Reader) -> Result<Matrix> {
    let (rows, columns) = shape(reader)?;
    Ok(Matrix { columns, values: reader.floats(rows * columns)? })
}

/// Rows and columns, whose product is bounded.
fn shape(reader: &mut Reader) -> Result<(usize, usize)> {
    let (rows, columns) = (reader.long()?, reader.long()?);
    let (rows, columns) = (reader.count("rows", rows, MOST)?, reader.count("columns", columns, 1 << 16)?);
    match rows.checked_mul(columns) {
        Some(all) if all <= LARGEST => Ok((rows, columns)),
        _ => Err(reader.fault(format!("a matrix of {rows} rows and {columns} columns is too large"))),
    }
}

/// A codebook of a product quantizer: [`CENTERS`] centers for each part of a row.
struct Codebook {
    parts: usize,
    width: usize,
    last: usize,
    centers: Vec<f32>,
}

impl Codebook {
    fn read(reader: &mut Reader) -> Result<Self> {
        let mut sizes = [0; 4];
        for size in &mut sizes {
            let number = reader.number()?;
            *size = reader.count("a size of a codebook", number, 1 << 16)?;
        }
        let [columns, parts, width, last] = sizes;
        if parts == 0 || last == 0 || last > width || (parts - 1) * width + last != columns {
            return Err(reader.fault("a codebook's parts do not add up to its rows"));
        }
        Ok(Self { parts, width, last, centers: reader.floats(columns * CENTERS)? })
    }

    /// The numbers that a code stands for in part `part`.
    fn center(&self, part: usize, code: u8) -> &[f32] {
        let code = usize::from(code);
        if part + 1 == self.parts {
            let start = part * CENTERS * self.width + code * self.last;
            return &self.centers[start..start + self.last];
        }
        let start = (part * CENTERS + code) * self.width;
        &self.centers[start..start + self.width]
    }
}

fn quantized_matrix(reader: &mut Reader) -> Result<Matrix> {
    let with_norms = reader.flag()?;
    let (rows, columns) = shape(reader)?;
    let size = reader.number()?;
    let size = reader.count("the number of codes", size, MOST)?;
    let codes = reader.take(size)?;
    let book = Codebook::read(reader)?;
    if size != rows * book.parts || (book.parts - 1) * book.width + book.last != columns {
        return Err(reader.fault("the codes do not fit the matrix"));
    }
    let norms = if with_norms {
        let codes = reader.take(rows)?;
        let book = Codebook::read(reader)?;
        Some(codes.iter().map(|code| book.center(0, *code)[0]).collect::<Vec<f32>>())
    } else {
        None
    };
    let mut values = Vec::with_capacity(rows * columns);
    for (row, codes) in codes.chunks(book.parts).enumerate() {
        let norm = norms.as_ref().map_or(1.0, |norms| norms[row]);
        for (part, code) in codes.iter().enumerate() {
            values.extend(book.center(part, *code).iter().map(|value| norm * value));
        }
    }
    Ok(Matrix { columns, values })
}

/// The Huffman tree over labels, which stand from the most to the least frequent.
fn tree(counts: &[i64]) -> Vec<(u32, u32)> {
    let leaves = counts.len();
    let mut all: Vec<i64> = counts.to_vec();
    let mut nodes = Vec::new();
    let (mut leaf, mut node) = (leaves, leaves);
    for _ in 1..leaves {
        let mut pair = [0; 2];
        for place in &mut pair {
            // A leaf is taken while it is rarer than the first node that is left.
            if leaf > 0 && all.get(node).is_none_or(|count| all[leaf - 1] < *count) {
                leaf -= 1;
                *place = leaf;
            } else {
                *place = node;
                node += 1;
            }
        }
        all.push(all[pair[0]].saturating_add(all[pair[1]]));
        nodes.push((pair[0] as u32, pair[1] as u32));
    }
    nodes
}
