//! Learns a vocabulary from texts.
//!
//! ```sh
//! cargo run --release -p metier-tokenizer --example learn_vocabulary -- unigram '{"vocabulary_size": 8000}' < texts.jsonl > tokenizer.json
//! ```
//!
//! Each line of the input is a text as a JSON string.

use metier_core::part::Build;
use metier_core::{Error, Place, Result};
use metier_tokenizer::train::{Bpe, Learn, Unigram, WordPiece, train};
use std::borrow::Cow;
use std::io::BufRead;

fn settings<T: Build<dyn Learn> + for<'a> serde::Deserialize<'a>>(text: &str) -> Result<Box<dyn Learn>> {
    let settings: T = serde_json::from_str(text).expect("the settings are those of the learner");
    settings.build(&Place::key("settings"))
}

fn main() {
    let mut given = std::env::args().skip(1);
    let (method, text) = (given.next().unwrap_or_default(), given.next().unwrap_or_else(|| "{}".to_owned()));
    let learner = match method.as_str() {
        "bpe" => settings::<Bpe>(&text),
        "unigram" => settings::<Unigram>(&text),
        "word_piece" => settings::<WordPiece>(&text),
        other => Err(Error::program(format!("`{other}` is no learner; known: bpe, unigram, word_piece"))),
    };
    let texts = std::io::stdin().lock().lines().map(|line| {
        let line = line.expect("the input is text");
        Ok(Cow::Owned(serde_json::from_str(&line).expect("a line is a JSON string")))
    });
    let folder = metier_testkit::scratch("learn_vocabulary");
    let learned = train(learner.expect("the settings are right").as_ref(), texts, folder.path(), 2 << 30);
    println!("{}", learned.expect("the vocabulary is learned").0.json);
}
