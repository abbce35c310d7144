//! What a request asks of a model, read out of its body.

use super::failure::Failure;
use super::fields::Fields;
use crate::{Model, Server};
use axum::http::StatusCode;
use metier_core::data::{Conversation, Form, Message, Role, TokenId};
use metier_core::fault::near_miss;
use metier_core::seam::{Ability, GenerateRequest, Prompt, Sampling};
use metier_core::seed::Seed;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Replies that one request may ask for.
const MOST_REPLIES: usize = 128;
/// Stop texts that one request may have.
const MOST_STOPS: usize = 16;
/// Likeliest tokens that may be reported at each position.
const MOST_TOP: usize = 20;
const NO_TOOLS: &str = "is refused: this server does not call tools";

/// Which of the two endpoints answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Text,
}

/// A request for replies.
pub(crate) struct Ask {
    pub(crate) shape: Shape,
    pub(crate) model: Arc<Model>,
    /// All replies of the first prompt, then those of the second.
    pub(crate) requests: Vec<GenerateRequest>,
    /// Replies of each prompt.
    pub(crate) each: usize,
    /// Added to the logits of tokens.
    pub(crate) bias: Vec<(TokenId, f32)>,
    /// What each text must be.
    pub(crate) form: Option<Form>,
    /// Report log-probabilities.
    pub(crate) logprobs: bool,
    pub(crate) stream: bool,
    /// A stream ends with the usage.
    pub(crate) usage: bool,
}

impl Ask {
    /// The body of a chat completion.
    pub(crate) fn chat(body: &[u8], server: &Server) -> Result<Self, Failure> {
        let mut fields = Fields::parse(body)?;
        let model = find_model(&mut fields, server)?;
        let conversation = fields.required("messages").map(|value| conversation(value, &mut fields));
        let logprobs = fields.flag("logprobs");
        let top = fields.whole("top_logprobs", 0..=MOST_TOP);
        if top.is_some_and(|top| top > 0) && !logprobs {
            fields.fault("top_logprobs", "needs `logprobs` to be true");
        }
        let newer = fields.whole("max_completion_tokens", 1..=usize::MAX);
        let older = fields.whole("max_tokens", 1..=usize::MAX);
        if newer.is_some() && older.is_some() && newer != older {
            fields.fault("max_tokens", "differs from `max_completion_tokens`, which means the same");
        }
        fields.only("tools", &[json!([])], NO_TOOLS);
        fields.only("tool_choice", &[json!("none"), json!("auto")], NO_TOOLS);
        fields.only("functions", &[json!([])], NO_TOOLS);
        fields.only("function_call", &[json!("none"), json!("auto")], NO_TOOLS);
        fields.without_effect("parallel_tool_calls");
        fields.only("modalities", &[json!(["text"])], "must be [\"text\"]: models answer in text alone");
        fields.only("audio", &[], "is refused: models answer in text alone");
        fields.only("prediction", &[], "is refused: predicted outputs are not used");
        fields.only("reasoning_effort", &[json!("none")], "is refused: no model here has a setting for it");
        fields.only("verbosity", &[], "is refused: no model here has a setting for it");
        fields.only("web_search_options", &[], "is refused: nothing is searched");
        let rest = Rest::read(&mut fields, &model, server);
        fields.finish()?;
        if !model.served.generate.can(Ability::Conversation) {
            let name = &model.served.name;
            return Err(Failure::request(format!(
                "the model `{name}` has no chat template, so it cannot answer a conversation; give it raw text at /v1/completions"
            ))
            .param("model"));
        }
        let prompt = Prompt::Conversation(conversation.unwrap_or_default());
        Ok(rest.ask(Shape::Chat, model, vec![prompt], newer.or(older), logprobs.then(|| top.unwrap_or(0))))
    }

    /// The body of a text completion.
    pub(crate) fn text(body: &[u8], server: &Server) -> Result<Self, Failure> {
        let mut fields = Fields::parse(body)?;
        let model = find_model(&mut fields, server)?;
        let prompts = match fields.required("prompt") {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(items)) if !items.is_empty() => {
                let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                texts.unwrap_or_else(|| {
                    fields.fault("prompt", "must be texts: token ids are not taken");
                    Vec::new()
                })
            }
            Some(_) => {
                fields.fault("prompt", "must be a text or a list of texts");
                Vec::new()
            }
            None => Vec::new(),
        };
        let top = fields.whole("logprobs", 0..=MOST_TOP);
        let most = fields.whole("max_tokens", 1..=usize::MAX);
        fields.only("echo", &[json!(false)], "is refused: the prompt is not repeated");
        fields.only("suffix", &[json!("")], "is refused: nothing is filled in before a suffix");
        let rest = Rest::read(&mut fields, &model, server);
        fields.only("best_of", &[json!(rest.each)], "must be as `n`: no more replies are made than are returned");
        if prompts.len() * rest.each > MOST_REPLIES {
            fields.fault("prompt", format!("asks with `n` for more than {MOST_REPLIES} replies"));
        }
        fields.finish()?;
        // What the older endpoint gives when it is not told.
        let most = most.or(Some(16));
        let prompts = prompts.into_iter().map(Prompt::Text).collect();
        Ok(rest.ask(Shape::Text, model, prompts, most, top))
    }
}

