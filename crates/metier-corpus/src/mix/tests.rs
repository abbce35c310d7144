//! Dolma's mixer: the same documents, byte for byte, and the traps that are not copied; and curated documents.

use super::{MixReport, MixSettings, Preset, Replace, Source, StreamReport, Syntax, mix, mix_config};
use crate::document_file::{DROPPED, HELD_OUT, HELD_OUT_ATTRIBUTES, TRAIN, TRAIN_ATTRIBUTES, read_documents};
use metier_core::Place;
use metier_core::data::{Document, Piece, Pieces};
use metier_core::progress::{Mode, Progress, set_mode};
use metier_testkit::{Scratch, scratch};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::path::Path;

fn run(config: &Path, allow_missing: bool) -> metier_core::Result<Vec<StreamReport>> {
    set_mode(Mode::Silent);
    mix_config(config, allow_missing, false, &Progress::new("documents", None, "documents"))
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder can be made");
    std::fs::write(path, bytes).expect("a file can be written");
}

fn unzip(path: &Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("it was written");
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("it is whole");
    text
}

#[test]
fn all_configurations_give_the_bytes_of_dolma() {
    let golden: Value =
        serde_json::from_str(include_str!("../../tests/golden/dolma_mixer.json")).expect("the golden is JSON");
    let folder = scratch("mixer");
    let root = folder.path().to_string_lossy().into_owned();
    for (name, text) in golden["files"].as_object().expect("files") {
        write(&folder.path().join(name), text.as_str().expect("text").as_bytes());
    }
    let cases = golden["cases"].as_array().expect("cases");
    assert!(cases.len() >= 30);
    for case in cases {
        let stream = &case["stream"];
        let name = stream["name"].as_str().unwrap();
        let config = folder.path().join(format!("{name}.json"));
        let text = json!({ "streams": [stream], "processes": 1, "work_dir": { "input": "a", "output": "b" } });
        write(&config, text.to_string().replace("ROOT", &root).as_bytes());
        let report = run(&config, false).unwrap_or_else(|error| panic!("{name}: {error}"));
        let StreamReport { read, kept, dropped, written, skipped, .. } = &report[0];
        assert_eq!(Value::from(*kept), case["kept"], "{name}");
        assert_eq!(*read, kept + dropped.values().sum::<u64>(), "{name}");
        let outputs = case["sha256"].as_object().expect("hashes");
        assert_eq!((*written, *skipped), (outputs.len() as u64, 0), "{name}");
        for (output, hash) in outputs {
            let path = folder.path().join(format!("out/{name}/{output}.jsonl.gz"));
            let bytes = unzip(&path);
            let own = crate::read::hex(&Sha256::digest(bytes.as_bytes()));
            assert_eq!(Value::from(own), *hash, "{name}/{output}");
        }
        // What is there stays.
        assert_eq!(run(&config, false).expect("it ran before")[0].skipped, outputs.len() as u64, "{name}");
    }
}

/// A folder with two documents, and a configuration for them.
fn small(exclude: &str) -> (Scratch, std::path::PathBuf) {
    let folder = scratch("small");
    let documents = "{\"id\":\"a\",\"text\":\"one\"}\n{\"id\":\"b\",\"text\":\"two\"}\n";
    let attributes = "{\"id\":\"a\",\"attributes\":{\"exp__gopher_v1__word_count\":[[0,3,1.0]]}}\n\
        {\"id\":\"b\",\"attributes\":{\"exp__gopher_v1__word_count\":[[0,3,2.0]]}}\n";
    write(&folder.path().join("documents/a.jsonl"), documents.as_bytes());
    write(&folder.path().join("attributes/exp/a.jsonl"), attributes.as_bytes());
    let root = folder.path().display();
    let config = folder.path().join("mixer.yaml");
    let text = format!(
        "streams:\n  - name: s   # a comment\n    documents:\n      - {root}/documents/*.jsonl\n    attributes: [exp]\n    output:\n      \
         path: {root}/out\n      max_size_in_bytes: 1_000_000\n    filter:\n      include: []\n      exclude:\n        - \"{exclude}\"\nprocesses: 8\n"
    );
    write(&config, text.as_bytes());
    (folder, config)
}

const SHORT: &str = "$.attributes[?(@.exp__gopher_v1__word_count[0][2] < 1.5)]";

