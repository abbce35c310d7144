use super::{Span, Tag, Tagger, refuse_version, whole};
use crate::hash::hash;
use crate::layout::{Layout, Run, is_letter};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Measures what the Gopher rules rest on: words and their lengths, symbols, bullets, and how much of the text is
/// repeated.
///
/// # How
/// Words are runs without white space and C is the sum of their characters. Each attribute spans the document and
/// has as its score: the number of characters and of words; the median length of a word; the share of words with `#`
/// or an ellipsis; the share with a letter; how often one of *the, be, to, of, and, that, have, with* occurs; the
/// shares of lines that begin with `*` or `-` and that end in an ellipsis; the share of lines that occur more than
/// once, and their characters over C; for n from 2 to 4 `count * length / C` of the most common sequence of n words
/// (the first of several); for n from 5 to 10 the share, by characters, of sequences that occur more than once.
/// Sequences are numbered exactly, without hashing words together: one of n words is looked up only where both
/// sequences of n - 1 words in it occur more than once. `version` 2 takes several line feeds for one.
///
/// # When to use
/// On text in languages with spaces, before a filter with thresholds.
///
/// # Differs from the paper in
/// Nothing known of Dolma's `gopher_v1` and `gopher_v2`. The paper counts words of at least one letter; Dolma, and
/// this, counts all.
///
/// # Source
/// Rae et al. 2021, Scaling Language Models (arXiv:2112.11446), appendix A.1.1; Dolma 1.2.1 (Soldaini et al. 2024,
/// arXiv:2402.00159).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gopher {
    /// Dolma's version of the tagger.
    #[schemars(range(min = 1, max = 2))]
    pub version: u32,
}

impl Default for Gopher {
    fn default() -> Self {
        Self { version: 2 }
    }
}

const KINDS: [&str; 19] = [
    "fraction_of_characters_in_most_common_2grams",
    "fraction_of_characters_in_most_common_3grams",
    "fraction_of_characters_in_most_common_4grams",
    "fraction_of_characters_in_duplicate_5grams",
    "fraction_of_characters_in_duplicate_6grams",
    "fraction_of_characters_in_duplicate_7grams",
    "fraction_of_characters_in_duplicate_8grams",
    "fraction_of_characters_in_duplicate_9grams",
    "fraction_of_characters_in_duplicate_10grams",
    "character_count",
    "word_count",
    "median_word_length",
    "symbol_to_word_ratio",
    "fraction_of_words_with_alpha_character",
    "required_word_count",
    "fraction_of_lines_starting_with_bullet_point",
    "fraction_of_lines_ending_with_ellipsis",
    "fraction_of_duplicate_lines",
    "fraction_of_characters_in_duplicate_lines",
];
/// The first kind that is no sequence of words.
const COUNTS: u16 = 9;
/// Longest sequence of words.
const LONGEST: usize = 10;

impl Tag for Gopher {
    fn name(&self) -> String {
        format!("gopher_v{}", self.version)
    }

    fn kinds(&self) -> Vec<String> {
        KINDS.map(str::to_owned).to_vec()
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(Worker { version: self.version, ..Worker::default() })
    }
}

/// Numbers for things that are seen again, in the order of their first occurrence.
#[derive(Default)]
struct Numbers {
    /// A slot holds a key, the round it was written in, and the number.
    slots: Vec<(u64, u32, u32)>,
    round: u32,
    counts: Vec<u32>,
    first: Vec<u32>,
}

impl Numbers {
    /// Forgets all and makes room for `most` things.
    fn clear(&mut self, most: usize) {
        let wanted = (2 * most).next_power_of_two().max(16);
        if self.slots.len() < wanted || self.round == u32::MAX {
            self.slots.clear();
            self.slots.resize(wanted, (0, 0, 0));
            self.round = 0;
        }
        self.round += 1;
        self.counts.clear();
        self.first.clear();
    }

    /// The number of the thing at `place` with this key; `same` says whether an earlier thing of this key, first seen
    /// at the place it is given, is the same.
    fn number(&mut self, key: u64, place: usize, same: impl Fn(usize) -> bool) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.1 != self.round {
                let number = self.counts.len() as u32;
                *slot = (key, self.round, number);
                self.counts.push(1);
                self.first.push(place as u32);
                return number;
            }
            if slot.0 == key && same(self.first[slot.2 as usize] as usize) {
                self.counts[slot.2 as usize] += 1;
                return slot.2;
            }
            at = (at + 1) & mask;
        }
    }
}

