//! Every bad input of the first issue: a clear message with its place, exit code 2, and a store that still works.

use crate::command::{RECIPE, fine, json, metier, quickstart, refused, talk};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The tiny model with four notes to learn from.
pub struct Project(tempfile::TempDir);

impl Project {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("notes")).unwrap();
        for number in 0..4 {
            let words: Vec<String> = (0..200).map(|word| format!("note {number} word {word}. ")).collect();
            std::fs::write(folder.path().join(format!("notes/{number}.txt")), words.concat()).unwrap();
        }
        std::fs::copy(metier_testkit::fixture("models/tiny-llama.gguf"), folder.path().join("model.gguf")).unwrap();
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn recipe(&self, change: impl Fn(&str) -> String) -> PathBuf {
        let path = self.path().join("recipe.toml");
        let text = change(RECIPE);
        assert!(text != RECIPE || change("x") == "x", "the change changes nothing");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The verb on [`RECIPE`], changed.
    pub fn run(&self, verb: &str, change: impl Fn(&str) -> String) -> Command {
        let mut command = metier(self.path());
        command.arg(verb).arg(self.recipe(change));
        command
    }

    /// The store is as good as before: the unchanged recipe runs in it.
    fn store_works(&self) {
        fine(&mut self.run("run", str::to_owned));
        fine(metier(self.path()).args(["list", "artifacts"]));
    }
}

fn line_of(text: &str, needle: &str) -> usize {
    text.lines().position(|line| line.contains(needle)).unwrap() + 1
}

#[test]
fn an_unknown_key_a_wrong_type_and_a_misspelt_method_name_their_lines() {
    let project = Project::new();
    let change = |text: &str| text.replace("steps = 2", "stepz = 2");
    let line = line_of(&change(RECIPE), "stepz");
    refused(&mut project.run("run", change), &[&format!("recipe.toml:{line}:1:"), "stepz", "did you mean `steps`?"]);

    // A key of a part or of an input is known too: neither is lost among the stage's own settings.
    for (right, wrong) in [("select = {", "selct = {"), ("tokenizer = \"model\"", "tokenizre = \"model\"")] {
        let change = |text: &str| text.replace(right, wrong);
        let line = line_of(&change(RECIPE), wrong);
        let near = right.split(' ').next().unwrap();
        refused(
            &mut project.run("run", change),
            &[&format!("recipe.toml:{line}:1:"), "unknown key", &format!("did you mean `{near}`?")],
        );
    }
    let change = |text: &str| text.replace("steps = 2", "zzz = 2");
    let said = refused(&mut project.run("run", change), &["unknown key `zzz`", "known: "]);
    for key in ["from", "model", "adapter", "schedule", "steps"] {
        assert!(said.contains(key), "`{key}` is a key of training and not in: {said}");
    }

    let change = |text: &str| text.replace("steps = 2", "steps = \"two\"");
    let line = line_of(&change(RECIPE), "\"two\"");
    refused(&mut project.run("run", change), &[&format!("recipe.toml:{line}:"), "steps", "whole number"]);

    let change = |text: &str| text.replace("method = \"hold_out\"", "method = \"holdout\"");
    let line = line_of(&change(RECIPE), "holdout");
    refused(
        &mut project.run("run", change),
        &[&format!("recipe.toml:{line}:"), "`holdout`", "did you mean `hold_out`?"],
    );
    project.store_works();
}

#[test]
fn a_part_without_a_method_is_the_default_one() {
    let project = Project::new();
    let change = |text: &str| text.replace("method = \"hold_out\", fraction = 0.5", "fraction = 0.5");
    let ids = |command: &mut Command| {
        let report = json(&fine(command.arg("--json")));
        crate::command::artifact(&report, "documents")
    };
    let implied = ids(&mut project.run("run", change));
    let named = ids(&mut project.run("run", str::to_owned));
    assert_eq!(implied, named);

    let change = |text: &str| text.replace("method = \"hold_out\", fraction = 0.5", "fractoin = 0.5");
    let line = line_of(&change(RECIPE), "fractoin");
    refused(&mut project.run("run", change), &[&format!("recipe.toml:{line}:"), "did you mean `fraction`?"]);
    let change = |text: &str| text.replace("select = {", "filter = [{ minimum = 3 }]\nselect = {");
    let line = line_of(&change(RECIPE), "filter");
    refused(&mut project.run("run", change), &[&format!("recipe.toml:{line}:"), "no `method` names the filter"]);
}

