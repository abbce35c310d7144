//! Adapters on a tiny seeded model.

#![expect(clippy::unwrap_used, reason = "what the tests share may fail as a test does")]
#![expect(clippy::panic, reason = "a case that cannot be read fails by its name")]
#![expect(clippy::single_range_in_vec_init, reason = "one text is one range of rows")]

mod golden;
mod support;

use metier_compute::{Gradients, Tape};
use metier_core::part::{Build, choose};
use metier_core::seed::Seed;
use metier_core::settings::File;
use metier_core::{Place, Result};
use metier_model::{Batch, Config, Decoder};
use metier_peft::adapter::{ADAPTERS, Adapter, Fish, Full, Lora, Squares};
use metier_peft::folder::Content;
use metier_peft::{Attached, folder};
use metier_testkit::{assert_close, scratch};
use serde_json::{Value, json};

fn decoder(seed: u64) -> Decoder {
    sized(seed, 16)
}

fn wider() -> Decoder {
    sized(1, 24)
}

fn sized(seed: u64, hidden_size: usize) -> Decoder {
    let config = Config {
        vocabulary_size: 50,
        hidden_size,
        intermediate_size: hidden_size * 3 / 2,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: hidden_size / 4,
        context_length: 64,
        norm_epsilon: 1e-5,
        rope_theta: 10_000.0,
        tied_embeddings: true,
        attention_bias: true,
        feed_forward_bias: false,
        ..Config::default()
    };
    let mut decoder = Decoder::random(&config, Seed::new(seed)).unwrap();
    // Matrices only: with norms of 12 one unit in the last place of the weights moves the output by 2e-4, and a
    // comparison would see rounding.
    let matrices = decoder.parameters.iter().filter(|(_, _, tensor, _)| tensor.shape().len() == 2);
    let ids: Vec<_> = matrices.map(|(id, ..)| id).collect();
    for id in ids {
        for value in decoder.parameters.get_mut(id).data_mut() {
            *value *= 12.0;
        }
    }
    decoder
}

fn lora(change: impl FnOnce(&mut Lora)) -> Box<dyn Adapter> {
    let mut settings = Lora::default();
    change(&mut settings);
    settings.build(&Place::default()).unwrap()
}

fn hidden(decoder: &Decoder) -> Vec<f32> {
    let ids: Vec<u32> = (0..12).map(|at| at * 7 % 50).collect();
    let positions: Vec<u32> = (0..12).collect();
    let mut tape = Tape::inference(&decoder.parameters);
    let hidden = decoder.hidden(&mut tape, &ids, &positions, &[0..12]).unwrap();
    tape.value(hidden).unwrap().data().to_vec()
}

fn batch() -> Batch {
    Batch {
        ids: vec![1, 2, 3, 4],
        targets: vec![2, 3, 4, 5],
        weights: vec![1.0; 4],
        positions: vec![0, 1, 2, 3],
        sequences: vec![0..4],
    }
}

fn gradients(decoder: &Decoder) -> Gradients {
    let batch = batch();
    let mut gradients = Gradients::new();
    let mut tape = Tape::training(&decoder.parameters);
    let loss = decoder.loss(&mut tape, &batch).unwrap();
    tape.backward(loss, &mut gradients).unwrap();
    gradients
}

/// What a training would do: every trainable number moves.
fn disturb(decoder: &mut Decoder) {
    let ids: Vec<_> = decoder.parameters.iter().filter(|entry| entry.3).map(|(id, ..)| id).collect();
    for id in ids {
        let mut noise = Seed::new(9).derive(decoder.parameters.name(id)).at(0);
        for value in decoder.parameters.get_mut(id).data_mut() {
            *value += 0.1 * noise.normal() as f32;
        }
    }
}

fn weights(decoder: &Decoder) -> Vec<u32> {
    let tensors = decoder.tensors().unwrap();
    tensors.iter().flat_map(|(_, tensor)| tensor.data()).map(|value| value.to_bits()).collect()
}

