//! Rows of weights whose gradient is damped.

use crate::kit::{Bench, decoder, never};
use metier_core::stop;
use metier_model::Decoder;
use metier_train::optimizer::Sgd;
use metier_train::settings::chosen;
use metier_train::{Family, Importance, SoftMask, TrainSettings};
use std::cell::Cell;
use std::collections::BTreeMap;

/// Importances from 0 to 1; of each family the first unit has 1.
fn importance() -> BTreeMap<(usize, Family), Vec<f32>> {
    let model = decoder();
    let mut units = BTreeMap::new();
    for (block, family) in [0, 1].into_iter().flat_map(|block| Family::ALL.map(|family| (block, family))) {
        let count = family.units(&model);
        units.insert((block, family), (0..count).map(|unit| 1.0 - unit as f32 / count as f32).collect());
    }
    units
}

fn mask() -> SoftMask {
    SoftMask::of(&importance(), &decoder()).unwrap()
}

/// A model after one step of plain SGD, with and without a mask.
fn step(soft_mask: Option<SoftMask>) -> Decoder {
    let mut bench = Bench::new();
    bench.parts.optimizer = chosen("sgd", Sgd { rate: 1.0, momentum: 0.0, ..Sgd::default() }).unwrap();
    bench.settings = TrainSettings { steps: 1, clip: 0.0, ..bench.settings.clone() };
    bench.soft_mask = soft_mask;
    let mut decoder = decoder();
    bench.train_model(&mut decoder, &bench.work("step"), &never).unwrap();
    decoder
}

/// How much of a row's change the mask of [`importance`] leaves; heads share their only key head.
fn left(name: &str, row: usize) -> Option<f32> {
    let of = |count: usize, unit: usize| Some(1.0 - (1.0 - unit as f32 / count as f32));
    match name.rsplit('.').nth(1)? {
        "up_proj" => of(24, row),
        "down_proj" => of(16, row),
        "q_proj" => of(2, row / 8),
        "k_proj" | "v_proj" => Some(0.0),
        _ => None,
    }
}

#[test]
fn a_row_moves_by_what_is_left_of_it_and_other_matrices_as_without() {
    let (before, plain, masked) = (decoder(), step(None), step(Some(mask())));
    let mut damped = 0;
    for (id, name, tensor, _) in masked.parameters.iter() {
        let (before, plain, now) = (before.parameters.get(id).data(), plain.parameters.get(id).data(), tensor.data());
        let width = tensor.len() / tensor.shape()[0];
        for (number, value) in now.iter().enumerate() {
            let change = plain[number] - before[number];
            match left(name, number / width) {
                None => assert_eq!(value.to_bits(), plain[number].to_bits(), "{name}[{number}]"),
                Some(0.0) => assert_eq!(value.to_bits(), before[number].to_bits(), "{name}[{number}]"),
                Some(left) => {
                    // What is stored is the weight, which rounds to a 2^24th of itself.
                    let bound = 1e-6 * change.abs() + before[number].abs() * 2.0_f32.powi(-23);
                    assert!((value - before[number] - left * change).abs() <= bound, "{name}[{number}]");
                    damped += u32::from(change != 0.0);
                }
            }
        }
    }
    assert!(damped > 1000, "{damped} numbers were damped");
}

#[test]
fn what_is_not_trained_stays_as_it_is_to_the_bit() {
    let mut bench = Bench::new();
    let chosen = ["model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"];
    let mut model = decoder();
    model.freeze();
    for name in chosen {
        let id = model.parameters.find(name).unwrap();
        model.parameters.set_trainable(id, true);
    }
    bench.soft_mask = Some(SoftMask::of(&importance(), &model).unwrap());
    assert_eq!(bench.soft_mask.as_ref().unwrap().left().len(), 2);
    bench.train_model(&mut model, &bench.work("some"), &never).unwrap();
    for (id, name, tensor, _) in decoder().parameters.iter() {
        let same = tensor.data() == model.parameters.get(id).data();
        assert_eq!(same, !chosen.contains(&name), "{name}");
    }
}

#[test]
fn of_several_importances_the_greatest_counts() {
    let model = decoder();
    let of = |raw: [f32; 2]| Importance {
        base: model.fingerprint(),
        units: BTreeMap::from([((0, Family::Heads), raw.to_vec())]),
    };
    let rows = |all: &[Importance]| SoftMask::new(all, &model).unwrap().left()[0].1.clone();
    // Two heads are as far from their mean as each other.
    let left = 1.0 - 0.5_f32.sqrt().tanh();
    assert!(rows(&[of([1.0, 3.0])]).iter().all(|row| (row - left).abs() < 1e-6));
    assert_eq!(rows(&[of([1.0, 3.0]), of([2.0, 2.0])]), rows(&[of([1.0, 3.0])]));
    let even = SoftMask::new(&[of([2.0, 2.0])], &model).unwrap();
    assert!(even.left().iter().all(|(_, rows)| rows.iter().all(|row| row.to_bits() == 1.0_f32.to_bits())));
    assert!(even.notes[0].contains("block 0: its heads are all as important"), "{:?}", even.notes);
}

#[test]
fn a_stop_resumes_to_the_same_bytes_and_another_mask_is_another_run() {
    let mut bench = Bench::new();
    let without = bench.train(&bench.work("without"), &never).unwrap();
    bench.soft_mask = Some(mask());
    let whole = bench.train(&bench.work("whole"), &never).unwrap();
    assert!(whole.weights != without.weights);
    let work = bench.work("stopped");
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 9;
    assert!(stop::is_interruption(&bench.train(&work, &stop).err().unwrap()));
    bench.train(&work, &never).unwrap().assert_same(&whole, "with a mask");
    bench.soft_mask = None;
    let error = bench.train(&work, &never).err().unwrap();
    assert!(error.to_string().contains("belongs to another run"), "{error}");
}

#[test]
fn a_mask_of_what_is_not_trained_is_refused() {
    let mut model = decoder();
    model.freeze();
    let error = SoftMask::of(&importance(), &model).unwrap_err();
    assert!(error.to_string().contains("no weight that is trained"), "{error}");
    let few = BTreeMap::from([((1, Family::Inner), vec![0.5; 23])]);
    let error = SoftMask::of(&few, &decoder()).unwrap_err();
    assert_eq!(error.faults[0].place.key.as_deref(), Some("model.layers.1.mlp.up_proj"));
    assert!(error.to_string().contains("23 importances are not for 24 rows"), "{error}");
}
