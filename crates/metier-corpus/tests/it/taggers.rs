//! Taggers against Dolma's own, and the reader of fastText's files against fastText.

use metier_corpus::fasttext::{Model, Predictor};
use metier_corpus::layout::Layout;
use metier_corpus::tag::{Span, dolma};
use metier_testkit::{fixture, repository};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Word borders come from another version of Unicode than Dolma's: only these taggers may differ, in few documents.
const BORDERS: &str = "uniseg";

/// Spans as Dolma groups them: by type, in the order they were given.
type Spans = Vec<(String, usize, usize, f64)>;

fn sorted(mut spans: Spans) -> Spans {
    spans.sort_by(|a, b| a.0.cmp(&b.0));
    spans
}

fn expected(value: &Value) -> Spans {
    let span = |span: &Value| {
        let number = |at: usize| span[at].as_u64().expect("an offset") as usize;
        (span[2].as_str().expect("a type").to_owned(), number(0), number(1), span[3].as_f64().expect("a score"))
    };
    sorted(value.as_array().expect("spans").iter().map(span).collect())
}

struct Taggers {
    layout: Layout,
    all: Vec<(String, Vec<String>, Box<dyn metier_corpus::tag::Tagger>)>,
}

impl Taggers {
    fn new() -> Self {
        let all = dolma().expect("all can be built");
        let all = all.iter().map(|part| (part.name(), part.kinds(), part.start())).collect();
        Self { layout: Layout::default(), all }
    }

    fn say(&mut self, text: &str) -> BTreeMap<String, Spans> {
        self.layout.set(text);
        let layout = &self.layout;
        let named =
            |kinds: &[String], span: &Span| (kinds[usize::from(span.kind)].clone(), span.start, span.end, span.score);
        self.all
            .iter_mut()
            .map(|(name, kinds, tagger)| {
                let mut spans = Vec::new();
                tagger.tag(layout, &mut spans);
                (name.clone(), sorted(spans.iter().map(|span| named(kinds, span)).collect()))
            })
            .collect()
    }
}

fn same(own: &Spans, theirs: &Spans) -> bool {
    own.len() == theirs.len()
        && own.iter().zip(theirs).all(|(a, b)| (&a.0, a.1, a.2) == (&b.0, b.1, b.2) && (a.3 - b.3).abs() <= 1e-9)
}

fn golden(name: &str) -> Value {
    let path = repository().join("crates/metier-corpus/tests/golden").join(name);
    serde_json::from_slice(&std::fs::read(&path).expect("a golden")).expect("a golden is JSON")
}