#[test]
fn five_planted_faults_are_five_faults_each_with_its_line() {
    let project = Project::new();
    let change = |text: &str| {
        text.replace("steps = 2", "stepz = 2")
            .replace("context = 32", "context = \"wide\"")
            .replace("method = \"hold_out\"", "method = \"holdout\"")
            .replace("tokenizer = \"model\"", "tokenizer = \"modle\"")
            .replace("do = \"export\"", "do = \"exprot\"")
    };
    let text = change(RECIPE);
    let output = project.run("check", change).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", talk(&output));
    let faults = json(&output);
    let faults = faults["faults"].as_array().unwrap();
    let mut lines: Vec<usize> = faults.iter().map(|fault| fault["line"].as_u64().unwrap() as usize).collect();
    lines.sort_unstable();
    let mut expected: Vec<usize> =
        ["stepz", "\"wide\"", "holdout", "modle", "exprot"].iter().map(|word| line_of(&text, word)).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected, "{}", talk(&output));
    assert!(talk(&output).contains("5 faults"));
}

#[test]
fn a_missing_file_is_named_with_where_it_was_looked_for() {
    let project = Project::new();
    let change = |text: &str| text.replace("path = \"notes\"", "path = \"nots\"");
    refused(&mut project.run("check", change), &["recipe.toml", "asset `notes`", "`nots` is not there"]);
    refused(metier(project.path()).args(["run", "nowhere.toml"]), &["nowhere.toml"]);
    refused(metier(project.path()).args(["run", "recipes.toml"]), &["recipes.toml", "did you mean `recipe.toml`?"]);
    project.store_works();
}

#[test]
fn cyclic_and_dangling_stages_are_refused() {
    let project = Project::new();
    let cycle = "\n[[stage]]\nname = \"one\"\ndo = \"export\"\nfrom = \"training\"\nmodel = \"two\"\n\n[[stage]]\nname = \"two\"\ndo = \"export\"\nfrom = \"training\"\nmodel = \"one\"\n";
    let said =
        refused(&mut project.run("check", |text| format!("{text}{cycle}")), &["recipe.toml:", "wait for each other"]);
    assert!(said.contains("one <- two <- one") || said.contains("two <- one <- two"), "{said}");
    let change = |text: &str| text.replace("from = \"documents\"", "from = \"document\"");
    let line = line_of(&change(RECIPE), "from = \"document\"");
    refused(
        &mut project.run("check", change),
        &[&format!("recipe.toml:{line}:"), "`document`", "did you mean `documents`?"],
    );
    let change = |text: &str| text.replace("from = \"documents\"", "from = \"notes\"");
    refused(&mut project.run("check", change), &["`from` wants documents", "`notes` is data"]);
}

#[test]
fn text_that_is_no_utf8_is_refused_with_its_position() {
    let project = Project::new();
    std::fs::write(project.path().join("notes/bad.txt"), b"first line\nsecond \xfe line").unwrap();
    refused(&mut project.run("run", str::to_owned), &["bad.txt:2:8", "byte 18"]);
    std::fs::remove_file(project.path().join("notes/bad.txt")).unwrap();
    std::fs::write(project.path().join("bad.toml"), b"[recipe]\ntitle = \"\xff\"").unwrap();
    refused(metier(project.path()).args(["check", "bad.toml"]), &["bad.toml:2"]);
    project.store_works();
}