#[test]
fn lora_begins_at_the_base_and_only_its_matrices_train() {
    let mut decoder = decoder(1);
    let base = hidden(&decoder);
    let attached = lora(|s| s.rank = 3).attach(&mut decoder, Seed::new(2)).unwrap();
    assert_eq!(hidden(&decoder), base);
    let widths: usize = decoder.sites().iter().map(|site| site.inputs + site.outputs).sum();
    assert_eq!((attached.trainable, attached.sites.len()), (3 * widths as u64, 14));
    let gradients = gradients(&decoder);
    for (id, name, _, trainable) in decoder.parameters.iter() {
        assert_eq!(
            (trainable, gradients.get(id).is_some()),
            (name.contains(".lora_"), name.contains(".lora_")),
            "{name}"
        );
    }
}

#[test]
fn folding_gives_the_adapted_model_as_plain_weights() {
    let mut decoder = decoder(1);
    let base = hidden(&decoder);
    lora(|s| s.rank = 2).attach(&mut decoder, Seed::new(2)).unwrap();
    disturb(&mut decoder);
    let adapted = hidden(&decoder);
    assert!(decoder.tensors().err().unwrap().to_string().contains("fold the adapter"));
    decoder.fold().unwrap();
    let folded = hidden(&decoder);
    assert_close("folded against adapted", &folded, &adapted, 1e-5, 1e-5);
    assert!(base.iter().zip(&folded).any(|(a, b)| (a - b).abs() > 1e-2));
    assert!(decoder.adapted_at().is_none() && decoder.trainable_numbers() == 0);
    assert!(decoder.fold().err().unwrap().to_string().contains("nothing to fold"));
    // Another one may follow, of another rank.
    lora(|s| s.rank = 5).attach(&mut decoder, Seed::new(3)).unwrap();
    assert_eq!(hidden(&decoder), folded);
}

#[test]
fn a_seed_and_a_name_decide_the_matrices() {
    let values = |seed, targets: &[&str]| {
        let mut decoder = decoder(1);
        let adapter = lora(|s| s.targets = targets.iter().map(|target| (*target).to_owned()).collect());
        adapter.attach(&mut decoder, Seed::new(seed)).unwrap();
        let id = decoder.parameters.find("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight").unwrap();
        decoder.parameters.get(id).data().to_vec()
    };
    let one = values(4, &["all-linear"]);
    assert_eq!(one, values(4, &["down_proj"]));
    assert_ne!(one, values(5, &["down_proj"]));
    let bound = 1.0 / 24.0_f32.sqrt();
    assert!(one.iter().all(|value| value.abs() <= bound) && one.iter().any(|value| value.abs() > 0.8 * bound));
}

#[test]
fn unknown_targets_are_refused_with_the_known_ones() {
    let adapter = lora(|s| s.targets = vec!["q_porj".into(), "zebra".into(), "k_proj".into()]);
    let error = adapter.attach(&mut decoder(1), Seed::new(1)).unwrap_err();
    assert_eq!(error.faults.len(), 2);
    let text = error.to_string();
    assert!(text.contains("no layer `q_porj`") && text.contains("did you mean `q_proj`?"), "{text}");
    assert!(
        text.contains("known: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj, all-linear"),
        "{text}"
    );
}

#[test]
fn settings_out_of_range_are_refused() {
    let bad = Lora { rank: 0, alpha: -1.0, targets: vec![], dropout: 1.0, ..Lora::default() };
    let error = bad.build(&Place::key("adapter")).err().unwrap();
    assert_eq!(error.faults.len(), 4, "{error}");
}

#[test]
fn full_trains_everything_and_adds_nothing() {
    let mut decoder = decoder(1);
    let adapter = Full::default().build(&Place::default()).unwrap();
    let attached = adapter.attach(&mut decoder, Seed::new(1)).unwrap();
    assert_eq!((attached.frozen, attached.sites.len()), (0, 0));
    let before = weights(&decoder);
    assert_eq!(weights(&decoder), before);
}

