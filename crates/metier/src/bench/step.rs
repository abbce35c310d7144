//! Whole training steps of models of known shapes.

use metier_compute::kernel::Precision;
use metier_core::part::Build;
use metier_core::seed::Seed;
use metier_core::{Place, Result, stop};
use metier_model::{Batch, Config, Decoder};
use metier_peft::adapter::Lora;
use metier_tokenizer::pack::Verdict;
use metier_train::Learner;
use metier_train::objective::{Causal, Dpo, Group, Objective, Segment};
use metier_train::optimizer::{Adamw, Adamw8bit, Optimizer};
use serde::Serialize;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A model and how much of it one step sees and trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// 5.8M numbers: vocabulary 4,096, width 256, 6 blocks; 8 texts of 256 tokens
    S,
    /// 10.1M numbers: vocabulary 8,192, width 320, 6 blocks; 4 texts of 512 tokens
    #[value(name = "10m")]
    M10,
    /// 41.7M numbers: vocabulary 32,000, width 512, 8 blocks; 4 texts of 512 tokens
    M,
    /// SmolLM2-135M's shape, all weights trained in little memory: blocks computed again in the walk back, AdamW with
    /// 8-bit states; 1 text of 1,024 tokens
    #[value(name = "135m-full")]
    Full135m,
    /// SmolLM2-135M's shape, LoRA of rank 16 on every linear layer; 1 text of 2,048 tokens
    #[value(name = "135m-lora")]
    Lora135m,
    /// The same with DPO: 2 pairs of texts of 512 tokens, the second half of each a reply
    #[value(name = "135m-dpo-lora")]
    Dpo135m,
}

/// What a shape came to.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Its name.
    pub step: String,
    /// Numbers of the model, and those that are trained.
    pub parameters: u64,
    pub trainable: u64,
    /// The optimizer, and whether blocks are computed again in the walk back.
    pub optimizer: &'static str,
    pub recompute: bool,
    /// Tokens of one step.
    pub tokens: u64,
    /// Steps that were timed; one before them was not.
    pub steps: u64,
    /// By the middle one of the steps' times.
    pub tokens_per_second: f64,
    pub flop_per_second: f64,
    /// `flop_per_second` of the ceiling of the precision; whoever measures the ceiling fills it in.
    pub share_of_ceiling: f64,
    /// Memory of tensors at most, and of the whole process.
    pub tensor_bytes: u64,
    pub peak_rss_bytes: u64,
    /// After the last step.
    pub loss: f64,
}

impl Shape {
    fn config(self) -> Config {
        let llama = |vocabulary_size, hidden_size, intermediate_size, layers, heads, kv_heads| Config {
            vocabulary_size,
            hidden_size,
            intermediate_size,
            layers,
            heads,
            kv_heads,
            head_dim: hidden_size / heads,
            context_length: 2048,
            norm_epsilon: 1e-5,
            rope_theta: 10_000.0,
            tied_embeddings: true,
            attention_bias: false,
            feed_forward_bias: false,
            ..Config::default()
        };
        match self {
            Self::S => llama(4096, 256, 688, 6, 8, 8),
            Self::M10 => llama(8192, 320, 864, 6, 5, 5),
            Self::M => llama(32_000, 512, 1376, 8, 8, 8),
            Self::Full135m | Self::Lora135m | Self::Dpo135m => llama(49_152, 576, 1536, 30, 9, 3),
        }
    }

