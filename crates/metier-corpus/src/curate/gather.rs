//! Reading, filtering and tagging, with what documents are compared by gathered on the way.

use super::kept::{Kept, Texts};
use super::look::{self, End, Fate, Look, Said};
use super::records::Records;
use super::state::State;
use super::{AHEAD, Cluster, GROUP, GROUP_BYTES, Job, LOOKED_INTO, drop_document, keys_path, looked_into, stay_path};
use crate::dedup::{Deduplicate, Gather};
use crate::document_file::{DROPPED, DocumentWriter, QUARANTINED};
use crate::read::{Found, Raw, hex};
use crate::scratch;
use metier_core::progress::Progress;
use metier_core::{Error, Fault, Place, Result, stop};
use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What an interruption costs at most.
const BETWEEN_STATES: Duration = Duration::from_secs(20);
/// Why what cannot be read is dropped.
const QUARANTINE: &str = "quarantined";
/// Between two looks at whether to stop.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

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
    let aside = job.out.join(QUARANTINED);
    let quarantined = match state.quarantined {
        // What an interrupted call left, and does not count.
        0 if aside.exists() => {
            std::fs::remove_file(&aside).map(|()| None).map_err(|error| Error::io(&aside, "remove", &error))?
        }
        0 => None,
        length => Some(DocumentWriter::resume(&aside, length)?),
    };
    let saved = Instant::now();
    let mut gathering = Gathering { job, state, kept, gathers, known, ids, dropped, quarantined, saved, progress };
    match parts.cluster {
        Some(cluster) => hear(cluster, &mut gathering)?,
        None => read(&mut gathering)?,
    }
    gathering.state.read = true;
    gathering.save()?;
    Ok((gathering.kept.finish()?, gathering.gathers))
}

/// Reads documents, and looks into them on all threads.
fn read(gathering: &mut Gathering) -> Result<()> {
    let job = gathering.job;
    let look = Look::new(job.settings, job.parts)?;
    let mut found = job.parts.read.open_behind(job.path, gathering.state.report.read as usize)?;
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
        let look = &look;
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
                    gathering.take(received(&first)?)?;
                }
                if due {
                    gathering.save()?;
                }
                let (send, said) = mpsc::sync_channel(1);
                threads.spawn(move |_| {
                    let look = |raw: Result<Raw>| look.said(raw?.item()?);
                    // Whoever does not listen any more has failed.
                    let _ = send.send(group.into_iter().map(look).collect());
                });
                held += bytes;
                open.push_back((bytes, said));
            }
            open.iter().try_for_each(|(_, said)| gathering.take(received(said)?))
        })
    })
}

/// Takes what other machines say of documents.
fn hear(cluster: &dyn Cluster, gathering: &mut Gathering) -> Result<()> {
    let compared = !gathering.job.parts.dedups.is_empty();
    let [files, before] = gathering.state.files;
    let mut passed = gathering.state.report.read - before;
    let mut lines = cluster.open(files)?;
    let (send, groups) = mpsc::sync_channel(AHEAD);
    // Not in a scope: a cluster that says nothing any more does not keep this process from stopping.
    std::thread::spawn(move || {
        loop {
            let heard = look::heard(&mut *lines, compared);
            let more = matches!(heard.1, Ok(None | Some(End::File(_))));
            if send.send(heard).is_err() || !more {
                break;
            }
        }
    });
    loop {
        stop::check()?;
        let (mut group, end) = match groups.recv_timeout(BETWEEN_LOOKS) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::program("what the cluster says was lost")),
        };
        let known = passed.min(group.len() as u64);
        passed -= known;
        group.drain(..known as usize);
        gathering.take(group)?;
        match end? {
            Some(End::Corpus) => return Ok(()),
            Some(End::File(states)) => {
                for (filter, state) in gathering.job.parts.filters.iter().zip(&states) {
                    filter.resume(state);
                }
                let state = &mut *gathering.state;
                state.files = [state.files[0] + 1, state.report.read];
            }
            None => {}
        }
        if gathering.is_due() {
            gathering.save()?;
        }
    }
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
    /// Made with the first that it takes.
    quarantined: Option<DocumentWriter>,
    saved: Instant,
    progress: &'a Progress,
}

impl Gathering<'_> {
    /// Whether it is time to write down how far everything goes.
    fn is_due(&self) -> bool {
        self.kept.is_full() || self.saved.elapsed() > BETWEEN_STATES
    }

    /// Writes a group of documents, once they are looked into, to where they belong.
    fn take(&mut self, group: Vec<Said>) -> Result<()> {
        let read = group.len() as u64;
        let mut left = Vec::new();
        for Said { id, fate } in group {
            let hash = short_hash(&id);
            if !self.known.insert(hash) {
                return Err(Fault::new(Place::file(self.job.path).with_key(&id), "two documents have this id")
                    .hint("ids must be unique in a corpus")
                    .into());
            }
            self.ids.add(hash)?;
            self.state.report.read += 1;
            match fate {
                Fate::Keep(written, document) => {
                    self.kept.add(&written, self.job.parts.select.draw(&id, self.job.seed))?;
                    left.extend(document.map(|document| *document));
                }
                Fate::Drop(reason) => self.drop(&id, reason)?,
                Fate::Quarantine(reason, raw) => {
                    self.drop(&id, QUARANTINE.to_owned())?;
                    self.quarantine(&id, &reason, raw)?;
                }
            }
        }
        self.progress.add(read);
        self.gathers.iter_mut().flatten().try_for_each(|gather| gather.add(&left))
    }

    fn drop(&mut self, id: &str, reason: String) -> Result<()> {
        drop_document(&mut self.dropped, id, &reason, None)?;
        *self.state.report.dropped.entry(reason).or_default() += 1;
        Ok(())
    }

    fn quarantine(&mut self, id: &str, reason: &str, raw: Vec<u8>) -> Result<()> {
        let line = match String::from_utf8(raw) {
            Ok(raw) => serde_json::json!({ "id": id, "reason": reason, "raw": raw }),
            Err(raw) => serde_json::json!({ "id": id, "reason": reason, "raw_hexadecimal": hex(raw.as_bytes()) }),
        };
        let writer = match &mut self.quarantined {
            Some(writer) => writer,
            none => none.insert(DocumentWriter::create(&self.job.out.join(QUARANTINED))?),
        };
        writer.write(&line)
    }

    /// Brings everything to the disk, and then says how far it goes.
    fn save(&mut self) -> Result<()> {
        self.state.kept = self.kept.complete()?.to_vec();
        self.ids.sync()?;
        self.state.dropped = self.dropped.sync()?;
        self.state.quarantined = self.quarantined.as_mut().map_or(Ok(0), DocumentWriter::sync)?;
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

/// Half of a hash: two of 2^32 ids have the same with a probability of 2^-65.
fn short_hash(id: &str) -> [u64; 2] {
    let hash = blake3::hash(id.as_bytes());
    let (words, _) = hash.as_bytes().as_chunks();
    [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
}
