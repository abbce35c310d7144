//! Weight names and shapes of an architecture as data.

use crate::config::Config;

/// What the length of a weight's axis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Ids of the vocabulary.
    Vocabulary,
    /// The residual stream.
    Hidden,
    /// Inside the feed-forward block.
    Intermediate,
    /// All query heads together.
    Query,
    /// All key (or value) heads together.
    Key,
}

impl Axis {
    fn length(self, config: &Config) -> usize {
        match self {
            Self::Vocabulary => config.vocabulary_size,
            Self::Hidden => config.hidden_size,
            Self::Intermediate => config.intermediate_size,
            Self::Query => config.query_width(),
            Self::Key => config.key_width(),
        }
    }
}

/// When a weight is part of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In every model.
    Always,
    /// When the head is a weight of its own.
    Untied,
    /// When attention projections have biases.
    AttentionBias,
    /// When feed-forward projections have biases.
    FeedForwardBias,
}

impl Presence {
    fn holds(self, config: &Config) -> bool {
        match self {
            Self::Always => true,
            Self::Untied => !config.tied_embeddings,
            Self::AttentionBias => config.attention_bias,
            Self::FeedForwardBias => config.feed_forward_bias,
        }
    }
}

/// One weight, or one weight of every block when `name` holds `{}`.
#[derive(Debug, Clone, Copy)]
pub struct WeightPattern {
    /// The name in a Hugging Face checkpoint; `{}` stands for the block's number.
    pub name: &'static str,
    /// One or two axes, outputs first.
    pub axes: &'static [Axis],
    /// When it is part of the model.
    pub presence: Presence,
}

/// The name and shape of a weight of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightShape {
    /// The name in a Hugging Face checkpoint.
    pub name: String,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
}

/// Every weight of the model that `patterns` and `config` describe, blocks in order.
pub fn shapes_of(patterns: &[WeightPattern], config: &Config) -> Vec<WeightShape> {
    let shape = |pattern: &WeightPattern, name: String| WeightShape {
        name,
        shape: pattern.axes.iter().map(|axis| axis.length(config)).collect(),
    };
    let present = || patterns.iter().filter(|pattern| pattern.presence.holds(config));
    let mut shapes: Vec<WeightShape> = present()
        .filter(|pattern| !pattern.name.contains("{}"))
        .map(|pattern| shape(pattern, pattern.name.to_owned()))
        .collect();
    for block in 0..config.layers {
        shapes.extend(
            present()
                .filter(|pattern| pattern.name.contains("{}"))
                .map(|pattern| shape(pattern, pattern.name.replace("{}", &block.to_string()))),
        );
    }
    shapes
}
