//! Rules to follow, endings to learn, how diverse documents are, what adds to a core, and what share of other data is advised.

use crate::command::{artifact, fine, json, metier, refused, rows};
use crate::http::tiny;
use serde_json::Value;
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
name = "rules"
do = "synthesize"
world = { method = "rewriting", rules = 20 }
characters = 10_000
held_out = 6

[[stage]]
name = "endings"
do = "pack"
from = "rules"
tokenizer = "model"
learn = "endings"

[[stage]]
name = "held-out-endings"
do = "pack"
from = "rules"
tokenizer = "model"
learn = "endings"
held_out = true

[[stage]]
name = "trained"
do = "train"
from = "endings"
model = "model"
context = 128
steps = 2
sequences = 2
micro_batch = 2

[[stage]]
name = "judged"
do = "judge"
model = "model"
from = "rules"
world = { method = "rewriting" }
characters = 24
temperature = 0.0

[[stage]]
name = "topics"
do = "synthesize"
world = { method = "topics", topics = 6, copied = 0.0 }
characters = 20_000
held_out = 2

[[stage]]
name = "copies"
do = "synthesize"
world = { method = "topics", topics = 6, copied = 0.95 }
characters = 20_000
held_out = 2

[[stage]]
name = "of-topics"
do = "diversity"
from = "topics"
model = "model"

[[stage]]
name = "of-copies"
do = "diversity"
from = "copies"
model = "model"

[[stage]]
name = "beside-topics"
do = "subset"
from = "topics"
core = "topics"
model = "model"
choose = "first"
partitions = 2

[[stage]]
name = "beside-copies"
do = "subset"
from = "topics"
core = "copies"
model = "model"
choose = "first"
partitions = 2

[[stage]]
name = "advised"
do = "advise"
reports = { "0" = "judged", "10" = "judged", "20" = "judged", "20-2" = "judged", "40" = "judged" }
"#;

fn figures(report: &Value, stage: &str) -> Value {
    let record = fs::read(artifact(report, stage).join("record.json")).unwrap();
    serde_json::from_slice::<Value>(&record).unwrap()["figures"].clone()
}

fn run(folder: &Path) -> Value {
    fs::copy(tiny(), folder.join("model.gguf")).unwrap();
    fs::write(folder.join("only.toml"), STAGES).unwrap();
    json(&fine(metier(folder).args(["run", "only.toml", "--json"])))
}

