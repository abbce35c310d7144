//! The likelihood of words under pieces with probabilities, and what makes it greater.
//!
//! A word is all ways to cut it into pieces, each with the product of its pieces' probabilities. Sums over words are made in
//! a fixed number of parts, so that they do not depend on the number of threads.
//!
//! Source: Kudo, "Subword Regularization" (2018), section 3.2.

use crate::scheme::marked::{ROOT, Trie};
use metier_core::data::TokenId;
use metier_core::{Result, stop};
use rayon::prelude::*;

/// Parts that sums are made in.
const PARTS: usize = 16;
/// What an unknown character scores below the least of all pieces.
const PENALTY: f64 = 10.0;
/// A piece that is expected less often is none.
const LEAST_EXPECTED: f64 = 0.5;

/// Pieces with the logarithm of the probability of each.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pieces {
    pub texts: Vec<String>,
    pub scores: Vec<f64>,
    /// So many, the first ones, are single characters, which stay.
    pub characters: usize,
}

/// A piece in a word, from one byte to another; `None` is an unknown character.
struct Edge {
    start: u32,
    end: u32,
    id: Option<TokenId>,
    score: f64,
}

/// Pieces in a form in which words are looked up.
struct Lookup<'a> {
    trie: Trie,
    scores: &'a [f64],
    unknown: f64,
}

/// What a thread needs for a word.
#[derive(Default)]
struct Lattice {
    edges: Vec<Edge>,
    forward: Vec<f64>,
    backward: Vec<f64>,
    /// The edge that the best way to a byte ends with.
    last: Vec<Option<usize>>,
}

impl Pieces {
    fn lookup(&self) -> Lookup<'_> {
        let mut trie = Trie::new();
        for (id, text) in (0..).zip(&self.texts) {
            trie.insert(text, id);
        }
        let unknown = self.scores.iter().copied().fold(f64::INFINITY, f64::min) - PENALTY;
        Lookup { trie, scores: &self.scores, unknown }
    }

    /// One step of expectation and maximization. Returns the mean log-likelihood of a word before it.
    pub(super) fn improve(&mut self, words: &[(&str, u64)]) -> Result<f64> {
        let lookup = self.lookup();
        let parts: Vec<(Vec<f64>, f64)> = parts(words)
            .into_par_iter()
            .map(|words| {
                let mut expected = vec![0.0; lookup.scores.len()];
                let mut lattice = Lattice::default();
                let mut sum = 0.0;
                for &(word, count) in words {
                    if stop::requested() {
                        break;
                    }
                    lattice.find(&lookup, word, None);
                    sum += count as f64 * lattice.expect(word.len(), count as f64, &mut expected);
                }
                (expected, sum)
            })
            .collect();
        stop::check()?;
        let mut expected = vec![0.0; self.scores.len()];
        let mut likelihood = 0.0;
        for (part, sum) in &parts {
            likelihood += sum;
            expected.iter_mut().zip(part).for_each(|(all, some)| *all += some);
        }
        let occurrences: f64 = words.iter().map(|(_, count)| *count as f64).sum();
        self.maximize(&expected);
        Ok(likelihood / occurrences)
    }

    /// The scores that the expected counts ask for, under a prior that makes rare pieces rarer; those that are hardly
    /// expected go.
    fn maximize(&mut self, expected: &[f64]) {
        let texts = std::mem::take(&mut self.texts);
        self.scores.clear();
        let mut counts = Vec::with_capacity(texts.len());
        for (id, (text, &count)) in texts.into_iter().zip(expected).enumerate() {
            if id < self.characters || count >= LEAST_EXPECTED {
                counts.push(count.max(LEAST_EXPECTED));
                self.texts.push(text);
            }
        }
        let all = digamma(counts.iter().sum());
        self.scores.extend(counts.into_iter().map(|count| digamma(count) - all));
    }

    /// Leaves `size` pieces, or all characters: those without which the likelihood of the words, each cut the best way,
    /// would fall most. Pieces that are in no best way go too.
    pub(super) fn prune(&mut self, words: &[(&str, u64)], size: usize) -> Result<()> {
        let lookup = self.lookup();
        let parts: Vec<Vec<u64>> = parts(words)
            .into_par_iter()
            .map(|words| {
                let mut counts = vec![0; lookup.scores.len()];
                let mut lattice = Lattice::default();
                for &(word, count) in words {
                    if stop::requested() {
                        break;
                    }
                    lattice.find(&lookup, word, None);
                    lattice.best(word.len()).1.into_iter().for_each(|id| counts[id as usize] += count);
                }
                counts
            })
            .collect();
        stop::check()?;
        let mut counts = vec![0_u64; lookup.scores.len()];
        for part in &parts {
            counts.iter_mut().zip(part).for_each(|(all, some)| *all += some);
        }
        let all = counts.iter().sum::<u64>() as f64;
        let losses: Vec<Option<f64>> = (0..self.texts.len())
            .into_par_iter()
            .map_init(Lattice::default, |lattice, id| {
                if id < self.characters || counts[id] == 0 {
                    return None;
                }
                let text = &self.texts[id];
                lattice.find(&lookup, text, Some(id as TokenId));
                let (score, others) = lattice.best(text.len());
                // What is better written in parts is in no best way.
                (score < self.scores[id])
                    .then(|| loss(counts[id] as f64, all, others.iter().map(|&id| counts[id as usize])))
            })
            .collect();
        let mut order: Vec<(usize, f64)> =
            losses.iter().enumerate().filter_map(|(id, loss)| Some((id, (*loss)?))).collect();
        order.sort_unstable_by(|(one, a), (other, b)| b.total_cmp(a).then(one.cmp(other)));
        order.truncate(size.saturating_sub(self.characters));
        let mut kept: Vec<usize> = (0..self.characters).chain(order.into_iter().map(|(id, _)| id)).collect();
        kept.sort_unstable();
        self.keep(&kept);
        Ok(())
    }

    /// The characters, and of the others those of the highest scores, so many together at most.
    pub(super) fn best(mut self, size: usize) -> Self {
        let mut order: Vec<usize> = (self.characters..self.texts.len()).collect();
        order.sort_by(|&one, &other| self.scores[other].total_cmp(&self.scores[one]).then(one.cmp(&other)));
        order.truncate(size.saturating_sub(self.characters));
        let kept: Vec<usize> = (0..self.characters).chain(order).collect();
        self.keep(&kept);
        self
    }

    fn keep(&mut self, kept: &[usize]) {
        self.texts = kept.iter().map(|&id| std::mem::take(&mut self.texts[id])).collect();
        self.scores = kept.iter().map(|&id| self.scores[id]).collect();
    }
}

