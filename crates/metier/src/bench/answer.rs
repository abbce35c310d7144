//! Answering: how fast a model reads a prompt and writes a reply.

use metier_compute::Dtype;
use metier_compute::kernel::{Ceilings, Precision};
use metier_core::data::TokenId;
use metier_core::{Error, Place, Result, stop};
use metier_model::Decoder;
use metier_model::decode::Session;
use serde::Serialize;
use std::time::{Duration, Instant};

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Reading a prompt of 1,024 tokens
    Prefill,
    /// Writing 128 tokens, one after the other
    Decode,
}

/// Tokens of a prompt.
const PROMPT: usize = 1024;
/// Tokens of a reply.
const REPLY: usize = 128;
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
    /// What bounds it: reading the weights once for each token of a reply, products for those of a prompt.
    pub ceiling: &'static str,
    pub share_of_ceiling: f64,
    /// Opening the model.
    pub open_seconds: f64,
    /// Memory of the whole process at most.
    pub peak_rss_bytes: Option<u64>,
}

/// Answers for `duration`, three times at least; `begun` is when the model began to be opened.
///
/// # Errors
/// When the model's context is shorter than the work, or the memory does not suffice.
pub fn measure(work: Work, decoder: &Decoder, begun: Instant, duration: Duration) -> Result<Measured> {
    let open_seconds = begun.elapsed().as_secs_f64();
    let tokens = match work {
        Work::Prefill => PROMPT,
        Work::Decode => REPLY,
    };
    let context = decoder.config().context_length;
    if context < tokens {
        let message =
            format!("the model's context of {context} tokens is shorter than the {tokens} of this measurement");
        return Err(Error::user(Place::key("--model"), message));
    }
    let ids = spread(decoder.config().vocabulary_size, tokens);
    let mut seconds = Vec::new();
    let started = Instant::now();
    while seconds.len() <= ROUNDS || started.elapsed() < duration {
        if stop::requested() {
            return Err(stop::interrupted());
        }
        let mut session = Session::new(decoder)?;
        let began = Instant::now();
        match work {
            Work::Prefill => drop(session.feed(&ids)?),
            Work::Decode => {
                for id in &ids {
                    session.feed(&[*id])?;
                }
            }
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
        peak_rss_bytes: super::peak_rss(),
    })
}

impl Measured {
    /// Fills in which ceiling bounds the work and how much of it was reached.
    pub fn compare(&mut self, work: Work, decoder: &Decoder, ceilings: &Ceilings) {
        let (name, needed, limit) = match work {
            Work::Decode => ("read_bytes_per_second", weight_bytes(decoder) as f64, ceilings.read_bytes_per_second),
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

/// Ids from all over the vocabulary.
fn spread(vocabulary: usize, count: usize) -> Vec<TokenId> {
    (0..count as u32).map(|at| at.wrapping_mul(2_654_435_761) % vocabulary as u32).collect()
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
