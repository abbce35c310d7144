//! Reading, filtering and tagging, with what documents are compared by gathered on the way.

use super::kept::{Kept, Texts};
use super::records::Records;
use super::state::State;
use super::{AHEAD, GROUP, GROUP_BYTES, Job, drop_document, keys_path, stay_path};
use crate::attributes::{Attributes, Taggers};
use crate::dedup::{Deduplicate, Gather};
use crate::document_file::{DROPPED, DocumentWriter};
use crate::filter::{Filter, Verdict};
use crate::read::{Found, Item};
use crate::scratch;
use metier_core::progress::Progress;
use metier_core::{Error, Fault, Place, Result, stop};
use rayon::prelude::*;
use std::collections::HashSet;
use std::sync::mpsc;
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
    let mut gathering = Gathering { job, state, kept, gathers, known, ids, dropped, saved: Instant::now() };
    let mut found = parts.read.open_behind(job.path, gathering.state.report.read as usize)?;
    let taggers = Taggers::new(&parts.tags)?;
    std::thread::scope(|scope| {
        let (send, groups) = mpsc::sync_channel(AHEAD);
        scope.spawn(move || {
            while let Some(group) = group(&mut found).transpose() {
                // Whoever does not listen any more has failed.
                if send.send(group).is_err() {
                    break;
                }
            }
        });
        for group in groups {
            stop::check()?;
            let group = group?;
            let read = group.len() as u64;
            let verdicts = group.into_par_iter().map(|item| verdict(item, &parts.filters, &taggers)).collect();
            gathering.take(verdicts)?;
            progress.add(read);
            if gathering.kept.is_full() || gathering.saved.elapsed() > BETWEEN_STATES {
                gathering.save()?;
            }
        }
        Ok::<(), Error>(())
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
}

/// A document's id, what the filters say of it, and the taggers.
type Said = (String, Verdict, Option<Attributes>);

impl Gathering<'_> {
    /// Writes a group of documents to where they belong.
    fn take(&mut self, group: Vec<Said>) -> Result<()> {
        let Job { parts, path, seed, settings, .. } = *self.job;
        let mut left = Vec::new();
        for (id, verdict, attributes) in group {
            let hash = short_hash(&id);
            if !self.known.insert(hash) {
                return Err(Fault::new(Place::file(path).with_key(&id), "two documents have this id")
                    .hint("ids must be unique in a corpus")
                    .into());
            }
            self.ids.add(hash)?;
            self.state.report.read += 1;
            match verdict {
                Verdict::Keep(mut document) => {
                    if document.license.is_empty() {
                        document.license = settings.license.clone().unwrap_or_default();
                    }
                    self.kept.add(&document, attributes.as_ref(), parts.select.draw(&id, seed))?;
                    left.push(document);
                }
                Verdict::Drop(reason) => {
                    drop_document(&mut self.dropped, &id, &reason, None)?;
                    *self.state.report.dropped.entry(reason).or_default() += 1;
                }
            }
        }
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

/// The next documents that pass through memory at once, if there are any.
fn group(found: &mut Found) -> Result<Option<Vec<Item>>> {
    let (mut group, mut bytes) = (Vec::with_capacity(GROUP), 0);
    while group.len() < GROUP && bytes < GROUP_BYTES {
        let Some(item) = found.next().transpose()? else { break };
        if let Item::Document(document) = &item {
            bytes += document.text.len() as u64;
        }
        group.push(item);
    }
    Ok(Some(group).filter(|group| !group.is_empty()))
}

/// What all filters together say of a document, and the taggers of what they keep.
fn verdict(item: Item, filters: &[&dyn Filter], taggers: &Taggers) -> Said {
    let mut document = match item {
        Item::Document(document) => document,
        Item::Skipped { id, reason } => return (id, Verdict::Drop(reason.to_owned()), None),
    };
    let id = document.id.clone();
    for filter in filters {
        match filter.apply(document) {
            Verdict::Keep(kept) => document = kept,
            dropped @ Verdict::Drop(_) => return (id, dropped, None),
        }
    }
    if document.text.is_empty() {
        return (id, Verdict::Drop("empty".to_owned()), None);
    }
    let attributes = if taggers.is_empty() { None } else { Some(taggers.attributes(&document)) };
    (id, Verdict::Keep(document), attributes)
}

/// Half of a hash: two of 2^32 ids have the same with a probability of 2^-65.
fn short_hash(id: &str) -> [u64; 2] {
    let hash = blake3::hash(id.as_bytes());
    let (words, _) = hash.as_bytes().as_chunks();
    [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
}
