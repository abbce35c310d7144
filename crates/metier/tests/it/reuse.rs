//! A second run does nothing; a changed setting reruns only what depends on it.

use crate::command::{fine, json, metier, talk, tiny_run};
use std::time::{Duration, Instant};

fn ran(report: &serde_json::Value) -> Vec<String> {
    let stages = report["stages"].as_array().unwrap();
    stages
        .iter()
        .filter(|stage| stage["reused"] == false)
        .map(|stage| stage["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_second_run_does_nothing_and_a_new_rate_reruns_training_and_what_follows() {
    let folder = tempfile::tempdir().unwrap();
    let first = json(&fine(tiny_run(folder.path(), &["--json"]).args(["--quiet"])));
    assert_eq!(ran(&first).len(), 8);

    let began = Instant::now();
    let output = fine(&mut tiny_run(folder.path(), &["--json"]));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(talk(&output).contains("nothing to do: all 8 stages are finished"), "{}", talk(&output));
    assert!(ran(&json(&output)).is_empty());
    let plan = fine(metier(folder.path()).arg("plan").arg(crate::command::quickstart()).arg("--tiny"));
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("nothing to do: all 8 stages are finished; this machine: "), "{plan}");

    let changed = json(&fine(&mut tiny_run(folder.path(), &["--json", "--set", "training.optimizer.rate=1e-4"])));
    assert_eq!(ran(&changed), ["training", "specialist", "after", "balance"]);

    let threads = json(&fine(tiny_run(folder.path(), &["--json", "--threads", "1"]).env("METIER_UNUSED", "1")));
    assert!(ran(&threads).is_empty(), "the number of threads is no part of a key");
}

#[test]
fn plan_says_what_it_will_cost_and_the_record_compares() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = crate::command::quickstart();
    let plan = json(&fine(metier(folder.path()).arg("plan").arg(&recipe).args(["--tiny", "--json"])));
    let training = plan["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "training").unwrap();
    let estimate = &training["estimate"];
    assert_eq!(estimate["tokens"], 24 * 2 * 64);
    for key in ["flop", "memory_bytes", "disk_bytes", "seconds"] {
        assert!(estimate[key].as_f64().unwrap() > 0.0, "{key}: {estimate}");
    }
    let report = json(&fine(&mut tiny_run(folder.path(), &["--json"])));
    let record =
        &report["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "training").unwrap()["record"];
    assert_eq!(record["plan"]["tokens"], estimate["tokens"]);
    assert!(record["real"]["seconds"].as_f64().unwrap() > 0.0);
    let real = record["figures"]["tokens"].as_f64().unwrap();
    let planned = estimate["tokens"].as_f64().unwrap();
    assert!(real <= planned && real > 0.8 * planned, "{real} of {planned}");
}

#[test]
fn a_memory_limit_that_cannot_be_kept_is_refused_before_work() {
    let folder = tempfile::tempdir().unwrap();
    let said = crate::command::refused(
        &mut tiny_run(folder.path(), &["--memory", "20MB"]),
        &["stage `training`", "--memory allows"],
    );
    assert!(!said.contains("documents: read raw files"), "{said}");
}
