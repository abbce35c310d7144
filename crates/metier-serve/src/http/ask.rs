//! What a request asks of a model, read out of its body.

use super::failure::Failure;
use super::fields::Fields;
use super::messages::{call_form, conversation, tools};
use crate::{Model, Server};
use metier_core::data::{Form, TokenId};
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
const OLD_CALLS: &str = "is refused: `tools` and `tool_choice` took its place";

/// Which of the two endpoints answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Text,
}

/// A request for replies.
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the request")]
pub(crate) struct Ask {
    pub(crate) shape: Shape,
    pub(crate) model: Arc<Model>,
    /// All replies of the first prompt, then those of the second.
    pub(crate) requests: Vec<GenerateRequest>,
    /// Replies that are made of each prompt.
    pub(crate) each: usize,
    /// How many of them are returned, the best.
    pub(crate) returned: usize,
    /// What stands before the replies of each prompt; empty when nothing does.
    pub(crate) echo: Vec<String>,
    /// Whether a prompt that does not fit is cut.
    pub(crate) truncate: bool,
    /// What was cut, for the response to say.
    pub(crate) truncated: Option<Value>,
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
        let model = find_model(&mut fields, server);
        let messages = fields.required("messages").map(|value| conversation(value, &mut fields));
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
        let tools = tools(&mut fields);
        let calls = call_form(&mut fields, &tools);
        fields.only("functions", &[json!([])], OLD_CALLS);
        fields.only("function_call", &[json!("none"), json!("auto")], OLD_CALLS);
        fields.only("modalities", &[json!(["text"])], "must be [\"text\"]: models answer in text alone");
        fields.only("audio", &[], "is refused: models answer in text alone");
        fields.only("prediction", &[], "is refused: predicted outputs are not used");
        fields.only("reasoning_effort", &[json!("none")], "is refused: no model here has a setting for it");
        fields.only("verbosity", &[], "is refused: no model here has a setting for it");
        fields.only("web_search_options", &[], "is refused: nothing is searched");
        let mut rest = Rest::read(&mut fields, model.as_deref(), server);
        if let Some(served) = model.as_ref().map(|model| &model.served) {
            let name = &served.name;
            if !served.generate.can(Ability::Conversation) {
                let message = format!(
                    "names `{name}`, which has no chat template, so it cannot answer a conversation; give it raw text at /v1/completions"
                );
                fields.fault("model", message);
            } else if calls.is_some() && (served.calls.is_none() || served.constrain.is_none()) {
                let message =
                    format!("cannot be used with `{name}`: how its chat template writes calls is not known here");
                fields.fault("tools", message);
            }
        }
        if let Some(calls) = calls {
            if rest.form.is_some() {
                fields.fault("response_format", "cannot be combined with `tools`, unless `tool_choice` is \"none\"");
            }
            rest.form = Some(Form::Calls(calls));
        }
        let model = fields.finish(model)?;
        let mut conversation = messages.unwrap_or_default();
        if matches!(rest.form, Some(Form::Calls(_))) {
            conversation.tools = tools;
        }
        let prompt = Prompt::Conversation(conversation);
        Ok(rest.ask(Shape::Chat, model, vec![prompt], newer.or(older), logprobs.then(|| top.unwrap_or(0))))
    }

    /// The body of a text completion.
    pub(crate) fn text(body: &[u8], server: &Server) -> Result<Self, Failure> {
        let mut fields = Fields::parse(body)?;
        let model = find_model(&mut fields, server);
        let prompts = prompts(&mut fields);
        let top = fields.whole("logprobs", 0..=MOST_TOP);
        let most = fields.whole("max_tokens", 1..=usize::MAX);
        let echo = fields.flag("echo");
        if echo && top.is_some() {
            fields.fault("echo", "cannot be combined with `logprobs`: those of a prompt are not computed");
        }
        fields.only("suffix", &[json!("")], "is refused: nothing is filled in before a suffix");
        let mut rest = Rest::read(&mut fields, model.as_deref(), server);
        if let Some(best_of) = fields.whole("best_of", 1..=MOST_REPLIES) {
            if best_of < rest.each {
                fields.fault("best_of", "must be at least `n`");
            }
            if best_of > rest.each && rest.stream {
                fields.fault("best_of", "must be as `n` in a stream: which replies are best is known at their end");
            }
            rest.each = best_of.max(rest.each);
        }
        if prompts.len() * rest.each > MOST_REPLIES {
            fields.fault("prompt", format!("asks with `n` and `best_of` for more than {MOST_REPLIES} replies"));
        }
        let model = fields.finish(model)?;
        // What the older endpoint gives when it is not told.
        let most = most.or(Some(16));
        let mut texts = Vec::new();
        for prompt in prompts.iter().filter(|_| echo) {
            texts.push(match prompt {
                Prompt::Text(text) => text.clone(),
                Prompt::Tokens(ids) => model.served.tokenize.decode(ids, true).map_err(|error| Failure::of(&error))?,
                Prompt::Conversation(_) => String::new(),
            });
        }
        let mut ask = rest.ask(Shape::Text, model, prompts, most, top);
        ask.echo = texts;
        Ok(ask)
    }
}

