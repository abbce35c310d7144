//! Adapters on a tiny seeded model.

#![expect(clippy::unwrap_used, reason = "what the tests share may fail as a test does")]
#![expect(clippy::single_range_in_vec_init, reason = "one text is one range of rows")]

use metier_compute::{Gradients, Tape};
use metier_core::part::{Build, choose};
use metier_core::seed::Seed;
use metier_core::settings::File;
use metier_core::{Place, Result};
use metier_model::{Batch, Config, Decoder};
use metier_peft::adapter::{ADAPTERS, Adapter, Full, Lora};
use metier_peft::{Attached, folder};
use metier_testkit::{assert_close, scratch};
use serde_json::{Value, json};

fn decoder(seed: u64) -> Decoder {
    let config = Config {
        vocabulary_size: 50,
        hidden_size: 16,
        intermediate_size: 24,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
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

fn gradients(decoder: &Decoder) -> Gradients {
    let batch = Batch {
        ids: vec![1, 2, 3, 4],
        targets: vec![2, 3, 4, 5],
        weights: vec![1.0; 4],
        positions: vec![0, 1, 2, 3],
        sequences: vec![0..4],
    };
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
    assert_eq!(attached, Attached::of(&decoder));
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
    let adapter = lora(|s| s.rank = 2);
    adapter.attach(&mut decoder, Seed::new(2)).unwrap();
    disturb(&mut decoder);
    let adapted = hidden(&decoder);
    assert!(decoder.tensors().err().unwrap().to_string().contains("fold the adapter"));
    adapter.fold(&mut decoder).unwrap();
    let folded = hidden(&decoder);
    assert_close("folded against adapted", &folded, &adapted, 1e-5, 1e-5);
    assert!(base.iter().zip(&folded).any(|(a, b)| (a - b).abs() > 1e-2));
    assert!(decoder.attached().is_empty() && decoder.trainable_numbers() == 0);
    assert!(adapter.fold(&mut decoder).unwrap_err().to_string().contains("nothing to fold"));
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
    let bad = Lora { rank: 0, alpha: -1.0, targets: vec![] };
    let error = bad.build(&Place::key("adapter")).err().unwrap();
    assert_eq!(error.faults.len(), 3, "{error}");
}

#[test]
fn full_trains_everything_and_folds_to_itself() {
    let mut decoder = decoder(1);
    let adapter = Full::default().build(&Place::default()).unwrap();
    let attached = adapter.attach(&mut decoder, Seed::new(1)).unwrap();
    assert_eq!((attached.frozen, attached.sites.len()), (0, 0));
    let before = weights(&decoder);
    adapter.fold(&mut decoder).unwrap();
    assert_eq!(weights(&decoder), before);
}

#[test]
fn an_adapter_comes_back_from_its_folder() {
    let folder = scratch("adapter");
    let mut trained = decoder(1);
    lora(|s| (s.rank, s.alpha, s.targets) = (2, 5.0, vec!["v_proj".into(), "up_proj".into()]))
        .attach(&mut trained, Seed::new(2))
        .unwrap();
    disturb(&mut trained);
    folder::save(&trained, "base", folder.path()).unwrap();
    let config: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["target_modules"], serde_json::json!(["up_proj", "v_proj"]));
    assert_eq!((config["r"].as_u64(), config["lora_alpha"].as_f64()), (Some(2), Some(5.0)));

    let mut other = decoder(1);
    let attached = folder::load(&mut other, folder.path()).unwrap();
    assert_eq!(attached, Attached::of(&trained));
    assert_eq!(hidden(&other), hidden(&trained));
}

#[test]
fn a_foreign_or_damaged_adapter_is_refused() {
    let folder = scratch("damaged");
    let mut trained = decoder(1);
    lora(|s| s.rank = 2).attach(&mut trained, Seed::new(2)).unwrap();
    folder::save(&trained, "base", folder.path()).unwrap();
    let load = || -> Result<Attached> { folder::load(&mut decoder(1), folder.path()) };

    let path = folder.path().join("adapter_config.json");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("\"use_dora\": false", "\"use_dora\": true").replace("\"r\": 2", "\"r\": 0"))
        .unwrap();
    let text = load().unwrap_err().to_string();
    assert!(text.contains("adapter_config.json: use_dora") && text.contains("r: 0 is no rank"), "{text}");
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
        ("rank_pattern", json!({"q_proj": 4})),
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
    assert!(folder::save(&decoder(1), "base", folder.path()).unwrap_err().to_string().contains("nothing to write"));
}

#[test]
fn every_adapter_is_chosen_by_name_and_keeps_its_settings() {
    for part in ADAPTERS {
        let text = format!("method = \"{}\"\n", part.name);
        let file = File::parse("adapter.toml", &text).unwrap();
        let chosen = choose("adapter", ADAPTERS, &file.root()).unwrap();
        assert_eq!(chosen.name, part.name);
        let mut decoder = decoder(1);
        let one = chosen.part.attach(&mut decoder, Seed::new(1)).unwrap();
        assert!(one.trainable > 0);
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
    assert!(base.attached().is_empty() && hidden(&base) == plain && hidden(&adapted) != plain);
    // What is taken of the one with an adapter is the plain model again.
    assert_eq!(hidden(&adapted.shared().unwrap()), plain);
    let _ = lora(|_| {}).fold(&mut adapted);
    assert_eq!(hidden(&base), plain, "folding into the one changes the other");
}
