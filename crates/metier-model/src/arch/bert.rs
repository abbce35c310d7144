//! BERT: an encoder whose norms stand behind each half of a block, with learned positions, kinds of texts, and a head that
//! fills in masked tokens. Checkpoints without the head (`BertModel`, sentence-transformers) make vectors only.
//!
//! Source: Devlin et al., arXiv 1810.04805.

use super::Architecture;
use crate::config::{Config, Reader};
use crate::layer::{Axis, NormKind, Part, Presence, WeightPattern};
use serde_json::json;

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    keys: KEYS,
    required: &["max_position_embeddings", "intermediate_size"],
    neutral: NEUTRAL,
    epsilon: 1e-12,
    tied: true,
    prefix: "bert.",
    causal: false,
    superfluous: &[
        "embeddings.position_ids",
        "pooler.dense.weight",
        "pooler.dense.bias",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
        "cls.predictions.bias",
        "cls.predictions.decoder.bias",
    ],
    other_ends: &[
        (".LayerNorm.weight", ".LayerNorm.gamma"),
        (".LayerNorm.bias", ".LayerNorm.beta"),
        ("cls.predictions.bias", "cls.predictions.decoder.bias"),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ],
    ..Architecture::like_llama("bert", read, WEIGHTS)
};

/// The keys of a Llama that have another name, or none.
pub(super) const KEYS: &[(&str, &str)] =
    &[("rms_norm_eps", "layer_norm_eps"), ("num_key_value_heads", ""), ("head_dim", "")];

/// What training and other heads are told.
pub(super) const NEUTRAL: &[&str] = &[
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "directionality",
    "finetuning_task",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "label2id",
    "output_past",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "problem_type",
];

/// What BERT and its successors read alike.
pub(super) fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    config.design.norm = NormKind::Layer;
    config.design.causal = false;
    config.design.activation =
        reader.activation("hidden_act", &["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"]);
    config.design.token_types = reader.whole("type_vocab_size", Some(2));
    if config.design.token_types == 0 {
        reader.refuse("type_vocab_size", "texts of no kind have no row", "write 1 or more");
    }
    reader.only("position_embedding_type", &json!("absolute"));
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Hidden as D, Intermediate as I, Positions as P, TokenTypes as T, Vocabulary as V};
    use Presence::{Always, Headed, Tied, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "bert.embeddings.word_embeddings", &[V, D]),
        W::new(Part::Positions, "bert.embeddings.position_embeddings", &[P, D]),
        W::new(Part::TokenTypes, "bert.embeddings.token_type_embeddings", &[T, D]),
        W::new(Part::EmbeddingNorm, "bert.embeddings.LayerNorm", &[D]).biased(Always),
        W::new(Part::Query, "bert.encoder.layer.{}.attention.self.query", &[D, D]).biased(Always),
        W::new(Part::Key, "bert.encoder.layer.{}.attention.self.key", &[D, D]).biased(Always),
        W::new(Part::Value, "bert.encoder.layer.{}.attention.self.value", &[D, D]).biased(Always),
        W::new(Part::Output, "bert.encoder.layer.{}.attention.output.dense", &[D, D]).biased(Always),
        W::new(Part::AttentionPostNorm, "bert.encoder.layer.{}.attention.output.LayerNorm", &[D]).biased(Always),
        W::new(Part::Up, "bert.encoder.layer.{}.intermediate.dense", &[I, D]).biased(Always),
        W::new(Part::Down, "bert.encoder.layer.{}.output.dense", &[D, I]).biased(Always),
        W::new(Part::FeedForwardPostNorm, "bert.encoder.layer.{}.output.LayerNorm", &[D]).biased(Always),
        W::new(Part::HeadTransform, "cls.predictions.transform.dense", &[D, D]).biased(Always).when(Headed),
        W::new(Part::HeadNorm, "cls.predictions.transform.LayerNorm", &[D]).biased(Always).when(Headed),
        W::new(Part::Head, "cls.predictions.decoder", &[V, D]).biased(Always).when(Untied),
        W::new(Part::HeadBias, "cls.predictions.bias", &[V]).bare().when(Tied),
    ]
};