/// What the mean log-probability of a piece in the text loses when one of `count` among `all` is written in other pieces, which
/// are met so often themselves.
fn loss(count: f64, all: f64, others: impl Iterator<Item = u64>) -> f64 {
    let others: Vec<f64> = others.map(|other| other as f64).collect();
    let all_then = (all + count * (others.len() as f64 - 1.0)).ln();
    let now = count.ln() - all.ln();
    let then: f64 = others.iter().map(|other| (other + count).ln() - all_then).sum();
    count / all * (now - then)
}

fn parts<'a, 'b>(words: &'a [(&'b str, u64)]) -> Vec<&'a [(&'b str, u64)]> {
    (0..PARTS).map(|part| &words[words.len() * part / PARTS..words.len() * (part + 1) / PARTS]).collect()
}

impl Lattice {
    /// Finds the pieces in a word, without the one that is left out, from front to back.
    fn find(&mut self, lookup: &Lookup<'_>, word: &str, without: Option<TokenId>) {
        self.edges.clear();
        for (start, character) in word.char_indices() {
            let mut is_known = false;
            let mut node = ROOT;
            for (end, &byte) in (start + 1..).zip(&word.as_bytes()[start..]) {
                let Some((child, id)) = lookup.trie.step(node, byte) else { break };
                node = child;
                let Some(id) = id.filter(|id| without != Some(*id)) else { continue };
                is_known |= end == start + character.len_utf8();
                let score = lookup.scores[id as usize];
                self.edges.push(Edge { start: start as u32, end: end as u32, id: Some(id), score });
            }
            if !is_known {
                let end = (start + character.len_utf8()) as u32;
                self.edges.push(Edge { start: start as u32, end, id: None, score: lookup.unknown });
            }
        }
    }

