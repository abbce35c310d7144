use super::groups::{Compare, Keys};
use super::{Deduplicate, Gather, mix, mixed, words};
use crate::curate::Texts;
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::progress::say;
use metier_core::seed::Seed;
use metier_core::{Fault, Place, Result};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// # What it does
/// Drops documents that share most of their word sequences with another one.
///
/// # How
/// A document is the set S of its sequences of `words` words (the whole document when it is shorter), hashed
/// to 64 bits. The similarity of two documents is `|A n B| / |A u B|` (Jaccard). `hashes` minimum hashes are taken, each
/// equal in two documents with probability J, and cut into `b` bands of `r` rows. Documents that agree in a band are
/// candidates; two of similarity J become candidates with probability `1 - (1 - J^r)^b`, and `r` is the largest for which
/// this is at least 0.99 at `threshold`. Minimum hashes come in rounds: in each a sequence is thrown into one of the
/// `hashes` places, by a hash function of the round, and the least of the first round that reaches a place stays there. So a
/// long document costs one or two hashes a sequence, not `hashes` of them. Candidates are
/// compared exactly: only a true similarity of at least `threshold` joins two documents. Of documents that are
/// joined, also by others between them, the longest stays, of equally long ones that with the least id, so the
/// order of documents decides nothing. Bands stand on the disk, 12 bytes each; memory holds eight bytes a document, and up to
/// a million pairs that were compared and are no near duplicates, so that they are compared once.
///
/// # When to use
/// After `exact`. It also keeps near copies from standing on both sides of the held-out split.
///
/// # Differs from the paper in
/// Candidates are verified by their exact similarity instead of the estimate, so a false candidate costs time
/// only and the bands are chosen to miss little.
///
/// # Source
/// Broder 1997, On the resemblance and containment of documents; banding as in Leskovec, Rajaraman and Ullman,
/// Mining of Massive Datasets, section 3.4. Minimum hashes: Dahlgaard, Knudsen and Thorup 2017, Fast Similarity Sketching
/// (arXiv:1704.04370), algorithm 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Minhash {
    /// Similarity from which on a document is a near duplicate.
    #[schemars(range(min = 0.05, max = 1.0))]
    pub threshold: f64,
    /// Words in a sequence.
    #[schemars(range(min = 1, max = 64))]
    pub words: usize,
    /// Number of minimum hashes.
    #[schemars(range(min = 8, max = 1024))]
    pub hashes: usize,
}

impl Default for Minhash {
    fn default() -> Self {
        Self { threshold: 0.8, words: 5, hashes: 128 }
    }
}

/// Least probability that a pair of documents at the threshold is found.
const FOUND: f64 = 0.99;

impl Minhash {
    /// The pair (bands, rows) of the fewest false candidates that finds a pair at the threshold as good as surely.
    fn bands(&self) -> (usize, usize) {
        (1..=self.hashes)
            .rev()
            .map(|rows| (self.hashes / rows, rows))
            .find(|(bands, rows)| found(self.threshold, *bands, *rows) >= FOUND)
            .unwrap_or((self.hashes, 1))
    }
}

/// The probability that two documents of this similarity agree in a band.
fn found(similarity: f64, bands: usize, rows: usize) -> f64 {
    1.0 - (1.0 - similarity.powi(rows as i32)).powi(bands as i32)
}

/// What one document is, and the hash functions.
struct Shingles {
    words: usize,
    rows: usize,
    hashes: usize,
    /// What tells the hash function of a round, of which there are two for each minimum hash.
    rounds: Vec<u64>,
}

struct Signatures {
    threshold: f64,
    shingles: Shingles,
    keys: Keys,
}

impl Minhash {
    fn shingles(&self, seed: Seed) -> Shingles {
        let (bands, rows) = self.bands();
        let mut stream = seed.derive("minhash").at(0);
        let hashes = bands * rows;
        let rounds = (0..2 * hashes).map(|_| stream.bits()).collect();
        Shingles { words: self.words, rows, hashes, rounds }
    }
}

impl Deduplicate for Minhash {
    fn start(&self, seed: Seed, scratch: &Path, state: Option<&Value>) -> Result<Box<dyn Gather>> {
        let (bands, rows) = self.bands();
        let percent =
            |similarity: f64| format!("{:.1} % of pairs of {similarity:.2}", 100.0 * found(similarity, bands, rows));
        let curve: Vec<_> = [-0.3, -0.2, -0.1, -0.05, 0.0].map(|less| self.threshold + less).to_vec();
        let curve: Vec<_> = curve.into_iter().filter(|similarity| *similarity > 0.0).map(percent).collect();
        say(&format!("near duplicates: by similarity, {bands} bands of {rows} hashes compare {}", curve.join(", ")));
        let shingles = self.shingles(seed);
        Ok(Box::new(Signatures { threshold: self.threshold, shingles, keys: Keys::start(scratch, state)? }))
    }

