use crate::Result;

/// A continuation whose log-probability is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreRequest {
    /// What comes before; may be empty.
    pub context: String,
    /// What is scored.
    pub continuation: String,
}

/// The answer to one [`ScoreRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Natural-log probability of the scored tokens, given what comes before each.
    pub log_probability: f64,
    /// Number of tokens scored. A text with no context follows the begin-of-text token or, where the vocabulary has none,
    /// the end of another document; with neither its first token has nothing to be predicted from and is not scored.
    pub tokens: usize,
    /// Number of bytes of the continuation that the scored tokens cover.
    pub bytes: usize,
    /// Whether greedy decoding would have produced the continuation.
    pub greedy: bool,
}

/// Log-probability of continuations.
pub trait Score: Send + Sync {
    /// One answer for each request, in order. A text longer than the model's context is an error that
    /// names both lengths, never cut.
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Scored>>;
}
