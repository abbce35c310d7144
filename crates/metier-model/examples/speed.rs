//! How fast a model answers: `speed MODEL [PROMPT [REPLY [THREADS]]]`.
//!
//! Feeds a prompt of 1,024 tokens in one go, then a text of one token and 128 more one at a time, and prints tokens a
//! second of both, the best of three rounds, and how long opening took.

use metier_core::{Error, Place, Result};
use metier_model::Decoder;
use metier_model::checkpoint::Checkpoint;
use metier_model::decode::Session;
use std::io::Write;
use std::time::Instant;

const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || Error::user(Place::key("arguments"), "wanted: MODEL [PROMPT [REPLY [THREADS]]]");
    let path = arguments.next().ok_or_else(usage)?;
    let mut number = |default: usize| match arguments.next() {
        None => Ok(default),
        Some(word) => word.parse().map_err(|_| usage()),
    };
    let (prompt, reply, threads) = (number(1024)?, number(128)?, number(0)?);
    metier_compute::kernel::set_threads(threads)?;
    let start = Instant::now();
    let decoder = Decoder::from_checkpoint_as_stored(&Checkpoint::open(&path)?)?;
    let opening = start.elapsed().as_secs_f64();
    let size = decoder.config().vocabulary_size as u32;
    let id = |at: usize| (at as u32).wrapping_mul(2_654_435_761) % size;
    let ids: Vec<u32> = (0..prompt).map(id).collect();
    let (mut prefill, mut decode) = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        Session::new(&decoder).feed(&ids)?;
        prefill = prefill.max(prompt as f64 / start.elapsed().as_secs_f64());
        let mut session = Session::new(&decoder);
        session.feed(&ids[..1])?;
        let start = Instant::now();
        for at in 0..reply {
            session.feed(&[id(at)])?;
        }
        decode = decode.max(reply as f64 / start.elapsed().as_secs_f64());
    }
    let line = format!("opened in {opening:.3} s; prefill {prefill:.0} tokens/s; decode {decode:.1} tokens/s\n");
    std::io::stdout().write_all(line.as_bytes()).map_err(|error| Error::io(&path, "print", &error))
}
