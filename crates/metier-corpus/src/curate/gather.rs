//! Reading, filtering and tagging, with what documents are compared by gathered on the way.

use super::kept::{Kept, Texts, Written};
use super::records::Records;
use super::state::State;
use super::{AHEAD, GROUP, GROUP_BYTES, Job, LOOKED_INTO, drop_document, keys_path, looked_into, stay_path};
use crate::attributes::Taggers;
use crate::dedup::{Deduplicate, Gather};
use crate::document_file::{DROPPED, DocumentWriter};
use crate::filter::Verdict;
use crate::read::{Found, Item, Raw};
use crate::scratch;
use metier_core::data::Document;
use metier_core::progress::Progress;
use metier_core::{Error, Fault, Place, Result, stop};
use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What an interruption costs at most.
const BETWEEN_STATES: Duration = Duration::from_secs(20);

/// What each duplicate search compares by, unless it is done.
type Gathers = Vec<Option<Box<dyn Gather>>>;

/// The documents that the filters keep, and what they are compared by. What was done before `state` is not done again.
pub(super) fn gather(job: &Job, state: &mut State, progress: &Progress) -> Result<(Texts, Gathers)> {
    let Job { parts, seed, scratch, .. } = *job;
    let start = |(number, part): (usize, &&dyn Deduplicate)| {
        let done = stay_path(scratch, number).exists();
        let start = || part.start(seed, &keys_path(scratch, number), state.gathers.get(number));
        (!done).then(start).transpose()
    };
    let gathers = parts.dedups.iter().enumerate().map(start).collect::<Result<Vec<_>>>()?;
    let kept = Kept::resume(&scratch.join("kept"), &state.kept)?;
    progress.add(state.report.read);
    if state.read {
        return Ok((kept.finish()?, gathers));
    }
    let mut known = HashSet::new();
    let ids = Records::resume(&scratch.join("ids"), state.report.read, |id| {
        known.insert(id);
    })?;
    let dropped = DocumentWriter::resume(&job.out.join(DROPPED), state.dropped)?;
    let saved = Instant::now();
    let mut gathering = Gathering { job, state, kept, gathers, known, ids, dropped, saved, progress };
    let mut found = parts.read.open_behind(job.path, gathering.state.report.read as usize)?;
    let taggers = Taggers::new(&parts.tags)?;
    std::thread::scope(|scope| {
        let (send, groups) = mpsc::sync_channel(AHEAD);
        scope.spawn(move || {
            while let Some(group) = group(&mut found) {
                // Whoever does not listen any more has failed.
                if send.send(group).is_err() {
                    break;
                }
            }
        });
        let taggers = &taggers;
        rayon::in_place_scope(|threads| {
            // Groups that threads look into, in order, with the bytes in each.
            let (mut open, mut held) = (VecDeque::new(), 0);
            for group in groups {
                stop::check()?;
                let bytes = group.iter().flatten().map(Raw::bytes).sum::<u64>();
                // A state says of every document that a filter has seen that it is read.
                let due = gathering.is_due();
                while due || open.len() >= looked_into() || held + bytes > LOOKED_INTO {
                    let Some((bytes, first)) = open.pop_front() else { break };
                    held -= bytes;
                    gathering.take(&first)?;
                }
                if due {
                    gathering.save()?;
                }
                let (send, said) = mpsc::sync_channel(1);
                threads.spawn(move |_| {
                    let look = |raw: Result<Raw>| said_of(raw?.item()?, job, taggers);
                    // Whoever does not listen any more has failed.
                    let _ = send.send(group.into_iter().map(look).collect());
                });
                held += bytes;
                open.push_back((bytes, said));
            }
            open.iter().try_for_each(|(_, said)| gathering.take(said))
        })
    })?;
    gathering.state.read = true;
    gathering.save()?;
    Ok((gathering.kept.finish()?, gathering.gathers))
}

/// What is done.
struct Gathering<'a> {
    job: &'a Job<'a>,
    state: &'a mut State,
    kept: Kept,
    gathers: Gathers,
    /// Hashes of ids.
    known: HashSet<[u64; 2]>,
    ids: Records<2>,
    dropped: DocumentWriter,
    saved: Instant,
    progress: &'a Progress,
}

/// What filters and taggers say of a document.
struct Said {
    id: String,
    hash: [u64; 2],
    fate: Fate,
}