/// One prompt or several, each a text or a list of token ids.
fn prompts(fields: &mut Fields) -> Vec<Prompt> {
    const WHAT: &str = "must be a text, a list of texts, a list of token ids, or a list of such lists";
    let ids = |items: &[Value]| -> Option<Vec<TokenId>> {
        items.iter().map(|item| item.as_u64().and_then(|id| TokenId::try_from(id).ok())).collect()
    };
    let Some(value) = fields.required("prompt") else { return Vec::new() };
    let read = || -> Option<Vec<Prompt>> {
        let items = match &value {
            Value::String(text) => return Some(vec![Prompt::Text(text.clone())]),
            Value::Array(items) if !items.is_empty() => items,
            _ => return None,
        };
        if items[0].is_number() {
            return Some(vec![Prompt::Tokens(ids(items)?)]);
        }
        let one = |item: &Value| match item {
            Value::String(text) => Some(Prompt::Text(text.clone())),
            Value::Array(items) => ids(items).map(Prompt::Tokens),
            _ => None,
        };
        items.iter().map(one).collect()
    };
    let prompts = read();
    if prompts.is_none() {
        fields.fault("prompt", WHAT);
    }
    prompts.unwrap_or_default()
}

/// What both endpoints take.
struct Rest {
    sampling: Sampling,
    each: usize,
    returned: usize,
    stop: Vec<String>,
    bias: Vec<(TokenId, f32)>,
    form: Option<Form>,
    stream: bool,
    usage: bool,
    truncate: bool,
}

impl Rest {
    fn read(fields: &mut Fields, model: Option<&Model>, server: &Server) -> Self {
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
        let truncate = fields.choice("truncate").unwrap_or(server.settings.truncate);
        Self { sampling, each, returned: each, stop, bias, form, stream, usage, truncate }
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
        let Self { each, returned, bias, form, stream, usage, truncate, .. } = self;
        Ask {
            shape,
            model,
            requests,
            each,
            returned,
            echo: Vec::new(),
            truncate,
            truncated: None,
            bias,
            form,
            logprobs: top.is_some(),
            stream,
            usage,
        }
    }
}

/// The model that a request names; that there is none is noted.
pub(crate) fn find_model(fields: &mut Fields, server: &Server) -> Option<Arc<Model>> {
    let known = || server.models.iter().map(|model| model.served.name.as_str());
    let names = || known().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let Some(name) = fields.text("model") else {
        fields.fault("model", format!("must name one of {}", names()));
        return None;
    };
    let model = server.model(&name);
    if model.is_none() {
        let near = near_miss(&name, known())
            .map_or_else(|| format!("there are {}", names()), |near| format!("did you mean `{near}`?"));
        fields.not_found("model", "model_not_found", format!("names `{name}`, but no model is called that; {near}"));
    }
    model
}

fn seed(fields: &mut Fields) -> Option<u64> {
    let value = fields.take("seed")?;
    let seed = value.as_u64().or_else(|| value.as_i64().map(|seed| seed as u64));
    if seed.is_none() {
        fields.fault("seed", "must be a whole number of at most 64 bits");
    }
    seed
}

fn bias(fields: &mut Fields, model: Option<&Model>) -> Vec<(TokenId, f32)> {
    let ids = model.map_or(usize::MAX, |model| model.served.tokenize.vocabulary_size());
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
