//! Rotary positions of a GGUF file, as `config.json` says them.

use super::config::{Found, Keys, Shape, Written};
use crate::layer::Part;
use serde_json::{Value, json};
use std::f64::consts::PI;

/// Reads base, width and stretching.
pub(super) fn read(keys: &mut Keys<'_>, config: &mut Written, shape: &Shape, found: &Found<'_>) {
    if config.pattern(Part::Positions) {
        return;
    }
    let turned = keys.size("rope.dimension_count", Some(shape.head));
    let theta = keys.number("rope.freq_base", Some(10_000.0));
    config.put("rope_theta", json!(theta));
    if config.architecture.partial.is_some() {
        config.put("partial_rotary_factor", json!(share(turned, shape.head)));
    } else if turned != shape.head {
        let message = format!("{turned} of the {} columns of a head turn, and all must", shape.head);
        keys.refuse("rope.dimension_count", message, format!("known: {}", shape.head));
    }
    if let Some(local) = keys.optional("rope.freq_base_swa") {
        config.put("rope_local_base_freq", json!(local));
    } else if config.pattern(Part::AfterAttentionNorm) && config.pattern(Part::QueryNorm) {
        config.put("rope_local_base_freq", json!(10_000.0));
    }
    let scaling = scaling(keys, config, shape, &Base { turned, theta }, found);
    if !scaling.is_null() {
        config.put("rope_scaling", scaling);
    }
}

struct Base {
    turned: usize,
    theta: f64,
}

/// The part of a head that turns, so that what reads it comes back to the same number of columns.
fn share(turned: usize, head: usize) -> f64 {
    let exact = turned as f64 / head as f64;
    if (head as f32 * exact as f32) as usize == turned && (head as f64 * exact) as usize == turned {
        return exact;
    }
    (turned as f64 + 0.25) / head as f64
}

fn scaling(keys: &mut Keys<'_>, config: &mut Written, shape: &Shape, base: &Base, found: &Found<'_>) -> Value {
    let kind = keys.text("rope.scaling.type", "linear");
    let linear = keys.number("rope.scale_linear", Some(1.0));
    let factor = keys.number("rope.scaling.factor", Some(linear));
    let trained = keys.whole("rope.scaling.original_context_length", Some(shape.context));
    let growth = keys.number("rope.scaling.attn_factor", Some(1.0));
    let list = |keys: &mut Keys<'_>, name: &str| match found.numbers(name) {
        Ok(numbers) => numbers,
        Err(error) => {
            keys.refuse("rope.scaling.type", format!("`{name}` cannot be read: {error}"), "the file is damaged");
            None
        }
    };
    let frequencies = list(keys, "rope_freqs.weight");
    let lists = [list(keys, "rope_factors_short.weight"), list(keys, "rope_factors_long.weight")];
    if let Some(factors) = frequencies {
        return llama3(&factors, base).unwrap_or_else(|| {
            let message = "the numbers of `rope_freqs.weight` are no stretching that is known";
            keys.refuse("rope.scaling.type", message, "known: Llama 3's");
            Value::Null
        });
    }
    if let [Some(short), Some(long)] = lists {
        config.put("original_max_position_embeddings", json!(trained));
        return json!({
            "rope_type": "longrope", "type": "longrope", "short_factor": short, "long_factor": long,
            "original_max_position_embeddings": trained, "attention_factor": growth,
        });
    }
    match kind.as_str() {
        "linear" if (factor - 1.0).abs() > 0.0 => json!({ "rope_type": "linear", "type": "linear", "factor": factor }),
        "none" | "linear" => Value::Null,
        "yarn" => {
            let mut table = json!({
                "rope_type": "yarn", "type": "yarn", "factor": keys.number("rope.scaling.factor", None),
                "original_max_position_embeddings": trained,
            });
            for (name, key) in
                [("beta_fast", "rope.scaling.yarn_beta_fast"), ("beta_slow", "rope.scaling.yarn_beta_slow")]
            {
                if let Some(number) = keys.optional(key) {
                    table[name] = json!(number);
                }
            }
            let said = keys.optional("rope.scaling.yarn_attn_factor");
            if said.is_some() || (growth - 1.0).abs() > 0.0 {
                let own = if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 };
                table["attention_factor"] = json!(said.unwrap_or(own) * growth);
            }
            table
        }
        "longrope" => {
            let message = "\"longrope\" needs the tensors `rope_factors_short.weight` and `rope_factors_long.weight`";
            keys.refuse("rope.scaling.type", message, "the file lacks them");
            Value::Null
        }
        other => {
            let message = format!("rotary scaling `{other}` is not read");
            keys.refuse("rope.scaling.type", message, "known: none, linear, yarn, longrope");
            Value::Null
        }
    }
}

/// Llama 3's stretching whose divisors of the frequencies these are, if there is one.
///
/// Long waves are divided by `factor`, short ones by 1, and between them `1 / divisor` is a line in the waves that fit
/// into the texts of the first training. Those three numbers decide the divisors up to what all waves are counted in, so
/// `low_freq_factor` is taken for 1, as all published models have it.
fn llama3(divisors: &[f32], base: &Base) -> Option<Value> {
    let factor = divisors.iter().copied().fold(1.0_f32, f32::max);
    let frequency = |pair: usize| base.theta.powf(-2.0 * pair as f64 / base.turned as f64);
    let mut mixed = Vec::new();
    for (pair, &divisor) in divisors.iter().enumerate() {
        if !(divisor.is_finite() && divisor >= 1.0) {
            return None;
        }
        if divisor > 1.0 && divisor < factor {
            let (inverse, least) = (1.0 / f64::from(divisor), 1.0 / f64::from(factor));
            mixed.push((frequency(pair) / (2.0 * PI), (inverse - least) / (1.0 - least)));
        }
    }
    let (first, last) = (mixed.first()?, mixed.last()?);
    // The share that stays is `(trained turns - low) / (high - low)`.
    let (trained, high) = if mixed.len() > 1 {
        let slope = (first.1 - last.1) / (first.0 - last.0);
        let at_zero = first.1 - slope * first.0;
        let width = -1.0 / at_zero;
        ((slope * width).round(), round_to(1.0 + width, 1e3))
    } else {
        // One number cannot tell two; nearly all models have this one.
        let high = 4.0;
        (((first.1 * (high - 1.0) + 1.0) / first.0).round(), high)
    };
    let fits = trained >= 1.0
        && high > 1.0
        && divisors.iter().enumerate().all(|(pair, &divisor)| {
            let waves = trained * frequency(pair) / (2.0 * PI);
            let kept = ((waves - 1.0) / (high - 1.0)).clamp(0.0, 1.0);
            let whole = 1.0 / ((1.0 - kept) / f64::from(factor) + kept);
            (whole - f64::from(divisor)).abs() <= 1e-3 * whole
        });
    fits.then(|| {
        json!({
            "rope_type": "llama3", "type": "llama3", "factor": factor, "low_freq_factor": 1.0,
            "high_freq_factor": high, "original_max_position_embeddings": trained as u64,
        })
    })
}

fn round_to(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}
