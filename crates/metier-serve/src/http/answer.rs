//! Events of a job as `OpenAI` writes replies: whole, or piece by piece as server-sent events.

use super::ask::{Ask, Shape};
use super::failure::{Failure, json_response};
use crate::queue::{Event, Work};
use crate::{Model, ReadCalls, Server, unix_seconds};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use metier_core::data::{CallPiece, Form, TokenId};
use metier_core::seam::{Finish, TokenChoice, Tokenize};
use metier_core::seed::Seed;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};

/// A reply in the making.
#[derive(Default)]
struct Choice {
    text: String,
    calls: Vec<Call>,
    tokens: Vec<TokenChoice>,
    /// Tells calls from text, where there may be any.
    reader: Option<ReadCalls>,
    begun: bool,
    finish: Option<Finish>,
    /// Characters of the tokens before, for the older endpoint's offsets.
    offset: usize,
}

/// A call of a function.
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Call {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "type": "function", "function": { "name": self.name, "arguments": self.arguments },
        })
    }
}

impl Choice {
    /// More of the reply, or its end, as the parts that it is made of.
    fn read(&mut self, text: Option<&str>) -> Vec<CallPiece> {
        match (&mut self.reader, text) {
            (Some(read), text) => read(text),
            (None, Some(text)) => vec![CallPiece::Text(text.to_owned())],
            (None, None) => Vec::new(),
        }
    }

    /// How likely its tokens were on average.
    fn mean_logprob(&self) -> f64 {
        let sum: f64 = self.tokens.iter().map(|token| f64::from(token.logprob)).sum();
        sum / self.tokens.len().max(1) as f64
    }
}

/// All replies of a request.
struct Answer {
    shape: Shape,
    model: Arc<Model>,
    id: String,
    /// Decides the names of calls.
    seed: Seed,
    calls: u64,
    created: u64,
    logprobs: bool,
    each: usize,
    returned: usize,
    echo: Vec<String>,
    truncated: Option<Value>,
    stream: bool,
    usage: bool,
    choices: Vec<Choice>,
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
    drafted_tokens: usize,
    accepted_tokens: usize,
    events: UnboundedReceiver<Event>,
    limit: Duration,
    deadline: Instant,
}

/// Puts a request in its model's queue and answers with what comes out.
pub(crate) async fn answer(ask: Ask, server: &Server) -> Response {
    let calls = matches!(ask.form, Some(Form::Calls(_)));
    let reader = || ask.model.served.calls.as_ref().filter(|_| calls).map(|read| read());
    let choices = ask.requests.iter().map(|_| Choice { reader: reader(), ..Choice::default() }).collect();
    let work = Work::Replies { requests: ask.requests, bias: ask.bias, form: ask.form };
    let events = match ask.model.queue.push(work) {
        Ok(events) => events,
        Err(full) => return Failure::full(full.waiting, full.seconds).into_response(),
    };
    let prefix = if ask.shape == Shape::Chat { "chatcmpl" } else { "cmpl" };
    let id = server.next_id(prefix);
    let answer = Answer {
        shape: ask.shape,
        seed: server.seed.derive(&id),
        id,
        calls: 0,
        created: unix_seconds(),
        logprobs: ask.logprobs,
        each: ask.each,
        returned: ask.returned,
        echo: ask.echo,
        truncated: ask.truncated,
        stream: ask.stream,
        usage: ask.usage,
        choices,
        prompt_tokens: 0,
        cached_tokens: 0,
        completion_tokens: 0,
        drafted_tokens: 0,
        accepted_tokens: 0,
        model: ask.model,
        events,
        limit: server.settings.timeout,
        deadline: Instant::now() + server.settings.timeout,
    };
    let answered = if answer.stream { answer.streamed().await } else { answer.whole().await };
    answered.unwrap_or_else(IntoResponse::into_response)
}

impl Answer {
    /// The next event; `None` after the last.
    async fn next(&mut self) -> Result<Option<Event>, Failure> {
        match timeout_at(self.deadline, self.events.recv()).await {
            Err(_) => Err(Failure::too_slow(self.limit.as_secs())),
            Ok(Some(Event::Failed(error))) => Err(Failure::of(&error)),
            Ok(None) if self.choices.iter().any(|choice| choice.finish.is_none()) => {
                Err(Failure::program("the model stopped in the middle of a reply"))
            }
            Ok(event) => Ok(event),
        }
    }

