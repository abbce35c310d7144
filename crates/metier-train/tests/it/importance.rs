//! Which units matter for a text.

use crate::kit::{Bench, decoder, never};
use metier_core::seed::Seed;
use metier_core::stop;
use metier_model::Decoder;
use metier_train::{Family, Importance, ImportanceSettings, Measured};

/// A model whose matrices are large enough for its blocks to matter.
fn model() -> Decoder {
    let mut decoder = decoder();
    let matrices = decoder.parameters.iter().filter(|(_, _, tensor, _)| tensor.shape().len() == 2);
    let ids: Vec<_> = matrices.map(|(id, ..)| id).collect();
    for id in ids {
        decoder.parameters.get_mut(id).data_mut().iter_mut().for_each(|value| *value *= 12.0);
    }
    decoder
}

fn settings(dropout: f64) -> ImportanceSettings {
    ImportanceSettings { windows: 6, context: 16, dropout }
}

fn measure(decoder: &mut Decoder, settings: &ImportanceSettings) -> metier_core::Result<(Importance, Measured)> {
    metier_core::progress::set_mode(metier_core::progress::Mode::Silent);
    Importance::measure(decoder, &Bench::new().shards, settings, Seed::new(6), &never)
}

#[test]
fn a_dead_unit_does_not_matter_and_the_others_do() {
    const DEAD: usize = 5;
    let mut decoder = model();
    let down = decoder.parameters.find("model.layers.1.mlp.down_proj.weight").unwrap();
    for row in decoder.parameters.get_mut(down).data_mut().chunks_exact_mut(24) {
        row[DEAD] = 0.0;
    }
    let before = decoder.fingerprint();
    let (importance, measured) = measure(&mut decoder, &settings(0.1)).unwrap();
    assert_eq!((measured.tokens, importance.units.len()), (94, 6));
    assert!(measured.divergence > 0.0);
    for ((block, family), values) in &importance.units {
        assert_eq!(values.len(), family.units(&decoder));
        for (unit, value) in values.iter().enumerate() {
            let is_dead = (*block, *family, unit) == (1, Family::Inner, DEAD);
            assert_eq!(*value == 0.0, is_dead, "block {block} {family:?} {unit}: {value}");
        }
    }
    // Nothing is left behind in the model, and the same seed gives the same numbers.
    assert!(decoder.adapted_at().is_none() && decoder.fingerprint() == before && importance.base == before);
    assert_eq!(measure(&mut decoder, &settings(0.1)).unwrap().0, importance);
}

#[test]
fn passes_that_are_the_same_are_an_error() {
    let error = measure(&mut model(), &settings(0.0)).unwrap_err();
    assert_eq!(error.faults[0].place.key.as_deref(), Some("dropout"));
    assert!(error.to_string().contains("every importance is 0"), "{error}");
    // Less than one number in all passes is left out.
    let error = measure(&mut model(), &settings(1e-12)).unwrap_err();
    assert!(error.to_string().contains("every importance is 0"), "{error}");
    let bad = ImportanceSettings { windows: 0, context: 1, dropout: f64::NAN };
    assert_eq!(measure(&mut model(), &bad).unwrap_err().faults.len(), 3);
}

#[test]
fn no_window_is_seen_twice_and_a_stop_is_heeded() {
    let many = ImportanceSettings { windows: 1_000_000, ..settings(0.1) };
    let (_, measured) = measure(&mut model(), &many).unwrap();
    // Nothing stands before these documents.
    let tokens: u64 = Bench::new().shards.documents().iter().map(|document| document.tokens() - 1).sum();
    assert_eq!(measured.tokens, tokens);
    let bench = Bench::new();
    let error = Importance::measure(&mut model(), &bench.shards, &many, Seed::new(6), &|| true).unwrap_err();
    assert!(stop::is_interruption(&error));
}

#[test]
fn files_are_read_by_the_model_they_belong_to_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("importance.safetensors");
    let mut decoder = model();
    let (mut importance, _) = measure(&mut decoder, &settings(0.1)).unwrap();
    importance.save(&path).unwrap();
    assert_eq!(Importance::read(&path, &decoder).unwrap(), importance);
    let other = crate::kit::decoder();
    let error = Importance::read(&path, &other).unwrap_err();
    assert!(error.to_string().contains("those of another model"), "{error}");

    importance.units.insert((0, Family::Inner), vec![0.5; 23]);
    importance.units.remove(&(1, Family::Heads));
    importance.save(&path).unwrap();
    let error = Importance::read(&path, &decoder).unwrap_err();
    let keys: Vec<_> = error.faults.iter().filter_map(|fault| fault.place.key.as_deref()).collect();
    assert_eq!(keys, ["0.inner", "1.heads"]);
    assert!(error.faults[0].message.contains("[23]") && error.faults[0].message.contains("[24]"), "{error}");
    std::fs::write(&path, "no tensors").unwrap();
    assert!(Importance::read(&path, &decoder).unwrap_err().to_string().contains("it holds no importances"));
}
