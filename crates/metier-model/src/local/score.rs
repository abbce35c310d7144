//! Log-probability of continuations, many texts in one flat run of rows.

use super::LocalModel;
use metier_compute::{Tape, Tensor};
use metier_core::data::TokenId;
use metier_core::seam::{Score, ScoreRequest, Scored};
use metier_core::{Error, Result, stop};

/// Rows computed at once: fills the kernels, bounds the memory. A longer text goes alone.
const ROWS: usize = 2048;

/// A text ready to be scored.
struct Text {
    /// All tokens.
    ids: Vec<TokenId>,
    /// The first token that is scored; the one before it predicts it.
    first: usize,
    /// Bytes of the continuation that the scored tokens cover.
    bytes: usize,
}

impl Text {
    /// Rows it takes: the last token predicts nothing that is asked.
    fn rows(&self) -> usize {
        if self.first < self.ids.len() { self.ids.len() - 1 } else { 0 }
    }
}

impl Score for LocalModel {
    /// Context and continuation are encoded as one text. A token that spans the border counts as part of
    /// the continuation. Special tokens written in the text are read as plain text.
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Scored>> {
        self.decoder.check_causal("the probability of a continuation")?;
        let joined: Vec<String> =
            requests.iter().map(|request| format!("{}{}", request.context, request.continuation)).collect();
        let joined: Vec<&str> = joined.iter().map(String::as_str).collect();
        let begin = self.tokenizer.begin_of_text();
        // Else a text's first token would be a gift, the larger the longer the vocabulary's tokens are.
        let alone = begin.or_else(|| self.tokenizer.end_of_document());
        let mut texts = Vec::with_capacity(requests.len());
        let mut faults = Vec::new();
        for (number, (encoded, request)) in self.tokenizer.encode(&joined, false)?.into_iter().zip(requests).enumerate()
        {
            let border = request.context.len();
            let skipped = encoded.ends.iter().take_while(|end| **end <= border).count();
            let skipped = if request.continuation.is_empty() { encoded.ids.len() } else { skipped };
            let begin = if request.context.is_empty() { alone } else { begin };
            let mut ids: Vec<TokenId> = begin.into_iter().collect();
            let first = (skipped + ids.len()).max(1);
            let unscored = first - ids.len();
            ids.extend(encoded.ids);
            let before = unscored.checked_sub(1).and_then(|last| encoded.ends.get(last)).copied().unwrap_or(0);
            let end = encoded.ends.last().copied().unwrap_or(0);
            let bytes = end.saturating_sub(before.max(border));
            if let Err(error) = self.decoder.check_length(ids.len()) {
                faults.extend(error.faults.into_iter().map(|mut fault| {
                    fault.place.key = Some(format!("text {}", number + 1));
                    fault
                }));
            }
            texts.push(Text { ids, first, bytes });
        }
        Error::collect((), faults)?;
        let mut scored = Vec::with_capacity(texts.len());
        let mut rest = texts.as_slice();
        while !rest.is_empty() {
            if stop::requested() {
                return Err(stop::interrupted());
            }
            let mut rows = 0;
            let fitting = rest.iter().take_while(|text| {
                rows += text.rows();
                rows <= ROWS
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            scored.extend(self.score_flat(now)?);
            rest = later;
        }
        Ok(scored)
    }
}

impl LocalModel {
    fn score_flat(&self, texts: &[Text]) -> Result<Vec<Scored>> {
        let (mut ids, mut positions, mut sequences, mut targets, mut rows) = (vec![], vec![], vec![], vec![], vec![]);
        for text in texts.iter().filter(|text| text.rows() > 0) {
            let start = ids.len();
            ids.extend_from_slice(&text.ids[..text.rows()]);
            positions.extend(0..text.rows() as u32);
            sequences.push(start..ids.len());
            targets.extend_from_slice(&text.ids[text.first..]);
            rows.extend(start + text.first - 1..ids.len());
        }
        let mut choices = Vec::new();
        if !ids.is_empty() {
            let mut tape = Tape::inference(&self.decoder.parameters);
            let hidden = self.decoder.hidden(&mut tape, &ids, &positions, &sequences)?;
            let hidden = tape.value(hidden)?;
            let width = self.decoder.config().hidden_size;
            let kept: Vec<f32> =
                rows.iter().flat_map(|row| &hidden.data()[row * width..(row + 1) * width]).copied().collect();
            let kept = Tensor::from_vec(&[rows.len(), width], kept)?;
            choices = self.decoder.log_probabilities(&kept, &targets)?;
        }
        let mut choices = choices.into_iter();
        Ok(texts
            .iter()
            .map(|text| {
                let tokens = text.ids.len().saturating_sub(text.first);
                let mut scored = Scored { log_probability: 0.0, tokens, bytes: text.bytes, greedy: true };
                for (log_probability, likeliest) in choices.by_ref().take(tokens) {
                    scored.log_probability += f64::from(log_probability);
                    scored.greedy &= likeliest;
                }
                if tokens == 0 {
                    scored.bytes = 0;
                }
                scored
            })
            .collect())
    }
}
