//! Vectors of texts: the mean of what the last block says of each token.

use super::LocalModel;
use metier_compute::Tape;
use metier_core::data::TokenId;
use metier_core::seam::{Embed, Embedded};
use metier_core::{Error, Fault, Place, Result, stop};

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
        ids_of_texts.iter().map(|ids| self.embed_one(ids)).collect()
    }
}

impl LocalModel {
    fn embed_one(&self, ids: &[TokenId]) -> Result<Embedded> {
        if stop::requested() {
            return Err(stop::interrupted());
        }
        let positions: Vec<u32> = (0..ids.len() as u32).collect();
        let mut tape = Tape::inference(&self.decoder.parameters);
        #[expect(clippy::single_range_in_vec_init, reason = "one text is one range of rows")]
        let hidden = self.decoder.hidden(&mut tape, ids, &positions, &[0..ids.len()])?;
        let mut sums = vec![0.0_f64; self.dimension()];
        for row in tape.value(hidden)?.data().chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
        let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        Ok(Embedded { vector: sums.iter().map(|sum| (sum * scale) as f32).collect(), tokens: ids.len() })
    }
}
