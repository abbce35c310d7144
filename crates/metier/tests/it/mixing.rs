//! Several packs in one run, validation meanwhile, and the law that says how much domain text is too much.

use crate::command::{artifact, fine, json, metier, refused};
use crate::resume::assert_kills_change_nothing;
use crate::seeing::numbers;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

fn recipe() -> std::path::PathBuf {
    metier_testkit::repository().join("recipes/cmr-scaling-law.toml")
}

fn record(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("record.json")).unwrap()).unwrap()
}

#[test]
fn the_recipe_runs_in_miniature_with_exact_shares() {
    let folder = tempfile::tempdir().unwrap();
    let guard = "sweep-quarter.guard={ general = 10.0 }";
    let run = || json(&fine(metier(folder.path()).arg("run").arg(recipe()).args(["--tiny", "--json", "--set", guard])));
    let report = run();
    assert_eq!(report["checks"].as_array().unwrap().len(), 14);
    for (name, share) in [("eighth", 0.125), ("quarter", 0.25), ("half", 0.5), ("most", 0.75)] {
        let sweep = artifact(&report, &format!("sweep-{name}"));
        let figures = &record(&sweep)["figures"];
        assert_eq!(figures["share.domain"], share);
        assert_eq!(figures["share.general"], 1.0 - share);
        let lines = fs::read_to_string(sweep.join("validation.jsonl")).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // Before, after every other of twelve steps; two packs.
        assert_eq!(lines.len(), 14);
        let of = |name: &str| lines.iter().filter(move |line| line["name"] == name).collect::<Vec<_>>();
        assert_eq!(figures["validation.domain.first"], of("domain")[0]["loss"]);
        assert_eq!(figures["validation.domain.last"], of("domain")[6]["loss"]);
        assert_eq!(of("general")[6]["tokens"], 12 * 8 * 32);
        let [change, low, high] =
            ["change", "change_low", "change_high"].map(|which| figures[format!("validation.domain.{which}")].as_f64());
        let [first, last] = ["first", "last"].map(|which| figures[format!("validation.domain.{which}")].as_f64());
        assert!((change.unwrap() - (last.unwrap() - first.unwrap())).abs() < 1e-4, "{figures}");
        assert!(low < change && change < high, "{figures}");
        if name == "quarter" {
            let [first, last] =
                ["first", "last"].map(|which| figures[format!("validation.general.{which}")].as_f64().unwrap());
            assert_eq!(
                (&figures["guarded"], figures["guard.general.rise"].as_f64()),
                (&0.0.into(), Some(last / first - 1.0))
            );
        }
        let page = sweep.join("report.html");
        assert_eq!(
            numbers(&page)["runs"][0]["validation"],
            serde_json::json!({ "domain": of("domain"), "general": of("general") })
        );
        assert!(fs::read_to_string(page).unwrap().contains("Loss on held-out windows: domain"));
    }
    let law = record(&artifact(&report, "law"))["figures"].clone();
    let share = record(&artifact(&report, "critical-once"))["figures"]["share.domain"].as_f64().unwrap();
    assert!((share - law["ratio"].as_f64().unwrap()).abs() <= 0.5 / 96.0, "{share} for {law}");
    assert!(fs::read_to_string(artifact(&report, "law").join("report.txt")).unwrap().contains("critical ratio"));
    assert!(run()["stages"].as_array().unwrap().iter().all(|stage| stage["reused"] == true));

    // Both sources are among what the run was made from, and what it was only measured on is not.
    let why = json(&fine(metier(folder.path()).args(["why", "critical-once", "--json"])));
    let documents: Vec<&str> =
        why["documents"].as_array().unwrap().iter().map(|document| document["id"].as_str().unwrap()).collect();
    assert!(documents.iter().any(|id| id.contains("rfc")) && documents.iter().any(|id| id.contains("austen")));
    let sampled = fs::read_to_string(artifact(&report, "sweep-most").join("sampled.json")).unwrap();
    let sampled: Vec<Value> = serde_json::from_str(&sampled).unwrap();
    assert!(sampled.iter().all(|row| documents.contains(&row["document"].as_str().unwrap())));
    let packed = |stage: &str| record(&artifact(&report, stage))["figures"]["documents"].as_f64().unwrap() as usize;
    assert_eq!(documents.len(), packed("general") + packed("domain"));
}

#[test]
fn a_killed_run_on_several_packs_ends_with_the_same_bytes() {
    let run = |folder: &Path, more: &[&str]| {
        let mut command = metier(folder);
        command.arg("run").arg(recipe()).args(["--tiny", "--set", "sweep-half.checkpoint_every=3"]).args(more);
        command
    };
    let names = assert_kills_change_nothing(run, &["sweep-half", "critical-once"], 8);
    for name in ["sweep-half/validation.jsonl", "sweep-half/sampled.json", "critical-once/loss.jsonl"] {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
    }
}

