//! Passages that stand in the documents before, byte for byte: tagged, not dropped.

use super::{mix, tagged};
use crate::document_file::{HELD_OUT, TRAIN, read_documents};
use crate::layout::Layout;
use metier_core::memory::Budget;
use metier_core::progress::Progress;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result, stop};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is tagged: every passage of so many bytes or more that stood before it, in the same document or in one before. The first of its kind stays as
/// it is, and `mix` cuts the others by `replace`. All sequences of that many bytes are looked up in tables of where each stands first, part by part of
/// all their hashes, and compared byte for byte; so the spans are those that a suffix array gives (Lee et al. 2021, arXiv:2107.06499, section 4.1), in
/// less memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RepeatsSettings {
    /// The attribute under which spans stand.
    pub attribute: String,
    /// Bytes that a passage has at least. 200 are some 50 tokens of English, the paper's bound.
    #[schemars(range(min = 8, max = 100_000))]
    pub length: usize,
}

impl Default for RepeatsSettings {
    fn default() -> Self {
        Self { attribute: "repeats".to_owned(), length: 200 }
    }
}

/// What became of the documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepeatsReport {
    /// Documents to learn from, and held out.
    pub documents: [u64; 2],
    /// Those of them with a passage that stood before.
    pub tagged: [u64; 2],
    /// Spans.
    pub spans: u64,
    /// Bytes of all texts, and of those in spans.
    pub bytes: [u64; 2],
}

/// Parts at most, each of which takes a pass through all texts.
const MOST_PARTS: u64 = 256;
/// Bytes for tables where no limit is given, or as many as the texts have.
const UNASKED: u64 = 1 << 30;

/// Bytes of the table of one of so many parts: places of 8 bytes, half again as many as it can come to hold.
fn table_bytes(bytes: u64, parts: u64) -> u64 {
    8 * places(bytes, parts)
}

fn places(bytes: u64, parts: u64) -> u64 {
    bytes.div_ceil(parts) * 3 / 2 + 1024
}

/// Bytes that are held beside tables: the texts, a bit for each byte of them, and where each of them ends.
fn fixed(bytes: u64, documents: u64) -> u64 {
    bytes + bytes / 8 + 8 * documents + (64 << 20)
}

/// Least memory for so many bytes of text.
#[must_use]
pub fn least_memory(bytes: u64, documents: u64, threads: u64) -> u64 {
    fixed(bytes, documents) + threads * table_bytes(bytes, MOST_PARTS)
}

/// In how many parts texts are looked through, so that a table for each thread fits.
fn parts(bytes: u64, threads: u64, left: u64) -> u64 {
    let fits = |parts: &u64| threads * table_bytes(bytes, *parts) <= left;
    (threads..MOST_PARTS).find(fits).unwrap_or(MOST_PARTS.max(threads))
}

/// Texts one behind the other.
struct Texts {
    bytes: Vec<u8>,
    /// The byte behind each text.
    ends: Vec<usize>,
}

impl Texts {
    fn range(&self, number: usize) -> Range<usize> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[number]
    }
}