    fn reason(&self) -> &'static str {
        "near duplicate"
    }
}

impl Shingles {
    /// The hashes of the document's word sequences, in their order.
    fn all(&self, text: &str) -> Vec<u64> {
        let words = words(text);
        let width = self.words.min(words.len()).max(1);
        words.windows(width).map(mixed).collect()
    }

    /// The same, sorted and each once.
    fn of(&self, text: &str) -> Vec<u64> {
        let mut out = sorted(&self.all(text));
        out.dedup();
        out
    }

    /// Minimum hashes, each of them its round and then its value. In the second half of the rounds all sequences go to one
    /// place, so that none stays empty. Sequences that come again change nothing.
    fn signature(&self, shingles: &[u64]) -> Vec<u64> {
        let mut least = vec![u64::MAX; self.hashes];
        let mut empty = if shingles.is_empty() { 0 } else { self.hashes };
        for (round, function) in self.rounds.iter().enumerate() {
            if empty == 0 {
                break;
            }
            for shingle in shingles {
                let hash = mix(shingle ^ function);
                let place = round.checked_sub(self.hashes).unwrap_or(below(hash, self.hashes));
                let value = (round as u64) << 32 | hash & 0xffff_ffff;
                empty -= usize::from(least[place] == u64::MAX);
                least[place] = least[place].min(value);
            }
        }
        least
    }

    /// A key for each band; none of a text without words.
    fn keys(&self, text: &str) -> Vec<u64> {
        let shingles = self.all(text);
        if shingles.is_empty() {
            return Vec::new();
        }
        let signature = self.signature(&shingles);
        let bands = (0..).zip(signature.chunks_exact(self.rows));
        bands.map(|(band, rows)| rows.iter().fold(mix(band), |sum, row| mix(sum ^ row))).collect()
    }
}

/// Hashes in order, by way of their upper bits.
fn sorted(hashes: &[u64]) -> Vec<u64> {
    const EACH: usize = 8;
    let bits = (hashes.len() / EACH).max(2).ilog2();
    let bucket = |hash: u64| (hash >> (64 - bits)) as usize;
    let mut ends = vec![0; (1 << bits) + 1];
    for hash in hashes {
        ends[bucket(*hash) + 1] += 1;
    }
    for at in 1..ends.len() {
        ends[at] += ends[at - 1];
    }
    let mut out = vec![0; hashes.len()];
    for hash in hashes {
        let at = &mut ends[bucket(*hash)];
        out[*at] = *hash;
        *at += 1;
    }
    // What was the begin of each is its end now.
    let mut begin = 0;
    for end in ends {
        out[begin..end].sort_unstable();
        begin = end;
    }
    out
}

/// A number below `size` by the upper half of a hash.
fn below(hash: u64, size: usize) -> usize {
    (((hash >> 32) * size as u64) >> 32) as usize
}

impl Gather for Signatures {
    fn add(&mut self, documents: &[Document]) -> Result<()> {
        let keys: Vec<_> = documents.par_iter().map(|document| self.shingles.keys(&document.text)).collect();
        keys.iter().try_for_each(|keys| self.keys.add_next(keys))
    }

    fn state(&mut self) -> Result<Value> {
        self.keys.state()
    }

    fn stay(self: Box<Self>, texts: &Texts) -> Result<Vec<u32>> {
        let Self { threshold, shingles, keys } = *self;
        let same = |one: &[u64], other: &[u64]| jaccard(one, other) >= threshold;
        keys.stay(texts, &Compare { read: &|text| shingles.of(text), same: &same })
    }
}

/// `|a n b| / |a u b|` of sorted, distinct lists.
fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0_usize);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                both += 1;
                i += 1;
                j += 1;
            }
        }
    }
    both as f64 / (a.len() + b.len() - both).max(1) as f64
}

impl Build<dyn Deduplicate> for Minhash {
    fn build(self, place: &Place) -> Result<Box<dyn Deduplicate>> {
        if !(0.05..=1.0).contains(&self.threshold) || self.hashes < 8 || self.words < 1 {
            return Err(Fault::new(place.clone(), "threshold, hashes or words is out of range").into());
        }
        Ok(Box::new(self))
    }
}

/// The record of `minhash`.
pub static PART: Part<dyn Deduplicate> = Part::of::<Minhash>("minhash", 4);

#[cfg(test)]
mod tests {
    use super::super::{document, stay};
    use super::*;

