//! Vectors of texts, of what the last block says of each token: its mean, or that of the first.

use super::LocalModel;
use crate::checkpoint::PoolingMode;
use crate::decoder::Decoder;
use metier_compute::{Tape, Var, op};
use metier_core::data::TokenId;
use metier_core::seam::{Embed, Embedded};
use metier_core::{Error, Fault, Place, Result, stop};
use std::ops::Range;

/// Rows computed at once: fills the kernels, bounds the memory. A longer text goes alone.
const ROWS: usize = 2048;

impl Embed for LocalModel {
    fn dimension(&self) -> usize {
        self.decoder.config().hidden_size
    }

    /// Of the last hidden states (after the final norm) what [`LocalModel::pooling`] says: their mean over all tokens, those around the
    /// text among them, or that of the first token; scaled to length 1 where it says so. Special tokens written in a text are read as
    /// plain text.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedded>> {
        let ids_of_texts = self.ids(texts, |ids| self.check_embedded(ids.len()))?;
        let embedded = |(vector, ids): (_, &Vec<TokenId>)| Embedded { vector, tokens: ids.len() };
        if !self.pooling.normalize {
            let counted = |tokens: usize| if self.pooling.mode == PoolingMode::Mean { tokens } else { 1 };
            let sums = self.sums(&ids_of_texts, self.decoder.config().layers, self.pooling.mode)?;
            let vectors = sums.into_iter().zip(&ids_of_texts).map(|(sums, ids)| mean(&sums, counted(ids.len())));
            return Ok(vectors.zip(&ids_of_texts).map(embedded).collect());
        }
        let mut vectors = Vec::with_capacity(texts.len());
        let pieces: Vec<(usize, &[TokenId])> = (0..).zip(ids_of_texts.iter().map(Vec::as_slice)).collect();
        each_pass(&pieces, |pieces| {
            let Rows { ids, positions, sequences } = Rows::of(pieces);
            let mut tape = Tape::inference(&self.decoder.parameters);
            let found = self.decoder.text_embeddings(&mut tape, &ids, &positions, &sequences)?;
            vectors.extend(tape.value(found)?.data().chunks_exact(self.dimension()).map(<[f32]>::to_vec));
            Ok(())
        })?;
        Ok(vectors.into_iter().zip(&ids_of_texts).map(embedded).collect())
    }
}

impl Decoder {
    /// The vector of each text at length 1, as [`Embed`] gives it: the mean of its last hidden states, or that of the first token
    /// ([`Decoder::set_pooling`]), `[texts, hidden]`. Arguments are those of [`Decoder::hidden`].
    ///
    /// # Errors
    /// Those of [`Decoder::hidden`].
    pub fn text_embeddings<'p>(
        &'p self,
        tape: &mut Tape<'p>,
        ids: &[TokenId],
        positions: &[u32],
        sequences: &[Range<usize>],
    ) -> Result<Var> {
        let hidden = self.hidden(tape, ids, positions, sequences)?;
        let pooled: Vec<Range<usize>> = sequences.iter().map(|rows| self.pooling().rows(rows)).collect();
        op::normalized_mean(tape, hidden, &pooled)
    }
}

impl LocalModel {
    /// For each text the mean over its tokens of the hidden states behind `layer` blocks, not scaled
    /// ([`Decoder::hidden_behind`](crate::Decoder::hidden_behind)). A text longer than the model's context is read in pieces of it,
    /// none of which sees another. A text without tokens is a fault.
    pub fn mean_states(&self, texts: &[&str], layer: usize) -> Result<Vec<Embedded>> {
        let ids_of_texts = self.ids(texts, |_| Ok(()))?;
        let embedded = |(sums, ids): (Vec<f64>, &Vec<TokenId>)| {
            let tokens = ids.len();
            Embedded { vector: mean(&sums, tokens), tokens }
        };
        Ok(self.sums(&ids_of_texts, layer, PoolingMode::Mean)?.into_iter().zip(&ids_of_texts).map(embedded).collect())
    }

    /// Refuses a text of so many tokens, those around it among them, that is longer than the model takes to make its vector.
    pub fn check_embedded(&self, tokens: usize) -> Result<()> {
        self.decoder.check_length(tokens)?;
        match self.pooling.longest.filter(|longest| tokens > *longest) {
            None => Ok(()),
            Some(longest) => {
                let message = format!(
                    "a text of {tokens} tokens is longer than the {longest} that the model makes vectors of (`max_seq_length`)"
                );
                Err(Fault::new(Place::default(), message).hint("shorten the text; it is never cut silently").into())
            }
        }
    }