#[test]
fn full_trains_the_chosen_weights_only() {
    let trained = |full: Full| {
        let mut decoder = decoder(1);
        full.build(&Place::default()).unwrap().attach(&mut decoder, Seed::new(1)).map(|_| {
            let all = decoder.parameters.iter().filter(|(.., trainable)| *trainable);
            all.map(|(_, name, ..)| name.to_owned()).collect::<Vec<_>>()
        })
    };
    let full = |blocks: &[usize], targets: &[&str]| Full {
        blocks: blocks.to_vec(),
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
    };
    let names = |layers: &[&str]| layers.iter().map(|layer| format!("model.layers.1.{layer}")).collect::<Vec<_>>();
    let mut found = trained(full(&[1], &["up_proj", "self_attn.v_proj"])).unwrap();
    found.sort();
    assert_eq!(found, names(&["mlp.up_proj.weight", "self_attn.v_proj.bias", "self_attn.v_proj.weight"]));
    let block = trained(full(&[1], &[])).unwrap();
    assert!(block.len() == 13 && block.iter().all(|name| name.starts_with("model.layers.1.")), "{block:?}");
    assert_eq!(trained(full(&[], &["up_proj"])).unwrap().len(), 2);

    let error = trained(full(&[0, 2, 9], &["up_porj"])).unwrap_err();
    let said: Vec<_> = error.faults.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(said, ["the model has no block 2", "the model has no block 9", "the model has no layer `up_porj`"]);
    assert_eq!(error.faults[0].hint.as_deref(), Some("its blocks are numbered from 0 to 1"));
    assert!(error.faults[2].hint.as_ref().unwrap().contains("did you mean `up_proj`?"));
    let nothing = trained(full(&[1], &["layers.0.mlp.up_proj"])).unwrap_err();
    assert!(nothing.to_string().contains("no weight of these blocks"), "{nothing}");
}

#[test]
fn an_adapter_comes_back_from_its_folder() {
    let folder = scratch("adapter");
    let mut trained = decoder(1);
    let attached = lora(|s| (s.rank, s.alpha, s.targets) = (2, 5.0, vec!["v_proj".into(), "up_proj".into()]))
        .attach(&mut trained, Seed::new(2))
        .unwrap();
    disturb(&mut trained);
    folder::save(&trained, &attached, "base", folder.path()).unwrap();
    let config: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["target_modules"], serde_json::json!(["up_proj", "v_proj"]));
    assert_eq!((config["r"].as_u64(), config["lora_alpha"].as_f64()), (Some(2), Some(5.0)));

    let mut other = decoder(1);
    let again = folder::load(&mut other, folder.path()).unwrap();
    assert_eq!((again.trainable, again.frozen, again.sites), (attached.trainable, attached.frozen, attached.sites));
    assert_eq!(hidden(&other), hidden(&trained));
}