    async fn whole(mut self) -> Result<Response, Failure> {
        while let Some(event) = self.next().await? {
            match event {
                Event::Delta { choice, text, tokens } => {
                    let pieces = self.choices[choice].read(Some(&text));
                    self.keep(choice, pieces);
                    self.choices[choice].tokens.extend(tokens);
                }
                other => {
                    if let Event::Finished { choice, .. } = other {
                        let pieces = self.choices[choice].read(None);
                        self.keep(choice, pieces);
                    }
                    self.finished(&other);
                }
            }
        }
        let mut choices = Vec::new();
        for (index, number) in self.best().into_iter().enumerate() {
            let choice = &mut self.choices[number];
            let (text, tokens) = (std::mem::take(&mut choice.text), std::mem::take(&mut choice.tokens));
            let calls: Vec<Value> = choice.calls.iter().map(Call::json).collect();
            let mut object = match self.shape {
                Shape::Chat if calls.is_empty() => {
                    json!({ "message": { "role": "assistant", "content": text, "refusal": null } })
                }
                Shape::Chat => {
                    let content = if text.is_empty() { Value::Null } else { json!(text) };
                    json!({ "message": { "role": "assistant", "content": content, "refusal": null, "tool_calls": calls } })
                }
                Shape::Text => {
                    let echo = self.echo.get(number / self.each).map_or("", String::as_str);
                    json!({ "text": format!("{echo}{text}") })
                }
            };
            object["index"] = json!(index);
            object["logprobs"] = self.logprobs(number, &tokens)?;
            object["finish_reason"] = finish_reason(&self.choices[number]);
            choices.push(object);
        }
        let mut reply = self.head(&choices);
        reply["usage"] = self.usage();
        Ok(json_response(StatusCode::OK, &reply))
    }

    /// The choices to return: of each prompt the likeliest, in the order in which they were made.
    fn best(&self) -> Vec<usize> {
        let mut best = Vec::new();
        for first in (0..self.choices.len()).step_by(self.each) {
            let mut numbers: Vec<usize> = (first..first + self.each).collect();
            let mean = |number: &usize| self.choices[*number].mean_logprob();
            numbers.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
            numbers.truncate(self.returned);
            numbers.sort_unstable();
            best.extend(numbers);
        }
        best
    }

    /// Adds parts of a reply to what it has.
    fn keep(&mut self, number: usize, pieces: Vec<CallPiece>) {
        for piece in pieces {
            match piece {
                CallPiece::Text(text) => self.choices[number].text.push_str(&text),
                CallPiece::Begin(name) => self.call(number, name),
                CallPiece::Arguments(text) => {
                    if let Some(call) = self.choices[number].calls.last_mut() {
                        call.arguments.push_str(&text);
                    }
                }
            }
        }
    }

    /// A call begins. Some templates take only names of nine letters and digits.
    fn call(&mut self, number: usize, name: String) {
        let mut bits = self.seed.at(self.calls).bits();
        self.calls += 1;
        let mut digit = || {
            let digit = (bits % 36) as u32;
            bits /= 36;
            char::from_digit(digit, 36).unwrap_or('0')
        };
        let id = (0..9).map(|_| digit()).collect();
        self.choices[number].calls.push(Call { id, name, arguments: String::new() });
    }

