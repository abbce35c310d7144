//! The thread of a model: takes jobs, and carries those for replies on together.

use super::{Event, Job, Queue, Turns, Work, turns::Turn};
use crate::Served;
use crate::http::Metrics;
use metier_core::data::{Form, TokenId};
use metier_core::seam::{Ask, Delta, Embedded, Exchange, ProcessLogits, Reply};
use metier_core::{Error, Place, Result};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Works until the queue is closed and empty. A panic below ends the jobs that were running and nothing else.
pub(crate) fn work_off(served: &Served, queue: &Queue, turns: &Turns, metrics: &Metrics) {
    let mut worker = Worker {
        served,
        queue,
        metrics,
        turn: None,
        taken: 0,
        jobs: BTreeMap::new(),
        asked: VecDeque::new(),
        running: Vec::new(),
        vectors: VecDeque::new(),
    };
    loop {
        if worker.asked.is_empty() && worker.vectors.is_empty() {
            let Some(job) = queue.take() else { return };
            worker.accept(job);
        }
        worker.turn = Some(turns.wait());
        if worker.asked.is_empty() {
            worker.embed_one();
        } else {
            worker.running.clear();
            let ran = catch_unwind(AssertUnwindSafe(|| served.generate.run(&mut worker)));
            if ran.is_err() {
                worker.fail_all(&Error::program("the model panicked"));
            }
        }
        worker.turn = None;
    }
}

/// A job that was taken.
struct Taken {
    job: Job,
    begun: Instant,
    /// Replies that are not complete.
    left: usize,
    /// Whether a token has been made.
    spoken: bool,
}

/// Texts whose vectors are wanted.
struct Texts {
    number: u64,
    left: VecDeque<String>,
    vectors: Vec<Embedded>,
}

/// Jobs between the queue and the model. All that a model is to compute goes through [`Exchange`], so that it is asked for
/// between the steps of replies.
struct Worker<'a> {
    served: &'a Served,
    queue: &'a Queue,
    metrics: &'a Metrics,
    turn: Option<Turn<'a>>,
    /// Jobs taken so far: the number of the last one.
    taken: u64,
    jobs: BTreeMap<u64, Taken>,
    /// Replies that have not begun: the job, which of its replies, and what is asked.
    asked: VecDeque<(u64, usize, Ask)>,
    /// For each request that was handed over the job, and which of its replies it is.
    running: Vec<(u64, usize)>,
    vectors: VecDeque<Texts>,
}

impl Worker<'_> {
    fn accept(&mut self, mut job: Job) {
        self.taken += 1;
        let number = self.taken;
        let work = std::mem::replace(&mut job.work, Work::Vectors(Vec::new()));
        let mut taken = Taken { job, begun: Instant::now(), left: 0, spoken: false };
        let (requests, bias, form) = match work {
            Work::Replies { requests, bias, form } => (requests, bias, form),
            Work::Vectors(texts) => {
                self.jobs.insert(number, taken);
                return self.vectors.push_back(Texts { number, left: texts.into(), vectors: Vec::new() });
            }
        };
        let asked: Result<Vec<Ask>> = requests
            .into_iter()
            .map(|request| Ok(Ask { request, processors: processors(self.served, &bias, form.as_ref())? }))
            .collect();
        taken.left = asked.as_ref().map_or(0, Vec::len);
        let nothing = taken.left == 0;
        self.jobs.insert(number, taken);
        match asked {
            Ok(_) if nothing => self.end(number),
            Ok(asked) => self.asked.extend(asked.into_iter().enumerate().map(|(choice, ask)| (number, choice, ask))),
            Err(error) => self.fail(number, error),
        }
    }

    /// A job is over, whether all of it was done or not.
    fn end(&mut self, number: u64) {
        if let Some(taken) = self.jobs.remove(&number) {
            self.metrics.job(&self.served.name, taken.job.arrived.elapsed());
            self.queue.done(taken.begun.elapsed());
        }
    }

    fn fail(&mut self, number: u64, error: Error) {
        if let Some(taken) = self.jobs.get(&number) {
            taken.job.tell(Event::Failed(error));
        }
        self.end(number);
    }

    fn fail_all(&mut self, error: &Error) {
        (self.asked, self.vectors) = (VecDeque::new(), VecDeque::new());
        while let Some(number) = self.jobs.keys().next().copied() {
            self.fail(number, error.clone());
        }
    }

    /// Whether whoever asked for a job is still there.
    fn is_wanted(&self, number: u64) -> bool {
        self.jobs.get(&number).is_some_and(|taken| taken.job.wanted())
    }

    /// The vector of one more text.
    fn embed_one(&mut self) {
        let Some(mut texts) = self.vectors.pop_front() else { return };
        let number = texts.number;
        if !self.is_wanted(number) {
            return self.end(number);
        }
        let embedded = texts.left.pop_front().map(|text| match &self.served.embed {
            None => Err(Error::user(Place::key("model"), "the model gives no vectors")),
            Some(model) => {
                let vectors = catch_unwind(AssertUnwindSafe(|| model.embed(&[&text])));
                let vectors = vectors.unwrap_or_else(|_| Err(Error::program("the model panicked")));
                vectors.map_err(|error| in_input(error, texts.vectors.len()))
            }
        });
        match embedded {
            Some(Err(error)) => return self.fail(number, error),
            Some(Ok(vectors)) => texts.vectors.extend(vectors),
            None => {}
        }
        if !texts.left.is_empty() {
            return self.vectors.push_front(texts);
        }
        let tokens = texts.vectors.iter().map(|embedded| embedded.tokens).sum();
        self.metrics.tokens(&self.served.name, "prompt", tokens);
        if let Some(taken) = self.jobs.get(&number) {
            taken.job.tell(Event::Vectors(texts.vectors));
        }
        self.end(number);
    }
}

