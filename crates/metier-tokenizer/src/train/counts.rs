//! How often each word of a stream of texts is met, in bounded memory.
//!
//! Words are counted in tables of a given size. When they are full their words go, sorted, into a file, a *run*. At the
//! end all runs are merged into one file of words with counts, each word once. `counting.json` says how many texts the
//! runs cover, so that an interrupted count goes on after them.

use super::Cut;
use crate::scheme::cutter::Cutter;
use crate::scheme::words;
use metier_core::{Error, Place, Result, stop, store};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const STATE: &str = "counting.json";
const WORDS: &str = "words.counts";
/// Texts of so many bytes together are counted at once.
const BATCH_BYTES: usize = 16 << 20;
const BATCH_TEXTS: usize = 1 << 14;
/// After so many bytes of text there is a run, full tables or not: what an interruption costs at most.
const RUN_BYTES: u64 = 4 << 30;
/// Runs that are merged at once.
const MOST_RUNS: usize = 64;
/// Longer words are left out: they are no words.
const LONGEST: usize = 1 << 16;
/// Memory that learning takes for a word of so many bytes: its bytes, symbols and places in lists of pairs.
const fn memory_of(length: usize) -> u64 {
    56 + 20 * length as u64
}
/// Words met more often than this are never left out.
const FREQUENT: u64 = 1 << 12;

/// Words and how often each is met, in the order of their bytes.
#[derive(Debug, Default)]
pub struct Counted {
    bytes: Vec<u8>,
    /// The length and count of each word.
    words: Vec<(u32, u64)>,
    /// What was counted.
    pub seen: Seen,
}

/// What a count covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Texts.
    pub texts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Different words.
    pub words: u64,
    /// Words, each as often as it is met.
    pub occurrences: u64,
    /// Different words that are left out, because they are rare and do not fit into memory.
    pub left_out: u64,
    /// How often those are met together.
    pub left_out_occurrences: u64,
}

impl Counted {
    /// Number of different words.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Bytes of all different words.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Each word with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut at = 0;
        self.words.iter().map(move |&(length, count)| {
            let word = &self.bytes[at..at + length as usize];
            at += length as usize;
            (word, count)
        })
    }
}

/// How far an interrupted count has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    cut: Cut,
    texts: u64,
    bytes: u64,
    /// Numbers of the files of words.
    runs: Vec<u32>,
    next_run: u32,
    /// Whether all texts are counted and in one file.
    done: bool,
}

/// A count under way.
pub struct Counting {
    folder: PathBuf,
    cutter: Cutter,
    memory: u64,
    state: State,
    /// What the tables cover beyond the runs.
    texts: u64,
    bytes: u64,
    tables: Mutex<Vec<Table>>,
}

