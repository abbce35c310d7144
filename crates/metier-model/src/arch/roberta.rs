//! RoBERTa: BERT with one kind of text, positions that are counted from behind the row of padding, and other names.
//!
//! Source: Liu et al., arXiv 1907.11692.

use super::{Architecture, bert};
use crate::config::{Config, Reader};
use crate::layer::{Axis, Part, Presence, WeightPattern};

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = of("roberta");

/// That of a model with these weights.
pub(super) const fn of(model_type: &'static str) -> Architecture {
    Architecture {
        keys: bert::KEYS,
        required: &["max_position_embeddings", "intermediate_size"],
        neutral: bert::NEUTRAL,
        epsilon: 1e-12,
        tied: true,
        prefix: "roberta.",
        causal: false,
        superfluous: &[
            "embeddings.position_ids",
            "pooler.dense.weight",
            "pooler.dense.bias",
            "lm_head.bias",
            "lm_head.decoder.bias",
        ],
        other_ends: &[("lm_head.bias", "lm_head.decoder.bias"), ("lm_head.decoder.bias", "lm_head.bias")],
        ..Architecture::like_llama(model_type, read, WEIGHTS)
    }
}

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = bert::read(reader);
    let first = reader.whole("pad_token_id", Some(1)).saturating_add(1);
    let rows = config.context_length;
    if rows <= first {
        let message = format!("{rows} positions leave none for a text behind the {first} up to `pad_token_id`");
        reader.refuse("max_position_embeddings", message, "write the rows of the table of positions");
    }
    config.context_length = rows.saturating_sub(first).max(1);
    config.design.first_position = first.min(rows);
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Hidden as D, Intermediate as I, Positions as P, TokenTypes as T, Vocabulary as V};
    use Presence::{Always, Headed, Tied, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "roberta.embeddings.word_embeddings", &[V, D]),
        W::new(Part::Positions, "roberta.embeddings.position_embeddings", &[P, D]),
        W::new(Part::TokenTypes, "roberta.embeddings.token_type_embeddings", &[T, D]),
        W::new(Part::EmbeddingNorm, "roberta.embeddings.LayerNorm", &[D]).biased(Always),
        W::new(Part::Query, "roberta.encoder.layer.{}.attention.self.query", &[D, D]).biased(Always),
        W::new(Part::Key, "roberta.encoder.layer.{}.attention.self.key", &[D, D]).biased(Always),
        W::new(Part::Value, "roberta.encoder.layer.{}.attention.self.value", &[D, D]).biased(Always),
        W::new(Part::Output, "roberta.encoder.layer.{}.attention.output.dense", &[D, D]).biased(Always),
        W::new(Part::AttentionPostNorm, "roberta.encoder.layer.{}.attention.output.LayerNorm", &[D]).biased(Always),
        W::new(Part::Up, "roberta.encoder.layer.{}.intermediate.dense", &[I, D]).biased(Always),
        W::new(Part::Down, "roberta.encoder.layer.{}.output.dense", &[D, I]).biased(Always),
        W::new(Part::FeedForwardPostNorm, "roberta.encoder.layer.{}.output.LayerNorm", &[D]).biased(Always),
        W::new(Part::HeadTransform, "lm_head.dense", &[D, D]).biased(Always).when(Headed),
        W::new(Part::HeadNorm, "lm_head.layer_norm", &[D]).biased(Always).when(Headed),
        W::new(Part::Head, "lm_head.decoder", &[V, D]).biased(Always).when(Untied),
        W::new(Part::HeadBias, "lm_head.bias", &[V]).bare().when(Tied),
    ]
};