impl Exchange for Worker<'_> {
    fn next(&mut self, _running: usize) -> Option<Ask> {
        loop {
            while let Some((number, choice, ask)) = self.asked.pop_front() {
                if self.is_wanted(number) {
                    self.running.push((number, choice));
                    return Some(ask);
                }
                self.end(number);
            }
            let job = self.queue.try_take()?;
            self.accept(job);
        }
    }

    fn between(&mut self) {
        self.embed_one();
        if let Some(turn) = &mut self.turn {
            turn.pass();
        }
    }

    fn wanted(&mut self, number: usize) -> bool {
        self.is_wanted(self.running[number].0)
    }

    fn delta(&mut self, number: usize, delta: Delta<'_>) -> bool {
        let (number, choice) = self.running[number];
        let Some(taken) = self.jobs.get_mut(&number) else { return false };
        if !std::mem::replace(&mut taken.spoken, true) {
            self.metrics.first_token(&self.served.name, taken.job.arrived.elapsed());
        }
        if delta.text.is_empty() && delta.tokens.is_empty() {
            return taken.job.wanted();
        }
        taken.job.tell(Event::Delta { choice, text: delta.text.to_owned(), tokens: delta.tokens.to_vec() })
    }

    fn finish(&mut self, number: usize, reply: Result<Reply>) {
        let (number, choice) = self.running[number];
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return self.fail(number, error),
        };
        for (kind, count) in [
            ("prompt", reply.prompt_tokens),
            ("cached", reply.cached_tokens),
            ("completion", reply.tokens.len()),
            ("drafted", reply.drafted_tokens),
            ("accepted", reply.accepted_tokens),
        ] {
            self.metrics.tokens(&self.served.name, kind, count);
        }
        let Some(taken) = self.jobs.get_mut(&number) else { return };
        taken.left -= 1;
        let told = taken.job.tell(Event::Finished {
            choice,
            finish: reply.finish,
            prompt_tokens: reply.prompt_tokens,
            cached_tokens: reply.cached_tokens,
            tokens: reply.tokens.len(),
            drafted_tokens: reply.drafted_tokens,
            accepted_tokens: reply.accepted_tokens,
        });
        if !told || taken.left == 0 {
            self.end(number);
        }
    }
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

/// A fault of the one text that the model was given is one of `input[number]`.
fn in_input(mut error: Error, number: usize) -> Error {
    for key in error.faults.iter_mut().filter_map(|fault| fault.place.key.as_mut()) {
        if key == "text 1" {
            *key = format!("input[{number}]");
        }
    }
    error
}
