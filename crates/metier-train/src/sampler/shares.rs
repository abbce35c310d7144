//! Which source a window is of where each has a share, and which of its windows: what `mixture` and `curriculum` are made of.

use super::packed::Permutation;
use super::{Request, Source, Stream};
use crate::sources::known;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use std::collections::BTreeMap;
use std::ops::Range;

/// Shares are whole multiples of one of this many parts.
pub(super) const PARTS: u64 = 1_000_000_000;
/// Sums of shares may be off by this, as thirds are.
const ROUNDING: f64 = 1e-6;

/// The share of each of these sources in [`PARTS`]; they sum to it. One that has no share gets the rest. `key` is where the shares are
/// written.
///
/// # Errors
/// Names that are no source's, numbers that are no shares, and shares that do not sum to 1.
pub(super) fn parts(shares: &BTreeMap<String, f64>, names: &[&str], key: &str) -> Result<Vec<u64>> {
    let mut faults = Vec::new();
    for (name, share) in shares {
        let place = || Place::key(format!("{key}.{name}"));
        if !names.contains(&name.as_str()) {
            faults.push(Fault::new(place(), format!("no source is called `{name}`")).hint(known(name, names)));
        }
        if !(0.0..=1.0).contains(share) {
            faults.push(Fault::new(place(), format!("{share} is no share")).hint("write a number from 0 to 1"));
        }
    }
    Error::collect((), faults)?;
    let sum: f64 = shares.values().sum();
    let unnamed: Vec<&&str> = names.iter().filter(|name| !shares.contains_key(**name)).collect();
    let refuse = |message: String, hint: &str| Err(Error::user(Place::key(key), message).hint(hint));
    match unnamed[..] {
        _ if shares.is_empty() => {
            return refuse("no shares are given".to_owned(), "write `shares = { NAME = 0.25 }` with names of `from`");
        }
        [first, second, ..] => {
            let message = format!("neither `{first}` nor `{second}` has a share");
            return refuse(message, "at most one source may be left out: it gets the rest");
        }
        [] if (sum - 1.0).abs() > ROUNDING => {
            let message = format!("the shares sum to {sum}, not to 1");
            return refuse(message, "change one, or leave one out: it gets the rest");
        }
        [one] if sum > 1.0 + ROUNDING => {
            let message = format!("the shares sum to {sum}, which leaves no rest for `{one}`");
            return refuse(message, "the shares of all sources sum to 1");
        }
        _ => {}
    }
    let given = |name: &str| shares.get(name).map(|share| (share * PARTS as f64).round() as u64);
    let mut parts: Vec<u64> = names.iter().map(|name| given(name).unwrap_or(0)).collect();
    // The one that is left out gets the rest; else the largest takes what rounding left, and in any case what it has too much.
    let sum: u64 = parts.iter().sum();
    let largest = (0..parts.len()).max_by_key(|at| parts[*at]);
    let open = names.iter().position(|name| given(name).is_none());
    match (open.or(largest), largest) {
        (_, Some(largest)) if sum > PARTS => parts[largest] -= sum - PARTS,
        (Some(at), _) => parts[at] += PARTS - sum,
        _ => {}
    }
    Ok(parts)
}

/// The names of the sources of a stream.
pub(super) fn names(stream: &Stream) -> Vec<&str> {
    stream.sources().iter().map(|source| source.name.as_str()).collect()
}

/// How many of the first windows belong to each source.
pub(super) fn counts(parts: &[u64], windows: u64) -> Vec<u64> {
    let (mut left, mut windows) = (PARTS, windows);
    let count = |part: &u64| {
        let (all, own, of) = (u128::from(windows), u128::from(*part), u128::from(left));
        // Rounded half down, in whole numbers.
        let count = (2 * all * own + of).saturating_sub(1).checked_div(2 * of).unwrap_or(0) as u64;
        windows -= count;
        left -= part;
        count
    };
    parts.iter().map(count).collect()
}

/// Which source window `position` belongs to, and how many of its windows come before.
pub(super) fn place(parts: &[u64], position: u64) -> Option<(usize, u64)> {
    let (before, after) = (counts(parts, position), counts(parts, position + 1));
    let source = before.iter().zip(&after).position(|(before, after)| after > before)?;
    Some((source, before[source]))
}

/// Windows of a source in one epoch.
pub(super) fn windows_of(source: &Source, context: usize) -> u64 {
    if source.windows.is_empty() {
        (source.tokens.end - source.tokens.start) / context.max(1) as u64
    } else {
        source.windows.end - source.windows.start
    }
}

/// Draws windows of sources, each source in epochs of its own.
pub(super) struct Draw<'a> {
    stream: &'a Stream,
    context: usize,
    /// For each source.
    seeds: Vec<Seed>,
}

impl<'a> Draw<'a> {
    pub(super) fn new(stream: &'a Stream, request: &Request) -> Self {
        let seeds = stream.sources().iter().map(|source| request.seed.derive(&source.name)).collect();
        Self { stream, context: request.context, seeds }
    }

    /// The window of a source that comes after `number` others of it in the run; none of a source that fills none.
    pub(super) fn window(&self, source: usize, number: u64) -> Option<Range<u64>> {
        let (source, seed) = (self.stream.sources().get(source)?, self.seeds.get(source)?);
        let windows = windows_of(source, self.context);
        let (epoch, index) = (number.checked_div(windows)?, number % windows);
        let index = Permutation::new(*seed, epoch, windows).at(index);
        if let Some(window) = self.stream.window(source.windows.start + index) {
            return Some(window);
        }
        let context = self.context as u64;
        let rest = (source.tokens.end - source.tokens.start) % context;
        let start = source.tokens.start + seed.derive("cut").at(epoch).below(rest + 1) + index * context;
        Some(start..start + context)
    }
}

/// The faults of sources that have a share of so many windows and fill none, or get none. `whose` windows they are is said.
pub(super) fn undrawn(stream: &Stream, context: usize, parts: &[u64], windows: u64, whose: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for ((source, part), count) in stream.sources().iter().zip(parts).zip(counts(parts, windows)) {
        let mut refuse = |message: String, hint: &str| {
            faults.push(Fault::new(Place::key(format!("from.{}", source.name)), message).hint(hint));
        };
        if *part > 0 && windows_of(source, context) == 0 {
            let tokens = source.tokens.end - source.tokens.start;
            refuse(format!("its {tokens} tokens do not fill a window of {context}"), "choose a shorter `context`");
        } else if *part > 0 && count == 0 {
            let share = *part as f64 / PARTS as f64;
            let message = format!("a share of {share} gets none of {whose} {windows} windows");
            refuse(message, "give it a larger share, train for more steps, or leave it out");
        }
    }
    faults
}
