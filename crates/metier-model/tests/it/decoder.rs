use super::tiny::{config, decoder};
use metier_compute::{Gradients, Tape};
use metier_core::seed::Seed;
use metier_model::decode::Session;
use metier_model::{Batch, Config, Decoder};
use metier_testkit::assert_close;

fn batch(rows: &[usize], seed: u64) -> Batch {
    let mut stream = Seed::new(seed).at(0);
    let mut batch = Batch::default();
    for &length in rows {
        let start = batch.ids.len();
        for position in 0..length {
            batch.ids.push(stream.below(260) as u32);
            batch.targets.push(stream.below(260) as u32);
            batch.weights.push(if position == 0 { 0.0 } else { 1.0 });
            batch.positions.push(position as u32);
        }
        batch.sequences.push(start..batch.ids.len());
    }
    batch
}

fn loss_of(decoder: &Decoder, batch: &Batch) -> f32 {
    let mut tape = Tape::inference(&decoder.parameters);
    let loss = decoder.loss(&mut tape, batch).unwrap();
    tape.value(loss).unwrap().data()[0]
}

fn gradients_of(decoder: &Decoder, batch: &Batch) -> Gradients {
    let mut gradients = Gradients::new();
    let mut tape = Tape::training(&decoder.parameters);
    let loss = decoder.loss(&mut tape, batch).unwrap();
    tape.backward(loss, &mut gradients).unwrap();
    gradients
}

fn check_gradients(config: &Config) {
    let mut decoder = decoder(config, 11);
    let batch = batch(&[5, 3], 1);
    let gradients = gradients_of(&decoder, &batch);
    decoder.set_recompute(true);
    let recomputed = gradients_of(&decoder, &batch);
    let ids: Vec<_> = decoder.parameters.iter().map(|(id, ..)| id).collect();
    for id in ids {
        let name = decoder.parameters.name(id).to_owned();
        let gradient = gradients.get(id).unwrap_or_else(|| panic!("{name} got no gradient")).clone();
        assert_close(&name, recomputed.get(id).unwrap().data(), gradient.data(), 1e-6, 1e-5);
        // The elements with the largest gradients tell most.
        let mut order: Vec<usize> = (0..gradient.len()).collect();
        order.sort_by(|a, b| gradient.data()[*b].abs().total_cmp(&gradient.data()[*a].abs()));
        for &element in order.iter().take(3) {
            let step = 4e-3;
            let value = decoder.parameters.get(id).data()[element];
            let mut at = |moved: f32| {
                decoder.parameters.get_mut(id).data_mut()[element] = moved;
                f64::from(loss_of(&decoder, &batch))
            };
            let measured = (at(value + step) - at(value - step)) / f64::from(2.0 * step);
            at(value);
            let expected = f64::from(gradient.data()[element]);
            assert!(
                (measured - expected).abs() <= 3e-4 + 0.02 * expected.abs(),
                "{name}[{element}]: {measured} measured, {expected} computed"
            );
        }
    }
}

#[test]
fn the_gradient_of_the_loss_is_its_slope() {
    check_gradients(&config());
}

#[test]
fn the_gradient_is_right_with_biases_and_a_head_of_its_own() {
    check_gradients(&Config { tied_embeddings: false, attention_bias: true, feed_forward_bias: true, ..config() });
}

#[test]
fn texts_in_one_batch_do_not_see_each_other() {
    let decoder = decoder(&config(), 5);
    let together = batch(&[7, 4], 2);
    let hidden = |ids: &[u32], positions: &[u32], sequences: &[std::ops::Range<usize>]| {
        let mut tape = Tape::inference(&decoder.parameters);
        let hidden = decoder.hidden(&mut tape, ids, positions, sequences).unwrap();
        tape.value(hidden).unwrap().data().to_vec()
    };
    let all = hidden(&together.ids, &together.positions, &together.sequences);
    let second = hidden(&together.ids[7..], &together.positions[7..], &[0..4]);
    assert_close("second text", &all[7 * 16..], &second, 1e-5, 1e-5);
}

