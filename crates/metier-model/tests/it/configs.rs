//! What files in use say is read as they mean it, and what they must not say is refused by name.

use super::architectures::cases;
use metier_model::Config;
use serde_json::{Value, json};

/// Whether a configuration says what its document means.
type Holds = fn(&Config) -> bool;

/// Keys and numbers as published models have them, in the words of the programs that wrote them, and what follows.
fn published() -> Vec<(Value, Holds)> {
    let all = |mut one: Value, keys: Value| {
        let map = one.as_object_mut().unwrap();
        map.extend(
            json!({
                "architectures": ["A"], "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.02,
                "torch_dtype": "bfloat16", "transformers_version": "4.40.0", "use_cache": true
            })
            .as_object()
            .unwrap()
            .clone(),
        );
        map.extend(keys.as_object().unwrap().clone());
        one
    };
    let sizes = |hidden: u32, inner: u32, layers: u32, heads: u32, kv: u32, context: u32, vocabulary: u32| {
        json!({
            "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv, "max_position_embeddings": context, "vocab_size": vocabulary
        })
    };
    let without_kv = |mut sizes: Value| {
        sizes.as_object_mut().unwrap().remove("num_key_value_heads");
        sizes
    };
    vec![
        (
            json!({
                "model_type": "bert", "_name_or_path": "nreimers/MiniLM-L6-H384-uncased", "architectures": ["BertModel"],
                "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": false, "hidden_act": "gelu",
                "hidden_dropout_prob": 0.1, "hidden_size": 384, "initializer_range": 0.02, "intermediate_size": 1536,
                "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "num_attention_heads": 12,
                "num_hidden_layers": 6, "pad_token_id": 0, "position_embedding_type": "absolute",
                "transformers_version": "4.8.2", "type_vocab_size": 2, "use_cache": true, "vocab_size": 30522
            }),
            |config| {
                !config.design.causal
                    && config.context_length == 512
                    && config.norm_epsilon < 1e-11
                    && config.tied_embeddings
                    && config.turning(0).is_none()
            },
        ),
        (
            json!({
                "model_type": "roberta", "architectures": ["RobertaForMaskedLM"], "attention_probs_dropout_prob": 0.1,
                "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
                "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-5,
                "max_position_embeddings": 514, "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1,
                "type_vocab_size": 1, "vocab_size": 50265
            }),
            |config| (config.context_length, config.design.first_position) == (512, 2) && !config.design.causal,
        ),
        (
            all(
                sizes(2304, 9216, 26, 8, 4, 8192, 256_000),
                json!({
                    "model_type": "gemma2", "attention_bias": false, "attention_dropout": 0.0,
                    "attn_logit_softcapping": 50.0, "cache_implementation": "hybrid", "final_logit_softcapping": 30.0,
                    "head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
                    "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
                    "sliding_window": 4096
                }),
            ),
            |config| {
                (config.window(0), config.window(1)) == (Some(4096), None)
                    && config.tied_embeddings
                    && (config.design.embedding_scale - 48.0).abs() < 1e-6
                    && (config.attention_scale(3) - 0.0625).abs() < 1e-7
            },
        ),
        (
            all(
                sizes(640, 2048, 3, 4, 1, 32768, 262_144),
                json!({
                    "model_type": "gemma3_text", "_sliding_window_pattern": 6, "attention_bias": false,
                    "attn_logit_softcapping": null, "final_logit_softcapping": null, "head_dim": 256,
                    "hidden_activation": "gelu_pytorch_tanh",
                    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
                    "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "rope_local_base_freq": 10000.0,
                    "rope_scaling": null, "rope_theta": 1_000_000.0, "sliding_window": 512,
                    "use_bidirectional_attention": false
                }),
            ),
            |config| {
                (config.window(1), config.window(2)) == (Some(512), None)
                    && config.design.local_theta == Some(10_000.0)
                    && config.rope_theta > 999_999.0
            },
        ),
        (
            json!({
                "model_type": "gpt2", "activation_function": "gelu_new", "attn_pdrop": 0.1, "embd_pdrop": 0.1,
                "layer_norm_epsilon": 1e-5, "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12,
                "n_positions": 1024, "resid_pdrop": 0.1, "summary_type": "cls_index", "summary_use_proj": true,
                "task_specific_params": { "text-generation": { "do_sample": true } }, "vocab_size": 50257
            }),
            |config| config.tied_embeddings && (config.intermediate_size, config.head_dim) == (3072, 64),
        ),
        (
            json!({
                "model_type": "gpt_neo", "activation_function": "gelu_new", "attention_dropout": 0,
                "attention_layers": ["global", "local", "global", "local"],
                "attention_types": [[["global", "local"], 2]], "embed_dropout": 0, "gradient_checkpointing": false,
                "hidden_size": 768, "intermediate_size": null, "layer_norm_epsilon": 1e-5,
                "max_position_embeddings": 2048, "num_heads": 16, "num_layers": 4, "resid_dropout": 0,
                "vocab_size": 50257, "window_size": 256
            }),
            |config| {
                (config.window(0), config.window(3)) == (None, Some(256))
                    && config.intermediate_size == 3072
                    && (config.attention_scale(2) - 1.0).abs() < f32::EPSILON
            },
        ),
        (
            all(
                without_kv(sizes(512, 2048, 6, 8, 8, 2048, 50304)),
                json!({
                    "model_type": "gpt_neox", "hidden_act": "gelu", "layer_norm_eps": 1e-5, "rotary_emb_base": 10000,
                    "rotary_pct": 0.25, "tie_word_embeddings": false, "use_parallel_residual": true
                }),
            ),
            |config| config.design.parallel && config.turned() == 16 && config.attention_bias,
        ),
        (
            all(
                sizes(4096, 14336, 32, 32, 8, 131_072, 128_256),
                json!({
                    "model_type": "llama", "attention_bias": false, "hidden_act": "silu", "mlp_bias": false,
                    "rope_theta": 500_000.0, "rope_scaling": {
                        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 8192, "rope_type": "llama3"
                    }
                }),
            ),
            |config| config.context_length == 131_072,
        ),
        (
            all(
                sizes(4096, 14336, 32, 32, 8, 32768, 32000),
                json!({
                    "model_type": "mistral", "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
                    "sliding_window": 4096, "tie_word_embeddings": false
                }),
            ),
            |config| (0..32).all(|layer| config.window(layer) == Some(4096)),
        ),
        (
            all(
                sizes(4096, 14336, 32, 32, 8, 32768, 32000),
                json!({
                    "model_type": "mixtral", "hidden_act": "silu", "num_experts_per_tok": 2, "num_local_experts": 8,
                    "output_router_logits": false, "rms_norm_eps": 1e-5, "rope_theta": 1e6, "router_aux_loss_coef": 0.02,
                    "sliding_window": null
                }),
            ),
            |config| config.window(0).is_none() && config.design.experts.as_ref().unwrap().count == 8,
        ),
        (
            all(
                sizes(2560, 10240, 32, 32, 32, 2048, 51200),
                json!({
                    "model_type": "phi", "attention_dropout": 0.0, "embd_pdrop": 0.0, "hidden_act": "gelu_new",
                    "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.4, "qk_layernorm": false, "resid_pdrop": 0.1,
                    "rope_scaling": null, "rope_theta": 10000.0, "tie_word_embeddings": false
                }),
            ),
            |config| config.turned() == 32 && !config.design.query_key_norm,
        ),
        (
            all(
                sizes(3072, 8192, 32, 32, 32, 4096, 32064),
                json!({
                    "model_type": "phi3", "attention_bias": false, "auto_map": { "AutoConfig": "x" }, "embd_pdrop": 0.0,
                    "hidden_act": "silu", "original_max_position_embeddings": 4096, "resid_pdrop": 0.0,
                    "rms_norm_eps": 1e-5, "rope_scaling": null, "rope_theta": 10000.0, "sliding_window": 2047,
                    "tie_word_embeddings": false
                }),
            ),
            |config| config.window(31) == Some(2047) && config.turned() == 96,
        ),
        (
            all(
                sizes(896, 4864, 24, 14, 2, 32768, 151_936),
                json!({
                    "model_type": "qwen2", "attention_dropout": 0.0, "hidden_act": "silu", "max_window_layers": 21,
                    "rms_norm_eps": 1e-6, "rope_theta": 1e6, "sliding_window": 32768, "tie_word_embeddings": true,
                    "use_mrope": false, "use_sliding_window": false
                }),
            ),
            |config| config.tied_embeddings && config.window(23).is_none() && config.head_dim == 64,
        ),
        (
            all(
                sizes(896, 4864, 24, 14, 2, 32768, 151_936),
                json!({
                    "model_type": "qwen2", "hidden_act": "silu", "rope_theta": 1e6, "rope_scaling": {
                        "factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"
                    }
                }),
            ),
            |config| config.context_length == 131_072,
        ),
        (
            all(
                sizes(2048, 5632, 24, 16, 16, 8192, 151_936),
                json!({
                    "model_type": "qwen2_moe", "decoder_sparse_step": 1, "hidden_act": "silu", "max_window_layers": 21,
                    "moe_intermediate_size": 1408, "norm_topk_prob": false, "num_experts": 60, "num_experts_per_tok": 4,
                    "output_router_logits": false, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "router_aux_loss_coef": 0.001,
                    "shared_expert_intermediate_size": 5632, "sliding_window": 32768, "use_sliding_window": false
                }),
            ),
            |config| {
                let experts = config.design.experts.as_ref().unwrap();
                (experts.count, experts.per_token, experts.shared_width) == (60, 4, 5632)
                    && config.intermediate_size == 1408
                    && config.attention_bias
            },
        ),
        (
            all(
                sizes(1024, 3072, 28, 16, 8, 40960, 151_936),
                json!({
                    "model_type": "qwen3", "attention_bias": false, "attention_dropout": 0.0, "head_dim": 128,
                    "hidden_act": "silu", "max_window_layers": 28, "rms_norm_eps": 1e-6, "rope_scaling": null,
                    "rope_theta": 1_000_000, "sliding_window": null, "tie_word_embeddings": true,
                    "use_sliding_window": false
                }),
            ),
            |config| config.query_width() == 2048 && !config.attention_bias,
        ),
        (
            all(
                sizes(2048, 6144, 48, 32, 4, 40960, 151_936),
                json!({
                    "model_type": "qwen3_moe", "attention_bias": false, "decoder_sparse_step": 1, "head_dim": 128,
                    "hidden_act": "silu", "max_window_layers": 48, "mlp_only_layers": [], "moe_intermediate_size": 768,
                    "norm_topk_prob": true, "num_experts": 128, "num_experts_per_tok": 8, "output_router_logits": false,
                    "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": 1e6, "router_aux_loss_coef": 0.001,
                    "sliding_window": null, "tie_word_embeddings": false, "use_sliding_window": false
                }),
            ),
            |config| config.design.experts.as_ref().unwrap().normalized && config.intermediate_size == 768,
        ),
    ]
}