#[test]
fn a_corpus_that_is_empty_or_loses_everything_is_refused() {
    let project = Project::new();
    let change = |text: &str| text.replace("include = [\"*.txt\"]", "include = [\"*.text\"]");
    refused(&mut project.run("run", change), &["notes", "empty", "*.text"]);
    let change =
        |text: &str| text.replace("select = {", "filter = [{ method = \"length\", minimum = 100000 }]\nselect = {");
    refused(&mut project.run("run", change), &["notes", "all 4 documents were dropped", "4 "]);
    project.store_works();
}

#[test]
fn truncated_models_are_refused_with_their_tensor() {
    let project = Project::new();
    let whole = std::fs::read(project.path().join("model.gguf")).unwrap();
    std::fs::write(project.path().join("model.gguf"), &whole[..whole.len() - 1]).unwrap();
    let cut = format!("the file has {}: it was cut", whole.len() - 1);
    let said =
        refused(&mut project.run("run", str::to_owned), &["model.gguf", ".weight: the tensor needs bytes", &cut]);
    assert_eq!(said.matches("the tensor needs bytes").count(), 1, "only the last tensor is cut: {said}");
    std::fs::write(project.path().join("model.gguf"), &whole[..40]).unwrap();
    refused(&mut project.run("run", str::to_owned), &["model.gguf", "at byte 16: 20 are announced", "24 bytes left"]);
    std::fs::write(project.path().join("model.gguf"), &whole).unwrap();
    project.store_works();

    let report = json(&fine(project.run("run", str::to_owned).arg("--json")));
    let exported = crate::command::artifact(&report, "specialist");
    let copy = project.path().join("exported");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&exported).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let weights = std::fs::read(copy.join("model.safetensors")).unwrap();
    std::fs::write(copy.join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let ask = |folder: &Path| {
        let mut command = metier(project.path());
        command.arg("generate").arg(folder).args(["--prompt", "x", "--max-tokens", "1"]);
        command
    };
    refused(&mut ask(&copy), &["model.safetensors", ".weight: the tensor needs bytes", "it was cut"]);

    std::fs::write(copy.join("model.safetensors"), &weights).unwrap();
    let config = std::fs::read_to_string(copy.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["vocab_size"] = serde_json::json!(config["vocab_size"].as_u64().unwrap() - 7);
    std::fs::write(copy.join("config.json"), config.to_string()).unwrap();
    let vocabulary = config["vocab_size"].as_u64().unwrap();
    refused(&mut ask(&copy), &["exported", "embed_tokens", &vocabulary.to_string(), &(vocabulary + 7).to_string()]);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let project = Project::new();
    let report = json(&fine(project.run("run", str::to_owned).arg("--json")));
    let exported = crate::command::artifact(&report, "specialist");
    let copy = project.path().join("other");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&exported).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let path = copy.join("tokenizer.json");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let merges = tokenizer["model"]["merges"].as_array_mut().unwrap();
    merges.swap(0, 1);
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    let other = |text: &str| {
        let asset = "[[asset]]\nname = \"other\"\nkind = \"model\"\nsources = [{ path = \"other\" }]\n\n[[stage]]\nname = \"shards\"";
        text.replace("[[stage]]\nname = \"shards\"", asset).replace("tokenizer = \"model\"", "tokenizer = \"other\"")
    };
    let shards = "these shards were packed with another tokenizer: ";
    refused(&mut project.run("run", other), &["store/artifacts/", shards, "pack the documents again"]);
    project.store_works();
}

#[test]
fn an_unwritable_store_is_refused_with_its_path() {
    let project = Project::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_metier"));
    command.current_dir(project.path()).args(["--offline", "--store", "model.gguf/store", "run"]);
    command.env("METIER_CACHE", project.path().join("cache"));
    let path = "model.gguf/store: cannot ";
    refused(command.arg(project.recipe(str::to_owned)), &[path]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_metier"));
    command.current_dir(project.path()).args(["--offline", "--store", "/proc/metier", "run"]);
    command.env("METIER_CACHE", project.path().join("cache"));
    refused(command.arg(project.recipe(str::to_owned)), &["/proc/metier: cannot "]);
}

#[test]
fn two_runs_on_one_store_are_refused() {
    let project = Project::new();
    let long = |text: &str| text.replace("steps = 2", "steps = 100000");
    let mut first = project.run("run", long);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !project.path().join("store/lock").exists() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(100));
    let second = project.run("run", str::to_owned).output().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let said = talk(&second);
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("store: the store is in use by process"), "{said}");
    project.store_works();
}

