//! How much of a text stands in other texts: shared k-grams of words, and the longest copy.

use crate::words::{Words, bare};
use std::collections::{BTreeMap, HashMap};

/// Stands between texts.
const BORDER: u32 = u32::MAX;
/// Any word that no text has.
const UNKNOWN: u32 = u32::MAX - 1;

/// Texts to compare others with.
///
/// r(T1 to T2) is the share of the k-grams of T1, as often as they stand there, that occur in T2; `rouge` is the F-score of
/// both directions, 2 r r' / (r + r'). Words are compared in lower case, marks do not count.
/// Eldan and Li 2023, *TinyStories* (arXiv:2305.07759), section 4.4, after Lin 2004, *ROUGE*.
pub struct Texts {
    k: usize,
    words: Words,
    /// K-grams of each text.
    grams: Vec<usize>,
    /// In which texts a k-gram stands, and how often.
    places: HashMap<Box<[u32]>, Vec<(u32, u32)>>,
    /// All texts, each behind a border.
    all: Vec<u32>,
    /// Where the words of `all` stand, in the order of what follows there; made when first asked for.
    sorted: std::sync::OnceLock<Vec<u32>>,
}

impl Texts {
    /// Texts to compare by k-grams of this many words, at least one.
    pub fn new<T: AsRef<str>>(k: usize, texts: impl IntoIterator<Item = T>) -> Self {
        let (k, sorted) = (k.max(1), std::sync::OnceLock::new());
        let mut out =
            Self { k, words: Words::default(), grams: Vec::new(), places: HashMap::new(), all: Vec::new(), sorted };
        for (number, text) in (0..).zip(texts) {
            out.all.push(BORDER);
            let from = out.all.len();
            for word in bare(text.as_ref()) {
                let id = out.words.learn(&word);
                out.all.push(id);
            }
            let words = &out.all[from..];
            out.grams.push(words.windows(k).count());
            for gram in words.windows(k) {
                let places = match out.places.get_mut(gram) {
                    Some(places) => places,
                    None => out.places.entry(gram.into()).or_default(),
                };
                match places.last_mut() {
                    Some((last, count)) if *last == number => *count += 1,
                    _ => places.push((number, 1)),
                }
            }
        }
        out
    }

    fn ids(&self, text: &str) -> Vec<u32> {
        bare(text).map(|word| self.words.find(&word).unwrap_or(UNKNOWN)).collect()
    }

    /// The greatest rouge of a text with any of these, but for the one numbered `except`; 0 without any.
    pub fn most_alike(&self, text: &str, except: Option<usize>) -> f64 {
        let ids = self.ids(text);
        let mut own: BTreeMap<&[u32], u32> = BTreeMap::new();
        for gram in ids.windows(self.k) {
            *own.entry(gram).or_default() += 1;
        }
        let all = ids.windows(self.k).count() as f64;
        let mut shared = vec![(0_u32, 0_u32); self.grams.len()];
        for (gram, count) in own {
            for (number, times) in self.places.get(gram).into_iter().flatten() {
                let shared = &mut shared[*number as usize];
                *shared = (shared.0 + count, shared.1 + times);
            }
        }
        let scores = shared.iter().zip(&self.grams).enumerate().filter(|(number, _)| Some(*number) != except);
        scores.fold(0.0, |best: f64, (_, ((one, other), grams))| {
            if *one == 0 {
                return best;
            }
            let (to, from) = (f64::from(*one) / all, f64::from(*other) / *grams as f64);
            best.max(2.0 * to * from / (to + from))
        })
    }

    /// The words of the longest part of a text that stands in one of these.
    pub fn longest_copy(&self, text: &str) -> usize {
        let sorted = self.sorted.get_or_init(|| {
            let mut sorted: Vec<u32> = (0..self.all.len() as u32).collect();
            sorted.sort_unstable_by_key(|at| &self.all[*at as usize..]);
            sorted
        });
        let ids = self.ids(text);
        let longest = |from: usize| {
            let rest = &ids[from..];
            let at = sorted.partition_point(|at| &self.all[*at as usize..] < rest);
            let alike =
                |at: &u32| rest.iter().zip(&self.all[*at as usize..]).take_while(|(one, other)| one == other).count();
            sorted[at.saturating_sub(1)..sorted.len().min(at + 1)].iter().map(alike).max().unwrap_or_default()
        };
        (0..ids.len()).map(longest).max().unwrap_or_default()
    }
}

/// The rouge of two texts by k-grams of this many words.
pub fn rouge(k: usize, one: &str, other: &str) -> f64 {
    Texts::new(k, [other]).most_alike(one, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_pairs_are_counted_from_both_sides() {
        // Of (a b), (b a), (a b), (b c) three occur in the other; of its (a b), (b d), (d e) one.
        let (one, other) = ("a b a b c", "A b, d e");
        let (to, from) = (2.0 / 4.0, 1.0 / 3.0);
        assert!((rouge(2, one, other) - 2.0 * to * from / (to + from)).abs() < 1e-12);
        assert!((rouge(2, other, one) - rouge(2, one, other)).abs() < 1e-12);
        assert!((rouge(2, one, one) - 1.0).abs() < 1e-12);
        assert!(
            rouge(2, one, "x y z").abs() < 1e-12 && rouge(2, "a", "a").abs() < 1e-12 && rouge(2, "", "").abs() < 1e-12
        );
    }

    #[test]
    fn a_text_that_was_learned_by_heart_is_found_and_a_new_one_is_not() {
        let corpus = metier_testkit::corpus::documents(3, 40, 400);
        let texts = Texts::new(2, corpus.iter().map(|document| &document.text));
        let copy = &corpus[17].text;
        assert!((texts.most_alike(copy, None) - 1.0).abs() < 1e-12);
        assert!(texts.most_alike(copy, Some(17)) < 0.9);
        assert_eq!(texts.longest_copy(copy), bare(copy).count());
        let part: Vec<&str> = copy.split_whitespace().skip(3).take(12).collect();
        assert_eq!(texts.longest_copy(&format!("Zzz {} zzz", part.join(" "))), bare(&part.join(" ")).count());
        assert_eq!((texts.longest_copy("zzz qqq"), texts.longest_copy("")), (0, 0));
        assert_eq!(Texts::new(2, Vec::<String>::new()).longest_copy("a b"), 0);
    }
}
