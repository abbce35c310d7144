//! Weight names and shapes of an architecture as data.

use crate::config::Config;

/// What the length of a weight's axis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Ids of the vocabulary.
    Vocabulary,
    /// The residual stream.
    Hidden,
    /// Inside the feed-forward block, or inside one expert.
    Intermediate,
    /// Gate and up projection of the feed-forward block together.
    GateUp,
    /// Inside the expert that every row passes through.
    SharedIntermediate,
    /// All query heads together.
    Query,
    /// All key (or value) heads together.
    Key,
    /// Queries, keys and values together.
    QueryKeyValue,
    /// One head.
    Head,
    /// Positions of the longest text.
    Positions,
    /// Kinds of texts.
    TokenTypes,
    /// Experts.
    Experts,
    /// One.
    One,
}

impl Axis {
    fn length(self, config: &Config) -> usize {
        let experts = config.design.experts.as_ref();
        match self {
            Self::Vocabulary => config.vocabulary_size,
            Self::Hidden => config.hidden_size,
            Self::Intermediate => config.intermediate_size,
            Self::GateUp => 2 * config.intermediate_size,
            Self::SharedIntermediate => experts.map_or(0, |experts| experts.shared_width),
            Self::Query => config.query_width(),
            Self::Key => config.key_width(),
            Self::QueryKeyValue => config.query_width() + 2 * config.key_width(),
            Self::Head => config.head_dim,
            Self::Positions => config.design.first_position + config.context_length + config.design.leading,
            Self::TokenTypes => config.design.token_types,
            Self::Experts => experts.map_or(0, |experts| experts.count),
            Self::One => 1,
        }
    }
}

/// When a weight is part of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In every model.
    Always,
    /// In none.
    Never,
    /// When the head is a weight of its own.
    Untied,
    /// When the head is the embedding.
    Tied,
    /// When there is a head, of architectures whose checkpoints may be without one.
    Headed,
    /// When attention projections have biases.
    AttentionBias,
    /// When feed-forward projections have biases.
    FeedForwardBias,
    /// When queries and keys are normed.
    QueryKeyNorm,
}

impl Presence {
    fn holds(self, config: &Config) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Untied => !config.tied_embeddings && !config.design.headless,
            Self::Tied => config.tied_embeddings && !config.design.headless,
            Self::Headed => !config.design.headless,
            Self::AttentionBias => config.attention_bias,
            Self::FeedForwardBias => config.feed_forward_bias,
            Self::QueryKeyNorm => config.design.query_key_norm,
        }
    }
}

/// What a weight does. Which of these an architecture has decides how its blocks are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Tokens to rows.
    Embedding,
    /// Positions to rows, added to those of the tokens.
    Positions,
    /// The kind of a text to a row, added to those of its tokens.
    TokenTypes,
    /// On the sum of all rows of a token.
    EmbeddingNorm,
    /// Before attention.
    AttentionNorm,
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Queries, keys and values one after another.
    QueryKeyValue,
    /// The same, head by head.
    QueryKeyValueByHead,
    /// On each head of the queries.
    QueryNorm,
    /// On each head of the keys.
    KeyNorm,
    /// Behind attention.
    Output,
    /// On what attention adds to the residual stream.
    AfterAttentionNorm,
    /// On the residual stream behind attention.
    AttentionPostNorm,
    /// Before the feed-forward block; where there is none, that reads the residual stream, or beside attention what that read.
    FeedForwardNorm,
    /// Which experts a row passes through.
    Router,
    /// Gate of the feed-forward block, or of one expert.
    Gate,
    /// Up projection of the same.
    Up,
    /// Gate and up projection one after another.
    GateUp,
    /// Down projection of the same.
    Down,
    /// Gate of the expert that every row passes through.
    SharedGate,
    /// Its up projection.
    SharedUp,
    /// Its down projection.
    SharedDown,
    /// How much of it is added.
    SharedShare,
    /// On what the feed-forward block adds to the residual stream.
    AfterFeedForwardNorm,
    /// On the residual stream behind the feed-forward block.
    FeedForwardPostNorm,
    /// Before the head.
    FinalNorm,
    /// A layer before the head, with the activation behind it.
    HeadTransform,
    /// On what that layer made.
    HeadNorm,
    /// Rows to logits.
    Head,
    /// The head's bias, where the head is the embedding.
    HeadBias,
}

impl Part {
    /// Whether it is a linear layer of a block.
    pub fn is_linear(self) -> bool {
        matches!(
            self,
            Self::Query
                | Self::Key
                | Self::Value
                | Self::QueryKeyValue
                | Self::QueryKeyValueByHead
                | Self::Output
                | Self::Gate
                | Self::Up
                | Self::GateUp
                | Self::Down
                | Self::SharedGate
                | Self::SharedUp
                | Self::SharedDown
                | Self::SharedShare
        )
    }

    /// Whether it norms rows or heads.
    pub fn is_norm(self) -> bool {
        matches!(
            self,
            Self::EmbeddingNorm
                | Self::AttentionNorm
                | Self::QueryNorm
                | Self::KeyNorm
                | Self::AfterAttentionNorm
                | Self::AttentionPostNorm
                | Self::FeedForwardNorm
                | Self::AfterFeedForwardNorm
                | Self::FeedForwardPostNorm
                | Self::FinalNorm
                | Self::HeadNorm
        )
    }
}

