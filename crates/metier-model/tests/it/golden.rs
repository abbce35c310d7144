//! Whole models against `fixtures/reference/smollm2_logits.py`: weights, positions, every block, the head.

use metier_compute::{Dtype, Gradients, Tape, Tensor, op};
use metier_core::seam::{Generate, GenerateRequest, Prompt, Sampling, Score, ScoreRequest};
use metier_model::checkpoint::Checkpoint;
use metier_model::decode::Session;
use metier_model::layer::LowRank;
use metier_model::{Batch, Decoder, LocalModel};
use metier_testkit::{asset, fixture, golden};
use std::path::Path;
use std::sync::Arc;
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
            let mut session = Session::new(&decoder);
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
        .stream(&request, vec![], &mut |_| {
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

/// Logits of each step of one text, fed token by token.
fn steps(decoder: &Decoder, ids: &[u32]) -> Vec<Vec<f32>> {
    let mut session = Session::new(decoder);
    ids.iter().map(|id| session.feed(&[*id]).unwrap()).collect()
}

/// Rounding the inputs of products to 8 bits moves logits by a few hundredths of their spread.
fn check_as_stored(path: &Path, ids: &[u32], most: f64) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let exact = Decoder::from_checkpoint(&checkpoint).unwrap();
    let stored = Decoder::from_checkpoint_as_stored(&checkpoint).unwrap();
    let kept = stored.parameters.iter().filter(|(_, _, tensor, _)| matches!(tensor.dtype(), Dtype::Blocks(_))).count();
    assert_eq!(kept, stored.sites().len() + 1, "all matrices stay in blocks");
    assert!(stored.parameters.iter().all(|(_, _, _, trainable)| !trainable));
    let (exact, found) = (steps(&exact, ids), steps(&stored, ids));
    for (step, (exact, found)) in exact.iter().zip(&found).enumerate() {
        let mean = exact.iter().map(|x| f64::from(*x)).sum::<f64>() / exact.len() as f64;
        let spread: f64 = exact.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
        let off: f64 = exact.iter().zip(found).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        assert!((off / spread).sqrt() <= most, "step {step}: {}", (off / spread).sqrt());
    }
    // A prompt in one pass or token by token: the products have the same bits, attention may differ in the last ones.
    let whole = Session::new(&stored).feed(ids).unwrap();
    metier_testkit::assert_close("one pass", &whole, found.last().unwrap(), 2e-2, 2e-2);
}

#[test]
fn a_model_answers_from_its_blocks_as_they_are_stored() {
    let ids: Vec<u32> = (0..24).map(|at| (at * 37 + 5) % 256).collect();
    check_as_stored(&fixture("models/tiny-llama.gguf"), &ids, 0.05);
}

#[test]
fn an_addition_to_weights_as_stored_is_that_to_their_numbers() {
    let checkpoint = Checkpoint::open(fixture("models/tiny-llama.gguf")).unwrap();
    let ids: Vec<u32> = (0..12).map(|at| (at * 37 + 5) % 256).collect();
    let run = |mut decoder: Decoder| {
        for site in decoder.sites().into_iter().take(3) {
            let part = |which: u32, rows: usize, columns: usize| {
                let numbers = (0..(rows * columns) as u32).map(|at| ((at * 31 + which) % 17) as f32 * 0.05 - 0.4);
                Tensor::from_vec(&[rows, columns], numbers.collect()).unwrap()
            };
            let a = decoder.parameters.insert(format!("{} a", site.name), part(1, 2, site.inputs), false).unwrap();
            let b = decoder.in_order_of(&site.name, part(5, site.outputs, 2)).unwrap();
            let b = decoder.parameters.insert(format!("{} b", site.name), b, false).unwrap();
            decoder.attach_site(&site.name, Arc::new(LowRank { a, b, scale: 0.5 })).unwrap();
        }
        full_pass(&decoder, &ids).0
    };
    let exact = run(Decoder::from_checkpoint(&checkpoint).unwrap());
    let stored = run(Decoder::from_checkpoint_as_stored(&checkpoint).unwrap());
    // Without their order the additions would be other ones altogether: the spread is what rounding to 8 bits leaves.
    let off: f32 = exact.iter().zip(&stored).map(|(a, b)| (a - b).powi(2)).sum();
    let spread: f32 = exact.iter().map(|x| x * x).sum();
    assert!((off / spread).sqrt() < 0.03, "{}", (off / spread).sqrt());
}

#[test]
fn training_beside_weights_in_blocks_is_that_beside_their_numbers() {
    let checkpoint = Checkpoint::open(fixture("models/tiny-llama.gguf")).unwrap();
    let ids: Vec<u32> = (0..12).map(|at| (at * 37 + 5) % 256).collect();
    let run = |mut decoder: Decoder| {
        let frozen: Vec<_> = decoder.parameters.iter().map(|(id, ..)| id).collect();
        for id in frozen {
            decoder.parameters.set_trainable(id, false);
        }
        let site = decoder.sites().swap_remove(3);
        let part = |rows: usize, columns: usize| {
            let values = (0..rows * columns).map(|at| (at % 7) as f32 * 0.01 - 0.03).collect();
            Tensor::from_vec(&[rows, columns], values).unwrap()
        };
        let a = decoder.parameters.insert("a", part(4, site.inputs), true).unwrap();
        let b = decoder.in_order_of(&site.name, part(site.outputs, 4)).unwrap();
        let b = decoder.parameters.insert("b", b, true).unwrap();
        decoder.attach_site(&site.name, Arc::new(LowRank { a, b, scale: 2.0 })).unwrap();
        let mut gradients = Gradients::new();
        let mut tape = Tape::training(&decoder.parameters);
        let batch = Batch {
            ids: ids.clone(),
            targets: ids.iter().map(|id| (id + 1) % 256).collect(),
            weights: vec![1.0; ids.len()],
            positions: (0..ids.len() as u32).collect(),
            sequences: std::iter::once(0..ids.len()).collect(),
        };
        let loss = decoder.loss(&mut tape, &batch).unwrap();
        let value = tape.value(loss).unwrap().item().unwrap();
        tape.backward(loss, &mut gradients).unwrap();
        (value, [a, b].map(|id| gradients.get(id).unwrap().data().to_vec()))
    };
    let (loss, exact) = run(Decoder::from_checkpoint(&checkpoint).unwrap());
    let (loss_beside, beside) = run(Decoder::from_checkpoint_as_stored(&checkpoint).unwrap());
    // Heads of queries and keys have another order of columns, so their products are summed in another order.
    assert!((loss - loss_beside).abs() <= 1e-6 * loss, "{loss} {loss_beside}");
    for (exact, beside) in exact.iter().zip(&beside) {
        metier_testkit::assert_close("gradient", beside, exact, 1e-6, 1e-4);
    }
}
