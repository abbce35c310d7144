use super::bottleneck::{Bottleneck, Placement};
use super::{Adapter, Attached, PrefixTuning, prefix_tuning};
use crate::folder::{Form, Source};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::Decoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Trains a short prefix for attention and a network beside each feed-forward block, together.
///
/// # How
/// `prefix_tuning` with `tokens` virtual tokens, and `bottleneck` with `placement = "parallel"`, the given `width` and `scale`.
///
/// # When to use
/// Where `prefix_tuning` alone learns too little and more may be trained: most of the numbers are beside the
/// feed-forward blocks, where they do the most. It cannot be folded.
///
/// # Differs from the paper in
/// Nothing known.
///
/// # Source
/// He et al., "Towards a Unified View of Parameter-Efficient Transfer Learning", arXiv 2110.04366, section 4.6 (MAM adapter).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mam {
    /// How many virtual tokens there are.
    #[schemars(range(min = 1, max = 4096))]
    pub tokens: usize,
    /// Width of the networks' middle; a sixteenth of the residual stream when it is left out.
    #[schemars(range(min = 1, max = 65536))]
    pub width: Option<usize>,
    /// What is added beside a feed-forward block is multiplied by this.
    #[schemars(range(min = 0.0))]
    pub scale: f64,
}

impl Default for Mam {
    fn default() -> Self {
        Self { tokens: 30, width: None, scale: 4.0 }
    }
}

impl Mam {
    fn parts(&self) -> (PrefixTuning, Bottleneck) {
        let prefix = PrefixTuning { tokens: self.tokens, ..PrefixTuning::default() };
        let placement = Placement::Parallel;
        (prefix, Bottleneck { placement, width: self.width, scale: self.scale, ..Bottleneck::default() })
    }
}

impl Build<dyn Adapter> for Mam {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        let (prefix, networks) = self.parts();
        let mut faults = Vec::new();
        for built in [prefix.build(place), networks.build(place)] {
            faults.extend(built.err().into_iter().flat_map(|error| error.faults));
        }
        metier_core::Error::collect(Box::new(self) as Box<dyn Adapter>, faults)
    }
}

impl Adapter for Mam {
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        let (prefix, networks) = self.parts();
        decoder.freeze();
        let mut form = prefix.put(decoder, seed.derive("prefix"))?;
        form.config.insert("peft_type".into(), "METIER_MAM".into());
        if let serde_json::Value::Object(more) = networks.config(decoder) {
            form.config.extend(more);
        }
        networks.put(decoder, &mut form, seed.derive("networks"))?;
        Ok(Attached::of(decoder, Some(form)))
    }
}

/// Reads files of this method.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    let mut form = prefix_tuning::read(decoder, source)?;
    Bottleneck::read(decoder, source, &mut form)?;
    Ok(form)
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Mam>("mam", 1);
