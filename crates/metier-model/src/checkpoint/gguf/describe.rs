//! A configuration as a GGUF file's metadata: the way back of `config.rs` and `rope.rs`.

use crate::arch::Dialect;
use crate::arch::dialect::{TiedHead, Windows};
use crate::config::{Config, IS_CAUSAL};
use crate::layer::{NormKind, Part, Presence, Scaling};
use metier_core::{Error, Fault, Place, Result};
use std::f64::consts::PI;

/// A value of a key to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry {
    Whole(u32),
    Number(f32),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Wholes(Vec<i32>),
    Numbers(Vec<f32>),
    Flags(Vec<bool>),
}

/// What stands in a file besides weights and vocabulary.
pub(super) struct Description {
    /// In order, without the architecture's name before them.
    pub keys: Vec<(&'static str, Entry)>,
    /// Divisors of frequencies, which are tensors.
    pub divisors: Vec<(&'static str, Vec<f32>)>,
    /// What another program will compute otherwise, for people.
    pub notes: Vec<String>,
}

/// The configuration in the words of llama.cpp. What those cannot say is refused, all of it together.
pub(super) fn describe(config: &Config, dialect: &Dialect) -> Result<Description> {
    let mut description = Description { keys: Vec::new(), divisors: Vec::new(), notes: Vec::new() };
    let mut faults = Vec::new();
    sizes(config, dialect, &mut description);
    faults.extend(mathematics(config, dialect, &mut description));
    let has_positions = config.design.architecture.weights.iter().any(|pattern| pattern.part == Part::Positions);
    if !has_positions {
        faults.extend(rotary(config, dialect, &mut description));
    }
    faults.extend(windows(config, dialect, &mut description));
    Error::collect(description, faults)
}

impl Description {
    fn whole(&mut self, key: &'static str, number: usize) {
        // Sizes of a configuration are below 2^26, and lengths of texts fit in 32 bits or are none that a file can hold.
        self.keys.push((key, Entry::Whole(u32::try_from(number).unwrap_or(u32::MAX))));
    }

    fn number(&mut self, key: &'static str, number: f32) {
        self.keys.push((key, Entry::Number(number)));
    }

    fn text(&mut self, key: &'static str, text: &str) {
        self.keys.push((key, Entry::Text(text.to_owned())));
    }
}

fn refused(key: &str, message: impl Into<String>) -> Fault {
    let place = Place::key(format!("config.json: {key}"));
    Fault::new(place, message).hint("export a Hugging Face folder: it holds every model that is read")
}

fn sizes(config: &Config, dialect: &Dialect, out: &mut Description) {
    let design = &config.design;
    out.whole("vocab_size", config.vocabulary_size);
    let context = context(config, dialect, &mut out.notes);
    out.whole("context_length", context);
    out.whole("embedding_length", config.hidden_size);
    out.whole("block_count", config.layers);
    let width = config.intermediate_size;
    match &design.experts {
        Some(experts) if design.architecture.key("intermediate_size") == "moe_intermediate_size" => {
            // That of layers without experts, of which there are none.
            let dense = config.to_json().get("intermediate_size").and_then(serde_json::Value::as_u64);
            out.whole("feed_forward_length", dense.map_or(width * experts.per_token, |dense| dense as usize));
            out.whole("expert_feed_forward_length", width);
            if experts.shared_width > 0 {
                out.whole("expert_shared_feed_forward_length", experts.shared_width);
            }
        }
        _ => out.whole("feed_forward_length", width),
    }
    if let Some(experts) = &design.experts {
        out.whole("expert_count", experts.count);
        out.whole("expert_used_count", experts.per_token);
    }
    out.whole("attention.head_count", config.heads);
    out.whole("attention.head_count_kv", config.kv_heads);
    if dialect.free_heads {
        out.whole("attention.key_length", config.head_dim);
        out.whole("attention.value_length", config.head_dim);
    }
    let epsilon = match design.norm {
        NormKind::Rms | NormKind::RmsOffset => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    };
    out.number(epsilon, config.norm_epsilon);
}

/// The longest text for which llama.cpp computes the same.
fn context(config: &Config, dialect: &Dialect, notes: &mut Vec<String>) -> usize {
    let mut length = config.context_length;
    let mut cut = |to: usize, why: &str| {
        if to < length {
            notes.push(format!("context_length is {to} instead of {length}: {why}"));
            length = to;
        }
    };
    if dialect.windows == Windows::None
        && let Some(window) = config.design.windows.iter().flatten().min()
    {
        cut(*window, "llama.cpp has no window for this architecture, and shorter texts do not need one");
    }
    if let Scaling::Dynamic { trained, .. } = config.design.scaling {
        cut(trained, "llama.cpp does not stretch positions by the length of the text");
    }
    length
}

fn mathematics(config: &Config, dialect: &Dialect, out: &mut Description) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (design, name) = (&config.design, dialect.name);
    if !dialect.free_heads && config.query_width() != config.hidden_size {
        let message = format!("llama.cpp's `{name}` has heads that divide the {} columns", config.hidden_size);
        faults.push(refused("head_dim", message));
    }
    if !design.causal {
        let message = format!("llama.cpp's `{name}` is causal, and the model's attention is bidirectional");
        faults.push(refused(IS_CAUSAL, message));
    }
    if !dialect.activations.contains(&design.activation) {
        let message = format!("llama.cpp's `{name}` has another activation than {:?}", design.activation);
        faults.push(refused(design.architecture.key("hidden_act"), message));
    }
    for pattern in design.architecture.weights.iter().filter(|pattern| pattern.is_part_of(config)) {
        let switched = matches!(pattern.bias, Presence::AttentionBias | Presence::FeedForwardBias);
        let has = switched && pattern.has_bias(config);
        let reads = dialect.biases.contains(&pattern.part);
        let needs = dialect.needed_biases.contains(&pattern.part);
        if has && !reads && !needs {
            faults.push(refused(pattern.name, format!("llama.cpp's `{name}` reads no bias here")));
        } else if needs && switched && !has {
            faults.push(refused(pattern.name, format!("llama.cpp's `{name}` needs a bias here")));
        }
    }
    if design.query_key_norm {
        faults.push(refused("qk_layernorm", format!("llama.cpp's `{name}` norms no heads")));
    }
    if dialect.tied_head == TiedHead::Only && !config.tied_embeddings {
        faults.push(refused("tie_word_embeddings", format!("llama.cpp's `{name}` takes the embedding as its head")));
    }
    if design.experts.is_some()
        && design.experts.as_ref().map(|experts| experts.normalized) != Some(dialect.normalized_experts)
    {
        let message = format!("llama.cpp's `{name}` has it {}", dialect.normalized_experts);
        faults.push(refused("norm_topk_prob", message));
    }
    let wide = dialect.wide_scale_layers == Some(config.layers);
    let width = if wide { config.hidden_size / config.heads } else { config.head_dim };
    let scale = 1.0 / (width as f32).sqrt();
    if design.scale_by_layer || (config.attention_scale(0) - scale).abs() > 1e-6 * scale {
        let message = format!("llama.cpp's `{name}` scales scores by 1 / sqrt({width}), and by nothing else");
        faults.push(refused("query_pre_attn_scalar, scale_attn_weights or scale_attn_by_inverse_layer_idx", message));
    }
    match (dialect.caps, design.attention_softcap, design.logit_softcap) {
        (Some(_), Some(scores), Some(logits)) => {
            out.number("attn_logit_softcapping", scores);
            out.number("final_logit_softcapping", logits);
        }
        (Some(_), ..) => {
            faults.push(refused("attn_logit_softcapping", format!("llama.cpp's `{name}` caps scores and logits")));
        }
        (None, _, Some(logits)) => out.number("final_logit_softcapping", logits),
        (None, ..) => {}
    }
    if design.architecture.weights.iter().any(|pattern| pattern.part == Part::QueryKeyValueByHead) {
        out.keys.push(("use_parallel_residual", Entry::Flag(design.parallel)));
    }
    faults
}

fn rotary(config: &Config, dialect: &Dialect, out: &mut Description) -> Vec<Fault> {
    let mut faults = Vec::new();
    let name = dialect.name;
    out.whole("rope.dimension_count", config.turned());
    out.number("rope.freq_base", config.rope_theta);
    if let Some(local) = config.design.local_theta {
        out.number("rope.freq_base_swa", local);
    }
    match &config.design.scaling {
        Scaling::None | Scaling::Dynamic { .. } => {}
        Scaling::Linear { factor } => {
            out.text("rope.scaling.type", "linear");
            out.number("rope.scaling.factor", *factor);
        }
        Scaling::Yarn { factor, trained, fast, slow, magnitude, truncate } => {
            if !truncate {
                faults.push(refused("rope_scaling.truncate", "llama.cpp rounds the bounds of YaRN to whole pairs"));
            }
            out.text("rope.scaling.type", "yarn");
            out.number("rope.scaling.factor", *factor);
            out.whole("rope.scaling.original_context_length", *trained);
            out.number("rope.scaling.yarn_beta_fast", *fast);
            out.number("rope.scaling.yarn_beta_slow", *slow);
            let own = if *factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 };
            if (magnitude - own).abs() > 1e-6 {
                out.number("rope.scaling.attn_factor", magnitude / own);
            }
        }
        Scaling::Llama3 { factor, low, high, trained } => {
            if !dialect.reads_divisors {
                faults.push(refused("rope_scaling", format!("llama.cpp's `{name}` has no stretching of this kind")));
            }
            let pairs = config.turned() / 2;
            let divisor = |pair: usize| {
                let frequency = f64::from(config.rope_theta).powf(-2.0 * pair as f64 / config.turned() as f64);
                let waves = *trained as f64 * frequency / (2.0 * PI);
                let (low, high) = (f64::from(*low), f64::from(*high));
                let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 / ((1.0 - kept) / f64::from(*factor) + kept)) as f32
            };
            out.divisors.push(("rope_freqs.weight", (0..pairs).map(divisor).collect()));
        }
        Scaling::LongRope { short, long, trained, magnitude } => {
            if !dialect.reads_divisors {
                faults.push(refused("rope_scaling", format!("llama.cpp's `{name}` has no stretching of this kind")));
            }
            out.text("rope.scaling.type", "longrope");
            out.whole("rope.scaling.original_context_length", *trained);
            out.number("rope.scaling.attn_factor", *magnitude);
            out.divisors.push(("rope_factors_long.weight", long.to_vec()));
            out.divisors.push(("rope_factors_short.weight", short.to_vec()));
            out.notes.push(format!(
                "llama.cpp chooses the divisors of long texts by the context it is given, not by the text: run it with at most {trained} tokens for short ones"
            ));
        }
    }
    faults
}