/// What both endpoints take.
struct Rest {
    sampling: Sampling,
    each: usize,
    stop: Vec<String>,
    bias: Vec<(TokenId, f32)>,
    form: Option<Form>,
    stream: bool,
    usage: bool,
}

impl Rest {
    fn read(fields: &mut Fields, model: &Model, server: &Server) -> Self {
        let standard = Sampling::default();
        let number = server.requests.fetch_add(1, Ordering::Relaxed);
        let sampling = Sampling {
            temperature: fields.number("temperature", 0.0..=2.0).unwrap_or(1.0),
            top_k: fields.whole("top_k", 0..=usize::MAX).unwrap_or(standard.top_k),
            // 0 asks for the likeliest token, which the smallest share gives.
            top_p: fields.number("top_p", 0.0..=1.0).unwrap_or(standard.top_p).max(f32::MIN_POSITIVE),
            min_p: fields.number("min_p", 0.0..=1.0).unwrap_or(standard.min_p),
            typical_p: fields.number("typical_p", 0.01..=1.0).unwrap_or(standard.typical_p),
            repetition_penalty: fields
                .number("repetition_penalty", 0.01..=100.0)
                .unwrap_or(standard.repetition_penalty),
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0).unwrap_or(standard.presence_penalty),
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0).unwrap_or(standard.frequency_penalty),
            seed: seed(fields).unwrap_or_else(|| server.seed.derive("request").at(number).bits()),
        };
        let each = fields.whole("n", 1..=MOST_REPLIES).unwrap_or(1);
        let stop = fields.texts("stop", MOST_STOPS).unwrap_or_default();
        if stop.iter().any(String::is_empty) {
            fields.fault("stop", "must not be empty");
        }
        let bias = bias(fields, model);
        let form = fields.take("response_format").and_then(|value| form(fields, value));
        let stream = fields.flag("stream");
        let options = fields.take("stream_options");
        let mut usage = false;
        if let Some(options) = options {
            if !stream {
                fields.fault("stream_options", "needs `stream` to be true");
            }
            usage = fields
                .inside("stream_options", options, |options| {
                    options.without_effect("include_obfuscation");
                    options.flag("include_usage")
                })
                .unwrap_or(false);
        }
        for name in ["user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"] {
            fields.without_effect(name);
        }
        fields.only("store", &[json!(false)], "is refused: nothing is stored");
        fields.only("service_tier", &[json!("auto"), json!("default")], "must be \"auto\" or \"default\"");
        Self { sampling, each, stop, bias, form, stream, usage }
    }

    fn ask(
        self,
        shape: Shape,
        model: Arc<Model>,
        prompts: Vec<Prompt>,
        most: Option<usize>,
        top: Option<usize>,
    ) -> Ask {
        let mut requests = Vec::with_capacity(prompts.len() * self.each);
        for prompt in prompts {
            for choice in 0..self.each as u64 {
                let mut sampling = self.sampling.clone();
                if choice > 0 {
                    sampling.seed = Seed::new(sampling.seed).derive("choice").at(choice).bits();
                }
                requests.push(GenerateRequest {
                    prompt: prompt.clone(),
                    max_tokens: most,
                    stop: self.stop.clone(),
                    sampling,
                    top_logprobs: top.unwrap_or(0),
                });
            }
        }
        let Self { each, bias, form, stream, usage, .. } = self;
        Ask { shape, model, requests, each, bias, form, logprobs: top.is_some(), stream, usage }
    }
}

