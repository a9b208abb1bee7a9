//! What the brokerage endpoints answer (protocol section 8). Every field may be missing.

use alloc::string::String;
use serde_json::{Map, Value};

use crate::Response;
use crate::error::Error;
use crate::token::Token;

/// What init, status and tickle say about the brokerage session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// "authenticated and established": orders and market data work.
    Ready,
    /// On its way, or not there.
    NotReady,
    /// Another session of the same user has it.
    Competing,
}

/// What a tickle says.
pub(super) struct Tickle {
    /// What the WebSocket's cookie needs.
    pub(super) session_id: Option<Token>,
    /// Missing in some answers.
    pub(super) standing: Option<Standing>,
}

/// The answer to init and to status.
pub(super) fn standing(response: &Response<'_>) -> Result<Standing, Error> {
    Ok(Standing::of(&response.object()?))
}

pub(super) fn tickle(response: &Response<'_>) -> Result<Tickle, Error> {
    let answer = response.object()?;
    let session_id = answer.get("session").and_then(Value::as_str);
    let status = answer.get("iserver").and_then(|iserver| iserver.get("authStatus")).and_then(Value::as_object);
    Ok(Tickle { session_id: session_id.and_then(cookie_value), standing: status.map(Standing::of) })
}

/// A semicolon would end the cookie.
fn cookie_value(id: &str) -> Option<Token> {
    Token::new(id).ok().filter(|id| !id.as_str().contains(';'))
}

impl Standing {
    /// Where `established` is missing, as in older answers, `connected` speaks for it.
    fn of(status: &Map<String, Value>) -> Self {
        let field = |name: &str| status.get(name).and_then(Value::as_bool);
        let established = field("established").or_else(|| field("connected")).unwrap_or(true);
        if field("competing") == Some(true) {
            Self::Competing
        } else if field("authenticated") == Some(true) && established {
            Self::Ready
        } else {
            Self::NotReady
        }
    }
}