#[test]
fn a_yaml_configuration_runs_unchanged() {
    let (folder, config) = small(SHORT);
    let report = run(&config, false).expect("it is right");
    assert_eq!((report[0].read, report[0].kept), (2, 1));
    assert_eq!(report[0].dropped[SHORT], 1);
    let text = unzip(&folder.path().join("out/s-0000.jsonl.gz"));
    let expected = "{\"attributes\":{\"exp__gopher_v1__word_count\":[[0,3,2.0]]},\"id\":\"b\",\"metadata\":{\"provenance\":\"a.jsonl:2\"},\"text\":\"two\"}\n";
    assert_eq!(text, expected);
    // Without shuffling, each file keeps its name.
    let text = std::fs::read_to_string(&config).expect("it was written");
    write(&config, format!("{text}shuffle: false\n").as_bytes());
    run(&config, false).expect("it is right");
    assert_eq!(std::fs::read_to_string(folder.path().join("out/documents/a.jsonl")).expect("written"), expected);
}

#[test]
fn faults_of_a_configuration_have_line_and_key_and_come_together() {
    let (folder, config) = small("$.attributes[?(@.x <");
    let said = run(&config, false).unwrap_err().to_string();
    assert!(said.contains("mixer.yaml:12:11: streams[0].filter.exclude[0]: character 21"), "{said}");

    let text = std::fs::read_to_string(&config).expect("it was written");
    let more = text
        .replace("attributes: [exp]", "attributes: [exp, nope]")
        .replace("path:", "discard_fields: [text]\n      path:");
    write(&config, more.as_bytes());
    let said = run(&config, false).unwrap_err();
    assert_eq!(said.faults.len(), 3, "{said}");

    for (from, to, expected) in [
        ("processes: 8", "processors: 8", "unknown field `processors`"),
        ("filter:", "filters:", "unknown field `filters`"),
        ("1_000_000", "much", "a whole number"),
        ("*.jsonl", "*.gone", "no file fits any pattern"),
        ("- /", "- s3://", "is not on this machine"),
        ("name: s", "name: ${oc.env:METIER_NOT_SET}", "2:11: the environment has no variable"),
        ("name: s", "name: ${resolve}", "is not understood"),
    ] {
        write(&config, text.replace("[?(@.x <", "").replace(from, to).as_bytes());
        let said = run(&config, false).unwrap_err().to_string();
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!said.contains(" at line "), "the place is said once: {said}");
    }
    assert!(!folder.path().join("out").exists());
}

/// In the configurations of Dolma v1.5 a rule names `...2gram` where the tagger writes `...2grams`, and never fires.
#[test]
fn a_rule_on_an_attribute_that_no_document_has_is_refused() {
    let (folder, config) = small("$.attributes[?(@.exp__gopher_v1__word_counts[0][2] < 1.5)]");
    let said = run(&config, false).unwrap_err().to_string();
    assert!(
        said.contains("streams[0].filter.exclude[0]: no document has an attribute `exp__gopher_v1__word_counts`"),
        "{said}"
    );
    assert!(said.contains("did you mean `exp__gopher_v1__word_count`?"), "{said}");
    assert!(!folder.path().join("out").exists());
    assert_eq!(run(&config, true).expect("it may be missing")[0].kept, 2);
    // What the same tagger would give for other documents is known.
    let (_folder, config) = small("$.attributes[?(@.exp__gopher_v1__symbol_to_word_ratio[0][2] > 0.1)]");
    assert_eq!(run(&config, false).expect("a tagger gives it")[0].kept, 2);
}

/// Dolma's mixer ends a file silently where it cannot be read on, and only warns of lines that are missing.
#[test]
fn broken_files_are_errors_and_leave_nothing() {
    let line = "{\"id\":\"c\",\"text\":\"three\"}\n";
    for (name, text, expected) in [
        ("documents/a.jsonl", line.repeat(2), "attributes/exp/a.jsonl:1:1: this is said of \"a\""),
        (
            "documents/a.jsonl",
            "{\"id\":\"a\",\"text\":\"one\"}\n".into(),
            "a.jsonl:2:1: there are more lines than documents",
        ),
        (
            "attributes/exp/a.jsonl",
            "{\"id\":\"a\",\"attributes\":{\"exp__gopher_v1__word_count\":[]}}\n".into(),
            "a.jsonl:2:1: there are fewer",
        ),
        (
            "documents/a.jsonl",
            "{\"id\":\"a\",\"text\":\"one\"}\n{\"id\":\"b\",\"text\":\n".into(),
            "documents/a.jsonl:2:",
        ),
        (
            "documents/a.jsonl",
            "{\"id\":\"a\",\"text\":\"one\"}\n{\"id\":\"b\"}\n".into(),
            "documents/a.jsonl:2:1: the document has no text",
        ),
    ] {
        let (folder, config) = small(SHORT);
        write(&folder.path().join(name), text.as_bytes());
        let said = run(&config, false).unwrap_err().to_string();
        assert!(said.contains(expected), "{expected}: {said}");
        let left = std::fs::read_dir(folder.path().join("out")).expect("the folder was made").count();
        assert_eq!(left, 0, "{expected}");
    }
    // A gzip that was cut off.
    let (folder, config) = small(SHORT);
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zipped.write_all(&std::fs::read(folder.path().join("documents/a.jsonl")).expect("written")).expect("memory");
    let zipped = zipped.finish().expect("memory");
    write(&folder.path().join("documents/b.jsonl.gz"), &zipped[..zipped.len() - 9]);
    let attributes = std::fs::read(folder.path().join("attributes/exp/a.jsonl")).expect("written");
    let mut beside = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    beside.write_all(&attributes).expect("memory");
    write(&folder.path().join("attributes/exp/b.jsonl.gz"), &beside.finish().expect("memory"));
    let text = std::fs::read_to_string(&config).expect("written").replace("*.jsonl", "*.gz");
    write(&config, text.as_bytes());
    let said = run(&config, false).unwrap_err().to_string();
    assert!(said.contains("b.jsonl.gz"), "{said}");
}

