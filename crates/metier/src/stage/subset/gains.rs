//! What was found out of each document, in files and in words.

use crate::command::{count, table};
use metier_core::store::write_atomic;
use metier_core::{Error, Fault, Place, Result};
use metier_corpus::select::submodular::{Part, taylor_softmax};
use metier_corpus::{DocumentWriter, TRAIN, read_documents, read_values};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// A line for each document that was chosen from.
pub(super) const GAINS: &str = "gains.jsonl";
/// Counts of each part.
const REPORT: &str = "report.json";

/// What is said of a document. A line of [`GAINS`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    id: String,
    /// The number of its part.
    part: u32,
    /// Its number in the order of that part.
    place: u32,
    /// What it adds to those before it.
    gain: f64,
    /// With which probability it is the first of its part to be drawn.
    weight: f64,
    chosen: bool,
}

/// The orders that another stage found of the same documents, with weights of this temperature.
pub(super) fn read(from: &Path, after: &Path, temperature: f64) -> Result<Vec<Part>> {
    let path = after.join(GAINS);
    if !path.exists() {
        return Err(
            Error::file(after, "no order was found there").hint("name a stage `subset` under `after` that had a model")
        );
    }
    let other = |line: usize| {
        let fault = Fault::new(Place::file(&path).at(line, 1), "this order is one of other documents");
        Err(Error::from(fault.hint("give `from` the documents that the stage under `after` was given")))
    };
    let mut documents = read_documents(&from.join(TRAIN))?;
    let mut parts: BTreeMap<u32, Vec<(u32, u32, f64)>> = BTreeMap::new();
    let mut line = 0;
    for gain in read_values::<Said>(&path)? {
        let gain = gain?;
        if documents.next().transpose()?.is_none_or(|document| document.id != gain.id) {
            return other(line as usize + 1);
        }
        parts.entry(gain.part).or_default().push((gain.place, line, gain.gain));
        line += 1;
    }
    if documents.next().is_some() {
        return other(line as usize + 1);
    }
    let part = |mut of: Vec<(u32, u32, f64)>| {
        of.sort_unstable_by_key(|(place, row, _)| (*place, *row));
        let gains: Vec<f64> = of.iter().map(|(_, _, gain)| *gain).collect();
        Part { rows: of.iter().map(|(_, row, _)| *row).collect(), weights: taylor_softmax(&gains, temperature), gains }
    };
    Ok(parts.into_values().map(part).collect())
}

/// What there is to say of orders and of what was chosen.
pub(super) struct Told {
    /// The gains of those chosen as a share of all.
    pub gain_share: f64,
    pub table: String,
}

/// Writes the gains of all documents and the counts of parts.
pub(super) fn write(from: &Path, out: &Path, parts: &[Part], chosen: &[u64]) -> Result<Told> {
    let chosen: HashSet<u64> = chosen.iter().copied().collect();
    let mut rows = BTreeMap::new();
    let mut counts = Vec::with_capacity(parts.len());
    for (number, part) in (0_u32..).zip(parts) {
        let (mut of_part, mut sum, mut sum_chosen) = (0_u64, 0.0, 0.0);
        for (place, ((row, gain), weight)) in (0_u32..).zip(part.rows.iter().zip(&part.gains).zip(&part.weights)) {
            let is_chosen = chosen.contains(&u64::from(*row));
            of_part += u64::from(is_chosen);
            sum += gain;
            sum_chosen += if is_chosen { *gain } else { 0.0 };
            rows.insert(*row, (number, place, *gain, *weight, is_chosen));
        }
        counts.push(json!({ "documents": part.rows.len(), "chosen": of_part, "gain": sum, "gain_chosen": sum_chosen }));
    }
    let mut writer = DocumentWriter::create(&out.join(GAINS))?;
    for (document, (part, place, gain, weight, chosen)) in read_documents(&from.join(TRAIN))?.zip(rows.values()) {
        let (id, (part, place, gain)) = (document?.id, (*part, *place, *gain));
        writer.write(&Said { id, part, place, gain, weight: *weight, chosen: *chosen })?;
    }
    writer.finish()?;
    write_atomic(out.join(REPORT), format!("{:#}\n", json!({ "parts": counts })))?;
    let mut by_gain: Vec<(f64, bool)> = rows.values().map(|(_, _, gain, _, chosen)| (*gain, *chosen)).collect();
    by_gain.sort_unstable_by(|one, other| other.0.total_cmp(&one.0));
    let sum = |of: &mut dyn Iterator<Item = &(f64, bool)>| of.map(|(gain, _)| *gain).sum::<f64>();
    let all = sum(&mut by_gain.iter());
    let of_chosen = sum(&mut by_gain.iter().filter(|(_, chosen)| *chosen));
    let gain_share = if all == 0.0 { 0.0 } else { of_chosen / all };
    Ok(Told { gain_share, table: quarters(&by_gain) })
}

/// How many of the documents with the most gain, and of those with less, were chosen.
fn quarters(by_gain: &[(f64, bool)]) -> String {
    let quarter = by_gain.len().div_ceil(4).max(1);
    let rows: Vec<Vec<String>> = by_gain
        .chunks(quarter)
        .map(|of| {
            let chosen = of.iter().filter(|(_, chosen)| *chosen).count();
            vec![
                count(of.len() as u64),
                of.first().map_or_else(String::new, |(gain, _)| format!("{gain:.4}")),
                of.last().map_or_else(String::new, |(gain, _)| format!("{gain:.4}")),
                count(chosen as u64),
                format!("{:.1} %", 100.0 * chosen as f64 / of.len() as f64),
            ]
        })
        .collect();
    let mut text = table(&["documents", "gain from", "to", "chosen", "share"], &rows, &[true; 5]);
    text += "quarters of the documents, those that add most to the ones before them first\n";
    text
}
