//! How fast a tokenizer encodes a file of text.
//!
//! ```sh
//! RAYON_NUM_THREADS=1 cargo run --release -p metier-tokenizer --example encode_speed -- TOKENIZER TEXT [cold]
//! ```
//!
//! Prints MB/s of the first pass over the text and of later ones, which find the words of earlier ones; with `cold` each
//! pass has a new tokenizer.

use metier_tokenizer::scheme;
use std::path::Path;
use std::time::Instant;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (path, text) = arguments.next().zip(arguments.next()).expect("name a tokenizer's file and a text");
    let text = std::fs::read_to_string(text).expect("the text is readable");
    let is_cold = arguments.next().is_some_and(|word| word == "cold");
    let open = || scheme::from_file(Path::new(&path)).expect("the tokenizer is read");
    let mut tokenizer = open();
    let documents = documents(&text);
    for pass in 0..6 {
        if is_cold {
            tokenizer = open();
        }
        let (begun, worked) = (Instant::now(), processor_seconds());
        let ids = tokenizer.ids(&documents, false).expect("the texts encode");
        let seconds = begun.elapsed().as_secs_f64();
        let worked = processor_seconds() - worked;
        let rate = |seconds: f64| text.len() as f64 / 1e6 / seconds;
        println!(
            "pass {pass}: {:.1} MB/s, {:.1} by processor time, {} tokens",
            rate(seconds),
            rate(worked),
            ids.concat().len()
        );
    }
}

/// The text as documents of about 100,000 bytes, cut at ends of lines.
fn documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let mut rest = text;
    while let Some(line) = rest.as_bytes().iter().skip(100_000).position(|&byte| byte == b'\n') {
        let (document, others) = rest.split_at(100_000 + line + 1);
        documents.push(document);
        rest = others;
    }
    documents.push(rest);
    documents
}

/// What all threads have worked together; on a busy machine it says more than the time that went by.
fn processor_seconds() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let statistics = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    statistics.filter_map(|text| text.split(' ').next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
}