#[test]
fn faults_of_mixtures_come_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let check = |sets: &[&str], said: &[&str]| {
        let mut command = metier(folder.path());
        command.arg("check").arg(recipe());
        for set in sets {
            command.args(["--set", set]);
        }
        refused(&mut command, said);
    };
    let shares = "sweep-half.sampler.shares";
    check(&[&format!("{shares}={{ domain = 0.5, general = 0.6 }}")], &["sampler", "sum to 1.1, not to 1"]);
    check(&[&format!("{shares}={{ domian = 0.5 }}")], &["no source is called `domian`", "did you mean `domain`?"]);
    check(&[&format!("{shares}={{}}")], &["no shares are given"]);
    let phases = "sweep-half.sampler={ method = \"curriculum\", phases = ";
    check(
        &[&format!("{phases}[{{ shares = {{ domian = 1.0 }} }}, {{ shares = {{ domain = 0.5, general = 0.6 }} }}] }}")],
        &[
            "sampler.phases[0].shares.domian",
            "did you mean `domain`?",
            "sampler.phases[0].steps",
            "phases[1].shares: the",
        ],
    );
    check(
        &[&format!(
            "{phases}[{{ steps = 900000, shares = {{ domain = 0.0 }} }}, {{ shares = {{ domain = 0.5 }} }}] }}"
        )],
        &["sampler.phases[1]: it begins after 900000 steps"],
    );
    check(&["critical-once.sampler.shares={ domain = 0.5 }"], &["there are shares and a critical ratio"]);
    check(&["critical-once.sampler={ method = \"packed\" }"], &["law", "takes nothing from a law"]);
    check(&["sweep-half.sampler={ method = \"mixture\", critical = \"domain\" }"], &["name a stage `fit` under `law`"]);
    check(&["pretraining.validate={ every = 5 }"], &["nothing to measure on", "`validation`"]);
    check(&["sweep-half.validate.every=0"], &["validate.every"]);
    check(&["sweep-half.guard={ generel = 0.02 }"], &["guard", "`generel`", "did you mean `general`?"]);
    check(&["sweep-half.guard={ general = -1 }"], &["guard.general", "-1 is no share"]);
    check(&["pretraining.guard={ general = 0.02 }"], &["guard", "nothing to measure on", "`validation`"]);
    check(&["sweep-half.average=1"], &["average", "1 is out of range"]);
    check(&["forecast.runs={}"], &["nothing to fit"]);
    check(&["law.budgets=[0]"], &["0 is no multiple"]);
    check(&["general.held_out=1"], &["held_out"]);
}

#[test]
fn a_table_of_ones_own_is_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sweep.csv");
    let mut text = "run,ratio,tokens,gen_loss,dom_loss\nbefore,0,0,3,4\n".to_owned();
    for ratio in [0.125_f64, 0.25, 0.5, 0.75] {
        // The general loss peaks at 25 + 150 r²; the critical ratio is where that is 100.
        let peak = 25.0 + 150.0 * ratio * ratio;
        for step in 1..=25 {
            let tokens = f64::from(step) * 4.0;
            let general = 3.0 + 0.01 * ratio * (2.0 * (tokens * peak).sqrt() - tokens) / 25.0;
            let domain = 4.0 + 2.0 * ratio.powf(0.2) * (tokens.powf(-0.3) - 1.0);
            writeln!(text, "r{ratio},{ratio},{tokens},{general},{domain}").unwrap();
        }
    }
    fs::write(&path, &text).unwrap();
    let fit = |more: &[&str]| {
        let mut command = metier(folder.path());
        command.args(["fit", "table=sweep.csv", "multiplier=1e6", "resamples=20"]).args(more);
        command
    };
    let report = json(&fine(&mut fit(&["tolerance=1", "forecast=0.3", "--json"])));
    let figures = &record(&artifact(&report, "fit"))["figures"];
    let ratio = figures["ratio"].as_f64().unwrap();
    assert!((ratio - 0.5_f64.sqrt()).abs() < 0.01, "{figures}");
    let expected = 4.0 + 2.0 * 0.3_f64.powf(0.2) * (100_f64.powf(-0.3) - 1.0);
    assert!((figures["forecast_domain"].as_f64().unwrap() - expected).abs() < 1e-3, "{figures}");
    let said = String::from_utf8(fine(&mut fit(&["tolerance=1"])).stdout).unwrap();
    assert!(said.contains("beyond the longest run") && said.contains("critical ratio over tokens"), "{said}");

    fs::write(&path, text.replace("r0.25,0.25,4,", "r0.25,1.25,4,")).unwrap();
    refused(&mut fit(&[]), &["sweep.csv:28: ratio", "1.25"]);
    fs::write(&path, text.replace("before,0,0,3,4\n", "")).unwrap();
    refused(&mut fit(&[]), &["sweep.csv:2: tokens", "no row at 0 tokens"]);
    refused(metier(folder.path()).arg("fit"), &["nothing to fit"]);
}
