use super::CallForm;
use serde_json::Value;

/// What the text of a reply must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// A JSON value that this schema allows.
    JsonSchema(Value),
    /// A text that this regular expression matches as a whole.
    Regex(String),
    /// Calls of functions, and what is said before them, as the model's template writes them.
    Calls(CallForm),
}
