//! A `tokenizer.json`, run by the encoders of our own and, where they do not take it, by the `tokenizers` crate.

use super::alphabet;
use super::normalize::Charsmap;
use super::pieces::{PieceModel, Pieces};
use super::words::{Words, cut};
use super::{ByteLevelBpe, bpe, marked};
use metier_core::data::TokenId;
use metier_core::seam::{Encoded, Tokenize};
use metier_core::{Error, Fault, Place, Result};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use tokenizers::{Encoding, Tokenizer};

/// Longer tokens are no text that was learned.
const LONGEST_TOKEN: usize = 1 << 16;

const KNOWN_ENDS: [&str; 4] = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>"];

/// A tokenizer behind the [`Tokenize`] seam. What is not encoded here, and what decodes, is the `tokenizers` crate.
///
/// Truncation, padding and dropout that a file asks for are left out: ids are a function of the text.
pub struct HuggingFace {
    library: Library,
    ids: HashMap<Box<str>, TokenId>,
    /// The bytes of each id; `None` for ids the vocabulary leaves out.
    bytes: Vec<Option<Box<[u8]>>>,
    is_special: Vec<bool>,
    is_byte_level: bool,
    can_cut: bool,
    /// Encodes in the place of both tokenizers where it can.
    encoder: Option<Encoder>,
    begin: Option<TokenId>,
    separator: Option<TokenId>,
    ends: Vec<TokenId>,
    /// Whether SentencePiece's ids are given where the file's differ.
    is_sentence_piece: bool,
    fingerprint: OnceLock<String>,
}

/// The crate's tokenizers, which take as long to be read as all else together, and more memory: where texts are encoded
/// here, they are read when something asks for them.
struct Library {
    /// The `tokenizer.json`.
    text: Box<str>,
    read: OnceLock<Tokenizers>,
}

struct Tokenizers {
    /// Reads special tokens in a text as such.
    special: Tokenizer,
    /// Reads them as plain text.
    plain: Tokenizer,
}

impl Library {
    fn get(&self) -> Result<&Tokenizers> {
        if self.read.get().is_none() {
            let json = parsed(&self.text)?;
            let made = Tokenizers::of(&json, read(&json)?)?;
            // Another thread may have been first, with the same.
            let _ = self.read.set(made);
        }
        self.read.get().ok_or_else(|| Error::program("a tokenizer that was read is gone"))
    }
}

impl Tokenizers {
    fn of(json: &Value, special: Tokenizer) -> Result<Self> {
        let mut plain = match without_special_pieces(json) {
            Some(json) => read(&json)?,
            None => special.clone(),
        };
        plain.set_encode_special_tokens(true);
        Ok(Self { special, plain })
    }
}

/// What encodes without the crate.
enum Encoder {
    /// Tokens are bytes of the text.
    Bytes(Box<bpe::Encoder>),
    /// Tokens are characters of the text's normal form, with marks for blanks.
    Marked(Box<marked::Encoder>),
}

impl Encoder {
    fn of(json: &Value, tokenizer: &Tokenizer) -> Option<Self> {
        let bytes = bpe::Encoder::of(json, tokenizer).map(|encoder| Self::Bytes(Box::new(encoder)));
        bytes.or_else(|| marked::Encoder::of(json, tokenizer).map(|encoder| Self::Marked(Box::new(encoder))))
    }

    /// That of a vocabulary, where `json` and `tokenizer` are what stands around it.
    fn of_byte_level(vocabulary: &ByteLevelBpe, json: &Value, tokenizer: &Tokenizer) -> Option<Self> {
        let tokens = vocabulary.tokens.iter().enumerate();
        let ids = tokens.map(|(id, token)| (token.as_str(), id as TokenId)).collect();
        let mut made = String::new();
        let pairs = vocabulary.merges.iter().map(|merge| merge.split_once(' '));
        let merges: Vec<_> = pairs
            .map(|pair| pair.and_then(|(left, right)| bpe::merge_of(left, right, &ids, &mut made)))
            .collect::<Option<_>>()?;
        bpe::Encoder::of_parts(json, tokenizer, &ids, &merges).map(|encoder| Self::Bytes(Box::new(encoder)))
    }
}