    async fn streamed(mut self) -> Result<Response, Failure> {
        // The first event decides the status: after it, a failure can only be told inside the stream.
        let first = self.next().await?;
        let frames = stream::unfold(Some((self, first)), |state| async {
            let (mut answer, event) = state?;
            let (frame, more) = match answer.frame(event) {
                Ok(frame) => (frame, true),
                Err(failure) => (sse(&failure.json()), false),
            };
            if !more || frame.ends_with(DONE) {
                return Some((Ok::<_, Infallible>(frame), None));
            }
            match answer.next().await {
                Ok(event) => Some((Ok(frame), Some((answer, event)))),
                Err(failure) => Some((Ok(frame + &sse(&failure.json())), None)),
            }
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        Ok((headers, Body::from_stream(frames)).into_response())
    }

    /// What a stream says of an event.
    fn frame(&mut self, event: Option<Event>) -> Result<String, Failure> {
        let mut frame = String::new();
        match event {
            Some(Event::Delta { choice, text, tokens }) => {
                frame += &self.begin(choice);
                self.choices[choice].tokens.extend(tokens);
                let pieces = self.choices[choice].read(Some(&text));
                frame += &self.chunks(choice, pieces)?;
            }
            Some(event) => {
                if let Event::Finished { choice, .. } = event {
                    frame += &self.begin(choice);
                    let pieces = self.choices[choice].read(None);
                    frame += &self.chunks(choice, pieces)?;
                }
                self.finished(&event);
                if let Event::Finished { choice, .. } = event {
                    let mut object = match self.shape {
                        Shape::Chat => json!({ "delta": {} }),
                        Shape::Text => json!({ "text": "" }),
                    };
                    object["logprobs"] = self.logprobs_left(choice)?;
                    let finish = finish_reason(&self.choices[choice]);
                    frame += &self.chunk(choice, object, finish);
                }
            }
            None => {
                if self.usage {
                    let mut last = self.head(&[]);
                    last["usage"] = self.usage();
                    frame += &sse(&last);
                }
                frame += DONE;
            }
        }
        Ok(frame)
    }

    /// The first chunk of a chat reply names the role; that of a text may repeat the prompt.
    fn begin(&mut self, number: usize) -> String {
        if std::mem::replace(&mut self.choices[number].begun, true) {
            return String::new();
        }
        let object = match (self.shape, self.echo.get(number / self.each)) {
            // Whether there will be text beside calls is not known yet.
            (Shape::Chat, _) if self.choices[number].reader.is_some() => {
                json!({ "delta": { "role": "assistant" }, "logprobs": null })
            }
            (Shape::Chat, _) => json!({ "delta": { "role": "assistant", "content": "" }, "logprobs": null }),
            (Shape::Text, Some(echo)) => json!({ "text": echo, "logprobs": null }),
            (Shape::Text, None) => return String::new(),
        };
        self.chunk(number, object, Value::Null)
    }

    /// Chunks of the parts of a reply; the first has the log-probabilities of all tokens so far.
    fn chunks(&mut self, number: usize, pieces: Vec<CallPiece>) -> Result<String, Failure> {
        let mut frame = String::new();
        for piece in pieces {
            let call = |index: usize, call: Value| {
                let mut call = call;
                call["index"] = json!(index);
                json!({ "delta": { "tool_calls": [call] } })
            };
            let mut object = match piece {
                CallPiece::Text(text) if self.shape == Shape::Text => json!({ "text": text }),
                CallPiece::Text(text) => json!({ "delta": { "content": text } }),
                CallPiece::Begin(name) => {
                    self.call(number, name);
                    let calls = &self.choices[number].calls;
                    call(calls.len() - 1, calls[calls.len() - 1].json())
                }
                CallPiece::Arguments(text) => {
                    let index = self.choices[number].calls.len().saturating_sub(1);
                    call(index, json!({ "function": { "arguments": text } }))
                }
            };
            object["logprobs"] = self.logprobs_left(number)?;
            frame += &self.chunk(number, object, Value::Null);
        }
        Ok(frame)
    }

    /// The log-probabilities of tokens that no chunk had yet.
    fn logprobs_left(&mut self, number: usize) -> Result<Value, Failure> {
        let tokens = std::mem::take(&mut self.choices[number].tokens);
        if tokens.is_empty() { Ok(Value::Null) } else { self.logprobs(number, &tokens) }
    }

    fn chunk(&self, number: usize, mut object: Value, finish: Value) -> String {
        object["index"] = json!(number);
        object["finish_reason"] = finish;
        let mut chunk = self.head(&[object]);
        if self.usage {
            chunk["usage"] = Value::Null;
        }
        sse(&chunk)
    }

    fn head(&self, choices: &[Value]) -> Value {
        let object = match (self.shape, self.stream) {
            (Shape::Chat, false) => "chat.completion",
            (Shape::Chat, true) => "chat.completion.chunk",
            (Shape::Text, _) => "text_completion",
        };
        let mut head = json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model.served.name,
            "choices": choices,
        });
        if let Some(truncated) = &self.truncated {
            head["truncated"] = truncated.clone();
        }
        head
    }

