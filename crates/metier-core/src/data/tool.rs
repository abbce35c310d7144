use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// What calls name it.
    pub name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON schema of its arguments, an object's.
    pub parameters: Value,
}

/// A call that a model made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// What the result of the call names it by.
    pub id: String,
    /// The function.
    pub name: String,
    /// An object.
    pub arguments: Value,
}

/// Whether a reply calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// It does.
    Required,
    /// It calls the function of this name.
    Named(String),
}

/// What a reply may call, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallForm {
    /// The functions.
    pub tools: Vec<Tool>,
    /// Whether one is called.
    pub choice: ToolChoice,
    /// Whether one reply may call more than once.
    pub parallel: bool,
}

/// A part of a reply that may call, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallPiece {
    /// What is said beside the calls.
    Text(String),
    /// A call of this function begins.
    Begin(String),
    /// The text of the last call's arguments goes on.
    Arguments(String),
}