#[test]
fn files_compressed_by_zstd_are_read_and_written() {
    let (folder, config) = small(SHORT);
    for name in ["documents/a.jsonl", "attributes/exp/a.jsonl"] {
        let path = folder.path().join(name);
        let packed = zstd::encode_all(&*std::fs::read(&path).expect("written"), 1).expect("memory");
        std::fs::remove_file(&path).expect("it is there");
        write(&path.with_extension("jsonl.zst"), &packed);
    }
    let text = std::fs::read_to_string(&config).expect("written").replace("*.jsonl", "*.zst");
    let with = |input: &str| {
        let compression = format!("    compression: {{ input: {input} }}\n    documents:");
        write(&config, format!("{}shuffle: false\n", text.replace("    documents:", &compression)).as_bytes());
        run(&config, false)
    };
    let said = with("gz").unwrap_err().to_string();
    assert!(said.contains("documents/a.jsonl.zst says otherwise") && said.contains(".bz2, .gz or .zst"), "{said}");
    let said = with("lzma").unwrap_err().to_string();
    assert!(said.contains("`lzma` is no compression that is known here\n  hint: write `bz2`, `gz` or `zst`"), "{said}");
    assert_eq!(with("zst").expect("it is right")[0].kept, 1);
    let out = std::fs::File::open(folder.path().join("out/documents/a.jsonl.zst")).expect("written");
    let line = String::from_utf8(zstd::decode_all(out).expect("it is whole")).expect("it is text");
    assert!(line.contains("\"id\":\"b\"") && line.lines().count() == 1, "{line}");
}

/// A curated folder of 300 documents to learn from and one held out. Document 280 has no text, if it is `broken`.
fn curated(folder: &Path, broken: bool) {
    let (mut documents, mut attributes) = (String::new(), String::new());
    let line = |number: usize| {
        let text = format!("document {number} of them, mail");
        let mut document = json!(Document {
            id: format!("d{number}"),
            source: "a.txt".into(),
            source_sha256: String::new(),
            license: "MIT".into(),
            pieces: Pieces::whole(text.len()),
            partial: Vec::new(),
            metadata: metier_core::data::Metadata::new(),
            text,
        });
        if broken && number == 280 {
            document["text"] = Value::Null;
        }
        let length = document["text"].as_str().map_or(0, str::len);
        let said = json!({ "id": document["id"], "attributes": {
            "gopher_v1__gopher_v1__word_count": [[0, length, (number % 100) as f64]],
            "mail": [[length.saturating_sub(4), length, 0.7]],
        }});
        (format!("{document}\n"), format!("{said}\n"))
    };
    for number in 0..300 {
        let (document, said) = line(number);
        documents.push_str(&document);
        attributes.push_str(&said);
    }
    write(&folder.join(TRAIN), documents.as_bytes());
    write(&folder.join(TRAIN_ATTRIBUTES), attributes.as_bytes());
    let (document, said) = line(360);
    write(&folder.join(HELD_OUT), document.as_bytes());
    write(&folder.join(HELD_OUT_ATTRIBUTES), said.as_bytes());
}

fn settings() -> MixSettings {
    MixSettings {
        exclude: vec!["$.attributes[?(@.gopher_v1__gopher_v1__word_count[0][2] < 50)]".into()],
        show_dropped: 2,
        ..MixSettings::default()
    }
}

fn choose(settings: &MixSettings, source: Source, out: &Path) -> metier_core::Result<MixReport> {
    set_mode(Mode::Silent);
    let rules = settings.rules(|key| Place::key(key))?;
    mix(settings, &rules, source, out, &Progress::new("documents", None, "documents"))
}

const WRITTEN: [&str; 5] = [TRAIN, HELD_OUT, DROPPED, TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES];

