//! Requests through to IBKR, and its answers back as they are.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ALT_SVC, CONNECTION, CONTENT_LENGTH, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, StatusCode};
use http_body_util::Full;
use ibkr_oauth_tokio::ibkr_oauth::{ApiRequest, Error, Method, UnixTime};
use ibkr_oauth_tokio::{Activity, NotSent, RequestError, Status, TransportError, WebApi};

use crate::answer::{Answer, Fate, MARK, failed, refused, retry_after};
use crate::metrics::Metrics;

const FORM: &str = "application/x-www-form-urlencoded";
/// What a body is whose sender does not say: IBKR's API speaks JSON.
const JSON: &str = "application/json";

/// What of a client's request goes on to IBKR. All else, such as its cookies, does not.
pub(crate) struct Forwarded {
    pub(crate) method: Method,
    /// Below the base URL.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Bytes,
}

impl Forwarded {
    /// A question of the proxy's own.
    pub(crate) fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), query: None, content_type: None, body: Bytes::new() }
    }

    /// Sends it, once at most if it changes anything, and returns IBKR's answer or says why there is none. A future that is
    /// dropped takes the request back if it has not gone out.
    pub(crate) async fn send(self, api: &WebApi, metrics: &Metrics) -> Answer {
        let status = api.status();
        if status.activity == Activity::Stopped && !status.is_logged_in() {
            let why = "no login is possible before something is changed on the proxy's machine: its log says what";
            return failed(StatusCode::SERVICE_UNAVAILABLE, Fate::NotSent, why);
        }
        match self.with_request(|request| api.request(request)).await {
            Ok(response) => pass(response),
            Err(RequestError::Rejected(rejection)) => {
                if let Error::Rejected(rejected) = &rejection.error {
                    metrics.note_rejection(format!("{:?}", rejected.diagnosis));
                }
                pass(rejection.response)
            }
            Err(error) => unsent(&error, &self.path),
        }
    }

    fn with_request<T>(&self, sees: impl FnOnce(&ApiRequest<'_>) -> T) -> T {
        let mut request = ApiRequest::new(self.method, &self.path);
        if let Some(query) = &self.query {
            request = request.verbatim_query(query);
        }
        let content_type = self.content_type.as_deref().unwrap_or(JSON);
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(FORM) {
            // Its fields are signed.
            let pairs: Vec<_> = form_urlencoded::parse(&self.body).collect();
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
            return sees(&request.form(&pairs));
        }
        if !self.body.is_empty() {
            request = request.body(content_type, &self.body);
        }
        sees(&request)
    }
}

/// What holds a request to `path` back for longer than it may wait.
fn too_late(status: &Status, path: &str) -> (StatusCode, &'static str) {
    if status.penalty_ends_at.is_some() {
        (StatusCode::TOO_MANY_REQUESTS, "nothing is sent during the pause after a 429")
    } else if !status.is_logged_in() {
        (StatusCode::SERVICE_UNAVAILABLE, "not logged in: the next attempt is too late for this request")
    } else if !status.is_ready() && path.starts_with("/iserver/") {
        (StatusCode::SERVICE_UNAVAILABLE, "no brokerage session: the next attempt is too late for this request")
    } else {
        (StatusCode::TOO_MANY_REQUESTS, "the request limits have no room before this request would be too late")
    }
}

/// Says what became of a request to `path` that IBKR has not answered.
fn unsent(error: &RequestError, path: &str) -> Answer {
    let why = error.to_string();
    match error {
        RequestError::NotSent(NotSent::Deadline { status, retry_at: Some(at) }) => {
            let left = at.saturating_since(UnixTime::from(SystemTime::now()));
            let (code, why) = too_late(status, path);
            retry_after(failed(code, Fate::NotSent, why), left.as_secs().saturating_add(1))
        }
        RequestError::NotSent(NotSent::Refused(Error::QueueFull { .. })) => {
            retry_after(failed(StatusCode::TOO_MANY_REQUESTS, Fate::NotSent, &why), 1)
        }
        RequestError::NotSent(NotSent::Refused(_)) => refused(StatusCode::BAD_REQUEST, &why),
        RequestError::NotSent(NotSent::NotConnected(_)) => failed(StatusCode::BAD_GATEWAY, Fate::NotSent, &why),
        RequestError::NotSent(_) => failed(StatusCode::SERVICE_UNAVAILABLE, Fate::NotSent, &why),
        RequestError::NoResponse(
            TransportError::HeadTimeout(_) | TransportError::BodyTimeout(_) | TransportError::Deadline,
        ) => failed(StatusCode::GATEWAY_TIMEOUT, Fate::Unanswered, &why),
        _ => failed(StatusCode::BAD_GATEWAY, Fate::Unanswered, &why),
    }
}

/// IBKR's answer, without what concerns only the connection to IBKR, or would mean something else here: its cookies are the
/// session, its CORS headers let in every web page, and its HSTS would bind the browser's `localhost`.
fn pass(response: http::Response<Bytes>) -> Answer {
    let (mut head, body) = response.into_parts();
    let named: Vec<_> = connection_options(&head.headers).collect();
    let fixed = [ALT_SVC, CONNECTION, CONTENT_LENGTH, MARK, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER];
    for name in named.into_iter().chain(fixed).chain([TRANSFER_ENCODING, UPGRADE]) {
        head.headers.remove(name);
    }
    let foreign = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("access-control-") || name.starts_with("proxy-") || name == "keep-alive"
    };
    let foreign: Vec<_> = head.headers.keys().filter(|name| foreign(name)).cloned().collect();
    for name in foreign {
        head.headers.remove(name);
    }
    http::Response::from_parts(head, Full::new(body))
}

/// The headers that `Connection` names: they end with the connection, too.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_the_connection_to_ibkr_only_stays_there() {
        let response = http::Response::builder()
            .status(418)
            .header("Connection", "close, X-Hop")
            .header("X-Hop", "1")
            .header("Set-Cookie", "api=x")
            .header("Access-Control-Allow-Origin", "*")
            .header("Strict-Transport-Security", "max-age=1")
            .header("Ibkr-Oauth-Proxy", "not-sent")
            .header("Proxy-Authenticate", "Basic")
            .header("Content-Length", "5")
            .header("Date", "today")
            .header("Content-Type", "text/odd");
        let answer = pass(response.body(Bytes::from_static(b"tea")).unwrap());
        assert_eq!(answer.status(), 418);
        let names: Vec<_> = answer.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["date", "content-type"]);
    }

    #[test]
    fn a_client_learns_whether_its_request_may_be_repeated() {
        let said = |error: RequestError| {
            let answer = unsent(&error, "/tickle");
            (answer.status().as_u16(), answer.headers().get(MARK).unwrap().to_str().unwrap().to_owned())
        };
        let not_sent = |what| said(RequestError::NotSent(what));
        let full = Error::QueueFull { limit: 1 };
        assert_eq!(not_sent(NotSent::Refused(full)), (429, "not-sent".into()));
        assert_eq!(not_sent(NotSent::LoggedOut), (503, "not-sent".into()));
        assert_eq!(not_sent(NotSent::NotConnected(TransportError::Connect("x".into()))), (502, "not-sent".into()));
        let unanswered = |what| said(RequestError::NoResponse(what));
        assert_eq!(unanswered(TransportError::Deadline), (504, "unanswered".into()));
        assert_eq!(unanswered(TransportError::Broken("x".into())), (502, "unanswered".into()));
    }
}
