//! A model of words by how often they follow each other: the baseline that a neural model of text has to beat.

use crate::words::{Words, pieces};
use metier_core::seam::{
    Ability, Ask, Delta, Exchange, Finish, Generate, GenerateRequest, Prompt, Reply, Sampling, TokenChoice,
};
use metier_core::seed::{Seed, Stream};
use metier_core::{Error, Place, Result};
use std::ops::Range;

/// Stands before every text, as often as the order wants.
const BEGIN: u32 = 0;
/// Stands behind every text.
const END: u32 = 1;
/// Any piece that was not learned from.
const UNKNOWN: u32 = u32::MAX;
/// What is asked for when a request names no length.
const MOST_PIECES: usize = 1000;

/// Interpolated Kneser-Ney n-grams of words and marks, each with the blanks before it.
///
/// p(w | c) = (max(n(c w) - D, 0) + D t(c) p(w | shorter c)) / n(c), where t(c) is how many words follow c. Of the whole
/// order n counts occurrences, below it the words that stand before; one D = n1 / (n1 + 2 n2) for each length, with n1 and
/// n2 the grams that are counted once and twice. At the bottom all words are equally likely.
/// Kneser and Ney 1995; as interpolated by Chen and Goodman 1999, section 2.7.
pub struct Ngrams {
    words: Words,
    /// Of one word, of two, and so on.
    levels: Vec<Level>,
}

/// The grams of one length, in order, with their counts.
struct Level {
    length: usize,
    grams: Vec<u32>,
    counts: Vec<u32>,
    discount: f64,
}

