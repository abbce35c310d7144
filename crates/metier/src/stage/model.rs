//! Opening a model: a file or folder on disk to something that can be asked.

use metier_core::data::{Conversation, TokenId};
use metier_core::seam::Tokenize;
use metier_core::{Error, Result};
use metier_model::checkpoint::Checkpoint;
use metier_model::{Decoder, LocalModel};
use metier_program::call::{Syntax, showing};
use metier_program::template::ChatTemplate;
use metier_tokenizer::pack::{Dialogue, Render};
use metier_tokenizer::scheme;
use std::path::Path;
use std::sync::Arc;

/// The file of a vocabulary.
const TOKENIZER: &str = "tokenizer.json";

/// Opens a GGUF file or a Hugging Face folder; weights are read when they are asked for.
pub fn open_checkpoint(path: &Path) -> Result<Checkpoint> {
    Checkpoint::open(path)
}

/// The tokenizer of a model, or one that lies alone in a file or folder.
pub fn open_tokenizer(path: &Path) -> Result<Arc<dyn Tokenize>> {
    match tokenizer_alone(path)? {
        Some(tokenizer) => Ok(tokenizer),
        None => Ok(open_checkpoint(path)?.tokenizer),
    }
}

/// A tokenizer that lies in a file or folder without a model.
fn tokenizer_alone(path: &Path) -> Result<Option<Arc<dyn Tokenize>>> {
    let alone = path.join(TOKENIZER);
    if !path.join("config.json").exists() && alone.exists() {
        return Ok(Some(Arc::new(scheme::from_file(&alone)?)));
    }
    if path.is_file()
        && path.extension().is_some_and(|end| ["json", "model", "tiktoken", "txt"].iter().any(|known| end == *known))
    {
        return Ok(Some(Arc::new(scheme::from_file(path)?)));
    }
    Ok(None)
}

/// What the dialogues of a model rest on.
pub struct Speaker {
    tokenizer: Arc<dyn Tokenize>,
    /// Its text, and compiled.
    template: Option<(String, ChatTemplate)>,
    ends: Vec<TokenId>,
}

impl Speaker {
    /// The text of a conversation, as the template writes it.
    pub fn render(&self, conversation: &Conversation, prompt: bool) -> Result<String> {
        match &self.template {
            Some((_, template)) => template.render(conversation, prompt),
            None => Err(Error::program("there is no chat template")),
        }
    }

    /// The contract; `render` is [`Speaker::render`].
    pub fn dialogue<'a>(&'a self, render: &'a Render<'a>) -> Dialogue<'a> {
        let template = self.template.as_ref().map(|(text, _)| (text.as_str(), render));
        Dialogue { tokenizer: self.tokenizer.as_ref(), template, ends: &self.ends }
    }
}

/// The speaker at a path: a model, or a tokenizer that lies alone and has no template.
pub fn open_speaker(path: &Path) -> Result<Speaker> {
    if let Some(tokenizer) = tokenizer_alone(path)? {
        return Ok(Speaker { ends: tokenizer.end_of_text(), tokenizer, template: None });
    }
    let checkpoint = open_checkpoint(path)?;
    let template = checkpoint.chat_template.clone().zip(chat_template(&checkpoint)?);
    let ends = checkpoint.special_tokens.ends.clone();
    Ok(Speaker { tokenizer: checkpoint.tokenizer, template, ends })
}

/// The decoder of the model at a path.
pub fn open_decoder(path: &Path) -> Result<Decoder> {
    Decoder::from_checkpoint(&open_checkpoint(path)?)
}

/// A model to train or to fold into: plain, or with its linear layers in NF4.
pub fn open_base(checkpoint: &Checkpoint, quantized: bool) -> Result<Decoder> {
    if quantized { Decoder::from_checkpoint_in_nf4(checkpoint) } else { Decoder::from_checkpoint(checkpoint) }
}

/// A model to answer with: quantized weights stay as they are stored, and products round their other input to 8 bits.
pub fn load_model_as_stored(path: &Path) -> Result<LocalModel> {
    let checkpoint = open_checkpoint(path)?;
    local_model(Decoder::from_checkpoint_as_stored(&checkpoint)?, &checkpoint).map_err(|error| error.in_file(path))
}

/// A model to measure, with its tokenizer and chat template; everything is computed in `f32`.
pub fn load_model(path: &Path) -> Result<LocalModel> {
    let checkpoint = open_checkpoint(path)?;
    local_model(Decoder::from_checkpoint(&checkpoint)?, &checkpoint).map_err(|error| error.in_file(path))
}

/// Joins a decoder with a checkpoint's tokenizer and chat template.
pub fn local_model(decoder: Decoder, checkpoint: &Checkpoint) -> Result<LocalModel> {
    joined(decoder, checkpoint, Arc::clone(&checkpoint.tokenizer), chat_template(checkpoint)?)
}

/// The same, with how it writes calls of functions if that is known. Where a call begins is then part of a reply's text.
pub fn calling_model(decoder: Decoder, checkpoint: &Checkpoint) -> Result<(LocalModel, Option<&'static Syntax>)> {
    let template = chat_template(checkpoint)?;
    let syntax = template.as_ref().and_then(|template| template.syntax().ok());
    let mut tokenizer = Arc::clone(&checkpoint.tokenizer);
    if let Some(syntax) = syntax {
        tokenizer = showing(tokenizer, syntax)?;
    }
    Ok((joined(decoder, checkpoint, tokenizer, template)?, syntax))
}

fn chat_template(checkpoint: &Checkpoint) -> Result<Option<ChatTemplate>> {
    let Some(source) = &checkpoint.chat_template else { return Ok(None) };
    let text_of = |id: u32| checkpoint.tokenizer.bytes_of(id).and_then(|bytes| String::from_utf8(bytes).ok());
    let special = &checkpoint.special_tokens;
    let begin = special.begin.and_then(text_of);
    let end = special.ends.first().copied().and_then(text_of);
    ChatTemplate::compile(source, begin.as_deref(), end.as_deref()).map(Some)
}

fn joined(
    decoder: Decoder,
    checkpoint: &Checkpoint,
    tokenizer: Arc<dyn Tokenize>,
    template: Option<ChatTemplate>,
) -> Result<LocalModel> {
    let ends = checkpoint.special_tokens.ends.iter().copied();
    let model = LocalModel::new(decoder, tokenizer)?.with_end_ids(ends).with_pooling(checkpoint.pooling()?);
    let Some(template) = template else { return Ok(model) };
    Ok(model.with_render(Arc::new(move |conversation: &Conversation| -> Result<String, Error> {
        template.render(conversation, true)
    })))
}
