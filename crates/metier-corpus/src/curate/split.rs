//! Documents and what was said of them, each to its place.

use super::kept::Texts;
use super::state::{Split, State};
use super::{CurateReport, Fate};
use crate::document_file::{DocumentWriter, HELD_OUT, HELD_OUT_ATTRIBUTES, TRAIN, TRAIN_ATTRIBUTES};
use metier_core::progress::say;
use metier_core::{Result, stop};
use std::path::Path;

/// Documents that were not read whole are named up to so many.
const TOLD: u64 = 5;

/// Writes documents to train on and held out into `out`, one file of kept documents after the other, and removes that.
pub(super) fn split(
    fates: &[Fate],
    texts: &Texts,
    tagged: bool,
    out: &Path,
    state: &mut State,
    scratch: &Path,
) -> Result<()> {
    let begun = state.split.unwrap_or_default();
    let names = [TRAIN, HELD_OUT, TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES];
    let open = |(name, length): (&&str, u64)| DocumentWriter::resume(&out.join(name), length);
    let files = if tagged { 4 } else { 2 };
    let mut writers: Vec<_> = names.iter().zip(begun.lengths).take(files).map(open).collect::<Result<_>>()?;
    for file in begun.files..texts.files() {
        stop::check()?;
        let mut lines = texts.lines(file, tagged)?;
        for number in texts.numbers(file) {
            let (document, said) = lines.next(texts.length(number))?;
            let place = match fates[number] {
                Fate::Train => 0,
                Fate::HeldOut => 1,
                Fate::Dropped => continue,
            };
            count(texts, number, fates[number], &mut state.report)?;
            writers[place].write_line(document)?;
            if tagged {
                writers[2 + place].write_line(said)?;
            }
        }
        lines.end()?;
        let mut lengths = begun.lengths;
        for (length, writer) in lengths.iter_mut().zip(&mut writers) {
            *length = writer.sync()?;
        }
        state.split = Some(Split { files: file + 1, lengths });
        crate::scratch::save(state, scratch)?;
        texts.remove(file)?;
    }
    let partial = state.report.partial;
    if partial > TOLD {
        say(&format!("{} more documents were not read whole; each says why under `partial`", partial - TOLD));
    }
    Ok(())
}

fn count(texts: &Texts, number: usize, fate: Fate, report: &mut CurateReport) -> Result<()> {
    let bytes = texts.size(number);
    let (documents, all) = match fate {
        Fate::HeldOut => (&mut report.held_out, &mut report.held_out_bytes),
        _ => (&mut report.kept, &mut report.bytes),
    };
    *documents += 1;
    *all += bytes;
    if texts.is_partial(number) {
        report.partial += 1;
        if report.partial <= TOLD {
            let document = texts.read(number as u32)?;
            say(&format!("{}: not read whole: {}", document.id, document.partial.join("; ")));
        }
    }
    Ok(())
}