/// A module with a weight and maybe a bias; one of every block when its name holds `{}`, and one of every expert when it
/// holds a second.
#[derive(Debug, Clone, Copy)]
pub struct WeightPattern {
    /// What it does.
    pub part: Part,
    /// The name in a Hugging Face checkpoint, without `.weight` and `.bias`, or whole when it is `bare`.
    pub name: &'static str,
    /// Whether nothing stands behind the name.
    pub bare: bool,
    /// One or two axes of the weight, outputs first. A bias has the first.
    pub axes: &'static [Axis],
    /// Whether checkpoints hold the weight with inputs first.
    pub transposed: bool,
    /// When it is part of the model.
    pub presence: Presence,
    /// When it has a bias, if it is.
    pub bias: Presence,
}

impl WeightPattern {
    /// A module that every model of the architecture has, without a bias.
    pub const fn new(part: Part, name: &'static str, axes: &'static [Axis]) -> Self {
        let (presence, bias) = (Presence::Always, Presence::Never);
        Self { part, name, bare: false, axes, transposed: false, presence, bias }
    }

    /// The same with a name that has nothing behind it.
    #[must_use]
    pub const fn bare(self) -> Self {
        Self { bare: true, ..self }
    }

    /// The same with a bias.
    #[must_use]
    pub const fn biased(self, bias: Presence) -> Self {
        Self { bias, ..self }
    }

    /// The same in some models only.
    #[must_use]
    pub const fn when(self, presence: Presence) -> Self {
        Self { presence, ..self }
    }

    /// The same, stored with inputs first.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self { transposed: true, ..self }
    }

    /// Whether a model has it.
    pub fn is_part_of(&self, config: &Config) -> bool {
        self.presence.holds(config)
    }

    /// Whether a model that has it has a bias here.
    pub fn has_bias(&self, config: &Config) -> bool {
        self.bias.holds(config)
    }

    /// Its name in one block and for one expert.
    pub fn name_in(&self, block: usize, expert: usize) -> String {
        self.name.replacen("{}", &block.to_string(), 1).replacen("{}", &expert.to_string(), 1)
    }

    /// The name of its weight in one block and for one expert.
    pub fn weight_in(&self, block: usize, expert: usize) -> String {
        let name = self.name_in(block, expert);
        if self.bare { name } else { name + ".weight" }
    }

    fn is_of_block(&self) -> bool {
        self.name.contains("{}")
    }

    /// Whether there is one for each expert.
    pub fn is_of_expert(&self) -> bool {
        self.name.matches("{}").count() > 1
    }

    /// Weight and bias in one block.
    fn shapes(&self, config: &Config, block: usize, shapes: &mut Vec<WeightShape>) {
        let experts = if self.is_of_expert() { Axis::Experts.length(config) } else { 1 };
        let shape: Vec<usize> = self.axes.iter().map(|axis| axis.length(config)).collect();
        for expert in 0..experts {
            let name = self.name_in(block, expert);
            let weight = WeightShape {
                name: self.weight_in(block, expert),
                shape: shape.clone(),
                transposed: self.transposed,
                part: self.part,
                block,
                expert: self.is_of_expert().then_some(expert),
            };
            let bias = self.bias.holds(config).then(|| WeightShape {
                name: format!("{name}.bias"),
                shape: shape[..1].to_vec(),
                transposed: false,
                ..weight.clone()
            });
            shapes.push(weight);
            shapes.extend(bias);
        }
    }
}

/// The name and shape of a weight of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightShape {
    /// The name in a Hugging Face checkpoint.
    pub name: String,
    /// Lengths of the axes, outputs first.
    pub shape: Vec<usize>,
    /// Whether checkpoints hold it with inputs first.
    pub transposed: bool,
    /// What it does.
    pub part: Part,
    /// The block that it belongs to; 0 for what belongs to none.
    pub block: usize,
    /// The expert that it belongs to, if any.
    pub expert: Option<usize>,
}

impl WeightShape {
    /// Whether it is a bias.
    pub fn is_bias(&self) -> bool {
        self.name.strip_suffix(".bias").is_some()
    }

    /// Lengths of the axes in a checkpoint.
    pub fn stored(&self) -> Vec<usize> {
        if self.transposed { self.shape.iter().rev().copied().collect() } else { self.shape.clone() }
    }
}

/// Every weight of the model that `patterns` and `config` describe, blocks in order.
pub fn shapes_of(patterns: &[WeightPattern], config: &Config) -> Vec<WeightShape> {
    let present = |of_block| {
        patterns.iter().filter(move |pattern| pattern.is_of_block() == of_block && pattern.is_part_of(config))
    };
    let mut shapes = Vec::new();
    for pattern in present(false) {
        pattern.shapes(config, 0, &mut shapes);
    }
    for block in 0..config.layers {
        for pattern in present(true) {
            pattern.shapes(config, block, &mut shapes);
        }
    }
    shapes
}
