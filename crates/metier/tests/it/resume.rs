//! A run that is killed at random moments ends with the same bytes as one that is left alone.

use crate::command::{RECIPE, artifact, fine, json, metier, tiny_run};
use metier_core::seed::Seed;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: u64 = 20;

/// The bytes of every file of the stages whose result must be the same.
fn results(report: &serde_json::Value, stages: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    for stage in stages {
        collect(&artifact(report, stage), stage, &mut out);
    }
    out
}

fn collect(folder: &Path, name: &str, out: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{name}/{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            collect(&path, &name, out);
        } else if !name.ends_with("/record.json") && !name.ends_with("/key.json") {
            out.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

/// Runs what `run` gives with more arguments in a folder of its own, to the end and then killed so often at random moments,
/// and expects the same files of the stages; gives their names.
pub fn assert_kills_change_nothing(
    run: impl Fn(&Path, &[&str]) -> Command,
    stages: &[&str],
    kills: u64,
) -> Vec<String> {
    let quiet = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let expected = results(&json(&fine(&mut run(quiet.path(), &["--json", "--quiet"]))), stages);
    let whole = began.elapsed();

    let folder = tempfile::tempdir().unwrap();
    let mut moments = Seed::new(20).derive("kill").at(0);
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills {
        assert!(rounds < 40 * kills, "only {killed} kills in {rounds} rounds");
        rounds += 1;
        let mut child = run(folder.path(), &["--quiet"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * 1.05 * moments.unit()));
        if child.try_wait().unwrap().is_some() {
            // It was faster than the moment: begin again, so that every kill finds work to interrupt.
            std::fs::remove_dir_all(folder.path().join("store")).unwrap();
            continue;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
    }
    let found = results(&json(&fine(&mut run(folder.path(), &["--json", "--quiet"]))), stages);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{name} differs after {killed} kills");
    }
    expected.into_keys().collect()
}

#[test]
fn twenty_kills_at_random_moments_change_no_byte() {
    let names = assert_kills_change_nothing(tiny_run, &["training", "specialist", "after"], KILLS);
    for name in ["specialist/model.safetensors", "after/report.json"] {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
    }
}

#[test]
fn kills_while_a_vocabulary_is_learned_change_no_byte() {
    for (learn, kills) in [
        ("method = \"bpe\", vocabulary_size = 3000", KILLS),
        ("method = \"unigram\", vocabulary_size = 500, seed_pieces = 1000", KILLS / 4),
        ("method = \"word_piece\", vocabulary_size = 1000", KILLS / 4),
    ] {
        assert_learned_the_same(learn, kills);
    }
}

fn assert_learned_the_same(learn: &str, kills: u64) {
    let (head, _) = RECIPE.split_once("[[stage]]\nname = \"shards\"").unwrap();
    let stage =
        format!("[[stage]]\nname = \"words\"\ndo = \"tokenizer\"\nfrom = \"documents\"\nlearn = {{ {learn} }}\n");
    let run = |folder: &Path, more: &[&str]| {
        let notes = folder.join("notes");
        std::fs::create_dir_all(&notes).unwrap();
        let mut letters = Seed::new(6).derive("letters").at(0);
        for number in 0..24 {
            let text: String = (0..40_000)
                .map(|_| {
                    if letters.unit() < 0.2 {
                        ' '
                    } else {
                        char::from(b'a' + (letters.unit() * letters.unit() * 26.0) as u8)
                    }
                })
                .collect();
            std::fs::write(notes.join(format!("{number}.txt")), text).unwrap();
        }
        std::fs::copy(metier_testkit::fixture("models/tiny-llama.gguf"), folder.join("model.gguf")).unwrap();
        std::fs::write(folder.join("recipe.toml"), format!("{head}{stage}")).unwrap();
        let mut command = metier(folder);
        command.args(["run", "recipe.toml"]).args(more);
        command
    };
    assert_eq!(assert_kills_change_nothing(run, &["words"], kills), ["words/tokenizer.json"]);
}