/// A sequence that occurs once and needs no number.
const ALONE: u32 = u32::MAX;

#[derive(Default)]
struct Worker {
    version: u32,
    words: Numbers,
    sequences: Numbers,
    /// The number of each word.
    ids: Vec<u32>,
    /// The number of the sequence that begins at each word, or [`ALONE`].
    grams: Vec<u32>,
    widths: Vec<u32>,
    /// Characters of all words before each.
    before: Vec<u64>,
    lines: Vec<Run>,
    line_numbers: Vec<u32>,
}

impl Tagger for Worker {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        if layout.characters() == 0 {
            for kind in COUNTS..KINDS.len() as u16 {
                spans.push(whole(layout, kind, 0.0));
            }
            return;
        }
        self.read_words(layout);
        let characters = self.before.last().copied().unwrap_or_default();
        self.sequences(layout, characters, spans);
        let words = layout.words().len();
        let text = layout.text().as_bytes();
        let (has_hash, wide) = (text.contains(&b'#'), !layout.is_ascii());
        let (mut symbols, mut letters, mut required) = (0_u64, 0_u64, 0_u64);
        for word in layout.words() {
            let bytes = &text[word.start as usize..word.end as usize];
            let slice = || layout.slice(*word);
            symbols += u64::from((has_hash && bytes.contains(&b'#')) || (wide && slice().contains('\u{2026}')));
            letters += u64::from(bytes.iter().any(u8::is_ascii_alphabetic) || (wide && slice().chars().any(is_letter)));
            required +=
                u64::from(matches!(bytes, b"the" | b"be" | b"to" | b"of" | b"and" | b"that" | b"have" | b"with"));
        }
        let share = |count: u64| count as f64 / words.max(1) as f64;
        let lines = self.lines(layout, characters);
        let counts =
            [layout.characters() as f64, words as f64, self.median(), share(symbols), share(letters), required as f64];
        for (kind, score) in (COUNTS..).zip(counts.into_iter().chain(lines)) {
            spans.push(whole(layout, kind, score));
        }
    }
}

impl Worker {
    fn read_words(&mut self, layout: &Layout) {
        let runs = layout.words();
        let text = layout.text().as_bytes();
        self.words.clear(runs.len());
        self.ids.clear();
        self.widths.clear();
        self.before.clear();
        self.before.push(0);
        let mut sum = 0;
        for (place, run) in runs.iter().enumerate() {
            let bytes = &text[run.start as usize..run.end as usize];
            let same = |first: usize| text[runs[first].start as usize..runs[first].end as usize] == *bytes;
            self.ids.push(self.words.number(hash(bytes), place, same));
            let width = layout.width(*run);
            sum += width as u64;
            self.widths.push(width as u32);
            self.before.push(sum);
        }
    }

    /// Spans of the most common sequences and of those that occur more than once.
    fn sequences(&mut self, layout: &Layout, characters: u64, spans: &mut Vec<Span>) {
        let words = self.ids.len();
        self.grams.clear();
        self.grams.extend(self.ids.iter().map(|id| if self.words.counts[*id as usize] > 1 { *id } else { ALONE }));
        for length in 2..=LONGEST.min(words) {
            let last = words - length;
            self.sequences.clear(self.grams.iter().filter(|gram| **gram != ALONE).count());
            for at in 0..=last {
                let (gram, next) = (self.grams[at], self.grams[at + 1]);
                self.grams[at] = if gram == ALONE || next == ALONE {
                    ALONE
                } else {
                    let key = u64::from(gram) << 32 | u64::from(self.ids[at + length - 1]);
                    self.sequences.number(key, at, |_| true)
                };
            }
            self.grams.truncate(last + 1);
            for gram in &mut self.grams {
                if *gram != ALONE && self.sequences.counts[*gram as usize] == 1 {
                    *gram = ALONE;
                }
            }
            let score = if length <= 4 { self.most_common(length, characters) } else { self.repeated(length) };
            spans.push(whole(layout, length as u16 - 2, score));
        }
    }