    /// Most tokens of a text that becomes a vector, those around it among them.
    pub fn longest_embedded(&self) -> usize {
        let context = self.decoder.config().context_length;
        self.pooling.longest.map_or(context, |longest| longest.min(context))
    }

    /// How many tokens stand around a text that is to become a vector.
    pub fn tokens_around(&self) -> usize {
        [self.tokenizer.begin_of_text(), self.tokenizer.separator()].iter().flatten().count()
    }

    /// The ids of each text; those without any and those that `check` refuses are told together.
    fn ids(&self, texts: &[&str], check: impl Fn(&[TokenId]) -> Result<()>) -> Result<Vec<Vec<TokenId>>> {
        let (begin, separator) = (self.tokenizer.begin_of_text(), self.tokenizer.separator());
        let mut faults = Vec::new();
        let mut ids_of_texts = Vec::with_capacity(texts.len());
        for (number, encoded) in self.tokenizer.ids(texts, false)?.into_iter().enumerate() {
            let ids: Vec<TokenId> = begin.into_iter().chain(encoded).chain(separator).collect();
            let place = Place::key(format!("text {}", number + 1));
            if ids.is_empty() {
                faults.push(Fault::new(place, "it is empty, and the model has no token that begins a text"));
            } else if let Err(error) = check(&ids) {
                faults.extend(error.faults.into_iter().map(|fault| Fault { place: place.clone(), ..fault }));
            }
            ids_of_texts.push(ids);
        }
        Error::collect(ids_of_texts, faults)
    }

    /// The sums of the hidden states behind `layer` blocks over the tokens of each text, all of them or the first.
    fn sums(&self, texts: &[Vec<TokenId>], layer: usize, mode: PoolingMode) -> Result<Vec<Vec<f64>>> {
        let context = self.decoder.config().context_length.max(1);
        let mut sums = vec![vec![0.0; self.dimension()]; texts.len()];
        let pieces = (0..).zip(texts).flat_map(|(text, ids)| ids.chunks(context).map(move |piece| (text, piece)));
        let pieces: Vec<(usize, &[TokenId])> = pieces.collect();
        each_pass(&pieces, |pieces| self.add(pieces, layer, mode, &mut sums))?;
        Ok(sums)
    }

    /// Adds up pieces of texts, one after another in one run of rows; none attends to another.
    fn add(
        &self,
        pieces: &[(usize, &[TokenId])],
        layer: usize,
        mode: PoolingMode,
        sums: &mut [Vec<f64>],
    ) -> Result<()> {
        let Rows { ids, positions, sequences } = Rows::of(pieces);
        let mut tape = Tape::inference(&self.decoder.parameters);
        let hidden = self.decoder.hidden_behind(layer, &mut tape, &ids, &positions, &sequences)?;
        let (hidden, width) = (tape.value(hidden)?, self.dimension());
        for ((text, _), rows) in pieces.iter().zip(&sequences) {
            let rows = mode.rows(rows);
            for row in hidden.data()[rows.start * width..rows.end * width].chunks_exact(width) {
                for (sum, value) in sums[*text].iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
            }
        }
        Ok(())
    }
}

fn mean(sums: &[f64], count: usize) -> Vec<f32> {
    sums.iter().map(|sum| (sum / count as f64) as f32).collect()
}

/// Pieces of texts one after another.
struct Rows {
    ids: Vec<TokenId>,
    positions: Vec<u32>,
    sequences: Vec<Range<usize>>,
}

impl Rows {
    fn of(pieces: &[(usize, &[TokenId])]) -> Self {
        let (mut ids, mut positions, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
        for (_, piece) in pieces {
            sequences.push(ids.len()..ids.len() + piece.len());
            positions.extend(0..piece.len() as u32);
            ids.extend_from_slice(piece);
        }
        Self { ids, positions, sequences }
    }
}

/// Runs `pass` for neighboring pieces of texts that are computed at once, until all were.
fn each_pass<'a>(
    pieces: &[(usize, &'a [TokenId])],
    mut pass: impl FnMut(&[(usize, &'a [TokenId])]) -> Result<()>,
) -> Result<()> {
    let mut rest = pieces;
    while !rest.is_empty() {
        stop::check()?;
        let mut rows = 0;
        let fitting = rest.iter().take_while(|(_, ids)| {
            rows += ids.len();
            rows <= ROWS
        });
        let (now, later) = rest.split_at(fitting.count().max(1));
        pass(now)?;
        rest = later;
    }
    Ok(())
}
