//! What the brokerage endpoints answer (protocol section 8). Every field may be missing.

use crate::Response;
use crate::error::Error;
use crate::response::Object;
use crate::token::Token;

/// What init, status and tickle say about the brokerage session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// "authenticated and established": orders and market data work, whatever `competing` says.
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

/// Whether `/iserver/accounts` lists an account: only then is `/iserver` usable (protocol section 14.4).
pub(super) fn has_accounts(response: &Response<'_>) -> Result<bool, Error> {
    let answer = response.object()?;
    let accounts = answer.get("accounts").and_then(Value::as_array);
    Ok(accounts.is_some_and(|accounts| !accounts.is_empty()))
}

pub(super) fn tickle(response: &Response<'_>) -> Result<Tickle, Error> {
    let answer = response.object()?;
    let session_id = answer.text("session").ok();
    let status = answer.object("iserver").and_then(|iserver| iserver.object("authStatus"));
    Ok(Tickle { session_id: session_id.as_deref().and_then(cookie_value), standing: status.as_ref().map(Standing::of) })
}

/// A semicolon would end the cookie.
fn cookie_value(id: &str) -> Option<Token> {
    Token::new(id).ok().filter(|id| !id.as_str().contains(';'))
}

impl Standing {
    /// Where `established` is missing, as in older answers, `connected` speaks for it.
    fn of(status: &Object<'_>) -> Self {
        let established = status.boolean("established").or_else(|| status.boolean("connected")).unwrap_or(true);
        if status.boolean("authenticated") == Some(true) && established {
            Self::Ready
        } else if status.boolean("competing") == Some(true) {
            Self::Competing
        } else {
            Self::NotReady
        }
    }
}
