//! Answering: how fast a model reads a prompt and writes a reply.

use metier_compute::Dtype;
use metier_compute::kernel::{Ceilings, Precision};
use metier_core::data::TokenId;
use metier_core::{Error, Place, Result, stop};
use metier_model::decode::{Cache, Pages, Session};
use metier_model::{Advance, Decoder, KeyCoding};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Reading a prompt of 1,024 tokens
    Prefill,
    /// Writing 128 tokens, one after the other
    Decode,
    /// Writing 128 tokens to each of eight texts of 16 at once, the likeliest each time
    Batch,
    /// Opening the model again, and the first token after a prompt of 16
    Start,
}

/// Tokens of a prompt.
const PROMPT: usize = 1024;
/// Tokens of a reply.
const REPLY: usize = 128;
/// Texts that are written at once, and tokens that each begins with.
const TEXTS: usize = 8;
const BEGINNING: usize = 16;
/// Rounds at least; the first is not timed.
const ROUNDS: usize = 3;

/// What the work came to.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Its name.
    pub answer: String,
    /// Tokens of a round, and rounds that were timed.
    pub tokens: u64,
    pub rounds: u64,
    /// By the middle one of the rounds' times.
    pub tokens_per_second: f64,
    /// What bounds it: reading the weights once for each token of a reply, or of all replies at once; products for those of a
    /// prompt.
    pub ceiling: &'static str,
    pub share_of_ceiling: f64,
    /// Opening the model.
    pub open_seconds: f64,
    /// Memory of the whole process at most.
    pub peak_rss_bytes: u64,
}

/// Answers for `duration`, three times at least; `open` opens the model again, and `begun` is when it was opened first.
///
/// # Errors
/// When the model's context is shorter than the work, or the memory does not suffice.
pub fn measure(
    work: Work,
    decoder: &Decoder,
    open: impl Fn() -> Result<Decoder>,
    begun: Instant,
    duration: Duration,
) -> Result<Measured> {
    let open_seconds = begun.elapsed().as_secs_f64();
    let (tokens, longest) = match work {
        Work::Prefill => (PROMPT, PROMPT),
        Work::Decode => (REPLY, REPLY),
        Work::Batch => (TEXTS * REPLY, BEGINNING + REPLY),
        Work::Start => (1, BEGINNING),
    };
    let context = decoder.config().context_length;
    if context < longest {
        let message =
            format!("the model's context of {context} tokens is shorter than the {longest} of this measurement");
        return Err(Error::user(Place::key("--model"), message));
    }
    let mut seconds = Vec::new();
    let started = Instant::now();
    while seconds.len() <= ROUNDS || started.elapsed() < duration {
        stop::check()?;
        let began = Instant::now();
        match work {
            Work::Prefill => drop(Session::new(decoder).feed(&spread(decoder, 0, PROMPT))?),
            Work::Decode => {
                let mut session = Session::new(decoder);
                for id in spread(decoder, 0, REPLY) {
                    session.feed(&[id])?;
                }
            }
            Work::Batch => together(decoder)?,
            Work::Start => drop(Session::new(&open()?).feed(&spread(decoder, 0, BEGINNING))?),
        }
        seconds.push(began.elapsed().as_secs_f64());
    }
    seconds.remove(0);
    let rounds = seconds.len() as u64;
    seconds.sort_by(f64::total_cmp);
    let rate = tokens as f64 / seconds[seconds.len() / 2];
    Ok(Measured {
        answer: work.name(),
        tokens: tokens as u64,
        rounds,
        tokens_per_second: rate,
        ceiling: "",
        share_of_ceiling: f64::NAN,
        open_seconds,
        peak_rss_bytes: metier_core::memory::peak_bytes(),
    })
}

impl Measured {
    /// Fills in which ceiling bounds the work and how much of it was reached.
    pub fn compare(&mut self, work: Work, decoder: &Decoder, ceilings: &Ceilings) {
        let (name, needed, limit) = match work {
            Work::Decode | Work::Start => {
                ("read_bytes_per_second", weight_bytes(decoder) as f64, ceilings.read_bytes_per_second)
            }
            Work::Batch => {
                let needed = weight_bytes(decoder) as f64 / TEXTS as f64;
                ("read_bytes_per_second", needed, ceilings.read_bytes_per_second)
            }
            Work::Prefill => {
                let flop = decoder.flop_per_token(false, PROMPT);
                let precision = decoder.parameters.precision(PROMPT);
                match ceilings.int8_op_per_second {
                    Some(limit) if precision == Precision::F32 && is_in_blocks(decoder) => {
                        ("int8_op_per_second", flop, limit)
                    }
                    _ => (ceilings.flop_name(precision), flop, ceilings.flop_per_second(precision)),
                }
            }
        };
        self.ceiling = name;
        self.share_of_ceiling = self.tokens_per_second * needed / limit;
    }
}

impl Work {
    /// Its name on the command line.
    pub fn name(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Writes to [`TEXTS`] texts at once.
fn together(decoder: &Decoder) -> Result<()> {
    let pages = Pages::new(decoder.config(), KeyCoding::F32, None);
    let mut caches = vec![Cache::default(); TEXTS];
    let mut next: Vec<Vec<TokenId>> =
        (0..TEXTS).map(|text| spread(decoder, (text * BEGINNING) as u32, BEGINNING)).collect();
    for _ in 0..=REPLY {
        let texts = caches.iter_mut().zip(&next);
        let mut steps: Vec<Advance<'_>> =
            texts.map(|(cache, ids)| Advance { length: cache.length() + ids.len(), cache, ids, wanted: 1 }).collect();
        let logits = decoder.advance(&pages, &mut steps)?;
        let rows = logits.data().chunks_exact(decoder.config().vocabulary_size);
        next = rows.map(|row| vec![likeliest(row)]).collect();
    }
    Ok(())
}

/// The first of the largest.
fn likeliest(logits: &[f32]) -> TokenId {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|logit| *logit >= most).unwrap_or_default() as TokenId
}

/// Ids from all over the vocabulary.
fn spread(decoder: &Decoder, first: u32, count: usize) -> Vec<TokenId> {
    let vocabulary = decoder.config().vocabulary_size as u32;
    (first..first + count as u32).map(|at| at.wrapping_mul(2_654_435_761) % vocabulary).collect()
}

/// Bytes of the matrices that each token of a reply meets.
fn weight_bytes(decoder: &Decoder) -> usize {
    let sites = decoder.sites();
    let matrices = sites.iter().map(|site| site.weight).chain([decoder.head_id()]);
    matrices.map(|id| decoder.parameters.get(id).stored_bytes()).sum()
}

fn is_in_blocks(decoder: &Decoder) -> bool {
    matches!(decoder.parameters.get(decoder.head_id()).dtype(), Dtype::Blocks(_))
}
