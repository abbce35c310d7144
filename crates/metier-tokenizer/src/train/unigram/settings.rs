use super::likelihood::Pieces;
use super::seed::candidates;
use crate::scheme::marked::byte_name;
use crate::scheme::pieces::{MARK, UnigramModel};
use crate::scheme::tokenizer_file::{TokenizerFile, added_token};
use crate::train::{
    Counted, Cut, Learn, Learned, characters, check_range, check_size, check_special, few_tokens, key_place, written,
};
use metier_core::part::{Build, Part};
use metier_core::progress::Progress;
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashSet;

const UNKNOWN: &str = "<unk>";
/// The share of pieces that pruning leaves.
const SHRINKING: f64 = 0.75;
/// Steps of expectation and maximization before each pruning.
const STEPS: usize = 2;
/// How many times the wanted pieces are left before the last choice.
const MARGIN: f64 = 1.1;
/// What bytes score below the least of all pieces: no text is made of them that has other pieces.
const BYTE_PENALTY: f64 = 10.0;

/// # What it does
/// Learns a Unigram vocabulary: pieces of words with probabilities, such that the texts, each cut the likeliest way, are
/// likely.
///
/// # How
/// White space separates words, and each word begins with the mark `▁`. The pieces at the beginning are all characters of
/// the alphabet and the `seed_pieces` substrings with the greatest count times characters. Then again and again: two steps
/// of expectation and maximization, `p(x) = exp(ψ(c(x)) - ψ(Σ c))` with `c` the count of a piece expected over all ways to
/// cut all words and `ψ` the digamma function; then a quarter of the pieces go, those without which the likelihood of the
/// texts falls least. At a tenth more pieces than wanted the most probable ones stay. Characters never go. Ids go to the
/// special tokens, then to `pieces`, to the 256 bytes if asked, and to the learned pieces, the most probable first.
///
/// Beside the counted words it takes memory in proportion to their characters and to `seed_pieces`.
///
/// # When to use
/// For encoders and translation models like T5 and XLM-R, for languages rich in forms, or where one text should be cut in
/// several ways. Which white space there was between words is lost; for a model that writes code, take `bpe`.
///
/// # Differs from the paper in
/// Counts of substrings are those of the words as often as they are met, and a substring at the end of words counts as one
/// that goes on differently; SentencePiece counts each different word once. A piece's loss is that of the best way to cut
/// without it, as in SentencePiece, not of the sum over all ways. Pieces may mix scripts and digits.
///
/// # Source
/// Kudo, *Subword Regularization: Improving Neural Network Translation Models with Multiple Subword Candidates*,
/// arXiv:1804.10959, section 3.2; the digamma function, the alternatives of a piece and the margin:
/// `src/unigram_model_trainer.cc` of SentencePiece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Unigram {
    /// How many ids there are, special tokens included.
    #[schemars(range(min = 2, max = 16_777_216))]
    pub vocabulary_size: u32,
    /// Tokens that are no text, in the order of their ids, which begin at 0; `<unk>` is among them.
    pub special_tokens: Vec<String>,
    /// Pieces that a text is always cut into where they stand.
    pub pieces: Vec<String>,
    /// Give each byte a piece, and write characters that no piece has in bytes.
    pub byte_fallback: bool,
    /// The share of the texts' characters that the alphabet covers; the rarest ones are left out.
    #[schemars(range(max = 1.0))]
    pub coverage: f64,
    /// Characters of a piece at most.
    #[schemars(range(min = 1, max = 64))]
    pub longest_piece: u32,
    /// Substrings that learning begins with.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub seed_pieces: u32,
    /// The normal form of Unicode that texts take first.
    pub normal_form: NormalForm,
    /// Make letters small.
    pub lowercase: bool,
}

/// Normal forms of Unicode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NormalForm {
    /// The text as it is.
    None,
    /// Characters put together.
    Nfc,
    /// Characters put together, and those that differ in form only made alike, as letters in full width.
    #[default]
    Nfkc,
}