/// Tags in the documents of the curated folder `from` the passages that stood before: in their order, those to learn from first. Writes the same documents
/// into `out`, with what was said of them already and [`RepeatsSettings::attribute`] beside them. The result does not depend on memory, seed or threads.
///
/// # Errors
/// A broken line, with its number; documents that have such an attribute already; less memory than it takes, with both numbers.
pub fn repeats(
    settings: &RepeatsSettings,
    from: &Path,
    budget: &Budget,
    seed: Seed,
    out: &Path,
    progress: &Progress,
) -> Result<RepeatsReport> {
    if settings.attribute.is_empty() {
        return Err(Fault::new(Place::key("attribute"), "the attribute has no name").hint("write \"repeats\"").into());
    }
    let mut report = RepeatsReport::default();
    for (documents, file) in report.documents.iter_mut().zip([TRAIN, HELD_OUT]) {
        for document in read_documents(&from.join(file))? {
            stop::check()?;
            *documents += 1;
            report.bytes[0] += document?.text.len() as u64;
        }
    }
    let (bytes, documents, threads) =
        (report.bytes[0], report.documents.iter().sum::<u64>(), rayon::current_num_threads() as u64);
    let fixed = fixed(bytes, documents);
    let left = budget.limit().map_or(UNASKED.max(bytes), |limit| limit.saturating_sub(budget.used() + fixed));
    let parts = parts(bytes, threads, left);
    let what = format!("looking up all passages of {bytes} bytes of text");
    let _held = budget.reserve(fixed + threads * table_bytes(bytes, parts), &what)?;
    let mut texts = Texts { bytes: Vec::with_capacity(bytes as usize), ends: Vec::with_capacity(documents as usize) };
    for file in [TRAIN, HELD_OUT] {
        for document in read_documents(&from.join(file))? {
            stop::check()?;
            texts.bytes.extend(document?.text.as_bytes());
            texts.ends.push(texts.bytes.len());
        }
    }
    let seen = seen(&texts, settings.length, parts as usize, seed, &|bytes| progress.add(bytes))?;
    tagged(
        from,
        out,
        &settings.attribute,
        |input, entry, number, text| {
            if number >= texts.ends.len() || texts.bytes[texts.range(number)] != *text.as_bytes() {
                return Err(input.wrong(entry.line, "the document changed while it was read"));
            }
            let spans = spans(&seen, texts.range(number), settings.length, text);
            let marked: usize = spans.iter().map(Range::len).sum();
            let mut layout = Layout::default();
            layout.set(text);
            let character = |byte: usize| layout.character(byte);
            let written: Vec<Value> =
                spans.iter().map(|span| json!([character(span.start), character(span.end), 1])).collect();
            Ok((written, (spans.len() as u64, marked as u64)))
        },
        |held_out, (spans, marked)| {
            report.tagged[held_out] += u64::from(spans > 0);
            report.spans += spans;
            report.bytes[1] += marked;
        },
    )?;
    Ok(report)
}

/// A bit for each byte of the texts: whether the `length` bytes from there on stood before, and ended before they begin here.
fn seen(
    texts: &Texts,
    length: usize,
    parts: usize,
    seed: Seed,
    passed: &(dyn Fn(u64) + Sync),
) -> Result<Vec<AtomicU64>> {
    let bits: Vec<AtomicU64> = (0..texts.bytes.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
    let rolling = Rolling::new(length, seed);
    (0..parts).into_par_iter().with_max_len(1).try_for_each(|part| {
        let mut table = Table::new(texts, length, parts);
        for number in 0..texts.ends.len() {
            stop::check()?;
            let range = texts.range(number);
            rolling.each(&texts.bytes[range.clone()], |at, hash| {
                let at = range.start + at;
                if high(hash, parts as u64) as usize == part && table.stood_before(at, mix(hash))? {
                    bits[at / 64].fetch_or(1 << (at % 64), Ordering::Relaxed);
                }
                Ok(())
            })?;
            passed(range.len() as u64);
        }
        Ok::<_, Error>(())
    })?;
    Ok(bits)
}

/// A number below `bound`, in proportion to the hash.
fn high(hash: u64, bound: u64) -> u64 {
    ((u128::from(hash) * u128::from(bound)) >> 64) as u64
}

/// Where each sequence of bytes of one part stands first.
struct Table<'a> {
    texts: &'a Texts,
    length: usize,
    /// 16 bits of a hash above 48 bits of a place, counted from 1; 0 where nothing is.
    entries: Vec<u64>,
    held: usize,
}

const PLACE: u64 = (1 << 48) - 1;

impl<'a> Table<'a> {
    fn new(texts: &'a Texts, length: usize, parts: usize) -> Self {
        let entries = vec![0; places(texts.bytes.len() as u64, parts as u64) as usize];
        Self { texts, length, entries, held: 0 }
    }

    /// Whether the sequence stood before and ended there; remembers it where it is new. Places come in order.
    fn stood_before(&mut self, at: usize, hash: u64) -> Result<bool> {
        let own = |at: usize| &self.texts.bytes[at..at + self.length];
        let tag = hash << 48;
        let mut place = high(hash, self.entries.len() as u64) as usize;
        loop {
            let entry = self.entries[place];
            if entry == 0 {
                break;
            }
            let first = (entry & PLACE) as usize - 1;
            if entry & !PLACE == tag && own(first) == own(at) {
                return Ok(first + self.length <= at);
            }
            place = if place + 1 == self.entries.len() { 0 } else { place + 1 };
        }
        self.held += 1;
        if self.held == self.entries.len() {
            return Err(Error::program("hashes of passages are not even"));
        }
        self.entries[place] = tag | (at as u64 + 1);
        Ok(false)
    }
}

