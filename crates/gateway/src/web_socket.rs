//! The WebSocket: not signed, but opened by the access token and the session id of a tickle (protocol section 8).

use std::fmt;
use std::time::SystemTime;

use http::header::COOKIE;
use http::{HeaderValue, Method, Request};
use serde_json::{Map, Value, json};

use crate::brokerage::Standing;
use crate::gateway::admit;
use crate::percent_encoding::form_pairs;
use crate::rejection::Rejection;
use crate::time::UnixTime;
use crate::{Gateway, api};

/// An open WebSocket, as the gateway sees it. It lasts as long as the carrier keeps it; whose it is, is looked up with
/// each message, so that it knows nobody any more once the login has ended.
///
/// `Debug` shows neither the token nor the session id.
#[derive(Clone)]
pub struct WebSocket {
    access_token: String,
    /// None while the client has yet to send it.
    session_id: Option<String>,
}

impl Gateway {
    /// Decides on a WebSocket upgrade: the open WebSocket and the first messages for the client, or the rejection to
    /// send. The handshake itself (`Sec-WebSocket-Key` and the like) is the carrier's.
    ///
    /// The query must name an access token with a login that stands. The cookie `api` is the session id of a tickle; a
    /// client without it is asked for it in a message.
    ///
    /// # Errors
    /// A response like those of [`Gateway::handle`].
    #[expect(clippy::result_large_err, reason = "a rejection is a response, and moved once")]
    pub fn open_web_socket<B: AsRef<[u8]>>(
        &mut self,
        upgrade: &Request<B>,
        now: SystemTime,
    ) -> Result<(WebSocket, Vec<String>), http::Response<Vec<u8>>> {
        let now = self.catch_up(now);
        self.admit_web_socket(upgrade, now).map_err(|rejection| self.reject(rejection, now))
    }

    /// Takes a message, and gives the client's answers: to `{"session":"ID"}` for a WebSocket that waits for it, to
    /// `tic`, and to `smd+CONID+{"fields":[...]}` with one tick. Whatever else there is at IBKR remains unanswered.
    pub fn handle_message(&mut self, web_socket: &mut WebSocket, message: &str, now: SystemTime) -> Vec<String> {
        let now = self.catch_up(now);
        if let Some(session_id) = session_id_in(message) {
            let logged_in = WebSocket { session_id: Some(session_id), ..web_socket.clone() };
            if let Some(user) = self.user_of(&logged_in, now) {
                let greeting = [self.standing_message(user, &logged_in), system_message(user)];
                *web_socket = logged_in;
                return greeting.into();
            }
        }
        let Some(user) = self.user_of(web_socket, now) else {
            return [waiting_message()].into();
        };
        if message == "tic" {
            return [message.to_string()].into();
        }
        let Some((conid, fields)) = market_data_request(message) else {
            return Vec::new();
        };
        if self.standing(user, web_socket) != Standing::Ready {
            return [self.standing_message(user, web_socket)].into();
        }
        let mut tick = api::quote(conid, &fields, self.schedule.now());
        tick.insert("topic".into(), format!("smd+{conid}").into());
        [Value::from(tick).to_string()].into()
    }

    fn admit_web_socket<B: AsRef<[u8]>>(
        &self,
        upgrade: &Request<B>,
        now: UnixTime,
    ) -> Result<(WebSocket, Vec<String>), Rejection> {
        admit(upgrade)?;
        self.schedule.admit()?;
        let target = self.base_url.resolve(upgrade.uri()).filter(|target| target.endpoint == "/ws");
        let target = target.filter(|_| upgrade.method() == Method::GET).ok_or(Rejection::NotFound)?;
        let web_socket = WebSocket {
            access_token: access_token(target.query).ok_or(Rejection::Unauthorized("the query has no oauth_token"))?,
            session_id: upgrade.headers().get(COOKIE).and_then(session_cookie),
        };
        let access = self.registry.access_token(&web_socket.access_token);
        if access.is_none_or(|access| access.live_sessions(now).next().is_none()) {
            return Err(Rejection::Unauthorized("oauth_token is no access token with a login that stands"));
        }
        self.schedule.admit_to_api()?;
        if web_socket.session_id.is_none() {
            return Ok((web_socket, [waiting_message()].into()));
        }
        let user = self.user_of(&web_socket, now);
        let user = user.ok_or(Rejection::Unauthorized("the cookie is no session id of this access token"))?;
        let greeting = [system_message(user), self.standing_message(user, &web_socket)];
        Ok((web_socket, greeting.into()))
    }

    /// Whose login the session id belongs to, if it stands.
    fn user_of(&self, web_socket: &WebSocket, now: UnixTime) -> Option<&str> {
        let access = self.registry.access_token(&web_socket.access_token)?;
        let session_id = web_socket.session_id.as_ref()?;
        access.live_sessions(now).find(|session| session.cookie == *session_id)?;
        Some(&access.user)
    }

    fn standing(&self, user: &str, web_socket: &WebSocket) -> Standing {
        self.brokerage.standing(user, &web_socket.access_token, self.schedule.now())
    }

    /// Token, brokerage session and WebSocket are three things: this one speaks of the second.
    fn standing_message(&self, user: &str, web_socket: &WebSocket) -> String {
        let is_ready = self.standing(user, web_socket) == Standing::Ready;
        json!({ "topic": "sts", "args": { "authenticated": is_ready } }).to_string()
    }
}

fn system_message(user: &str) -> String {
    json!({ "topic": "system", "success": user }).to_string()
}

fn waiting_message() -> String {
    json!({ "message": "waiting for session" }).to_string()
}

fn access_token(query: &str) -> Option<String> {
    let (_, token) = form_pairs(query.as_bytes())?.into_iter().find(|(name, _)| name == b"oauth_token")?;
    String::from_utf8(token).ok()
}

/// The bare session id; the JSON that one of IBKR's samples has for a value is rejected (protocol section 8).
fn session_cookie(header: &HeaderValue) -> Option<String> {
    let mut cookies = std::str::from_utf8(header.as_bytes()).ok()?.split(';').map(str::trim);
    cookies.find_map(|cookie| cookie.strip_prefix("api=")).map(str::to_string)
}

fn session_id_in(message: &str) -> Option<String> {
    let session_id = serde_json::from_str::<Map<String, Value>>(message).ok()?.remove("session")?;
    session_id.as_str().map(str::to_string)
}

/// The contract's number and the fields, in the form that a snapshot has them.
fn market_data_request(message: &str) -> Option<(u32, String)> {
    let (conid, arguments) = message.strip_prefix("smd+")?.split_once('+')?;
    let arguments: Map<String, Value> = serde_json::from_str(arguments).ok()?;
    let fields: Vec<_> = arguments.get("fields")?.as_array()?.iter().filter_map(Value::as_str).collect();
    Some((conid.parse().ok()?, fields.join(",")))
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("is_waiting", &self.session_id.is_none()).finish_non_exhaustive()
    }
}
