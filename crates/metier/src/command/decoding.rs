//! How a model answers many at once; the same for `generate`, `chat` and `serve`.

use super::{Global, talk};
use metier_core::seam::Tokenize;
use metier_core::{Error, Place, Result};
use metier_model::checkpoint::Checkpoint;
use metier_model::decode::{Draft, Pages};
use metier_model::{Config, Decoder, Decoding, KeyCoding, LocalModel};
use std::sync::Arc;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum CacheType {
    /// As they are
    F32,
    /// In 8 bits, a quarter of the memory
    Int8,
    /// In 4 bits, an eighth of the memory, at some cost of quality
    Int4,
}

/// Settings of decoding.
#[derive(Debug, Clone, clap::Args)]
pub struct DecodingArguments {
    /// Most replies to make at the same time
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    parallel: u32,
    /// Most memory for keys and values of all texts; when left out, what four texts as long as the context take
    #[arg(long, value_name = "SIZE", value_parser = super::parse_size)]
    cache_memory: Option<u64>,
    /// How keys and values are stored
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    cache_type: CacheType,
    /// A smaller model with the same tokenizer that guesses ahead; the model takes the guesses that it would have made
    #[arg(long, value_name = "MODEL", conflicts_with = "lookup")]
    draft: Option<String>,
    /// Guess what followed the last few tokens where they stood before in the text
    #[arg(long)]
    lookup: bool,
    /// Most tokens to guess at a time
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    draft_tokens: u32,
}

/// A model that guesses ahead.
pub struct Guesser {
    decoder: Arc<Decoder>,
    tokenizer: Arc<dyn Tokenize>,
    name: String,
}

impl DecodingArguments {
    /// The model that guesses, if there is one.
    pub fn guesser(&self, global: &Global) -> Result<Option<Guesser>> {
        let Some(name) = &self.draft else { return Ok(None) };
        let path = super::inspect::model_path(name, global)?;
        let checkpoint = Checkpoint::open(&path)?;
        let decoder = Arc::new(Decoder::from_checkpoint_as_stored(&checkpoint)?);
        decoder.check_causal("guessing ahead").map_err(|error| error.in_file(&path))?;
        Ok(Some(Guesser { decoder, tokenizer: Arc::clone(&checkpoint.tokenizer), name: name.clone() }))
    }

    /// The model, answering as the arguments say. Refused when the one that guesses has other tokens.
    pub fn apply(&self, model: LocalModel, guesser: Option<&Guesser>) -> Result<LocalModel> {
        let coding = match self.cache_type {
            CacheType::F32 => KeyCoding::F32,
            CacheType::Int8 => KeyCoding::Int8,
            CacheType::Int4 => KeyCoding::Int4,
        };
        let limit = |config: &Config| self.cache_memory.unwrap_or(Decoding::new(config, coding).cache_bytes);
        let count = self.draft_tokens as usize;
        let draft = match guesser {
            None => self.lookup.then_some(Draft::Lookup { count }),
            Some(Guesser { decoder, tokenizer, name }) => {
                let (ours, theirs) = (model.tokenizer(), tokenizer);
                let ids = 0..ours.vocabulary_size() as u32;
                if ours.vocabulary_size() != theirs.vocabulary_size()
                    || ids.clone().any(|id| ours.bytes_of(id) != theirs.bytes_of(id))
                {
                    let message = "its tokens are not those of the model whose replies it is to guess";
                    return Err(Error::user(Place::key(format!("--draft {name}")), message)
                        .hint("take a smaller model of the same family"));
                }
                let pages = Arc::new(Pages::new(decoder.config(), coding, Some(limit(decoder.config()))));
                Some(Draft::Model { decoder: Arc::clone(decoder), pages, count })
            }
        };
        let cache_bytes = limit(model.decoder().config());
        Ok(model.with_decoding(Decoding { texts: self.parallel as usize, cache_bytes, coding, draft }))
    }

    /// The model at a path, answering as the arguments say.
    pub fn load(&self, path: &std::path::Path, global: &Global) -> Result<LocalModel> {
        let model = crate::stage::load_model_as_stored(path)?;
        model.decoder().check_causal("a reply").map_err(|error| error.in_file(path))?;
        self.apply(model, self.guesser(global)?.as_ref())
    }

    /// What of the settings can change the tokens of a reply; empty as long as all are standard.
    pub fn mark(&self) -> String {
        let coding = Some(self.cache_type).filter(|coding| *coding != CacheType::F32);
        let guesses = (self.lookup || self.draft.is_some()).then_some((&self.draft, self.draft_tokens));
        if coding.is_none() && guesses.is_none() { String::new() } else { format!("{coding:?} {guesses:?}") }
    }
}

/// Says how many tokens were guessed, and how many of them taken, where there were any.
pub fn report([drafted, accepted]: [usize; 2], global: &Global) {
    if drafted > 0 {
        talk(global, &format!("{accepted} of {drafted} guessed tokens were taken"));
    }
}
