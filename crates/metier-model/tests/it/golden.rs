//! Whole models against `fixtures/reference/smollm2_logits.py`: weights, positions, every block, the head.

use metier_compute::{Tape, Tensor, op};
use metier_core::seam::{Generate, GenerateRequest, Prompt, Sampling, Score, ScoreRequest};
use metier_model::checkpoint::Checkpoint;
use metier_model::decode::Session;
use metier_model::{Decoder, LocalModel};
use metier_testkit::{asset, fixture, golden};
use std::path::Path;
use std::time::Instant;

/// Logits after the last of `ids`, and the log-probability of `ids[1..]`, out of one pass.
fn full_pass(decoder: &Decoder, ids: &[u32]) -> (Vec<f32>, f64) {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let mut tape = Tape::inference(&decoder.parameters);
    let all = decoder.hidden(&mut tape, ids, &positions, &[0..ids.len()]).unwrap();
    let hidden = tape.value(all).unwrap();
    let width = hidden.shape()[1];
    let (before, last) = hidden.data().split_at((ids.len() - 1) * width);
    let last = Tensor::from_vec(&[1, width], last.to_vec()).unwrap();
    let logits = op::head_logits(&last, decoder.head()).unwrap().data().to_vec();
    if before.is_empty() {
        return (logits, 0.0);
    }
    let before = Tensor::from_vec(&[ids.len() - 1, width], before.to_vec()).unwrap();
    let each = op::head_log_probabilities(&before, decoder.head(), &ids[1..]).unwrap();
    (logits, each.iter().map(|(log_probability, _)| f64::from(*log_probability)).sum())
}

fn likeliest(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
}

fn check(path: &Path, name: &str) {
    let golden = golden::read(fixture(name));
    let checkpoint = Checkpoint::open(path).unwrap();
    let decoder = Decoder::from_checkpoint(&checkpoint).unwrap();
    let indices = golden::ids(&golden["indices"]);
    let mut worst = 0.0_f32;
    for (number, case) in golden["prompts"].as_array().unwrap().iter().enumerate() {
        let ids = golden::ids(&case["ids"]);
        let (logits, score) = full_pass(&decoder, &ids);
        for (index, expected) in indices.iter().zip(golden::numbers(&case["logits"])) {
            worst = worst.max((logits[*index as usize] - expected).abs());
        }
        assert!(worst <= 1e-3, "{name}, prompt {number}: logits differ by {worst}");
        let expected = case["log_probability"].as_f64().unwrap();
        assert!(
            (score - expected).abs() <= 1e-3 * ids.len() as f64,
            "{name}, prompt {number}: {score} against {expected}"
        );
        // A reply whose best two tokens are nearly equal somewhere may rightly differ.
        if case["greedy_smallest_margin"].as_f64().is_some_and(|margin| margin > 2e-3) {
            let mut session = Session::new(&decoder).unwrap();
            let mut next = likeliest(&session.feed(&ids).unwrap());
            for expected in golden::ids(&case["greedy"]) {
                assert_eq!(next, expected, "{name}, prompt {number}: greedy reply");
                next = likeliest(&session.feed(&[next]).unwrap());
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

fn smollm2() -> Option<LocalModel> {
    let checkpoint = Checkpoint::open(asset("smollm2")?).unwrap();
    let decoder = Decoder::from_checkpoint(&checkpoint).unwrap();
    let model = LocalModel::new(decoder, checkpoint.tokenizer.clone()).unwrap();
    Some(model.with_end_ids(checkpoint.special_tokens.ends.clone()))
}

#[test]
fn smollm2_scores_text_like_a_language_model() {
    let Some(model) = smollm2() else { return };
    let text = std::fs::read_to_string(fixture("corpora/general/austen-01.txt")).unwrap();
    let windows: Vec<ScoreRequest> = text
        .split_inclusive("\n\n")
        .filter(|paragraph| paragraph.len() > 200)
        .take(8)
        .map(|paragraph| ScoreRequest { context: String::new(), continuation: paragraph.to_owned() })
        .collect();
    let start = Instant::now();
    let scored = model.score(&windows).unwrap();
    let tokens: usize = scored.iter().map(|scored| scored.tokens).sum();
    eprintln!("scoring: {:.0} tokens/s over {tokens} tokens", tokens as f64 / start.elapsed().as_secs_f64());
    let nats: f64 = -scored.iter().map(|scored| scored.log_probability).sum::<f64>();
    let bytes: usize = scored.iter().map(|scored| scored.bytes).sum();
    let bits_per_byte = nats / std::f64::consts::LN_2 / bytes as f64;
    assert!((0.3..1.5).contains(&bits_per_byte), "{bits_per_byte} bits per byte");
}

#[test]
fn smollm2_replies() {
    let Some(model) = smollm2() else { return };
    let prompt = "<|im_start|>user\nWhat is the capital of France? Then tell a story about it.<|im_end|>\n<|im_start|>assistant\n";
    let request = GenerateRequest {
        prompt: Prompt::Text(prompt.into()),
        max_tokens: Some(40),
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
