//! The page for what went wrong.

use std::fmt::Display;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ibkr_oauth::Retry;
use maud::html;

use crate::driver::now;
use crate::page;

/// What the browser is told instead of what it asked for. No error of this application holds a secret.
pub struct Failure {
    status: StatusCode,
    message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Display) -> Self {
        Self { status, message: message.to_string() }
    }

    /// Returns what to say of a request that IBKR rejected.
    pub(crate) fn at_ibkr(error: &ibkr_oauth::Error) -> Self {
        let remedy = if error.retry(now()) == Retry::Reauthorize { " Connect again." } else { "" };
        Self::new(StatusCode::BAD_GATEWAY, format!("{error}{remedy}"))
    }

    /// Returns what to say of a request that has no response.
    pub(crate) fn silence() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "IBKR has not answered. Try again in a while.")
    }
}

/// Whatever goes wrong on this machine.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        eprintln!("{error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Something is broken here; the operator knows more.")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let content = html! { p { (self.message) } p { a href="/" { "Back" } } };
        (self.status, page("That did not work", &content)).into_response()
    }
}