/// A small file system of its own, for one process: needs a kernel that lets this user make one.
fn on_a_full_disk(store: &Path, command: &str) -> Option<std::process::Output> {
    let script = format!(
        "mount -t tmpfs -o size=200k metier {0} && {command}; code=$?; ls {0} >&2; exit $code",
        store.display()
    );
    let plain = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().ok()?;
    let said = talk(&plain);
    if said.contains("unshare:") || said.contains("mount:") {
        eprintln!("skipped: no small file system can be mounted here: {said}");
        return None;
    }
    Some(plain)
}

#[test]
fn a_full_disk_is_said_and_leaves_the_store_as_it_was() {
    let project = Project::new();
    let store = project.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let recipe = project.recipe(|text| text.replace("\nsteps = 2", "\nadapter = { method = \"full\" }\nsteps = 2"));
    let command = format!(
        "METIER_CACHE={} {} --offline --store {} run {}",
        project.path().join("cache").display(),
        env!("CARGO_BIN_EXE_metier"),
        store.display(),
        recipe.display()
    );
    let Some(output) = on_a_full_disk(&store, &command) else { return };
    let said = talk(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("No space left") || said.contains("full"), "{said}");
    assert!(said.contains("store"), "{said}");
    project.store_works();
}

#[test]
fn set_wins_over_tiny_and_tiny_is_checked_without_being_asked_for() {
    let project = Project::new();
    let tiny = |text: &str| format!("{text}\n[tiny.stage]\ntraining = {{ steps = 1 }}\n");
    let mut command = project.run("check", tiny);
    refused(command.args(["--tiny", "--set", "training.steps=-5"]), &["--set", "steps", "-5"]);
    let mut command = project.run("plan", tiny);
    let plan = json(&fine(command.args(["--tiny", "--json", "--set", "training.steps=3"])));
    let training = plan["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "training").unwrap();
    assert_eq!(training["estimate"]["tokens"], 3 * 32);

    let wrong = |text: &str| format!("{text}\n[tiny.stage]\ntraining = {{ stepz = 1, name = \"x\" }}\n");
    let line = line_of(&wrong(RECIPE), "stepz");
    let place = format!("recipe.toml:{line}:");
    refused(&mut project.run("check", wrong), &[&place, "did you mean `steps`?", "a name cannot be changed"]);
    let fault = |set: &str, words: &[&str]| refused(project.run("check", str::to_owned).args(["--set", set]), words);
    fault("trainign.steps=3", &["no stage is called `trainign`", "did you mean `training`?"]);
    fault("training.name=x", &["a stage's name cannot be changed"]);
    fault("steps=3", &["write --set stage.key=value"]);
}

#[test]
fn absurd_sizes_are_refused_before_they_are_multiplied() {
    let project = Project::new();
    for (key, value) in
        [("context", "4611686018427387904"), ("sequences", "4000000000000"), ("steps", "9000000000000000000")]
    {
        let set = format!("training.{key}={value}");
        refused(project.run("plan", str::to_owned).args(["--set", &set]), &["--set", key, "at most"]);
    }
}

#[test]
fn names_that_cannot_be_written_elsewhere_are_refused() {
    let project = Project::new();
    for name in ["", "a/b", "a.b"] {
        let change = |text: &str| text.replace("name = \"specialist\"", &format!("name = \"{name}\""));
        let line = line_of(&change(RECIPE), &format!("name = \"{name}\""));
        let place = format!("recipe.toml:{line}:");
        refused(&mut project.run("check", change), &[&place, "is no name", "letters, digits"]);
    }
    let eval = |texts: &str| {
        let stage = format!("\n[[stage]]\nname = \"e\"\ndo = \"eval\"\nmodel = \"model\"\ntexts = {texts}\n");
        project.run("check", move |text| format!("{text}{stage}"))
    };
    refused(&mut eval("{}"), &["nothing to measure on"]);
    refused(&mut eval("{ \"a/b\" = \"documents\" }"), &["\"a/b\" is no name"]);
    fine(&mut eval("{ domain = \"documents\" }"));
}

#[test]
fn a_stage_from_the_command_line_takes_only_what_it_wants() {
    let project = Project::new();
    let ask = |arguments: &[&str]| {
        let mut command = metier(project.path());
        command.args(arguments);
        command
    };
    fine(&mut ask(&["curate", "from=notes"]));
    refused(
        &mut ask(&["train", "from=curate", "model=model.gguf"]),
        &["`from` wants shards, and `curate` is documents"],
    );
    refused(&mut ask(&["train", "from=notes", "model=model.gguf"]), &["notes", "no result of a stage", "shards"]);
    let both = &["pack", "from=curate", "tokenizer=curate"];
    refused(&mut ask(both), &["`tokenizer` wants a tokenizer, and `curate` is documents"]);
    fine(&mut ask(&["pack", "from=curate", "tokenizer=model.gguf"]));
}

#[test]
fn a_folder_with_its_own_store_inside_is_the_same_folder_afterwards() {
    let project = Project::new();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metier"));
        command.current_dir(project.path().join("notes")).args(["--offline", "curate", "from=.", "--json"]);
        json(&fine(command.env("METIER_CACHE", project.path().join("cache"))))
    };
    assert_eq!(run()["stages"][0]["reused"], false);
    assert!(project.path().join("notes/.metier").is_dir());
    assert_eq!(run()["stages"][0]["reused"], true);
}