impl HuggingFace {
    /// The tokenizer that a `tokenizer.json` describes.
    pub fn from_json(text: &str) -> Result<Self> {
        let json = parsed(text)?;
        let special = read(&json)?;
        let vocabulary = special.get_vocab(true);
        let vocabulary = vocabulary.iter().map(|(token, &id)| (id, token.as_str())).collect();
        let added = special.get_added_tokens_decoder().into_iter();
        let added = added.map(|(id, token)| (id, token.content, token.special)).collect();
        let out = Self::of(text, &json, &special, Encoder::of(&json, &special), vocabulary, added)?;
        if !out.encodes_all() {
            let _ = out.library.read.set(Tokenizers::of(&json, special)?);
        }
        Ok(out)
    }

    /// The tokenizer of a vocabulary and its `tokenizer.json`, which was written here and is not read where that can be spared.
    pub fn from_byte_level(vocabulary: &ByteLevelBpe, text: &str) -> Result<Self> {
        let json = vocabulary.around()?;
        let around = read(&json)?;
        let Some(encoder) = Encoder::of_byte_level(vocabulary, &json, &around) else {
            return Self::from_json(text);
        };
        let tokens = vocabulary.tokens.iter().enumerate().map(|(id, token)| (id as TokenId, token.as_str())).collect();
        let added = vocabulary.added().map(|(id, token, special)| (id as TokenId, token.to_owned(), special)).collect();
        Self::of(text, &json, &around, Some(encoder), tokens, added)
    }

    /// The tokenizer of a file; `around` puts tokens around a text where it does.
    fn of(
        text: &str,
        json: &Value,
        around: &Tokenizer,
        encoder: Option<Encoder>,
        vocabulary: Vec<(TokenId, &str)>,
        added: Vec<(TokenId, String, bool)>,
    ) -> Result<Self> {
        let style = Style::of(json);
        let (bytes, is_special, ids) = byte_table(vocabulary, added, &style)?;
        let ends = KNOWN_ENDS.iter().filter_map(|name| ids.get(*name).copied()).collect();
        Ok(Self {
            library: Library { text: text.into(), read: OnceLock::new() },
            ids,
            bytes,
            is_special,
            is_byte_level: matches!(style, Style::ByteLevel),
            can_cut: can_cut(json),
            encoder,
            begin: begin_of_text(around),
            separator: separator(around),
            ends,
            is_sentence_piece: false,
            fingerprint: OnceLock::new(),
        })
    }

    /// Whether the crate is never asked but for texts whose normal form is another.
    pub(super) fn encodes_all(&self) -> bool {
        self.is_byte_level && matches!(self.encoder, Some(Encoder::Bytes(_)))
    }

    /// The tokenizer of a SentencePiece vocabulary, with SentencePiece's ids. Those of its `tokenizer.json` are the same but for
    /// ties of a Unigram, and for characters that its table of replacements joins.
    pub fn from_pieces(pieces: &Pieces) -> Result<Self> {
        Self::from_described_pieces(pieces, &pieces.to_json()?)
    }

    /// The same, where `text` is their `tokenizer.json`, to which tokens may have been added.
    pub(super) fn from_described_pieces(pieces: &Pieces, text: &str) -> Result<Self> {
        let mut out = Self::from_json(text)?;
        let json: Value = serde_json::from_str(text)
            .map_err(|error| Error::program(format!("a tokenizer does not read: {error}")))?;
        if let Some(encoder) = marked::Encoder::of_pieces(pieces, &json, &out.library.get()?.special) {
            out.encoder = Some(Encoder::Marked(Box::new(encoder)));
            out.is_sentence_piece = pieces.model == PieceModel::Unigram || !pieces.replacements.is_empty();
        }
        Ok(out)
    }

    /// The same tokenizer with this begin-of-text token, or with none.
    #[must_use]
    pub fn with_begin(mut self, begin: Option<TokenId>) -> Self {
        self.begin = begin;
        self
    }

    /// The same tokenizer with these end-of-text tokens before those its vocabulary is known to have.
    #[must_use]
    pub fn with_ends(mut self, ends: &[TokenId]) -> Self {
        let known = std::mem::take(&mut self.ends);
        for &end in ends.iter().chain(&known) {
            if !self.ends.contains(&end) {
                self.ends.push(end);
            }
        }
        self
    }

