//! Groups of documents that say the same: found by keys that they share, kept on the disk, confirmed by comparing.

use crate::curate::Texts;
use metier_core::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Files that keys are spread over.
const FILES: usize = 256;
/// Bytes of a key and a document's number.
const RECORD: usize = 12;
/// Pairs of documents that are remembered not to be the same: 16 to 32 MB.
const REMEMBERED: usize = 1 << 20;
/// Numbers that a thread holds at most of texts that are being compared: 64 MB.
const HELD: usize = 8 << 20;

/// Keys of documents on the disk, equal ones in one file.
pub(super) struct Keys {
    folder: PathBuf,
    files: Vec<BufWriter<File>>,
    documents: u32,
}

/// How many documents there are, and bytes in each file.
#[derive(Default, Serialize, Deserialize)]
struct State {
    documents: u32,
    lengths: Vec<u64>,
}

/// How two texts are compared.
pub(super) struct Compare<'a> {
    /// What is compared of a text.
    pub read: &'a (dyn Fn(&str) -> Vec<u64> + Sync),
    /// Whether two of them are the same.
    pub same: &'a (dyn Fn(&[u64], &[u64]) -> bool + Sync),
}

impl Keys {
    /// An empty set of keys in a folder, or one as it was when it had a [state](Self::state).
    pub fn start(folder: &Path, state: Option<&Value>) -> Result<Self> {
        let broken = |_| Error::file(folder, "what an interrupted run left here is damaged");
        let State { documents, lengths } =
            state.map_or_else(|| Ok(State::default()), State::deserialize).map_err(broken)?;
        let wrong = |error: std::io::Error| Error::io(folder, "create", &error);
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let file = |number: usize| {
            let mut file = File::options().write(true).create(true).truncate(false).open(path(folder, number))?;
            let length = lengths.get(number).copied().unwrap_or_default();
            if file.metadata()?.len() < length {
                return Err(std::io::Error::other("a file is shorter than it was"));
            }
            file.set_len(length)?;
            file.seek(SeekFrom::Start(length))?;
            Ok(BufWriter::new(file))
        };
        let files = (0..FILES).map(|number| file(number).map_err(wrong)).collect::<Result<_>>()?;
        Ok(Self { folder: folder.to_path_buf(), files, documents })
    }

    /// Brings all keys to the disk, and says how many there are.
    pub fn state(&mut self) -> Result<Value> {
        let length = |file: &mut BufWriter<File>| {
            file.flush()?;
            file.get_ref().sync_data()?;
            file.stream_position()
        };
        let lengths = self.files.iter_mut().map(length).collect::<std::io::Result<_>>();
        let lengths = lengths.map_err(|error| Error::io(&self.folder, "write", &error))?;
        Ok(json!(State { documents: self.documents, lengths }))
    }

    /// The keys of the next document, numbers spread evenly over all.
    pub fn add_next(&mut self, keys: &[u64]) -> Result<()> {
        for key in keys {
            let mut record = [0; RECORD];
            record[..8].copy_from_slice(&key.to_le_bytes());
            record[8..].copy_from_slice(&self.documents.to_le_bytes());
            let written = self.files[(key >> 56) as usize % FILES].write_all(&record);
            written.map_err(|error| Error::io(&self.folder, "write", &error))?;
        }
        self.documents = self.documents.checked_add(1).ok_or_else(|| {
            Error::file(&self.folder, "duplicates are searched among 4,294,967,295 documents at most")
        })?;
        Ok(())
    }