#[test]
fn a_foreign_or_damaged_adapter_is_refused() {
    let folder = scratch("damaged");
    let mut trained = decoder(1);
    let attached = lora(|s| s.rank = 2).attach(&mut trained, Seed::new(2)).unwrap();
    folder::save(&trained, &attached, "base", folder.path()).unwrap();
    let load = || -> Result<Attached> { folder::load(&mut decoder(1), folder.path()) };

    let path = folder.path().join("adapter_config.json");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("\"lora_alpha\": 16.0", "\"lora_alpha\": null").replace("\"r\": 2", "\"r\": 0"))
        .unwrap();
    let text = load().unwrap_err().to_string();
    assert!(text.contains("adapter_config.json: lora_alpha") && text.contains("r: 0 is no number"), "{text}");
    std::fs::write(&path, good.replace("\"r\": 2", "\"r\": 3")).unwrap();
    let error = load().unwrap_err();
    assert_eq!(error.faults.len(), 28, "{error}");
    assert!(error.to_string().contains("the tensor has the shape [2, 16], not [3, 16]"), "{error}");
    std::fs::write(&path, &good).unwrap();

    for (key, value) in [
        ("use_bdlora", json!({"nblocks": 2})),
        ("use_rslora", json!("yes")),
        ("alora_invocation_tokens", json!([1])),
        ("target_parameters", json!(["mlp.weight"])),
        ("init_lora_weights", json!("pissa")),
        ("rank_pattern", json!({"(q|k)_proj": 2})),
        ("peft_type", json!("LORE")),
        ("bias", json!("all")),
    ] {
        let mut config: Value = serde_json::from_str(&good).unwrap();
        config[key] = value;
        std::fs::write(&path, config.to_string()).unwrap();
        let error = load().unwrap_err();
        assert_eq!(error.faults.len(), 1, "{error}");
        assert!(error.to_string().contains(&format!("adapter_config.json: {key}")), "{error}");
    }
    std::fs::write(&path, &good).unwrap();

    let tensors = folder.path().join("adapter_model.safetensors");
    let bytes = std::fs::read(&tensors).unwrap();
    std::fs::write(&tensors, &bytes[..bytes.len() - 5]).unwrap();
    assert!(load().unwrap_err().to_string().contains("adapter_model.safetensors: it is no safetensors file"));
    std::fs::remove_file(&tensors).unwrap();
    assert!(load().is_err());
    let nothing = Attached { form: None, ..attached };
    assert!(
        folder::save(&decoder(1), &nothing, "base", folder.path())
            .unwrap_err()
            .to_string()
            .contains("nothing to write")
    );
}

#[test]
fn an_adapter_of_another_base_is_refused_by_name() {
    let folder = scratch("base");
    let mut trained = decoder(1);
    let attached = lora(|s| s.rank = 2).attach(&mut trained, Seed::new(2)).unwrap();
    folder::save(&trained, &attached, "llamas/small", folder.path()).unwrap();
    let mut other = decoder(2);
    let error = folder::load(&mut other, folder.path()).unwrap_err().to_string();
    assert!(error.contains("adapter_base.json: the adapter was trained on another base: `llamas/small`"), "{error}");
    assert!(other.adapted_at().is_none());
    // The same model in 4 bits is the same base.
    let mut quantized = decoder(1);
    quantized.quantize_linears();
    folder::load(&mut quantized, folder.path()).unwrap();
    // What the adapter trains is no part of what tells the base.
    let mut tuned = decoder(1);
    let adapter = metier_peft::adapter::Bitfit::default().build(&Place::default()).unwrap();
    let attached = adapter.attach(&mut tuned, Seed::new(2)).unwrap();
    disturb(&mut tuned);
    folder::save(&tuned, &attached, "llamas/small", folder.path()).unwrap();
    folder::load(&mut decoder(1), folder.path()).unwrap();
    std::fs::remove_file(folder.path().join("adapter_base.json")).unwrap();
    folder::load(&mut decoder(2), folder.path()).unwrap();
}

