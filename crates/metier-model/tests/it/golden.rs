//! Whole models against `fixtures/reference/smollm2_logits.py`: weights, positions, every block, the head.

use metier_compute::{Tape, op};
use metier_core::seam::{Generate, GenerateRequest, Prompt, Sampling, Score, ScoreRequest};
use metier_model::checkpoint::Checkpoint;
use metier_model::decode::Session;
use metier_model::{Decoder, LocalModel};
use metier_testkit::{asset, fixture, golden};
use std::path::Path;
use std::time::Instant;

fn ids_of(value: &serde_json::Value) -> Vec<u32> {
    golden::ids(value)
}

/// Log-probability of `ids[1..]` as the decoder sees it.
fn log_probability(decoder: &Decoder, ids: &[u32]) -> f64 {
    let rows = ids.len() - 1;
    let positions: Vec<u32> = (0..rows as u32).collect();
    let mut tape = Tape::inference(&decoder.parameters);
    let hidden = decoder.hidden(&mut tape, &ids[..rows], &positions, &[0..rows]).unwrap();
    let all = op::head_log_probabilities(tape.value(hidden).unwrap(), decoder.head(), &ids[1..]).unwrap();
    all.iter().map(|(log_probability, _)| f64::from(*log_probability)).sum()
}

fn check(path: &Path, name: &str) {
    let golden = golden::read(name);
    let checkpoint = Checkpoint::open(path).unwrap();
    let decoder = Decoder::from_checkpoint(&checkpoint).unwrap();
    let indices = ids_of(&golden["indices"]);
    let mut worst = 0.0_f32;
    for (number, case) in golden["prompts"].as_array().unwrap().iter().enumerate() {
        let ids = ids_of(&case["ids"]);
        let mut session = Session::new(&decoder).unwrap();
        let mut logits = session.feed(&ids).unwrap();
        for (index, expected) in indices.iter().zip(golden::numbers(&case["logits"])) {
            worst = worst.max((logits[*index as usize] - expected).abs());
        }
        assert!(worst <= 1e-3, "{name}, prompt {number}: logits differ by {worst}");
        let expected = case["log_probability"].as_f64().unwrap();
        if ids.len() > 1 {
            let scored = log_probability(&decoder, &ids);
            let tolerance = 1e-3 * ids.len() as f64;
            assert!((scored - expected).abs() <= tolerance, "{name}, prompt {number}: {scored} against {expected}");
        }
        let certain = case["greedy_smallest_margin"].as_f64().is_some_and(|margin| margin > 2e-3);
        if certain {
            for expected in ids_of(&case["greedy"]) {
                let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32;
                assert_eq!(best, expected, "{name}, prompt {number}: greedy reply");
                logits = session.feed(&[best]).unwrap();
            }
        }
    }
    eprintln!("{name}: logits differ by at most {worst:e}");
}

#[test]
fn a_tiny_llama_gives_the_logits_of_transformers() {
    check(&fixture("models/tiny-llama.gguf"), "golden/tiny_llama_logits.json");
}

#[test]
fn smollm2_gives_the_logits_of_transformers() {
    let Some(path) = asset("smollm2") else { return };
    check(&path, "golden/smollm2_logits.json");
}

#[test]
fn smollm2_scores_and_replies_through_the_seams() {
    let Some(path) = asset("smollm2") else { return };
    let checkpoint = Checkpoint::open(&path).unwrap();
    let decoder = Decoder::from_checkpoint(&checkpoint).unwrap();
    let model = LocalModel::new(decoder, checkpoint.tokenizer.clone())
        .unwrap()
        .with_end_ids(checkpoint.special_tokens.ends.clone());
    let text = metier_testkit::corpus::prose(1, 12_000);
    let windows: Vec<ScoreRequest> = text
        .as_bytes()
        .chunks(1500)
        .map(|window| ScoreRequest {
            context: String::new(),
            continuation: String::from_utf8_lossy(window).into_owned(),
        })
        .collect();
    let start = Instant::now();
    let scored = model.score(&windows).unwrap();
    let tokens: usize = scored.iter().map(|scored| scored.tokens).sum();
    eprintln!("scoring: {:.0} tokens/s over {tokens} tokens", tokens as f64 / start.elapsed().as_secs_f64());
    let prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";
    let request = GenerateRequest {
        prompt: Prompt::Text(prompt.into()),
        max_tokens: 64,
        stop: vec![],
        sampling: Sampling::default(),
        top_logprobs: 0,
    };
    let start = Instant::now();
    let mut first = None;
    let reply = model
        .stream(&request, &mut [], &mut |_| {
            first.get_or_insert_with(Instant::now);
            true
        })
        .unwrap();
    let decoding = first.unwrap().elapsed().as_secs_f64();
    eprintln!(
        "decoding: {:.1} tokens/s, {:.2} s to the first: {}",
        (reply.tokens.len() - 1) as f64 / decoding,
        start.elapsed().as_secs_f64() - decoding,
        reply.text
    );
    assert!(reply.text.contains("Paris"), "{}", reply.text);
}
