//! Counts of one vocabulary on one group of texts.

use super::{CompareSettings, Row, Sample};
use metier_core::data::TokenId;
use metier_core::seam::{Encoded, Tokenize};

/// What vocabularies call the token of what they lack.
const UNKNOWN: [&str; 4] = ["<unk>", "[UNK]", "<UNK>", "[unk]"];

#[derive(Clone)]
pub(super) struct Tally<'a> {
    tokenizer: &'a dyn Tokenize,
    unknown_id: Option<TokenId>,
    /// How often each id was met.
    counts: Vec<u64>,
    texts: u64,
    words: u64,
    characters: u64,
    bytes: u64,
    /// Borders of morphemes in words of several tokens, and those of them where a token ends.
    borders: [u64; 2],
    /// Words with a known border, and those of them that are one token.
    divided: [u64; 2],
}

impl<'a> Tally<'a> {
    pub(super) fn new(tokenizer: &'a dyn Tokenize) -> Self {
        Self {
            tokenizer,
            unknown_id: UNKNOWN.iter().find_map(|name| tokenizer.id_of(name)),
            counts: vec![0; tokenizer.vocabulary_size()],
            texts: 0,
            words: 0,
            characters: 0,
            bytes: 0,
            borders: [0; 2],
            divided: [0; 2],
        }
    }

    pub(super) fn add(&mut self, sample: &Sample, encoded: &Encoded) {
        for &id in &encoded.ids {
            if let Some(count) = self.counts.get_mut(id as usize) {
                *count += 1;
            }
        }
        self.texts += 1;
        self.bytes += sample.text.len() as u64;
        self.characters += sample.text.chars().count() as u64;
        let (mut ends, mut borders) = (encoded.ends.as_slice(), sample.boundaries.as_slice());
        for word in sample.text.split_whitespace() {
            self.words += 1;
            // A word is a part of the text: how far their beginnings are apart is where it stands.
            let start = word.as_ptr() as usize - sample.text.as_ptr() as usize;
            let end = start + word.len();
            ends = &ends[ends.partition_point(|&at| at <= start)..];
            borders = &borders[borders.partition_point(|&at| at <= start)..];
            let inside = &borders[..borders.partition_point(|&at| at < end)];
            if inside.is_empty() {
                continue;
            }
            let cuts = &ends[..ends.partition_point(|&at| at < end)];
            self.divided[0] += 1;
            if cuts.is_empty() {
                self.divided[1] += 1;
                continue;
            }
            self.borders[0] += inside.len() as u64;
            self.borders[1] += inside.iter().filter(|at| cuts.binary_search(at).is_ok()).count() as u64;
        }
    }

    pub(super) fn row(&self, tokenizer: &str, group: &str, settings: CompareSettings) -> Row {
        let tokens: u64 = self.counts.iter().sum();
        let per = |part: u64, whole: u64| part as f64 / whole as f64;
        let share = |[whole, part]: [u64; 2]| (whole > 0).then(|| per(part, whole));
        let unknown = self.unknown_id.and_then(|id| self.counts.get(id as usize)).copied().unwrap_or_default();
        let met = (0..).zip(&self.counts).filter(|(_, count)| **count > 0);
        let partial = met
            .filter(|(id, _)| self.tokenizer.bytes_of(*id).is_some_and(|bytes| std::str::from_utf8(&bytes).is_err()));
        let partial: u64 = partial.map(|(_, count)| *count).sum();
        let entropy = renyi(&self.counts, tokens, settings.alpha);
        Row {
            tokenizer: tokenizer.to_owned(),
            group: group.to_owned(),
            vocabulary_size: self.counts.len(),
            texts: self.texts,
            words: self.words,
            characters: self.characters,
            bytes: self.bytes,
            tokens,
            fertility: per(tokens, self.words),
            characters_per_token: per(self.characters, tokens),
            bytes_per_token: per(self.bytes, tokens),
            unknown_share: per(unknown, tokens),
            byte_share: per(partial, tokens),
            renyi_entropy: entropy,
            efficiency: entropy / (self.counts.len() as f64).log2(),
            morph_score: share([self.borders[0], self.borders[1]]),
            morph_boundaries: self.borders[0],
            whole_word_share: share(self.divided),
            cost: settings.price * per(tokens, self.characters),
        }
    }
}

/// The Rényi entropy of order `alpha` in bits of shares `count / all`; Shannon's at 1, its limit.
fn renyi(counts: &[u64], all: u64, alpha: f64) -> f64 {
    let shares = counts.iter().filter(|count| **count > 0).map(|count| *count as f64 / all as f64);
    if (alpha - 1.0).abs() < 1e-9 {
        return -shares.map(|share| share * share.log2()).sum::<f64>();
    }
    shares.map(|share| share.powf(alpha)).sum::<f64>().log2() / (1.0 - alpha)
}

#[cfg(test)]
mod tests {
    use super::renyi;

    #[test]
    fn the_entropy_of_even_shares_is_their_number_at_every_order() {
        for alpha in [0.0, 0.5, 1.0, 2.5] {
            assert!((renyi(&[3, 0, 3, 3, 3], 12, alpha) - 2.0).abs() < 1e-12, "{alpha}");
        }
        // Of uneven ones it falls with the order: 3/4 and 1/4 give 0.8113 bits at 1 and -log2(10/16) at 2.
        assert!((renyi(&[3, 1], 4, 1.0) - 0.811_278_124_459_132_8).abs() < 1e-12);
        assert!((renyi(&[3, 1], 4, 2.0) - 0.678_071_905_112_637_7).abs() < 1e-12);
    }
}
