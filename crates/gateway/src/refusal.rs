//! The ways in which IBKR says no: status and body of each, verbatim where they are known (protocol section 6.2).

use alloc::format;
use alloc::string::String;

use super::wire::RawResponse;

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html";
const TEXT: &str = "text/plain; charset=utf-8";

/// Why a request gets no answer. What stands in brackets is for the developer at the other end, in [`REASON_HEADER`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
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
    NoBridge,
    NoBrokerageSession(&'static str),
    Gone,
    TooManyRequests,
    Unavailable,
}

/// The header in which the gateway, unlike IBKR, says what was really wrong.
pub(super) const REASON_HEADER: &str = "Gateway-Reason";

impl Refusal {
    /// `id` is IBKR's trace counter, different in each response and of no meaning to a client.
    pub(super) fn into_response(self, id: u32) -> RawResponse {
        let (status, content_type, body) = match self {
            Self::NoUserAgent => (403, HTML, page("Access Denied")),
            Self::NoContentLength => (411, HTML, page("Length Required")),
            Self::BodyTooLarge => (413, HTML, page("Request Entity Too Large")),
            Self::NotFound => (404, HTML, page("Not Found")),
            Self::Malformed(_) => (400, TEXT, "Bad Request".into()),
            Self::Missing(name) => (400, JSON, traced(400, id, &format!("missing {name}"))),
            Self::InvalidConsumer(_) => (401, JSON, traced(401, id, "invalid consumer")),
            Self::NoAccessSecret => {
                (401, JSON, traced(401, id, "LST failed, error: No access secret key found for ***"))
            }
            Self::LoginFailed(_) => (401, JSON, traced(401, id, "LST failed, error: ")),
            Self::Unauthorized(_) => (401, TEXT, "Unauthorized".into()),
            Self::InvalidSignature => (401, TEXT, "Invalid signature".into()),
            Self::NoBridge => (400, JSON, r#"{"error":"Bad Request: no bridge","statusCode":400}"#.into()),
            Self::NoBrokerageSession(_) => (500, JSON, r#"{"error":"failed to generate sso dh token"}"#.into()),
            Self::Gone => (410, TEXT, "gone".into()),
            Self::TooManyRequests => (429, TEXT, String::new()),
            Self::Unavailable => (503, HTML, page("Service Unavailable")),
        };
        RawResponse::new(status, content_type, body).with_header(REASON_HEADER, self.reason())
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
            Self::NoBridge => "there is no brokerage session: call /iserver/auth/ssodh/init".into(),
            Self::Gone => "scheduled: fetch a new live session token".into(),
            Self::TooManyRequests => "scheduled: too many requests".into(),
            Self::Unavailable => "scheduled: an outage".into(),
            Self::Malformed(reason)
            | Self::InvalidConsumer(reason)
            | Self::LoginFailed(reason)
            | Self::Unauthorized(reason)
            | Self::NoBrokerageSession(reason) => reason.into(),
        }
    }
}

fn traced(status: u16, id: u32, error: &str) -> String {
    format!(r#"{{"error":"id: {id}, error: {error}","statusCode":{status}}}"#)
}

fn page(title: &str) -> String {
    format!("<HTML><HEAD>\n<TITLE>{title}</TITLE>\n</HEAD><BODY>\n<H1>{title}</H1>\n</BODY>\n</HTML>\n")
}