#[test]
fn unknown_keys_are_told_by_name_and_kept() {
    let folder = scratch("keys");
    let mut trained = decoder(1);
    let attached = lora(|s| s.rank = 2).attach(&mut trained, Seed::new(2)).unwrap();
    folder::save(&trained, &attached, "base", folder.path()).unwrap();
    assert!(folder::load(&mut decoder(1), folder.path()).unwrap().notes().is_empty());
    let path = folder.path().join("adapter_config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config["wobble"] = json!({ "by": 3 });
    std::fs::write(&path, config.to_string()).unwrap();
    let mut again = decoder(1);
    let attached = folder::load(&mut again, folder.path()).unwrap();
    let notes = attached.notes();
    assert!(notes.len() == 1 && notes[0].contains("`wobble`"), "{notes:?}");
    folder::save(&again, &attached, "base", folder.path()).unwrap();
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(kept["wobble"], json!({ "by": 3 }));
}

#[test]
fn every_adapter_is_chosen_by_name_and_keeps_its_settings() {
    for part in ADAPTERS {
        // The model of these tests is smaller than what some defaults are for.
        let more = match part.name {
            "adalora" => "start_rank = 6\ntarget_rank = 3\n",
            "oft" => "block = 8\n",
            _ => "",
        };
        let text = format!("method = \"{}\"\n{more}", part.name);
        let file = File::parse("adapter.toml", &text).unwrap();
        let chosen = choose("adapter", ADAPTERS, &file.root()).unwrap();
        assert_eq!(chosen.name, part.name);
        let base_of = || {
            let mut decoder = decoder(1);
            if chosen.part.quantizes() {
                decoder.quantize_linears();
            }
            decoder
        };
        let mut decoder = base_of();
        let base = hidden(&decoder);
        let one = chosen.part.attach(&mut decoder, Seed::new(1)).unwrap();
        assert!(one.trainable > 0);
        let begins_at_base = !["mam", "p_tuning", "prefix_tuning", "prompt_tuning"].contains(&part.name);
        assert_eq!(begins_at_base, largest_difference(&hidden(&decoder), &base) < 1e-5, "{}", part.name);
        if let Some(form) = &one.form {
            let folder = scratch("each");
            disturb(&mut decoder);
            folder::save(&decoder, &one, "base", folder.path()).unwrap();
            let mut other = base_of();
            let again = folder::load(&mut other, folder.path()).unwrap();
            assert_eq!(hidden(&other), hidden(&decoder), "{}", part.name);
            assert_eq!(again.form.unwrap().tensors.len(), form.tensors.len(), "{}", part.name);
            // On a model of another width every tensor is named, and nothing is left behind.
            let mut foreign = wider();
            let before = hidden(&foreign);
            if part.name == "fish" {
                // Places in a larger matrix are places all the same.
                continue;
            }
            assert!(folder::load(&mut foreign, folder.path()).is_err(), "{}", part.name);
            assert_eq!(hidden(&foreign), before, "{}", part.name);
            assert!(foreign.adapted_at().is_none(), "{}", part.name);
        }
    }
}

fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    metier_testkit::worst_difference(a, b).1
}