#[test]
fn decoding_with_a_cache_equals_the_full_pass() {
    let decoder = decoder(&config(), 7);
    let batch = batch(&[40], 3);
    let mut session = Session::new(&decoder);
    for (from, to) in [(0, 9), (9, 10), (10, 11), (11, 30), (30, 40)] {
        let logits = session.feed(&batch.ids[from..to]).unwrap();
        let mut tape = Tape::inference(&decoder.parameters);
        let rows = 0..to;
        let hidden =
            decoder.hidden(&mut tape, &batch.ids[rows.clone()], &batch.positions[rows.clone()], &[rows]).unwrap();
        let hidden = tape.value(hidden).unwrap();
        let expected: Vec<f32> = decoder
            .head()
            .data()
            .chunks(16)
            .map(|row| row.iter().zip(&hidden.data()[(to - 1) * 16..]).map(|(a, b)| a * b).sum())
            .collect();
        assert_close(&format!("logits after {to}"), &logits, &expected, 1e-4, 1e-4);
    }
}

#[test]
fn weights_that_do_not_fit_are_named_together() {
    let config = config();
    let source = decoder(&config, 1);
    let tensors = source.tensors().unwrap();
    let mut names: Vec<&str> = tensors.iter().map(|(name, _)| *name).collect();
    let read = |name: &str| {
        let tensor = &tensors.iter().find(|(known, _)| *known == name).unwrap().1;
        Ok((tensor.shape().to_vec(), tensor.data().to_vec()))
    };
    let same = Decoder::from_weights(&config.to_json(), names.iter().copied(), read).unwrap();
    assert_eq!(loss_of(&same, &batch(&[5], 4)).to_bits(), loss_of(&source, &batch(&[5], 4)).to_bits());

    names.retain(|name| *name != "model.norm.weight");
    names.extend(["model.layers.9.mlp.up_proj.weight", "lm_head.weight", "x.rotary_emb.inv_freq"]);
    let error = Decoder::from_weights(&config.to_json(), names.iter().copied(), |name| {
        let (mut shape, values) = read(name)?;
        if name == "model.layers.1.self_attn.k_proj.weight" {
            shape.reverse();
        }
        Ok((shape, values))
    });
    let error = error.err().unwrap();
    let text = error.to_string();
    assert_eq!(error.faults.len(), 3, "{text}");
    assert!(text.contains("model.norm.weight: the tensor is missing, its shape would be [16]"), "{text}");
    assert!(text.contains("k_proj.weight: the tensor has the shape [16, 8], not [8, 16]"), "{text}");
    assert!(text.contains("model.layers.9.mlp.up_proj.weight: the architecture has no such tensor"), "{text}");
}

#[test]
fn an_architecture_that_is_not_built_is_refused() {
    let mut json = config().to_json();
    json["model_type"] = "llmaa".into();
    let error = Decoder::from_weights(&json, [], |_| unreachable!()).err().unwrap();
    assert!(error.to_string().contains("did you mean `llama`?"), "{error}");
}

#[test]
fn rows_out_of_the_vocabulary_or_the_context_are_refused() {
    let decoder = decoder(&config(), 1);
    let mut tape = Tape::inference(&decoder.parameters);
    let error = decoder.hidden(&mut tape, &[260], &[0], &[0..1]).unwrap_err();
    assert!(error.to_string().contains("token 260 is not among the model's 260 ids"), "{error}");
    let long = batch(&[65], 1);
    let error = decoder.hidden(&mut tape, &long.ids, &long.positions, &long.sequences).unwrap_err();
    assert!(error.to_string().contains("a text of 65 tokens is longer than the model's context of 64"), "{error}");
}

#[test]
fn a_seed_decides_random_weights() {
    let weight = |seed| {
        let decoder = Decoder::random(&config(), Seed::new(seed)).unwrap();
        let id = decoder.parameters.find("model.layers.1.mlp.up_proj.weight").unwrap();
        decoder.parameters.get(id).data().to_vec()
    };
    assert_eq!(weight(1), weight(1));
    assert_ne!(weight(1), weight(2));
}

#[test]
fn costs_follow_what_is_trained() {
    let mut decoder = decoder(&config(), 1);
    let forward = decoder.flop_per_token(false, 64);
    let linear = 2.0 * f64::from(2 * (2 * 16 * 16 + 2 * 8 * 16 + 3 * 24 * 16) + 260 * 16);
    let attention = 4.0 * 32.5 * 32.0;
    assert!((forward - linear - attention).abs() < 1.0, "{forward}");
    let full = decoder.flop_per_token(true, 64);
    assert!((full - 3.0 * linear - 3.5 * attention).abs() < 1.0, "{full}");
    let plain = decoder.memory_plan(128);
    decoder.set_recompute(true);
    assert!(decoder.flop_per_token(true, 64) > full);
    assert!(decoder.memory_plan(128).total() < plain.total());
    assert_eq!(plain.moments, 2 * plain.gradients);
}