/// Hashes of all sequences of so many bytes, each made of the one before (Karp and Rabin 1987), modulo 2⁶¹ - 1.
struct Rolling {
    length: usize,
    base: u64,
    /// The base to the power of the length, which takes a byte away.
    away: u64,
}

const MODULUS: u64 = (1 << 61) - 1;

fn times(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    let sum = (product as u64 & MODULUS) + (product >> 61) as u64;
    if sum >= MODULUS { sum - MODULUS } else { sum }
}

impl Rolling {
    fn new(length: usize, seed: Seed) -> Self {
        let base = 256 + seed.at(0).below(MODULUS - 256);
        let away = (0..length).fold(1, |power, _| times(power, base));
        Self { length, base, away }
    }

    fn each(&self, text: &[u8], mut take: impl FnMut(usize, u64) -> Result<()>) -> Result<()> {
        let mut hash = 0;
        for (at, byte) in text.iter().enumerate() {
            let added = times(hash, self.base) + u64::from(*byte) + 1;
            let gone = at.checked_sub(self.length).map_or(0, |gone| times(self.away, u64::from(text[gone]) + 1));
            hash = (added + MODULUS - gone) % MODULUS;
            if at + 1 >= self.length {
                take(at + 1 - self.length, mix(hash))?;
            }
        }
        Ok(())
    }
}