    /// Notes the end of a reply. The tokens of a prompt count once, however many replies it has.
    fn finished(&mut self, event: &Event) {
        let Event::Finished { choice, finish, prompt_tokens, cached_tokens, tokens, drafted_tokens, accepted_tokens } =
            *event
        else {
            return;
        };
        self.choices[choice].finish = Some(finish);
        self.completion_tokens += tokens;
        self.drafted_tokens += drafted_tokens;
        self.accepted_tokens += accepted_tokens;
        if choice.is_multiple_of(self.each) {
            self.prompt_tokens += prompt_tokens;
            self.cached_tokens += cached_tokens;
        }
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": { "cached_tokens": self.cached_tokens },
            "completion_tokens_details": {
                "accepted_prediction_tokens": self.accepted_tokens,
                "rejected_prediction_tokens": self.drafted_tokens - self.accepted_tokens,
            },
        })
    }

    /// The log-probabilities of a choice's next tokens in the form of the endpoint.
    fn logprobs(&mut self, number: usize, tokens: &[TokenChoice]) -> Result<Value, Failure> {
        if !self.logprobs {
            return Ok(Value::Null);
        }
        let tokenize = &self.model.served.tokenize;
        if self.shape == Shape::Chat {
            let content: Vec<Value> = tokens
                .iter()
                .map(|token| {
                    let top: Vec<Value> =
                        token.top.iter().map(|(id, logprob)| entry(tokenize, *id, *logprob)).collect();
                    let mut entry = entry(tokenize, token.id, token.logprob);
                    entry["top_logprobs"] = json!(top);
                    entry
                })
                .collect();
            return Ok(json!({ "content": content, "refusal": null }));
        }
        let choice = &mut self.choices[number];
        let mut offsets = Vec::with_capacity(tokens.len());
        let mut top = Vec::with_capacity(tokens.len());
        for token in tokens {
            offsets.push(choice.offset);
            let visible = tokenize.visible_bytes(token.id).map_err(|error| Failure::of(&error))?;
            choice.offset += visible.iter().filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count();
            let likeliest: Map<String, Value> =
                token.top.iter().map(|(id, logprob)| (text(tokenize, *id), number_of(*logprob))).collect();
            top.push(likeliest);
        }
        let texts: Vec<String> = tokens.iter().map(|token| text(tokenize, token.id)).collect();
        let logprobs: Vec<Value> = tokens.iter().map(|token| number_of(token.logprob)).collect();
        Ok(json!({ "tokens": texts, "token_logprobs": logprobs, "top_logprobs": top, "text_offset": offsets }))
    }
}

/// What ends a stream.
const DONE: &str = "data: [DONE]\n\n";

fn sse(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn finish_reason(choice: &Choice) -> Value {
    match choice.finish {
        Some(Finish::Stop) if !choice.calls.is_empty() => json!("tool_calls"),
        Some(Finish::Stop) => json!("stop"),
        Some(Finish::Length) => json!("length"),
        Some(Finish::Cancelled) | None => Value::Null,
    }
}

fn bytes(tokenize: &Arc<dyn Tokenize>, id: TokenId) -> Vec<u8> {
    tokenize.bytes_of(id).unwrap_or_default()
}

fn text(tokenize: &Arc<dyn Tokenize>, id: TokenId) -> String {
    String::from_utf8_lossy(&bytes(tokenize, id)).into_owned()
}

fn entry(tokenize: &Arc<dyn Tokenize>, id: TokenId, logprob: f32) -> Value {
    json!({ "token": text(tokenize, id), "logprob": number_of(logprob), "bytes": bytes(tokenize, id) })
}

/// JSON has no infinity; this is the number that `OpenAI` writes in its place.
fn number_of(logprob: f32) -> Value {
    if logprob.is_finite() { json!(logprob) } else { json!(-9999.0) }
}
