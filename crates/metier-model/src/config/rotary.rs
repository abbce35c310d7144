//! Rotary positions in a `config.json`: `rope_theta` and `rope_scaling` of older files, the table `rope_parameters` of newer ones.

use super::{Config, Reader, place};
use crate::layer::Scaling;
use metier_core::Fault;
use serde_json::{Map, Value};
use std::sync::Arc;

/// What a table says.
#[derive(Default)]
struct Said {
    theta: Option<f32>,
    partial: Option<f32>,
    scaling: Scaling,
}

impl Reader<'_> {
    /// Reads base, width and stretching of rotary positions.
    pub fn rotary(&mut self, config: &mut Config) {
        let theta = self.theta();
        let mut partial = self.architecture.partial.map(|partial| self.number("partial_rotary_factor", Some(partial)));
        config.rope_theta = theta;
        let (old, new) = (self.get("rope_scaling"), self.get("rope_parameters"));
        if old.is_some() && new.is_some() {
            self.refuse(
                "rope_scaling",
                "it stands beside `rope_parameters`, which says the same",
                "leave one of them out",
            );
        }
        let (name, table) = if new.is_some() { ("rope_parameters", new) } else { ("rope_scaling", old) };
        if let Some(table) = table {
            let said = self.table(name, table, config);
            config.rope_theta = said.theta.unwrap_or(theta);
            partial = said.partial.or(partial);
            config.design.scaling = said.scaling;
        }
        if let Some(partial) = partial {
            config.design.turned = Some((config.head_dim as f32 * partial) as usize);
        }
        self.check_factors(name, config);
        let stretched = |length: usize, factor: f32| (length as f64 * f64::from(factor)) as usize;
        match config.design.scaling {
            // The base grows with the text; somewhere it has to end.
            Scaling::Dynamic { factor, trained } => config.context_length = stretched(trained, factor),
            Scaling::Yarn { factor, trained, .. } => {
                config.context_length = config.context_length.max(stretched(trained, factor));
            }
            _ => {}
        }
    }

    /// As [`Reader::rotary`], with tables of their own for layers that see all keys and for those with a window, whose
    /// base older files call `rope_local_base_freq`.
    pub fn rotary_by_layer(&mut self, config: &mut Config) {
        let mut local = self.number("rope_local_base_freq", Some(10_000.0));
        let tables = self.get("rope_parameters").and_then(Value::as_object);
        let tables = tables.filter(|tables| tables.contains_key("full_attention"));
        if let Some(tables) = tables {
            config.rope_theta = self.theta();
            for (key, table) in tables {
                let name = format!("rope_parameters.{key}");
                let said = self.table(&name, table, config);
                match key.as_str() {
                    "full_attention" => {
                        config.rope_theta = said.theta.unwrap_or(config.rope_theta);
                        config.design.scaling = said.scaling;
                    }
                    "sliding_attention" if said.scaling == Scaling::None => local = said.theta.unwrap_or(local),
                    "sliding_attention" => self.refuse(
                        &name,
                        "stretched positions of layers with a window are not built",
                        "known: the rope_type \"default\"",
                    ),
                    _ => self.refuse(&name, "there are no such layers", "known: full_attention, sliding_attention"),
                }
            }
        } else {
            self.rotary(config);
        }
        config.design.local_theta = Some(local);
    }

    fn theta(&mut self) -> f32 {
        self.number("rope_theta", Some(self.architecture.theta))
    }

    /// Lists of factors have one for each pair of columns that turns.
    fn check_factors(&mut self, table: &str, config: &Config) {
        let Scaling::LongRope { short, long, .. } = &config.design.scaling else { return };
        let pairs = config.turned() / 2;
        // Empty ones were refused as no lists.
        for (key, factors) in
            [("short_factor", short), ("long_factor", long)].into_iter().filter(|(_, it)| !it.is_empty())
        {
            if factors.len() != pairs || factors.iter().any(|factor| !(factor.is_finite() && *factor > 0.0)) {
                let message = format!("it has {} numbers, and {pairs} pairs of columns turn", factors.len());
                self.refuse(&format!("{table}.{key}"), message, "write one number above 0 for each pair");
            }
        }
    }

    fn table(&mut self, name: &str, table: &Value, config: &Config) -> Said {
        let Some(map) = table.as_object() else {
            self.refuse(name, "it is no table", "write a table with `rope_type` and its numbers");
            return Said::default();
        };
        let mut table = Table::new(name, map);
        let theta = table.optional("rope_theta");
        let partial = table.optional("partial_rotary_factor");
        if let Some(partial) = partial.filter(|partial| self.architecture.partial.is_none() && *partial < 1.0) {
            table.refuse(
                "partial_rotary_factor",
                format!("{partial} is not built for this architecture"),
                "known: 1.0",
            );
        }
        let trained = self.architecture.neutral.contains(&TRAINED).then(|| self.get(TRAINED)).flatten();
        table.trained_elsewhere = trained.and_then(Value::as_u64).map(|trained| trained as usize);
        let scaling = table.scaling(config.context_length);
        table.refuse_the_rest();
        self.faults.extend(table.faults);
        Said { theta, partial, scaling }
    }
}

const TRAINED: &str = "original_max_position_embeddings";

/// A table of numbers that belong to its `rope_type`.
struct Table<'a> {
    /// What faults call it.
    name: &'a str,
    map: &'a Map<String, Value>,
    kind: &'a str,
    used: Vec<&'static str>,
    /// Where an architecture says beside the table how long the texts of the first training were.
    trained_elsewhere: Option<usize>,
    faults: Vec<Fault>,
}

