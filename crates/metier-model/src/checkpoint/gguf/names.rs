//! What llama.cpp calls a tensor, and what Hugging Face calls it.

/// A name of llama.cpp with that of Hugging Face; `{}` stands for the layer.
struct Pair(&'static str, &'static str);

const LLAMA: &[Pair] = &[
    Pair("token_embd", "model.embed_tokens"),
    Pair("output_norm", "model.norm"),
    Pair("output", "lm_head"),
    Pair("blk.{}.attn_norm", "model.layers.{}.input_layernorm"),
    Pair("blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"),
    Pair("blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"),
    Pair("blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"),
    Pair("blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"),
    Pair("blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"),
    Pair("blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"),
    Pair("blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"),
    Pair("blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"),
];

/// The Hugging Face name of a Llama's tensor, `None` when there is none.
pub(super) fn hugging_face(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.').filter(|(_, kind)| *kind == "weight" || *kind == "bias")?;
    let (pattern, layer) = match stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) if layer.parse::<u32>().is_ok_and(|number| number.to_string() == layer) => {
            (format!("blk.{{}}.{part}"), layer)
        }
        _ if stem.starts_with("blk.") => return None,
        _ => (stem.to_owned(), ""),
    };
    let Pair(_, found) = LLAMA.iter().find(|Pair(ours, _)| *ours == pattern)?;
    Some(format!("{}.{kind}", found.replace("{}", layer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mapped_with_their_layer() {
        let mapped = |name| hugging_face(name).unwrap_or_default();
        assert_eq!(mapped("token_embd.weight"), "model.embed_tokens.weight");
        assert_eq!(mapped("blk.29.attn_q.weight"), "model.layers.29.self_attn.q_proj.weight");
        assert_eq!(mapped("blk.0.attn_k.bias"), "model.layers.0.self_attn.k_proj.bias");
        for unknown in
            ["rope_freqs.weight", "blk.x.attn_q.weight", "blk.01.attn_q.weight", "blk.1.attn_q", "blk.{}.attn_q.weight"]
        {
            assert_eq!(hugging_face(unknown), None, "{unknown}");
        }
    }
}
