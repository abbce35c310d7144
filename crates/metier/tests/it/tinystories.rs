//! The English stories in miniature: facts, the baseline of n-grams, and a memorizer that is found out.

use crate::command::{artifact, fine, json, metier, refused, rows};
use std::fs;

#[test]
fn the_recipe_runs_in_miniature_and_a_memorizer_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = metier_testkit::repository().join("recipes/tinystories.toml");
    let report = json(&fine(metier(folder.path()).arg("run").arg(&recipe).args(["--tiny", "--json"])));
    assert_eq!(report["checks"].as_array().unwrap().len(), 9);

    let gold = rows(&artifact(&report, "stories").join("gold.jsonl"));
    assert!(gold.iter().all(|row| row["words"].as_array().unwrap().len() == 3));
    let has_kind = |row: &serde_json::Value| row["facts"].as_array().unwrap().iter().any(|fact| fact[1] == "is");
    assert!(gold.iter().all(has_kind));

    let figures = |stage: &'static str| {
        let record = fs::read(artifact(&report, stage).join("record.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        move |name: &str| record["figures"][name].as_f64().unwrap_or_else(|| panic!("{stage}.{name}"))
    };
    let memorizer = figures("memorizer");
    assert!((memorizer("rouge_training") - 1.0).abs() < 1e-9 && memorizer("copied_words") > 30.0);
    assert!((memorizer("grammar") - 1.0).abs() < 1e-9 && memorizer("consistency") < 1.0);
    let ngrams = figures("ngrams");
    assert!(ngrams("rouge_training") < 0.99 && ngrams("grammar") > 0.1 && ngrams("ended") > 0.0);
    assert_eq!(rows(&artifact(&report, "ngrams").join("stories.jsonl")).len(), 4);

    let refuse = |arguments: &[&str], said: &[&str]| refused(metier(folder.path()).args(arguments), said);
    let world = "world.method=tiny_stories";
    refuse(&["judge", "from=stories", world], &["one writer is judged at a time", "recite"]);
    refuse(&["judge", "from=stories", "ngrams=stories", "recite=true", world], &["one writer"]);
    refuse(&["judge", "from=stories", "ngrams=stories", "order=0", world], &["order"]);
}
