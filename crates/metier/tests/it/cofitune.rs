//! Chosen weights and a soft mask from the command line: the recipe in miniature, kills, and bad input.

use crate::command::{artifact, fine, json, metier, refused};
use crate::resume::assert_kills_change_nothing;
use std::fs;
use std::path::Path;

fn recipe() -> std::path::PathBuf {
    metier_testkit::repository().join("recipes/cofitune.toml")
}

/// Of a model folder the bytes of each tensor.
fn tensors(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let data = &bytes[8 + length..];
    let of = |entry: &serde_json::Value| {
        let [from, to] = [0, 1].map(|end| entry["data_offsets"][end].as_u64().unwrap() as usize);
        data[from..to].to_vec()
    };
    let named = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    named.map(|(name, entry)| (name.clone(), of(entry))).collect()
}

#[test]
fn the_recipe_runs_in_miniature_and_changes_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let report = json(&fine(metier(folder.path()).arg("run").arg(recipe()).args(["--tiny", "--json"])));
    let base = tensors(&artifact(&report, "base"));
    for stage in ["coarse-1", "fine-1"] {
        let changed: Vec<String> = tensors(&artifact(&report, stage).join("model"))
            .into_iter()
            .filter(|(name, bytes)| base.iter().find(|(known, _)| known == name).unwrap().1 != *bytes)
            .map(|(name, _)| name)
            .collect();
        assert!(!changed.is_empty(), "{stage}");
        for name in &changed {
            let layers = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"];
            assert!(layers.iter().any(|layer| name.contains(layer)), "{stage}: {name}");
            assert!((2..6).any(|block| name.contains(&format!("layers.{block}."))), "{stage}: {name}");
        }
    }
    let log = |stage: &str| fs::read_to_string(artifact(&report, stage).join("loss.jsonl")).unwrap();
    assert_ne!(log("coarse-1"), log("fine-1"));
    let text = fs::read_to_string(artifact(&report, "importance").join("report.txt")).unwrap();
    assert!(text.contains("heads") && text.contains("mean importance of units"), "{text}");

    let refuse = |arguments: &[&str], said: &[&str]| refused(metier(folder.path()).args(arguments), said);
    let train = ["train", "from=shards-sorting", "model=base", "steps=2", "context=32"];
    let with = |more: &[&'static str]| [&train[..], more].concat();
    refuse(&with(&["soft_mask=importance", "adapter.method=lora"]), &["no weight that is trained has units"]);
    refuse(&with(&["adapter.method=full", "adapter.blocks=[8]"]), &["the model has no block 8", "from 0 to 7"]);
    let near = ["adapter.method=full", "adapter.targets=[\"up_porj\"]"];
    refuse(&with(&near), &["the model has no layer `up_porj`", "did you mean `up_proj`?"]);
    let other = ["train", "from=shards-sorting", "model=new", "steps=2", "context=32", "adapter.method=full"];
    refuse(&[&other[..], &["soft_mask=importance"]].concat(), &["the importances are those of another model"]);
    let dropout = ["importance", "from=shards", "model=base", "dropout=0"];
    refuse(&dropout, &["dropout", "every importance is 0"]);
}

#[test]
fn a_killed_run_with_a_soft_mask_ends_with_the_same_bytes() {
    let run = |folder: &Path, more: &[&str]| {
        let mut command = metier(folder);
        command.arg("run").arg(recipe()).args(["--tiny", "--set", "fine-1.checkpoint_every=1"]).args(more);
        command
    };
    let names = assert_kills_change_nothing(run, &["importance", "fine-1"], 6);
    for name in ["importance/importance.safetensors", "fine-1/loss.jsonl", "fine-1/model/model.safetensors"] {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
    }
}
