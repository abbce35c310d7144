//! One thing to learn from or to be asked.

use super::Conversation;
use serde::{Deserialize, Serialize};

/// A question with its reference answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Unique in its set.
    pub id: String,
    /// What is asked.
    pub prompt: Conversation,
    /// Answers that count as right.
    pub references: Vec<String>,
    /// The id of the document it was made from.
    pub document: Option<String>,
}
