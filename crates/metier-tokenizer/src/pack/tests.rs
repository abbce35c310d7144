use super::*;
use crate::scheme::{ByteLevelBpe, HuggingFace, TokenKind};
use metier_core::data::{Document, Pieces};
use metier_core::seam::Tokenize;
use metier_core::seed::Seed;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The bytes, a few merges and an end-of-text token.
fn tokenizer() -> HuggingFace {
    let mut tokens: Vec<String> =
        (0..=255).map(|byte| crate::scheme::alphabet::character_of(byte).to_string()).collect();
    let merges: Vec<String> = ["t h", "th e", "Ġ the", "i n", "e r", "a n", "Ġ a"].map(str::to_owned).to_vec();
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut kinds = vec![TokenKind::Normal; tokens.len()];
    tokens.push("<|endoftext|>".to_owned());
    kinds.push(TokenKind::Control);
    let vocabulary = ByteLevelBpe { tokens, kinds, merges, pre: "smollm".to_owned() };
    HuggingFace::from_json(&vocabulary.to_json().unwrap()).unwrap()
}

/// Documents whose texts are their sources without every line that begins with `#`.
fn documents(count: usize) -> Vec<(Document, String)> {
    (0..count)
        .map(|number| {
            let mut source = String::new();
            let mut kept = Vec::new();
            for line in 0..number * 7 % 40 {
                let from = source.len();
                if line % 5 == 3 {
                    writeln!(source, "# page {line}").unwrap();
                } else {
                    writeln!(source, "{number}. the other line {line}: naïve 日本 <|endoftext|> 🎈").unwrap();
                    kept.push(from..source.len());
                }
            }
            let text = kept.iter().map(|range| &source[range.clone()]).collect();
            let pieces = Pieces::whole(source.len()).keep(&kept);
            let document = Document {
                id: format!("document-{number}"),
                text,
                source: format!("folder/{number}.txt"),
                source_sha256: "0".repeat(64),
                license: "CC0-1.0".to_owned(),
                pieces,
                partial: Vec::new(),
                metadata: metier_core::data::Metadata::new(),
            };
            (document, source)
        })
        .collect()
}

fn pack_into(folder: &Path, count: usize, settings: &PackSettings) -> (Vec<(Document, String)>, Shards) {
    let documents = documents(count);
    let given = documents.iter().map(|(document, _)| Ok(document.clone()));
    let summary = pack(given, &tokenizer(), settings, folder).unwrap();
    let shards = Shards::open(folder).unwrap();
    assert_eq!(shards.summary(), summary);
    (documents, shards)
}

#[test]
fn a_hundred_random_tokens_lead_back_to_their_sources() {
    let folder = metier_testkit::scratch("pack");
    let settings = PackSettings { shard_tokens: 4000, ..PackSettings::default() };
    let (documents, shards) = pack_into(folder.path(), 60, &settings);
    shards.verify().unwrap();
    let tokenizer = tokenizer();
    shards.check_tokenizer(&tokenizer).unwrap();
    assert!(shards.shard_tokens().len() > 3);
    let end = tokenizer.id_of("<|endoftext|>").unwrap();
    for draw in 0..100 {
        let mut random = Seed::new(3).at(draw);
        let shard = random.below(shards.shard_tokens().len() as u64) as u32;
        let offset = random.below(shards.shard_tokens()[shard as usize]);
        let origin = shards.locate(shard, offset).unwrap();
        let (document, source) = documents.iter().find(|(document, _)| document.id == origin.document).unwrap();
        assert_eq!((&origin.source, &origin.license), (&document.source, &document.license));
        if origin.id == end {
            assert_eq!(origin.text, document.text.len()..document.text.len());
            assert_eq!(origin.source_bytes, None);
        } else {
            let bytes = tokenizer.bytes_of(origin.id).unwrap();
            assert_eq!(&document.text.as_bytes()[origin.text.clone()], bytes);
            let from = origin.source_bytes.unwrap();
            if from.len() == bytes.len() {
                assert_eq!(&source.as_bytes()[from], bytes);
            }
        }
        let range = shards.ranges_of(&origin.document).unwrap().remove(0);
        assert!(range.shard == shard && range.offsets.contains(&offset));
    }
}

#[test]
fn documents_are_read_back_whole() {
    let folder = metier_testkit::scratch("pack");
    let settings = PackSettings { shard_tokens: 500, ..PackSettings::default() };
    let (documents, shards) = pack_into(folder.path(), 20, &settings);
    let tokenizer = tokenizer();
    for (index, (document, _)) in documents.iter().enumerate() {
        let entry = &shards.documents()[index];
        assert_eq!(entry.id, document.id);
        let ids = shards.read(index, 0..entry.tokens()).unwrap();
        let plain = tokenizer.encode(&[&document.text], false).unwrap().remove(0);
        assert_eq!(ids[..ids.len() - 1], plain.ids);
        assert_eq!(ids.last().copied(), shards.end_of_document());
        let special = tokenizer.decode(&ids, true).unwrap();
        assert_eq!(special, document.text.clone() + "<|endoftext|>");
    }
    assert_eq!(shards.tokens(), shards.documents().iter().map(DocumentEntry::tokens).sum::<u64>());
    let error = shards.read(1, 0..9999).unwrap_err().to_string();
    assert!(error.contains("document-1") && error.contains("0..9999"), "{error}");
    assert!(shards.read(99, 0..1).unwrap_err().to_string().contains("holds 20"));
    assert!(shards.locate(0, 1 << 40).unwrap_err().to_string().contains("shard-00000.tokens"));
    assert!(shards.locate(77, 0).unwrap_err().to_string().contains("no shard 77"));
    let error = shards.ranges_of("documnet-3").unwrap_err().to_string();
    assert!(error.contains("did you mean `document-3`?"), "{error}");
}

