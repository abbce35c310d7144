//! What waits before a model: a queue with a limit, and what comes out of a job.
//!
//! The border at which the model works is [`Queue::take`], [`Queue::try_take`] and [`Job::tell`]: [`worker::work_off`] takes
//! jobs while others run, and tells each of its deltas.

mod turns;
pub(crate) mod worker;

pub(crate) use turns::Turns;

use metier_core::Error;
use metier_core::data::{Form, TokenId};
use metier_core::seam::{Embedded, Finish, GenerateRequest, TokenChoice};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What is asked of a model.
pub(crate) enum Work {
    /// Replies.
    Replies {
        /// One for each reply.
        requests: Vec<GenerateRequest>,
        /// Added to the logits of tokens in each.
        bias: Vec<(TokenId, f32)>,
        /// What the text of each must be.
        form: Option<Form>,
    },
    /// Vectors of texts.
    Vectors(Vec<String>),
}

/// What comes out of a job, in order. The channel closes after the last.
#[derive(Debug)]
pub(crate) enum Event {
    /// A reply goes on.
    Delta {
        /// Which reply of the job.
        choice: usize,
        /// New text.
        text: String,
        /// New tokens.
        tokens: Vec<TokenChoice>,
    },
    /// A reply is complete.
    Finished {
        /// Which reply of the job.
        choice: usize,
        /// Why it ended.
        finish: Finish,
        /// Tokens of its prompt.
        prompt_tokens: usize,
        /// Those of them that were known already.
        cached_tokens: usize,
        /// Tokens that were made.
        tokens: usize,
        /// Tokens that were guessed ahead.
        drafted_tokens: usize,
        /// Those of them that were taken.
        accepted_tokens: usize,
    },
    /// The vectors of all texts.
    Vectors(Vec<Embedded>),
    /// The job ends here.
    Failed(Error),
}

/// Something to do, and who wants to know.
pub(crate) struct Job {
    work: Work,
    events: UnboundedSender<Event>,
    arrived: Instant,
}

impl Job {
    /// False once whoever asked has gone away.
    fn wanted(&self) -> bool {
        !self.events.is_closed()
    }

    /// Hands an event over; false when whoever asked has gone away. Never waits: a reply is no longer than the context,
    /// so a slow reader costs bounded memory and no time of the model.
    fn tell(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }
}

/// There is no room for another job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// Jobs that wait.
    pub(crate) waiting: usize,
    /// A guess when there will be room, from how long the last jobs took.
    pub(crate) seconds: u64,
}

/// Jobs of one model in the order in which they came.
pub(crate) struct Queue {
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    running: usize,
    closed: bool,
    /// Running mean of the seconds that a job takes.
    seconds: f64,
}

impl Queue {
    /// A queue in which at most `limit` jobs wait.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job, and gives what comes out of it. Dropping that ends the job.
    pub(crate) fn push(&self, work: Work) -> Result<UnboundedReceiver<Event>, Full> {
        let mut state = self.lock();
        if state.waiting.len() >= self.limit {
            state.waiting.retain(Job::wanted);
        }
        let waiting = state.waiting.len();
        if waiting >= self.limit && (waiting > 0 || state.running > 0) {
            let seconds = (state.seconds.ceil() as u64).clamp(1, 60);
            return Err(Full { waiting, seconds });
        }
        let (events, receiver) = unbounded_channel();
        state.waiting.push_back(Job { work, events, arrived: Instant::now() });
        drop(state);
        self.changed.notify_one();
        Ok(receiver)
    }

    /// The next job that somebody still wants; waits for one. `None` when the queue is closed and empty.
    fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            match state.waiting.pop_front() {
                Some(job) if job.wanted() => {
                    state.running += 1;
                    return Some(job);
                }
                Some(_) => {}
                None if state.closed => return None,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The next job that somebody still wants, if there is one now.
    fn try_take(&self) -> Option<Job> {
        let mut state = self.lock();
        while let Some(job) = state.waiting.pop_front() {
            if job.wanted() {
                state.running += 1;
                return Some(job);
            }
        }
        None
    }

    /// A job that was taken is over.
    fn done(&self, took: Duration) {
        let mut state = self.lock();
        state.running -= 1;
        let weight = if state.seconds > 0.0 { 0.2 } else { 1.0 };
        state.seconds += weight * (took.as_secs_f64() - state.seconds);
    }

    /// No job comes any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Jobs that wait and jobs that run.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting.iter().filter(|job| job.wanted()).count(), state.running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> Work {
        Work::Vectors(Vec::new())
    }

    #[test]
    fn a_full_queue_refuses_until_someone_goes_away() {
        let queue = Queue::new(2);
        let first = queue.push(work()).unwrap();
        let _second = queue.push(work()).unwrap();
        assert_eq!(queue.push(work()).unwrap_err(), Full { waiting: 2, seconds: 1 });
        drop(first);
        assert_eq!(queue.counts(), (1, 0));
        let third = queue.push(work());
        assert!(third.is_ok() && queue.push(work()).is_err());
    }

    #[test]
    fn jobs_nobody_wants_are_passed_over_and_a_closed_queue_ends() {
        let queue = Queue::new(9);
        drop(queue.push(work()).unwrap());
        let mut wanted = queue.push(work()).unwrap();
        let job = queue.take().unwrap();
        assert_eq!(queue.counts(), (0, 1));
        assert!(job.tell(Event::Vectors(Vec::new())));
        assert!(matches!(wanted.try_recv(), Ok(Event::Vectors(_))));
        queue.done(Duration::from_secs(5));
        queue.close();
        assert!(queue.take().is_none());
        assert_eq!(queue.counts(), (0, 0));
    }

    #[test]
    fn the_guess_follows_how_long_jobs_took() {
        let queue = Queue::new(1);
        let _one = queue.push(work()).unwrap();
        let _job = queue.take().unwrap();
        queue.done(Duration::from_millis(6500));
        let _two = queue.push(work()).unwrap();
        assert_eq!(queue.push(work()).unwrap_err().seconds, 7);
    }

    #[test]
    fn a_limit_of_zero_takes_a_job_when_nothing_runs() {
        let queue = Queue::new(0);
        let _one = queue.push(work()).unwrap();
        assert!(queue.push(work()).is_err());
    }
}
