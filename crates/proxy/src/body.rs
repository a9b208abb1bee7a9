//! Bodies of requests: whole, in time and within bounds, or refused.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::answer::{Answer, refused};
use crate::options::Limits;

/// How long a client is listened to whose body is refused. A connection that is closed with bytes unread is reset, and the
/// answer may be lost (RFC 9112 section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Returns the body, or the refusal to send.
pub(crate) async fn receive(mut body: Incoming, limits: &Limits) -> Result<Bytes, Answer> {
    match timeout(limits.body_time, Limited::new(&mut body, limits.body).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long(&mut body).await),
        Ok(Err(_)) => Err(refused(StatusCode::BAD_REQUEST, "the body is malformed or incomplete")),
        Err(_) => Err(refused(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

async fn too_long(body: &mut Incoming) -> Answer {
    let _ = timeout(LINGER_TIME, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long")
}