/// Both the last step before the model and the decoder.
fn metaspace() -> Value {
    json!({ "type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": true })
}

impl Default for Unigram {
    fn default() -> Self {
        Self {
            vocabulary_size: 32_000,
            special_tokens: [UNKNOWN, "<s>", "</s>"].map(str::to_owned).to_vec(),
            pieces: Vec::new(),
            byte_fallback: false,
            coverage: 0.9995,
            longest_piece: 16,
            seed_pieces: 1_000_000,
            normal_form: NormalForm::default(),
            lowercase: false,
        }
    }
}

impl Unigram {
    /// Ids that are not learned.
    fn apart(&self) -> usize {
        self.special_tokens.len() + self.pieces.len() + if self.byte_fallback { 256 } else { 0 }
    }

    fn normalizer(&self) -> Value {
        let form = match self.normal_form {
            NormalForm::None => None,
            NormalForm::Nfc => Some("NFC"),
            NormalForm::Nfkc => Some("NFKC"),
        };
        let steps: Vec<Value> =
            form.into_iter().chain(self.lowercase.then_some("Lowercase")).map(|step| json!({ "type": step })).collect();
        match steps.as_slice() {
            [] => Value::Null,
            [only] => only.clone(),
            _ => json!({ "type": "Sequence", "normalizers": steps }),
        }
    }

    /// Characters that cover the asked share of the texts, the most frequent first, with their counts.
    fn alphabet(&self, words: &[(&str, u64)]) -> Vec<(char, u64)> {
        let mut all = characters(words);
        let wanted = self.coverage * all.iter().map(|(_, count)| *count as f64).sum::<f64>();
        let mut covered = 0.0;
        let kept = all.iter().take_while(|(_, count)| {
            let is_asked = covered < wanted;
            covered += *count as f64;
            is_asked
        });
        let kept = kept.count();
        all.truncate(kept);
        all
    }

    /// The characters and substrings that learning begins with.
    fn seed(&self, words: &[(&str, u64)], alphabet: &[(char, u64)]) -> Pieces {
        let known: HashSet<char> = alphabet.iter().map(|(character, _)| *character).collect();
        let taken: HashSet<&str> = self.special_tokens.iter().chain(&self.pieces).map(String::as_str).collect();
        let is_byte = |text: &str| self.byte_fallback && (0..=255).any(|byte| byte_name(byte) == text);
        let found = candidates(words, &known, self.longest_piece as usize, self.seed_pieces as usize);
        let is_taken = |text: &str| taken.contains(text) || (text.starts_with('<') && is_byte(text));
        let found = found.iter().filter(|found| !is_taken(found.text));
        let characters = alphabet.iter().map(|(character, count)| (character.to_string(), *count));
        let (texts, covers): (Vec<String>, Vec<u64>) =
            characters.chain(found.map(|found| (found.text.to_owned(), found.covers))).unzip();
        let all = covers.iter().map(|&covers| covers as f64).sum::<f64>().ln();
        let scores = covers.iter().map(|&covers| (covers as f64).ln() - all).collect();
        Pieces { texts, scores, characters: alphabet.len() }
    }

