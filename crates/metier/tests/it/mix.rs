//! Documents chosen after they were tagged.

use crate::command::{artifact, fine, json, metier, refused, rows};

const RECIPE: &str = r#"
[recipe]
title = "test"
source = "test"

[[asset]]
name = "notes"
kind = "data"
license = "CC0-1.0"
sources = [{ path = "notes" }]

[[stage]]
name = "tagged"
do = "curate"
from = "notes"
read.method = "text"
tag = [{ method = "gopher", version = 1 }, { method = "c4" }]

[[stage]]
name = "chosen"
do = "mix"
from = "tagged"
exclude = ["$.attributes[?(@.gopher_v1__gopher_v1__word_count[0][2] < 5)]"]
show_dropped = 1
"#;

#[test]
fn thresholds_are_chosen_without_tagging_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("notes")).unwrap();
    for number in 0..6 {
        let text = format!("note {number} has {}a few words of its own.", "many more than ".repeat(number));
        std::fs::write(folder.path().join(format!("notes/{number}.txt")), text).unwrap();
    }
    let recipe = folder.path().join("mix.toml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let report = json(&fine(metier(folder.path()).arg("run").arg(&recipe).arg("--json")));
    let documents = rows(&artifact(&report, "chosen").join("train.jsonl")).len();
    assert_eq!(documents, rows(&artifact(&report, "tagged").join("train.jsonl")).len());

    std::fs::write(&recipe, RECIPE.replace("[2] < 5)", "[2] < 15)")).unwrap();
    let again = json(&fine(metier(folder.path()).arg("run").arg(&recipe).arg("--json")));
    assert_eq!(artifact(&again, "tagged"), artifact(&report, "tagged"));
    assert!(rows(&artifact(&again, "chosen").join("train.jsonl")).len() < documents);

    let run = |from: &str, to: &str, texts: &[&str]| {
        std::fs::write(&recipe, RECIPE.replace(from, to)).unwrap();
        refused(metier(folder.path()).arg("run").arg(&recipe), texts);
    };
    run(
        "word_count[0]",
        "word_counts[0]",
        &["no document has an attribute", "did you mean `gopher_v1__gopher_v1__word_count`?"],
    );
    run("[2] < 5)", "[2] < )", &["mix.toml:23", "character 59 of the expression"]);
    run("exclude = ", "excluded = ", &["excluded"]);
    run("from = \"tagged\"", "", &["there is nothing to mix"]);
    let sql = "where = \"gopher_v1__gopher_v1__word_count >= 15 AND coalesce(c4_v2__c4_v2__has_javascript, 0) = 0\"\n";
    let condition =
        RECIPE.replace("exclude = [\"$.attributes[?(@.gopher_v1__gopher_v1__word_count[0][2] < 5)]\"]\n", sql);
    std::fs::write(&recipe, &condition).unwrap();
    let same = json(&fine(metier(folder.path()).arg("run").arg(&recipe).arg("--json")));
    for file in ["train.jsonl", "train.attributes.jsonl", "held_out.jsonl"] {
        let read = |report| std::fs::read(artifact(report, "chosen").join(file)).unwrap();
        assert_eq!(read(&same), read(&again), "{file}");
    }
    for (from, to, texts) in [
        ("word_count >=", "word_cuont >=", &["no document has an attribute", "did you mean"][..]),
        ("AND coalesce", "AND colaesce", &["mix.toml:23", "did you mean `coalesce`?"]),
        (">= 15", ">= 'many'", &["train.jsonl:1", "a number is compared with a text"]),
    ] {
        std::fs::write(&recipe, condition.replace(from, to)).unwrap();
        refused(metier(folder.path()).arg("run").arg(&recipe), texts);
    }
    refused(metier(folder.path()).args(["mix", "--config", "none.yaml"]), &["none.yaml"]);
}