    /// `count * length / C` of the most common sequence, the first of several.
    fn most_common(&self, length: usize, characters: u64) -> f64 {
        let (mut most, mut place) = (1, 0);
        for (count, first) in self.sequences.counts.iter().zip(&self.sequences.first) {
            if *count > most {
                (most, place) = (*count, *first as usize);
            }
        }
        let wide = self.before[place + length] - self.before[place];
        (u64::from(most) * wide) as f64 / characters.max(1) as f64
    }

    /// The share, by characters, of sequences that occur more than once.
    fn repeated(&self, length: usize) -> f64 {
        let (mut all, mut repeated) = (0, 0);
        for (at, gram) in self.grams.iter().enumerate() {
            let wide = self.before[at + length] - self.before[at];
            all += wide;
            repeated += if *gram == ALONE { 0 } else { wide };
        }
        repeated as f64 / all.max(1) as f64
    }

    fn median(&mut self) -> f64 {
        let middle = self.widths.len() / 2;
        if self.widths.is_empty() {
            return 0.0;
        }
        let even = self.widths.len().is_multiple_of(2);
        let (below, upper, _) = self.widths.select_nth_unstable(middle);
        let upper = f64::from(*upper);
        match below.iter().max() {
            Some(lower) if even => f64::midpoint(f64::from(*lower), upper),
            _ => upper,
        }
    }

    /// Shares of lines with a bullet, with an ellipsis, of those that occur more than once, and their characters.
    fn lines(&mut self, layout: &Layout, characters: u64) -> [f64; 4] {
        self.lines.clear();
        let all = layout.lines();
        let last = all.len() - 1;
        // Several line feeds are one border in version 2, and only the ends can be empty lines.
        self.lines.extend(all.iter().enumerate().filter_map(|(number, line)| {
            (self.version == 1 || number == 0 || number == last || !line.is_empty()).then_some(*line)
        }));
        let text = layout.text().as_bytes();
        let bytes = |line: Run| &text[line.start as usize..line.end as usize];
        let lines = &self.lines;
        self.words.clear(lines.len());
        self.line_numbers.clear();
        let (mut bullets, mut ellipses) = (0_u64, 0_u64);
        for (place, line) in lines.iter().enumerate() {
            let own = bytes(*line);
            bullets += u64::from(matches!(own.first(), Some(b'*' | b'-')));
            ellipses += u64::from(own.ends_with("\u{2026}".as_bytes()));
            self.line_numbers.push(self.words.number(hash(own), place, |first| bytes(lines[first]) == own));
        }
        let (mut repeated, mut wide) = (0_u64, 0_u64);
        for (line, number) in lines.iter().zip(&self.line_numbers) {
            if self.words.counts[*number as usize] > 1 {
                repeated += 1;
                wide += layout.width(*line) as u64;
            }
        }
        let share = |count: u64| count as f64 / lines.len().max(1) as f64;
        [share(bullets), share(ellipses), share(repeated), wide as f64 / characters.max(1) as f64]
    }
}

impl Build<dyn Tag> for Gopher {
    fn build(self, place: &Place) -> Result<Box<dyn Tag>> {
        refuse_version(place, self.version)?;
        Ok(Box::new(self))
    }
}

/// The record of `gopher`.
pub static PART: Part<dyn Tag> = Part::of::<Gopher>("gopher", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn sequences_are_those_that_counting_all_finds(words in proptest::collection::vec(0_u8..4, 0..60)) {
            let words: Vec<String> = words.iter().map(|word| "w".repeat(1 + usize::from(*word))).collect();
            let mut layout = Layout::default();
            layout.set(&words.join(" "));
            let mut spans = Vec::new();
            Gopher::default().start().tag(&layout, &mut spans);
            for length in 5..=LONGEST.min(words.len()) {
                let mut counts: HashMap<&[String], usize> = HashMap::new();
                for window in words.windows(length) {
                    *counts.entry(window).or_default() += 1;
                }
                let wide = |gram: &[String]| gram.iter().map(String::len).sum::<usize>();
                let all: usize = counts.iter().map(|(gram, count)| count * wide(gram)).sum();
                let many: usize = counts.iter().filter(|(_, count)| **count > 1).map(|(gram, count)| count * wide(gram)).sum();
                let found = spans.iter().find(|span| span.kind == length as u16 - 2).map(|span| span.score);
                prop_assert_eq!(found, Some(many as f64 / all as f64));
            }
        }
    }
}
