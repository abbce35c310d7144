use super::tiny::{BEGIN, Bytes, END, config, decoder, model};
use metier_core::seam::{Embed, Score, ScoreRequest, Tokenize};
use metier_model::decode::Session;
use metier_model::{Config, LocalModel};
use std::sync::Arc;

fn request(context: &str, continuation: &str) -> ScoreRequest {
    ScoreRequest { context: context.into(), continuation: continuation.into() }
}

/// Log-probability of `ids[first..]`, one token at a time.
fn by_hand(model: &LocalModel, ids: &[u32], first: usize) -> (f64, bool) {
    let mut session = Session::new(model.decoder());
    let (mut sum, mut greedy) = (0.0, true);
    for at in 1..ids.len() {
        let logits = session.feed(&ids[at - 1..at]).unwrap();
        if at >= first {
            let best = logits.iter().copied().fold(f32::MIN, f32::max);
            let normalizer =
                logits.iter().map(|logit| f64::from(logit - best).exp()).sum::<f64>().ln() + f64::from(best);
            let own = logits[ids[at] as usize];
            sum += f64::from(own) - normalizer;
            greedy &= (own - best).abs() < f32::EPSILON;
        }
    }
    (sum, greedy)
}

#[test]
fn scores_equal_the_log_softmax_of_each_token() {
    for begin in [false, true] {
        let model = model(begin);
        let requests =
            [request("", "héllo"), request("ab", "cde"), request("abc", ""), request("", "x"), request("", "")];
        let scored = model.score(&requests).unwrap();
        for (scored, request) in scored.iter().zip(&requests) {
            // What has nothing before it follows the end of another document.
            let mut ids = match begin {
                true => vec![BEGIN],
                false if request.context.is_empty() => vec![END],
                false => vec![],
            };
            let start = ids.len();
            let text = format!("{}{}", request.context, request.continuation);
            ids.extend(Bytes { begin }.encode(&[&text], false).unwrap().remove(0).ids);
            let first = (start + request.context.len()).max(1).min(ids.len());
            let (expected, greedy) = by_hand(&model, &ids, first);
            assert!((scored.log_probability - expected).abs() < 1e-4, "{request:?}: {scored:?} {expected}");
            assert_eq!((scored.tokens, scored.greedy), (ids.len() - first, greedy), "{request:?}");
            assert_eq!(scored.bytes, ids.len() - first, "{request:?}");
        }
    }
}

#[test]
fn a_score_does_not_depend_on_its_neighbors() {
    let model =
        LocalModel::new(decoder(&Config { context_length: 1024, ..config() }, 9), Arc::new(Bytes { begin: false }))
            .unwrap();
    let requests: Vec<ScoreRequest> = (0..9)
        .map(|number| {
            request(&"ab".repeat(number), &metier_testkit::corpus::prose(number as u64, 900)[..300 + 70 * number])
        })
        .collect();
    let together = model.score(&requests).unwrap();
    for (request, together) in requests.iter().zip(together) {
        let alone = model.score(std::slice::from_ref(request)).unwrap().remove(0);
        assert!((alone.log_probability - together.log_probability).abs() < 1e-3 * alone.log_probability.abs() * 1e-2);
        assert_eq!((alone.tokens, alone.bytes, alone.greedy), (together.tokens, together.bytes, together.greedy));
    }
}

#[test]
fn texts_longer_than_the_context_are_named_with_both_lengths() {
    let error = model(false)
        .score(&[request("", "ok"), request("", &"x".repeat(70)), request(&"x".repeat(66), "y")])
        .unwrap_err();
    assert_eq!(error.faults.len(), 2);
    let text = error.to_string();
    assert!(text.contains("text 2: a text of 71 tokens is longer than the model's context of 64"), "{text}");
    assert!(text.contains("text 3: a text of 67 tokens"), "{text}");
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    for rows in [200, 2000] {
        let decoder = decoder(&Config { vocabulary_size: rows, ..config() }, 1);
        let error = LocalModel::new(decoder, Arc::new(Bytes { begin: false })).err().unwrap();
        assert!(
            error.to_string().contains(&format!("the tokenizer has 258 ids, the model has rows for {rows}")),
            "{error}"
        );
    }
}

#[test]
fn an_embedding_is_the_mean_of_the_hidden_states_at_length_one() {
    let model = model(true);
    let embedded = model.embed(&["héllo", "", "x"]).unwrap();
    assert_eq!(embedded.iter().map(|one| one.tokens).collect::<Vec<_>>(), [7, 1, 2]);
    let ids = [BEGIN, u32::from(b'x')];
    let mut tape = metier_compute::Tape::inference(&model.decoder().parameters);
    let hidden = model.decoder().hidden(&mut tape, &ids, &[0, 1], &[0..2]).unwrap();
    let hidden = tape.value(hidden).unwrap();
    let (first, second) = hidden.data().split_at(model.dimension());
    let mean: Vec<f64> = first.iter().zip(second).map(|(a, b)| f64::from(a + b) / 2.0).collect();
    let length = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
    let expected: Vec<f64> = mean.iter().map(|value| value / length).collect();
    metier_testkit::assert_close("the vector of x", &embedded[2].vector, &expected, 1e-6, 1e-5);

    let error = model.embed(&["a", &"x".repeat(64)]).unwrap_err().to_string();
    assert!(error.contains("text 2: a text of 65 tokens is longer than the model's context of 64"), "{error}");
}

#[test]
fn states_are_taken_behind_any_block_and_long_texts_in_pieces() {
    let model = model(true);
    let decoder = model.decoder();
    let (layers, width) = (decoder.config().layers, model.dimension());
    assert!(layers > 1);
    // 64 tokens are the context: the token that begins a text and 63 bytes, and then the rest.
    let text = "abcdefghij".repeat(9);
    let ids: Vec<u32> = std::iter::once(BEGIN).chain(text.bytes().map(u32::from)).collect();
    for layer in 1..=layers {
        let mut sums = vec![0.0; width];
        for piece in ids.chunks(64) {
            let positions: Vec<u32> = (0..piece.len() as u32).collect();
            let mut tape = metier_compute::Tape::inference(&decoder.parameters);
            let rows = std::iter::once(0..piece.len()).collect::<Vec<_>>();
            let states = decoder.hidden_behind(layer, &mut tape, piece, &positions, &rows).unwrap();
            for row in tape.value(states).unwrap().data().chunks_exact(width) {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
        let expected: Vec<f64> = sums.iter().map(|sum| sum / ids.len() as f64).collect();
        let found = &model.mean_states(&["x", &text], layer).unwrap()[1];
        assert_eq!(found.tokens, ids.len());
        metier_testkit::assert_close(&format!("behind block {layer}"), &found.vector, &expected, 1e-6, 1e-5);
    }
    // Behind the last block the direction is that of the embedding.
    let (mean, embedded) = (&model.mean_states(&["x"], layers).unwrap()[0], &model.embed(&["x"]).unwrap()[0]);
    let length = mean.vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let scaled: Vec<f64> = mean.vector.iter().map(|value| f64::from(*value) / length).collect();
    metier_testkit::assert_close("the direction", &embedded.vector, &scaled, 1e-6, 1e-5);
}
