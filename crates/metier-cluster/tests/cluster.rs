//! One scheduler and two executors on this machine give the documents that one process gives, also when one is killed.
//!
//! Needs the command: `METIER=target/debug/metier cargo test`, as `cargo xtask cluster` runs it.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const CLUSTER: &str = env!("CARGO_BIN_EXE_metier-cluster");

/// Numbers that a seed decides (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn text(&mut self, words: u64) -> String {
        let mut out = String::new();
        for place in 0..words {
            let letter = |number: u64| char::from(b'a' + (number % 26) as u8);
            let word = self.next();
            let _ = write!(out, "{}{}{}", letter(word), letter(word >> 8), letter(word >> 16));
            out.push_str(if place % 17 == 16 { ".\n" } else { " " });
        }
        out
    }
}

/// Files with copies, near copies, short documents, lines that are none, and addresses.
fn corpus(folder: &Path, files: u64, lines: u64) {
    std::fs::create_dir_all(folder.join("deep")).unwrap();
    let mut random = Random(7);
    let mut kept: Vec<String> = Vec::new();
    for file in 0..files {
        let mut out = String::new();
        for line in 0..lines {
            let text = match line % 10 {
                2 if !kept.is_empty() => kept[random.next() as usize % kept.len()].clone(),
                3 if !kept.is_empty() => kept[random.next() as usize % kept.len()].replacen(' ', " and ", 1),
                4 => random.text(5),
                5 => {
                    out.push_str("no document\n");
                    continue;
                }
                6 => format!("{}Write to someone@example.org.\n", random.text(80)),
                _ => random.text(150),
            };
            if line % 10 == 7 {
                kept.push(text.clone());
            }
            // Some ids are the file's and the line's.
            let id = if line % 3 == 0 { format!("\"id\":\"{file}-{line}\",") } else { String::new() };
            let _ = writeln!(out, "{{{id}\"text\":{}}}", serde_json::to_string(&text).unwrap());
        }
        match file % 3 {
            0 => std::fs::write(folder.join(format!("{file:03}.jsonl")), out).unwrap(),
            number => {
                let below = if number == 1 { folder.to_owned() } else { folder.join("deep") };
                let made = std::fs::File::create(below.join(format!("{file:03}.jsonl.gz"))).unwrap();
                let mut made = GzEncoder::new(made, Compression::fast());
                made.write_all(out.as_bytes()).unwrap();
                made.finish().unwrap();
            }
        }
    }
    let item = |text: &str| format!("{{\"question\":{}}}\n", serde_json::to_string(text).unwrap());
    let asked = [
        item(&kept[0]),
        item(&kept[1][..200]),
        item("which of these words is in no document of the corpus at all, ever?"),
    ];
    std::fs::write(folder.join("asked.json"), asked.concat()).unwrap();
}

/// A recipe of one stage with a part of each kind.
fn recipe(folder: &Path, invalid: &str) -> PathBuf {
    let text = format!(
        r#"[recipe]
title = "Documents"
source = "a test"
claim = "none"

[[asset]]
name = "lines"
kind = "data"
license = "CC0-1.0"
sources = [{{ path = "corpus" }}]

[[stage]]
name = "documents"
do = "curate"
from = "lines"
read = {{ method = "jsonl", invalid = "{invalid}" }}
filter = [{{ method = "length", minimum = 60 }}, {{ method = "decontaminate", against = ["{}"] }}]
tag = [{{ method = "c4" }}, {{ method = "gopher" }}, {{ method = "pii" }}, {{ method = "length" }}]
dedup = [{{ method = "exact" }}, {{ method = "minhash", threshold = 0.8 }}]
select = {{ method = "hold_out", fraction = 0.1 }}
"#,
        folder.join("corpus/asked.json").display()
    );
    let path = folder.join(format!("{invalid}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Cluster {
    address: String,
    _scheduler: Process,
    executors: Vec<Process>,
}

impl Cluster {
    fn start() -> Self {
        let address = format!("127.0.0.1:{}", port());
        let start =
            |arguments: &[&str]| Process(Command::new(CLUSTER).args(arguments).stdout(Stdio::null()).spawn().unwrap());
        let scheduler = start(&["scheduler", "--bind", &address, "--patience", "10"]);
        let executor = |_| start(&["executor", "--scheduler", &address, "--threads", "1"]);
        let executors = (0..2).map(executor).collect();
        Self { address, _scheduler: scheduler, executors }
    }
}

fn command(recipe: &Path, store: &Path, cluster: Option<&str>) -> Command {
    let metier = std::env::var_os("METIER").expect("METIER names the command; run `cargo xtask cluster`");
    let mut command = Command::new(metier);
    command.arg("run").arg(recipe).arg("--store").arg(store).arg("--json");
    if let Some(address) = cluster {
        command.args(["--cluster", address]);
    }
    let folder = Path::new(CLUSTER).parent().unwrap().to_path_buf();
    let listed = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&listed))).unwrap();
    command.env("PATH", path).current_dir(recipe.parent().unwrap());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a run made: each file of the stage's artifact, and its counts and figures.