    /// The ids of pieces by the crate.
    fn library_ids(&self, pieces: Vec<&str>, special: bool) -> Result<Vec<Vec<TokenId>>> {
        let encoded =
            self.tokenizer(special)?.encode_batch_fast(pieces, false).map_err(|error| refused(error.as_ref()))?;
        Ok(encoded.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The ids of each text, as [`Tokenize::encode`] gives them without ends.
    pub fn ids(&self, texts: &[&str], special: bool) -> Result<Vec<Vec<TokenId>>> {
        let encoded = match &self.encoder {
            Some(Encoder::Bytes(encoder)) => {
                let pieces = self.pieces(texts);
                let mut ids = encoder.encode(&pieces.concat(), special).into_iter();
                return Ok(pieces.iter().map(|pieces| concatenated(ids.by_ref().take(pieces.len()))).collect());
            }
            Some(Encoder::Marked(encoder)) => encoder.encode(texts, special, false),
            None => {
                let pieces = self.pieces(texts);
                let mut ids = self.library_ids(pieces.concat(), special)?.into_iter();
                return Ok(pieces.iter().map(|pieces| concatenated(ids.by_ref().take(pieces.len()))).collect());
            }
        };
        Ok(encoded.into_iter().map(|encoded| encoded.ids).collect())
    }

    /// The texts in pieces that are encoded each for itself.
    fn pieces<'a>(&self, texts: &[&'a str]) -> Vec<Vec<&'a str>> {
        texts.iter().map(|text| if self.can_cut { cut(text) } else { vec![*text] }).collect()
    }

    /// The ids of a text's pieces with their ends; each stands for the next bytes of the text.
    fn joined(&self, pieces: impl Iterator<Item = Vec<TokenId>>) -> Encoded {
        let ids = concatenated(pieces);
        let mut at = 0;
        let ends = ids
            .iter()
            .map(|&id| {
                at += self.bytes.get(id as usize).and_then(Option::as_deref).map_or(0, <[u8]>::len);
                at
            })
            .collect();
        Encoded { ids, ends }
    }

    fn tokenizer(&self, special: bool) -> Result<&Tokenizer> {
        let Tokenizers { special: reading, plain } = self.library.get()?;
        Ok(if special { reading } else { plain })
    }

    fn ends_of(&self, text: &str, special: bool, ids: &[TokenId]) -> Result<Vec<usize>> {
        let mut at = 0;
        let mut ends = Vec::with_capacity(ids.len());
        for &id in ids {
            let bytes = self.bytes.get(id as usize).and_then(Option::as_deref).unwrap_or_default();
            if !text.as_bytes()[at..].starts_with(bytes) {
                break;
            }
            at += bytes.len();
            ends.push(at);
        }
        if ends.len() == ids.len() && at == text.len() {
            return Ok(ends);
        }
        let encoding = self.tokenizer(special)?.encode(text, false).map_err(|error| refused(error.as_ref()))?;
        Ok(self.ends_by_offsets(text, ids, &encoding))
    }

    /// Ends for a scheme whose tokens are not the bytes of the text one after the other: it changes the text
    /// first, or has no token for some bytes.
    fn ends_by_offsets(&self, text: &str, ids: &[TokenId], encoding: &Encoding) -> Vec<usize> {
        let mut at = 0;
        ids.iter()
            .zip(encoding.get_offsets())
            .map(|(&id, &(start, end))| {
                let end = end.clamp(at, text.len());
                let from = start.clamp(at, end);
                let bytes = self.bytes.get(id as usize).and_then(Option::as_deref).unwrap_or_default();
                let found = (from..=end.saturating_sub(bytes.len()))
                    .find(|&place| text.as_bytes()[place..end].starts_with(bytes));
                at = found.filter(|_| self.is_byte_level).map_or(end, |place| place + bytes.len());
                at
            })
            .collect()
    }
}

impl Tokenize for HuggingFace {
    fn vocabulary_size(&self) -> usize {
        self.bytes.len()
    }