impl Level {
    fn new<'a>(length: usize, grams: impl Iterator<Item = &'a [u32]>) -> Self {
        let mut sorted: Vec<&[u32]> = grams.collect();
        sorted.sort_unstable();
        let mut level = Self { length, grams: Vec::new(), counts: Vec::new(), discount: 0.0 };
        for same in sorted.chunk_by(|one, other| one == other) {
            level.grams.extend_from_slice(same[0]);
            level.counts.push(same.len() as u32);
        }
        let counted = |times: u32| level.counts.iter().filter(|count| **count == times).count() as f64;
        let (once, twice) = (counted(1), counted(2));
        level.discount = if once > 0.0 { once / (once + 2.0 * twice) } else { 0.0 };
        level
    }

    /// The grams that begin with a context.
    fn after(&self, context: &[u32]) -> Range<usize> {
        let begin = |at: usize| &self.grams[at * self.length..at * self.length + context.len()];
        let first = |above: &dyn Fn(&[u32]) -> bool| {
            let (mut low, mut high) = (0, self.counts.len());
            while low < high {
                let middle = usize::midpoint(low, high);
                if above(begin(middle)) {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            low
        };
        first(&|begin| begin >= context)..first(&|begin| begin > context)
    }
}

impl Ngrams {
    /// Learns from texts.
    ///
    /// # Errors
    /// An order of 0, a text that cannot be read, no text.
    pub fn learn(order: usize, texts: impl Iterator<Item = Result<String>>) -> Result<Self> {
        if order == 0 {
            return Err(Error::user(Place::key("order"), "0 is out of range").hint("it is at least 1"));
        }
        let mut words = Words::new(&["", ""]);
        let mut all = Vec::new();
        let mut ends = Vec::new();
        for text in texts {
            all.extend(std::iter::repeat_n(BEGIN, order - 1));
            all.extend(pieces(&text?).map(|piece| words.learn(piece)));
            all.push(END);
            ends.push(all.len());
        }
        if ends.is_empty() {
            return Err(Error::user(Place::key("ngrams"), "there is no text to learn from"));
        }
        let begins = std::iter::once(0).chain(ends.iter().copied());
        let whole = begins.zip(&ends).flat_map(|(begin, end)| all[begin..*end].windows(order));
        let mut levels = vec![Level::new(order, whole)];
        while let Some(longer) = levels.last().filter(|level| level.length > 1) {
            let shorter = Level::new(longer.length - 1, longer.grams.chunks(longer.length).map(|gram| &gram[1..]));
            levels.push(shorter);
        }
        levels.reverse();
        Ok(Self { words, levels })
    }

    /// The probability of each word behind these.
    fn next(&self, before: &[u32]) -> Vec<f64> {
        let mut out = vec![1.0 / self.words.len() as f64; self.words.len()];
        for level in &self.levels {
            let Some(at) = before.len().checked_sub(level.length - 1) else { break };
            let found = level.after(&before[at..]);
            if found.is_empty() {
                break;
            }
            let total: f64 = level.counts[found.clone()].iter().map(|count| f64::from(*count)).sum();
            let left = level.discount * found.len() as f64 / total;
            for share in &mut out {
                *share *= left;
            }
            for at in found {
                let word = level.grams[(at + 1) * level.length - 1] as usize;
                out[word] += (f64::from(level.counts[at]) - level.discount) / total;
            }
        }
        out
    }

    fn reply(&self, number: usize, request: &GenerateRequest, exchange: &mut dyn Exchange) -> Result<Reply> {
        let Prompt::Text(prompt) = &request.prompt else {
            return Err(Error::user(Place::key("prompt"), "n-grams continue raw text only"));
        };
        if !request.stop.is_empty() {
            return Err(Error::user(Place::key("stop"), "n-grams stop at the end of a text only"));
        }
        let order = self.levels.len();
        let mut before = vec![BEGIN; order - 1];
        before.extend(pieces(prompt).map(|piece| self.words.find(piece).unwrap_or(UNKNOWN)));
        let prompt_tokens = before.len() + 1 - order;
        let mut reply = Reply {
            text: String::new(),
            tokens: Vec::new(),
            prompt_tokens,
            cached_tokens: 0,
            drafted_tokens: 0,
            accepted_tokens: 0,
            finish: Finish::Length,
        };
        let mut random = Seed::new(request.sampling.seed).derive("ngrams").at(0);
        while reply.tokens.len() < request.max_tokens.unwrap_or(MOST_PIECES) {
            let shares = self.next(&before[before.len() + 1 - order..]);
            let id = draw(&shares, &request.sampling, &mut random);
            if id == END {
                reply.finish = Finish::Stop;
                break;
            }
            before.push(id);
            let text = self.words.text(id);
            reply.text.push_str(text);
            reply.tokens.push(TokenChoice { id, logprob: shares[id as usize].ln() as f32, top: Vec::new() });
            let tokens = &reply.tokens[reply.tokens.len() - 1..];
            if !exchange.delta(number, Delta { text, tokens }) {
                reply.finish = Finish::Cancelled;
                break;
            }
        }
        Ok(reply)
    }
}

/// A word by its probability; what is before every text is never drawn.
fn draw(shares: &[f64], sampling: &Sampling, random: &mut Stream) -> u32 {
    let mut ranked: Vec<(f64, u32)> = shares.iter().copied().zip(0..).filter(|(_, id)| *id != BEGIN).collect();
    ranked.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    if sampling.temperature <= 0.0 {
        ranked.truncate(1);
    } else if sampling.top_k > 0 {
        ranked.truncate(sampling.top_k);
    }
    let most = ranked.first().map_or(1.0, |(share, _)| *share);
    let power = 1.0 / f64::from(sampling.temperature.max(f32::MIN_POSITIVE));
    for (share, _) in &mut ranked {
        *share = (*share / most).powf(power);
    }
    let mut left = random.unit() * ranked.iter().map(|(share, _)| share).sum::<f64>();
    for (share, id) in &ranked {
        left -= share;
        if left < 0.0 {
            return *id;
        }
    }
    ranked.first().map_or(END, |(_, id)| *id)
}

impl Generate for Ngrams {
    fn can(&self, ability: Ability) -> bool {
        ability == Ability::RawText
    }

    fn run(&self, exchange: &mut dyn Exchange) -> Result<()> {
        let mut number = 0;
        while let Some(Ask { request, processors }) = exchange.next(0) {
            let reply = if processors.is_empty() {
                self.reply(number, &request, exchange)
            } else {
                Err(Error::user(Place::key("processors"), "n-grams have no logits to change"))
            };
            exchange.finish(number, reply);
            number += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(order: usize, texts: &[&str]) -> Ngrams {
        Ngrams::learn(order, texts.iter().map(|text| Ok((*text).to_owned()))).unwrap()
    }

    fn share(ngrams: &Ngrams, before: &[&str], word: &str) -> f64 {
        let id = |word: &str| ngrams.words.find(word).unwrap();
        let before: Vec<u32> = before.iter().map(|word| id(word)).collect();
        ngrams.next(&before)[id(word) as usize]
    }

    #[test]
    fn two_words_are_smoothed_as_the_formula_says() {
        // Bigrams: (^ a) 2, (a b) 1, (b $) 1, (a c) 1, (c $) 1; D2 = 4 / (4 + 2).
        let ngrams = learned(2, &["a b", "a c"]);
        let discount = 4.0 / 6.0;
        assert!((ngrams.levels[1].discount - discount).abs() < 1e-12);
        // Words that stand before: a 1, b 1, c 1, $ 2; D1 = 3 / (3 + 2), 5 words with the begin.
        let single = |count: f64| (count - 0.6 + 0.6 * 4.0 / 5.0) / 5.0;
        let wanted = 0.5 * (1.0 - discount + discount * 2.0 * single(1.0));
        assert!((share(&ngrams, &["a"], " b") - wanted).abs() < 1e-12);
        assert!((ngrams.next(&[UNKNOWN])[END as usize] - single(2.0)).abs() < 1e-12);
        for before in [vec![BEGIN], vec![UNKNOWN], vec![2]] {
            assert!((ngrams.next(&before).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_likeliest_words_and_the_same_seed_give_the_same_text() {
        let ngrams = learned(3, &["the dog ran. ", "the dog ran. ", "the cat sat. "]);
        let ask = |temperature: f32, seed: u64, max_tokens: Option<usize>| {
            let sampling = Sampling { temperature, seed, ..Sampling::default() };
            let prompt = Prompt::Text("the".to_owned());
            let request = GenerateRequest { prompt, max_tokens, stop: Vec::new(), sampling, top_logprobs: 0 };
            ngrams.generate(&[request]).unwrap().remove(0)
        };
        let reply = ask(0.0, 1, None);
        assert_eq!((reply.text.as_str(), reply.finish), (" dog ran. ", Finish::Stop));
        assert_eq!(ask(1.0, 4, None), ask(1.0, 4, None));
        assert!((0..50).any(|seed| ask(1.0, seed, None).text.starts_with(" cat")));
        assert_eq!(ask(0.0, 1, Some(1)).finish, Finish::Length);
        assert!(Ngrams::learn(0, std::iter::empty()).is_err() && Ngrams::learn(2, std::iter::empty()).is_err());
    }
}
