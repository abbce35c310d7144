//! Which type each tensor of a file gets: the rules of llama.cpp's quantizer, without an importance matrix.
//!
//! Source: llama.cpp, `src/llama-quant.cpp`.

use crate::arch::Dialect;
use crate::config::Config;
use metier_compute::block::{self, Block};

/// What a file is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixture {
    /// Every number as it is.
    F32,
    /// Matrices in 16 bits.
    F16,
    /// Matrices in 16 bits with the range of 32.
    BF16,
    /// Matrices in 4.5 bits.
    Q4_0,
    /// Matrices in 5 bits, with minima.
    Q4_1,
    /// Matrices in 4.5 bits of superblocks, some in more, as llama.cpp's `Q4_K_M`.
    Q4K,
    /// Matrices in 5.5 bits.
    Q5_0,
    /// Matrices in 6 bits, with minima.
    Q5_1,
    /// Matrices in 6.6 bits of superblocks.
    Q6K,
    /// Matrices in 8.5 bits.
    Q8_0,
}

impl Mixture {
    /// The type of most matrices, as ggml calls it.
    pub fn block_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q4K => "Q4_K",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q6K => "Q6_K",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// What `general.file_type` says.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 7,
            Self::Q5_0 => 8,
            Self::Q5_1 => 9,
            Self::Q4K => 15,
            Self::Q6K => 18,
            Self::BF16 => 32,
        }
    }

    /// Whether matrices are stored in blocks.
    pub(super) fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }
}

/// What decides besides a tensor's own name and shape.
pub(super) struct Chooser {
    mixture: Mixture,
    layers: usize,
    has_head: bool,
    eight_experts: bool,
    /// The values of this model are an eighth of the queries and worth more bits.
    is_70b: bool,
}

impl Chooser {
    pub(super) fn new(mixture: Mixture, config: &Config, dialect: &Dialect, has_head: bool) -> Self {
        let experts = config.design.experts.as_ref().map_or(0, |experts| experts.count);
        let is_70b = dialect.name == "llama" && config.layers == 80 && config.heads != config.kv_heads && experts != 8;
        Self { mixture, layers: config.layers, has_head, eight_experts: experts == 8, is_70b }
    }

    /// The type's name, and why it is not the one of most matrices, if so.
    pub(super) fn choose(&self, name: &str, shape: &[usize], block: usize) -> (&'static str, Option<String>) {
        let wanted = self.mixture.block_name();
        // A matrix of one row counts as a list.
        let stays = shape.iter().skip_while(|size| **size == 1).count() < 2
            || !name.ends_with("weight")
            || name.ends_with("_norm.weight")
            || name.contains("ffn_gate_inp.weight")
            || name == "position_embd.weight";
        if stays {
            return ("F32", None);
        }
        if !self.mixture.is_quantized() {
            return (wanted, None);
        }
        let columns = shape.last().copied().unwrap_or_default();
        let (better, why) = self.better(name, columns, block);
        let values = |name: &str| block::of_name(name).map_or(1, Block::values);
        if columns.is_multiple_of(values(better)) {
            return (better, why);
        }
        let smaller = match better {
            "Q4_K" => "Q5_0",
            "Q5_K" => "Q5_1",
            "Q6_K" => "Q8_0",
            other => other,
        };
        let why = format!("{columns} columns are no whole blocks of {}", values(better));
        if columns.is_multiple_of(values(smaller)) {
            return (smaller, Some(why));
        }
        ("F16", Some(format!("{columns} columns are no whole blocks of 32")))
    }

    fn better(&self, name: &str, columns: usize, layer: usize) -> (&'static str, Option<String>) {
        let wanted = self.mixture.block_name();
        let is_k = self.mixture == Mixture::Q4K;
        let because = |kind: &'static str, why: &str| (kind, (kind != wanted).then(|| why.to_owned()));
        let is_head = name == "output.weight" || (name == "token_embd.weight" && !self.has_head);
        if is_head {
            let values = block::of_name(wanted).map_or(1, Block::values);
            if !columns.is_multiple_of(values) {
                return because("Q8_0", "the head's columns are no whole blocks");
            }
            return because(if wanted == "Q8_0" { wanted } else { "Q6_K" }, "the head gets more bits");
        }
        let eighth = self.layers / 8;
        let more = layer < eighth || layer >= 7 * self.layers / 8 || (layer.wrapping_sub(eighth)) % 3 == 2;
        if name.contains("attn_v.weight") || name.contains("attn_qkv.weight") {
            if self.eight_experts {
                return because("Q8_0", "values of a model of 8 experts get more bits");
            }
            if is_k && more {
                return because("Q6_K", "values of this layer get more bits");
            }
            return if is_k && self.is_70b {
                because("Q5_K", "values of this model get more bits")
            } else {
                (wanted, None)
            };
        }
        if name.contains("attn_k.weight") && self.eight_experts {
            return because("Q8_0", "keys of a model of 8 experts get more bits");
        }
        if name.contains("attn_output.weight") && self.eight_experts && is_k {
            return because("Q5_K", "attention of a model of 8 experts gets more bits");
        }
        if name.contains("ffn_down") && is_k && more {
            return because("Q6_K", "the way down in this layer gets more bits");
        }
        (wanted, None)
    }
}
