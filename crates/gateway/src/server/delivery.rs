//! Responses on their way to the client, some of them badly.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header::CONTENT_LENGTH;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::Delivery;
use crate::response::Response;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The connection ends in place of a response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HangUp {
    #[error("scheduled: the connection is closed")]
    Close,
    #[error("scheduled: the connection is reset")]
    Reset,
}

/// Returns the response as its [`Delivery`] wants it sent, when it wants it sent.
pub(crate) async fn deliver(mut response: Response) -> Result<http::Response<Body>, HangUp> {
    let length = response.body().len();
    match response.extensions_mut().remove() {
        Some(Delivery::Late(delay)) => sleep(delay).await,
        Some(Delivery::Trickling(pause)) => return Ok(in_pieces(response, length, |body| trickle(body, pause))),
        Some(Delivery::Cut) => return Ok(in_pieces(response, length.max(1), half)),
        Some(Delivery::Lost) => return Err(HangUp::Close),
        Some(Delivery::Reset) => return Err(HangUp::Reset),
        None => {}
    }
    Ok(response.map(|body| Full::from(body).map_err(|never: Infallible| match never {}).boxed_unsync()))
}

fn in_pieces<P>(mut response: Response, length: usize, pieces: impl FnOnce(Vec<u8>) -> P) -> http::Response<Body>
where
    P: Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
{
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response.map(|body| StreamBody::new(pieces(body)).boxed_unsync())
}

fn trickle(body: Vec<u8>, pause: Duration) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    stream::iter(body).then(move |byte| async move {
        sleep(pause).await;
        Ok(piece(vec![byte]))
    })
}

fn half(mut body: Vec<u8>) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    body.truncate(body.len() / 2);
    let end = async {
        // The half is on its way by then.
        yield_now().await;
        Err(io::Error::other("scheduled: the response is cut"))
    };
    stream::iter([Ok(piece(body))]).chain(stream::once(end))
}

fn piece(bytes: Vec<u8>) -> Frame<Bytes> {
    Frame::data(bytes.into())
}
