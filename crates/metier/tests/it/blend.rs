//! Documents of several sources, so many tokens of each.

use crate::command::{artifact, fine, json, metier, refused, rows};

const RECIPE: &str = r#"
[recipe]
title = "test"
source = "test"

[[asset]]
name = "small"
kind = "data"
license = "CC0-1.0"
sources = [{ path = "small" }]

[[asset]]
name = "large"
kind = "data"
license = "MIT"
sources = [{ path = "large" }]

[[stage]]
name = "few"
do = "curate"
from = "small"
read.method = "text"
select.fraction = 0.0

[[stage]]
name = "many"
do = "curate"
from = "large"
read.method = "text"
select.fraction = 0.1

[[stage]]
name = "words"
do = "tokenizer"
from = "many"
learn.vocabulary_size = 300

[[stage]]
name = "joined"
do = "blend"
from = { few = "few", many = "many" }
tokenizer = "words"
shares = { few = 0.5, many = 0.5 }
tokens = 3000
epochs = 9.0

[[check]]
that = "joined.few.share >= 0.49"

[[check]]
that = "joined.few.share <= 0.51"
"#;

#[test]
fn small_sources_are_repeated_as_often_as_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    for (name, count) in [("small", 10), ("large", 200)] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        for number in 0..count {
            let text = format!("{name} note {number} has a few words of its own, as {} does.", number * 7919);
            std::fs::write(folder.path().join(format!("{name}/{number}.txt")), text).unwrap();
        }
    }
    let recipe = folder.path().join("blend.toml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let report = json(&fine(metier(folder.path()).arg("run").arg(&recipe).arg("--json")));
    let joined = artifact(&report, "joined");
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(joined.join("record.json")).unwrap()).unwrap();
    let figure = |name: &str| record["figures"][name].as_f64().unwrap();
    assert!((figure("tokens") - 3000.0).abs() < 60.0 && figure("few.epochs") > 2.0, "{record:#}");
    let documents = rows(&joined.join("train.jsonl"));
    let counted = |name: &str| figure(name) as usize;
    assert_eq!(documents.len(), counted("documents"));
    assert_eq!(documents.len(), counted("few.documents") + counted("many.documents"));
    let held_out = rows(&joined.join("held_out.jsonl"));
    assert_eq!(held_out.len(), 20);
    assert!(held_out.iter().all(|row| row["license"] == "MIT"));
    let repeated = documents.iter().filter(|row| row["id"].as_str().unwrap().ends_with("#2")).count();
    assert!(repeated > 0 && documents[0]["id"].as_str().unwrap().starts_with("few/"));
    // With the sources made, the plan knows what they hold.
    std::fs::write(&recipe, RECIPE.replace("tokens = 3000", "tokens = 1600")).unwrap();
    let plan = fine(metier(folder.path()).arg("plan").arg(&recipe));
    let text = String::from_utf8_lossy(&plan.stdout);
    assert!(text.contains("joined: about 800 of the ") && text.contains("50.0 % of all"), "{text}");
    let run = |from: &str, to: &str, texts: &[&str]| {
        std::fs::write(&recipe, RECIPE.replace(from, to)).unwrap();
        refused(metier(folder.path()).arg("run").arg(&recipe), texts);
    };
    run(
        "epochs = 9.0\n",
        "",
        &["blend.toml:44", "the source `few` has", "1500 are wanted of it", "allows to repeat it"],
    );
    run("{ few = 0.5, many = 0.5 }", "{ few = 0.5, man = 0.5 }", &["blend.toml", "did you mean `many`?"]);
    run("shares = {", "temperature = 2.0\nshares = {", &["no temperature decides"]);
    run("epochs = 9.0", "epochs = -1.0", &["epochs"]);
}