#[test]
fn endings_are_learned_documents_compared_and_shares_advised() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(folder.path());
    for (stage, from) in [("endings", "train.jsonl"), ("held-out-endings", "held_out.jsonl")] {
        let packed = rows(&artifact(&report, stage).join("documents.jsonl"));
        let documents = rows(&artifact(&report, "rules").join(from));
        assert_eq!(packed.len(), documents.len());
        let mut learned = 0;
        for (entry, document) in packed.iter().zip(&documents) {
            assert_eq!((&entry["id"], &entry["license"]), (&document["id"], &document["license"]));
            let number = |value: &Value| value.as_u64().unwrap();
            let tokens = number(&entry["end"]) - number(&entry["start"]);
            let [range] = entry["learned"].as_array().unwrap().as_slice() else { panic!("{entry}") };
            // A row of eight letters and the token that ends documents, behind what asks for it.
            assert_eq!(number(&range["end"]), tokens);
            assert!(number(&range["start"]) > tokens / 2, "{entry}");
            learned += tokens - number(&range["start"]);
        }
        assert_eq!(figures(&report, stage)["learned"], learned as f64);
    }
    let judged = figures(&report, "judged");
    assert_eq!(judged["sentences"], 6.0);
    let of = |stage: &str, figure: &str| figures(&report, stage)[figure].as_f64().unwrap();
    assert!(of("of-topics", "vendi") > 1.0 && of("of-topics", "vendi_share") <= 1.0);
    for figure in ["vendi_share", "distance", "log_det", "word_pair_bits"] {
        assert!(of("of-topics", figure) > of("of-copies", figure), "{figure}");
    }
    // Beside themselves documents add nothing; beside others they do.
    let most = |stage: &str| {
        let gains = rows(&artifact(&report, stage).join("gains.jsonl"));
        gains.iter().map(|row| row["gain"].as_f64().unwrap()).fold(f64::MIN, f64::max)
    };
    assert!(most("beside-topics") < 1e-3, "{}", most("beside-topics"));
    assert!(most("beside-copies") > 1e-2, "{}", most("beside-copies"));
    // All reports are the same, so that nothing is better.
    assert_eq!((of("advised", "advised"), of("advised", "trials")), (0.0, 5.0));

    let refuse = |arguments: &[&str], said: &[&str]| refused(metier(folder.path()).args(arguments), said);
    fs::write(folder.path().join("texts.jsonl"), "{\"text\": \"No world wrote this text.\"}\n".repeat(9)).unwrap();
    fine(metier(folder.path()).args(["curate", "from=texts.jsonl", "read.method=jsonl"]));
    let from = ["pack", "from=curate", "tokenizer=model.gguf", "learn=endings"];
    refuse(&from, &["it is not said where its opening ends", "synthesize"]);
    fs::write(folder.path().join("examples.jsonl"), "{\"prompt\": \"a\", \"completion\": \" b\"}\n").unwrap();
    let examples = ["pack", "examples=examples.jsonl", "tokenizer=model.gguf", "learn=endings"];
    refuse(&examples, &["learn", "examples have no openings"]);
    let subset = ["subset", "from=topics", "core=copies"];
    let with = |more: &[&'static str]| [&subset[..], more].concat();
    refuse(&with(&["choose=even"]), &["core", "no model says"]);
    refuse(&with(&["model=model.gguf", "function=graph_cut"]), &["core", "leave out `core`"]);
    refuse(&with(&["model=model.gguf", "features=noise"]), &["core", "leave out `core`"]);
    refuse(&["diversity", "from=topics", "model=model.gguf", "layer=99"], &["layer", "blocks, not 99"]);
    refuse(&["advise", "reports.many=judged"], &["reports.many", "no share of other data in percent"]);
    let world = "world={ method = \"rewriting\", given = [\"ab cd\"], apart = [\"ab dc\"] }";
    refuse(&["synthesize", world], &["given[0]", "`ab cd` has the left side of `ab dc`, a rule of the exam"]);
}

#[test]
fn a_table_of_trials_gives_the_best_share_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let advise = |text: &str| {
        fs::write(folder.path().join("trials.csv"), text).unwrap();
        json(&fine(metier(folder.path()).args(["advise", "table=trials.csv", "--json"])))
    };
    let report = advise("share,right,asked\n0,500,1000\n0.1,590,1000\n0.2,620,1000\n0.3,590,1000\n0.6,200,1000\n");
    let found = figures(&report, "advise");
    let of = |figure: &str| found[figure].as_f64().unwrap();
    assert!((of("share") - 0.2).abs() < 0.05 && (of("advised") - 1.0).abs() < 1e-9, "{found}");
    assert!(of("share_low") < of("share") && of("share") < of("share_high"), "{found}");
    let table = fs::read_to_string(artifact(&report, "advise").join("report.txt")).unwrap();
    assert!(table.contains("best share: 0."), "{table}");
    let report = advise("share,right,asked\n0,30,60\n0.1,31,60\n0.2,30,60\n0.3,29,60\n0.6,30,60\n");
    let table = fs::read_to_string(artifact(&report, "advise").join("report.txt")).unwrap();
    assert!(table.contains("no share is advised"), "{table}");

    fs::write(folder.path().join("trials.csv"), "share,right,asked\n0,1,2\n1.5,1,2\n0.2,3,2\n0.3,x,2\n").unwrap();
    let said =
        ["trials.csv:3: share", "1.5", "trials.csv:4: right", "3 answers", "trials.csv:5: right: this is no number"];
    refused(metier(folder.path()).args(["advise", "table=trials.csv"]), &said);
    refused(metier(folder.path()).args(["advise"]), &["there is nothing to advise from", "`judge`"]);
}
