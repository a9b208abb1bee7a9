//! The status of the brokerage session in the responses of its endpoints ([protocol section 8](crate::protocol#section-8)).
//! Every field may be missing.

use crate::credentials::token::Token;
use crate::error::Error;
use crate::wire::response::{Object, Response};

/// What init, status and tickle say about the brokerage session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthStatus {
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
    /// Missing in some responses.
    pub(super) status: Option<AuthStatus>,
}

/// Whether `/iserver/accounts` lists an account: only then is `/iserver` usable
/// ([protocol section 14.4](crate::protocol#section-14-4)).
pub(super) fn has_accounts(response: &Response<'_>) -> Result<bool, Error> {
    Ok(response.object()?.has_elements("accounts"))
}

pub(super) fn tickle(response: &Response<'_>) -> Result<Tickle, Error> {
    let fields = response.object()?;
    let session_id = fields.text("session").ok();
    let auth_status = fields.object("iserver").and_then(|iserver| iserver.object("authStatus"));
    let status = auth_status.as_ref().map(AuthStatus::of);
    Ok(Tickle { session_id: session_id.as_deref().and_then(cookie_value), status })
}

/// Whether a WebSocket message says that there is no brokerage session:
/// `{"topic":"sts","args":{"authenticated":false}}` ([protocol section 8](crate::protocol#section-8)).
pub(crate) fn says_not_authenticated(message: &str) -> bool {
    let Ok(message) = Object::parse(message.as_bytes()) else { return false };
    let authenticated = message.object("args").and_then(|args| args.boolean("authenticated"));
    message.text("topic").as_deref() == Ok("sts") && authenticated == Some(false)
}

/// A semicolon would end the cookie.
fn cookie_value(id: &str) -> Option<Token> {
    Token::new(id).ok().filter(|id| !id.as_str().contains(';'))
}

impl AuthStatus {
    /// Reads the response to init and to status.
    pub(super) fn read(response: &Response<'_>) -> Result<Self, Error> {
        Ok(Self::of(&response.object()?))
    }

    /// Where `established` is missing, as in older responses, `connected` speaks for it.
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
