//! Models that tests serve: folders made of the tiny model, and one that draws its tokens by chance.

use metier_core::data::{Role, TokenId};
use metier_core::seam::{
    Ability, Ask, CONTEXT, Delta, Embed, Embedded, Exchange, Finish, Generate, Prompt, Reply, TokenChoice, Tokenize,
};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use metier_model::Decoder;
use metier_model::checkpoint::{Checkpoint, Dtype, write_folder};
use metier_program::call::{CallReader, SYNTAXES};
use metier_program::constrain::Constrainer;
use metier_serve::{Served, Settings};
use metier_testkit::bytes::{Bytes, END};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Room for functions in the prompt.
const LONG_CONTEXT: usize = 2048;

/// The tiny model in `f32` in a folder of its own, with a longer context and, when there is one, this template.
pub fn folder(folder: &Path, template: Option<&str>, change: impl FnOnce(&mut Decoder)) -> String {
    let mut checkpoint = Checkpoint::open(metier_testkit::fixture("models/tiny-llama.gguf")).unwrap();
    let mut decoder = Decoder::from_checkpoint(&checkpoint).unwrap();
    change(&mut decoder);
    checkpoint.config["max_position_embeddings"] = json!(LONG_CONTEXT);
    if let Some(template) = template {
        checkpoint.chat_template = Some(template.to_owned());
    }
    let tensors = decoder.tensors().unwrap();
    let tensors = tensors.iter().map(|(name, tensor)| (&**name, tensor.shape(), tensor.data()));
    write_folder(folder, &checkpoint, tensors, Dtype::F32).unwrap();
    folder.display().to_string()
}

/// A template of the golden of `fixtures/reference/chat_tools.py`.
pub fn template(name: &str) -> String {
    let golden = metier_testkit::golden::read(metier_testkit::fixture("golden/chat_tools.json"));
    golden["templates"][name].as_str().unwrap().to_owned()
}

/// Makes replies of bytes drawn by chance among those that are allowed, at no cost.
pub struct Chance {
    pub context_length: usize,
    /// What each reply begins with; all of it must be allowed.
    pub begin: &'static str,
}

impl Chance {
    /// The tokens of a prompt.
    pub fn encode(prompt: &Prompt) -> Result<Vec<TokenId>> {
        let text = match prompt {
            Prompt::Tokens(ids) => return Ok(ids.clone()),
            Prompt::Text(text) => text.clone(),
            Prompt::Conversation(conversation) => {
                let turn = |message: &metier_core::data::Message| {
                    let role = if message.role == Role::User { ">" } else { "<" };
                    [role, &message.content, "\n"].concat()
                };
                conversation.messages.iter().map(turn).collect()
            }
        };
        Ok(Bytes { begin: false }.encode(&[&text], true)?.remove(0).ids)
    }
}

impl Generate for Chance {
    fn can(&self, _: Ability) -> bool {
        true
    }

    /// One request after the other.
    fn run(&self, exchange: &mut dyn Exchange) -> Result<()> {
        let mut number = 0;
        loop {
            exchange.between();
            let Some(ask) = exchange.next(0) else { return Ok(()) };
            let reply = self.reply(ask, &mut |delta| exchange.delta(number, delta));
            exchange.finish(number, reply);
            number += 1;
        }
    }
}

impl Chance {
    fn reply(&self, ask: Ask, on_delta: &mut dyn FnMut(Delta<'_>) -> bool) -> Result<Reply> {
        let Ask { request, mut processors } = ask;
        let prompt = Self::encode(&request.prompt)?;
        let most = request.max_tokens.unwrap_or(self.context_length.saturating_sub(prompt.len()));
        if prompt.len().saturating_add(most.max(1)) > self.context_length {
            let message = format!("{} and {most} to generate are longer than {}", prompt.len(), self.context_length);
            return Err(Error::user(Place::key(CONTEXT), message));
        }
        let mut random = Seed::new(request.sampling.seed).at(0);
        let mut reply = Reply {
            text: String::new(),
            tokens: vec![],
            prompt_tokens: prompt.len(),
            cached_tokens: 0,
            drafted_tokens: 0,
            accepted_tokens: 0,
            finish: Finish::Length,
        };
        let mut history = prompt.clone();
        while reply.tokens.len() < most {
            // Letters and the end, unless a form asks for others.
            let mut logits: Vec<f32> =
                (0..258_u32).map(|id| if (32..127).contains(&id) || id == END { 0.0 } else { -9.0 }).collect();
            for processor in &mut processors {
                processor.process(&history, &mut logits)?;
            }
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let allowed: Vec<TokenId> =
                (0..).zip(&logits).filter(|(_, logit)| **logit >= best).map(|(id, _)| id).collect();
            let closing =
                [END, 34, 125, 93].into_iter().find(|id| allowed.contains(id)).filter(|_| random.below(4) == 0);
            let id = match self.begin.as_bytes().get(reply.tokens.len()) {
                Some(byte) if logits[usize::from(*byte)].is_finite() => TokenId::from(*byte),
                Some(byte) => return Err(Error::program(format!("{byte} is not allowed after {}", reply.text))),
                None => closing.unwrap_or_else(|| allowed[random.below(allowed.len() as u64) as usize]),
            };
            if id == END {
                reply.finish = Finish::Stop;
                break;
            }
            history.push(id);
            let token = TokenChoice { id, logprob: -1.0, top: vec![(id, -1.0); request.top_logprobs] };
            let text = char::from(u8::try_from(id).unwrap_or(b'?').min(127)).to_string();
            reply.tokens.push(token);
            reply.text += &text;
            if !on_delta(Delta { text: &text, tokens: &reply.tokens[reply.tokens.len() - 1..] }) {
                reply.finish = Finish::Cancelled;
                break;
            }
        }
        Ok(reply)
    }
}

/// [`Chance`] as it is served under the name `tiny`, with calls as Hermes writes them.
pub fn served(chance: Chance) -> Served {
    let syntax = SYNTAXES.iter().find(|syntax| syntax.name == "hermes").unwrap();
    let constrainer = Constrainer::new(&Bytes { begin: false }, &[END]).unwrap().with_calls(Some(syntax));
    let chance = Arc::new(chance);
    Served {
        name: "tiny".to_owned(),
        context_length: chance.context_length,
        tokenize: Arc::new(Bytes { begin: false }),
        embed: Some(chance.clone()),
        generate: chance,
        constrain: Some(Arc::new(move |form| constrainer.constrain(form))),
        calls: Some(Arc::new(|| {
            let mut reader = CallReader::new(syntax);
            Box::new(move |text| match text {
                Some(text) => reader.push(text),
                None => reader.finish(),
            })
        })),
        encode: Arc::new(Chance::encode),
        base: None,
    }
}

/// How such a model is served.
pub fn settings() -> Settings {
    Settings {
        address: ([127, 0, 0, 1], 0).into(),
        keys: Vec::new(),
        body_limit: 1 << 20,
        queue_limit: 1000,
        timeout: Duration::from_mins(1),
        write_timeout: Duration::from_mins(1),
        truncate: false,
        seed: 1,
    }
}

impl Embed for Chance {
    fn dimension(&self) -> usize {
        4
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedded>> {
        let embedded = |text: &&str| Embedded { vector: vec![0.5; 4], tokens: text.len() };
        Ok(texts.iter().map(embedded).collect())
    }
}
