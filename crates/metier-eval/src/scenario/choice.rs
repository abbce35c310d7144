use super::{Answer, Answered, PROMPT, Scenario, as_many, check_prompt, prompt};
use metier_core::data::Question;
use metier_core::part::{Build, Part};
use metier_core::seam::ScoreRequest;
use metier_core::{Error, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Gives a question several answers to choose from, and takes the likeliest for the model's choice.
///
/// # How
/// Each choice is scored behind the prompt and a space: s = ln p(choice | prompt), divided by the choice's bytes in UTF-8
/// with `normalize`. The choice with the largest s is the reply; of equal ones the first. The choices themselves are not shown.
///
/// # When to use
/// For models that are too small to follow instructions. Chance is one in the number of choices.
///
/// # Differs from the paper in
/// With `normalize` it is lm-evaluation-harness's `acc_norm` of a task whose target delimiter is a space, but for that one's
/// dividing by characters, which differs outside ASCII; without it is its `acc`. A token that lies across the border between prompt and
/// choice is scored with the choice, where that one scores the choice's own tokens.
///
/// # Source
/// Brown et al. 2020 (arXiv:2005.14165), section 2.4; Gao et al., *lm-evaluation-harness*, `acc` and `acc_norm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Choice {
    /// What stands before the answer, with `{question}` for the question.
    pub prompt: String,
    /// Whether long choices are spared what their length costs them.
    pub normalize: bool,
}

impl Default for Choice {
    fn default() -> Self {
        Self { prompt: PROMPT.to_owned(), normalize: true }
    }
}

impl Scenario for Choice {
    fn ask(&self, model: &dyn Answer, questions: &[Question]) -> Result<Vec<Answered>> {
        if let Some(question) = questions.iter().find(|question| question.choices.is_empty()) {
            let error = Error::user(Place::key(&question.id), "this question has nothing to choose from");
            return Err(error.hint("give it `choices`, or ask by `open`"));
        }
        let requests: Vec<ScoreRequest> = questions
            .iter()
            .flat_map(|question| {
                let context = prompt(&self.prompt, question);
                let request = move |choice: &String| ScoreRequest {
                    context: context.clone(),
                    continuation: format!(" {choice}"),
                };
                question.choices.iter().map(request)
            })
            .collect();
        let scored = as_many(model.score(&requests)?, requests.len())?;
        let mut rest = scored.as_slice();
        let mut out = Vec::with_capacity(questions.len());
        for question in questions {
            let (own, later) = rest.split_at(question.choices.len());
            rest = later;
            let value = |at: usize| {
                let length = if self.normalize { question.choices[at].len() } else { 1 };
                own[at].log_probability / length as f64
            };
            let best = (1..own.len()).fold(0, |best, at| if value(at) > value(best) { at } else { best });
            let right = question.choices.iter().position(|choice| *choice == question.answer);
            let right =
                right.ok_or_else(|| Error::user(Place::key(&question.id), "the answer is none of the choices"))?;
            out.push(Answered {
                reply: question.choices[best].clone(),
                right: best == right,
                scored: own[right].clone(),
            });
        }
        Ok(out)
    }
}

impl Build<dyn Scenario> for Choice {
    fn build(self, place: &Place) -> Result<Box<dyn Scenario>> {
        check_prompt(&self.prompt, place)?;
        Ok(Box::new(self))
    }
}

/// Multiple choice.
pub static PART: Part<dyn Scenario> = Part::of::<Choice>("choice", 1);