    fn encode(&self, texts: &[&str], special: bool) -> Result<Vec<Encoded>> {
        if let Some(Encoder::Marked(encoder)) = &self.encoder {
            return Ok(encoder.encode(texts, special, true));
        }
        let pieces = self.pieces(texts);
        let mut ids = match &self.encoder {
            Some(Encoder::Bytes(encoder)) => {
                let ids = encoder.encode(&pieces.concat(), special);
                if texts.iter().all(|text| encoder.keeps(text)) {
                    let mut ids = ids.into_iter();
                    return Ok(pieces.iter().map(|pieces| self.joined(ids.by_ref().take(pieces.len()))).collect());
                }
                ids
            }
            _ => self.library_ids(pieces.concat(), special)?,
        }
        .into_iter();
        let mut out = Vec::with_capacity(texts.len());
        for pieces in pieces {
            let mut encoded = Encoded::default();
            let mut before = 0;
            for (piece, mut ids) in pieces.into_iter().zip(&mut ids) {
                let ends = self.ends_of(piece, special, &ids)?;
                encoded.ids.append(&mut ids);
                encoded.ends.extend(ends.into_iter().map(|end| before + end));
                before += piece.len();
            }
            out.push(encoded);
        }
        Ok(out)
    }

    fn ids(&self, texts: &[&str], special: bool) -> Result<Vec<Vec<TokenId>>> {
        Self::ids(self, texts, special)
    }

