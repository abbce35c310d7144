//! Interrupted evaluations.

use crate::model::{Formula, silent};
use metier_core::Result;
use metier_core::data::Document;
use metier_core::seam::{Score, ScoreRequest, Scored};
use metier_core::seed::Seed;
use metier_eval::metric::BitsPerByte;
use metier_eval::{EvaluateSettings, Evaluation, evaluate};
use metier_testkit::{corpus, scratch};
use std::path::Path;
use std::sync::atomic::Ordering;

fn settings() -> EvaluateSettings {
    EvaluateSettings { window_bytes: 200, max_windows: 45, batch: 4, ..EvaluateSettings::default() }
}

fn run(model: &dyn Score, file: &Path) -> Result<Evaluation> {
    let documents: Vec<Result<Document>> = corpus::documents(4, 12, 1500).into_iter().map(Ok).collect();
    evaluate(model, documents, &settings(), Seed::new(3), &silent(), file)
}

#[test]
fn the_file_holds_what_was_measured() {
    let folder = scratch("evaluate");
    let file = folder.path().join("windows.jsonl");
    let evaluation = run(&Formula::new(0.5), &file).unwrap();
    assert_eq!(evaluation.windows.len(), 45);
    assert_eq!(evaluation.documents(), 12);
    assert_eq!(Evaluation::read(&file).unwrap(), evaluation);
    let value = evaluation.value(&BitsPerByte {});
    assert!((0.72..0.95).contains(&value), "{value}");
    let perfect = run(&Formula::new(0.0), &folder.path().join("perfect.jsonl")).unwrap();
    assert_eq!(perfect.value(&BitsPerByte {}).to_bits(), 0.0_f64.to_bits());
}

#[test]
fn a_killed_evaluation_resumes_to_the_same_file() {
    let folder = scratch("resume");
    let whole_file = folder.path().join("whole.jsonl");
    let whole = run(&Formula::new(0.5), &whole_file).unwrap();
    let bytes = std::fs::read(&whole_file).unwrap();
    for cut in (0..=bytes.len()).step_by(37).chain([bytes.len()]) {
        let file = folder.path().join(format!("cut-{cut}.jsonl"));
        std::fs::write(&file, &bytes[..cut]).unwrap();
        let model = Formula::new(0.5);
        assert_eq!(run(&model, &file).unwrap(), whole);
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "cut at {cut}");
        let lines = bytes[..cut].split(|&byte| byte == b'\n').count() - 1;
        let kept = if lines == 45 { 45 } else { lines / 4 * 4 };
        assert_eq!(model.scored.load(Ordering::Relaxed), 45 - kept);
    }
}

#[test]
fn a_model_that_fails_leaves_what_was_done() {
    let folder = scratch("fails");
    let file = folder.path().join("windows.jsonl");
    let error = run(&Formula::failing_after(0.5, 10), &file).unwrap_err();
    assert!(error.to_string().starts_with("out of luck"), "{error}");
    assert_eq!(Evaluation::read(&file).unwrap().windows.len(), 8);
    assert_eq!(run(&Formula::new(0.5), &file).unwrap().windows.len(), 45);
}

#[test]
fn files_of_other_windows_and_broken_files_are_refused() {
    let folder = scratch("foreign");
    let file = folder.path().join("windows.jsonl");
    run(&Formula::new(0.5), &file).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let other = folder.file("other.jsonl", text.replacen("\"start\":", "\"start\":1", 1));
    let error = run(&Formula::new(0.5), &other).unwrap_err();
    assert!(error.to_string().contains("other.jsonl: the file holds windows of another evaluation"), "{error}");
    let broken = folder.file("broken.jsonl", text.replacen("\"nats\"", "\"gnats\"", 1));
    let error = run(&Formula::new(0.5), &broken).unwrap_err();
    assert!(error.to_string().contains("broken.jsonl:1:"), "{error}");
    let torn = folder.file("torn.jsonl", &text[..text.len() - 5]);
    let error = Evaluation::read(torn).unwrap_err();
    assert!(error.to_string().contains("torn.jsonl:45:1: the last line"), "{error}");
    let error = Evaluation::read(folder.file("empty.jsonl", "")).unwrap_err();
    assert!(error.to_string().contains("no windows"), "{error}");
}

struct Bad(f64, usize);

impl Score for Bad {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Scored>> {
        let scored = Scored { log_probability: self.0, tokens: 0, bytes: self.1, greedy: true };
        Ok(vec![scored; requests.len()])
    }
}

#[test]
fn numbers_that_are_not_finite_name_the_window() {
    let folder = scratch("bad");
    let error = run(&Bad(f64::NAN, 10), &folder.path().join("a.jsonl")).unwrap_err();
    let first = &error.faults[0];
    assert!(first.place.to_string().starts_with("document-000.txt: bytes "), "{error}");
    assert!(first.message.contains("log-probability NaN"), "{error}");
    let error = run(&Bad(-0.0, 0), &folder.path().join("b.jsonl")).unwrap_err();
    assert!(error.to_string().contains("no window is long enough"), "{error}");
}