impl Counting {
    /// A count whose files lie in `folder`; it goes on from those that an interrupted one left there.
    pub fn start(cut: impl Into<Cut>, folder: &Path, memory: u64) -> Result<Self> {
        let cut = cut.into();
        let cutter = cut.cutter()?;
        store::create_folder(folder)?;
        let path = folder.join(STATE);
        let state = match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::NotFound => State::default(),
            Err(error) => return Err(Error::io(&path, "read the file", &error)),
        };
        let state = if state.cut == cut { state } else { State { cut, ..State::default() } };
        Ok(Self {
            folder: folder.to_path_buf(),
            cutter,
            memory,
            state,
            texts: 0,
            bytes: 0,
            tables: Mutex::new(Vec::new()),
        })
    }

    /// Counts the words of texts; those that were counted before, from the first on, are passed over.
    pub fn add<'a>(&mut self, texts: impl Iterator<Item = Result<Cow<'a, str>>>) -> Result<()> {
        if self.state.done {
            return Ok(());
        }
        let covered = self.state.texts + self.texts;
        let mut batch: Vec<Cow<'a, str>> = Vec::new();
        let mut bytes = 0;
        for (number, text) in (0..).zip(texts) {
            stop::check()?;
            let text = text?;
            if number < covered {
                continue;
            }
            bytes += text.len();
            batch.push(text);
            if bytes >= BATCH_BYTES || batch.len() >= BATCH_TEXTS {
                self.batch(&batch)?;
                batch.clear();
                bytes = 0;
            }
        }
        self.batch(&batch)
    }

    fn batch(&mut self, texts: &[Cow<'_, str>]) -> Result<()> {
        let pieces: Vec<&str> = texts.iter().flat_map(|text| words::cut(text)).collect();
        let cutter = &self.cutter;
        let tables = &self.tables;
        let lock = || tables.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.par_iter().with_max_len(64).for_each_init(
            || Borrowed { table: lock().pop().unwrap_or_default(), tables },
            |borrowed, piece| {
                cutter.words(piece, |word| borrowed.table.add(word, 1));
            },
        );
        self.texts += texts.len() as u64;
        self.bytes += texts.iter().map(|text| text.len() as u64).sum::<u64>();
        let used: u64 = lock().iter().map(Table::memory).sum();
        // Tables double when they grow, and are joined into one for a run.
        if used > self.memory / 4 || self.bytes > RUN_BYTES {
            self.run()?;
        }
        Ok(())
    }

    /// Writes what the tables hold as a run.
    fn run(&mut self) -> Result<()> {
        let mut tables = std::mem::take(&mut *self.tables.lock().unwrap_or_else(PoisonError::into_inner)).into_iter();
        let mut all = tables.next().unwrap_or_default();
        for table in tables {
            for (word, count) in table.iter() {
                all.add(word, count);
            }
        }
        let number = self.state.next_run;
        let mut file = Output::create(&self.run_path(number))?;
        for (word, count) in all.sorted() {
            file.write(word, count)?;
        }
        file.finish()?;
        self.state.runs.push(number);
        self.state.next_run += 1;
        self.state.texts += std::mem::take(&mut self.texts);
        self.state.bytes += std::mem::take(&mut self.bytes);
        self.save()?;
        if self.state.runs.len() >= MOST_RUNS {
            self.merge_runs()?;
        }
        Ok(())
    }

    /// Makes one run of all.
    fn merge_runs(&mut self) -> Result<()> {
        let number = self.state.next_run;
        let mut merged = Output::create(&self.run_path(number))?;
        let inputs = self.state.runs.iter().map(|&run| Input::open(&self.run_path(run))).collect::<Result<_>>()?;
        merge(inputs, |word, count| merged.write(word, count))?;
        merged.finish()?;
        let old = std::mem::replace(&mut self.state.runs, vec![number]);
        self.state.next_run += 1;
        self.save()?;
        for run in old {
            let path = self.run_path(run);
            std::fs::remove_file(&path).map_err(|error| Error::io(&path, "remove the file", &error))?;
        }
        Ok(())
    }

    /// The words of all texts with their counts.
    pub fn finish(mut self) -> Result<Counted> {
        if !self.state.done {
            self.run()?;
            if self.state.runs.len() > 1 {
                self.merge_runs()?;
            }
            self.state.done = true;
            self.save()?;
        }
        let run = self.state.runs.first().copied().unwrap_or_default();
        let mut counted = self.load(&self.run_path(run))?;
        counted.seen.texts = self.state.texts;
        counted.seen.bytes = self.state.bytes;
        if counted.is_empty() {
            return Err(Error::user(Place::default(), "there is nothing to learn from: the texts hold no word")
                .hint("name a corpus with text in it"));
        }
        Ok(counted)
    }

    /// The words of a run as far as they fit into memory, the rarest left out.
    fn load(&self, path: &Path) -> Result<Counted> {
        let mut seen = Seen::default();
        let mut memory: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let mut bytes = 0;
        merge(vec![Input::open(path)?], |word, count| {
            seen.words += 1;
            seen.occurrences += count;
            let of_count = memory.entry(count.min(FREQUENT)).or_default();
            of_count.0 += memory_of(word.len());
            of_count.1 += 1;
            bytes += word.len();
            Ok(())
        })?;
        let mut left = self.memory;
        let mut least = 0;
        let mut kept = 0;
        for (&count, &(needed, words)) in memory.iter().rev() {
            if needed > left && count < FREQUENT {
                least = count + 1;
                break;
            }
            left = left.saturating_sub(needed);
            kept += words as usize;
        }
        let mut counted = Counted { bytes: Vec::with_capacity(bytes), words: Vec::with_capacity(kept), seen };
        merge(vec![Input::open(path)?], |word, count| {
            if count >= least {
                counted.bytes.extend_from_slice(word);
                counted.words.push((word.len() as u32, count));
            } else {
                counted.seen.left_out += 1;
                counted.seen.left_out_occurrences += count;
            }
            Ok(())
        })?;
        Ok(counted)
    }

    fn run_path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{WORDS}-{number}"))
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_string(&self.state)
            .map_err(|error| Error::program(format!("the state of a count does not serialize: {error}")))?;
        store::write_atomic(self.folder.join(STATE), text + "\n")
    }
}

/// Merges sorted runs: each word once, with the sum of its counts, in order.
fn merge(mut inputs: Vec<Input>, mut word: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
    let mut heap = BinaryHeap::new();
    for (place, input) in inputs.iter_mut().enumerate() {
        if let Some((bytes, count)) = input.next()? {
            heap.push(Reverse((bytes, place, count)));
        }
    }
    let mut current: Option<(Vec<u8>, u64)> = None;
    while let Some(Reverse((bytes, place, count))) = heap.pop() {
        if let Some((next, count)) = inputs[place].next()? {
            heap.push(Reverse((next, place, count)));
        }
        match &mut current {
            Some((same, sum)) if *same == bytes => *sum += count,
            _ => {
                if let Some((bytes, count)) = current.replace((bytes, count)) {
                    word(&bytes, count)?;
                }
            }
        }
    }
    current.map_or(Ok(()), |(bytes, count)| word(&bytes, count))
}