#[test]
fn looking_changes_nothing_and_waits_for_nobody() {
    let project = Project::new();
    fine(&mut project.run("plan", str::to_owned));
    fine(project.run("run", str::to_owned).arg("--dry-run"));
    fine(metier(project.path()).arg("doctor"));
    assert!(!project.path().join("store").exists(), "a plan makes no store");
    let mut busy = project.run("run", |text| text.replace("steps = 2", "steps = 100000"));
    let mut busy = busy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !project.path().join("store/lock").exists() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let plan = project.run("plan", str::to_owned).output().unwrap();
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert!(plan.status.success(), "{}", talk(&plan));
}

#[test]
fn a_kernel_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    refused(metier(folder.path()).arg("list").env("METIER_KERNEL", "avx-2"), &["METIER_KERNEL", "`avx-2`", "portable"]);
    fine(metier(folder.path()).arg("list").env("METIER_KERNEL", "portable"));
}

#[test]
fn more_tokens_than_can_be_counted_are_refused() {
    let project = Project::new();
    let mut command = metier(project.path());
    command.args(["generate", "model.gguf", "--prompt", "x", "--max-tokens", "18446744073709551615"]);
    refused(&mut command, &["longer than the model's context of 256"]);
}

#[test]
fn a_closed_standard_error_is_no_panic() {
    let project = Project::new();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let failed = metier(project.path()).args(["check", "nowhere.toml"]).stderr(full()).status().unwrap();
    assert_eq!(failed.code(), Some(2));
    assert!(project.run("run", str::to_owned).stderr(full()).status().unwrap().success());
}