    /// Adds how often each piece is expected in `count` such words, and returns the log-likelihood of one.
    fn expect(&mut self, length: usize, count: f64, expected: &mut [f64]) -> f64 {
        let Self { edges, forward, backward, .. } = self;
        for sums in [&mut *forward, &mut *backward] {
            sums.clear();
            sums.resize(length + 1, f64::NEG_INFINITY);
        }
        forward[0] = 0.0;
        backward[length] = 0.0;
        for edge in &*edges {
            let way = forward[edge.start as usize] + edge.score;
            add(&mut forward[edge.end as usize], way);
        }
        for edge in edges.iter().rev() {
            let way = backward[edge.end as usize] + edge.score;
            add(&mut backward[edge.start as usize], way);
        }
        let all = forward[length];
        for edge in &*edges {
            if let Some(id) = edge.id {
                let way = forward[edge.start as usize] + edge.score + backward[edge.end as usize];
                expected[id as usize] += count * (way - all).exp();
            }
        }
        all
    }

    /// The score of the best way through, and its pieces from back to front, unknown characters left out.
    fn best(&mut self, length: usize) -> (f64, Vec<TokenId>) {
        let Self { edges, forward, last, .. } = self;
        forward.clear();
        forward.resize(length + 1, f64::NEG_INFINITY);
        last.clear();
        last.resize(length + 1, None);
        forward[0] = 0.0;
        for (number, edge) in edges.iter().enumerate() {
            let way = forward[edge.start as usize] + edge.score;
            let end = edge.end as usize;
            if way > forward[end] {
                forward[end] = way;
                last[end] = Some(number);
            }
        }
        let mut ids = Vec::new();
        let mut at = length;
        while let Some(edge) = last[at].map(|number| &edges[number]) {
            ids.extend(edge.id);
            at = edge.start as usize;
        }
        (forward[length], ids)
    }
}

/// Adds a probability to another, both as logarithms.
fn add(sum: &mut f64, more: f64) {
    let (large, small) = if *sum > more { (*sum, more) } else { (more, *sum) };
    *sum = if small == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() };
}

/// The derivative of the logarithm of the gamma function, for positive numbers: the recurrence up to 8, then the asymptotic
/// series.
fn digamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 8.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0];
    let tail = series.iter().rev().fold(0.0, |tail, term| (tail + term) * square);
    sum + x.ln() - 0.5 / x - tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Pieces {
        let texts = ["a", "b", "ab", "ba", "aba"].map(str::to_owned).to_vec();
        let scores = [0.3_f64, 0.2, 0.25, 0.15, 0.1].map(f64::ln).to_vec();
        Pieces { texts, scores, characters: 2 }
    }

    #[test]
    fn expected_counts_are_those_of_all_ways() {
        // aba: a+b+a .018, ab+a .075, a+ba .045, aba .1; together .238.
        let pieces = pieces();
        let lookup = pieces.lookup();
        let mut lattice = Lattice::default();
        let mut expected = vec![0.0; 5];
        lattice.find(&lookup, "aba", None);
        let all = lattice.expect(3, 2.0, &mut expected);
        assert!((all - 0.238_f64.ln()).abs() < 1e-12);
        let wanted = [2.0 * 0.018 + 0.075 + 0.045, 0.018, 0.075, 0.045, 0.1].map(|ways: f64| 2.0 * ways / 0.238);
        for (found, wanted) in expected.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
        }
        let (score, ids) = lattice.best(3);
        assert!((score - 0.1_f64.ln()).abs() < 1e-12);
        assert_eq!(ids, [4]);
        lattice.find(&lookup, "aba", Some(4));
        assert_eq!(lattice.best(3).1, [0, 2]);
        lattice.find(&lookup, "axb", None);
        assert_eq!(lattice.best(3).1, [1, 0]);
    }

    #[test]
    fn digamma_is_that_of_the_tables() {
        for (x, wanted) in [
            (0.5, -1.963_510_026_021_423_5),
            (1.0, -0.577_215_664_901_532_9),
            (2.5, 0.703_156_640_645_243_2),
            (10.0, 2.251_752_589_066_721),
            (1e9, 20.723_265_836_446_41),
        ] {
            assert!((digamma(x) - wanted).abs() < 1e-9, "{x}: {} is not {wanted}", digamma(x));
        }
    }

    #[test]
    fn each_step_makes_words_likelier_and_pruning_keeps_what_counts() {
        let words = [("aba", 50_000), ("abab", 30_000), ("b", 20_000), ("bb", 10)];
        let mut pieces = pieces();
        let mut last = f64::NEG_INFINITY;
        for _ in 0..3 {
            let likelihood = pieces.improve(&words).unwrap();
            assert!(likelihood > last, "{likelihood} after {last}");
            last = likelihood;
        }
        pieces.prune(&words, 3).unwrap();
        assert_eq!(pieces.texts[..2], ["a", "b"]);
        assert_eq!(pieces.texts.len(), 3);
    }
}
