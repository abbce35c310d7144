use super::{Deduplicate, Seen, words};
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// # What it does
/// Drops documents that share most of their word sequences with an earlier one.
///
/// # How
/// A document is the set S of its sequences of `words` words (the whole document when it is shorter), hashed
/// to 64 bits. The similarity of two documents is `|A n B| / |A u B|` (Jaccard). `hashes` minimum hashes are
/// taken, `h_i(S) = min over s of (a_i s + b_i) mod (2^61 - 1)`, and cut into `b` bands of `r` rows. Documents
/// that agree in a band are candidates; two of similarity J become candidates with probability
/// `1 - (1 - J^r)^b`, and `r` is the largest for which this is at least 0.99 at `threshold`. Candidates are
/// compared exactly: only a true similarity of at least `threshold` drops a document. The first document stays.
///
/// # When to use
/// After `exact`. It also keeps near copies from standing on both sides of the held-out split.
///
/// # Differs from the paper in
/// Candidates are verified by their exact similarity instead of the estimate, so a false candidate costs time
/// only and the bands are chosen to miss little. A document is compared with documents kept so far instead of
/// forming connected groups.
///
/// # Source
/// Broder 1997, On the resemblance and containment of documents; banding as in Leskovec, Rajaraman and Ullman,
/// Mining of Massive Datasets, section 3.4.
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

const PRIME: u64 = (1 << 61) - 1;
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

struct Signatures {
    settings: Minhash,
    bands: usize,
    rows: usize,
    multipliers: Vec<(u64, u64)>,
    buckets: Vec<HashMap<u64, Vec<usize>>>,
    kept: Vec<(String, Vec<u64>)>,
}

impl Deduplicate for Minhash {
    fn start(&self, seed: Seed) -> Box<dyn Seen> {
        let (bands, rows) = self.bands();
        let mut stream = seed.derive("minhash").at(0);
        let multipliers = (0..bands * rows).map(|_| (1 + stream.below(PRIME - 1), stream.below(PRIME))).collect();
        Box::new(Signatures {
            settings: self.clone(),
            bands,
            rows,
            multipliers,
            buckets: vec![HashMap::new(); bands],
            kept: Vec::new(),
        })
    }
}

impl Signatures {
    /// The sorted, distinct hashes of the document's word sequences.
    fn shingles(&self, text: &str) -> Vec<u64> {
        let hashes: Vec<u64> = words(text).map(|word| hash(word.as_bytes())).collect();
        let width = self.settings.words.min(hashes.len()).max(1);
        let mut out: Vec<u64> =
            hashes.windows(width).map(|window| window.iter().fold(0, |sum, word| mix(sum ^ *word))).collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    fn signature(&self, shingles: &[u64]) -> Vec<u64> {
        self.multipliers
            .iter()
            .map(|(a, b)| shingles.iter().map(|shingle| multiply_add(*a, *shingle, *b)).min().unwrap_or(PRIME))
            .collect()
    }
}

impl Seen for Signatures {
    fn repeats(&mut self, document: &Document) -> Option<String> {
        let shingles = self.shingles(&document.text);
        if shingles.is_empty() {
            return None;
        }
        let signature = self.signature(&shingles);
        let keys: Vec<u64> = signature
            .chunks(self.rows)
            .take(self.bands)
            .map(|rows| rows.iter().fold(0x9e37_79b9_7f4a_7c15, |sum, row| mix(sum ^ *row)))
            .collect();
        let mut candidates: Vec<usize> =
            keys.iter().zip(&self.buckets).filter_map(|(key, bucket)| bucket.get(key)).flatten().copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        for candidate in candidates {
            let (id, other) = &self.kept[candidate];
            if jaccard(&shingles, other) >= self.settings.threshold {
                return Some(id.clone());
            }
        }
        let number = self.kept.len();
        for (key, bucket) in keys.into_iter().zip(&mut self.buckets) {
            bucket.entry(key).or_default().push(number);
        }
        self.kept.push((document.id.clone(), shingles));
        None
    }

    fn reason(&self) -> &'static str {
        "near duplicate"
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap_or_default())
}

