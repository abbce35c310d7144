//! Documents that stand for all: which are chosen, that it can be interrupted, and what is refused.

use crate::command::{artifact, fine, json, metier, refused, rows};
use crate::http::tiny;
use crate::resume::assert_kills_change_nothing;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const STAGES: &str = r#"
[recipe]
title = "test"
source = "test"

[[asset]]
name = "model"
kind = "model"
sources = [{ path = "model.gguf" }]

[[stage]]
name = "documents"
do = "synthesize"
world = { method = "topics", topics = 6, exponent = 1.0, copied = 0.5 }
characters = 60_000
held_out = 5

[[stage]]
name = "drawn"
do = "subset"
from = "documents"
model = "model"
fraction = 0.25
temperature = 0.1
partitions = 4

[[stage]]
name = "again"
do = "subset"
round = 1
from = "documents"
after = "drawn"
fraction = 0.25
temperature = 0.1

[[stage]]
name = "first"
do = "subset"
from = "documents"
model = "model"
choose = "first"
partitions = 1

[[stage]]
name = "even"
do = "subset"
from = "documents"
choose = "even"

[[stage]]
name = "noise"
do = "subset"
from = "documents"
model = "model"
features = "noise"
function = "graph_cut"
lambda = 0.2
partitions = 4

[[stage]]
name = "shards"
do = "pack"
from = "drawn"
tokenizer = "model"
"#;

fn recipe(folder: &Path, text: &str) {
    fs::copy(tiny(), folder.join("model.gguf")).unwrap();
    fs::write(folder.join("subset.toml"), text).unwrap();
}

