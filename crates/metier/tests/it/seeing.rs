//! What a training tells while it lasts, and the page that it leaves.

use crate::bad_input::Project;
use crate::command::{artifact, fine, json, metier, refused};
use metier_train::StepRecord;
use serde_json::Value;
use std::path::Path;

/// The numbers that a page holds for programs.
pub fn numbers(page: &Path) -> Value {
    let text = std::fs::read_to_string(page).unwrap();
    for outside in ["http", "src=", "@import", "url("] {
        assert!(!text.contains(outside), "the page needs something else: {outside}");
    }
    for wrong in ["NaN", "inf\""] {
        assert!(!text.contains(wrong), "{wrong} is in the page");
    }
    let (_, rest) = text.split_once("<script type=\"application/json\" id=\"numbers\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// The steps of a run as a page holds them.
fn steps(run: &Value) -> Vec<StepRecord> {
    let column = |name: &str| run[name].as_array().unwrap().clone();
    let [step, loss, rate, norm, tokens] = ["step", "loss", "rate", "gradient_norm", "tokens"].map(column);
    (0..step.len())
        .map(|at| StepRecord {
            step: step[at].as_u64().unwrap(),
            loss: loss[at].as_f64().unwrap() as f32,
            rate: rate[at].as_f64().unwrap() as f32,
            gradient_norm: norm[at].as_f64().unwrap() as f32,
            tokens: tokens[at].as_u64().unwrap(),
        })
        .collect()
}

fn log(folder: &Path) -> Vec<StepRecord> {
    let text = std::fs::read_to_string(folder.join("loss.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn pages_hold_the_numbers_of_the_log_and_equal_runs_have_equal_pages() {
    let project = Project::new();
    let more = |text: &str| text.replace("steps = 2", "steps = 60");
    let report = json(&fine(project.run("run", more).args(["--json", "--html", "all.html"])));
    let training = artifact(&report, "training");
    let log = log(&training);
    assert_eq!(log.len(), 60);
    assert_eq!(steps(&numbers(&training.join("report.html"))["runs"][0]), log);

    let all = numbers(&project.path().join("all.html"));
    assert_eq!((steps(&all["runs"][0]), &all["runs"][0]["stage"]), (log.clone(), &"training".into()));
    let stages = all["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 4);
    assert_eq!(stages[2]["figures"], report["stages"][2]["record"]["figures"]);
    assert_eq!(stages[2]["real"], report["stages"][2]["record"]["real"]);

    let said = fine(metier(project.path()).args(["inspect", "training", "--html", "one.html"]));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "one.html\n");
    assert_eq!(steps(&numbers(&project.path().join("one.html"))["runs"][0]), log);
    fine(metier(project.path()).args(["inspect", "documents", "--html", "other.html"]));
    assert_eq!(numbers(&project.path().join("other.html"))["runs"], serde_json::json!([]));
    refused(metier(project.path()).args(["inspect", "model.gguf", "--html", "none.html"]), &["model.gguf"]);

    let other = Project::new();
    let again = artifact(&json(&fine(other.run("run", more).arg("--json"))), "training");
    let page = |folder: &Path| std::fs::read(folder.join("report.html")).unwrap();
    assert!(page(&again) == page(&training), "the pages of equal runs differ");
}

#[test]
fn a_training_tells_each_step_before_its_result() {
    let project = Project::new();
    let output = fine(project.run("run", str::to_owned).arg("--json"));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, events) = lines.split_last().unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["begin", "step", "step", "sample", "checkpoint", "end"]);
    assert!(events.iter().all(|event| event["stage"] == "training"));
    let log = log(&artifact(result, "training"));
    for (event, record) in events[1..3].iter().zip(&log) {
        assert_eq!(event["step"], record.step);
        assert_eq!(event["loss"].as_f64().map(|loss| loss as f32), Some(record.loss));
        assert!(event["share_of_peak"].as_f64().unwrap() > 0.0 && event["memory_bytes"].as_u64().unwrap() > 0);
    }
    assert_eq!(events[5]["tokens"].as_u64().unwrap(), log.iter().map(|record| record.tokens).sum::<u64>());
    assert!(events[3]["text"].is_string());

    // A finished run has no events, and a quiet one tells none.
    let output = fine(project.run("run", str::to_owned).arg("--json"));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    let settings = ["--json", "--quiet", "train", "from=shards", "model=model.gguf", "steps=3", "context=32"];
    let output = fine(metier(project.path()).args(settings));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);

    // A fault comes as the last line too.
    let settings = ["--json", "train", "from=shards", "model=model.gguf", "steps=3", "context=999"];
    let output = metier(project.path()).args(settings).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["faults"][0]["key"], "context");
}
