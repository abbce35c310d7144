//! Tiny corpora, the same on every machine.

use metier_core::data::{Document, Metadata, Pieces};
use std::path::Path;

const WORDS: [&str; 48] = [
    "the",
    "packet",
    "server",
    "client",
    "must",
    "send",
    "a",
    "header",
    "with",
    "each",
    "message",
    "and",
    "then",
    "wait",
    "for",
    "reply",
    "if",
    "no",
    "answer",
    "comes",
    "within",
    "seconds",
    "it",
    "may",
    "try",
    "again",
    "address",
    "of",
    "host",
    "is",
    "written",
    "in",
    "octets",
    "port",
    "number",
    "field",
    "holds",
    "length",
    "option",
    "list",
    "empty",
    "when",
    "connection",
    "closes",
    "state",
    "table",
    "route",
    "network",
];

/// About `bytes` bytes of sentences over a small vocabulary: never fewer, and at most one sentence more.
/// The same `seed` gives the same text.
///
/// Words follow each other with a bias, so a language model can learn something from it.
pub fn prose(seed: u64, bytes: usize) -> String {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut out = String::with_capacity(bytes + 128);
    let mut line = 0;
    let mut word = 0_usize;
    while out.len() < bytes {
        let length = 5 + (next(&mut state) % 9) as usize;
        for position in 0..length {
            let random = next(&mut state);
            word = if random.is_multiple_of(4) {
                (random >> 8) as usize % WORDS.len()
            } else {
                (word * 7 + 5) % WORDS.len()
            };
            let text = WORDS[word];
            if position == 0 {
                let (first, rest) = text.split_at(1);
                out.push_str(&first.to_uppercase());
                out.push_str(rest);
            } else {
                out.push(' ');
                out.push_str(text);
            }
        }
        line += 1;
        out.push_str(if line % 6 == 0 { ".\n\n" } else { ". " });
    }
    out
}

/// `count` documents of about `bytes` bytes each, all different, under the license `CC0-1.0`.
pub fn documents(seed: u64, count: usize, bytes: usize) -> Vec<Document> {
    (0..count)
        .map(|index| {
            let text = format!("Document {index}\n\n{}", prose(seed.wrapping_mul(1_000_003) + index as u64, bytes));
            document(&format!("document-{index:03}.txt"), &text)
        })
        .collect()
}

/// One document as it would be read from the file `id`. Its `source_sha256` is a stand-in made from the text by
/// a short hash, not a real SHA-256.
pub fn document(id: &str, text: &str) -> Document {
    let mut state = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    Document {
        id: id.to_owned(),
        text: text.to_owned(),
        source: id.to_owned(),
        source_sha256: [(); 4].map(|()| format!("{:016x}", next(&mut state))).concat(),
        license: "CC0-1.0".to_owned(),
        pieces: Pieces::whole(text.len()),
        partial: Vec::new(),
        metadata: Metadata::new(),
    }
}

/// Writes each `(name, text)` as a file under `folder`, making folders on the way.
///
/// # Panics
/// When a file cannot be written.
#[track_caller]
pub fn write<N: AsRef<Path>, T: AsRef<[u8]>>(folder: &Path, files: &[(N, T)]) {
    for (name, text) in files {
        crate::place::write(&folder.join(name), text.as_ref());
    }
}

/// Writes `count` text files of about `bytes` bytes each under `folder`: `document-000.txt` and so on.
///
/// # Panics
/// When a file cannot be written.
#[track_caller]
pub fn write_prose(folder: &Path, seed: u64, count: usize, bytes: usize) {
    let files: Vec<_> =
        documents(seed, count, bytes).into_iter().map(|document| (document.id, document.text)).collect();
    write(folder, &files);
}

/// The splitmix64 sequence.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_repeatable_and_long_enough() {
        let text = prose(7, 1000);
        assert_eq!(text, prose(7, 1000));
        assert_ne!(text, prose(8, 1000));
        assert!((1000..1150).contains(&text.len()), "{}", text.len());
        assert!(text.is_ascii());
    }

    #[test]
    fn documents_differ_and_are_whole() {
        let documents = documents(1, 3, 200);
        assert_ne!(documents[0].text, documents[1].text);
        assert_eq!(documents[2].pieces.source_of(0, 5), Some((0, 5)));
        assert_eq!(documents[0].source_sha256.len(), 64);
    }

    #[test]
    fn files_are_written() {
        let folder = crate::scratch("corpus");
        write_prose(folder.path(), 1, 2, 100);
        assert!(folder.path().join("document-001.txt").is_file());
    }
}
