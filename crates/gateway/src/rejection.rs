//! The rejections of IBKR: status and body of each, verbatim where they are known (protocol section 6.2).

use http::header::LOCATION;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::response::{HTML, JSON, Response, TEXT, response};
use crate::settings::DeadTokenResponse;

/// Where people log in, as the Client Portal Gateway redirects them (protocol section 14.9).
const LOGIN_PAGE: HeaderValue = HeaderValue::from_static("/sso/Login");

/// Why a request is rejected. What stands in brackets is for the developer at the other end, in [`REASON_HEADER`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rejection {
    /// The edge in front of IBKR lets no request through without one.
    NoUserAgent,
    /// A POST must say how long its body is, even if it has none (protocol section 2.4).
    NoContentLength,
    BodyTooLarge,
    NotFound,
    Malformed(&'static str),
    /// "If you are missing any portion of the authorization header, the response will tell you so."
    Missing(&'static str),
    /// IBKR's answer to whatever is wrong with an RSA-signed request.
    InvalidConsumer(&'static str),
    NoAccessSecret,
    LoginFailed(&'static str),
    Unauthorized(&'static str),
    InvalidSignature,
    /// The signature is of a live session token that was valid once.
    DeadSignature,
    /// A request with a query, under [`QueryPolicy::Reject`](crate::QueryPolicy::Reject).
    Query,
    /// 302, where others say [`Self::Unauthorized`] or [`Self::DeadSignature`].
    RedirectToLogin,
    /// The page itself, with status 200.
    LoginPage,
    NoBridge,
    /// The same, from a brokerage session that is authenticated (protocol section 14.4).
    NoAccounts,
    NoBrokerageSession(&'static str),
    /// Of an order, or about one.
    Order(&'static str),
    Gone,
    TooManyRequests,
    Unavailable,
}

/// The header in which the gateway, unlike IBKR, says what was really wrong.
const REASON_HEADER: HeaderName = HeaderName::from_static("gateway-reason");

impl Rejection {
    /// What a dead live session token gets instead of this rejection.
    pub(crate) fn or_login(self, response: DeadTokenResponse) -> Self {
        match response {
            DeadTokenResponse::Unauthorized => self,
            DeadTokenResponse::RedirectToLogin => Self::RedirectToLogin,
            DeadTokenResponse::LoginPage => Self::LoginPage,
        }
    }

    /// `id` is IBKR's trace counter, different in each response and of no meaning to a client.
    pub(crate) fn into_response(self, id: u32) -> Response {
        let (status, content_type, body) = match self {
            Self::NoUserAgent => (StatusCode::FORBIDDEN, HTML, page("Access Denied")),
            Self::NoContentLength => (StatusCode::LENGTH_REQUIRED, HTML, page("Length Required")),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, HTML, page("Request Entity Too Large")),
            Self::NotFound => (StatusCode::NOT_FOUND, HTML, page("Not Found")),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, TEXT, "Bad Request".into()),
            Self::Missing(name) => (StatusCode::BAD_REQUEST, JSON, traced(400, id, &format!("missing {name}"))),
            Self::InvalidConsumer(_) => (StatusCode::UNAUTHORIZED, JSON, traced(401, id, "invalid consumer")),
            Self::NoAccessSecret => (
                StatusCode::UNAUTHORIZED,
                JSON,
                traced(401, id, "LST failed, error: No access secret key found for ***"),
            ),
            Self::LoginFailed(_) => (StatusCode::UNAUTHORIZED, JSON, traced(401, id, "LST failed, error: ")),
            Self::Unauthorized(_) => (StatusCode::UNAUTHORIZED, TEXT, "Unauthorized".into()),
            Self::InvalidSignature | Self::DeadSignature | Self::Query => {
                (StatusCode::UNAUTHORIZED, TEXT, "Invalid signature".into())
            }
            Self::RedirectToLogin => (StatusCode::FOUND, HTML, page("Found")),
            Self::LoginPage => (StatusCode::OK, HTML, page("Login")),
            Self::NoBridge | Self::NoAccounts => {
                (StatusCode::BAD_REQUEST, JSON, r#"{"error":"Bad Request: no bridge","statusCode":400}"#.into())
            }
            Self::NoBrokerageSession(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, JSON, r#"{"error":"failed to generate sso dh token"}"#.into())
            }
            Self::Order(reason) => {
                (StatusCode::BAD_REQUEST, JSON, format!(r#"{{"error":"{reason}","statusCode":400}}"#))
            }
            Self::Gone => (StatusCode::GONE, TEXT, "gone".into()),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, TEXT, String::new()),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, HTML, page("Service Unavailable")),
        };
        let mut response = response(status, content_type, body);
        if self == Self::RedirectToLogin {
            response.headers_mut().insert(LOCATION, LOGIN_PAGE);
        }
        let reason = HeaderValue::try_from(self.reason());
        response.headers_mut().extend(reason.map(|reason| (REASON_HEADER, reason)));
        response
    }

    fn reason(self) -> String {
        match self {
            Self::NoUserAgent => "there is no User-Agent header".into(),
            Self::NoContentLength => "a POST needs a Content-Length header, if only of 0".into(),
            Self::BodyTooLarge => "the body is too large".into(),
            Self::NotFound => "there is no such method and path".into(),
            Self::Missing(name) => format!("the Authorization header lacks {name}"),
            Self::NoAccessSecret => "the access token is unknown, or another consumer's".into(),
            Self::InvalidSignature => "no live session token of this access token made this signature".into(),
            Self::DeadSignature => "the live session token that made this signature is dead: fetch a new one".into(),
            Self::Query => "set: requests with a query are rejected".into(),
            Self::RedirectToLogin | Self::LoginPage => "the live session token is dead: fetch a new one".into(),
            Self::NoBridge => "there is no brokerage session: call /iserver/auth/ssodh/init".into(),
            Self::NoAccounts => "the brokerage session has no accounts yet: ask /iserver/accounts".into(),
            Self::Gone => "scheduled: fetch a new live session token".into(),
            Self::TooManyRequests => "scheduled: too many requests".into(),
            Self::Unavailable => "scheduled: an outage".into(),
            Self::Malformed(reason)
            | Self::InvalidConsumer(reason)
            | Self::LoginFailed(reason)
            | Self::Unauthorized(reason)
            | Self::NoBrokerageSession(reason)
            | Self::Order(reason) => reason.into(),
        }
    }
}

fn traced(status: u16, id: u32, error: &str) -> String {
    format!(r#"{{"error":"id: {id}, error: {error}","statusCode":{status}}}"#)
}

fn page(title: &str) -> String {
    format!("<HTML><HEAD>\n<TITLE>{title}</TITLE>\n</HEAD><BODY>\n<H1>{title}</H1>\n</BODY>\n</HTML>\n")
}
