//! The pass that says what each document is compared by.

use super::settings::Compared;
use metier_core::data::Document;
use metier_core::progress::Progress;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result, stop};
use metier_model::{Decoder, LocalModel};
use std::io::Write as _;
use std::path::Path;

/// Documents given to the model together. A fixed number, so that a pass that goes on makes the same numbers.
const BATCH: usize = 64;
/// Rows that the model computes at once, if no document is longer.
const ROWS: usize = 2048;
/// Documents without a direction that are named.
const NAMED: usize = 8;
/// The file in which a pass keeps what it has: of each document its numbers and, as one more, how many tokens were read.
const KEPT: &str = "states.f32";

/// A pass through documents.
pub struct Pass<'a> {
    pub model: &'a LocalModel,
    pub layer: usize,
    pub compared: Compared,
    pub seed: Seed,
    /// The documents, one a line.
    pub file: &'a Path,
    /// How many they are.
    pub documents: usize,
}

/// Most memory that a pass holds: the weights, and what one block keeps of rows.
pub fn memory(decoder: &Decoder) -> u64 {
    let plan = decoder.memory_plan(ROWS.max(decoder.config().context_length));
    plan.weights + plan.activations / decoder.config().layers.max(1) as u64 + (64 << 20)
}

/// Blocks behind which hidden states are taken, of a model of so many. A fault is at the key `layer`.
pub fn layer_of(asked: Option<usize>, layers: usize) -> Result<usize> {
    let layer = asked.unwrap_or((3 * layers).div_ceil(4));
    if layer > layers {
        let fault = Fault::new(Place::key("layer"), format!("the model has {layers} blocks, not {layer}"));
        return Err(fault.hint("leave it out to take three quarters of them").into());
    }
    Ok(layer)
}

impl Pass<'_> {
    /// Rows of [`metier_core::seam::Embed::dimension`] numbers, one behind the other, and how many tokens were read. What an interrupted call has done lies in `scratch`.
    pub fn run(&self, width: usize, scratch: &Path) -> Result<(Vec<f32>, u64)> {
        let path = scratch.join(KEPT);
        let failed = |error: std::io::Error| Error::io(&path, "write", &error);
        let mut out = std::fs::File::options().create(true).append(true).open(&path).map_err(failed)?;
        let row = 4 * (width as u64 + 1);
        let mut done = (out.metadata().map_err(failed)?.len() / row) as usize;
        if done < self.documents {
            done = done / BATCH * BATCH;
        }
        out.set_len(done as u64 * row).map_err(failed)?;
        let progress = Progress::new("hidden states", Some(self.documents as u64), "documents");
        progress.resume_at(done as u64);
        let mut documents = metier_corpus::read_documents(self.file)?.enumerate().skip(done);
        let mut bytes = Vec::new();
        while done < self.documents {
            stop::check()?;
            let batch: Vec<(usize, Document)> = documents
                .by_ref()
                .take(BATCH)
                .map(|(number, document)| Ok((number, document?)))
                .collect::<Result<_>>()?;
            if batch.is_empty() {
                return Err(Error::file(self.file, "the documents became fewer while they were read"));
            }
            bytes.clear();
            for (values, tokens) in self.rows(&batch, width)? {
                bytes.extend(values.iter().chain([&f32::from_bits(tokens)]).flat_map(|value| value.to_le_bytes()));
            }
            out.write_all(&bytes).map_err(failed)?;
            done += batch.len();
            progress.add(batch.len() as u64);
        }
        progress.finish();
        let bytes = std::fs::read(&path).map_err(|error| Error::io(&path, "read", &error))?;
        let (mut values, mut tokens) = (Vec::with_capacity(done * width), 0);
        for row in bytes.as_chunks::<4>().0.chunks_exact(width + 1) {
            values.extend(row[..width].iter().map(|value| f32::from_le_bytes(*value)));
            tokens += u64::from(u32::from_le_bytes(row[width]));
        }
        Ok((values, tokens))
    }

    /// The numbers and tokens of documents. Those whose numbers have no direction are a fault.
    fn rows(&self, batch: &[(usize, Document)], width: usize) -> Result<Vec<(Vec<f32>, u32)>> {
        if self.compared == Compared::Noise {
            let noise = self.seed.derive("noise");
            let row = |(number, _): &(usize, Document)| {
                let mut random = noise.at(*number as u64);
                ((0..width).map(|_| random.normal() as f32).collect(), 0)
            };
            return Ok(batch.iter().map(row).collect());
        }
        let place = |number: usize| Place::file(self.file).at(batch[number].0 + 1, 1);
        let texts: Vec<&str> = batch.iter().map(|(_, document)| document.text.as_str()).collect();
        let mut faults = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            if text.is_empty() {
                let message = format!("the document `{}` has no text to compare", batch[number].1.id);
                faults.push(Fault::new(place(number), message).hint("`curate` with the filter `length` drops such"));
            }
        }
        Error::collect((), faults)?;
        let mut rows = Vec::with_capacity(batch.len());
        let mut faults = Vec::new();
        for (number, embedded) in self.model.mean_states(&texts, self.layer)?.into_iter().enumerate() {
            let square: f64 = embedded.vector.iter().map(|value| f64::from(*value).powi(2)).sum();
            if !(square > 0.0 && square.is_finite()) && faults.len() < NAMED {
                let what = if square == 0.0 { "are all 0" } else { "are not finite" };
                let message = format!("the hidden states of the document `{}` {what}", batch[number].1.id);
                faults.push(Fault::new(place(number), message).hint("choose another `layer`, or look at the model"));
            }
            rows.push((embedded.vector, embedded.tokens as u32));
        }
        Error::collect(rows, faults)
    }
}
