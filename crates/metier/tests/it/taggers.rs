//! Taggers that need more than a text: lists and metadata, a trained classifier, a model.

use crate::command::{artifact, fine, json, metier, refused, rows};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Lines about ships and about trains, each with the address it is from.
fn labeled(path: &Path) {
    let mut text = String::new();
    for number in 0..120 {
        let (subject, words) = [("ships", "the harbor and a sail"), ("trains", "the station and a rail")][number % 2];
        let line = json!({
            "id": format!("d{number}"),
            "text": format!("Number {number} saw {words}.\n\nIt was w{} then.", number % 7),
            "subject": subject,
            "metadata": { "url": format!("https://{subject}.example/{number}"), "date": format!("{}-01-01", 1800 + number) },
        });
        writeln!(text, "{line}").unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn curate(folder: &Path, tag: &str, more: &[&str]) -> Command {
    let mut command = metier(folder);
    command.args(["curate", "--json", "from=a.jsonl", "read.method=jsonl", "select.fraction=0.0"]);
    command.arg("read.keep=[\"metadata.url\", \"metadata.date\"]").arg(format!("tag={tag}")).args(more);
    command
}

/// What was said of each document.
fn said(command: &mut Command) -> Vec<Value> {
    let report = json(&fine(command));
    let rows = rows(&artifact(&report, "curate").join("train.attributes.jsonl"));
    rows.into_iter().map(|row| row["attributes"].clone()).collect()
}

#[test]
fn lists_and_dates_are_held_against_metadata() {
    let folder = tempfile::tempdir().unwrap();
    labeled(&folder.path().join("a.jsonl"));
    std::fs::write(folder.path().join("sites.txt"), "ships.example\n").unwrap();
    std::fs::write(folder.path().join("words.txt"), "rail\n").unwrap();
    let tag = "[{ method = \"blocklist\", domains = [\"sites.txt\"], words = [\"words.txt\"] }, { method = \"date\", bounds = [1800, 1850] }]";
    let all = said(&mut curate(folder.path(), tag, &[]));
    assert_eq!(all.len(), 120);
    for (number, said) in all.iter().enumerate() {
        let (site, word) = (&said["blocklist__blocklist__domain"], &said["blocklist__blocklist__word"]);
        assert_eq!((site.is_null(), word.is_null()), (number % 2 == 1, number % 2 == 0), "{said}");
        assert_eq!(said["date__date__year"][0][2], 1800.0 + number as f64);
        assert_eq!(said["date__date__period_1800_1850"].is_null(), number >= 50);
    }
    std::fs::write(folder.path().join("words.txt"), "two words\n").unwrap();
    let texts = ["words.txt:1:1", "none.txt: cannot open"];
    let tag = tag.replace("\"sites.txt\"", "\"none.txt\"");
    refused(&mut curate(folder.path(), &tag, &[]), &texts);
}

#[test]
fn a_classifier_is_trained_and_labels_documents() {
    let folder = tempfile::tempdir().unwrap();
    labeled(&folder.path().join("a.jsonl"));
    let train = |threads: &str, store: &str| {
        let mut command = metier(folder.path());
        command.args([
            "curate",
            "train-tagger",
            "--json",
            "from=a.jsonl",
            "label_key=subject",
            "features.bucket_bits=14",
        ]);
        command.args(["--threads", threads, "--store"]).arg(folder.path().join(store));
        let report = json(&fine(&mut command));
        let figures = report["stages"][0]["record"]["figures"].clone();
        (artifact(&report, "train_tagger").join("tagger.safetensors"), figures)
    };
    let (path, figures) = train("1", "one");
    assert_eq!((&figures["accuracy"], &figures["labels"]), (&json!(1.0), &json!(2.0)), "{figures}");
    let (other, again) = train("2", "two");
    assert!(std::fs::read(&path).unwrap() == std::fs::read(other).unwrap() && figures == again);
    let tag = format!("[{{ method = \"linear\", model = \"{}\", scope = \"paragraph\" }}]", path.display());
    for (number, said) in said(&mut curate(folder.path(), &tag, &[])).iter().enumerate() {
        let right = ["linear__linear__ships", "linear__linear__trains"][number % 2];
        assert_eq!(said[right].as_array().unwrap().len(), 2);
        assert!(said[right][0][2].as_f64().unwrap() > 0.5, "{said}");
    }
    let mut lacking = metier(folder.path());
    lacking.args(["curate", "train-tagger", "from=a.jsonl", "label_key=topic"]);
    refused(&mut lacking, &["a.jsonl:1:1: the line has no label under `topic`", "set `label_key`"]);
    let mut odd = metier(folder.path());
    odd.args(["curate", "train-tagger", "from=a.jsonl", "epochs=0", "rate=0"]);
    refused(&mut odd, &["epochs", "rate"]);
}

#[test]
fn a_model_says_how_well_it_predicts_documents() {
    let folder = tempfile::tempdir().unwrap();
    labeled(&folder.path().join("a.jsonl"));
    let model = metier_testkit::fixture("models/tiny-llama.gguf");
    let given = format!("model={}", model.display());
    let tag = "[{ method = \"perplexity\", paragraphs = true, window = 64, stride = 32 }]";
    let all = said(&mut curate(folder.path(), tag, &[&given]));
    for said in &all {
        assert!(said["perplexity__perplexity__bits_per_byte"][0][2].as_f64().unwrap() > 0.0, "{said}");
        assert!(said["perplexity__perplexity__perplexity"][0][2].as_f64().unwrap() > 1.0, "{said}");
        assert_eq!(said["perplexity__perplexity__paragraph_perplexity"].as_array().unwrap().len(), 2);
    }
    let other = folder.path().join("other");
    let mut one = curate(folder.path(), tag, &[&given, "--threads", "1", "--store", other.to_str().unwrap()]);
    assert!(said(&mut one) == all);
    refused(&mut curate(folder.path(), tag, &[]), &["asks a model called `model`"]);
    refused(&mut curate(folder.path(), "[{ method = \"c4\" }]", &[&given]), &["no tagger asks the model"]);
    let elsewhere = folder.path().join("elsewhere");
    let cluster = [&given, "--cluster", "127.0.0.1:1", "--store", elsewhere.to_str().unwrap()];
    refused(&mut curate(folder.path(), tag, &cluster), &["cannot be asked on a cluster"]);
}