#[test]
fn fish_trains_the_weights_with_the_greatest_squares() {
    let mut decoder = decoder(1);
    let targets = vec!["k_proj".to_owned(), "down_proj".to_owned()];
    let fish = Fish { share: 0.01, windows: 3, targets }.build(&Place::default()).unwrap();
    assert_eq!(fish.measures(), Some(3));
    let mut squares = Squares::new();
    for site in decoder.sites() {
        let tensor = decoder.parameters.get(site.weight).clone();
        squares.insert(site.weight, tensor);
    }
    // 2 (8 x 16 + 16 x 24) weights, of which 10 are trained.
    let mut all: Vec<(f32, String, u32, u32)> = Vec::new();
    for site in decoder.sites().iter().filter(|site| ["k_proj", "down_proj"].contains(&site.leaf())) {
        let weight = decoder.parameters.get(site.weight).data();
        all.extend(
            (0..)
                .zip(weight)
                .map(|(at, value)| (*value, site.name.clone(), at / site.inputs as u32, at % site.inputs as u32)),
        );
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut want: Vec<_> = all[..10].iter().map(|(_, site, row, column)| (site.clone(), *row, *column)).collect();
    want.sort();
    let attached = fish.attach_measured(&mut decoder, Seed::new(1), &squares).unwrap();
    assert_eq!(attached.trainable, 10);
    let mut got = Vec::new();
    for (name, content) in &attached.form.unwrap().tensors {
        if let Content::Whole(shape, places) = content {
            let site = name.strip_prefix("base_model.model.").unwrap().strip_suffix(".shira_indices").unwrap();
            let (rows, columns) = places.split_at(shape[1]);
            got.extend(rows.iter().zip(columns).map(|(row, column)| (site.to_owned(), *row as u32, *column as u32)));
        }
    }
    got.sort();
    assert_eq!(got, want);
}

#[test]
fn a_rank_above_the_matrix_is_refused() {
    let error = lora(|s| s.rank = 9).attach(&mut decoder(1), Seed::new(1)).unwrap_err();
    assert_eq!(error.faults.len(), 4, "{error}");
    let text = error.to_string();
    assert!(text.contains("rank 9 is above what a matrix of 8 by 16 can have") && text.contains("at most 8"), "{text}");
    lora(|s| {
        s.rank = 9;
        s.rank_pattern = [("k_proj".to_owned(), 8), ("v_proj".to_owned(), 2)].into();
    })
    .attach(&mut decoder(1), Seed::new(1))
    .unwrap();
}

#[test]
fn what_would_not_be_finite_is_not_folded() {
    let mut decoder = decoder(1);
    lora(|s| s.rank = 2).attach(&mut decoder, Seed::new(2)).unwrap();
    disturb(&mut decoder);
    let id = decoder.parameters.find("base_model.model.model.layers.1.mlp.up_proj.lora_B.weight").unwrap();
    decoder.parameters.get_mut(id).data_mut()[3] = f32::NAN;
    let trainable = decoder.trainable_numbers();
    let error = decoder.fold().err().unwrap();
    assert_eq!(error.faults.len(), 1, "{error}");
    assert!(
        error.to_string().contains("model.layers.1.mlp.up_proj: the folded weight has numbers that are not finite")
    );
    assert!(decoder.adapted_at().is_some() && decoder.trainable_numbers() == trainable);
    decoder.detach();
    assert_eq!(weights(&decoder), weights(&self::decoder(1)));
}

#[test]
fn dropout_is_for_training_and_comes_again_with_its_seed() {
    let mut decoder = decoder(1);
    for dropout in [0.0, 0.4] {
        for part in ["lora", "dora"] {
            let text = format!("method = \"{part}\"\nrank = 3\ndropout = {dropout:?}\n");
            let file = File::parse("adapter.toml", &text).unwrap();
            let chosen = choose("adapter", ADAPTERS, &file.root()).unwrap();
            chosen.part.attach(&mut decoder, Seed::new(2)).unwrap();
            disturb(&mut decoder);
            let batch = batch();
            let gradients = |seed: Option<u64>| {
                let mut gradients = Gradients::new();
                let mut tape = Tape::training(&decoder.parameters);
                tape.set_noise(seed.map(Seed::new));
                let loss = decoder.loss(&mut tape, &batch).unwrap();
                let value = tape.value(loss).unwrap().item().unwrap();
                tape.backward(loss, &mut gradients).unwrap();
                (value.to_bits(), gradients.norm().to_bits())
            };
            assert_eq!(gradients(Some(1)), gradients(Some(1)));
            let is_same = |a: Option<u64>, b: Option<u64>| gradients(a) == gradients(b);
            assert_eq!(is_same(Some(1), Some(2)), dropout == 0.0, "{part}");
            assert_eq!(is_same(None, Some(2)), dropout == 0.0, "{part}");
            let base = hidden(&decoder);
            decoder.fold().unwrap();
            assert_close("folded", &hidden(&decoder), &base, 2e-5, 2e-5);
            decoder.detach();
        }
    }
}

#[test]
fn a_shared_model_has_the_same_weights_once_and_an_adapter_of_its_own() {
    let base = decoder(1);
    let plain = hidden(&base);
    let mut adapted = base.shared().unwrap();
    lora(|s| s.rank = 2).attach(&mut adapted, Seed::new(2)).unwrap();
    disturb(&mut adapted);
    for site in base.sites() {
        let pointer = |decoder: &Decoder| decoder.parameters.get(site.weight).data().as_ptr();
        assert_eq!(pointer(&base), pointer(&adapted), "{} was copied", site.name);
    }
    assert!(base.adapted_at().is_none() && hidden(&base) == plain && hidden(&adapted) != plain);
    // What is taken of the one with an adapter is the plain model again.
    assert_eq!(hidden(&adapted.shared().unwrap()), plain);
    adapted.fold().unwrap();
    assert_eq!(hidden(&base), plain, "folding into the one changes the other");
}
