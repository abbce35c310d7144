//! Who may call what, and the count of how it was answered.

use super::failure::Failure;
use crate::Server;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// Stands before every endpoint.
pub(super) async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let endpoint = endpoint(request.uri().path());
    let mut response = match permit(&server, endpoint, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    server.metrics.request(endpoint, response.status().as_u16());
    response
}

/// The name of an endpoint in the metrics.
fn endpoint(path: &str) -> &'static str {
    match path {
        "/" => "page",
        "/health" => "health",
        "/metrics" => "metrics",
        "/v1/chat/completions" => "chat_completions",
        "/v1/completions" => "completions",
        "/v1/embeddings" => "embeddings",
        _ if path.starts_with("/v1/models") => "models",
        _ => "other",
    }
}

fn permit(server: &Server, endpoint: &str, headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // A page of another site that had its name point here would send that name.
    if server.settings.keys.is_empty() && server.address.ip().is_loopback() {
        let host = text(header::HOST).unwrap_or_default();
        if !is_loopback(host) {
            let message = format!("a server on a loopback address without keys does not answer to the host `{host}`");
            return Err(Failure::refused(StatusCode::FORBIDDEN, message));
        }
    }
    // The page is the same for everyone, and whoever watches a server may ask whether it is there.
    if server.settings.keys.is_empty() || matches!(endpoint, "page" | "health") {
        return Ok(());
    }
    let Some(key) = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")) else {
        return Err(Failure::unauthorized("the header `Authorization: Bearer KEY` is missing"));
    };
    // Hashes are compared in constant time.
    let key = blake3::hash(key.trim().as_bytes());
    if server.settings.keys.contains(&key) {
        Ok(())
    } else {
        Err(Failure::unauthorized("the key is none of the server's"))
    }
}

/// Whether a `Host` header names this machine by a name that nobody else can give it.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_told_from_others() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "[::1]", "127.3.2.1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.org", "localhost.example.org", "127.0.0.1.example.org:80", "10.0.0.1", "localhost:x"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