/// The finalizer of `SplitMix64` (Steele, Lea and Flood 2014).
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// `(a x + b) mod (2^61 - 1)`. The prime is one less than a power of two, so the high bits are added to the low.
fn multiply_add(a: u64, x: u64, b: u64) -> u64 {
    let fold = |value: u64| (value & PRIME) + (value >> 61);
    let sum = u128::from(a) * u128::from(fold(x)) + u128::from(b);
    let folded = fold((sum as u64 & PRIME) + (sum >> 61) as u64);
    if folded >= PRIME { folded - PRIME } else { folded }
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
pub static PART: Part<dyn Deduplicate> = Part::of::<Minhash>("minhash", 2);

#[cfg(test)]
mod tests {
    use super::*;

    fn document(id: &str, text: &str) -> Document {
        Document {
            id: id.into(),
            text: text.into(),
            source: String::new(),
            source_sha256: String::new(),
            license: String::new(),
            pieces: metier_core::data::Pieces::default(),
            partial: Vec::new(),
        }
    }

    fn text(words: std::ops::Range<usize>) -> String {
        words.map(|word| format!("word{word}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn near_copies_go_and_others_stay() {
        let mut seen = Minhash::default().start(Seed::new(1));
        assert_eq!(seen.repeats(&document("a", &text(0..1000))), None);
        assert_eq!(seen.repeats(&document("b", &text(20..1000))), Some("a".into()));
        assert_eq!(seen.repeats(&document("c", &text(500..1500))), None);
        assert_eq!(seen.repeats(&document("short", "two words")), None);
        assert_eq!(seen.repeats(&document("empty", "")), None);
    }

    #[test]
    fn minimum_hashes_estimate_the_true_similarity() {
        let settings = Minhash { hashes: 1024, threshold: 0.5, ..Minhash::default() };
        let (bands, rows) = settings.bands();
        let mut stream = Seed::new(3).at(0);
        let signatures = Signatures {
            multipliers: (0..1024).map(|_| (1 + stream.below(PRIME - 1), stream.below(PRIME))).collect(),
            buckets: Vec::new(),
            kept: Vec::new(),
            settings,
            bands,
            rows,
        };
        let (a, b) = (signatures.shingles(&text(0..900)), signatures.shingles(&text(300..1200)));
        let (x, y) = (signatures.signature(&a), signatures.signature(&b));
        let estimate = x.iter().zip(&y).filter(|(x, y)| x == y).count() as f64 / 1024.0;
        assert!((estimate - jaccard(&a, &b)).abs() < 0.06, "{estimate} {}", jaccard(&a, &b));
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
    fn products_are_reduced_by_the_prime() {
        let slow = |a: u64, x: u64, b: u64| {
            ((u128::from(a) * u128::from(x % PRIME) + u128::from(b)) % u128::from(PRIME)) as u64
        };
        let mut stream = Seed::new(4).at(0);
        for edge in [0, 1, PRIME - 1, PRIME, PRIME + 1, u64::MAX - 1, u64::MAX] {
            for _ in 0..100 {
                let (a, b) = (stream.below(PRIME), stream.below(PRIME));
                for x in [edge, stream.bits()] {
                    assert_eq!(multiply_add(a, x, b), slow(a, x, b));
                    assert_eq!(multiply_add(PRIME - 1, x, PRIME - 1), slow(PRIME - 1, x, PRIME - 1));
                }
            }
        }
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
        let shingles = |document: &Document| {
            let words: Vec<String> = words(&document.text).collect();
            words.windows(5).map(<[String]>::to_vec).collect::<std::collections::BTreeSet<_>>()
        };
        let mut kept: Vec<std::collections::BTreeSet<Vec<String>>> = Vec::new();
        let mut seen = settings.start(Seed::new(1));
        let (mut dropped, mut missed) = (0, 0);
        for document in &documents {
            let own = shingles(document);
            let near = kept.iter().any(|other| {
                let both = own.intersection(other).count() as f64;
                both / ((own.len() + other.len()) as f64 - both) >= settings.threshold
            });
            match (near, seen.repeats(document).is_some()) {
                (true, true) => dropped += 1,
                (false, false) => kept.push(own),
                (true, false) => {
                    missed += 1;
                    kept.push(own);
                }
                (false, true) => panic!("{} is no near duplicate", document.id),
            }
        }
        assert!(dropped >= 30 && missed <= 1, "{dropped} dropped, {missed} missed");
    }
}
