//! A model with a larger vocabulary: rows for the new tokens behind the old ones, the rest as it was.

use crate::initialize::{Initialize, Known, Made, Rows};
use metier_core::data::TokenId;
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use metier_model::arch;
use metier_model::checkpoint::{Checkpoint, Dtype, write_folder};
use metier_model::layer::Part;
use metier_tokenizer::extend::Extended;
use metier_tokenizer::scheme::HuggingFace;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Tokens before and after.
    pub tokens: [usize; 2],
    /// Rows of the embedding, which may have some that no token has.
    pub rows: usize,
    /// For each new token its largest sources, where rows are mixtures.
    pub sources: Option<Vec<Vec<(TokenId, f32)>>>,
}

/// Writes the model `checkpoint` with the vocabulary `extended` into `folder`, in Hugging Face's layout. Rows of new tokens are
/// those of `initialize`, which reads `text` when it learns; all other weights stay. Rows that a padded embedding has beyond
/// its vocabulary are taken first.
///
/// # Errors
/// When the vocabulary is not one of this model, the head has a bias, or the initializer refuses.
pub fn write(
    mut checkpoint: Checkpoint,
    extended: &Extended,
    (initialize, text, seed): (&dyn Initialize, &[&str], Seed),
    dtype: Dtype,
    folder: &Path,
) -> Result<Report> {
    let architecture = arch::of(&checkpoint.config)?;
    let name = |part: Part| architecture.weight_name(part);
    let embedding = name(Part::Embedding).ok_or_else(|| Error::program("a model has an embedding"))?;
    let head = name(Part::Head).filter(|head| checkpoint.names().contains(head));
    let old = checkpoint.tokenizer.vocabulary_size();
    if extended.first as usize != old {
        let message = format!("its new tokens begin at {}, and the model has {old} tokens", extended.first);
        return Err(Error::user(Place::key("vocabulary"), message).hint("extend the tokenizer of this model"));
    }
    if let Some(bias) = head.as_ref().map(|head| head.replace(".weight", ".bias"))
        && checkpoint.names().contains(&bias)
    {
        let place = Place::file(checkpoint.path()).with_key(bias);
        return Err(Error::user(place, "a head with a bias is not extended"));
    }
    let tokenizer = HuggingFace::from_json(&extended.json)?;
    let mut tensors = Vec::new();
    for name in checkpoint.names() {
        let (shape, values) = checkpoint.tensor(&name)?;
        tensors.push((name, shape, values));
    }
    let known = |name: &str| -> Result<Rows> {
        let found = tensors.iter().find(|tensor| tensor.0 == name);
        let (_, shape, values) = found.ok_or_else(|| Error::program(format!("the tensor `{name}` is gone")))?;
        let width = shape[1];
        let values = values.get(..old * width).map(<[f32]>::to_vec).ok_or_else(|| {
            let message = format!("it has {} rows, and the tokenizer {old} tokens", shape[0]);
            Error::user(Place::file(checkpoint.path()).with_key(name), message)
        })?;
        Ok(Rows { values, width })
    };
    let of_head = head.as_deref().map(known).transpose()?;
    let of_embedding = known(&embedding)?;
    let mut lines = Vec::new();
    if initialize.reads_text() {
        use metier_core::seam::Tokenize;
        lines = tokenizer.encode(text, false)?.into_iter().map(|encoded| encoded.ids).collect();
    }
    let known = Known { embedding: &of_embedding, head: of_head.as_ref(), parts: &extended.parts, lines: &lines };
    let Made { embedding: made, head: made_head, sources } = initialize.rows(known, seed)?;
    let mut rows = 0;
    for (name, shape, values) in &mut tensors {
        let new = if *name == embedding {
            &made
        } else if Some(&*name) == head.as_ref() {
            made_head.as_ref().ok_or_else(|| Error::program("rows of a head are missing"))?
        } else {
            continue;
        };
        rows = put(shape, values, old, new);
    }
    checkpoint.config["vocab_size"] = json!(rows);
    checkpoint.tokenizer_json.clone_from(&extended.json);
    let tokens = [old, old + extended.parts.len()];
    let ends = checkpoint.special_tokens.ends.clone();
    let begin = checkpoint.tokenizer.begin_of_text();
    checkpoint.tokenizer = Arc::new(tokenizer.with_begin(begin).with_ends(&ends));
    let written = tensors.iter().map(|(name, shape, values)| (&**name, &shape[..], &values[..]));
    write_folder(folder, &checkpoint, written, dtype)?;
    Ok(Report { tokens, rows, sources })
}

