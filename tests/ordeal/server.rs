//! IBKR, as far as a client can see it, without a clock: the newest live session token counts, and the signature of every
//! API request is looked at.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ibkr_oauth::{AccessToken, Consumer, Request, Response, UnixTime};
use rand::rngs::StdRng;

use super::sessions::Honest;
use super::{Agreement, PREPEND, access_token, authorization, consumer, hex, hmac_sha256, parameter};

const READY: &str = r#"{"authenticated":true,"established":true,"competing":false}"#;
const ABSENT: &str = r#"{"authenticated":false,"established":false,"competing":false}"#;
const COMPETING: &str = r#"{"authenticated":false,"established":false,"competing":true}"#;

#[derive(Debug, Default)]
pub struct Server {
    token: Option<Vec<u8>>,
    has_bridge: bool,
    /// Whether another session of the user has the brokerage session.
    pub has_competitor: bool,
    /// What it says of the next live session tokens: the millisecond at which they expire.
    pub expiration: Option<u64>,
}

pub struct Reply {
    pub status: u16,
    pub body: String,
    /// The live session token that it proves.
    pub token: Option<Vec<u8>>,
}

impl Reply {
    fn new(status: u16, body: &str) -> Self {
        Self { status, body: body.to_string(), token: None }
    }
}

impl Server {
    /// The nightly reset: nothing is remembered.
    pub fn reset(&mut self) {
        (self.token, self.has_bridge) = (None, false);
    }

    pub fn answer(&mut self, request: &Request) -> Reply {
        let path = request.path().strip_prefix("/v1/api").unwrap();
        match path {
            "/oauth/request_token" => return Reply::new(200, r#"{"oauth_token":"b908"}"#),
            "/oauth/access_token" => {
                return Reply::new(200, r#"{"oauth_token":"b908","oauth_token_secret":"UExBTlRFRA=="}"#);
            }
            "/oauth/live_session_token" => return self.agree(request),
            _ if !self.honours(request) => return Reply::new(401, r#"{"error":"Unauthorized","statusCode":401}"#),
            _ => {}
        }
        match path {
            "/iserver/auth/ssodh/init" => {
                self.has_competitor &= !request.body().windows(14).any(|part| part == br#""compete":true"#);
                self.has_bridge = !self.has_competitor;
                Reply::new(200, self.standing())
            }
            "/iserver/auth/status" => Reply::new(200, self.standing()),
            "/tickle" => {
                let standing = self.standing();
                Reply::new(200, &format!(r#"{{"session":"cafe01","iserver":{{"authStatus":{standing}}}}}"#))
            }
            "/logout" => {
                self.reset();
                Reply::new(200, r#"{"status":true}"#)
            }
            _ if path.starts_with("/iserver/") && !self.is_ready() => {
                Reply::new(400, r#"{"error":"Bad Request: no bridge","statusCode":400}"#)
            }
            _ => Reply::new(200, r#"{"accounts":["DU1"]}"#),
        }
    }

    fn agree(&mut self, request: &Request) -> Reply {
        let agreement = Agreement::new(request);
        self.token = Some(agreement.token.clone());
        Reply { status: 200, body: agreement.body(self.expiration), token: Some(agreement.token) }
    }

    fn honours(&self, request: &Request) -> bool {
        self.token.as_ref().is_some_and(|token| is_signed_with(token, request))
    }

    fn is_ready(&self) -> bool {
        self.has_bridge && !self.has_competitor
    }

    fn standing(&self) -> &'static str {
        match self.has_competitor {
            true => COMPETING,
            false if self.has_bridge => READY,
            false => ABSENT,
        }
    }
}

/// Whether this live session token signed the request.
pub fn is_signed_with(token: &[u8], request: &Request) -> bool {
    let signature = BASE64_STANDARD.encode(hmac_sha256(token, request.base_string().text().expose().as_bytes()));
    let encoded = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    parameter(request, "oauth_signature").is_some_and(|given| given == encoded)
}

/// Whether it is about logging in, and no live session token signed it.
pub fn is_login(request: &Request) -> bool {
    authorization(request).contains("RSA-SHA256")
}

/// As a server of two sessions it cares for no clock, and takes every request token for its own.
impl Honest for Server {
    fn consumer(&self) -> Consumer {
        consumer()
    }

    fn access_token(&mut self, _: &mut StdRng) -> AccessToken {
        access_token()
    }

    fn respond(&mut self, request: &Request, now: UnixTime, _: &mut StdRng) -> Response<'static> {
        let Reply { status, body, .. } = self.answer(request);
        Response::new(status, body.into_bytes()).with_server_time(now)
    }

    fn consent(&mut self, request_token: &str, _: &str, _: &mut StdRng) -> Option<String> {
        Some(format!("?oauth_token={request_token}&oauth_verifier=0ffb"))
    }

    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    fn decrypted(&self, _: &AccessToken) -> Option<String> {
        Some(hex(PREPEND))
    }
}