fn made(store: &Path, output: &Output) -> Vec<(String, Vec<u8>)> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let mut out = Vec::new();
    let folder = store.join("artifacts");
    let artifact = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    for entry in std::fs::read_dir(artifact).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        if name == "record.json" {
            let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            out.push((name, format!("{} {} {}", record["counts"], record["figures"], record["id"]).into_bytes()));
        } else if name != "key.json" {
            // That says when; what it is the key of is in the record.
            out.push((name, bytes));
        }
    }
    out.sort();
    out
}

fn assert_same(one: &[(String, Vec<u8>)], other: &[(String, Vec<u8>)]) {
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    assert!(names(one).iter().any(|name| name == "train.jsonl"), "{:?}", names(one));
    for ((name, one), (_, other)) in one.iter().zip(other) {
        assert!(one == other, "{name}: {} and {} bytes", one.len(), other.len());
    }
}

/// Waits until documents have come back from the cluster.
fn wait_for_documents(store: &Path, run: &mut Process) {
    let since = Instant::now();
    let written = || {
        let found = std::fs::read_dir(store.join("work")).into_iter().flatten().flatten();
        found.map(|work| std::fs::metadata(work.path().join("scratch/ids")).map_or(0, |known| known.len())).sum::<u64>()
    };
    while written() == 0 {
        assert!(since.elapsed() < Duration::from_mins(2), "no document came");
        assert!(run.0.try_wait().unwrap().is_none(), "the run ended before a document was seen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn output(mut run: Process) -> Output {
    let read = |pipe: Option<&mut dyn std::io::Read>| {
        let mut bytes = Vec::new();
        pipe.unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let stderr = run.0.stderr.take();
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut stderr.unwrap(), &mut bytes).unwrap();
        bytes
    });
    let stdout = read(run.0.stdout.as_mut().map(|pipe| pipe as &mut dyn std::io::Read));
    Output { status: run.0.wait().unwrap(), stdout, stderr: errors.join().unwrap() }
}

#[test]
fn a_cluster_gives_the_same_documents_also_when_an_executor_or_the_run_is_killed() {
    let folder = std::env::temp_dir().join(format!("metier-cluster-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    corpus(&folder.join("corpus"), 120, 1000);
    let recipe = recipe(&folder, "skip");
    let store = |name: &str| folder.join(name);
    let alone = command(&recipe, &store("alone"), None).output().unwrap();
    let alone = made(&store("alone"), &alone);
    let dropped = String::from_utf8(alone.iter().find(|(name, _)| name == "dropped.jsonl").unwrap().1.clone()).unwrap();
    for reason in ["fewer than 60", "no document in the line", "holds an item", "exact duplicate", "near duplicate"] {
        assert!(dropped.contains(reason), "{reason}");
    }

    let mut cluster = Cluster::start();
    let together = command(&recipe, &store("together"), Some(&cluster.address)).output().unwrap();
    assert_same(&alone, &made(&store("together"), &together));

    // The run itself is killed, and goes on.
    let mut run = Process(command(&recipe, &store("resumed"), Some(&cluster.address)).spawn().unwrap());
    wait_for_documents(&store("resumed"), &mut run);
    drop(run);
    let resumed = command(&recipe, &store("resumed"), Some(&cluster.address)).output().unwrap();
    assert_same(&alone, &made(&store("resumed"), &resumed));

    // An executor is killed while it works.
    let mut run = Process(command(&recipe, &store("killed"), Some(&cluster.address)).spawn().unwrap());
    wait_for_documents(&store("killed"), &mut run);
    drop(cluster.executors.pop());
    assert!(run.0.try_wait().unwrap().is_none(), "the executor was killed too late");
    assert_same(&alone, &made(&store("killed"), &output(run)));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn faults_are_those_of_one_machine() {
    let folder = std::env::temp_dir().join(format!("metier-cluster-faults-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    corpus(&folder.join("corpus"), 6, 40);
    let recipe = recipe(&folder, "refuse");
    let errors = |cluster: Option<&str>, store: &str| {
        let output = command(&recipe, &folder.join(store), cluster).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        said["faults"].clone()
    };
    let cluster = Cluster::start();
    let (alone, together) = (errors(None, "alone"), errors(Some(&cluster.address), "together"));
    assert_eq!(alone[0]["line"], 6);
    for key in ["line", "column", "key", "message", "hint"] {
        assert_eq!(alone[0][key], together[0][key], "{key}");
    }
    let nobody = errors(Some(&format!("127.0.0.1:{}", port())), "nobody");
    assert!(nobody[0]["message"].as_str().unwrap().contains("gave no answer"), "{nobody}");
    assert!(nobody[0]["hint"].as_str().unwrap().contains("scheduler"), "{nobody}");
    std::fs::remove_dir_all(&folder).unwrap();
}