impl<'a> Table<'a> {
    fn new(name: &'a str, map: &'a Map<String, Value>) -> Self {
        let kind = ["rope_type", "type"].iter().find_map(|key| map.get(*key)).map_or("default", |kind| {
            // What is no text is no type that is known either.
            kind.as_str().unwrap_or("")
        });
        Self { name, map, kind, used: vec!["rope_type", "type"], trained_elsewhere: None, faults: Vec::new() }
    }

    fn refuse(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(Fault::new(place(&format!("{}.{key}", self.name)), message).hint(hint));
    }

    fn optional(&mut self, key: &'static str) -> Option<f32> {
        self.used.push(key);
        let value = self.map.get(key).filter(|value| !value.is_null())?;
        let number = value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        if number.is_none() {
            self.refuse(key, format!("{value} is no number"), "write a number");
        }
        number
    }

    fn needed(&mut self, key: &'static str) -> f32 {
        let known = self.map.get(key).is_some_and(|value| !value.is_null());
        if !known {
            self.used.push(key);
            let message = format!("\"{}\" needs the number `{key}`, which is missing", self.kind);
            self.refuse("rope_type", message, "it stands in the same table");
        }
        self.optional(key).unwrap_or(1.0)
    }

    fn factor(&mut self) -> f32 {
        let factor = self.needed("factor");
        if factor < 1.0 {
            self.refuse("factor", format!("{factor} would shorten texts"), "write a number of at least 1");
        }
        factor.max(1.0)
    }

    /// Tokens of the longest text of the first training.
    fn trained(&mut self, context_length: usize) -> usize {
        let elsewhere = self.trained_elsewhere.unwrap_or(context_length);
        let trained = self.optional(TRAINED).map_or(elsewhere, |trained| trained as usize);
        if trained == 0 {
            self.refuse(TRAINED, "0 tokens are no text", "write the length of the longest text of the training");
        }
        trained.max(1)
    }

    fn scaling(&mut self, context_length: usize) -> Scaling {
        match self.kind {
            "default" => Scaling::None,
            "linear" => Scaling::Linear { factor: self.factor() },
            "dynamic" => Scaling::Dynamic { factor: self.factor(), trained: context_length },
            "yarn" => self.yarn(context_length),
            "longrope" | "su" => self.long_rope(context_length),
            "llama3" => {
                let (factor, trained) = (self.factor(), self.trained(context_length));
                let (low, high) = (self.needed("low_freq_factor"), self.needed("high_freq_factor"));
                if self.faults.is_empty() && low >= high {
                    let message = format!("{low} is not below the `high_freq_factor` of {high}");
                    self.refuse("low_freq_factor", message, "low frequencies turn less often than high ones");
                }
                Scaling::Llama3 { factor, low, high, trained }
            }
            other => {
                let message = format!("\"{other}\" is not built");
                self.refuse("rope_type", message, "known: default, linear, dynamic, yarn, llama3, longrope");
                Scaling::None
            }
        }
    }

    fn yarn(&mut self, context_length: usize) -> Scaling {
        let (factor, trained) = (self.factor(), self.trained(context_length));
        let (fast, slow) = (self.optional("beta_fast").unwrap_or(32.0), self.optional("beta_slow").unwrap_or(1.0));
        if fast < slow || slow <= 0.0 {
            let message = format!("{fast} is below the `beta_slow` of {slow}, or that is not above 0");
            self.refuse("beta_fast", message, "what turns more often than beta_fast stays as it is");
        }
        self.used.push("truncate");
        let truncate = self.map.get("truncate").is_none_or(|value| value != false);
        let growth = |scale: f32| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let (whole, part) = (self.optional("mscale"), self.optional("mscale_all_dim"));
        let magnitude = match (self.optional("attention_factor"), whole, part) {
            (Some(magnitude), ..) => magnitude,
            (None, Some(whole), Some(part)) if whole.abs() > 0.0 && part.abs() > 0.0 => growth(whole) / growth(part),
            _ => growth(1.0),
        };
        Scaling::Yarn { factor, trained, fast, slow, magnitude, truncate }
    }

    fn long_rope(&mut self, context_length: usize) -> Scaling {
        let trained = self.trained(context_length);
        let (short, long) = (self.factors("short_factor"), self.factors("long_factor"));
        let factor = self.optional("factor").map_or(context_length as f64 / trained as f64, f64::from);
        let magnitude = self.optional("attention_factor").unwrap_or_else(|| {
            let growth = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (trained as f64).ln()).sqrt() };
            growth as f32
        });
        Scaling::LongRope { short, long, trained, magnitude }
    }

    fn factors(&mut self, key: &'static str) -> Arc<[f32]> {
        self.used.push(key);
        let numbers = self.map.get(key).and_then(Value::as_array).and_then(|numbers| {
            numbers.iter().map(|number| number.as_f64().map(|number| number as f32)).collect::<Option<Arc<[f32]>>>()
        });
        numbers.unwrap_or_else(|| {
            self.refuse(key, "it is no list of numbers", "write one number for each pair of columns that turns");
            Arc::default()
        })
    }

    fn refuse_the_rest(&mut self) {
        for (key, value) in self.map {
            if !self.used.contains(&key.as_str()) && !value.is_null() {
                let message = format!("\"{}\" has no such key (value {value})", self.kind);
                self.refuse(key, message, "it may change the positions, so it is not ignored");
            }
        }
    }
}
