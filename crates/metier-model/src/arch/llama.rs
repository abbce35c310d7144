//! Llama and what shares its mathematics: root-mean-square norms before each half of a block, grouped
//! query attention with rotary positions (halves of a head turned against each other), SwiGLU.
//!
//! Shape letters: N rows, D hidden, Q all query heads, K all key heads, I inside the feed-forward, V vocabulary.
//! Source: Touvron et al., the Llama paper, arXiv 2302.13971.

use crate::config::Config;
use crate::decode::BlockCache;
use crate::layer::{Axis, Linear, Presence, WeightPattern, WeightShape, shapes_of};
use metier_compute::op::{self, AttentionShape, GatedFeedForward, Rotary, Sequence};
use metier_compute::{ParameterId, Parameters, Tape, Var};
use metier_core::{Error, Result};

/// Every weight, in the order of the forward pass.
pub static WEIGHTS: &[WeightPattern] = {
    use Axis::{Hidden as D, Intermediate as I, Key as K, Query as Q, Vocabulary as V};
    use Presence::{Always, AttentionBias, FeedForwardBias, Untied};
    const fn weight(name: &'static str, axes: &'static [Axis], presence: Presence) -> WeightPattern {
        WeightPattern { name, axes, presence }
    }
    &[
        weight("model.embed_tokens.weight", &[V, D], Always),
        weight("model.layers.{}.input_layernorm.weight", &[D], Always),
        weight("model.layers.{}.self_attn.q_proj.weight", &[Q, D], Always),
        weight("model.layers.{}.self_attn.q_proj.bias", &[Q], AttentionBias),
        weight("model.layers.{}.self_attn.k_proj.weight", &[K, D], Always),
        weight("model.layers.{}.self_attn.k_proj.bias", &[K], AttentionBias),
        weight("model.layers.{}.self_attn.v_proj.weight", &[K, D], Always),
        weight("model.layers.{}.self_attn.v_proj.bias", &[K], AttentionBias),
        weight("model.layers.{}.self_attn.o_proj.weight", &[D, Q], Always),
        weight("model.layers.{}.self_attn.o_proj.bias", &[D], AttentionBias),
        weight("model.layers.{}.post_attention_layernorm.weight", &[D], Always),
        weight("model.layers.{}.mlp.gate_proj.weight", &[I, D], Always),
        weight("model.layers.{}.mlp.gate_proj.bias", &[I], FeedForwardBias),
        weight("model.layers.{}.mlp.up_proj.weight", &[I, D], Always),
        weight("model.layers.{}.mlp.up_proj.bias", &[I], FeedForwardBias),
        weight("model.layers.{}.mlp.down_proj.weight", &[D, I], Always),
        weight("model.layers.{}.mlp.down_proj.bias", &[D], FeedForwardBias),
        weight("model.norm.weight", &[D], Always),
        weight("lm_head.weight", &[V, D], Untied),
    ]
};

/// A tensor that some checkpoints carry and no forward pass reads.
pub fn is_superfluous(name: &str, config: &Config) -> bool {
    name.ends_with(".rotary_emb.inv_freq") || (config.tied_embeddings && name == "lm_head.weight")
}

/// Names and shapes of every weight of a model.
pub fn weight_shapes(config: &Config) -> Vec<WeightShape> {
    shapes_of(WEIGHTS, config)
}