    /// For each document the one that stays in its place, itself where it repeats none. Two documents of one key that are the
    /// same are in one group, and groups that share a document are one; of a group the longest text stays, of equally long ones
    /// that with the least id. So neither the order of documents nor the number of threads decides anything.
    pub fn stay(self, texts: &Texts, compare: &Compare) -> Result<Vec<u32>> {
        for mut file in self.files {
            file.flush().map_err(|error| Error::io(&self.folder, "write", &error))?;
        }
        let known = Mutex::new(Known::new(texts.len()));
        (0..FILES).into_par_iter().try_for_each(|number| {
            metier_core::stop::check()?;
            let path = path(&self.folder, number);
            let bytes = std::fs::read(&path).map_err(|error| Error::io(&path, "read", &error))?;
            let mut keys: Vec<(u64, u32)> = bytes.chunks_exact(RECORD).map(record).collect();
            drop(bytes);
            keys.sort_unstable();
            keys.dedup();
            let mut alike = keys.chunk_by(|one, other| one.0 == other.0).filter(|alike| alike.len() > 1);
            alike.try_for_each(|alike| {
                let numbers: Vec<u32> = alike.iter().map(|(_, number)| *number).collect();
                join(&numbers, texts, compare, &known)
            })
        })?;
        known.into_inner().unwrap_or_else(PoisonError::into_inner).groups.best(texts)
    }
}

fn path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{number:03}"))
}

fn record(bytes: &[u8]) -> (u64, u32) {
    let (key, number) = bytes.split_at(8);
    (u64::from_le_bytes(key.try_into().unwrap_or_default()), u32::from_le_bytes(number.try_into().unwrap_or_default()))
}

/// A document that others are compared with, and what is compared of it unless it was not needed or too much is held already.
struct Member(u32, Option<Vec<u64>>);

/// What is known of pairs of documents, by all keys so far.
struct Known {
    /// Those that are joined, also by others between them.
    groups: Groups,
    /// Those of which the same is compared.
    equal: Groups,
    /// Pairs that were compared and are not the same, as many as are remembered.
    different: HashSet<(u32, u32)>,
}

impl Known {
    fn new(documents: usize) -> Self {
        Self { groups: Groups::new(documents), equal: Groups::new(documents), different: HashSet::new() }
    }

    fn differ(&mut self, pair: (u32, u32)) {
        if self.different.len() < REMEMBERED {
            self.different.insert(pair);
        }
    }
}

/// Joins those of some documents that are the same.
fn join(numbers: &[u32], texts: &Texts, compare: &Compare, known: &Mutex<Known>) -> Result<()> {
    let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let joined = |one: u32, other: u32| known().groups.joined(one, other);
    if numbers.iter().all(|number| joined(numbers[0], *number)) {
        return Ok(());
    }
    let read = |number: u32| Ok::<_, Error>((compare.read)(&texts.read(number)?.text));
    let mut held = 0;
    // The groups met so far, with one member for all that are known to be equal.
    let mut met: Vec<Vec<Member>> = Vec::new();
    for &number in numbers {
        let (mut set, mut own, mut distinct) = (None, Vec::new(), true);
        for mut group in std::mem::take(&mut met) {
            let mut is_own = group.first().is_some_and(|first| joined(first.0, number));
            for Member(member, its_set) in &mut group {
                distinct &= !known().equal.joined(*member, number);
                let pair = (number.min(*member), number.max(*member));
                if is_own || known().different.contains(&pair) {
                    if its_set.is_some() && *its_set == set {
                        known().equal.join(*member, number);
                        distinct = false;
                    }
                    continue;
                }
                let set = match &mut set {
                    Some(set) => set,
                    none => &*none.insert(read(number)?),
                };
                let read_now;
                let its_set = match its_set {
                    Some(its_set) => its_set,
                    none => {
                        let its_own = read(*member)?;
                        held += its_own.len();
                        if held <= HELD {
                            none.insert(its_own)
                        } else {
                            read_now = its_own;
                            &read_now
                        }
                    }
                };
                if its_set == set {
                    known().equal.join(*member, number);
                    distinct = false;
                }
                if (compare.same)(its_set, set) {
                    known().groups.join(*member, number);
                    is_own = true;
                } else {
                    known().differ(pair);
                }
            }
            if is_own { own.extend(group) } else { met.push(group) }
        }
        if distinct {
            held += set.as_ref().map_or(0, Vec::len);
            own.push(Member(number, set.filter(|_| held <= HELD)));
        }
        met.push(own);
    }
    Ok(())
}

