//! A receipt: who ran what where, how fast, with how much memory, and what follows from it.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Where receipts lie.
pub const FOLDER: &str = "bench/receipts";
/// A receipt has at least so many rounds.
pub const FEWEST_ROUNDS: usize = 5;
/// How far, relatively, a ratio may be from the one that the medians give.
const TOLERANCE: f64 = 1e-3;

/// One race's outcome. Rates are better when greater.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The race's name.
    pub race: String,
    /// The day, in UTC.
    pub date: String,
    /// What was raced; `-changed` at its end when files differed from the commit.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// What every contender did.
    pub work: String,
    /// metier.
    pub ours: Ours,
    /// The others.
    pub peers: Vec<Peer>,
    /// Our median by that of the fastest peer: above 1 we are faster.
    pub ratio_to_best_peer: f64,
    /// Our peak memory by that of the peer that needs least: below 1 we need less.
    pub memory_ratio: f64,
    /// What the machine allows at most.
    pub limit: Limit,
}

/// The machine a race ran on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The processor's name, family and model.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Its vector and matrix instructions.
    pub flags: Vec<String>,
    /// The most it was seen to do, by `metier bench`.
    pub ceilings: BTreeMap<String, f64>,
}

/// Our side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ours {
    /// What was run.
    pub command: String,
    /// Of the rates.
    pub unit: String,
    /// The rate in the middle round.
    pub median: f64,
    /// The slowest round.
    pub min: f64,
    /// The fastest round.
    pub max: f64,
    /// How many turns.
    pub rounds: usize,
    /// The most memory in any round.
    pub peak_rss_mib: f64,
}

/// A program we race against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// What it is called.
    pub name: String,
    /// Of the program, as it says itself.
    pub version: String,
    /// What was run.
    pub command: String,
    /// Of the rates.
    pub unit: String,
    /// The rate in the middle round.
    pub median: f64,
    /// The slowest round.
    pub min: f64,
    /// The fastest round.
    pub max: f64,
    /// How many turns.
    pub rounds: usize,
    /// The most memory in any round.
    pub peak_rss_mib: f64,
}

/// What bounds us.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Which of the machine's ceilings.
    pub what: String,
    /// The ceiling.
    pub value: f64,
    /// How much of it we reach, by the median of the rounds.
    pub share: f64,
}

/// The middle one of some numbers, or the mean of the two in the middle; nothing for none.
pub fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[sorted.len() / 2 - 1], upper) } else { upper })
}

/// A number with five digits that count; more would only be noise.
pub fn rounded(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    let decimals = 4 - number.abs().log10().floor() as i32;
    if decimals > 0 {
        let scale = 10_f64.powi(decimals);
        (number * scale).round() / scale
    } else {
        let scale = 10_f64.powi(-decimals);
        (number / scale).round() * scale
    }
}

/// The fastest peer.
pub fn best(peers: &[Peer]) -> Option<&Peer> {
    peers.iter().max_by(|a, b| a.median.total_cmp(&b.median))
}

/// Our median by the fastest peer's, and our memory by the least of the peers'.
pub fn ratios(ours: &Ours, peers: &[Peer]) -> Option<(f64, f64)> {
    let least = peers.iter().map(|peer| peer.peak_rss_mib).min_by(f64::total_cmp)?;
    Some((rounded(ours.median / best(peers)?.median), rounded(ours.peak_rss_mib / least)))
}

impl Receipt {
    /// What does not hold in it, each in a sentence.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut side = |name: &str, rates: [f64; 3], rounds: usize, memory: f64, unit: &str| {
            let [min, median, max] = rates;
            if !(min > 0.0 && min <= median && median <= max && max.is_finite()) {
                faults.push(format!("{name}: min {min}, median {median} and max {max} are not in order above 0"));
            }
            if rounds < FEWEST_ROUNDS {
                faults.push(format!("{name}: {rounds} rounds; a receipt has {FEWEST_ROUNDS} or more"));
            }
            if !(memory > 0.0 && memory.is_finite()) {
                faults.push(format!("{name}: `peak_rss_mib` is {memory}; it is above 0"));
            }
            if unit != self.ours.unit {
                faults.push(format!("{name}: the unit is `{unit}`; ours is `{}`", self.ours.unit));
            }
        };
        let ours = &self.ours;
        side("ours", [ours.min, ours.median, ours.max], ours.rounds, ours.peak_rss_mib, &ours.unit);
        for peer in &self.peers {
            side(&peer.name, [peer.min, peer.median, peer.max], peer.rounds, peer.peak_rss_mib, &peer.unit);
        }
        match ratios(ours, &self.peers) {
            None => faults.push("there is no peer; a race has one or more".to_owned()),
            Some((speed, memory)) => {
                let given = [
                    ("ratio_to_best_peer", self.ratio_to_best_peer, speed),
                    ("memory_ratio", self.memory_ratio, memory),
                ];
                for (name, says, is) in given {
                    if says.is_nan() || (says - is).abs() > TOLERANCE * is {
                        faults.push(format!("`{name}` is {says}; the figures of the receipt give {is}"));
                    }
                }
            }
        }
        let ceiling = self.machine.ceilings.get(&self.limit.what);
        if ceiling != Some(&self.limit.value) {
            faults.push(format!("the limit `{}` is not among the machine's ceilings with its value", self.limit.what));
        }
        if !(self.limit.share > 0.0 && self.limit.share.is_finite()) {
            faults.push(format!("the share of the limit is {}; it is above 0", self.limit.share));
        }
        let date = self.date.as_bytes();
        let is_date = date.len() == 10
            && date
                .iter()
                .enumerate()
                .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
        if !is_date {
            faults.push(format!("the date is `{}`; it is written YYYY-MM-DD", self.date));
        }
        faults
    }

    /// Puts the receipt in its place, whole or not at all.
    pub fn write(&self, root: &Path) -> Result<String> {
        let folder = root.join(FOLDER);
        std::fs::create_dir_all(&folder).with_context(|| FOLDER.to_owned())?;
        let path = format!("{FOLDER}/{}.json", self.race);
        let text = serde_json::to_string_pretty(self)? + "\n";
        replace(&root.join(&path), &text).with_context(|| path.clone())?;
        Ok(path)
    }
}