/// Where attention finds keys and values.
pub enum Keys<'a> {
    /// Among the rows themselves.
    Own(&'a [Sequence]),
    /// In a cache, to which the rows are added; the rows continue one text.
    Cached(&'a mut BlockCache),
}

/// One block.
pub struct Block {
    input_norm: ParameterId,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    feed_forward_norm: ParameterId,
    gate: Linear,
    up: Linear,
    down: Linear,
    epsilon: f32,
    rotary: Rotary,
    attention: AttentionShape,
}

/// The parts of a model and where its weights are.
pub struct Llama {
    /// `[V, D]`.
    pub embedding: ParameterId,
    /// In order.
    pub blocks: Vec<Block>,
    /// `[D]`, before the head.
    pub norm: ParameterId,
    /// `[V, D]`; the embedding when they are tied.
    pub head: ParameterId,
    epsilon: f32,
}

impl Llama {
    /// Finds the weights of a model by name.
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self> {
        let find = |name: &str| {
            parameters.find(name).ok_or_else(|| Error::program(format!("the weight `{name}` was not loaded")))
        };
        let linear = |site: String, inputs: usize, outputs: usize| -> Result<Linear> {
            Ok(Linear {
                weight: find(&format!("{site}.weight"))?,
                bias: parameters.find(&format!("{site}.bias")),
                site,
                inputs,
                outputs,
                low_rank: None,
            })
        };
        let (hidden, inside) = (config.hidden_size, config.intermediate_size);
        let (query, key) = (config.query_width(), config.key_width());
        let block = |number: usize| -> Result<Block> {
            let name = |leaf: &str| format!("model.layers.{number}.{leaf}");
            Ok(Block {
                input_norm: find(&name("input_layernorm.weight"))?,
                query: linear(name("self_attn.q_proj"), hidden, query)?,
                key: linear(name("self_attn.k_proj"), hidden, key)?,
                value: linear(name("self_attn.v_proj"), hidden, key)?,
                output: linear(name("self_attn.o_proj"), query, hidden)?,
                feed_forward_norm: find(&name("post_attention_layernorm.weight"))?,
                gate: linear(name("mlp.gate_proj"), hidden, inside)?,
                up: linear(name("mlp.up_proj"), hidden, inside)?,
                down: linear(name("mlp.down_proj"), inside, hidden)?,
                epsilon: config.norm_epsilon,
                rotary: Rotary { head_dim: config.head_dim, theta: config.rope_theta, interleaved: false },
                attention: AttentionShape {
                    heads: config.heads,
                    kv_heads: config.kv_heads,
                    head_dim: config.head_dim,
                    scale: 1.0 / (config.head_dim as f32).sqrt(),
                    window: None,
                },
            })
        };
        let embedding = find("model.embed_tokens.weight")?;
        Ok(Self {
            embedding,
            blocks: (0..config.layers).map(block).collect::<Result<_>>()?,
            norm: find("model.norm.weight")?,
            head: if config.tied_embeddings { embedding } else { find("lm_head.weight")? },
            epsilon: config.norm_epsilon,
        })
    }

    /// The norm before the head, `[N, D]` to `[N, D]`.
    pub fn final_norm(&self, tape: &mut Tape<'_>, x: Var) -> Result<Var> {
        let weight = tape.parameter(self.norm);
        op::rms_norm(tape, x, weight, self.epsilon)
    }

    /// Every linear layer in a fixed order: blocks in order, and inside one `q k v o gate up down`.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.blocks.iter().flat_map(Block::linears)
    }

    /// The same, to change.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.blocks.iter_mut().flat_map(|block| {
            [
                &mut block.query,
                &mut block.key,
                &mut block.value,
                &mut block.output,
                &mut block.gate,
                &mut block.up,
                &mut block.down,
            ]
        })
    }
}

impl Block {
    fn linears(&self) -> [&Linear; 7] {
        [&self.query, &self.key, &self.value, &self.output, &self.gate, &self.up, &self.down]
    }

    /// The residual stream after this block, `[N, D]` to `[N, D]`; `positions` has one number for each row.
    pub fn forward(&self, tape: &mut Tape<'_>, x: Var, positions: &[u32], keys: Keys<'_>) -> Result<Var> {
        let weight = tape.parameter(self.input_norm);
        let normed = op::rms_norm(tape, x, weight, self.epsilon)?;
        let query = self.query.forward(tape, normed)?;
        let key = self.key.forward(tape, normed)?;
        let value = self.value.forward(tape, normed)?;
        let query = op::rotary(tape, query, &self.rotary, positions)?;
        let key = op::rotary(tape, key, &self.rotary, positions)?;
        let mixed = match keys {
            Keys::Own(sequences) => op::attention(tape, query, key, value, &self.attention, sequences)?,
            Keys::Cached(cache) => {
                cache.append(tape.value(key)?, tape.value(value)?)?;
                let sequences = [Sequence { query: 0..positions.len(), key: 0..cache.length() }];
                let (keys, values) = (tape.constant(cache.keys()), tape.constant(cache.values()));
                op::attention(tape, query, keys, values, &self.attention, &sequences)?
            }
        };
        let mixed = self.output.forward(tape, mixed)?;
        let x = op::add(tape, x, mixed)?;
        let weight = tape.parameter(self.feed_forward_norm);
        let normed = op::rms_norm(tape, x, weight, self.epsilon)?;
        let projections = (self.gate.projection(tape), self.up.projection(tape), self.down.projection(tape));
        let back = if let (Some(gate), Some(up), Some(down)) = projections {
            op::gated_feed_forward(tape, normed, &GatedFeedForward { gate, up, down })?
        } else {
            let gate = self.gate.forward(tape, normed)?;
            let up = self.up.forward(tape, normed)?;
            let inside = op::swiglu(tape, gate, up)?;
            self.down.forward(tape, inside)?
        };
        op::add(tape, x, back)
    }
}
