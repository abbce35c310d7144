//! Vectors of texts.

use super::ask::find_model;
use super::failure::{Failure, json_response};
use super::fields::Fields;
use crate::Server;
use crate::queue::{Event, Work};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Texts that one request may have.
const MOST_TEXTS: usize = 2048;

/// Answers `/v1/embeddings`.
pub(super) async fn answer(body: &[u8], server: &Server) -> Result<Response, Failure> {
    let mut fields = Fields::parse(body)?;
    let model = find_model(&mut fields, server);
    let served = model.as_ref().map(|model| &model.served);
    if let Some(served) = served.filter(|served| served.embed.is_none()) {
        let message = format!("names `{}`, which gives no vectors: it has no way to embed a text", served.name);
        fields.fault("model", message);
    }
    let texts = fields.texts("input", MOST_TEXTS);
    match &texts {
        None => fields.fault("input", "is needed"),
        Some(texts) if texts.is_empty() => fields.fault("input", "must have at least one text"),
        Some(_) => {}
    }
    let format = fields.text("encoding_format").unwrap_or_else(|| "float".to_owned());
    if !["float", "base64"].contains(&format.as_str()) {
        fields.fault("encoding_format", "must be \"float\" or \"base64\"");
    }
    let wanted = fields.whole("dimensions", 1..=usize::MAX);
    if let (Some(wanted), Some(embed)) = (wanted, served.and_then(|served| served.embed.as_ref())) {
        let dimension = embed.dimension();
        if wanted != dimension {
            fields.fault("dimensions", format!("must be {dimension}, which this model's vectors have"));
        }
    }
    fields.without_effect("user");
    let model = fields.finish(model)?;
    let mut events = model
        .queue
        .push(Work::Vectors(texts.unwrap_or_default()))
        .map_err(|full| Failure::full(full.waiting, full.seconds))?;
    let event = tokio::time::timeout(server.settings.timeout, events.recv())
        .await
        .map_err(|_| Failure::too_slow(server.settings.timeout.as_secs()))?;
    let vectors = match event {
        Some(Event::Vectors(vectors)) => vectors,
        Some(Event::Failed(error)) => return Err(Failure::of(&error)),
        _ => return Err(Failure::program("the model gave no vectors")),
    };
    let tokens: usize = vectors.iter().map(|embedded| embedded.tokens).sum();
    let data: Vec<Value> = (0..)
        .zip(&vectors)
        .map(|(index, embedded)| {
            let vector = if format == "base64" { base64(&embedded.vector) } else { json!(embedded.vector) };
            json!({ "object": "embedding", "index": index, "embedding": vector })
        })
        .collect();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    let reply = json!({ "object": "list", "data": data, "model": model.served.name, "usage": usage });
    Ok(json_response(StatusCode::OK, &reply))
}

/// The numbers as little-endian bytes in base 64.
fn base64(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    json!(STANDARD.encode(bytes))
}