/// A file of words being written: for each the length in 4 bytes, the count in 8, and its bytes.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| Error::io(path, "create the file", &error))?;
        Ok(Self { path: path.to_path_buf(), file: BufWriter::with_capacity(1 << 18, file) })
    }

    fn write(&mut self, word: &[u8], count: u64) -> Result<()> {
        self.file
            .write_all(&(word.len() as u32).to_le_bytes())
            .and_then(|()| self.file.write_all(&count.to_le_bytes()))
            .and_then(|()| self.file.write_all(word))
            .map_err(|error| Error::io(&self.path, "write the file", &error))
    }

    fn finish(mut self) -> Result<()> {
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|error| Error::io(&self.path, "write the file", &error))
    }
}

struct Input {
    path: PathBuf,
    file: BufReader<File>,
}

impl Input {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(path, "open the file", &error))?;
        Ok(Self { path: path.to_path_buf(), file: BufReader::with_capacity(1 << 18, file) })
    }

    fn next(&mut self) -> Result<Option<(Vec<u8>, u64)>> {
        let mut length = [0; 4];
        match self.file.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(Error::io(&self.path, "read the file", &error)),
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(Error::file(&self.path, "a word is longer than words are: the file is damaged")
                .hint("remove the folder and count again"));
        }
        let mut count = [0; 8];
        let mut word = vec![0; length];
        let read = self.file.read_exact(&mut count).and_then(|()| self.file.read_exact(&mut word));
        read.map_err(|error| Error::io(&self.path, "read the file", &error))?;
        Ok(Some((word, u64::from_le_bytes(count))))
    }
}

/// A thread's table, which goes back to the others.
struct Borrowed<'a> {
    table: Table,
    tables: &'a Mutex<Vec<Table>>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.table));
    }
}

/// Words with counts, without an allocation for each.
#[derive(Default)]
struct Table {
    /// One more than the place of a word; 0 where none is.
    slots: Vec<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

struct Entry {
    hash: u32,
    length: u32,
    from: usize,
    count: u64,
}

impl Table {
    fn add(&mut self, word: &[u8], count: u64) {
        if word.len() > LONGEST {
            return;
        }
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = hash(word);
        let mask = self.slots.len() - 1;
        let mut place = hash as usize & mask;
        loop {
            let slot = self.slots[place];
            if slot == 0 {
                break;
            }
            let entry = &mut self.entries[slot as usize - 1];
            if entry.hash == (hash >> 32) as u32
                && entry.length as usize == word.len()
                && self.bytes[entry.from..entry.from + word.len()] == *word
            {
                entry.count += count;
                return;
            }
            place = (place + 1) & mask;
        }
        self.slots[place] = self.entries.len() as u32 + 1;
        self.entries.push(Entry {
            hash: (hash >> 32) as u32,
            length: word.len() as u32,
            from: self.bytes.len(),
            count,
        });
        self.bytes.extend_from_slice(word);
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(1 << 12);
        self.slots = vec![0; size];
        for number in 0..self.entries.len() {
            let entry = &self.entries[number];
            let mut place = hash(&self.bytes[entry.from..entry.from + entry.length as usize]) as usize & (size - 1);
            while self.slots[place] != 0 {
                place = (place + 1) & (size - 1);
            }
            self.slots[place] = number as u32 + 1;
        }
    }

    fn memory(&self) -> u64 {
        (self.slots.len() * 4 + self.entries.capacity() * size_of::<Entry>() + self.bytes.capacity()) as u64
    }

    fn word(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.from..entry.from + entry.length as usize]
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.entries.iter().map(|entry| (self.word(entry), entry.count))
    }

    fn sorted(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut order: Vec<&Entry> = self.entries.iter().collect();
        order.sort_unstable_by(|one, other| self.word(one).cmp(self.word(other)));
        order.into_iter().map(|entry| (self.word(entry), entry.count))
    }
}

/// Mixes the bytes eight at a time.
fn hash(word: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (eights, rest) = word.as_chunks::<8>();
    let mut hash = word.len() as u64;
    let mut mix = |number: u64| {
        hash = (hash ^ number).wrapping_mul(FACTOR);
        hash ^= hash >> 29;
    };
    for eight in eights {
        mix(u64::from_le_bytes(*eight));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(u64::from_le_bytes(last));
    hash.wrapping_mul(FACTOR) ^ hash >> 32
}