/// The bytes of a text that are in a sequence which stood before, as runs of whole characters.
fn spans(seen: &[AtomicU64], range: Range<usize>, length: usize, text: &str) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for at in range.start..range.end.saturating_sub(length - 1) {
        if seen[at / 64].load(Ordering::Relaxed) >> (at % 64) & 1 == 1 {
            let start = at - range.start;
            match out.last_mut() {
                Some(last) if last.end >= start => last.end = start + length,
                _ => out.push(start..start + length),
            }
        }
    }
    for span in &mut out {
        span.start = text.ceil_char_boundary(span.start);
        span.end = text.floor_char_boundary(span.end);
    }
    out.retain(|span| !span.is_empty());
    out
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;
    use crate::document_file::{DocumentWriter, HELD_OUT_ATTRIBUTES, TRAIN_ATTRIBUTES};
    use metier_core::seed::Stream;

    fn texts(of: &[String]) -> Texts {
        let mut texts = Texts { bytes: Vec::new(), ends: Vec::new() };
        for text in of {
            texts.bytes.extend(text.as_bytes());
            texts.ends.push(texts.bytes.len());
        }
        texts
    }

    /// Spans of every document.
    fn found(of: &[String], length: usize, parts: usize) -> Vec<Vec<Range<usize>>> {
        let texts = texts(of);
        let seen = seen(&texts, length, parts, Seed::new(9), &|_| ()).unwrap();
        of.iter().enumerate().map(|(number, text)| spans(&seen, texts.range(number), length, text)).collect()
    }

    /// The same by comparing every sequence with all before it.
    fn compared(of: &[String], length: usize) -> Vec<Vec<Range<usize>>> {
        let mut before: Vec<(usize, &[u8])> = Vec::new();
        let mut start = 0;
        let mut out = Vec::new();
        for text in of {
            let mut marked = vec![false; text.len()];
            for (at, own) in text.as_bytes().windows(length).enumerate() {
                if before.iter().any(|(place, other)| *other == own && place + length <= start + at) {
                    marked[at..at + length].fill(true);
                }
                before.push((start + at, own));
            }
            let mut spans = Vec::new();
            let mut at = 0;
            for run in marked.chunk_by(|one, other| one == other) {
                let (mut from, mut to) = (at, at + run.len());
                at = to;
                while run[0] && from < to && !text.is_char_boundary(from) {
                    from += 1;
                }
                while run[0] && from < to && !text.is_char_boundary(to) {
                    to -= 1;
                }
                if run[0] && from < to {
                    spans.push(from..to);
                }
            }
            start += text.len();
            out.push(spans);
        }
        out
    }

    fn random(stream: &mut Stream, alphabet: &[char], length: usize) -> String {
        (0..length).map(|_| alphabet[stream.below(alphabet.len() as u64) as usize]).collect()
    }

    #[test]
    fn spans_are_those_that_comparing_all_with_all_gives() {
        let mut stream = Seed::new(2).at(0);
        let mut spans = 0;
        for round in 0..300 {
            // é and è begin with the same byte, é and ᅩ end in others.
            let alphabet: &[char] =
                [&['a', 'b'][..], &['a', 'b', 'c', 'd'], &['é', 'è', 'a'], &['🎈', '🎉', 'é']][round % 4];
            let documents: Vec<String> = (0..6)
                .map(|_| {
                    let length = stream.below(60) as usize;
                    random(&mut stream, alphabet, length)
                })
                .collect();
            let length = 8 + round % 5;
            let right = compared(&documents, length);
            for parts in [1, 2, 7] {
                assert_eq!(found(&documents, length, parts), right, "{documents:?} {length} {parts}");
            }
            spans += right.iter().map(Vec::len).sum::<usize>();
        }
        assert!(spans > 200, "{spans}");
    }

    #[test]
    fn of_runs_the_first_of_their_kind_stays() {
        let texts = ["a".repeat(50), "ab".repeat(20), "xyz".to_owned(), String::new(), "a".repeat(8)];
        let found = found(&texts, 8, 2);
        // Eight letters stay, also of those that alternate.
        let ends = |spans: &Vec<Range<usize>>| spans.iter().map(|span| (span.start, span.end)).collect::<Vec<_>>();
        let all: Vec<_> = found.iter().map(ends).collect();
        assert_eq!(all, [vec![(8, 50)], vec![(8, 40)], vec![], vec![], vec![(0, 8)]]);
    }

    fn folder(train: &[String], held_out: &[String]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, texts) in [(TRAIN, train), (HELD_OUT, held_out)] {
            let mut writer = DocumentWriter::create(&folder.path().join(file)).unwrap();
            for (number, text) in texts.iter().enumerate() {
                writer.write(&document(&format!("{file}{number}"), text)).unwrap();
            }
            writer.finish().unwrap();
        }
        folder
    }

    #[test]
    fn planted_passages_are_found_with_any_memory_and_any_number_of_threads() {
        let mut stream = Seed::new(5).at(0);
        let letters: Vec<char> = ('a'..='z').chain("äöü \n".chars()).collect();
        let passages: Vec<String> = (0..12).map(|_| random(&mut stream, &letters, 150)).collect();
        let mut wanted = Vec::new();
        let mut documents = Vec::new();
        for number in 0..120 {
            let (before, behind) = (random(&mut stream, &letters, 70), random(&mut stream, &letters, 90));
            let passage = &passages[number % 12];
            wanted.push((number >= 12).then_some((70_u64, 220_u64)));
            documents.push(format!("{before}{passage}{behind}"));
        }
        let (train, held_out) = documents.split_at(100);
        let from = folder(train, held_out);
        let run = |threads: usize, limit: Option<u64>| {
            let out = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let progress = Progress::new("passages", None, "bytes");
            let settings = RepeatsSettings { length: 100, ..RepeatsSettings::default() };
            let budget = Budget::new(limit);
            let report =
                pool.install(|| repeats(&settings, from.path(), &budget, Seed::new(1), out.path(), &progress)).unwrap();
            let files = [TRAIN, HELD_OUT, TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES];
            (report, files.map(|file| std::fs::read_to_string(out.path().join(file)).unwrap()))
        };
        let (report, files) = run(2, None);
        assert_eq!((report.documents, report.tagged, report.spans), ([100, 20], [88, 20], 108));
        let lines = files[2].lines().chain(files[3].lines());
        for (line, wanted) in lines.zip(wanted) {
            let said: Value = serde_json::from_str(line).unwrap();
            let span = said["attributes"]["repeats"].get(0);
            let span = span.map(|span| (span[0].as_u64().unwrap(), span[1].as_u64().unwrap()));
            // A letter beside a passage may be the same by chance.
            let same = |(from, to): (u64, u64), (first, last): (u64, u64)| {
                first <= from && from < first + 4 && to <= last && to + 4 > last
            };
            assert!(
                span.is_none() && wanted.is_none()
                    || span
                        .zip(wanted)
                        .is_some_and(|(span, wanted)| same(wanted, (span.0, span.1)) || same(span, wanted)),
                "{span:?} {wanted:?}"
            );
        }
        assert_eq!(run(1, None), (report, files.clone()));
        let least = least_memory(report.bytes[0], 120, 2);
        assert_eq!(run(2, Some(least)), (report, files));
        let out = tempfile::tempdir().unwrap();
        let progress = Progress::new("passages", None, "bytes");
        let refused = repeats(
            &RepeatsSettings::default(),
            from.path(),
            &Budget::new(Some(1 << 20)),
            Seed::new(1),
            out.path(),
            &progress,
        );
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("looking up all passages of") && said.contains("of the limit of 1.0 MB"), "{said}");
    }
}
