//! Whether a tokenizer gives the ids, places and texts that the `tokenizers` crate gives.
//!
//! ```sh
//! cargo run --release -p metier-tokenizer --example same_as_tokenizers -- TOKENIZER < texts.jsonl
//! ```
//!
//! TOKENIZER is any file that `scheme::from_file` reads. Each line of the input is a text as a JSON string. Places are compared
//! in bytes and in characters. Special
//! tokens are read as such in every second text. The first texts that differ are shown; the program fails when any does.

use metier_core::seam::Tokenize;
use metier_tokenizer::scheme;
use std::io::BufRead;
use std::path::Path;
use tokenizers::{ModelWrapper, Tokenizer};

fn main() {
    let path = std::env::args().nth(1).expect("name a tokenizer's file");
    let json = scheme::json_of_file(Path::new(&path)).expect("the tokenizer is read");
    let ours = scheme::HuggingFace::from_json(&json).expect("the tokenizer is read");
    let mut special = Tokenizer::from_bytes(&json).expect("the crate reads it");
    special.with_truncation(None).expect("none is no fault").with_padding(None);
    let mut plain = special.clone();
    plain.set_encode_special_tokens(true);
    // The crate's Unigram finds special tokens in a text although they are not looked for, and ours does not.
    let is_unigram = matches!(special.get_model(), ModelWrapper::Unigram(_));
    let names: Vec<String> = special.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    let names = |text: &str| names.iter().any(|name| text.contains(name));
    let (mut bytes, mut tokens, mut differ) = (0, 0, 0);
    let mut lines = std::io::stdin().lock().lines();
    let mut texts = 0;
    loop {
        let batch: Vec<String> = lines
            .by_ref()
            .take(512)
            .map(|line| serde_json::from_str(&line.expect("the input is text")).expect("a line is a JSON string"))
            .collect();
        if batch.is_empty() {
            break;
        }
        for (asked, theirs) in [(false, &plain), (true, &special)] {
            let half = batch.iter().map(String::as_str).skip(usize::from(asked)).step_by(2);
            let half: Vec<&str> = half.filter(|text| asked || !is_unigram || !names(text)).collect();
            let encoded = ours.encode(&half, asked).expect("the texts encode");
            let expected = theirs.encode_batch(half.clone(), false).expect("the texts encode");
            // Places in characters are those in bytes where each character is one.
            let others: Vec<&str> = half.iter().copied().filter(|text| !text.is_ascii()).collect();
            let characters = theirs.encode_batch_char_offsets(others, false).expect("the texts encode");
            let mut characters = characters.iter();
            for ((text, encoded), expected) in half.iter().zip(&encoded).zip(&expected) {
                let in_characters = if text.is_ascii() { Some(expected) } else { characters.next() };
                texts += 1;
                bytes += text.len();
                tokens += encoded.ids.len();
                let decoded = ours.decode(&encoded.ids, true).expect("ids decode");
                let same = encoded.ids == expected.get_ids()
                    && same_places(text, &encoded.ends, expected.get_offsets())
                    && in_characters
                        .is_some_and(|expected| same_ends(encoded.character_ends(text), expected.get_offsets()))
                    && decoded == theirs.decode(&encoded.ids, false).expect("ids decode");
                if !same {
                    differ += 1;
                    if differ <= 3 {
                        let at = encoded.ids.iter().zip(expected.get_ids()).take_while(|(one, other)| one == other);
                        let at = at.count();
                        let near = |ids: &[u32]| ids[at.min(ids.len())..].iter().take(6).copied().collect::<Vec<_>>();
                        println!(
                            "{text:.300?}\n at {at}: {:?}, not {:?}",
                            near(&encoded.ids),
                            near(expected.get_ids())
                        );
                    }
                }
            }
        }
    }
    println!("{texts} texts, {bytes} bytes, {tokens} tokens, {differ} texts differ");
    assert!(differ == 0, "they differ");
}

/// The crate gives a token that is a part of a character the place of the whole character.
fn same_places(text: &str, ends: &[usize], offsets: &[(usize, usize)]) -> bool {
    same_ends(ends.iter().map(|&end| text.ceil_char_boundary(end)).collect(), offsets)
}

/// The crate gives a token that stands for what is not in the text, as the mark before it, a place that another token has
/// too.
fn same_ends(ends: Vec<usize>, offsets: &[(usize, usize)]) -> bool {
    let mut last = 0;
    let offsets = offsets.iter().map(|&(_, stop)| {
        last = stop.max(last);
        last
    });
    offsets.eq(ends)
}
