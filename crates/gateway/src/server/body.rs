//! Bodies of requests: whole, in time and within bounds, or rejected.

use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use crate::response::{Response, TEXT, response};

/// Longest body, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a client is listened to whose body is rejected. A connection that is closed with bytes unread is reset, and the
/// response may be lost (RFC 9112 section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Returns the request with all of its body, or the rejection to send.
pub(crate) async fn receive(request: Request<Incoming>) -> Result<Request<Vec<u8>>, Response> {
    let (head, mut body) = request.into_parts();
    match timeout(BODY_TIME, read(&mut body)).await {
        Ok(Ok(Some(bytes))) => Ok(Request::from_parts(head, bytes)),
        Ok(Ok(None)) => {
            let _ = timeout(LINGER_TIME, async { while let Some(Ok(_)) = body.frame().await {} }).await;
            Err(rejection(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"))
        }
        Ok(Err(_)) => Err(rejection(StatusCode::BAD_REQUEST, "the body is malformed or incomplete")),
        Err(_) => Err(rejection(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

/// Returns `None` if the body is too long.
async fn read(body: &mut Incoming) -> hyper::Result<Option<Vec<u8>>> {
    if usize::try_from(body.size_hint().lower()).map_or(true, |length| length > MAX_BODY) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(&frame?.into_data().unwrap_or_default());
        if bytes.len() > MAX_BODY {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

/// Says what is wrong, and closes the connection: where the next request begins is not known.
fn rejection(status: StatusCode, why: &str) -> Response {
    let mut rejection = response(status, TEXT, why.to_owned());
    rejection.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    rejection
}
