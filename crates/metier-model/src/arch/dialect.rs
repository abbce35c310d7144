//! How llama.cpp's GGUF files write an architecture: what its record says besides names, which [`Part`] decides.
//!
//! Source: llama.cpp, `src/models/` (what it reads) and `conversion/` (what its converter writes).

use crate::layer::Part;
use metier_compute::op::Activation;

/// What a model whose head is the embedding writes as its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TiedHead {
    /// Nothing.
    Absent,
    /// The embedding once more: llama.cpp wants a head of every model.
    Repeated,
    /// Nothing, and there is no other: llama.cpp reads no head at all.
    Only,
}

/// Which layers have a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// None: llama.cpp computes none.
    None,
    /// All, when the file names one.
    All,
    /// All but the last of each so many, when the file names one or there is a default for it.
    AllButEach {
        /// Of how many one is without.
        period: usize,
        /// The window where the file names none.
        default: Option<usize>,
    },
}

/// How GGUF files write an architecture.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about an architecture")]
pub struct Dialect {
    /// `general.architecture`. Architectures may share one.
    pub name: &'static str,
    /// The key, behind the name, whose being above 0 tells the architecture from others of the name.
    pub told_by: Option<&'static str>,
    /// The class of transformers that `config.json` names.
    pub class: &'static str,
    /// What `config.json` says of these models and GGUF files do not: a JSON object.
    pub constants: &'static str,
    /// What llama.cpp has between the projections of the feed-forward block, whatever a file says. It computes the exact
    /// GELU by its approximation.
    pub activations: &'static [Activation],
    /// Whether the pairs of columns of queries and keys that turn together lie side by side.
    pub interleaved: bool,
    /// What stands for a head that is the embedding.
    pub tied_head: TiedHead,
    /// Parts whose biases llama.cpp reads, of those that `config.json` may switch.
    pub biases: &'static [Part],
    /// Parts that it reads with a bias only.
    pub needed_biases: &'static [Part],
    /// Whether heads may have another width than the residual stream divided by their number.
    pub free_heads: bool,
    /// Which layers have a window.
    pub windows: Windows,
    /// Soft caps of scores and of logits where the file names none; none where llama.cpp has no cap of scores.
    pub caps: Option<(f64, f64)>,
    /// Number of layers of a model that scales scores by the residual stream's width by heads, where others scale by the
    /// head's.
    pub wide_scale_layers: Option<usize>,
    /// Whether the shares of a row's experts are made to sum up to 1.
    pub normalized_experts: bool,
    /// Whether frequencies may have a divisor each, as Llama 3 and `LongRoPE` stretch positions.
    pub reads_divisors: bool,
}

impl Dialect {
    /// A Llama's but for what is said besides.
    pub const fn like_llama(name: &'static str, class: &'static str) -> Self {
        Self {
            name,
            told_by: None,
            class,
            constants: r#"{"hidden_act": "silu"}"#,
            activations: &[Activation::Silu],
            interleaved: false,
            tied_head: TiedHead::Absent,
            biases: &[Part::Query, Part::Key, Part::Value, Part::Output, Part::Gate, Part::Up, Part::Down],
            needed_biases: &[],
            free_heads: true,
            windows: Windows::None,
            caps: None,
            wide_scale_layers: None,
            normalized_experts: true,
            reads_divisors: false,
        }
    }

    /// What the file calls a part, with `{}` for the block.
    pub fn name_of(part: Part, is_of_expert: bool) -> &'static str {
        match (part, is_of_expert) {
            (Part::Embedding, _) => "token_embd",
            (Part::Positions, _) => "position_embd",
            (Part::TokenTypes, _) => "token_types",
            (Part::EmbeddingNorm, _) => "token_embd_norm",
            (Part::AttentionNorm, _) => "blk.{}.attn_norm",
            (Part::Query, _) => "blk.{}.attn_q",
            (Part::Key, _) => "blk.{}.attn_k",
            (Part::Value, _) => "blk.{}.attn_v",
            (Part::QueryKeyValue | Part::QueryKeyValueByHead, _) => "blk.{}.attn_qkv",
            (Part::QueryNorm, _) => "blk.{}.attn_q_norm",
            (Part::KeyNorm, _) => "blk.{}.attn_k_norm",
            (Part::Output, _) => "blk.{}.attn_output",
            (Part::AfterAttentionNorm, _) => "blk.{}.post_attention_norm",
            (Part::AttentionPostNorm, _) => "blk.{}.attn_output_norm",
            (Part::FeedForwardNorm, _) => "blk.{}.ffn_norm",
            (Part::Router, _) => "blk.{}.ffn_gate_inp",
            (Part::Gate, false) => "blk.{}.ffn_gate",
            (Part::Gate, true) => "blk.{}.ffn_gate_exps",
            (Part::Up, true) => "blk.{}.ffn_up_exps",
            (Part::Up | Part::GateUp, _) => "blk.{}.ffn_up",
            (Part::Down, false) => "blk.{}.ffn_down",
            (Part::Down, true) => "blk.{}.ffn_down_exps",
            (Part::SharedGate, _) => "blk.{}.ffn_gate_shexp",
            (Part::SharedUp, _) => "blk.{}.ffn_up_shexp",
            (Part::SharedDown, _) => "blk.{}.ffn_down_shexp",
            (Part::SharedShare, _) => "blk.{}.ffn_gate_inp_shexp",
            (Part::AfterFeedForwardNorm, _) => "blk.{}.post_ffw_norm",
            (Part::FeedForwardPostNorm, _) => "blk.{}.layer_output_norm",
            (Part::FinalNorm, _) => "output_norm",
            (Part::Head, _) => "output",
            // llama.cpp has no head of masked tokens, so architectures with one have no dialect.
            (Part::HeadTransform | Part::HeadNorm | Part::HeadBias, _) => "",
        }
    }
}
