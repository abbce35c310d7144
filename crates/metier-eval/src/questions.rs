//! Questions on disk: one JSON object a line.

use metier_core::data::Question;
use metier_core::{Error, Fault, Place, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// The file of questions in a folder.
pub const QUESTIONS: &str = "questions.jsonl";

/// Faults told of one file at most.
const MOST_FAULTS: usize = 20;

/// Reads a file of questions, or the one in a folder. Lines that are no question, or one that cannot be asked, are told
/// together.
pub fn read_questions(path: &Path) -> Result<Vec<Question>> {
    let path = &if path.is_dir() { path.join(QUESTIONS) } else { path.to_path_buf() };
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::io(path, "read the questions", &error)
            .hint("name a JSONL file of questions, or a stage that writes questions")
    })?;
    let (mut questions, mut faults, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut say = |column: usize, message: String| {
            faults.push(
                Fault::new(Place::file(path).at(index + 1, column), message)
                    .hint("a line is {\"question\": ..., \"answer\": ...}, and \"choices\" holds the answer too"),
            );
        };
        let mut question: Question = match serde_json::from_str(line) {
            Ok(question) => question,
            Err(error) => {
                say(error.column().max(1), format!("this is no question: {error}"));
                continue;
            }
        };
        if question.id.is_empty() {
            question.id = (index + 1).to_string();
        }
        if question.question.trim().is_empty() || question.answer.trim().is_empty() {
            say(1, "the question or the answer is empty".to_owned());
        }
        if !question.choices.is_empty() {
            let right = question.choices.iter().filter(|choice| **choice == question.answer).count();
            if right != 1 || question.choices.len() < 2 {
                say(1, format!("of {} choices, {right} are the right answer", question.choices.len()));
            }
        }
        if !ids.insert(question.id.clone()) {
            say(1, format!("two questions are called `{}`", question.id));
        }
        questions.push(question);
    }
    if questions.is_empty() && faults.is_empty() {
        return Err(Error::file(path, "the file holds no questions"));
    }
    faults.truncate(MOST_FAULTS);
    Error::collect(questions, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Question>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(QUESTIONS), text).unwrap();
        read_questions(folder.path())
    }

    #[test]
    fn a_line_is_a_question() {
        let text = "{\"question\": \"Why?\", \"answer\": \"So.\"}\n\n{\"id\": \"a\", \"question\": \"1 + 1?\", \"answer\": \"2\", \"choices\": [\"1\", \"2\"]}\n";
        let questions = read(text).unwrap();
        assert_eq!(questions[0].id, "1");
        assert_eq!((questions[1].id.as_str(), questions[1].choices.len()), ("a", 2));
    }

    #[test]
    fn all_bad_lines_are_told_together() {
        let text = "{\"question\": \"Why?\"}\n{\"question\": \"Why?\", \"answer\": \" \"}\n{\"id\": \"x\", \"question\": \"?\", \"answer\": \"2\", \"choices\": [\"1\"]}\n{\"id\": \"x\", \"question\": \"?\", \"answer\": \"2\"}\n";
        let error = read(text).unwrap_err();
        let said: Vec<_> =
            error.faults.iter().map(|fault| (fault.place.line.unwrap_or_default(), fault.message.as_str())).collect();
        assert_eq!(said.len(), 4, "{error}");
        assert!(said[0].1.contains("no question") && said[0].0 == 1, "{error}");
        assert!(said[1].1.contains("empty") && said[1].0 == 2, "{error}");
        assert!(said[2].1.contains("0 are the right answer") && said[2].0 == 3, "{error}");
        assert!(said[3].1.contains("two questions") && said[3].0 == 4, "{error}");
        assert!(read("").unwrap_err().to_string().contains("no questions"));
    }
}