#[test]
fn hard_cases_and_code_have_the_spans_that_dolma_gives_them() {
    let (texts, code) = (golden("dolma_tags.json"), golden("dolma_code.json"));
    let mut taggers = Taggers::new();
    let mut faults = Vec::new();
    for case in [&texts, &code].iter().flat_map(|golden| golden["cases"].as_array().expect("cases")) {
        let text = case["text"].as_str().expect("a text");
        for (name, own) in taggers.say(text) {
            let theirs = &case["spans"][&name];
            // Dolma fails on this text, or it is of the other file.
            if theirs.is_null() {
                continue;
            }
            let theirs = expected(theirs);
            if !same(&own, &theirs) {
                faults.push(format!("{name} of {text:?}\n  own    {own:?}\n  theirs {theirs:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// The documents that the script cuts a file into.
fn pieces(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a corpus");
    text.split('\n').collect::<Vec<_>>().chunks(40).map(|lines| lines.join("\n")).collect()
}

#[test]
fn the_corpora_have_the_spans_that_dolma_gives_them() {
    let golden = golden("dolma_tags.json");
    let mut files: Vec<PathBuf> = std::fs::read_dir(fixture("corpora/general"))
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    let mut taggers = Taggers::new();
    let mut digests: BTreeMap<String, Sha256> = BTreeMap::new();
    let mut documents = 0;
    for text in files.iter().step_by(4).flat_map(|file| pieces(file)) {
        documents += 1;
        for (name, spans) in taggers.say(&text) {
            let digest = digests.entry(name).or_default();
            for (kind, start, end, score) in spans {
                digest.update(format!("{start} {end} {kind} {score:.5}\n"));
            }
        }
    }
    assert_eq!(golden["corpora"]["documents"].as_u64(), Some(documents));
    let hex = |digest: Sha256| digest.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    // Of code there is a golden of its own.
    digests.retain(|name, _| !name.starts_with("code_"));
    for (name, digest) in digests {
        assert_eq!(golden["corpora"]["sha256"][&name].as_str(), Some(hex(digest).as_str()), "{name}");
    }
}

/// Compares what `fixtures/reference/dolma_tags.py --full` wrote, where it was run.
#[test]
fn dolma_full() {
    let Some(folder) = std::env::var_os("METIER_DOLMA_SPANS").map(PathBuf::from) else { return };
    let lines = |name: &str| BufReader::new(std::fs::File::open(folder.join(name)).expect("a file")).lines();
    let mut taggers = Taggers::new();
    let (mut documents, mut compared, mut faults) = (0, 0, BTreeMap::<String, usize>::new());
    for (document, answer) in lines("documents.jsonl").zip(lines("spans.jsonl")) {
        let (Ok(document), Ok(answer)) = (
            serde_json::from_str::<Value>(&document.expect("a line")),
            serde_json::from_str::<Value>(&answer.expect("a line")),
        ) else {
            break;
        };
        documents += 1;
        let text = document["text"].as_str().expect("a text");
        for (name, own) in taggers.say(text) {
            if answer[&name].is_null() {
                continue;
            }
            let theirs = expected(&answer[&name]);
            compared += theirs.len();
            if !same(&own, &theirs) {
                let count = faults.entry(name.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    let odd = own.iter().zip(&theirs).find(|(a, b)| a != b);
                    println!("{name}, document {documents}: {odd:?}, {} and {} spans", own.len(), theirs.len());
                }
            }
        }
    }
    println!("{documents} documents, {compared} spans; differ: {faults:?}");
    assert!(faults.keys().all(|name| name.starts_with(BORDERS)), "{faults:?}");
}

fn compare(predictor: &mut Predictor, labels: &[String], case: &Value) {
    let text = case["text"].as_str().expect("a text");
    let theirs = case["labels"].as_array().expect("labels");
    let own = predictor.predict(text, 0.0);
    assert_eq!(own.len(), theirs.len(), "{text}");
    for theirs in theirs {
        let own = own.iter().find(|own| theirs[0].as_str() == Some(&labels[own.label])).expect("a label");
        let score = theirs[1].as_f64().expect("a score");
        assert!((f64::from(own.score) - score).abs() < 2e-5, "{text}: {own:?} {score}");
    }
    if let (Some(own), Some(theirs)) = (own.first(), theirs.first()) {
        assert_eq!(theirs[0].as_str(), Some(labels[own.label].as_str()), "{text}");
    }
}

#[test]
fn labels_are_those_that_fasttext_gives() {
    let golden = golden("fasttext.json");
    for name in ["language.bin", "language.ftz"] {
        let model = Arc::new(Model::read(&fixture("models").join(name)).expect("a model"));
        let mut predictor = Predictor::new(Arc::clone(&model));
        for case in golden[name].as_array().expect("cases") {
            compare(&mut predictor, model.labels(), case);
        }
    }
}

/// Compares what `fixtures/reference/fasttext_labels.py MODEL OUT LIST...` wrote, where it was run.
#[test]
fn fasttext_full() {
    let (Some(model), Some(labels)) =
        (std::env::var_os("METIER_FASTTEXT_MODEL"), std::env::var_os("METIER_FASTTEXT_LABELS"))
    else {
        return;
    };
    let model = Arc::new(Model::read(Path::new(&model)).expect("a model"));
    let mut predictor = Predictor::new(Arc::clone(&model));
    let mut count = 0;
    for line in BufReader::new(std::fs::File::open(labels).expect("a file")).lines() {
        compare(&mut predictor, model.labels(), &serde_json::from_str(&line.expect("a line")).expect("JSON"));
        count += 1;
    }
    println!("{count} lines have fastText's labels");
}

#[test]
fn a_broken_model_is_refused() {
    let bytes = std::fs::read(fixture("models/language.ftz")).expect("a model");
    let folder = metier_testkit::scratch("fasttext");
    let path = folder.path().join("broken.ftz");
    for cut in (0..bytes.len()).step_by(97) {
        std::fs::write(&path, &bytes[..cut]).expect("a file");
        assert!(Model::read(&path).is_err(), "{cut} bytes");
    }
    for at in (8..600.min(bytes.len())).step_by(3) {
        let mut broken = bytes.clone();
        broken[at] = 0xff;
        std::fs::write(&path, &broken).expect("a file");
        // It may still be a model; it must not panic, nor when it is used.
        if let Ok(model) = Model::read(&path) {
            Predictor::new(Arc::new(model)).predict("the king of the land", 0.0);
        }
    }
}
