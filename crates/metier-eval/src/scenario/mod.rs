//! How is a question put to a model, and when is its answer right?

mod choice;
mod open;

pub use choice::Choice;
use metier_core::data::Question;
use metier_core::part::{Part, Record};
use metier_core::seam::{Generate, Score, Scored};
use metier_core::{Error, Fault, Place, Result};
pub use open::Open;
use std::fmt::Debug;

/// A model that both writes and scores.
pub trait Answer: Generate + Score {}

impl<T: Generate + Score> Answer for T {}

/// A way of asking. Its `Debug` text tells it from every other way.
pub trait Scenario: Debug + Send + Sync {
    /// What came of each question, in order.
    fn ask(&self, model: &dyn Answer, questions: &[Question]) -> Result<Vec<Answered>>;
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// What the model replied.
    pub reply: String,
    /// Whether that is right.
    pub right: bool,
    /// How likely the right answer is to the model.
    pub scored: Scored,
}

/// Stands for the question in a prompt.
const PLACE: &str = "{question}";

/// What stands before the answer.
const PROMPT: &str = "Question: {question}\nAnswer:";

/// What stands before the answer to a question; the answer follows after a space.
fn prompt(form: &str, question: &Question) -> String {
    form.replace(PLACE, question.question.trim())
}

/// Refuses a form that has no place for the question, or ends in white space.
fn check_prompt(form: &str, place: &Place) -> Result<()> {
    let fault = |message| {
        let hint = "as in \"Question: {question}\\nAnswer:\"";
        Err(Error::from(Fault::new(place.clone().with_key("prompt"), message).hint(hint)))
    };
    match () {
        () if !form.contains(PLACE) => fault("the prompt has no place for the question"),
        () if form.ends_with(char::is_whitespace) => fault("the prompt ends in white space, which begins the answer"),
        () => Ok(()),
    }
}

/// As many answers as there were requests, or the model is at fault.
fn as_many<T>(replies: Vec<T>, requests: usize) -> Result<Vec<T>> {
    if replies.len() == requests {
        return Ok(replies);
    }
    Err(Error::program(format!("{requests} were asked for, {} answers came", replies.len())))
}

/// Every member, in alphabetical order.
#[rustfmt::skip]
pub static SCENARIOS: &[&Part<dyn Scenario>] = &[
    &choice::PART,
    &open::PART,
];

/// The records of all members.
pub fn records() -> Vec<Record> {
    SCENARIOS.iter().map(|part| part.record()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_a_page() {
        metier_testkit::assert_pages(&records());
    }
}
