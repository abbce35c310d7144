//! Every way to adapt a model with few of its weights, in miniature.

use crate::command::{artifact, fine, json, metier};
use std::fs;

#[test]
fn the_recipe_runs_in_miniature_and_measures_every_method() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = metier_testkit::repository().join("recipes/peft-review.toml");
    let report = json(&fine(metier(folder.path()).arg("run").arg(&recipe).args(["--tiny", "--json"])));
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 34);
    let stages = report["stages"].as_array().unwrap().iter().map(|stage| stage["name"].as_str().unwrap().to_owned());
    let trained: Vec<String> = stages.filter(|name| name.starts_with("trained-")).collect();
    assert_eq!(trained.len(), 18);
    for stage in &trained {
        let record = fs::read(artifact(&report, stage).join("record.json")).unwrap();
        let figures = &serde_json::from_slice::<serde_json::Value>(&record).unwrap()["figures"];
        for name in ["trainable", "validation.sorting.first", "validation.sorting.last"] {
            assert!(figures[name].is_number(), "{stage}.{name}");
        }
    }
}
