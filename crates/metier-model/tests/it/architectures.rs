//! Every architecture against `fixtures/reference/architectures.py`: the same weights, made of the tensors' names, must give the
//! logits and gradients of transformers.

use metier_compute::kernel::Precision;
use metier_compute::{Gradients, Tape, Tensor};
use metier_model::arch::{model_types, weight_shapes};
use metier_model::decode::Session;
use metier_model::layer::LowRank;
use metier_model::{Batch, Decoder};
use metier_testkit::{assert_close, golden, hashed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of the largest logit of a row.
const RELATIVE: f32 = 1e-4;

pub struct Case {
    pub name: String,
    pub config: Value,
    /// Shape, and length and product of the gradient.
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ids: Vec<u32>,
    logits: Vec<f32>,
    steps: Option<Vec<f32>>,
    hidden: Option<Vec<f32>>,
    loss: f64,
}

pub fn cases() -> Vec<Case> {
    let golden = golden::read("architectures.json");
    let case = |(name, case): (&String, &Value)| {
        let tensor = |(name, tensor): (&String, &Value)| {
            let shape = serde_json::from_value(tensor["shape"].clone()).unwrap();
            (name.clone(), (shape, golden::numbers(&tensor["gradient"])))
        };
        Case {
            name: name.clone(),
            config: case["config"].clone(),
            tensors: case["tensors"].as_object().unwrap().iter().map(tensor).collect(),
            ids: golden::ids(&case["ids"]),
            logits: golden::numbers(&case["logits"]),
            steps: case.get("steps").map(golden::numbers),
            hidden: case.get("hidden").map(golden::numbers),
            loss: case["loss"].as_f64().unwrap(),
        }
    };
    golden["cases"].as_object().unwrap().iter().map(case).collect()
}

impl Case {
    pub fn decoder(&self) -> Decoder {
        Decoder::from_weights(&self.config, self.tensors.keys().map(String::as_str), |name| {
            let (shape, _) = &self.tensors[name];
            Ok((shape.clone(), hashed::weight(name, shape)))
        })
        .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// One text, each of whose tokens but the last predicts the next.
    fn batch(&self) -> Batch {
        let rows = self.ids.len();
        let mut targets = self.ids[1..].to_vec();
        targets.push(0);
        let mut weights = vec![1.0; rows];
        weights[rows - 1] = 0.0;
        let positions = (0..rows as u32).collect();
        Batch { ids: self.ids.clone(), targets, weights, positions, sequences: vec![0..rows] }
    }

    fn last_hidden(&self, decoder: &Decoder) -> Tensor {
        let batch = self.batch();
        let mut tape = Tape::inference(&decoder.parameters);
        let hidden = decoder.hidden(&mut tape, &batch.ids, &batch.positions, &batch.sequences).unwrap();
        tape.value(hidden).unwrap().clone()
    }

    fn all_logits(&self, decoder: &Decoder) -> Vec<f32> {
        decoder.logits(&self.last_hidden(decoder)).unwrap().data().to_vec()
    }

    /// Rows of logits are equal but for rounding.
    fn close(&self, what: &str, got: &[f32], want: &[f32], vocabulary: usize) {
        let mut worst = 0.0_f32;
        for (row, (got, want)) in got.chunks(vocabulary).zip(want.chunks(vocabulary)).enumerate() {
            let largest = want.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
            worst = got.iter().zip(want).fold(worst, |worst, (got, want)| worst.max((got - want).abs() / largest));
            assert_close(&format!("{}: {what}, row {row}", self.name), got, want, f64::from(RELATIVE * largest), 0.0);
        }
        assert_eq!(got.len(), want.len(), "{}: {what}", self.name);
        eprintln!("{}: {what}: logits differ by at most {worst:.1e} of the largest of their row", self.name);
    }

    fn gradients(&self, decoder: &Decoder, precision: Precision) -> (f64, Gradients) {
        let mut gradients = Gradients::new();
        let mut tape = Tape::training(&decoder.parameters);
        tape.set_precision(precision);
        let loss = decoder.loss(&mut tape, &self.batch()).unwrap();
        let value = tape.value(loss).unwrap().item().unwrap();
        tape.backward(loss, &mut gradients).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        (f64::from(value), gradients)
    }
}

/// The numbers of a matrix, its rows and columns exchanged.
fn transposed(matrix: &Tensor) -> Vec<f32> {
    let columns = matrix.shape()[1];
    (0..columns).flat_map(|column| matrix.data().iter().skip(column).step_by(columns).copied()).collect()
}

#[test]
fn every_architecture_has_a_golden() {
    let cases = cases();
    for model_type in model_types() {
        assert!(cases.iter().any(|case| case.config["model_type"] == model_type), "{model_type} has none");
    }
}

#[test]
fn one_pass_gives_the_logits_of_transformers() {
    for case in cases() {
        let decoder = case.decoder();
        let got = case.all_logits(&decoder);
        case.close("one pass", &got, &case.logits, decoder.config().vocabulary_size);
        let mut tape = Tape::inference(&decoder.parameters);
        let hidden = tape.constant(case.last_hidden(&decoder));
        let logits = decoder.logits_on(&mut tape, hidden).unwrap();
        case.close("on a tape", tape.value(logits).unwrap().data(), &case.logits, decoder.config().vocabulary_size);
        let targets = case.ids.as_slice();
        let scored = decoder.log_probabilities(&case.last_hidden(&decoder), targets).unwrap();
        for ((log_probability, _), (row, target)) in
            scored.iter().zip(case.logits.chunks(decoder.config().vocabulary_size).zip(targets))
        {
            let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            let want = f64::from(row[*target as usize]) - sum.ln();
            assert_close(&case.name, &[*log_probability], &[want], 1e-4, 1e-4);
        }
    }
}

/// Checkpoints of encoders without the head give the same hidden states, and no probabilities.
#[test]
fn hidden_states_are_those_of_transformers_with_a_head_and_without() {
    let mut seen = 0;
    for case in cases() {
        let Some(want) = &case.hidden else { continue };
        seen += 1;
        let decoder = case.decoder();
        let width = decoder.config().hidden_size;
        case.close("hidden states", case.last_hidden(&decoder).data(), want, width);
        let prefix = decoder.config().design.architecture.prefix;
        // As BertModel writes it: without the prefix, and with a pooler.
        let body: BTreeMap<&str, &String> =
            case.tensors.keys().filter_map(|name| Some((name.strip_prefix(prefix)?, name))).collect();
        let names = body.keys().copied().chain(["pooler.dense.weight", "pooler.dense.bias"]);
        let headless = Decoder::from_weights(&case.config, names, |name| {
            let (shape, _) = &case.tensors[body[name]];
            Ok((shape.clone(), hashed::weight(body[name], shape)))
        });
        let headless = headless.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(case.last_hidden(&headless).data(), case.last_hidden(&decoder).data(), "{}", case.name);
        let error = headless.logits(&case.last_hidden(&headless)).unwrap_err().to_string();
        assert!(error.contains("no head") && error.contains("dense.weight"), "{error}");
        assert!(headless.tensors().unwrap().iter().all(|(name, _)| name.starts_with(prefix)));
    }
    assert_eq!(seen, 4);
}

/// Files of the first BERT call the numbers of norms otherwise.
#[test]
fn names_of_the_first_checkpoints_are_found() {
    let case = cases().into_iter().find(|case| case.name == "bert").unwrap();
    let old = |name: &str| match name.strip_suffix(".LayerNorm.weight") {
        Some(stem) => format!("{stem}.LayerNorm.gamma"),
        None => name.replace(".LayerNorm.bias", ".LayerNorm.beta"),
    };
    let stored: BTreeMap<String, &String> = case.tensors.keys().map(|name| (old(name), name)).collect();
    let decoder = Decoder::from_weights(&case.config, stored.keys().map(String::as_str), |name| {
        let (shape, _) = &case.tensors[stored[name]];
        Ok((shape.clone(), hashed::weight(stored[name], shape)))
    });
    assert_eq!(case.all_logits(&decoder.unwrap()), case.all_logits(&case.decoder()));
}

#[test]
fn a_cache_gives_the_logits_of_transformers() {
    for case in cases() {
        let decoder = case.decoder();
        if !decoder.is_causal() {
            assert!(Session::new(&decoder).feed(&case.ids).is_err(), "{}", case.name);
            continue;
        }
        let vocabulary = decoder.config().vocabulary_size;
        let mut session = Session::new(&decoder);
        let got: Vec<f32> = case.ids.iter().flat_map(|id| session.feed(&[*id]).unwrap()).collect();
        case.close("steps", &got, case.steps.as_ref().unwrap_or(&case.logits), vocabulary);
        if case.steps.is_none() {
            let mut session = Session::new(&decoder);
            session.feed(&case.ids[..7]).unwrap();
            let last = session.feed(&case.ids[7..]).unwrap();
            case.close("two pieces", &last, &case.logits[case.logits.len() - vocabulary..], vocabulary);
        }
    }
}

#[test]
fn training_gives_the_gradients_of_transformers() {
    for case in cases() {
        let mut decoder = case.decoder();
        let (loss, gradients) = case.gradients(&decoder, Precision::F32);
        assert!((loss - case.loss).abs() <= 1e-5 * case.loss, "{}: {loss} against {}", case.name, case.loss);
        decoder.set_recompute(true);
        let (_, again) = case.gradients(&decoder, Precision::F32);
        for weight in weight_shapes(decoder.config()) {
            let id = decoder.parameters.find(&weight.name).unwrap();
            let (gradient, name) = (gradients.get(id).unwrap(), &weight.name);
            let stored = if weight.transposed { transposed(gradient) } else { gradient.data().to_vec() };
            let norm = stored.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let direction = hashed::even(&format!("{name} direction"));
            let product: f64 = stored.iter().zip(direction).map(|(x, along)| f64::from(*x) * along).sum();
            let want = &case.tensors[name].1;
            let tolerance = 1e-4 * f64::from(want[0]) * (stored.len() as f64).sqrt() + 1e-7;
            let what = format!("{}: gradient of {name}", case.name);
            assert_close(&what, &[norm, product], want, tolerance, 1e-4);
            assert_close(&what, again.get(id).unwrap().data(), gradient.data(), 1e-7, 1e-5);
        }
    }
}

#[test]
fn training_in_bf16_is_near() {
    for case in cases() {
        let (loss, _) = case.gradients(&case.decoder(), Precision::Bf16);
        assert!((loss - case.loss).abs() <= 0.03 * case.loss, "{}: {loss} against {}", case.name, case.loss);
    }
}

#[test]
fn an_addition_at_every_site_is_what_it_adds_to_the_weight() {
    for case in cases() {
        let (mut decoder, mut folded) = (case.decoder(), case.decoder());
        for site in decoder.sites() {
            let (rank, scale) = (2, 0.5);
            let matrix = |which: &str, rows: usize, columns: usize| {
                let numbers = hashed::even(&format!("{} {which}", site.name)).map(|even| even as f32 / 4.0);
                Tensor::from_vec(&[rows, columns], numbers.take(rows * columns).collect()).unwrap()
            };
            let (a, b) = (matrix("a", rank, site.inputs), matrix("b", site.outputs, rank));
            let weight = folded.parameters.find(&format!("{}.weight", site.name)).unwrap();
            for (row, values) in folded.parameters.get_mut(weight).data_mut().chunks_exact_mut(site.inputs).enumerate()
            {
                for (column, value) in values.iter_mut().enumerate() {
                    let product = |inner: usize| b.data()[row * rank + inner] * a.data()[inner * site.inputs + column];
                    *value += scale * (0..rank).map(product).sum::<f32>();
                }
            }
            let a = decoder.parameters.insert(format!("{} a", site.name), a, true).unwrap();
            let b = decoder.parameters.insert(format!("{} b", site.name), b, true).unwrap();
            decoder.attach_site(&site.name, Arc::new(LowRank { a, b, scale })).unwrap();
        }
        let vocabulary = decoder.config().vocabulary_size;
        case.close("with additions", &case.all_logits(&decoder), &case.all_logits(&folded), vocabulary);
        // Every part of every addition gets a gradient, or this refuses.
        case.gradients(&decoder, Precision::F32);
    }
}

#[test]
fn weights_come_out_as_they_went_in() {
    for case in cases() {
        let decoder = case.decoder();
        let tensors = decoder.tensors().unwrap();
        assert_eq!(tensors.len(), case.tensors.len(), "{}", case.name);
        for (name, tensor) in tensors {
            let (shape, _) = &case.tensors[name];
            assert_eq!(
                (tensor.shape(), tensor.data()),
                (&shape[..], &hashed::weight(name, shape)[..]),
                "{}: {name}",
                case.name
            );
        }
    }
}

#[test]
fn tensors_that_do_not_fit_are_named_together() {
    for case in cases() {
        let mut names: Vec<&str> = case.tensors.keys().map(String::as_str).collect();
        let (missing, misshapen) = (names.remove(1), names[names.len() / 2]);
        names.push("model.layers.0.mlp.surplus.weight");
        let error = Decoder::from_weights(&case.config, names.iter().copied(), |name| {
            let (shape, _) = &case.tensors[name];
            let values = hashed::weight(name, shape);
            Ok((if name == misshapen { vec![values.len(), 1] } else { shape.clone() }, values))
        });
        let error = error.err().unwrap();
        let text = error.to_string();
        assert_eq!(error.faults.len(), 3, "{}: {text}", case.name);
        for part in [
            format!("{missing}: the tensor is missing, its shape would be {:?}", case.tensors[missing].0),
            format!("{misshapen}: the tensor has the shape"),
            "surplus.weight: the architecture has no such tensor".to_owned(),
        ] {
            assert!(text.contains(&part), "{}: {part} is not in {text}", case.name);
        }
    }
}

/// Checkpoints of the body alone leave out what its names begin with; some carry masks that nothing reads.
#[test]
fn names_without_their_beginning_are_found() {
    for case in cases() {
        let whole = case.decoder();
        let architecture = whole.config().design.architecture;
        let bare = |name: &str| name.strip_prefix(architecture.prefix).unwrap_or(name).to_owned();
        let stored: BTreeMap<String, &String> = case.tensors.keys().map(|name| (bare(name), name)).collect();
        let masks: Vec<String> = architecture.superfluous.iter().map(|end| format!("h.0{end}")).collect();
        let names = stored.keys().chain(&masks).map(String::as_str);
        let decoder = Decoder::from_weights(&case.config, names, |name| {
            let name = stored[name];
            let (shape, _) = &case.tensors[name];
            Ok((shape.clone(), hashed::weight(name, shape)))
        });
        let decoder = decoder.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let bits = |decoder: &Decoder| -> Vec<u32> { case.all_logits(decoder).into_iter().map(f32::to_bits).collect() };
        assert_eq!(bits(&decoder), bits(&whole), "{}", case.name);
    }
}