/// The model that a request names.
pub(crate) fn find_model(fields: &mut Fields, server: &Server) -> Result<Arc<Model>, Failure> {
    let known = || server.models.iter().map(|model| model.served.name.as_str());
    let Some(name) = fields.text("model") else {
        let names: Vec<String> = known().map(|name| format!("`{name}`")).collect();
        return Err(Failure::request(format!("`model` must name one of {}", names.join(", "))).param("model"));
    };
    server.model(&name).ok_or_else(|| {
        let near = near_miss(&name, known()).map_or_else(
            || format!("there are {}", known().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Failure::refused(StatusCode::NOT_FOUND, format!("no model is called `{name}`; {near}"))
            .param("model")
            .code("model_not_found")
    })
}

fn seed(fields: &mut Fields) -> Option<u64> {
    let value = fields.take("seed")?;
    let seed = value.as_u64().or_else(|| value.as_i64().map(|seed| seed as u64));
    if seed.is_none() {
        fields.fault("seed", "must be a whole number of at most 64 bits");
    }
    seed
}

fn bias(fields: &mut Fields, model: &Model) -> Vec<(TokenId, f32)> {
    let ids = model.served.tokenize.vocabulary_size();
    let Some(value) = fields.take("logit_bias") else { return Vec::new() };
    let read = || -> Option<Vec<(TokenId, f32)>> {
        let entry = |(id, bias): (&String, &Value)| {
            let id = id.parse::<TokenId>().ok().filter(|id| (*id as usize) < ids)?;
            let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias))?;
            Some((id, bias as f32))
        };
        value.as_object()?.iter().map(entry).collect()
    };
    let bias = read();
    if bias.is_none() {
        fields.fault("logit_bias", format!("must give token ids below {ids} a number from -100 to 100 each"));
    }
    bias.unwrap_or_default()
}

/// What `response_format` asks for.
fn form(fields: &mut Fields, value: Value) -> Option<Form> {
    fields
        .inside("response_format", value, |fields| match fields.text("type").as_deref() {
            Some("text") => None,
            Some("json_object") => Some(Form::JsonSchema(json!({ "type": "object" }))),
            Some("json_schema") => {
                let value = fields.required("json_schema")?;
                fields.inside("json_schema", value, schema).flatten().map(Form::JsonSchema)
            }
            Some("regex") => fields.required_text("pattern").map(Form::Regex),
            _ => {
                fields.fault("type", "must be text, json_object, json_schema or regex");
                None
            }
        })
        .flatten()
}

/// The schema of a `json_schema`. Replies are always held to it, `strict` or not.
fn schema(fields: &mut Fields) -> Option<Value> {
    for name in ["name", "description", "strict"] {
        fields.without_effect(name);
    }
    let schema = fields.required("schema")?;
    if !schema.is_object() {
        fields.fault("schema", "must be an object");
    }
    Some(schema)
}

fn conversation(value: Value, fields: &mut Fields) -> Conversation {
    let Value::Array(items) = value else {
        fields.fault("messages", "must be a list");
        return Conversation::default();
    };
    if items.is_empty() {
        fields.fault("messages", "must have at least one message");
    }
    let messages = items
        .into_iter()
        .enumerate()
        .filter_map(|(number, item)| fields.inside(&format!("messages[{number}]"), item, message).flatten())
        .collect();
    Conversation { messages }
}

fn message(fields: &mut Fields) -> Option<Message> {
    let role = match fields.required_text("role").as_deref() {
        Some("system" | "developer") => Some(Role::System),
        Some("user") => Some(Role::User),
        Some("assistant") => Some(Role::Assistant),
        Some("tool" | "function") => {
            fields.fault("role", NO_TOOLS);
            None
        }
        Some(_) => {
            fields.fault("role", "must be system, developer, user or assistant");
            None
        }
        None => None,
    };
    fields.only("tool_calls", &[json!([])], NO_TOOLS);
    fields.only("function_call", &[], NO_TOOLS);
    fields.only("tool_call_id", &[], NO_TOOLS);
    fields.only("refusal", &[], "is refused: templates have no place for it");
    fields.only("annotations", &[json!([])], "is refused: templates have no place for it");
    fields.only("audio", &[], "is refused: only text can be read");
    fields.only("name", &[], "is refused: templates have no place for it");
    let content = match fields.required("content")? {
        Value::String(text) => Some(text),
        Value::Array(parts) => parts
            .into_iter()
            .enumerate()
            .map(|(number, part)| fields.inside(&format!("content[{number}]"), part, text_part).flatten())
            .collect(),
        _ => {
            fields.fault("content", "must be a text or a list of parts");
            None
        }
    };
    Some(Message { role: role?, content: content? })
}

fn text_part(fields: &mut Fields) -> Option<String> {
    if fields.text("type").as_deref() != Some("text") {
        fields.fault("type", "must be \"text\": only text can be read");
    }
    fields.required_text("text")
}
