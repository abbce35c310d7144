//! From a model, and from a single token, back to documents and licenses.

use crate::command::{artifact, fine, json, metier, refused, tiny_run};
use metier_core::seed::Seed;
use metier_tokenizer::pack::Shards;
use std::io::Read;

#[test]
fn the_chain_of_a_model_names_every_document_and_license() {
    let folder = tempfile::tempdir().unwrap();
    let report = json(&fine(&mut tiny_run(folder.path(), &["--json", "--quiet"])));
    let text = fine(metier(folder.path()).args(["why", "specialist"]));
    let text = String::from_utf8(text.stdout).unwrap();
    let why = json(&fine(metier(folder.path()).args(["why", "specialist", "--json"])));
    let shards = Shards::open(artifact(&report, "shards")).unwrap();
    assert_eq!(why["documents"].as_array().unwrap().len(), shards.documents().len());
    for document in shards.documents() {
        assert!(text.contains(&document.id) && text.contains(&document.license), "{text}");
        assert!(!document.license.is_empty());
    }
    for stage in [
        "export `specialist`",
        "train `training`",
        "pack `shards`",
        "curate `documents`",
        "asset `smollm2`",
        "asset `rfc`",
        "Apache-2.0",
    ] {
        assert!(text.contains(stage), "{stage} is not in\n{text}");
    }
}

#[test]
fn a_hundred_random_tokens_lead_to_the_bytes_they_stand_for() {
    let folder = tempfile::tempdir().unwrap();
    let report = json(&fine(&mut tiny_run(folder.path(), &["--json", "--quiet"])));
    let shards = Shards::open(artifact(&report, "shards")).unwrap();
    let model = metier_testkit::fixture("models/tiny-llama.gguf");
    let tokenizer = metier_model::checkpoint::Checkpoint::open(&model).unwrap().tokenizer;
    let mut random = Seed::new(100).at(0);
    let mut ends = 0;
    for round in 0..100 {
        let shard = random.below(shards.shard_tokens().len() as u64) as u32;
        let offset = random.below(shards.shard_tokens()[shard as usize]);
        let id = shards.read_shard(shard, offset..offset + 1).unwrap()[0];
        let place = format!("{shard}:{offset}");
        let found = if round < 10 {
            json(&fine(metier(folder.path()).args(["why", "specialist", "--json", "--token", &place])))
        } else {
            let origin = shards.locate(shard, offset).unwrap();
            let range = |range: &std::ops::Range<usize>| serde_json::json!({ "start": range.start, "end": range.end });
            serde_json::json!({
                "id": origin.id, "source": origin.source, "license": origin.license,
                "source_bytes": origin.source_bytes.as_ref().map(range),
            })
        };
        assert_eq!(found["id"], id);
        assert!(!found["license"].as_str().unwrap().is_empty());
        if Some(id) == shards.end_of_document() {
            ends += 1;
            continue;
        }
        let path = metier_testkit::fixture("corpora/tiny").join(found["source"].as_str().unwrap());
        let mut source = Vec::new();
        let file = std::fs::File::open(&path).unwrap();
        if path.extension().is_some_and(|ending| ending == "gz") {
            flate2::read::MultiGzDecoder::new(file).read_to_end(&mut source).unwrap();
        } else {
            std::io::BufReader::new(file).read_to_end(&mut source).unwrap();
        }
        let at = |key: &str| found["source_bytes"][key].as_u64().unwrap() as usize;
        let span = &source[at("start")..at("end")];
        let bytes = tokenizer.bytes_of(id).unwrap();
        // A token across a page break covers the break in the source: its ends still agree.
        let whole = span == bytes;
        let around =
            span.starts_with(&bytes[..1]) && span.ends_with(&bytes[bytes.len() - 1..]) && span.len() > bytes.len();
        assert!(
            whole || around,
            "{place}: {:?} is not {:?}",
            String::from_utf8_lossy(span),
            String::from_utf8_lossy(&bytes)
        );
    }
    assert!(ends < 20, "{ends} of 100 tokens end a document");
    let alone = json(&fine(metier(folder.path()).args(["why", "--json", "--token", "0:7"])));
    assert_eq!(alone, json(&fine(metier(folder.path()).args(["why", "shards", "--json", "--token", "0:7"]))));
    refused(metier(folder.path()).arg("why"), &["ARTIFACT"]);
    refused(metier(folder.path()).args(["why", "specialist", "--token", "0:99999999"]), &["99999999"]);
    refused(metier(folder.path()).args(["why", "specialist", "--token", "nonsense"]), &["0:12345"]);
}

#[test]
fn a_stage_from_the_command_line_leads_back_to_the_folder_it_read() {
    let folder = tempfile::tempdir().unwrap();
    let notes = metier_testkit::fixture("corpora/tiny");
    let model = metier_testkit::fixture("models/tiny-llama.gguf");
    let from = format!("from={}", notes.display());
    fine(metier(folder.path()).args(["curate", &from, "license=MIT"]));
    let tokenizer = format!("tokenizer={}", model.display());
    fine(metier(folder.path()).args(["pack", "from=curate", &tokenizer]));
    refused(metier(folder.path()).args(["why", "curate", "--token", "0:7"]), &["curate: no token shards are among"]);
    let text = String::from_utf8(fine(metier(folder.path()).args(["why", "pack"])).stdout).unwrap();
    for part in ["pack `pack`", "curate `curate`", "corpora/tiny", "MIT"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    fine(metier(folder.path()).args(["curate", &from, "license=MIT", "select.fraction=0.5"]));
    fine(metier(folder.path()).args(["pack", "from=curate", &tokenizer]));
    let many = &["store: more than one set of token shards is in the store", "name one of: "];
    refused(metier(folder.path()).args(["why", "--token", "0:7"]), many);
}
