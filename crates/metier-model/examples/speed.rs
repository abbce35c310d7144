//! How fast a model answers: `speed MODEL [PROMPT [REPLY [THREADS [TEXTS]]]]`.
//!
//! Feeds a prompt of 1,024 tokens in one go, then a text of one token and 128 more one at a time, then as many of each of
//! TEXTS (8) texts together, and prints tokens a second of all three, the best of three rounds, and how long opening took.

use metier_core::{Error, Place, Result};
use metier_model::checkpoint::Checkpoint;
use metier_model::decode::{Cache, Pages, Session};
use metier_model::{Advance, Decoder, KeyCoding};
use std::io::Write;
use std::time::Instant;

const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || Error::user(Place::key("arguments"), "wanted: MODEL [PROMPT [REPLY [THREADS [TEXTS]]]]");
    let path = arguments.next().ok_or_else(usage)?;
    let mut number = |default: usize| match arguments.next() {
        None => Ok(default),
        Some(word) => word.parse().map_err(|_| usage()),
    };
    let (prompt, reply, threads, texts) = (number(1024)?, number(128)?, number(0)?, number(8)?);
    metier_compute::kernel::set_threads(threads)?;
    let start = Instant::now();
    let decoder = Decoder::from_checkpoint_as_stored(&Checkpoint::open(&path)?)?;
    let opening = start.elapsed().as_secs_f64();
    let size = decoder.config().vocabulary_size as u32;
    let id = |at: usize| (at as u32).wrapping_mul(2_654_435_761) % size;
    let ids: Vec<u32> = (0..prompt).map(id).collect();
    let [mut prefill, mut decode, mut together] = [0.0_f64; 3];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        Session::new(&decoder).feed(&ids)?;
        prefill = prefill.max(prompt as f64 / start.elapsed().as_secs_f64());
        decode = decode.max(going_on(&decoder, 1, reply, &id)?);
        together = together.max(going_on(&decoder, texts, reply, &id)?);
    }
    let line = format!(
        "opened in {opening:.3} s; prefill {prefill:.0} tokens/s; decode {decode:.1} tokens/s; {texts} texts together {together:.1} tokens/s\n"
    );
    std::io::stdout().write_all(line.as_bytes()).map_err(|error| Error::io(&path, "print", &error))
}

/// Tokens a second when each of `texts` texts gets `reply` more, one in each pass.
fn going_on(decoder: &Decoder, texts: usize, reply: usize, id: &impl Fn(usize) -> u32) -> Result<f64> {
    let pages = Pages::new(decoder.config(), KeyCoding::F32, None);
    let mut caches = vec![Cache::default(); texts];
    let mut pass = |at: usize| -> Result<()> {
        let ids: Vec<u32> = (0..texts).map(|text| id(at + text)).collect();
        let steps = caches.iter_mut().zip(ids.chunks(1));
        let mut steps: Vec<_> = steps.map(|(cache, ids)| Advance { cache, ids, wanted: 1, length: at + 1 }).collect();
        decoder.advance(&pages, &mut steps).map(|_| ())
    };
    pass(0)?;
    let start = Instant::now();
    (1..=reply).try_for_each(&mut pass)?;
    Ok((texts * reply) as f64 / start.elapsed().as_secs_f64())
}
