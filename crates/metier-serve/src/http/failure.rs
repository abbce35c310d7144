//! What a request is answered that cannot be: `OpenAI`'s error object, with the status that belongs to it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use metier_core::seam::CONTEXT;
use metier_core::{Blame, Error, stop};
use serde_json::{Value, json};

/// A request that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after: Option<u64>,
}

impl Failure {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None, code: None, retry_after: None }
    }

    /// The request is wrong.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// The request is wrong in a way that has a status of its own.
    pub(crate) fn refused(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message)
    }

    /// The key is missing or none of the server's.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message).code("invalid_api_key")
    }

    /// As many requests wait as may; `seconds` is a guess when there will be room.
    pub(crate) fn full(waiting: usize, seconds: u64) -> Self {
        let message =
            format!("{waiting} requests wait for this model already, as many as may; try again in {seconds} s");
        let failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message).code("queue_full");
        Self { retry_after: Some(seconds), ..failure }
    }

    /// The request took longer than one may.
    pub(crate) fn too_slow(seconds: u64) -> Self {
        let message = format!("the request took longer than the server's limit of {seconds} s and was stopped");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", message).code("timeout")
    }

    /// A broken promise of ours.
    pub(crate) fn program(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    #[must_use]
    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    #[must_use]
    pub(crate) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// What the model said. A fault that names part of a request is the request's; any other is the server's.
    pub(crate) fn of(error: &Error) -> Self {
        let message = error.to_string();
        if stop::is_interruption(error) {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the server stops").code("stopping");
        }
        let key = error.faults.iter().find_map(|fault| fault.place.key.as_deref());
        match key {
            Some(CONTEXT) => Self::request(message).code("context_length_exceeded"),
            Some("memory") => Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message),
            Some(key) if error.blame == Blame::User => Self::request(message).param(key),
            _ => Self::program(message),
        }
    }

    /// The object as `OpenAI` writes it.
    pub(crate) fn json(&self) -> Value {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.param, "code": self.code } })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.json());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A response of one JSON value.
pub(crate) fn json_response(status: StatusCode, value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, kind, value.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::{Fault, Place};

    #[test]
    fn a_fault_of_the_request_is_told_from_one_of_the_server() {
        let status = |error: &Error| Failure::of(error).status.as_u16();
        let long = Error::user(Place::key(CONTEXT), "too long");
        assert_eq!((status(&long), Failure::of(&long).code), (400, Some("context_length_exceeded")));
        assert_eq!(status(&Fault::new(Place::key("temperature"), "x").into()), 400);
        assert_eq!(status(&Error::user(Place::key("memory"), "none left")), 503);
        assert_eq!(status(&Error::user(Place::default(), "logits are not numbers")), 500);
        assert_eq!(status(&Error::program("x")), 500);
        assert_eq!(status(&stop::interrupted()), 503);
    }
}
