//! The endpoints: which there are, who may call them, and how a body is read.

mod accept;
mod answer;
mod ask;
mod embeddings;
mod failure;
mod fields;
mod guard;
mod messages;
mod metrics;
mod truncate;
mod write;

pub(crate) use accept::accept;
pub(crate) use metrics::Metrics;

use crate::{Server, page};
use ask::Ask;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use failure::{Failure, json_response};
use futures_util::StreamExt as _;
use metier_core::seam::Ability;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// All endpoints.
pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(|| async { page::response() }))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(text))
        .route("/v1/embeddings", post(embeddings))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&server), guard::guard))
        .with_state(server)
}

async fn chat(State(server): State<Arc<Server>>, request: Request) -> Response {
    replies(&server, request, Ask::chat).await
}

async fn text(State(server): State<Arc<Server>>, request: Request) -> Response {
    replies(&server, request, Ask::text).await
}

async fn replies(server: &Server, request: Request, read: fn(&[u8], &Server) -> Result<Ask, Failure>) -> Response {
    let ask = match body(server, request).await.and_then(|body| read(&body, server)) {
        Ok(ask) if ask.truncate => truncate::truncate(ask).await,
        other => other,
    };
    match ask {
        Ok(ask) => answer::answer(ask, server).await,
        Err(failure) => failure.into_response(),
    }
}

async fn embeddings(State(server): State<Arc<Server>>, request: Request) -> Response {
    let answered = match body(&server, request).await {
        Ok(body) => embeddings::answer(&body, &server).await,
        Err(failure) => Err(failure),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

async fn health(State(server): State<Arc<Server>>) -> Response {
    let models: Vec<&str> = server.models.iter().map(|model| model.served.name.as_str()).collect();
    json_response(StatusCode::OK, &json!({ "status": "ok", "models": models }))
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let queues = server.models.iter().map(|model| (model.served.name.as_str(), &model.queue));
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))];
    (kind, server.metrics.text(queues)).into_response()
}

async fn models(State(server): State<Arc<Server>>) -> Response {
    let models: Vec<Value> = server.models.iter().map(|model| describe(&server, model)).collect();
    json_response(StatusCode::OK, &json!({ "object": "list", "data": models }))
}

async fn model(State(server): State<Arc<Server>>, Path(name): Path<String>) -> Response {
    match server.model(&name) {
        Some(model) => json_response(StatusCode::OK, &describe(&server, &model)),
        None => Failure::refused(StatusCode::NOT_FOUND, format!("no model is called `{name}`"))
            .param("model")
            .code("model_not_found")
            .into_response(),
    }
}

fn describe(server: &Server, model: &crate::Model) -> Value {
    let served = &model.served;
    json!({
        "id": served.name, "object": "model", "created": server.started, "owned_by": "metier",
        "context_length": served.context_length,
        "chat": served.generate.can(Ability::Conversation),
        "embeddings": served.embed.is_some(),
        "tools": served.calls.is_some() && served.constrain.is_some(),
        "parent": served.base,
    })
}

async fn unknown_path(request: Request) -> Response {
    let message = format!("there is nothing at {}", request.uri().path());
    Failure::refused(StatusCode::NOT_FOUND, message).into_response()
}

async fn wrong_method(request: Request) -> Response {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    Failure::refused(StatusCode::METHOD_NOT_ALLOWED, message).into_response()
}

/// The bytes of a body of JSON that is not too large and comes in time.
async fn body(server: &Server, request: Request) -> Result<Vec<u8>, Failure> {
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let message = "the header `Content-Type` must be `application/json`";
        return Err(Failure::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    match tokio::time::timeout(BODY_TIME, read(body, server.settings.body_limit)).await {
        Ok(read) => read,
        Err(_) => Err(Failure::refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

/// Reads a body. One over the limit is read a little further without being kept: a client that is still
/// sending does not see an answer.
async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut size = 0_usize;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Failure::request(format!("the body could not be read: {error}")))?;
        size = size.saturating_add(chunk.len());
        if size <= limit {
            bytes.extend_from_slice(&chunk);
        } else if size / 16 > limit {
            break;
        }
    }
    if size > limit {
        let message = format!("the body is larger than the server's limit of {limit} bytes");
        return Err(Failure::refused(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    Ok(bytes)
}
