use super::{Answer, Answered, PROMPT, Scenario, as_many, check_prompt, prompt};
use crate::words::bare;
use metier_core::data::Question;
use metier_core::part::{Build, Part};
use metier_core::seam::{GenerateRequest, Prompt, Sampling, ScoreRequest};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Lets the model write its answer, and compares that with the right one.
///
/// # How
/// The likeliest token is taken at each step, up to the end of the line or `tokens` tokens. Reply and answer are put in lower case, and
/// the marks around words and the articles *a, an, the* are left out; the reply is right if the words that are left are the same, or with
/// `contained` if the answer's words stand in it one behind the other. Beside that the right answer is scored as in `choice`.
///
/// # When to use
/// For short answers of which there is one right wording: names, numbers. Chance is near nothing.
///
/// # Differs from the paper in
/// SQuAD takes out all marks, those within words too; here `3.5` stays one word that is not `35`. There is no share for words in common.
///
/// # Source
/// Rajpurkar et al. 2016, *SQuAD* (arXiv:1606.05250), section 6.1, exact match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Open {
    /// What stands before the answer, with `{question}` for the question.
    pub prompt: String,
    /// Tokens of a reply at most.
    #[schemars(range(min = 1, max = 4096))]
    pub tokens: usize,
    /// Whether a reply may say more than the answer.
    pub contained: bool,
}

impl Default for Open {
    fn default() -> Self {
        Self { prompt: PROMPT.to_owned(), tokens: 16, contained: false }
    }
}

impl Open {
    fn right(&self, reply: &str, answer: &str) -> bool {
        let words = |text: &str| -> Vec<String> {
            let article = |word: &String| ["a", "an", "the"].contains(&word.as_str());
            // An answer of nothing but articles is one that means a letter.
            let letter = bare(answer).all(|word| article(&word));
            bare(text).filter(|word| letter || !article(word)).collect()
        };
        let (reply, answer) = (words(reply), words(answer));
        reply == answer
            || self.contained && !answer.is_empty() && reply.windows(answer.len()).any(|part| *part == answer)
    }
}

impl Scenario for Open {
    fn ask(&self, model: &dyn Answer, questions: &[Question]) -> Result<Vec<Answered>> {
        let generated: Vec<GenerateRequest> = questions
            .iter()
            .map(|question| GenerateRequest {
                prompt: Prompt::Text(prompt(&self.prompt, question)),
                max_tokens: Some(self.tokens),
                stop: vec!["\n".to_owned()],
                sampling: Sampling::default(),
                top_logprobs: 0,
            })
            .collect();
        let scored: Vec<ScoreRequest> = questions
            .iter()
            .map(|question| ScoreRequest {
                context: prompt(&self.prompt, question),
                continuation: format!(" {}", question.answer),
            })
            .collect();
        let replies = as_many(model.generate(&generated)?, questions.len())?;
        let scored = as_many(model.score(&scored)?, questions.len())?;
        let answered = questions.iter().zip(replies).zip(scored).map(|((question, reply), scored)| {
            let reply = reply.text.trim().to_owned();
            Answered { right: self.right(&reply, &question.answer), reply, scored }
        });
        Ok(answered.collect())
    }
}

impl Build<dyn Scenario> for Open {
    fn build(self, place: &Place) -> Result<Box<dyn Scenario>> {
        check_prompt(&self.prompt, place)?;
        if !(1..=4096).contains(&self.tokens) {
            let place = place.clone().with_key("tokens");
            return Err(Error::from(Fault::new(place, "a reply has 1 to 4096 tokens")));
        }
        Ok(Box::new(self))
    }
}

/// Short answers.
pub static PART: Part<dyn Scenario> = Part::of::<Open>("open", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_case_and_marks_do_not_matter_and_other_words_do() {
        let (exact, contained) = (Open::default(), Open { contained: true, ..Open::default() });
        for same in ["UDP port 69", " The UDP port 69.", "udp PORT \"69\""] {
            assert!(exact.right(same, "the UDP port 69"), "{same}");
        }
        for longer in ["It is UDP port 69, I think.", "UDP port 69 69"] {
            assert!(!exact.right(longer, "UDP port 69") && contained.right(longer, "UDP port 69"), "{longer}");
        }
        for other in ["UDP port 6", "port 69", "", "69 port UDP", "UDP port 690"] {
            assert!(!exact.right(other, "UDP port 69") && !contained.right(other, "UDP port 69"), "{other}");
        }
        assert!(!exact.right("35", "3.5"));
        assert!(exact.right("a", "A") && !exact.right("", "A") && !exact.right("the", "A"));
    }
}