/// Documents by the group they are in.
struct Groups(Vec<u32>);

impl Groups {
    fn new(documents: usize) -> Self {
        Self((0..documents as u32).collect())
    }

    fn find(&mut self, mut number: u32) -> u32 {
        while self.0[number as usize] != number {
            let above = self.0[self.0[number as usize] as usize];
            self.0[number as usize] = above;
            number = above;
        }
        number
    }

    fn joined(&mut self, one: u32, other: u32) -> bool {
        self.find(one) == self.find(other)
    }

    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.find(one), self.find(other));
        self.0[one.max(other) as usize] = one.min(other);
    }

    /// For each document the one of its group that stays.
    fn best(mut self, texts: &Texts) -> Result<Vec<u32>> {
        let heads: Vec<u32> = (0..self.0.len() as u32).map(|number| self.find(number)).collect();
        let mut best: HashMap<u32, (Reverse<u64>, String, u32)> = HashMap::new();
        for (number, head) in (0..).zip(&heads).filter(|(number, head)| number != *head) {
            for number in [*head, number] {
                if number != *head || !best.contains_key(head) {
                    let own = (Reverse(texts.size(number as usize)), texts.id(number)?, number);
                    if best.get(head).is_none_or(|best| own < *best) {
                        best.insert(*head, own);
                    }
                }
            }
        }
        let stays = |(number, head): (u32, &u32)| best.get(head).map_or(number, |best| best.2);
        Ok((0..).zip(&heads).map(stays).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Deduplicate, Gather};
    use super::*;
    use metier_core::data::Document;
    use metier_core::seed::Seed;

    /// Documents of one key, which are the same when they share two bytes.
    struct Bytes;

    struct Gathered(Keys);

    impl Deduplicate for Bytes {
        fn start(&self, _: Seed, scratch: &Path, state: Option<&Value>) -> Result<Box<dyn Gather>> {
            Ok(Box::new(Gathered(Keys::start(scratch, state)?)))
        }

        fn reason(&self) -> &'static str {
            "two bytes"
        }
    }

    impl Gather for Gathered {
        fn add(&mut self, documents: &[Document]) -> Result<()> {
            documents.iter().try_for_each(|_| self.0.add_next(&[7]))
        }

        fn state(&mut self) -> Result<Value> {
            self.0.state()
        }

        fn stay(self: Box<Self>, texts: &Texts) -> Result<Vec<u32>> {
            let same = |one: &[u64], other: &[u64]| one.iter().filter(|byte| other.contains(byte)).count() >= 2;
            self.0.stay(texts, &Compare { read: &|text| text.bytes().map(u64::from).collect(), same: &same })
        }
    }

    fn stay(texts: &[&str]) -> Vec<u32> {
        let documents: Vec<_> = texts.iter().map(|text| super::super::document(&format!("id {text}"), text)).collect();
        super::super::stay(&Bytes, &documents)
    }

    #[test]
    fn groups_are_what_comparing_all_pairs_joins_and_the_longest_stays() {
        assert_eq!(stay(&["12", "34", "12"]), [0, 1, 0]);
        assert_eq!(stay(&["12", "45", "234", "678", "51", "345"]), [0, 2, 2, 3, 4, 2]);
        // A document in the middle joins two groups of which one was met before it.
        assert_eq!(stay(&["12", "56", "1256"]), [2, 2, 2]);
        assert_eq!(stay(&["b12", "a12"]), [1, 1]);
        let orders = [["912", "812", "7", "45", "456"], ["456", "7", "45", "812", "912"]];
        let kept = orders.map(|order| {
            let stays = stay(&order);
            let mut kept: Vec<_> =
                (0..).zip(order).filter(|(at, _)| stays[*at as usize] == *at).map(|all| all.1).collect();
            kept.sort_unstable();
            kept
        });
        assert_eq!(kept[0], ["456", "7", "812"]);
        assert_eq!(kept[0], kept[1]);
    }
}
