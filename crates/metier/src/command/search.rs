//! Other ways to a reply than one token after the other: several are tried, and the best is given.

use super::Global;
use metier_core::seam::{Generate, GenerateRequest, Reply};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use metier_model::LocalModel;

/// A reply and its score, if it has one.
pub type Found = (Reply, Option<f64>);

/// What draws and filters tokens, which a search does not.
const DRAWING: [&str; 9] = [
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "draft",
    "lookup",
];

/// How a reply is looked for.
#[derive(Debug, Clone, clap::Args)]
pub struct SearchArguments {
    /// Follow the N likeliest continuations, and give the best of them; all with --json
    #[arg(long, value_name = "N", conflicts_with_all = DRAWING, conflicts_with_all = ["top_k", "contrastive", "input"])]
    beams: Option<usize>,
    /// Beams are ranked by log-probability / length^A: 0 favors short replies, more than 1 long ones
    #[arg(long, value_name = "A", default_value_t = 1.0, requires = "beams", allow_negative_numbers = true)]
    length_penalty: f64,
    /// Make N replies and give the one whose tokens are likeliest on average
    #[arg(long, value_name = "N", conflicts_with_all = ["beams", "contrastive", "input"], value_parser = clap::value_parser!(u32).range(1..=128))]
    best_of: Option<u32>,
    /// Of the --top-k likeliest tokens (4) take the one that says least again what was said: 0 does not mind, 1 minds only that
    #[arg(long, value_name = "ALPHA", conflicts_with_all = DRAWING, conflicts_with = "input")]
    contrastive: Option<f32>,
}

impl SearchArguments {
    /// The replies that a search finds, best first; `None` when no search is asked for.
    pub fn find(&self, model: &LocalModel, request: &GenerateRequest, global: &Global) -> Result<Option<Vec<Found>>> {
        let found = if let Some(beams) = self.beams {
            let found = model.beam_search(request, beams, self.length_penalty)?;
            found.into_iter().map(|(reply, score)| (reply, Some(score))).collect()
        } else if let Some(alpha) = self.contrastive {
            let count = if request.sampling.top_k == 0 { 4 } else { request.sampling.top_k };
            vec![(model.contrastive_search(request, alpha, count)?, None)]
        } else if let Some(count) = self.best_of {
            if request.sampling.temperature <= 0.0 && count > 1 {
                return Err(Error::user(Place::key("--best-of"), "at temperature 0 all replies are the same")
                    .hint("give --temperature too"));
            }
            best_of(model, request, count.into(), global)?
        } else {
            return Ok(None);
        };
        Ok(Some(found))
    }
}

fn best_of(model: &LocalModel, request: &GenerateRequest, count: u64, global: &Global) -> Result<Vec<Found>> {
    let seed = request.sampling.seed;
    // The seeds are those that a server gives the choices of a request.
    let requests = (0..count).map(|choice| {
        let mut request = request.clone();
        if choice > 0 {
            request.sampling.seed = Seed::new(seed).derive("choice").at(choice).bits();
        }
        request
    });
    let replies = model.generate(&requests.collect::<Vec<_>>())?;
    let sum = |of: fn(&Reply) -> usize| replies.iter().map(of).sum::<usize>();
    super::decoding::report([sum(|reply| reply.drafted_tokens), sum(|reply| reply.accepted_tokens)], global);
    let mut scored: Vec<(f64, Reply)> = replies.into_iter().map(|reply| (reply.mean_logprob(), reply)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(scored.into_iter().map(|(score, reply)| (reply, Some(score))).collect())
}