#[test]
fn documents_are_chosen_by_what_they_add() {
    let folder = tempfile::tempdir().unwrap();
    recipe(folder.path(), STAGES);
    let report = json(&fine(metier(folder.path()).args(["run", "subset.toml", "--json"])));
    let ids = |stage: &str, file: &str| -> Vec<String> {
        let rows = rows(&artifact(&report, stage).join(file));
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = ids("documents", "train.jsonl");
    let figures = |stage: &str| {
        let record = fs::read(artifact(&report, stage).join("record.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&record).unwrap()["figures"].clone()
    };
    for stage in ["drawn", "again", "first", "even", "noise"] {
        let chosen = ids(stage, "train.jsonl");
        // Of each of four parts a quarter, rounded up.
        let share = chosen.len() as f64 / all.len() as f64;
        assert!((0.25..0.27).contains(&share), "{stage}: {share}");
        let mut in_order = all.iter().filter(|id| chosen.contains(id));
        assert!(chosen.iter().all(|id| in_order.next() == Some(id)), "{stage} keeps the order");
        assert_eq!(ids(stage, "held_out.jsonl"), ids("documents", "held_out.jsonl"));
        assert_eq!(figures(stage)["documents"], chosen.len() as f64);
    }
    assert_ne!(ids("drawn", "train.jsonl"), ids("again", "train.jsonl"));
    assert_eq!(ids("drawn", "gains.jsonl"), all);
    let gains = rows(&artifact(&report, "drawn").join("gains.jsonl"));
    let chosen: BTreeSet<String> = ids("drawn", "train.jsonl").into_iter().collect();
    for part in 0..4 {
        let mut of: Vec<_> = gains.iter().filter(|row| row["part"] == part).collect();
        of.sort_by_key(|row| row["place"].as_u64());
        let values: Vec<f64> = of.iter().map(|row| row["gain"].as_f64().unwrap()).collect();
        assert!(values.windows(2).all(|pair| pair[1] <= pair[0] + 1e-9), "facility location adds less and less");
        let weights: f64 = of.iter().map(|row| row["weight"].as_f64().unwrap()).sum();
        assert!((weights - 1.0).abs() < 1e-9);
        assert!(of.iter().all(|row| row["chosen"] == chosen.contains(row["id"].as_str().unwrap())));
    }
    let counts = fs::read(artifact(&report, "drawn").join("report.json")).unwrap();
    let counts: serde_json::Value = serde_json::from_slice(&counts).unwrap();
    let counted: u64 = counts["parts"].as_array().unwrap().iter().map(|part| part["chosen"].as_u64().unwrap()).sum();
    assert_eq!((counts["parts"].as_array().unwrap().len(), counted as usize), (4, chosen.len()));
    let mut order = rows(&artifact(&report, "first").join("gains.jsonl"));
    order.sort_by_key(|row| row["place"].as_u64());
    let taken = order.iter().take_while(|row| row["chosen"] == true).count();
    assert_eq!(taken, all.len().div_ceil(4));
    assert!(order[taken..].iter().all(|row| row["chosen"] == false));
    // A copy adds little to the document that it copies, so hardly any document is there twice; drawn evenly many are.
    let gold = rows(&artifact(&report, "documents").join("gold.jsonl"));
    let original = |row: &serde_json::Value| -> String {
        let own = row["id"].as_str().unwrap().rsplit('-').next().unwrap().to_owned();
        row["facts"][1][2].as_str().map_or(own, str::to_owned)
    };
    let originals: BTreeMap<String, String> =
        gold.iter().map(|row| (row["id"].as_str().unwrap().to_owned(), original(row))).collect();
    let different =
        |stage: &str| ids(stage, "train.jsonl").iter().map(|id| &originals[id]).collect::<BTreeSet<_>>().len();
    assert!(different("first") * 10 >= taken * 9, "{} of {taken}", different("first"));
    assert!(different("even") * 10 <= taken * 8, "{} of {taken}", different("even"));
    let (drawn, again) = (figures("drawn"), figures("again"));
    assert!(drawn["tokens"].as_f64().unwrap() > 1000.0 && again["tokens"].is_null());
    assert!(figures("first")["gain_share"].as_f64().unwrap() > drawn["gain_share"].as_f64().unwrap());
    assert!(figures("even")["gain_share"].is_null());

    // One thread chooses the same.
    let one = tempfile::tempdir().unwrap();
    recipe(one.path(), STAGES);
    let mut command = metier(one.path());
    command.args(["run", "subset.toml", "--json", "--threads", "1"]);
    let other = json(&fine(&mut command));
    for file in ["train.jsonl", "gains.jsonl", "report.json"] {
        let bytes = |report: &serde_json::Value| fs::read(artifact(report, "drawn").join(file)).unwrap();
        assert!(bytes(&report) == bytes(&other), "{file}");
    }
}

#[test]
fn kills_change_no_byte() {
    let text = STAGES.replace("60_000", "200_000");
    let (text, _) = text.split_once("[[stage]]\nname = \"again\"").unwrap();
    let run = |folder: &Path, more: &[&str]| {
        recipe(folder, text);
        let mut command = metier(folder);
        command.args(["run", "subset.toml"]).args(more);
        command
    };
    let names = assert_kills_change_nothing(run, &["drawn"], 4);
    assert!(names.contains(&"drawn/gains.jsonl".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("states")), "{names:?}");
}

#[test]
fn what_would_do_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |from: &str, to: &str, said: &[&str]| {
        let text = STAGES.replacen(from, to, 1);
        assert_ne!(text, STAGES, "{from}");
        recipe(folder.path(), &text);
        refused(metier(folder.path()).args(["run", "subset.toml"]), said);
    };
    refuse(
        "fraction = 0.25\ntemperature = 0.1\npartitions",
        "fraction = 1.0\npartitions",
        &["subset.toml:23", "this is no share of documents", "below 1"],
    );
    refuse(
        "temperature = 0.1\npartitions = 4",
        "temperature = 0.0\nepsilon = 0.5",
        &["nothing can be divided by it", "only `stochastic` loses anything", "2 faults"],
    );
    refuse("partitions = 4", "partitions = 4000", &["subset.toml:25", "4000 parts of", "are possible"]);
    refuse("partitions = 4", "layer = 3", &["subset.toml:25", "the model has 2 blocks, not 3", "three quarters"]);
    refuse("partitions = 4", "lambda = 0.5", &["this function has none"]);
    refuse("after = \"drawn\"", "after = \"drawn\"\npartitions = 3", &["no order is made here that it could decide"]);
    refuse("after = \"drawn\"", "after = \"drawn\"\nmodel = \"model\"", &["there are a model and an order"]);
    refuse("after = \"drawn\"\n", "", &["nothing says how similar documents are"]);
    refuse("choose = \"even\"", "choose = \"even\"\nmodel = \"model\"", &["no model is asked"]);
    refuse(
        "choose = \"first\"",
        "choose = \"first\"\ntemperature = 2.0\nround = 1",
        &["no weight decides here", "what comes first is the same in every round"],
    );
    refuse("after = \"drawn\"", "after = \"even\"", &["no order was found there"]);
    refuse(
        "from = \"documents\"\nafter = \"drawn\"",
        "from = \"drawn\"\nafter = \"drawn\"",
        &["gains.jsonl", "this order is one of other documents"],
    );
    refuse("characters = 60_000", "characters = 1", &["there are 1 documents to choose from"]);
}

#[test]
fn the_recipe_runs_in_miniature() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = metier_testkit::repository().join("recipes/ingenious.toml");
    let report = json(&fine(metier(folder.path()).arg("run").arg(&recipe).args(["--tiny", "--json"])));
    assert_eq!(report["checks"].as_array().unwrap().len(), 10);
}