/// Writes a file by renaming a finished one onto it.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, text)?;
    Ok(std::fs::rename(&part, path)?)
}

/// Every receipt under `root`, by the name of its race.
pub fn read_all(root: &Path) -> Result<Vec<Receipt>> {
    let folder = root.join(FOLDER);
    let mut receipts = Vec::new();
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                receipts.push(serde_json::from_str::<Receipt>(&text).with_context(|| path.display().to_string())?);
            }
        }
    }
    receipts.sort_by(|a, b| a.race.cmp(&b.race));
    Ok(receipts)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures are exact")]
pub mod tests {
    use super::*;

    /// A receipt without a fault.
    pub fn good() -> Receipt {
        let peer = |name: &str, median: f64, memory: f64| Peer {
            name: name.to_owned(),
            version: "2.0".to_owned(),
            command: "python bench/train_step.py".to_owned(),
            unit: "tokens/s".to_owned(),
            median,
            min: median - 100.0,
            max: median + 100.0,
            rounds: 5,
            peak_rss_mib: memory,
        };
        Receipt {
            race: "train-s".to_owned(),
            date: "2026-01-31".to_owned(),
            commit: "0123456789ab".to_owned(),
            machine: Machine {
                cpu: "Some Processor (family 6, model 207)".to_owned(),
                cores: 2,
                flags: vec!["avx2".to_owned()],
                ceilings: BTreeMap::from([("f32_flop_per_second".to_owned(), 2e11)]),
            },
            work: "a step".to_owned(),
            ours: Ours {
                command: "metier bench --step s".to_owned(),
                unit: "tokens/s".to_owned(),
                median: 6000.0,
                min: 5900.0,
                max: 6050.0,
                rounds: 5,
                peak_rss_mib: 300.0,
            },
            peers: vec![peer("PyTorch f32 eager", 4000.0, 1200.0), peer("PyTorch bf16 compiled", 5000.0, 1500.0)],
            ratio_to_best_peer: 1.2,
            memory_ratio: 0.25,
            limit: Limit { what: "f32_flop_per_second".to_owned(), value: 2e11, share: 0.61 },
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn five_digits_count() {
        assert_eq!(rounded(1_234_567.0), 1_234_600.0);
        assert_eq!(rounded(1234.5678), 1234.6);
        assert_eq!(rounded(0.123_456_7), 0.12346);
        assert_eq!(rounded(0.0), 0.0);
    }

    #[test]
    fn ratios_are_to_the_fastest_and_to_the_smallest_peer() {
        let receipt = good();
        assert_eq!(ratios(&receipt.ours, &receipt.peers), Some((1.2, 0.25)));
        assert_eq!(best(&receipt.peers).map(|peer| peer.name.as_str()), Some("PyTorch bf16 compiled"));
        assert_eq!(ratios(&receipt.ours, &[]), None);
    }

    #[test]
    fn faults_are_found() {
        let fault = |change: &dyn Fn(&mut Receipt)| {
            let mut receipt = good();
            change(&mut receipt);
            receipt.faults().join("; ")
        };
        assert_eq!(fault(&|_| {}), "");
        assert_eq!(
            fault(&|receipt| receipt.ratio_to_best_peer = 1.3),
            "`ratio_to_best_peer` is 1.3; the figures of the receipt give 1.2"
        );
        assert!(fault(&|receipt| receipt.memory_ratio = f64::NAN).starts_with("`memory_ratio` is NaN"));
        assert!(fault(&|receipt| receipt.peers.clear()).starts_with("there is no peer"));
        assert!(fault(&|receipt| receipt.ours.rounds = 4).starts_with("ours: 4 rounds; a receipt has 5 or more"));
        assert!(
            fault(&|receipt| receipt.peers[0].min = 4001.0).starts_with("PyTorch f32 eager: min 4001, median 4000")
        );
        assert!(fault(&|receipt| receipt.peers[1].unit = "steps/s".to_owned()).contains("the unit is `steps/s`"));
        assert!(
            fault(&|receipt| receipt.limit.value = 1.0).starts_with("the limit `f32_flop_per_second` is not among")
        );
        assert!(fault(&|receipt| receipt.date = "31.1.2026".to_owned()).starts_with("the date is `31.1.2026`"));
    }

    #[test]
    fn a_receipt_is_written_and_read_back() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read_all(root.path()).unwrap(), []);
        assert_eq!(good().write(root.path()).unwrap(), "bench/receipts/train-s.json");
        assert_eq!(read_all(root.path()).unwrap(), [good()]);
        let files = std::fs::read_dir(root.path().join(FOLDER)).unwrap().count();
        assert_eq!(files, 1);
    }
}