    /// The `tokenizer.json`.
    fn write(&self, pieces: &Pieces) -> Result<String> {
        let least = pieces.scores.iter().copied().fold(0.0, f64::min);
        let bytes: Vec<String> = if self.byte_fallback { (0..=255).map(byte_name).collect() } else { Vec::new() };
        let asked = self.special_tokens.iter().chain(&self.pieces).map(|token| (token.as_str(), 0.0));
        let bytes = bytes.iter().map(|name| (name.as_str(), least - BYTE_PENALTY));
        let learned = pieces.texts.iter().map(String::as_str).zip(pieces.scores.iter().copied());
        let mut file = TokenizerFile::new(UnigramModel {
            kind: "Unigram",
            unk_id: self.special_tokens.iter().position(|token| token == UNKNOWN),
            vocab: asked.chain(bytes).chain(learned).collect(),
            byte_fallback: self.byte_fallback,
        });
        let specials = self.special_tokens.len();
        file.added_tokens = (self.special_tokens.iter().chain(&self.pieces).enumerate())
            .map(|(id, token)| added_token(id, token, id < specials, false))
            .collect();
        file.normalizer = self.normalizer();
        file.pre_tokenizer = self.cut().pre_tokenizer;
        file.decoder = if self.byte_fallback {
            json!({ "type": "Sequence", "decoders": [{ "type": "ByteFallback" }, metaspace()] })
        } else {
            metaspace()
        };
        file.to_json()
    }
}

impl Learn for Unigram {
    fn cut(&self) -> Cut {
        Cut {
            normalizer: self.normalizer(),
            pre_tokenizer: json!({ "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, metaspace()] }),
            added: self.pieces.clone(),
        }
    }

    fn size(&self) -> usize {
        self.vocabulary_size as usize
    }

    fn learn(&self, counted: &Counted) -> Result<Learned> {
        let words = written(counted)?;
        let alphabet = self.alphabet(&words);
        let apart = self.apart();
        let least = apart + alphabet.len();
        if least > self.size() {
            let message = format!(
                "{} ids are too few: {} characters of these texts and {apart} other tokens take {least}",
                self.size(),
                alphabet.len()
            );
            return Err(Error::user(Place::key("vocabulary_size"), message)
                .hint("ask for a larger vocabulary, or for less `coverage`"));
        }
        let wanted = self.size() - apart;
        let margin = (wanted as f64 * MARGIN) as usize;
        let mut pieces = self.seed(&words, &alphabet);
        let progress = Progress::new("pieces", None, "rounds");
        loop {
            for _ in 0..STEPS {
                pieces.improve(&words)?;
            }
            progress.add(1);
            if pieces.texts.len() <= margin {
                break;
            }
            let size = margin.max((pieces.texts.len() as f64 * SHRINKING) as usize);
            pieces.prune(&words, size)?;
        }
        progress.finish();
        let pieces = pieces.best(wanted);
        let tokens = apart + pieces.texts.len();
        if tokens < self.size() {
            return Err(few_tokens(tokens, self.size(), None));
        }
        Ok(Learned { json: self.write(&pieces)?, tokens, rarest: None })
    }
}

impl Build<dyn Learn> for Unigram {
    fn build(self, place: &Place) -> Result<Box<dyn Learn>> {
        let mut faults = Vec::new();
        check_size(place, self.size(), (self.apart(), "bytes, special tokens and `pieces`"), &mut faults);
        check_special(place, &self.special_tokens, Some(UNKNOWN), &mut faults);
        for piece in &self.pieces {
            if piece.is_empty()
                || self.special_tokens.contains(piece)
                || self.pieces.iter().filter(|other| *other == piece).count() > 1
            {
                let message = format!("the piece `{piece}` is empty, or stands twice here or in `special_tokens`");
                faults.push(Fault::new(key_place(place, "pieces"), message));
            }
        }
        if !(self.coverage > 0.0 && self.coverage <= 1.0) {
            let message = format!("{} is out of range", self.coverage);
            faults.push(Fault::new(key_place(place, "coverage"), message).hint("above 0, and at most 1"));
        }
        check_range(place, "longest_piece", self.longest_piece.into(), (1, 64), &mut faults);
        check_range(place, "seed_pieces", self.seed_pieces.into(), (1, 1 << 24), &mut faults);
        Error::collect(Box::new(self) as Box<dyn Learn>, faults)
    }
}

/// The record of `unigram`.
pub static PART: Part<dyn Learn> = Part::of::<Unigram>("unigram", 1);
