//! Models whose tokens see both sides: what they compute, and what is refused of them.

use super::tiny::{Bytes, config, decoder};
use metier_compute::Tape;
use metier_core::Error;
use metier_core::seam::{Embed, Generate, GenerateRequest, Prompt, Sampling, Score, ScoreRequest};
use metier_model::config::IS_CAUSAL;
use metier_model::decode::Session;
use metier_model::{Config, Decoder, LocalModel};
use serde_json::json;
use std::ops::Range;
use std::sync::Arc;

fn both_sides() -> Config {
    let mut config = config();
    config.design.causal = false;
    config
}

fn hidden(decoder: &Decoder, ids: &[u32], sequences: &[Range<usize>]) -> Vec<u32> {
    let positions: Vec<u32> = sequences.iter().flat_map(|rows| 0..rows.len() as u32).collect();
    let mut tape = Tape::inference(&decoder.parameters);
    let hidden = decoder.hidden(&mut tape, ids, &positions, sequences).unwrap();
    tape.value(hidden).unwrap().data().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_token_sees_what_is_behind_it_and_no_other_text() {
    let (both, causal) = (decoder(&both_sides(), 5), decoder(&config(), 5));
    assert!(!both.is_causal() && causal.is_causal());
    let (text, changed) = ([7, 8, 9, 10], [7, 8, 9, 99]);
    let first = |decoder: &Decoder, ids: &[u32]| hidden(decoder, ids, &[0..4])[..16].to_vec();
    assert_ne!(first(&both, &text), first(&both, &changed));
    assert_eq!(first(&causal, &text), first(&causal, &changed));
    // The last token sees the same in both.
    assert_ne!(hidden(&both, &text, &[0..4]), hidden(&causal, &text, &[0..4]));
    let together = hidden(&both, &[7, 8, 9, 10, 3, 4], &[0..4, 4..6]);
    assert_eq!(together, [hidden(&both, &text, &[0..4]), hidden(&both, &[3, 4], &[0..2])].concat());
}

#[test]
fn the_configuration_says_it() {
    let written = both_sides().to_json();
    assert_eq!(written[IS_CAUSAL], json!(false));
    assert!(!Config::from_json(&written).unwrap().design.causal);
    assert!(config().to_json().get(IS_CAUSAL).is_none());
    let mut document = written;
    document[IS_CAUSAL] = json!("yes");
    let text = Config::from_json(&document).unwrap_err().to_string();
    assert!(text.contains("config.json: is_causal") && text.contains("truth value"), "{text}");
}

#[test]
fn what_predicts_the_next_token_is_refused() {
    let model = LocalModel::new(decoder(&both_sides(), 5), Arc::new(Bytes { begin: true })).unwrap();
    let request = GenerateRequest {
        prompt: Prompt::Text("ab".into()),
        max_tokens: Some(2),
        stop: vec![],
        sampling: Sampling::default(),
        top_logprobs: 0,
    };
    let told = |error: Error, what: &str| {
        let text = error.to_string();
        assert_eq!(error.faults.len(), 1, "{text}");
        assert_eq!(error.faults[0].place.key.as_deref(), Some("config.json: is_causal"), "{text}");
        assert!(text.contains(what) && error.faults[0].hint.as_ref().unwrap().contains("metier embed"), "{text}");
    };
    told(model.generate(std::slice::from_ref(&request)).unwrap_err(), "a reply");
    told(model.beam_search(&request, 2, 1.0).unwrap_err(), "a reply");
    told(model.contrastive_search(&request, 0.5, 2).unwrap_err(), "a reply");
    let score = ScoreRequest { context: "a".into(), continuation: "b".into() };
    told(model.score(&[score]).unwrap_err(), "the probability of a continuation");
    told(Session::new(model.decoder()).feed(&[1, 2]).unwrap_err(), "a cache of keys");
    let embedded = model.embed(&["ab", "a longer text"]).unwrap();
    assert_eq!((embedded[0].tokens, embedded[1].tokens), (3, 14));
    let alone = model.embed(&["a longer text"]).unwrap();
    assert_eq!(embedded[1].vector, alone[0].vector);
}
