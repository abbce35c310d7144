//! Damages the labeled pages for some minutes and reads them: `cargo run --release -p metier-corpus --example fuzz_pages -- 10 7`.
//!
//! The arguments are minutes and the first seed. Prints how many pages were read and the most memory that was held. A panic, or a
//! piece that does not stand in its page, ends it with the seed, which makes the same page again.

#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use metier_core::memory;
use metier_corpus::html;
use metier_testkit::{fixture, hashed, mutated};
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

/// Tags that are put into pages, most of which change how the rest is read.
const TAGS: [&str; 12] = [
    "<table>",
    "</table>",
    "<td>",
    "</div>",
    "<a href=#>",
    "<pre>",
    "<title>",
    "<script>",
    "<!--",
    "<plaintext>",
    "<li>",
    "\0",
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let minutes: f64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10.0);
    let mut seed: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    let files = std::fs::read_dir(fixture("corpora/pages")).expect("a fixture");
    let paths =
        files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "html"));
    let pages: Vec<Vec<u8>> = paths.map(|path| std::fs::read(path).expect("a fixture")).collect();
    let before = memory::peak_bytes();
    let (mut read, mut longest) = (0_u64, Duration::ZERO);
    while Instant::now() < end {
        for page in &pages {
            let bytes = damaged(page, seed);
            let start = Instant::now();
            let is_right = catch_unwind(|| stands_in(&bytes));
            longest = longest.max(start.elapsed());
            if !matches!(is_right, Ok(true)) {
                println!("wrong with the seed {seed}");
                std::process::exit(1);
            }
            read += 1;
            seed += 1;
        }
    }
    let growth = memory::peak_bytes().saturating_sub(before) >> 20;
    println!("{read} pages in {minutes} minutes, no panic; {growth} MiB more held at most; longest {longest:?}");
}

/// Whether the text stands in the page where its pieces say.
fn stands_in(bytes: &[u8]) -> bool {
    let decoded = html::decode(bytes);
    let main = html::main_text(&decoded.text);
    let source = decoded.text.as_bytes();
    main.pieces.0.iter().all(|piece| {
        main.text.as_bytes().get(piece.start..piece.start + piece.length)
            == source.get(piece.source..piece.source + piece.length)
    })
}

/// The page with the damage of a seed, and with tags in wrong places.
fn damaged(page: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = mutated(page, seed);
    let mut draw = hashed::mixed(seed ^ 0x7061_6765) as usize;
    for _ in 0..draw % 8 {
        draw = hashed::mixed(draw as u64) as usize;
        let at = draw / 16 % (bytes.len() + 1);
        bytes.splice(at..at, TAGS[draw % TAGS.len()].bytes());
    }
    bytes
}