#[test]
fn generate_goes_on_with_its_own_replies_only() {
    let project = Project::new();
    let at = |name: &str| project.path().join(name);
    std::fs::write(at("a.jsonl"), "{\"id\":1,\"prompt\":\"one\"}\n{\"id\":2,\"prompt\":\"two\"}\n").unwrap();
    std::fs::write(at("b.jsonl"), "{\"prompt\":\"one\"}").unwrap();
    let ask = |input: &str, output: &str, more: &[&str]| {
        let mut command = metier(project.path());
        command.args(["generate", "model.gguf", "--max-tokens", "3", "--input", input, "--output", output]).args(more);
        command
    };
    fine(&mut ask("a.jsonl", "out.jsonl", &[]));
    let whole = std::fs::read(at("out.jsonl")).unwrap();
    assert_eq!(String::from_utf8_lossy(&whole).lines().count(), 2);
    for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let reply: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert!(reply["request"].is_string() && reply["text"].is_string() && reply["id"].is_u64(), "{reply}");
    }
    // Torn anywhere, it is made whole again.
    for length in [0, 1, 20, whole.len() / 2, whole.len() - 1, whole.len()] {
        std::fs::write(at("out.jsonl"), &whole[..length]).unwrap();
        fine(&mut ask("a.jsonl", "out.jsonl", &[]));
        assert_eq!(std::fs::read(at("out.jsonl")).unwrap(), whole, "torn at {length}");
    }
    let reason = "no result of this input by this model with these settings";
    refused(&mut ask("a.jsonl", "out.jsonl", &["--temperature", "1"]), &["out.jsonl:1:1", reason]);
    refused(&mut ask("b.jsonl", "out.jsonl", &[]), &["out.jsonl:1:1", reason]);
    std::fs::write(at("half.jsonl"), "{\"id\":1,\"prompt\":\"one\"}\n").unwrap();
    refused(&mut ask("half.jsonl", "out.jsonl", &[]), &["out.jsonl:2:1", "more lines than inputs"]);
    assert_eq!(std::fs::read(at("out.jsonl")).unwrap(), whole);
    // Files of the user's stay as they are, the prompts too.
    std::fs::write(at("precious"), "precious").unwrap();
    refused(&mut ask("b.jsonl", "precious", &[]), &["precious:1:1", "that is no result"]);
    assert_eq!(std::fs::read(at("precious")).unwrap(), b"precious");
    refused(&mut ask("b.jsonl", "b.jsonl", &[]), &["b.jsonl:1:1", "that is no result"]);
    refused(&mut ask("a.jsonl", "a.jsonl", &[]), &["a.jsonl:1:1", reason]);
    assert_eq!(std::fs::read(at("b.jsonl")).unwrap(), b"{\"prompt\":\"one\"}");
}

#[test]
fn a_chat_is_no_json() {
    let project = Project::new();
    let mut command = metier(project.path());
    refused(command.args(["chat", "model.gguf", "--json"]), &["--json", "generate"]);
}

#[test]
fn a_folder_of_recipes_is_checked_as_one() {
    let project = Project::new();
    let recipe = project.recipe(str::to_owned);
    let folder = project.path();
    let said = fine(metier(folder).args(["check", "."]));
    assert!(String::from_utf8_lossy(&said.stdout).contains("recipe.toml: no fault in 2 assets, 4 stages and 0 checks"));
    for name in ["b.toml", "a.toml"] {
        std::fs::write(folder.join(name), RECIPE.replace("steps = 2", "stepz = 2")).unwrap();
    }
    let faults = json(&metier(folder).args(["check", ".", "--json"]).output().unwrap());
    let files: Vec<_> = faults["faults"].as_array().unwrap().iter().map(|fault| fault["file"].clone()).collect();
    assert_eq!(files, ["./a.toml", "./b.toml"]);
    assert!(recipe.exists());
    refused(metier(folder).args(["check", "notes"]), &["notes", "holds no recipe"]);
}

#[test]
fn the_real_recipe_has_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let output = fine(metier(folder.path()).arg("check").arg(quickstart()));
    assert!(String::from_utf8_lossy(&output.stdout).contains("no fault in 3 assets, 8 stages and 3 checks"));
}

#[test]
fn prompts_that_do_not_fit_are_refused_with_both_lengths() {
    let project = Project::new();
    let prompt = "word ".repeat(3000);
    let mut command = metier(project.path());
    command.args(["generate", "model.gguf", "--max-tokens", "4", "--prompt", &prompt]);
    let said = refused(&mut command, &["256"]);
    let numbers = said.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<usize>().ok());
    assert!(numbers.max() > Some(3000), "the prompt's own length is not in: {said}");
    refused(metier(project.path()).args(["generate", "nothing.gguf", "--prompt", "x"]), &["nothing.gguf"]);
}
