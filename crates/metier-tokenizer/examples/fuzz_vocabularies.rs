//! Damages files of vocabularies for some minutes, reads them and encodes with those that are read:
//! `cargo run --release -p metier-tokenizer --example fuzz_vocabularies -- 10 tekken.json 7`.
//!
//! The arguments are minutes, how the names of files end, and the first seed. The files are those of
//! `tests/golden/tokenizer_files.json`, and for each the `tokenizer.json` that encodes alike.
//! Prints how many files were read, how many of them were refused, and the most memory that was held. A panic ends it with the
//! seed, which makes the same file again.

#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use metier_core::memory;
use metier_core::seam::Tokenize;
use metier_testkit::{golden, hashed, mutated};
use metier_tokenizer::scheme::{self, HuggingFace};
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

const TEXTS: [&str; 4] = [
    "The tokenizer  reads\n the texts.",
    "où \u{301}▁漢字 🎈\0<s></s>[INST]",
    "ＡＢＣ\r\n\t12345 aaaaaaaaaaaaaaaa",
    "Токены 각>\u{338}",
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let minutes: f64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10.0);
    let part = arguments.next().unwrap_or_default();
    let mut seed: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    let files: Vec<(String, Vec<u8>)> = files().into_iter().filter(|(name, _)| name.ends_with(&part)).collect();
    assert!(!files.is_empty(), "no file is called {part}");
    let before = memory::peak_bytes();
    let (mut read, mut refused, mut longest) = (0_u64, 0_u64, Duration::ZERO);
    while Instant::now() < end {
        for (name, whole) in &files {
            let bytes = damaged(whole, seed);
            let start = Instant::now();
            let found = catch_unwind(|| try_out(Path::new(name), &bytes));
            longest = longest.max(start.elapsed());
            let Ok(is_read) = found else {
                println!("{name}: a panic with the seed {seed}");
                std::process::exit(1);
            };
            read += 1;
            refused += u64::from(!is_read);
        }
        seed += 1;
    }
    let growth = memory::peak_bytes().saturating_sub(before) >> 20;
    println!(
        "{part}: {read} files in {minutes} minutes, {refused} refused, no panic; {growth} MiB more held at most; longest {longest:?}"
    );
}

/// Whether the file is read; what is read must encode and decode, or say why not.
fn try_out(path: &Path, bytes: &[u8]) -> bool {
    let Ok(tokenizer) = scheme::from_bytes(path, bytes) else { return false };
    encode(&tokenizer);
    true
}

fn encode(tokenizer: &HuggingFace) {
    for special in [false, true] {
        for encoded in tokenizer.encode(&TEXTS, special).into_iter().flatten() {
            let _ = tokenizer.decode(&encoded.ids, special);
        }
    }
}

/// Each vocabulary with its name.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for case in golden::read("tokenizer_files.json")["cases"].as_array().expect("a list") {
        let name = case["file"].as_str().expect("a name");
        let bytes = BASE64_STANDARD.decode(case["data"].as_str().expect("base64")).expect("base64");
        let folder = metier_testkit::scratch("tokenizer_fuzz");
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).expect("the folder is writable");
        let json = scheme::json_of_file(&path).expect("the golden is read");
        files.push((format!("{name} as tokenizer.json"), json.into_bytes()));
        files.push((name.to_owned(), bytes));
    }
    files
}

/// The file with the damage of a seed; in every second one that is text, a number is another too.
fn damaged(whole: &[u8], seed: u64) -> Vec<u8> {
    const NUMBERS: [&str; 9] =
        ["-1", "0", "1", "256", "65536", "4294967295", "4294967296", "18446744073709551616", "1e400"];
    let mut bytes = mutated(whole, seed);
    let draw = hashed::mixed(seed ^ 0x6e75_6d62) as usize;
    let digits = |byte: &u8| byte.is_ascii_digit();
    if draw.is_multiple_of(2)
        && let Some(start) = (draw / 2 % bytes.len().max(1)..bytes.len()).find(|&at| digits(&bytes[at]))
    {
        let length = bytes[start..].iter().take_while(|byte| digits(byte)).count();
        let number = NUMBERS[draw / 1024 % NUMBERS.len()];
        bytes.splice(start..start + length, number.bytes());
    }
    bytes
}