#[test]
fn without_an_end_token_and_with_wide_ids() {
    let folder = metier_testkit::scratch("pack");
    let settings = PackSettings { end_of_document: false, ..PackSettings::default() };
    let (documents, shards) = pack_into(folder.path(), 5, &settings);
    assert_eq!(shards.end_of_document(), None);
    assert_eq!(shards.documents()[0].tokens(), 0);
    assert_eq!(shards.locate(0, 0).unwrap().document, documents[1].0.id);
    let twice = metier_testkit::scratch("pack");
    pack_into(twice.path(), 5, &settings);
    for file in ["shard-00000.tokens", "shard-00000.spans", "documents.jsonl", "pack.json"] {
        assert_eq!(fs::read(folder.path().join(file)).unwrap(), fs::read(twice.path().join(file)).unwrap(), "{file}");
    }
}

#[test]
fn a_begin_token_stands_before_every_document_and_points_to_no_byte() {
    let folder = metier_testkit::scratch("pack");
    let settings = PackSettings { begin_of_document: true, ..PackSettings::default() };
    let given = || documents(3).into_iter().map(|(document, _)| Ok(document));
    let error = pack(given(), &tokenizer(), &settings, folder.path()).unwrap_err().to_string();
    assert!(error.contains("begin_of_document: the tokenizer has no begin-of-text token"), "{error}");
    let end = tokenizer().id_of("<|endoftext|>");
    let tokenizer = tokenizer().with_begin(end);
    pack(given(), &tokenizer, &settings, folder.path()).unwrap();
    let shards = Shards::open(folder.path()).unwrap();
    shards.verify().unwrap();
    for entry in shards.documents() {
        let first = shards.locate(entry.shard, entry.start).unwrap();
        assert_eq!((Some(first.id), first.text, first.source_bytes), (end, 0..0, None));
    }
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let folder = metier_testkit::scratch("pack");
    let settings = PackSettings::default();
    let none = pack(std::iter::empty(), &tokenizer(), &settings, folder.path()).unwrap_err().to_string();
    assert!(none.contains("the corpus holds no document"), "{none}");
    assert!(Shards::open(folder.path()).is_err_and(|error| error.to_string().contains("pack.json")));
    let (document, _) = documents(2).remove(1);
    let twice = [Ok(document.clone()), Ok(document)];
    let error = pack(twice.into_iter(), &tokenizer(), &settings, folder.path()).unwrap_err().to_string();
    assert!(error.contains("document-1: two documents have this id"), "{error}");
    let corpus = metier_testkit::scratch("corpus");
    corpus.file("documents.jsonl", "precious");
    let error = pack(std::iter::empty(), &tokenizer(), &settings, corpus.path()).unwrap_err().to_string();
    assert!(error.contains("would be overwritten"), "{error}");
    assert_eq!(fs::read_to_string(corpus.path().join("documents.jsonl")).unwrap(), "precious");
}

#[test]
fn another_tokenizer_is_refused() {
    let folder = metier_testkit::scratch("pack");
    let (_, shards) = pack_into(folder.path(), 3, &PackSettings::default());
    let json = ByteLevelBpe {
        tokens: (0..=255).map(|byte| crate::scheme::alphabet::character_of(byte).to_string()).collect(),
        pre: "gpt-2".to_owned(),
        ..ByteLevelBpe::default()
    };
    let other = HuggingFace::from_json(&json.to_json().unwrap()).unwrap();
    let error = shards.check_tokenizer(&other).unwrap_err().to_string();
    assert!(error.contains("264 ids") && error.contains("256 ids"), "{error}");
}

#[test]
fn damaged_files_are_named() {
    let folder = metier_testkit::scratch("pack");
    pack_into(folder.path(), 12, &PackSettings { shard_tokens: 300, ..PackSettings::default() });
    let names: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() > 6);
    for name in &names {
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            let error = Shards::open(folder.path()).err();
            // The last byte of `pack.json` is a line break.
            if name != "pack.json" || cut + 1 < whole.len() {
                let error = error.expect(name).to_string();
                assert!(error.contains(name.as_str()), "{name} cut to {cut}: {error}");
            }
        }
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        fs::write(&path, &changed).unwrap();
        let found = Shards::open(folder.path()).and_then(|shards| shards.verify());
        assert!(found.is_err() || name == "pack.json", "{name} changed");
        fs::write(&path, &whole).unwrap();
    }
    Shards::open(folder.path()).unwrap().verify().unwrap();
    fs::remove_file(folder.path().join("shard-00001.spans")).unwrap();
    fs::remove_file(folder.path().join("shard-00000.tokens")).unwrap();
    assert_eq!(Shards::open(folder.path()).err().unwrap().faults.len(), 2);
}
