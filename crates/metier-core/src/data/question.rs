//! A question with its answer.

use serde::{Deserialize, Serialize};

/// A question of which the right answer is known. A line of a file of questions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Unique in its set; empty where the line's number is to be taken.
    #[serde(default)]
    pub id: String,
    /// What is asked.
    pub question: String,
    /// The right answer.
    pub answer: String,
    /// What may be chosen from, the right answer among it; empty where nothing is given to choose from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}
