//! `metier bench` says what it measured.

use crate::command::{fine, json, metier, refused};
use metier_testkit::fixture;

#[test]
fn a_training_step_is_measured_against_the_ceilings() {
    let folder = tempfile::tempdir().unwrap();
    let run = || json(&fine(metier(folder.path()).args(["bench", "--step", "s", "--seconds", "1", "--json"])));
    let report = run();
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key} is missing: {report}"));
    let ceiling = |key: &str| report["ceilings"][key].as_f64().unwrap();
    assert_eq!((report["step"].as_str(), report["parameters"].as_u64()), (Some("s"), Some(5_795_072)));
    assert!(number("steps") >= 3.0 && number("tokens_per_second") > 1.0);
    for key in ["f32_flop_per_second", "read_bytes_per_second", "copy_bytes_per_second"] {
        assert!(ceiling(key) > 1e8, "{key}: {report}");
    }
    let share = number("flop_per_second") / ceiling("f32_flop_per_second");
    assert!((number("share_of_ceiling") / share - 1.0).abs() < 1e-6 && share < 1.5, "{report}");
    // A random model guesses among 4,096 tokens, ln 4096 = 8.3; three steps teach it the one batch a little.
    assert!((5.0..8.4).contains(&number("loss")), "{report}");
    refused(metier(folder.path()).args(["bench", "--step", "xxl"]), &["xxl", "possible values: s, 10m, m"]);
}

#[test]
fn answers_are_measured_against_the_ceiling_that_bounds_them() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("models/tiny-llama.gguf");
    let run = |work: &str| {
        let mut command = metier(folder.path());
        json(&fine(command.args(["bench", "--answer", work, "--seconds", "1", "--json", "--model"]).arg(&model)))
    };
    let report = run("decode");
    assert_eq!((report["answer"].as_str(), report["tokens"].as_u64()), (Some("decode"), Some(128)));
    assert_eq!(report["ceiling"], "read_bytes_per_second");
    assert!(report["tokens_per_second"].as_f64().unwrap() > 1.0 && report["share_of_ceiling"].as_f64().unwrap() > 0.0);
    assert!(report["rounds"].as_u64().unwrap() >= 3, "{report}");
    let mut command = metier(folder.path());
    let long = command.args(["bench", "--answer", "prefill", "--model"]).arg(&model);
    refused(long, &["context of 256 tokens is shorter than the 1024"]);
    refused(metier(folder.path()).args(["bench", "--answer", "decode"]), &["--model <MODEL>"]);
}