enum Fate {
    /// With what it draws, and itself where duplicates are searched.
    Keep(Written, u64, Option<Box<Document>>),
    Drop(String),
}

impl Gathering<'_> {
    /// Whether it is time to write down how far everything goes.
    fn is_due(&self) -> bool {
        self.kept.is_full() || self.saved.elapsed() > BETWEEN_STATES
    }

    /// Writes a group of documents, once they are looked into, to where they belong.
    fn take(&mut self, group: &Receiver<Result<Vec<Said>>>) -> Result<()> {
        let group = received(group)?;
        let read = group.len() as u64;
        let mut left = Vec::new();
        for Said { id, hash, fate } in group {
            if !self.known.insert(hash) {
                return Err(Fault::new(Place::file(self.job.path).with_key(&id), "two documents have this id")
                    .hint("ids must be unique in a corpus")
                    .into());
            }
            self.ids.add(hash)?;
            self.state.report.read += 1;
            match fate {
                Fate::Keep(written, draw, document) => {
                    self.kept.add(&written, draw)?;
                    left.extend(document.map(|document| *document));
                }
                Fate::Drop(reason) => {
                    drop_document(&mut self.dropped, &id, &reason, None)?;
                    *self.state.report.dropped.entry(reason).or_default() += 1;
                }
            }
        }
        self.progress.add(read);
        self.gathers.iter_mut().flatten().try_for_each(|gather| gather.add(&left))
    }

    /// Brings everything to the disk, and then says how far it goes.
    fn save(&mut self) -> Result<()> {
        self.state.kept = self.kept.complete()?.to_vec();
        self.ids.sync()?;
        self.state.dropped = self.dropped.sync()?;
        self.state.gathers = self.gathers.iter_mut().flatten().map(|gather| gather.state()).collect::<Result<_>>()?;
        self.state.filters = self.job.parts.filters.iter().map(|filter| filter.state()).collect();
        scratch::save(self.state, self.job.scratch)?;
        self.saved = Instant::now();
        Ok(())
    }
}

/// What was looked into. A thread of the pool that waits for it takes part, or a pool of one thread would never get there.
fn received(group: &Receiver<Result<Vec<Said>>>) -> Result<Vec<Said>> {
    loop {
        if matches!(rayon::yield_now(), Some(rayon::Yield::Executed)) {
            continue;
        }
        match group.recv_timeout(Duration::from_millis(1)) {
            Ok(said) => return said,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::program("a group of documents was lost")),
        }
    }
}

/// The next things that pass through memory at once, if there are any.
fn group<'a>(found: &mut Found<'a>) -> Option<Vec<Result<Raw<'a>>>> {
    let (mut group, mut bytes) = (Vec::with_capacity(GROUP), 0);
    while group.len() < GROUP && bytes < GROUP_BYTES {
        let Some(raw) = found.next() else { break };
        bytes += raw.as_ref().map_or(0, Raw::bytes);
        group.push(raw);
    }
    Some(group).filter(|group| !group.is_empty())
}

/// What all filters together say of a document, and the taggers of what they keep.
fn said_of(item: Item, job: &Job, taggers: &Taggers) -> Result<Said> {
    let said = |id: String, fate| Ok(Said { hash: short_hash(&id), id, fate });
    let mut document = match item {
        Item::Document(document) => document,
        Item::Skipped { id, reason } => return said(id, Fate::Drop(reason.to_owned())),
    };
    let id = document.id.clone();
    for filter in &job.parts.filters {
        match filter.apply(document) {
            Verdict::Keep(kept) => document = kept,
            Verdict::Drop(reason) => return said(id, Fate::Drop(reason)),
        }
    }
    if document.text.is_empty() {
        return said(id, Fate::Drop("empty".to_owned()));
    }
    if document.license.is_empty() {
        document.license = job.settings.license.clone().unwrap_or_default();
    }
    let attributes = if taggers.is_empty() { None } else { Some(taggers.line(&document)?) };
    let written = Written::new(&document, attributes)?;
    let draw = job.parts.select.draw(&id, job.seed);
    said(id, Fate::Keep(written, draw, (!job.parts.dedups.is_empty()).then(|| Box::new(document))))
}

/// Half of a hash: two of 2^32 ids have the same with a probability of 2^-65.
fn short_hash(id: &str) -> [u64; 2] {
    let hash = blake3::hash(id.as_bytes());
    let (words, _) = hash.as_bytes().as_chunks();
    [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
}
