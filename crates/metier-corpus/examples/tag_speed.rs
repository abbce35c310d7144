//! How many megabytes of text a second each tagger reads on one core, beside a pass that only parses.
//!
//! ```sh
//! cargo run --release -p metier-corpus --example tag_speed -- documents.jsonl.gz [lid.176.ftz]
//! ```

use metier_core::part::Build;
use metier_core::{Place, Result};
use metier_corpus::layout::Layout;
use metier_corpus::read::{Item, Jsonl, Read};
use metier_corpus::tag::{Language, Span, Tagger, dolma};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

/// The rounds of which the best counts; all take turns.
const ROUNDS: usize = 5;
/// What issue 5 races: the newest of each.
const TOGETHER: [&str; 4] = ["c4_v2", "gopher_v2", "pii_regex_with_counts_fast_v2", "ft_lang_id_doc_v1"];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = arguments.first().map(Path::new) else {
        eprintln!("give a .jsonl or .jsonl.gz file, and a fastText model or none");
        return Ok(());
    };
    let reader = Jsonl::default();
    let texts = || -> Result<Vec<String>> {
        reader
            .open(path)?
            .filter_map(|item| match item {
                Ok(Item::Document(document)) => Some(Ok(document.text)),
                Ok(Item::Skipped { .. } | Item::Quarantined { .. }) => None,
                Err(error) => Some(Err(error)),
            })
            .collect()
    };
    let began = Instant::now();
    let all = texts()?;
    let parsing = began.elapsed().as_secs_f64();
    let megabytes = all.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    println!("{} documents, {megabytes:.1} MB of text", all.len());
    println!("{:40} {:9.1} MB/s", "read and parse", megabytes / parsing);

    let mut parts = dolma()?;
    let model = arguments.get(1).map(Into::into);
    parts.push(Language { model, ..Language::default() }.build(&Place::default())?);
    let mut passes: Vec<(String, Vec<Box<dyn Tagger>>)> = vec![("layout".to_owned(), Vec::new())];
    passes.extend(parts.iter().map(|part| (part.name(), vec![part.start()])));
    let together = parts.iter().filter(|part| TOGETHER.contains(&part.name().as_str()));
    passes.push(("C4 + Gopher + PII + language".to_owned(), together.map(|part| part.start()).collect()));
    let mut best = vec![f64::INFINITY; passes.len()];
    let (mut layout, mut spans): (Layout, Vec<Span>) = Default::default();
    for _ in 0..ROUNDS {
        for ((_, taggers), best) in passes.iter_mut().zip(&mut best) {
            let began = Instant::now();
            for text in &all {
                layout.set(text);
                spans.clear();
                for tagger in taggers.iter_mut() {
                    tagger.tag(&layout, &mut spans);
                }
                black_box(&spans);
            }
            *best = best.min(began.elapsed().as_secs_f64());
        }
    }
    for ((name, _), seconds) in passes.iter().zip(best) {
        println!("{name:40} {:9.1} MB/s  {:6.2} of the time to parse", megabytes / seconds, seconds / parsing);
    }
    Ok(())
}
