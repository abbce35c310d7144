//! Whether a tokenizer gives the ids that another program wrote down.
//!
//! ```sh
//! cargo run --release -p metier-tokenizer --example agree -- TOKENIZER < texts.jsonl
//! ```
//!
//! TOKENIZER is any file that `scheme::from_file` reads. Each line of the input is an object with `text` and `ids`.
//! The first texts that differ are shown; the program fails when any does.

use metier_core::seam::Tokenize;
use metier_tokenizer::scheme;
use serde::Deserialize;
use std::io::BufRead;
use std::path::Path;

#[derive(Deserialize)]
struct Expected {
    text: String,
    ids: Vec<u32>,
}

fn main() {
    let path = std::env::args().nth(1).expect("name a tokenizer's file");
    let tokenizer = scheme::from_file(Path::new(&path)).expect("the tokenizer is read");
    let (mut texts, mut bytes, mut tokens, mut differ) = (0, 0, 0, 0);
    for line in std::io::stdin().lock().lines() {
        let expected: Expected = serde_json::from_str(&line.expect("the input is text")).expect("a line is an object");
        let ids = tokenizer.encode(&[&expected.text], false).expect("the text encodes").remove(0).ids;
        texts += 1;
        bytes += expected.text.len();
        tokens += ids.len();
        if ids != expected.ids {
            differ += 1;
            if differ <= 5 {
                show(&tokenizer, &expected, &ids);
            }
        }
    }
    println!("{texts} texts, {bytes} bytes, {tokens} tokens, {differ} texts differ");
    assert!(differ == 0, "the ids differ");
}

fn show(tokenizer: &dyn Tokenize, expected: &Expected, ids: &[u32]) {
    let at = ids.iter().zip(&expected.ids).take_while(|(one, other)| one == other).count();
    let written = |ids: &[u32]| {
        let ids = ids.iter().skip(at.saturating_sub(2)).take(8);
        ids.map(|&id| (id, String::from_utf8_lossy(&tokenizer.bytes_of(id).unwrap_or_default()).into_owned()))
            .collect::<Vec<_>>()
    };
    println!("from token {at}: expected {:?}\n            found {:?}", written(&expected.ids), written(ids));
}
