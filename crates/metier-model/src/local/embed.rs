//! Vectors of texts: the mean of what the last block says of each token.

use super::LocalModel;
use metier_compute::Tape;
use metier_core::data::TokenId;
use metier_core::seam::{Embed, Embedded};
use metier_core::{Error, Fault, Place, Result, stop};

/// Rows computed at once: fills the kernels, bounds the memory. A longer text goes alone.
const ROWS: usize = 2048;

impl Embed for LocalModel {
    fn dimension(&self) -> usize {
        self.decoder.config().hidden_size
    }

    /// The mean over the tokens of the last hidden states (after the final norm), scaled to length 1. Special tokens
    /// written in a text are read as plain text.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedded>> {
        let begin = self.tokenizer.begin_of_text();
        let mut faults = Vec::new();
        let mut ids_of_texts = Vec::with_capacity(texts.len());
        for (number, encoded) in self.tokenizer.encode(texts, false)?.into_iter().enumerate() {
            let ids: Vec<TokenId> = begin.into_iter().chain(encoded.ids).collect();
            let place = Place::key(format!("text {}", number + 1));
            if ids.is_empty() {
                faults.push(Fault::new(place, "it is empty, and the model has no token that begins a text"));
            } else if let Err(error) = self.decoder.check_length(ids.len()) {
                faults.extend(error.faults.into_iter().map(|fault| Fault { place: place.clone(), ..fault }));
            }
            ids_of_texts.push(ids);
        }
        Error::collect((), faults)?;
        let mut embedded = Vec::with_capacity(texts.len());
        let mut rest = ids_of_texts.as_slice();
        while !rest.is_empty() {
            if stop::requested() {
                return Err(stop::interrupted());
            }
            let mut rows = 0;
            let fitting = rest.iter().take_while(|ids| {
                rows += ids.len();
                rows <= ROWS
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            embedded.extend(self.embed_flat(now)?);
            rest = later;
        }
        Ok(embedded)
    }
}

impl LocalModel {
    /// Texts one after another in one run of rows; none attends to another.
    fn embed_flat(&self, texts: &[Vec<TokenId>]) -> Result<Vec<Embedded>> {
        let ids = texts.concat();
        let mut positions: Vec<u32> = Vec::with_capacity(ids.len());
        let mut sequences = Vec::with_capacity(texts.len());
        for text in texts {
            let first = positions.len();
            positions.extend(0..text.len() as u32);
            sequences.push(first..positions.len());
        }
        let mut tape = Tape::inference(&self.decoder.parameters);
        let hidden = self.decoder.hidden(&mut tape, &ids, &positions, &sequences)?;
        let (hidden, width) = (tape.value(hidden)?, self.dimension());
        let mean = |rows: &std::ops::Range<usize>| {
            let mut sums = vec![0.0_f64; width];
            for row in hidden.data()[rows.start * width..rows.end * width].chunks_exact(width) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
            }
            let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
            let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
            Embedded { vector: sums.iter().map(|sum| (sum * scale) as f32).collect(), tokens: rows.len() }
        };
        Ok(sequences.iter().map(mean).collect())
    }
}