    fn decode(&self, ids: &[TokenId], special: bool) -> Result<String> {
        if !self.is_byte_level {
            return self.tokenizer(true)?.decode(ids, !special).map_err(|error| refused(error.as_ref()));
        }
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            if special || !self.is_special.get(id as usize).copied().unwrap_or(false) {
                bytes.extend_from_slice(self.bytes.get(id as usize).and_then(Option::as_deref).unwrap_or_default());
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn bytes_of(&self, id: TokenId) -> Option<Vec<u8>> {
        self.bytes.get(id as usize)?.as_deref().map(<[u8]>::to_vec)
    }

    fn id_of(&self, token: &str) -> Option<TokenId> {
        self.ids.get(token).copied()
    }

    fn begin_of_text(&self) -> Option<TokenId> {
        self.begin
    }

    fn separator(&self) -> Option<TokenId> {
        self.separator
    }

    fn end_of_text(&self) -> Vec<TokenId> {
        self.ends.clone()
    }

    fn fingerprint(&self) -> String {
        let made = self.fingerprint.get_or_init(|| {
            // It was read when this was made.
            let file = fingerprint(&parsed(&self.library.text).unwrap_or_default());
            if !self.is_sentence_piece {
                return file;
            }
            blake3::hash(format!("sentencepiece {file}").as_bytes()).to_hex().to_string()
        });
        made.clone()
    }
}

fn concatenated(mut pieces: impl Iterator<Item = Vec<TokenId>>) -> Vec<TokenId> {
    let mut ids = pieces.next().unwrap_or_default();
    let rest: Vec<Vec<TokenId>> = pieces.collect();
    ids.reserve(rest.iter().map(Vec::len).sum());
    for mut piece in rest {
        ids.append(&mut piece);
    }
    ids
}

/// A `tokenizer.json` without what makes ids depend on more than the text, checked as far as the crate does not.
fn parsed(text: &str) -> Result<Value> {
    let mut json: Value = serde_json::from_str(text).map_err(|error| {
        Error::user(Place::default().at(error.line(), error.column()), format!("this is no JSON: {error}"))
    })?;
    if !json.get("model").is_some_and(Value::is_object) {
        return Err(Error::user(Place::key("model"), "this is no tokenizer: the object `model` is missing")
            .hint("a tokenizer.json is the file that the `tokenizers` library writes"));
    }
    json["truncation"] = Value::Null;
    json["padding"] = Value::Null;
    if json["model"].get("dropout").is_some() {
        json["model"]["dropout"] = Value::Null;
    }
    check_charsmaps(&json["normalizer"])?;
    check_merges(&json["model"])?;
    Ok(json)
}

/// Refuses a table of replacements that the crate would follow out of its bounds.
fn check_charsmaps(step: &Value) -> Result<()> {
    for step in step["normalizers"].as_array().into_iter().flatten() {
        check_charsmaps(step)?;
    }
    if step["type"] == "Precompiled"
        && step["precompiled_charsmap"].as_str().is_none_or(|table| Charsmap::of_base64(table).is_none())
    {
        let message = "the table `precompiled_charsmap` is damaged, or in no form that is known";
        return Err(Error::user(Place::key("normalizer"), message));
    }
    Ok(())
}

/// Refuses merges that the crate would put together out of bounds: those whose second token has not the prefix that is
/// taken off it, and those that are longer than every token.
fn check_merges(model: &Value) -> Result<()> {
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    let longest = model["vocab"].as_object().into_iter().flatten().map(|(token, _)| token.len()).max().unwrap_or(0);
    for (place, merge) in model["merges"].as_array().into_iter().flatten().enumerate() {
        let pair = match merge.as_str() {
            Some(text) => text.split_once(' '),
            None => merge[0].as_str().zip(merge[1].as_str()),
        };
        // What is no pair is refused by the crate.
        let Some((first, second)) = pair else { continue };
        let fault = |message: String| Error::user(Place::key("model.merges"), message);
        let Some(rest) = second.strip_prefix(prefix) else {
            let message = format!("the second token of merge {place}, `{second}`, does not begin with `{prefix}`");
            return Err(fault(message).hint("it is what `continuing_subword_prefix` asks of every token inside a word"));
        };
        if first.len() + rest.len() > longest {
            return Err(fault(format!("merge {place}, of `{first}` and `{second}`, makes no token of the vocabulary")));
        }
    }
    Ok(())
}

fn read(json: &Value) -> Result<Tokenizer> {
    Tokenizer::from_bytes(json.to_string())
        .map_err(|error| Error::user(Place::default(), format!("this tokenizer cannot be read: {error}")))
}

/// The same file with special tokens that no text is made of, for models that would find them in a text although
/// they are not looked for: those of Unigram, where every token is a piece. `None` for the others.
fn without_special_pieces(json: &Value) -> Option<Value> {
    if json["model"]["type"] != "Unigram" {
        return None;
    }
    let special: HashSet<&str> = json["added_tokens"]
        .as_array()?
        .iter()
        .filter(|token| token["special"] == true)
        .filter_map(|token| token["content"].as_str())
        .collect();
    let mut changed = json.clone();
    for piece in changed["model"]["vocab"].as_array_mut()? {
        if let Some(text) = piece[0].as_str().filter(|text| special.contains(text)) {
            // Characters that stand for nothing in any text.
            piece[0] = format!("\u{fdd0}\u{10ffff}{text}").into();
        }
    }
    Some(changed)
}

/// How a vocabulary writes bytes.
enum Style {
    /// In the byte alphabet.
    ByteLevel,
    /// As text with a mark for a space; `<0xE2>` is one byte.
    Marked(String),
    /// As text; this prefix marks the inside of a word.
    WordPiece(String),
    /// As text.
    Plain,
}

impl Style {
    fn of(json: &Value) -> Self {
        let mut steps = Vec::new();
        for key in ["decoder", "pre_tokenizer"] {
            collect_steps(&json[key], &mut steps);
        }
        let text = |step: &Value, key: &str| step[key].as_str().map(str::to_owned);
        for step in steps {
            match step["type"].as_str() {
                Some("ByteLevel") => return Self::ByteLevel,
                Some("Metaspace") => {
                    return Self::Marked(text(step, "replacement").unwrap_or_else(|| "\u{2581}".into()));
                }
                Some("Replace") if step["content"] == " " => {
                    return Self::Marked(text(&step["pattern"], "String").unwrap_or_else(|| "\u{2581}".into()));
                }
                Some("WordPiece") => return Self::WordPiece(text(step, "prefix").unwrap_or_else(|| "##".into())),
                _ => {}
            }
        }
        Self::Plain
    }

    fn bytes_of(&self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => alphabet::bytes_of(token).unwrap_or_else(|| token.as_bytes().to_vec()),
            Self::Marked(mark) => {
                let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                match byte.filter(|digits| digits.len() == 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => vec![byte],
                    None => token.replace(mark.as_str(), " ").into_bytes(),
                }
            }
            Self::WordPiece(prefix) => token.strip_prefix(prefix.as_str()).unwrap_or(token).as_bytes().to_vec(),
            Self::Plain => token.as_bytes().to_vec(),
        }
    }
}

/// The step itself, or the steps of a sequence.
fn collect_steps<'a>(step: &'a Value, out: &mut Vec<&'a Value>) {
    let inner = ["decoders", "pretokenizers"].iter().find_map(|key| step[*key].as_array());
    match inner {
        Some(inner) => inner.iter().for_each(|step| collect_steps(step, out)),
        None => out.push(step),
    }
}