fn windows(config: &Config, dialect: &Dialect, out: &mut Description) -> Vec<Fault> {
    let slides: Vec<bool> = (0..config.layers).map(|layer| config.window(layer).is_some()).collect();
    let sizes: Vec<usize> = config.design.windows.iter().flatten().copied().collect();
    let window = sizes.first().copied();
    if sizes.iter().any(|size| Some(*size) != window) {
        return vec![refused("sliding_window", "a GGUF file has one window for all layers")];
    }
    match dialect.windows {
        Windows::None => Vec::new(),
        Windows::All if window.is_some() && slides.contains(&false) => {
            vec![refused("layer_types", format!("llama.cpp's `{}` has windows in all layers or none", dialect.name))]
        }
        Windows::All => {
            out.whole("attention.sliding_window", window.unwrap_or(0));
            if let Some(window) = window.filter(|window| *window < config.context_length) {
                out.notes.push(format!(
                    "llama.cpp 0.3.36 does not follow the window of {window} keys: longer texts come out otherwise"
                ));
            }
            Vec::new()
        }
        Windows::AllButEach { period, default } => {
            // A window as long as the longest text shows all of it.
            let none = default.map_or(0, |_| config.context_length);
            out.whole("attention.sliding_window", window.unwrap_or(none));
            let usual = (0..config.layers).map(|layer| layer % period < period - 1);
            if window.is_some() && !usual.eq(slides.iter().copied()) {
                out.keys.push(("attention.sliding_window_pattern", Entry::Flags(slides)));
            }
            Vec::new()
        }
    }
}
