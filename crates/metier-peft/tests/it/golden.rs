//! Every adapter against `fixtures/reference/adapters.py`: files that the PEFT library wrote, with numbers made of the tensors' names,
//! must give its logits and gradients, and be taken off, folded and written again.

use crate::support::{bits, decode, frozen, gradients_of, logits};
use metier_compute::{Gradients, Tape, Tensor, op};
use metier_core::Place;
use metier_core::part::Build;
use metier_core::seed::Seed;
use metier_model::layer::StepDone;
use metier_model::{Batch, Decoder};
use metier_peft::adapter::{Adalora, Encoder, PTuning, PrefixTuning};
use metier_peft::{Adapter, Attached, folder};
use metier_testkit::{assert_close, golden, hashed, scratch};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

pub struct Case {
    pub name: String,
    base: Value,
    config: Map<String, Value>,
    /// Shapes of the tensors of the file.
    file: BTreeMap<String, Vec<usize>>,
    /// Whole numbers of tensors of the file.
    indices: BTreeMap<String, Vec<Vec<i32>>>,
    /// Shape, and length and product of the gradient.
    parameters: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    trainable: u64,
    pub ids: Vec<u32>,
    logits: Vec<f32>,
    loss: f64,
}

pub fn cases() -> Vec<Case> {
    cases_of("adapters.json")
}

fn cases_of(file: &str) -> Vec<Case> {
    let golden = golden::read(file);
    let read = |(name, case): (&String, &Value)| Case {
        name: name.clone(),
        base: golden["bases"][case["base"].as_str().unwrap()].clone(),
        config: case["config"].as_object().unwrap().clone(),
        file: serde_json::from_value(case["file"].clone()).unwrap(),
        indices: case.get("indices").map(|of| serde_json::from_value(of.clone()).unwrap()).unwrap_or_default(),
        parameters: case["parameters"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, of)| {
                (name.clone(), (serde_json::from_value(of["shape"].clone()).unwrap(), golden::numbers(&of["gradient"])))
            })
            .collect(),
        trainable: case["trainable"].as_u64().unwrap(),
        ids: golden::ids(&golden["ids"]),
        logits: golden::numbers(&case["logits"]),
        loss: case["loss"].as_f64().unwrap(),
    };
    golden["cases"].as_object().unwrap().iter().map(read).collect()
}

/// The numbers that the script gives a tensor of an adapter.
fn number(name: &str, shape: &[usize]) -> Vec<f32> {
    let factors = ["ia3_l", "ln_tuning_layers.weight", "lora_magnitude_vector"];
    let middle = if factors.iter().any(|end| name.ends_with(end)) { 1.0 } else { 0.0 };
    hashed::even(name).take(shape.iter().product()).map(|even| (middle + even * 0.25) as f32).collect()
}

impl Case {
    fn decoder(&self) -> Decoder {
        let tensors: BTreeMap<String, Vec<usize>> = serde_json::from_value(self.base["tensors"].clone()).unwrap();
        Decoder::from_weights(&self.base["config"], tensors.keys().map(String::as_str), |name| {
            Ok((tensors[name].clone(), hashed::weight(name, &tensors[name])))
        })
        .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Whether files hold less than what is trained.
    fn is_projected(&self) -> bool {
        self.parameters.keys().any(|name| name.contains("prompt_encoder"))
    }

    /// The files that the PEFT library would have written.
    fn write(&self, folder: &Path) {
        std::fs::write(folder.join("adapter_config.json"), Value::Object(self.config.clone()).to_string()).unwrap();
        let values = self.file.iter().map(|(name, shape)| {
            if let Some(whole) = self.indices.get(name) {
                let bytes: Vec<u8> = whole.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
                return (name, shape, Dtype::I32, bytes);
            }
            let bytes: Vec<u8> = number(name, shape).iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, shape, Dtype::F32, bytes)
        });
        let values: Vec<_> = values.collect();
        let views = values
            .iter()
            .map(|(name, shape, dtype, bytes)| (*name, TensorView::new(*dtype, (*shape).clone(), bytes).unwrap()));
        std::fs::write(folder.join("adapter_model.safetensors"), serialize(views, None).unwrap()).unwrap();
    }

