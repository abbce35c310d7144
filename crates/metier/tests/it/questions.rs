//! Questions on facts: both recipes in miniature, a user's own file, and what is refused.

use crate::command::{artifact, fine, json, metier, refused, rows};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn tiny(folder: &Path, recipe: &str) -> serde_json::Value {
    let recipe = metier_testkit::repository().join("recipes").join(recipe);
    json(&fine(metier(folder).arg("run").arg(&recipe).args(["--tiny", "--json"])))
}

/// No question is in the texts to train on, and every answer is.
fn held_out(stage: &Path) -> usize {
    let text: String =
        rows(&stage.join("train.jsonl")).iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect();
    let questions = rows(&stage.join("questions.jsonl"));
    for question in &questions {
        assert!(!text.contains(question["question"].as_str().unwrap()), "{question}");
        assert!(text.contains(question["answer"].as_str().unwrap()), "{question}");
    }
    questions.len()
}

#[test]
fn invented_protocols_are_learned_and_asked_for_in_miniature() {
    let folder = tempfile::tempdir().unwrap();
    let report = tiny(folder.path(), "tele-llms.toml");
    assert_eq!(report["checks"].as_array().unwrap().len(), 27);
    assert_eq!(held_out(&artifact(&report, "protocols")), 24);
    let before = rows(&artifact(&report, "before").join("windows-facts.jsonl"));
    assert_eq!(before.len(), 24);
    assert!(before.iter().all(|row| row["right"].is_boolean() && row["reply"].is_string()));
    let record = fs::read(artifact(&report, "after-full-1").join("record.json")).unwrap();
    let figures = &serde_json::from_slice::<serde_json::Value>(&record).unwrap()["figures"];
    for name in
        ["facts.accuracy", "facts.difference_low", "facts.perplexity", "prose.perplexity", "prose.change_percent"]
    {
        assert!(figures[name].is_number(), "{name}");
    }
    assert!(figures["prose.accuracy"].is_null(), "texts have no right answers");
}

#[test]
fn facts_of_standards_are_mined_and_asked_for_and_a_file_of_ones_own_is_too() {
    let folder = tempfile::tempdir().unwrap();
    let report = tiny(folder.path(), "rfc-questions.toml");
    let facts = artifact(&report, "facts");
    assert_eq!(held_out(&facts), 4, "RFC 7296 has codes only");
    let choices = |row: &serde_json::Value| {
        row["choices"].as_array().unwrap().iter().map(ToString::to_string).collect::<BTreeSet<_>>()
    };
    assert!(rows(&facts.join("questions.jsonl")).iter().all(|row| choices(row).len() == 4));

    let weigh = |arguments: &[&str]| {
        let mut command = metier(folder.path());
        let given = ["balance", "evaluations.before=before", "evaluations.after=after", "resamples=100"];
        command.args(given).args(arguments);
        command
    };
    let sets = [r#"speciality=["facts"]"#, r#"versatility=["general"]"#];
    let order = r#"steps=["before", "after"]"#;
    let weighed = json(&fine(&mut weigh(&[order, sets[0], sets[1], "--json"])));
    let folder_of = artifact(&weighed, "balance");
    let record = fs::read(folder_of.join("record.json")).unwrap();
    let figures = serde_json::from_slice::<serde_json::Value>(&record).unwrap()["figures"].clone();
    let figure = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {figures:#}"));
    let mean = f64::midpoint(figure("after.speciality"), figure("after.versatility"));
    assert!((figure("after.unified") - mean).abs() < 1e-12);
    let won = figure("after.unified") - figure("before.unified");
    assert!((figure("after.unified_change") - won).abs() < 1e-12);
    assert!(figures["before.unified_change"].is_null());
    let page = fs::read_to_string(folder_of.join("report.html")).unwrap();
    assert!(page.contains("points were won and lost") && page.contains(">facts</text>"));
    refused(&mut weigh(&[order, r#"speciality=["facts", "general"]"#, sets[1]]), &["`general` counts twice"]);
    refused(
        &mut weigh(&[r#"steps=["before", "aftr"]"#, sets[0], sets[1]]),
        &["did you mean `after`?", "none of the `steps`"],
    );
    refused(&mut weigh(&[r#"steps=["before"]"#, "speciality=[]", sets[1]]), &["weighed alone", "no set is named"]);
    refused(
        &mut weigh(&[order, r#"speciality=["fact"]"#, sets[1]]),
        &["`before` was not measured on `fact`", "did you mean `facts`?"],
    );

    // A result is found by its folder without the store that it lies in.
    let elsewhere = tempfile::tempdir().unwrap();
    let specialist = format!("model={}", artifact(&report, "specialist").display());
    let _ = fine(metier(elsewhere.path()).args(["export", &specialist, "format=gguf"]));

    let own = folder.path().join("own.jsonl");
    fs::write(&own, "{\"question\": \"1 + 1?\", \"answer\": \"2\"}\n{\"question\": \"1 + 2?\", \"answer\": \"3\"}\n")
        .unwrap();
    let model = metier_testkit::repository().join("fixtures/models/tiny-llama.gguf");
    let (own, model) = (format!("questions={}", own.display()), format!("model={}", model.display()));
    let _ =
        fine(metier(folder.path()).args(["eval", &model, &own, "resamples=100", "ask.method=open", "ask.tokens=2"]));
    let refuse = |arguments: &[&str], said: &[&str]| {
        refused(metier(folder.path()).arg("eval").arg(&model).args(arguments), said)
    };
    refuse(&[], &["nothing to measure on"]);
    refuse(&[&own], &["nothing to choose from", "open"]);
    refuse(&[&own, "ask.prompt=Answer:"], &["no place for the question"]);
    refuse(&[&own, "texts.questions=general"], &["both called `questions`"]);
    refuse(&["texts=general", "metric.method=accuracy"], &["texts have no right answers"]);
    let bad = folder.path().join("bad.jsonl");
    fs::write(&bad, "{\"question\": \"Why?\"}\n{\"answer\": 3}\n").unwrap();
    refuse(&[&format!("questions={}", bad.display()), "ask.method=open"], &["bad.jsonl:1", "bad.jsonl:2"]);
    refused(metier(folder.path()).args(["mine", "from=general"]), &["holds no facts"]);
    refused(metier(folder.path()).args(["mine", "from=documents", "most=0"]), &["most"]);
    refused(metier(folder.path()).args(["synthesize", "world.method=protocols", "world.protocols=0"]), &["protocols"]);
}
