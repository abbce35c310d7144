//! The regional stories in miniature: worlds, new models, comparisons, judgments, and stages for each of several values.

use crate::command::{artifact, fine, json, metier, refused};
use std::fs;
use std::path::Path;

fn record(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(folder.join("record.json")).unwrap()).unwrap()
}

#[test]
fn the_recipe_runs_in_miniature_and_its_parts_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = metier_testkit::repository().join("recipes/regional-tinystories.toml");
    let run = || json(&fine(metier(folder.path()).arg("run").arg(&recipe).args(["--tiny", "--json"])));
    let report = run();
    assert_eq!(report["checks"].as_array().unwrap().len(), 7);

    let stories = artifact(&report, "stories-hindi");
    let gold = fs::read_to_string(stories.join("gold.jsonl")).unwrap();
    let train = fs::read_to_string(stories.join("train.jsonl")).unwrap();
    let held_out = fs::read_to_string(stories.join("held_out.jsonl")).unwrap();
    assert_eq!(gold.lines().count(), train.lines().count() + held_out.lines().count());
    assert!(record(&stories)["figures"]["characters"].as_f64().unwrap() >= 6000.0);

    // The English vocabulary writes Hindi byte by byte, so every border of a morpheme is one of a token too.
    let compared = artifact(&report, "compared-hindi");
    let figures = &record(&compared)["figures"];
    let figure = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {figures}"));
    assert!(figure("own.stories.fertility") < 0.6 * figure("english.stories.fertility"));
    assert!(figure("english.stories.byte_share") > 0.9 && (figure("english.stories.morph_score") - 1.0).abs() < 1e-9);
    assert!(fs::read_to_string(compared.join("report.html")).unwrap().contains("<svg"));

    let judged = artifact(&report, "judged-own-hindi-1");
    assert_eq!(fs::read_to_string(judged.join("stories.jsonl")).unwrap().lines().count(), 4);
    assert_eq!(record(&judged)["figures"]["texts"], 4.0);
    let created = record(&artifact(&report, "new-own-hindi-1"))["figures"].clone();
    let count = |name: &str| created[name].as_f64().unwrap();
    assert!((count("embedding_parameters") - 320.0 * 16.0).abs() < 0.5);
    assert!((count("parameters") - count("embedding_parameters") - count("other_parameters")).abs() < 0.5);

    let again = run();
    assert!(again["stages"].as_array().unwrap().iter().all(|stage| stage["reused"] == true));

    // The same comparison from the command line, on the same documents.
    let mut command = metier(folder.path());
    command.args(["tokenizer", "compare", "own=words-own-hindi", "words-english-hindi", "--json", "--html"]);
    let rows = json(&fine(command.arg(folder.path().join("page.html")).args(["--texts", "stories=stories-hindi"])));
    let own = &rows["rows"][0];
    assert_eq!((&own["tokenizer"], &own["group"]), (&"own".into(), &"stories".into()));
    assert_eq!(own["fertility"].as_f64(), Some(figure("own.stories.fertility")));
    assert!(folder.path().join("page.html").exists());
    refused(metier(folder.path()).args(["tokenizer", "compare", "nothing", "--texts", "stories-hindi"]), &["nothing"]);
}

const RECIPE: &str = r#"
[recipe]
title = "test"
source = "test"

[for]
language = ["hindi", "bengali"]
level = [1, 3]

[[stage]]
for = ["language", "level"]
name = "{language}-{level}"
do = "synthesize"
world = { method = "agglutination", language = "{language}", level = "{level}" }
characters = 2000
held_out = 2
seed = "{level}"

[[check]]
for = ["language", "level"]
that = "{language}-{level}.characters >= 2000"

[tiny.for]
level = [2]
"#;

#[test]
fn stages_and_checks_stand_for_one_with_each_choice_of_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    let write = |text: &str| fs::write(&path, text).unwrap();
    write(RECIPE);
    let names = |more: &[&str]| -> Vec<String> {
        let report = json(&fine(metier(folder.path()).args(["run", "recipe.toml", "--json"]).args(more)));
        assert!(report["checks"].as_array().unwrap().iter().all(|check| check["holds"] == true));
        report["stages"].as_array().unwrap().iter().map(|stage| stage["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["hindi-1", "hindi-3", "bengali-1", "bengali-3"]);
    assert_eq!(names(&["--tiny"]), ["hindi-2", "bengali-2"]);
    assert_eq!(names(&["--set", "hindi-1.held_out=3"]).len(), 4);
    let faults: [(&str, &str, &[&str]); 6] = [
        (
            "for = [\"language\", \"level\"]\nname",
            "for = [\"langage\", \"level\"]\nname",
            &[":11:", "langage", "`language`"],
        ),
        ("name = \"{language}-{level}\"", "name = \"{language}\"", &[":12:", "two stages are called `hindi`", "{...}"]),
        ("name = \"{language}-{level}\"", "name = \"{languag}-{level}\"", &[":12:", "is no name"]),
        ("level = [1, 3]", "level = []", &[":8:", "a list of values"]),
        ("level = [1, 3]", "level = [1, 4]", &[":14:", "must be at most 3"]),
        ("seed = \"{level}\"", "seed = -1", &[":17:", "from 0 on"]),
    ];
    for (from, to, said) in faults {
        let text = RECIPE.replacen(from, to, 1);
        assert_ne!(text, RECIPE);
        write(&text);
        refused(metier(folder.path()).args(["check", "recipe.toml"]), said);
    }
}

#[test]
fn what_cannot_be_made_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |arguments: &[&str], said: &[&str]| refused(metier(folder.path()).args(arguments), said);
    refuse(&["synthesize", "world.language=latin"], &["no choice is called `latin`"]);
    refuse(&["synthesize", "world.translated_from=hindi"], &["into itself"]);
    refuse(&["synthesize", "characters=0"], &["at least 1"]);
    let model = metier_testkit::fixture("models/tiny-llama.gguf");
    let tokenizer = format!("tokenizer={}", model.display());
    refuse(&["create", &tokenizer, "hidden=10", "heads=4"], &["heads"]);
    refuse(&["create", &tokenizer, "end_of_text=<nothing>"], &["<nothing>", "special_tokens"]);
}