/// The bytes of each id, whether it is special, and the ids by their tokens.
type ByteTable = (Vec<Option<Box<[u8]>>>, Vec<bool>, HashMap<Box<str>, TokenId>);

fn byte_table(
    mut vocabulary: Vec<(TokenId, &str)>,
    added: Vec<(TokenId, String, bool)>,
    style: &Style,
) -> Result<ByteTable> {
    let size = vocabulary.iter().map(|(id, _)| *id).max().map_or(0, |id| id as usize + 1);
    if size > 4 * vocabulary.len() + (1 << 16) {
        let message = format!("the highest id is {}, and there are only {} tokens", size - 1, vocabulary.len());
        return Err(Error::user(Place::key("model.vocab"), message));
    }
    let mut bytes = vec![None; size];
    vocabulary.sort_unstable();
    for pair in vocabulary.windows(2) {
        if let [(first, one), (second, other)] = pair
            && first == second
        {
            let message = format!("the id {first} belongs to two tokens, {one:?} and {other:?}");
            return Err(Error::user(Place::key("model.vocab"), message));
        }
    }
    let mut ids = HashMap::with_capacity(vocabulary.len());
    for (id, token) in vocabulary {
        if token.len() > LONGEST_TOKEN {
            let message = format!("the token with the id {id} has {} bytes", token.len());
            let error = Error::user(Place::key("model.vocab"), message);
            return Err(error.hint(format!("tokens of up to {LONGEST_TOKEN} bytes are read")));
        }
        bytes[id as usize] = Some(style.bytes_of(token).into_boxed_slice());
        ids.insert(token.into(), id);
    }
    let mut special = vec![false; size];
    for (id, content, is_special) in added {
        if let Some(place) = bytes.get_mut(id as usize) {
            *place = Some(content.into_bytes().into());
            special[id as usize] = is_special;
        }
    }
    Ok((bytes, special, ids))
}

/// The token that the file's template puts before a text.
fn begin_of_text(tokenizer: &Tokenizer) -> Option<TokenId> {
    let first = |special| tokenizer.encode_fast("a", special).ok()?.get_ids().first().copied();
    let with = first(true);
    if with == first(false) { None } else { with }
}

/// The token that the file's template puts behind a text.
fn separator(tokenizer: &Tokenizer) -> Option<TokenId> {
    let last = |special| tokenizer.encode_fast("a", special).ok()?.get_ids().last().copied();
    let with = last(true);
    if with == last(false) { None } else { with }
}

/// Whether a text may be encoded in pieces that [`cut`] makes without a change of ids.
fn can_cut(json: &Value) -> bool {
    let added = json["added_tokens"].as_array().is_none_or(|tokens| {
        tokens.iter().all(|token| {
            ["lstrip", "rstrip", "single_word"].iter().all(|key| token[*key] != true)
                && token["content"].as_str().is_some_and(|content| !content.contains(char::is_whitespace))
        })
    });
    let split = Words::of(&json["pre_tokenizer"]).is_some();
    (json["normalizer"].is_null() || json["normalizer"]["type"] == "NFC")
        && split
        && added
        && json["model"]["type"] == "BPE"
}

fn refused(error: &(dyn std::error::Error + Send + Sync)) -> Error {
    Fault::new(Place::default(), format!("the tokenizer refused a text: {error}")).into()
}

/// BLAKE3 of the parts of the file that decide the ids, with the keys of every object in order.
fn fingerprint(json: &Value) -> String {
    let mut hasher = blake3::Hasher::new();
    for key in ["added_tokens", "normalizer", "pre_tokenizer", "model"] {
        hash_value(&json[key], &mut hasher);
    }
    hasher.finalize().to_hex().to_string()
}

fn hash_value(value: &Value, hasher: &mut blake3::Hasher) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            hasher.update(b"{").update(&(entries.len() as u64).to_le_bytes());
            for (key, value) in entries {
                hasher.update(&(key.len() as u64).to_le_bytes()).update(key.as_bytes());
                hash_value(value, hasher);
            }
        }
        Value::Array(list) => {
            hasher.update(b"[").update(&(list.len() as u64).to_le_bytes());
            for value in list {
                hash_value(value, hasher);
            }
        }
        _ => {
            let text = value.to_string();
            hasher.update(b"v").update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
    }
}