    /// The adapter on its base: read from files, or made here where files hold less than what is trained.
    fn attach(&self, decoder: &mut Decoder) -> Attached {
        if self.is_projected() {
            let attached = self.made().attach(decoder, Seed::new(1)).unwrap();
            for (name, (shape, _)) in &self.parameters {
                let id = decoder.parameters.find(name).unwrap_or_else(|| panic!("{}: no {name}", self.name));
                assert_eq!(decoder.parameters.get(id).shape(), shape, "{}: {name}", self.name);
                decoder.parameters.get_mut(id).data_mut().copy_from_slice(&number(name, shape));
            }
            return attached;
        }
        let folder = scratch("peft");
        self.write(folder.path());
        folder::load(decoder, folder.path()).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn made(&self) -> Box<dyn Adapter> {
        match self.config["peft_type"].as_str().unwrap() {
            "PREFIX_TUNING" => PrefixTuning { tokens: 4, projection: Some(7) }.build(&Place::default()).unwrap(),
            "P_TUNING" => {
                let count = |key: &str| self.config[key].as_u64().unwrap() as usize;
                let is_mlp = self.config["encoder_reparameterization_type"] == "MLP";
                let encoder = if is_mlp { Encoder::Mlp } else { Encoder::Lstm };
                let (tokens, width) = (count("num_virtual_tokens"), count("encoder_hidden_size"));
                PTuning { tokens, encoder, width, ..PTuning::default() }.build(&Place::default()).unwrap()
            }
            other => panic!("{}: {other}", self.name),
        }
    }

    /// One text, each of whose tokens but the last predicts the next.
    fn batch(&self) -> Batch {
        let rows = self.ids.len();
        let mut targets = self.ids[1..].to_vec();
        targets.push(0);
        let mut weights = vec![1.0; rows];
        weights[rows - 1] = 0.0;
        Batch {
            ids: self.ids.clone(),
            targets,
            weights,
            positions: (0..rows as u32).collect(),
            sequences: vec![0..rows],
        }
    }

    fn check_gradients(&self, gradients: &Gradients, decoder: &Decoder, attached: &Attached) {
        let form = attached.form.as_ref().unwrap();
        for (name, (shape, want)) in &self.parameters {
            let id = crate::support::parameter(form, decoder, name)
                .unwrap_or_else(|| panic!("{}: no parameter {name}", self.name));
            let gradient = gradients.get(id).unwrap_or_else(|| panic!("{}: {name} got no gradient", self.name));
            assert_eq!(gradient.shape(), shape, "{}: {name}", self.name);
            let numbers = gradient.data().iter().map(|value| f64::from(*value));
            let length = numbers.clone().map(|value| value * value).sum::<f64>().sqrt();
            let direction = hashed::even(&format!("{name} direction"));
            let product: f64 = numbers.zip(direction).map(|(value, direction)| value * direction).sum();
            let bound = 1e-5 * f64::from(want[0]).max(0.1);
            let what = format!("{}: gradient of {name}", self.name);
            assert_close(&what, &[length, product], want, bound, 1e-5);
        }
        for (id, name, _, trains) in decoder.parameters.iter() {
            assert_eq!(gradients.get(id).is_some(), trains, "{}: {name}", self.name);
        }
    }
}

/// What is part of no weight.
const UNFOLDED: [&str; 5] = ["METIER_BOTTLENECK", "METIER_MAM", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"];

/// What two sums of the same numbers may differ by.
const ABSOLUTE: f64 = 1e-5;

#[test]
fn files_of_the_peft_library_give_its_logits_and_gradients() {
    for case in cases() {
        let mut decoder = case.decoder();
        let attached = case.attach(&mut decoder);
        assert!(attached.notes().is_empty(), "{}: {:?}", case.name, attached.notes());
        assert_eq!(attached.trainable, case.trainable, "{}", case.name);
        let got = logits(&decoder, &case.ids);
        let (_, worst) = metier_testkit::worst_difference(&got, &case.logits);
        eprintln!("{}: logits differ by at most {worst:.1e}", case.name);
        assert_close(&format!("{}: logits", case.name), &got, &case.logits, ABSOLUTE, ABSOLUTE);
        assert_close(
            &format!("{}: decoded", case.name),
            &decode(&decoder, &case.ids),
            &case.logits,
            ABSOLUTE,
            ABSOLUTE,
        );
        for recompute in [false, true] {
            decoder.set_recompute(recompute);
            let (loss, gradients) = gradients_of(&decoder, &case.batch());
            assert_close(&format!("{}: loss", case.name), &[loss], &[case.loss], ABSOLUTE, 0.0);
            case.check_gradients(&gradients, &decoder, &attached);
        }
    }
}

#[test]
fn lora_on_layers_in_4_bits_gives_logits_and_gradients_of_the_same_numbers() {
    for case in cases_of("qlora.json") {
        let mut decoder = case.decoder();
        decoder.quantize_linears();
        let stored = |decoder: &Decoder| decoder.sites().iter().all(|site| is_in_4_bits(decoder, site.weight));
        assert!(stored(&decoder));
        let attached = case.attach(&mut decoder);
        assert_eq!(attached.trainable, case.trainable, "{}", case.name);
        let got = logits(&decoder, &case.ids);
        assert_close(&format!("{}: logits", case.name), &got, &case.logits, ABSOLUTE, ABSOLUTE);
        let decoded = decode(&decoder, &case.ids);
        assert_close(&format!("{}: decoded", case.name), &decoded, &case.logits, ABSOLUTE, ABSOLUTE);
        for recompute in [false, true] {
            decoder.set_recompute(recompute);
            let (loss, gradients) = gradients_of(&decoder, &case.batch());
            assert_close(&format!("{}: loss", case.name), &[loss], &[case.loss], ABSOLUTE, 0.0);
            case.check_gradients(&gradients, &decoder, &attached);
        }
        assert!(stored(&decoder), "{}: it is what it was", case.name);

        let error = decoder.fold().err().unwrap().to_string();
        assert!(error.contains("in NF4") && error.contains("dequantize = true"), "{error}");
        decoder.dequantize();
        decoder.fold().unwrap();
        let folded = logits(&decoder, &case.ids);
        assert_close(&format!("{}: folded", case.name), &folded, &got, ABSOLUTE, ABSOLUTE);
    }
}

fn is_in_4_bits(decoder: &Decoder, weight: metier_compute::ParameterId) -> bool {
    decoder.parameters.get(weight).dtype() == metier_compute::Dtype::Blocks("NF4")
}

#[test]
fn an_adapter_comes_off_to_the_bit_and_folds() {
    for case in cases() {
        let mut decoder = case.decoder();
        let (base, weights) = (bits(&logits(&decoder, &case.ids)), frozen(&decoder));
        case.attach(&mut decoder);
        assert!(decoder.tensors().is_err(), "{}: plain weights of an adapted model", case.name);
        let adapted = logits(&decoder, &case.ids);
        assert_ne!(bits(&adapted), base, "{}: it changes nothing", case.name);
        match decoder.fold() {
            Ok(folded) => {
                assert_eq!(decoder.trainable_numbers(), 0);
                let got = logits(&decoder, &case.ids);
                assert_close(&format!("{}: folded", case.name), &got, &adapted, ABSOLUTE, ABSOLUTE);
                assert!(decoder.tensors().is_ok(), "{}", case.name);
                decoder.unfold(folded);
            }
            Err(error) => {
                assert!(error.to_string().contains("cannot be folded"), "{}: {error}", case.name);
                let kind = &case.config["peft_type"];
                assert!(UNFOLDED.iter().any(|known| kind == known), "{kind}");
            }
        }
        assert_eq!(decoder.trainable_numbers(), case.trainable, "{}", case.name);
        assert_eq!(bits(&logits(&decoder, &case.ids)), bits(&adapted), "{}: unfolded", case.name);
        decoder.detach();
        assert_eq!(bits(&logits(&decoder, &case.ids)), base, "{}: taken off", case.name);
        assert_eq!(frozen(&decoder), weights, "{}: weights", case.name);
    }
}

#[test]
fn what_is_written_is_what_was_read() {
    for case in cases() {
        let mut decoder = case.decoder();
        let attached = case.attach(&mut decoder);
        let folder = scratch("written");
        folder::save(&decoder, &attached, "base", folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("adapter_config.json")).unwrap();
        let config: Map<String, Value> = serde_json::from_str(&text).unwrap();
        if !case.is_projected() {
            let without = |config: &Map<String, Value>| {
                let mut config = config.clone();
                config.remove("base_model_name_or_path");
                config
            };
            assert_eq!(without(&config), without(&case.config), "{}: what the file said is kept", case.name);
        }
        let bytes = std::fs::read(folder.path().join("adapter_model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let shapes: BTreeMap<String, Vec<usize>> =
            file.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect();
        assert_eq!(shapes, case.file, "{}", case.name);
        let mut other = case.decoder();
        let again = folder::load(&mut other, folder.path()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(again.sites, attached.sites);
        assert_eq!(bits(&logits(&other, &case.ids)), bits(&logits(&decoder, &case.ids)), "{}", case.name);
    }
}

#[test]
fn texts_of_a_batch_do_not_see_each_other() {
    for case in cases() {
        let mut decoder = case.decoder();
        case.attach(&mut decoder);
        let alone = [&case.ids[..5], &case.ids[5..]].map(|ids| logits(&decoder, ids));
        let positions: Vec<u32> = (0..5).chain(0..case.ids.len() as u32 - 5).collect();
        let mut tape = Tape::inference(&decoder.parameters);
        let hidden = decoder.hidden(&mut tape, &case.ids, &positions, &[0..5, 5..case.ids.len()]).unwrap();
        let together = decoder.logits(tape.value(hidden).unwrap()).unwrap();
        assert_eq!(bits(together.data()), bits(&alone.concat()), "{}", case.name);
    }
}

/// `adalora` as in the golden, with the numbers of the names.
fn adalora(targets: &[&str]) -> (Decoder, Attached) {
    let case = cases().into_iter().find(|case| case.name == "adalora").unwrap();
    let settings = Adalora {
        start_rank: 4,
        target_rank: 2,
        alpha: 5.0,
        initial_steps: 10,
        final_steps: 20,
        every: 5,
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        ..Adalora::default()
    };
    let mut decoder = case.decoder();
    let attached = settings.build(&Place::default()).unwrap().attach(&mut decoder, Seed::new(1)).unwrap();
    assert_eq!(attached.trainable, case.trainable);
    for (name, (shape, _)) in &case.parameters {
        let id = decoder.parameters.find(name).unwrap();
        decoder.parameters.get_mut(id).data_mut().copy_from_slice(&number(name, shape));
    }
    (decoder, attached)
}

#[test]
fn ranks_are_taken_away_when_and_where_the_peft_library_takes_them() {
    let golden = golden::read("adapters.json");
    let trace: Vec<String> = serde_json::from_value(golden["allocation"]["trace"].clone()).unwrap();
    let (mut decoder, attached) = adalora(&["q_proj", "v_proj", "down_proj"]);
    let mut names: Vec<String> = attached.form.unwrap().tensors.into_iter().map(|(name, _)| name).collect();
    names.sort();
    let upkeep = decoder.upkeep().unwrap();
    for (step, want) in (0..).zip(&trace) {
        let mut gradients = Gradients::new();
        let mut tape = Tape::training(&decoder.parameters);
        let mut loss = tape.constant(Tensor::zeros(&[1]).unwrap());
        for name in &names {
            let id = decoder.parameters.find(name).unwrap();
            let shape = decoder.parameters.get(id).shape();
            let given = Tensor::from_vec(shape, number(&format!("{name} {step}"), shape)).unwrap();
            let (given, parameter) = (tape.constant(given), tape.parameter(id));
            let product = op::multiply(&mut tape, given, parameter).unwrap();
            let sum = op::sum(&mut tape, product).unwrap();
            loss = op::add(&mut tape, loss, sum).unwrap();
        }
        tape.backward(loss, &mut gradients).unwrap();
        drop(tape);
        for (id, gradient) in gradients.iter() {
            let parameter = decoder.parameters.get_mut(id).data_mut();
            parameter.iter_mut().zip(gradient.data()).for_each(|(value, gradient)| *value -= gradient * 0.125);
        }
        let done = StepDone { gradients: &gradients, scale: 1.0, step, steps: trace.len() as u64 };
        upkeep.after_step(&mut decoder.parameters, done).unwrap();
        let ranks = names.iter().filter(|name| name.ends_with("lora_E"));
        let ranks = ranks.flat_map(|name| decoder.parameters.get(decoder.parameters.find(name).unwrap()).data());
        let got: String = ranks.map(|rank| if *rank == 0.0 { '0' } else { '1' }).collect();
        assert_eq!(&got, want, "step {step}");
    }
    let left = trace.last().unwrap().matches('1').count();
    assert_eq!(golden["allocation"]["ranks"], left);
}

#[test]
fn what_adalora_adds_to_the_loss_is_that_of_the_peft_library() {
    let golden = golden::read("adapters.json");
    let want = &golden["cases"]["adalora"]["penalized"];
    let case = cases().into_iter().find(|case| case.name == "adalora").unwrap();
    let (decoder, attached) = adalora(&["q_proj", "v_proj", "down_proj"]);
    let mut gradients = Gradients::new();
    let mut tape = Tape::training(&decoder.parameters);
    let loss = decoder.loss(&mut tape, &case.batch()).unwrap();
    let penalty = decoder.upkeep().unwrap().penalty(&mut tape).unwrap();
    let loss = op::add(&mut tape, loss, penalty).unwrap();
    let value = tape.value(loss).unwrap().item().unwrap();
    assert_close("loss", &[value], &[want["loss"].as_f64().unwrap()], ABSOLUTE, ABSOLUTE);
    tape.backward(loss, &mut gradients).unwrap();
    let parameters = want["gradients"].as_object().unwrap();
    let parameters =
        parameters.iter().map(|(name, want)| (name.clone(), (case.parameters[name].0.clone(), golden::numbers(want))));
    let case = Case { parameters: parameters.collect(), ..case };
    case.check_gradients(&gradients, &decoder, &attached);
}