#[test]
fn curated_documents_are_chosen_and_an_interrupted_call_goes_on() {
    let (folder, whole, again) = (scratch("curated"), scratch("whole"), scratch("again"));
    curated(folder.path(), false);
    let settings = settings();
    let report = choose(&settings, Source::Curated(folder.path()), whole.path()).unwrap();
    assert_eq!((report.read, report.documents), (301, [150, 1]));
    let rules = settings.rules(|key| Place::key(key)).unwrap();
    assert_eq!(report.dropped(&rules).into_values().collect::<Vec<_>>(), [150]);
    let samples = report.samples(&rules).unwrap();
    assert_eq!(samples.lines().count(), 3, "{samples}");
    assert!(samples.contains("d1 (gopher_v1__gopher_v1__word_count 1.0): document 1 of them"), "{samples}");
    let text = |out: &Scratch, name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    let (before, after) = (text(&folder, TRAIN), text(&whole, TRAIN));
    assert_eq!(after, before.split_inclusive('\n').filter(|line| after.contains(*line)).collect::<String>());
    assert_eq!(text(&whole, TRAIN_ATTRIBUTES).lines().count(), 150);
    assert!(text(&folder, TRAIN_ATTRIBUTES).contains(text(&whole, TRAIN_ATTRIBUTES).lines().nth(149).unwrap()));
    assert_eq!(text(&whole, DROPPED).lines().count(), 150);

    curated(folder.path(), true);
    let said = choose(&settings, Source::Curated(folder.path()), again.path()).unwrap_err().to_string();
    assert!(said.contains("train.jsonl:281:1: the document has no text"), "{said}");
    assert!(again.path().join("scratch/state.json").exists());
    curated(folder.path(), false);
    assert_eq!(choose(&settings, Source::Curated(folder.path()), again.path()).unwrap(), report);
    for file in WRITTEN {
        assert_eq!(text(&whole, file), text(&again, file), "{file}");
    }
}

#[test]
fn what_is_put_in_stands_in_no_source() {
    let (folder, out) = (scratch("curated"), scratch("out"));
    curated(folder.path(), false);
    let replace = |minimum_score| Replace {
        span: ".attributes.mail".into(),
        with: "[{}]".into(),
        minimum_score,
        maximum_score: None,
    };
    let settings = MixSettings {
        syntax: Syntax::Jq,
        replace: vec![replace(Some(0.7)), replace(Some(0.8))],
        ..MixSettings::default()
    };
    let report = choose(&settings, Source::Curated(folder.path()), out.path()).unwrap();
    assert_eq!((report.documents, report.changed), ([300, 1], 301));
    let first = read_documents(&out.path().join(TRAIN)).unwrap().next().unwrap().unwrap();
    assert_eq!(first.text, "document 0 of them, [mail]");
    assert_eq!(first.pieces, Pieces(vec![Piece { start: 0, source: 0, length: 20 }]));
    assert!(!out.path().join(TRAIN_ATTRIBUTES).exists());
}

#[test]
fn a_folder_in_the_layout_of_dolma_is_read() {
    let (folder, _) = small(SHORT);
    let out = scratch("out");
    let exclude = vec![SHORT.to_owned()];
    let settings = MixSettings { exclude, minimum_text_length: 3, show_dropped: 1, ..MixSettings::default() };
    let report = choose(&settings, Source::Dolma(folder.path(), "ODC-BY"), out.path()).unwrap();
    assert_eq!((report.read, report.documents), (2, [1, 0]));
    let first = read_documents(&out.path().join(TRAIN)).unwrap().next().unwrap().unwrap();
    assert_eq!((first.id.as_str(), first.source.as_str(), first.license.as_str()), ("b", "a.jsonl:2", "ODC-BY"));
    let said = choose(&settings, Source::Dolma(&folder.path().join("documents"), ""), out.path()).unwrap_err();
    assert!(said.to_string().contains("has no folder `documents`"), "{said}");
}

#[test]
fn settings_that_cannot_be_met_are_refused() {
    let (folder, out) = (scratch("curated"), scratch("out"));
    curated(folder.path(), false);
    let refused =
        |settings: MixSettings| choose(&settings, Source::Curated(folder.path()), out.path()).unwrap_err().to_string();
    assert!(refused(MixSettings::default()).contains("no rule is given"));
    let both = MixSettings { include: vec!["$.".into()], exclude: vec!["$[".into()], ..MixSettings::default() };
    assert_eq!(refused(both).matches("of the expression").count(), 2);
    let unknown = MixSettings { include: vec!["$.attributes.mails".into()], ..MixSettings::default() };
    assert!(refused(unknown).contains("did you mean `mail`?"));
    // The rules of PII need a tagger that said nothing of these documents.
    assert!(
        refused(MixSettings { preset: vec![Preset::DolmaV1_5], ..MixSettings::default() }).contains("EMAIL_ADDRESS")
    );
    let nothing = MixSettings { minimum_text_length: 1000, ..MixSettings::default() };
    assert!(refused(nothing).contains("301 has fewer than 1000 bytes of text"));
}
