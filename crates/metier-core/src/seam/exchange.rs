use super::{Delta, GenerateRequest, ProcessLogits, Reply};
use crate::{Error, Result};

/// A request and what changes the logits before each of its choices, in order.
pub struct Ask {
    /// What is asked.
    pub request: GenerateRequest,
    /// What changes the logits.
    pub processors: Vec<Box<dyn ProcessLogits>>,
}

/// Where the requests of a generator come from and its replies go, while it runs. Requests are numbered from 0 in the
/// order in which they are handed over.
pub trait Exchange {
    /// The next request, if there is one now. Asked for between steps, while there is room for another beside the
    /// `running` ones; what is handed over runs together with those.
    fn next(&mut self, running: usize) -> Option<Ask>;

    /// Called between steps, when nothing is computed: the place to let others compute.
    fn between(&mut self) {}

    /// Whether a request is still wanted; asked while its prompt is being read.
    fn wanted(&mut self, _number: usize) -> bool {
        true
    }

    /// A reply goes on. Called after each token, with nothing in it while nothing is certain; false ends the reply.
    fn delta(&mut self, number: usize, delta: Delta<'_>) -> bool;

    /// A request has its reply, or has failed.
    fn finish(&mut self, number: usize, reply: Result<Reply>);
}

/// A list of requests, with the replies in order. The first failure ends all.
pub(super) struct Listed<'a> {
    requests: std::slice::Iter<'a, GenerateRequest>,
    replies: Vec<Option<Reply>>,
    failed: Option<Error>,
}

impl<'a> Listed<'a> {
    pub fn new(requests: &'a [GenerateRequest]) -> Self {
        Self { requests: requests.iter(), replies: vec![None; requests.len()], failed: None }
    }

    pub fn replies(self) -> Result<Vec<Reply>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let missing = || Error::program("a generator left a request without a reply");
        self.replies.into_iter().map(|reply| reply.ok_or_else(missing)).collect()
    }
}

impl Exchange for Listed<'_> {
    fn next(&mut self, _running: usize) -> Option<Ask> {
        let request = if self.failed.is_none() { self.requests.next() } else { None };
        request.map(|request| Ask { request: request.clone(), processors: Vec::new() })
    }

    fn wanted(&mut self, _number: usize) -> bool {
        self.failed.is_none()
    }

    fn delta(&mut self, _number: usize, _delta: Delta<'_>) -> bool {
        self.failed.is_none()
    }

    fn finish(&mut self, number: usize, reply: Result<Reply>) {
        match reply {
            Ok(reply) => self.replies[number] = Some(reply),
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
    }
}

/// One request, whose deltas are handed on.
pub(super) struct Single<'a> {
    pub ask: Option<Ask>,
    pub on_delta: &'a mut dyn FnMut(Delta<'_>) -> bool,
    pub reply: Option<Result<Reply>>,
}

impl Exchange for Single<'_> {
    fn next(&mut self, _running: usize) -> Option<Ask> {
        self.ask.take()
    }

    fn delta(&mut self, _number: usize, delta: Delta<'_>) -> bool {
        (self.on_delta)(delta)
    }

    fn finish(&mut self, _number: usize, reply: Result<Reply>) {
        self.reply = Some(reply);
    }
}
