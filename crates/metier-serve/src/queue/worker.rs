//! The thread of a model: takes jobs and carries each to its end.

use super::{Event, Job, Queue, Turns, Work};
use crate::Served;
use crate::http::Metrics;
use metier_core::data::{Form, TokenId};
use metier_core::seam::{GenerateRequest, ProcessLogits};
use metier_core::{Error, Place, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Works until the queue is closed and empty. A panic below ends its job and nothing else.
pub(crate) fn work_off(served: &Served, queue: &Queue, turns: &Turns, metrics: &Metrics) {
    while let Some(mut job) = queue.take() {
        let begun = Instant::now();
        let work = std::mem::replace(&mut job.work, Work::Vectors(Vec::new()));
        let done = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Replies { requests, bias, form } => {
                let processors = || processors(served, &bias, form.as_ref());
                reply_all(served, &job, &requests, &processors, turns, metrics)
            }
            Work::Vectors(texts) => embed(served, &job, &texts, turns, metrics),
        }));
        if let Err(error) = done.unwrap_or_else(|_| Err(Error::program("the model panicked"))) {
            job.tell(Event::Failed(error));
        }
        metrics.job(&served.name, job.arrived.elapsed());
        queue.done(begun.elapsed());
    }
}

fn reply_all(
    served: &Served,
    job: &Job,
    requests: &[GenerateRequest],
    processors: &dyn Fn() -> Result<Vec<Box<dyn ProcessLogits>>>,
    turns: &Turns,
    metrics: &Metrics,
) -> Result<()> {
    let mut turn = turns.wait();
    let mut begun = false;
    for (choice, request) in requests.iter().enumerate() {
        let reply = served.generate.stream(request, &mut processors()?, &mut |delta| {
            turn.pass();
            if !begun {
                begun = true;
                metrics.first_token(&served.name, job.arrived.elapsed());
            }
            if delta.text.is_empty() && delta.tokens.is_empty() {
                return job.wanted();
            }
            job.tell(Event::Delta { choice, text: delta.text.to_owned(), tokens: delta.tokens.to_vec() })
        })?;
        metrics.tokens(&served.name, reply.prompt_tokens, reply.tokens.len());
        let finished = Event::Finished {
            choice,
            finish: reply.finish,
            prompt_tokens: reply.prompt_tokens,
            tokens: reply.tokens.len(),
        };
        if !job.tell(finished) {
            break;
        }
    }
    Ok(())
}

/// What changes the logits of one reply.
fn processors(served: &Served, bias: &[(TokenId, f32)], form: Option<&Form>) -> Result<Vec<Box<dyn ProcessLogits>>> {
    let mut processors: Vec<Box<dyn ProcessLogits>> = Vec::new();
    if !bias.is_empty() {
        processors.push(Box::new(Bias(bias.to_vec())));
    }
    if let Some(form) = form {
        let Some(constrain) = &served.constrain else {
            return Err(Error::user(Place::key("response_format"), "replies of this model cannot be held to a form"));
        };
        processors.push(constrain(form)?);
    }
    Ok(processors)
}

/// Adds to the logits of some tokens.
struct Bias(Vec<(TokenId, f32)>);

impl ProcessLogits for Bias {
    fn process(&mut self, _history: &[TokenId], logits: &mut [f32]) -> Result<()> {
        for (id, bias) in &self.0 {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit += bias;
            }
        }
        Ok(())
    }
}

fn embed(served: &Served, job: &Job, texts: &[String], turns: &Turns, metrics: &Metrics) -> Result<()> {
    let Some(model) = &served.embed else {
        return Err(Error::user(Place::key("model"), "the model gives no vectors"));
    };
    let mut turn = turns.wait();
    let mut vectors = Vec::with_capacity(texts.len());
    for (number, text) in texts.iter().enumerate() {
        if !job.wanted() {
            return Ok(());
        }
        vectors.extend(model.embed(&[text]).map_err(|error| in_input(error, number))?);
        turn.pass();
    }
    metrics.tokens(&served.name, vectors.iter().map(|embedded| embedded.tokens).sum(), 0);
    job.tell(Event::Vectors(vectors));
    Ok(())
}

/// A fault of the one text that the model was given is one of `input[number]`.
fn in_input(mut error: Error, number: usize) -> Error {
    for key in error.faults.iter_mut().filter_map(|fault| fault.place.key.as_mut()) {
        if key == "text 1" {
            *key = format!("input[{number}]");
        }
    }
    error
}