#[test]
fn published_files_are_read_as_they_mean_it() {
    for (document, holds) in published() {
        let name = document["model_type"].clone();
        let config = Config::from_json(&document).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(holds(&config), "{name}: {config:?}");
        assert_eq!(Config::from_json(&config.to_json()).unwrap(), config, "{name}");
    }
}

/// Names and shapes are named as the architecture's own file has them, with what would have been right.
#[test]
fn what_is_not_built_is_refused_with_the_architectures_own_key() {
    let yarn = json!({ "rope_type": "yarn" });
    let longrope = json!({ "rope_type": "longrope", "short_factor": [1.0, 1.0, 1.0, 1.0, 1.0] });
    let llama3 = json!({ "rope_type": "llama3", "factor": 2.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0 });
    let shrinking = json!({ "rope_type": "linear", "factor": 0.5 });
    let unknown = json!({ "rope_type": "linear", "factor": 2.0, "beta_fast": 3.0 });
    let sliding = json!(["full_attention", "full_attention", "sliding_attention"]);
    let layers = json!({ "full_attention": { "rope_type": "default" }, "chunked_attention": {} });
    for (case, key, value, said) in [
        ("bert", "position_embedding_type", json!("relative_key"), "\"relative_key\" is not built"),
        ("bert", "is_decoder", json!(true), "true asks for mathematics"),
        ("bert", "is_causal", json!(true), "this key is not known"),
        ("bert", "type_vocab_size", json!(0), "texts of no kind"),
        ("roberta", "max_position_embeddings", json!(2), "2 positions leave none"),
        ("gemma2", "attn_logit_softcapping", json!(0.0), "0 caps nothing"),
        ("gemma2", "query_pre_attn_scalar", json!(-1), "-1 scales nothing"),
        ("gemma2", "hidden_activation", json!("silu"), "\"silu\" asks for mathematics"),
        ("gemma3", "layer_types", json!(["full_attention"]), "each of 3 layers"),
        ("gemma3", "attn_logit_softcapping", json!(50.0), "50.0 is not built"),
        ("gemma3", "use_bidirectional_attention", json!(true), "true asks for mathematics"),
        ("gemma3", "rope_parameters.chunked_attention", layers, "no such layers"),
        ("gpt2", "n_head", json!(7), "7 heads do not divide 30 columns"),
        ("gpt2", "n_embd", json!("wide"), "\"wide\" is no whole number"),
        ("gpt2", "activation_function", json!("quick_gelu"), "\"quick_gelu\" asks for mathematics"),
        ("gpt2", "add_cross_attention", json!(true), "true asks for mathematics"),
        ("gpt2", "rope_theta", json!(10.0), "this key is not known"),
        ("gpt_neo", "attention_types", json!([[["global", "remote"], 2]]), "each of 4 layers"),
        ("gpt_neo", "attention_types", json!([[["global"], u64::MAX]]), "each of 4 layers"),
        ("gpt_neo", "attention_layers", json!(["local", "local", "local", "local"]), "does not agree"),
        ("gpt_neo", "window_size", json!(0), "a window of 0 keys"),
        ("gpt_neox", "hidden_act", json!(3), "3 is no name of an activation"),
        ("gpt_neox", "num_key_value_heads", json!(2), "this key is not known"),
        ("llama", "rope_parameters.rope_type", yarn, "\"yarn\" needs the number `factor`"),
        ("llama", "rope_parameters.long_factor", longrope, "it is no list of numbers"),
        ("llama", "rope_parameters.low_freq_factor", llama3, "4 is not below"),
        ("llama", "rope_parameters.factor", shrinking, "0.5 would shorten texts"),
        ("llama", "rope_parameters.beta_fast", unknown, "\"linear\" has no such key"),
        ("llama", "rope_parameters", json!(7), "it is no table"),
        ("mistral", "layer_types", json!(["full_attention"]), "this key is not known"),
        ("mixtral", "num_experts_per_tok", json!(9), "9 is out of range, it is from 1 to 5 experts"),
        ("mixtral", "num_local_experts", json!(0), "0 is out of range"),
        ("qwen2_moe", "num_experts", json!(1 << 20), "1048576 is out of range"),
        ("gpt2", "n_embd", json!(u64::MAX), "18446744073709551615 is out of range"),
        ("phi", "tie_word_embeddings", json!(true), "true is not built"),
        ("qwen2", "num_key_value_heads", json!(null), "it is missing"),
        ("qwen2", "sliding_window", sliding, "it is missing, and some layers slide"),
        ("qwen2_moe", "mlp_only_layers", json!([0]), "[0] is not built"),
        ("qwen2_moe", "decoder_sparse_step", json!(2), "2 is not built"),
    ] {
        let mut document = cases().into_iter().find(|known| known.name == case).unwrap().config;
        let changed = if key == "sliding_window" { "layer_types" } else { key };
        document[changed.split('.').next().unwrap()] = value;
        let error = Config::from_json(&document).err().unwrap_or_else(|| panic!("{case}: {key} was accepted"));
        let text = error.to_string();
        assert!(text.contains(&format!("config.json: {key}")) && text.contains(said), "{case}, {key}: {text}");
    }
}
