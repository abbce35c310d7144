//! How long rows take to be put in order: `cargo run --release -p metier-corpus --example submodular_speed -- 50000 256 100 [naive|stochastic]`.
//!
//! The arguments are rows, numbers of each, parts. Rows lie around 40 centers. Prints a line for each function.

#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use metier_core::memory;
use metier_core::seed::Seed;
use metier_corpus::select::submodular::{Features, Function, Optimizer, Settings, parts, subset};
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rows, dimension, partitions) = (number(0, 50_000), number(1, 256), number(2, 100));
    let optimizer = match arguments.get(3).map(String::as_str) {
        Some("naive") => Some(Optimizer::Naive),
        Some("stochastic") => Some(Optimizer::STOCHASTIC),
        _ => None,
    };
    let mut random = Seed::new(1).at(0);
    let centers: Vec<f64> = (0..40 * dimension).map(|_| random.normal()).collect();
    let mut values = Vec::with_capacity(rows * dimension);
    for _ in 0..rows {
        let center = random.below(40) as usize * dimension;
        values.extend(centers[center..center + dimension].iter().map(|value| (value + random.normal()) as f32));
    }
    let features = Features::new(values, dimension).expect("random rows have a length");
    for (name, function) in [
        ("facility location", Function::FacilityLocation),
        ("graph cut", Function::GRAPH_CUT),
        ("log-determinant", Function::LOG_DET),
        ("disparity sum", Function::DisparitySum),
    ] {
        let start = Instant::now();
        let settings = Settings { function, optimizer, partitions, ..Settings::default() };
        let found = parts(&features, &settings, None, Seed::new(1), &|| Ok(())).expect("settings are right");
        let drawn = subset(&found, 0.25, Seed::new(1), 0).expect("settings are right");
        let peak = memory::peak_bytes() >> 20;
        println!("{name}: {:.2} s, {} rows drawn, at most {peak} MiB", start.elapsed().as_secs_f64(), drawn.len());
    }
}
