//! Weights that learn faster or slower than the others.

use crate::kit::{Bench, decoder, never};
use metier_model::Decoder;
use metier_train::{OwnRate, TrainSettings};

const EMBEDDING: &str = "model.embed_tokens.weight";
const WIDTH: usize = 16;
const FROM: usize = 40;

fn trained(bench: &mut Bench, name: &str, rates: Vec<OwnRate>) -> Decoder {
    bench.settings = TrainSettings { steps: 1, rates, ..bench.settings.clone() };
    let mut decoder = decoder();
    bench.train_model(&mut decoder, &bench.work(name), &never).unwrap();
    decoder
}

fn own(weights: &str, times: f64, from_row: usize) -> OwnRate {
    OwnRate { weights: weights.into(), times, from_row }
}

fn values<'a>(decoder: &'a Decoder, name: &str) -> &'a [f32] {
    decoder.parameters.iter().find(|(_, known, ..)| *known == name).unwrap().2.data()
}

#[test]
fn a_step_is_as_much_longer() {
    let mut bench = Bench::new();
    let (before, plain) = (decoder(), trained(&mut bench, "plain", Vec::new()));
    let rates = vec![own(EMBEDDING, 4.0, FROM), own("*.mlp.*", 0.0, 0), own("*.self_attn.*", 3.0, 0)];
    let own = trained(&mut bench, "own", rates);
    for (_, name, tensor, _) in own.parameters.iter() {
        let (before, plain, now) = (values(&before, name), values(&plain, name), tensor.data());
        let first = if name == EMBEDDING { FROM * WIDTH } else { 0 };
        assert_eq!(now[..first], plain[..first], "{name}");
        let times = match name {
            EMBEDDING => 4.0,
            _ if name.contains(".mlp.") => 0.0,
            _ if name.contains(".self_attn.") => 3.0,
            _ => 1.0,
        };
        let mut moved = 0.0_f32;
        for (number, value) in now.iter().enumerate().skip(first) {
            let step = times * (plain[number] - before[number]);
            moved = moved.max(step.abs());
            assert!((value - before[number] - step).abs() <= 1e-3 * step.abs() + 1e-6, "{name}[{number}]");
        }
        assert_eq!(moved > 0.0, times > 0.0, "{name} moved by {moved}");
    }
}

#[test]
fn a_rate_for_no_weight_is_refused_before_the_first_step() {
    let mut bench = Bench::new();
    bench.settings.rates = vec![own("*.lora_B*", 16.0, 0), own(EMBEDDING, 2.0, 64)];
    let work = bench.work("refused");
    let error = bench.train_model(&mut decoder(), &work, &never).unwrap_err();
    let keys: Vec<_> = error.faults.iter().filter_map(|fault| fault.place.key.as_deref()).collect();
    assert_eq!(keys, ["rates[1].weights", "rates[2].from_row"]);
    assert!(!work.join("loss.jsonl").exists());
}
