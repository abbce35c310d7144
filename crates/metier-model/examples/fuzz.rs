//! Damages files of weights for some minutes and reads them: `cargo run --release --example fuzz -- 10`. With a word more, only
//! files whose names contain it; `gguf` is the reader of vocabularies too.
//!
//! Prints how many files were read, how many of them were refused, and the most memory that was held. A panic ends it with the
//! seed, which makes the same file again.

#![expect(clippy::print_stdout, reason = "it is what the program is for")]

#[path = "../tests/it/mutate.rs"]
mod mutate;

use metier_core::memory;
use metier_model::checkpoint::count_tensors;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    let minutes: f64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10.0);
    let end = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    let part = std::env::args().nth(2).unwrap_or_default();
    let names = mutate::FILES.iter().filter(|name| name.contains(&part));
    let files: Vec<(&str, Vec<u8>)> = names.map(|name| (*name, mutate::file(name))).collect();
    let before = memory::peak_bytes();
    let (mut read, mut refused, mut longest) = (0_u64, 0_u64, Duration::ZERO);
    // Other seeds than the test's.
    let mut seed = 1 << 32;
    while Instant::now() < end {
        for (name, whole) in &files {
            let bytes = mutate::mutated(whole, seed);
            let start = Instant::now();
            let found = catch_unwind(|| count_tensors(Path::new(name), &bytes).is_err());
            longest = longest.max(start.elapsed());
            let Ok(failed) = found else {
                println!("{name}: a panic with the seed {seed}");
                std::process::exit(1);
            };
            read += 1;
            refused += u64::from(failed);
        }
        seed += 1;
    }
    let growth = memory::peak_bytes().saturating_sub(before) >> 20;
    println!(
        "{read} files in {minutes} minutes, {refused} refused, no panic; {growth} MiB more held at most; longest {longest:?}"
    );
}