/// Puts rows behind the first `old`; how many there are then.
fn put(shape: &mut [usize], values: &mut Vec<f32>, old: usize, new: &Rows) -> usize {
    let needed = old + new.count();
    if needed > shape[0] {
        shape[0] = needed;
        values.resize(needed * new.width, 0.0);
    }
    values[old * new.width..needed * new.width].copy_from_slice(&new.values);
    shape[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initialize::{Cw2v, Mean, Random, SubwordMean};
    use metier_model::Decoder;
    use metier_model::decode::Session;
    use metier_testkit::{fixture, scratch};
    use metier_tokenizer::extend::{Allowed, Growth, extend, split_of};
    use metier_tokenizer::train::Counting;
    use std::borrow::Cow;

    const LINES: [&str; 3] = ["नमस्ते दुनिया, यह एक परीक्षा है", "दुनिया एक परीक्षा है", "यह दुनिया और यह परीक्षा"];

    fn extended(json: &str, tokens: usize) -> Extended {
        let folder = scratch("words");
        let mut counting = Counting::start(split_of(json).unwrap(), folder.path(), 1 << 26).unwrap();
        counting.add(LINES.iter().map(|line| Ok(Cow::Borrowed(*line)))).unwrap();
        let growth = Growth { tokens, minimum_count: 1, allowed: Allowed::WithoutAscii };
        extend(json, &counting.finish().unwrap(), growth).unwrap()
    }

    fn open() -> Checkpoint {
        Checkpoint::open(fixture("models/tiny-llama.gguf")).unwrap()
    }

    /// Greedy replies to a few prompts of old tokens, and the logits of the last step.
    fn replies(checkpoint: &Checkpoint) -> (Vec<Vec<TokenId>>, Vec<f32>) {
        let decoder = Decoder::from_checkpoint(checkpoint).unwrap();
        let mut last = Vec::new();
        let replies = (0..20_u32).map(|prompt| {
            let mut session = Session::new(&decoder);
            let mut next = vec![prompt * 7 % 200, prompt * 31 % 200, 5];
            let mut reply = Vec::new();
            for _ in 0..12 {
                last = session.feed(&next).unwrap();
                let most = last.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let id = last.iter().position(|logit| *logit >= most).unwrap() as TokenId;
                reply.push(id);
                next = vec![id];
            }
            reply
        });
        (replies.collect(), last)
    }

    #[test]
    fn a_model_with_new_tokens_answers_old_texts_as_before() {
        let checkpoint = open();
        let old = checkpoint.tokenizer.vocabulary_size();
        let (before, logits) = replies(&checkpoint);
        let extended = extended(&checkpoint.tokenizer_json, 20);
        let cw2v = Cw2v { rank: 8, passes: 2, batch: 64, threshold: 0.0, ..Cw2v::default() };
        let hull: [&dyn Initialize; 3] = [&Mean::default(), &SubwordMean::default(), &cw2v];
        for initialize in hull {
            let folder = scratch("extended");
            let report =
                write(open(), &extended, (initialize, &LINES, Seed::new(1)), Dtype::F32, folder.path()).unwrap();
            assert_eq!((report.tokens, report.rows), ([old, old + 20], old + 20));
            let after = Checkpoint::open(folder.path()).unwrap();
            assert_eq!(after.tokenizer.vocabulary_size(), old + 20);
            let (replies, new_logits) = replies(&after);
            assert_eq!(replies, before, "a greedy reply changed");
            for (a, b) in logits.iter().zip(&new_logits) {
                assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{a} became {b}");
            }
            let ids = &after.tokenizer.encode(&LINES, false).unwrap()[0].ids;
            assert!(ids.iter().any(|id| *id as usize >= old), "the new tokens are used");
        }
    }

    #[test]
    fn another_models_vocabulary_is_refused() {
        let folder = scratch("refused");
        let mut extended = extended(&open().tokenizer_json, 3);
        extended.first += 1;
        let random = Random::default();
        let refused = write(open(), &extended, (&random, &[], Seed::new(1)), Dtype::F32, folder.path()).unwrap_err();
        assert!(refused.to_string().contains("its new tokens begin at"), "{refused}");
    }
}