    /// Texts of one step, and tokens of one text.
    fn batch(self) -> (usize, usize) {
        match self {
            Self::S => (8, 256),
            Self::M10 | Self::M | Self::Dpo135m => (4, 512),
            Self::Full135m => (1, 1024),
            Self::Lora135m => (1, 2048),
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Trains on random tokens for `duration`, three steps at least, with AdamW (8-bit states where `shape` says so) and gradients cut to the length 1.
///
/// # Errors
/// When the memory does not suffice.
pub fn measure(shape: Shape, precision: Precision, duration: Duration) -> Result<Measured> {
    let mut decoder = Decoder::random(&shape.config(), Seed::new(0))?;
    if matches!(shape, Shape::Lora135m | Shape::Dpo135m) {
        Lora { rank: 16, ..Lora::default() }.build(&Place::default())?.attach(&mut decoder, Seed::new(1))?;
    }
    let (texts, length) = shape.batch();
    let tokens = (texts * length) as u64;
    let mut flop = decoder.flop_per_token(true, length) * tokens as f64;
    let place = Place::default();
    let rows = random_batch(texts, length, decoder.config().vocabulary_size);
    let teaching = if shape == Shape::Dpo135m {
        flop += decoder.flop_per_token(false, length) * tokens as f64;
        let (objective, reference) = (Dpo::default().build(&place)?, Some(Arc::new(decoder.shared()?)));
        Teaching { group: objective.batch(&pairs(&rows))?, objective, reference }
    } else {
        Teaching { group: Group { rows, ..Group::default() }, objective: Causal {}.build(&place)?, reference: None }
    };
    let parameters = decoder.parameters.iter().map(|(_, _, tensor, _)| tensor.len() as u64).sum();
    let trainable = decoder.trainable_numbers();
    let small = shape == Shape::Full135m;
    decoder.set_recompute(small);
    let (name, optimizer) = if small {
        ("adamw_8bit", Adamw8bit::default().build(&place)?)
    } else {
        ("adamw", Adamw::default().build(&place)?)
    };
    let mut learner = Learner::new(&mut decoder, &*optimizer, &[])?;
    learner.precision = precision;
    let mut seconds = Vec::new();
    let mut loss = step(&mut learner, &teaching, &*optimizer, 1)?;
    let started = Instant::now();
    while seconds.len() < 3 || started.elapsed() < duration {
        if stop::requested() {
            return Err(stop::interrupted());
        }
        let began = Instant::now();
        loss = step(&mut learner, &teaching, &*optimizer, seconds.len() as u64 + 2)?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    let steps = seconds.len() as u64;
    seconds.sort_by(f64::total_cmp);
    let middle = seconds[seconds.len() / 2];
    Ok(Measured {
        step: shape.name(),
        parameters,
        trainable,
        optimizer: name,
        recompute: small,
        tokens,
        steps,
        tokens_per_second: tokens as f64 / middle,
        flop_per_second: flop / middle,
        share_of_ceiling: f64::NAN,
        tensor_bytes: metier_compute::memory_peak(),
        peak_rss_bytes: metier_core::memory::peak_bytes(),
        loss,
    })
}

/// What a step learns from, and how.
struct Teaching {
    group: Group,
    objective: Box<dyn Objective>,
    reference: Option<Arc<Decoder>>,
}

fn step(learner: &mut Learner<'_>, teaching: &Teaching, optimizer: &dyn Optimizer, number: u64) -> Result<f64> {
    let Teaching { group, objective, reference } = teaching;
    learner.clear();
    let loss = learner.add(1.0, |decoder, tape| objective.loss(decoder, tape, group, reference.as_ref()))?;
    let scale = (1.0 / (learner.gradient_norm() + 1e-6)).min(1.0);
    learner.update(optimizer, optimizer.rate(), scale as f32, number, u64::MAX)?;
    Ok(loss)
}

/// The texts of a batch as chosen and rejected ones in turns, of each the second half a reply.
fn pairs(batch: &Batch) -> Vec<Segment> {
    let turns = [Verdict::Chosen, Verdict::Rejected].into_iter().cycle();
    let segment = |(rows, verdict): (&Range<usize>, Verdict)| Segment {
        tokens: [&batch.ids[rows.start..=rows.start], &batch.targets[rows.clone()]].concat(),
        learned: Some((0..=rows.len()).map(|token| token > rows.len() / 2).collect()),
        verdict: Some(verdict),
        ..Segment::default()
    };
    batch.sequences.iter().zip(turns).map(segment).collect()
}

fn random_batch(texts: usize, length: usize, vocabulary: usize) -> Batch {
    let mut random = Seed::new(7).at(0);
    let mut ids: Vec<u32> = (0..=texts * length).map(|_| random.below(vocabulary as u64) as u32).collect();
    let targets = ids.split_off(1);
    Batch {
        weights: vec![1.0; targets.len()],
        positions: (0..targets.len()).map(|row| (row % length) as u32).collect(),
        sequences: (0..texts).map(|text| text * length..(text + 1) * length).collect(),
        ids: std::iter::once(ids[0]).chain(targets.iter().copied()).take(targets.len()).collect(),
        targets,
    }
}
