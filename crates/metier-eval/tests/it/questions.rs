//! Questions asked of a model that is a table.

use crate::model::silent;
use metier_core::data::Question;
use metier_core::part::Build;
use metier_core::seam::{Ability, Ask, Exchange, Finish, Generate, Prompt, Reply, Score, ScoreRequest, Scored};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_eval::metric::{Accuracy, Perplexity};
use metier_eval::report::paired_bootstrap;
use metier_eval::scenario::{Choice, Open, Scenario};
use metier_eval::{EvaluateSettings, Evaluation, evaluate_questions};

/// Needs half a nat for a byte of an odd number, one for others, and always replies the same.
struct Table(&'static str);

impl Score for Table {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Scored>> {
        let score = |request: &ScoreRequest| {
            assert!(request.context.starts_with("Question: ") && request.context.ends_with("?\nAnswer:"));
            let answer = request.continuation.strip_prefix(' ').unwrap();
            let odd = answer.ends_with(['1', '3', '5', '7', '9']);
            let bytes = answer.len();
            Scored {
                log_probability: -(bytes as f64) * if odd { 0.5 } else { 1.0 },
                tokens: bytes,
                bytes,
                greedy: false,
            }
        };
        Ok(requests.iter().map(score).collect())
    }
}

impl Generate for Table {
    fn can(&self, ability: Ability) -> bool {
        ability == Ability::RawText
    }

    fn run(&self, exchange: &mut dyn Exchange) -> Result<()> {
        let mut number = 0;
        while let Some(Ask { request, .. }) = exchange.next(0) {
            assert!(matches!(&request.prompt, Prompt::Text(text) if text.ends_with("Answer:")));
            assert_eq!(request.stop, ["\n"]);
            let reply = Reply {
                text: self.0.to_owned(),
                tokens: Vec::new(),
                prompt_tokens: 1,
                cached_tokens: 0,
                drafted_tokens: 0,
                accepted_tokens: 0,
                finish: Finish::Stop,
            };
            exchange.finish(number, Ok(reply));
            number += 1;
        }
        Ok(())
    }
}

/// Ten questions, whose answers are 10 to 19.
fn questions() -> Vec<Question> {
    let question = |number: usize| Question {
        id: format!("q{number}"),
        question: format!("What comes after {}?", number + 9),
        answer: (number + 10).to_string(),
        choices: vec!["1000000".to_owned(), (number + 10).to_string(), "20".to_owned()],
    };
    (0..10).map(question).collect()
}

fn asked(model: &Table, scenario: &dyn Scenario, questions: &[Question]) -> Evaluation {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("asked.jsonl");
    let settings = EvaluateSettings { batch: 4, ..EvaluateSettings::default() };
    let first = evaluate_questions(model, scenario, questions, &settings, &silent(), &file).unwrap();
    assert_eq!(Evaluation::read(&file).unwrap(), first);
    // Cut off in the middle of a line it goes on, and the file is the same.
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(evaluate_questions(model, scenario, questions, &settings, &silent(), &file).unwrap(), first);
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    first
}

#[test]
fn the_likeliest_choice_is_the_reply_by_its_bytes_or_by_itself() {
    // By bytes an odd answer of 0.5 wins, and an even one of 1 ties with the first choice, which is taken.
    let evaluation = asked(&Table(""), &Choice::default(), &questions());
    let right: Vec<bool> = evaluation.windows.iter().map(|window| window.right.unwrap()).collect();
    assert_eq!(right, [false, true].repeat(5));
    assert_eq!(evaluation.windows[0].reply.as_deref(), Some("1000000"));
    assert!((evaluation.value(&Accuracy {}) - 0.5).abs() < 1e-12);
    // By itself the short one is ahead of the long one.
    let whole = asked(&Table(""), &Choice { normalize: false, ..Choice::default() }, &questions());
    assert!((whole.value(&Accuracy {}) - 1.0).abs() < 1e-12);
    // What is kept of a question is the likelihood of its right answer: 15 nats for 20 tokens.
    assert!((whole.value(&Perplexity {}) - 0.75_f64.exp()).abs() < 1e-12);
}

#[test]
fn two_models_are_compared_on_the_same_questions_only() {
    let (bad, good) = (Table("no idea"), Table("The 15."));
    let (bad, good) = (asked(&bad, &Open::default(), &questions()), asked(&good, &Open::default(), &questions()));
    let paired = paired_bootstrap(&bad, &good, &Accuracy {}, 500, Seed::new(1)).unwrap();
    assert!((paired.difference.value - 0.1).abs() < 1e-12 && paired.difference.high <= 0.4);
    assert!(paired.change_percent.is_none(), "nothing has no percent");
    assert!(!paired.figures().contains_key("change_percent"));
    assert_eq!(paired.documents, 10);
    let chosen = asked(&Table(""), &Choice::default(), &questions());
    for other in [chosen, asked(&Table(""), &Open { tokens: 3, ..Open::default() }, &questions())] {
        let error = paired_bootstrap(&bad, &other, &Accuracy {}, 500, Seed::new(1)).unwrap_err();
        assert!(error.to_string().contains("differs") || error.to_string().contains("in the other"), "{error}");
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let mut open = questions();
    open[3].choices.clear();
    let settings = EvaluateSettings::default();
    let file = tempfile::NamedTempFile::new().unwrap();
    let error =
        evaluate_questions(&Table(""), &Choice::default(), &open, &settings, &silent(), file.path()).unwrap_err();
    assert!(error.to_string().starts_with("q3: ") && error.to_string().contains("open"), "{error}");
    for prompt in ["Answer:", "{question} "] {
        let prompt = prompt.to_owned();
        assert!(Choice { prompt: prompt.clone(), normalize: true }.build(&Place::default()).is_err(), "{prompt}");
        assert!(Open { prompt: prompt.clone(), ..Open::default() }.build(&Place::default()).is_err(), "{prompt}");
    }
    assert!(Open { tokens: 0, ..Open::default() }.build(&Place::default()).is_err());
}