    fn text(words: std::ops::Range<usize>) -> String {
        words.map(|word| format!("word{word}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn near_copies_go_and_others_stay() {
        let texts = [&text(20..1000), &text(0..1000), &text(500..1500), "two words", "", ""];
        let documents: Vec<_> = texts.iter().map(|text| document(text, text)).collect();
        assert_eq!(stay(&Minhash::default(), &documents), [1, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn hashes_are_sorted() {
        let mut stream = Seed::new(2).at(0);
        for length in [0, 1, 2, 15, 16, 500, 3000] {
            let mut hashes: Vec<u64> = (0..length).map(|_| stream.bits()).collect();
            hashes.extend_from_within(..length / 3);
            let mut expected = hashes.clone();
            expected.sort_unstable();
            assert_eq!(sorted(&hashes), expected);
        }
    }

    #[test]
    fn minimum_hashes_estimate_the_true_similarity() {
        let shingles = Minhash { hashes: 1024, threshold: 0.05, ..Minhash::default() }.shingles(Seed::new(3));
        assert_eq!(shingles.hashes, 1024);
        let (a, b) = (shingles.of(&text(0..900)), shingles.of(&text(300..1200)));
        let (x, y) = (shingles.signature(&a), shingles.signature(&b));
        let estimate = x.iter().zip(&y).filter(|(x, y)| x == y).count() as f64 / 1024.0;
        assert!((estimate - jaccard(&a, &b)).abs() < 0.05, "{estimate} {}", jaccard(&a, &b));
    }

    #[test]
    fn minimum_hashes_of_short_documents_are_equal_as_often_as_their_sequences() {
        // Three sequences in each, of which two are in both: more places than sequences, so most are filled in later rounds.
        let (mut equal, mut all) = (0, 0);
        for seed in 0..400 {
            let shingles = Minhash::default().shingles(Seed::new(seed));
            let (x, y) = (shingles.signature(&[mix(1), mix(2), mix(3)]), shingles.signature(&[mix(4), mix(3), mix(2)]));
            assert!(x.iter().all(|value| *value != u64::MAX));
            equal += x.iter().zip(&y).filter(|(x, y)| x == y).count();
            all += x.len();
        }
        let share = f64::from(equal as u32) / f64::from(all as u32);
        assert!((share - 0.5).abs() < 0.02, "{share}");
    }

    #[test]
    fn the_bands_find_a_pair_at_the_threshold_and_few_far_below() {
        for threshold in [0.3, 0.5, 0.7, 0.8, 0.9, 1.0] {
            let settings = Minhash { threshold, ..Minhash::default() };
            let (bands, rows) = settings.bands();
            assert!(bands * rows <= 128 && found(threshold, bands, rows) >= FOUND, "{threshold}: {bands} {rows}");
        }
        assert_eq!(Minhash::default().bands(), (21, 6));
        assert!(found(0.3, 21, 6) < 0.02);
    }

    #[test]
    fn what_is_dropped_is_what_comparing_all_pairs_drops() {
        let settings = Minhash::default();
        let mut stream = Seed::new(8).at(0);
        let mut documents: Vec<Document> = Vec::new();
        for number in 0..120 {
            let mut text: Vec<String> = match number % 3 {
                0 => (0..150).map(|_| format!("w{}", stream.below(5000))).collect(),
                _ => documents[stream.below(number as u64) as usize].text.split(' ').map(str::to_owned).collect(),
            };
            for _ in 0..stream.below(9) {
                let at = stream.below(text.len() as u64) as usize;
                text[at] = format!("w{}", stream.below(5000));
            }
            documents.push(document(&format!("d{number}"), &text.join(" ")));
        }
        let sets: Vec<_> = documents
            .iter()
            .map(|document| {
                let words: Vec<&str> = document.text.split(' ').collect();
                words.windows(5).map(<[&str]>::to_vec).collect::<std::collections::BTreeSet<_>>()
            })
            .collect();
        let similarity = |one: usize, other: usize| {
            let both = sets[one].intersection(&sets[other]).count() as f64;
            both / ((sets[one].len() + sets[other].len()) as f64 - both)
        };
        // Groups by comparing all pairs, each called by its least number.
        let mut groups: Vec<usize> = (0..documents.len()).collect();
        for one in 0..documents.len() {
            for other in 0..one {
                if similarity(one, other) >= settings.threshold && groups[one] != groups[other] {
                    let (low, high) = (groups[one].min(groups[other]), groups[one].max(groups[other]));
                    groups.iter_mut().filter(|group| **group == high).for_each(|group| *group = low);
                }
            }
        }
        let stays = stay(&settings, &documents);
        let (mut joined, mut missed) = (0, 0);
        for one in 0..documents.len() {
            for other in 0..one {
                match (groups[one] == groups[other], stays[one] == stays[other]) {
                    (true, together) => {
                        joined += 1;
                        missed += u32::from(!together);
                    }
                    (false, together) => assert!(!together, "{other} and {one} are not in one group"),
                }
            }
        }
        assert!(joined >= 50 && missed * 50 <= joined, "{joined} pairs, {missed} missed");
    }
}
