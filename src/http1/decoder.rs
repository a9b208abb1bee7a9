//! The decoder of HTTP/1.1 responses.

use core::fmt;

use super::Http1Error;
use super::body::Body;
use super::head::{Head, HeadReader};
use crate::wire::response::Response;

/// Responses of the OAuth endpoints have under 2,000 bytes.
const MAX_BODY: usize = 64 * 1024;

/// The decoder of the response to one request, out of the bytes of a connection, however they are cut. Make a new one for
/// each request.
///
/// Interim responses are passed over. Memory is bounded: 16 KiB and 100 headers of a head, the limit of the body, and
/// nothing else.
///
/// ```
/// # fn main() -> Result<(), ibkr_oauth::http1::Http1Error> {
/// use ibkr_oauth::http1::Decoder;
///
/// let mut decoder = Decoder::new();
/// assert_eq!(decoder.handle_bytes(b"HTTP/1.1 200 OK\r\nContent-Le")?, None);
/// let response = decoder.handle_bytes(b"ngth: 2\r\n\r\n{}")?.expect("it is complete");
/// assert_eq!((response.status(), response.body()), (200, &b"{}"[..]));
/// assert!(decoder.keep_alive());
/// # Ok(()) }
/// ```
pub struct Decoder {
    max_body: usize,
    state: State,
}

enum State {
    Head(HeadReader),
    Body(PartialResponse),
    Done {
        keep_alive: bool,
    },
    /// What follows an error makes no sense.
    Failed(Http1Error),
}

/// A response whose body is on its way.
struct PartialResponse {
    response: Response<'static>,
    body: Body,
    persistent: bool,
}

/// A state, and the response if it became complete on the way there.
type Step = Result<(State, Option<Response<'static>>), Http1Error>;

impl Decoder {
    /// Takes bodies of up to 64 KiB: enough for every response to a login.
    pub fn new() -> Self {
        Self { max_body: MAX_BODY, state: State::Head(HeadReader::new()) }
    }

    /// Takes bodies of up to `limit` bytes: a response of the API may be larger than those to a login.
    #[must_use]
    pub fn with_max_body(self, limit: usize) -> Self {
        Self { max_body: limit, ..self }
    }

    /// Takes what was read from the connection, and returns the response once it is complete.
    ///
    /// # Errors
    /// [`Http1Error`] says what the bytes are instead of a response, and says so again on every later call. Hang up.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Option<Response<'static>>, Http1Error> {
        let max_body = self.max_body;
        self.step(|state| state.after_bytes(bytes, max_body))
    }

    /// Ends the response because the peer has closed the connection cleanly: the end of a response that does not say
    /// where it ends. With TLS that is a close that the server has signed (`close_notify`), not a connection that broke
    /// ([RFC 9112 section 9.8](https://www.rfc-editor.org/rfc/rfc9112#section-9.8)).
    ///
    /// # Errors
    /// [`Http1Error::NoResponse`], [`Http1Error::Truncated`], or an earlier error.
    pub fn handle_eof(&mut self) -> Result<Option<Response<'static>>, Http1Error> {
        self.step(State::after_eof)
    }

    /// Returns whether another request may be sent on the connection: the response is here, and the server did not say
    /// that it hangs up ([RFC 9112 section 9.3](https://www.rfc-editor.org/rfc/rfc9112#section-9.3)).
    pub fn keep_alive(&self) -> bool {
        matches!(self.state, State::Done { keep_alive: true })
    }

    fn step(&mut self, next: impl FnOnce(State) -> Step) -> Result<Option<Response<'static>>, Http1Error> {
        let state = core::mem::replace(&mut self.state, State::Done { keep_alive: false });
        let (state, result) = match next(state) {
            Ok((state, response)) => (state, Ok(response)),
            Err(error) => (State::Failed(error), Err(error)),
        };
        self.state = state;
        result
    }
}

impl State {
    fn after_bytes(self, mut unread: &[u8], max_body: usize) -> Step {
        match self {
            Self::Head(mut reader) => match reader.read(&mut unread)? {
                Some(head) => Self::Body(PartialResponse::new(head, max_body)?).after_bytes(unread, max_body),
                None => Ok((Self::Head(reader), None)),
            },
            Self::Body(mut partial) => {
                partial.body.read(&mut unread)?;
                match partial.body.is_complete() {
                    true if unread.is_empty() => Ok(partial.finish()),
                    true => Err(Http1Error::TrailingBytes),
                    false => Ok((Self::Body(partial), None)),
                }
            }
            Self::Done { .. } if !unread.is_empty() => Err(Http1Error::TrailingBytes),
            Self::Done { .. } => Ok((self, None)),
            Self::Failed(error) => Err(error),
        }
    }

    fn after_eof(self) -> Step {
        match self {
            Self::Head(reader) if reader.has_begun() => Err(Http1Error::Truncated),
            Self::Head(_) => Err(Http1Error::NoResponse),
            Self::Body(partial) if partial.body.ends_with_connection() => Ok(partial.finish()),
            Self::Body(_) => Err(Http1Error::Truncated),
            Self::Done { .. } => Ok((Self::Done { keep_alive: false }, None)),
            Self::Failed(error) => Err(error),
        }
    }
}

impl PartialResponse {
    fn new(head: Head, max_body: usize) -> Result<Self, Http1Error> {
        let body = Body::new(head.framing, max_body)?;
        Ok(Self { response: head.response, body, persistent: head.persistent })
    }

    fn finish(self) -> (State, Option<Response<'static>>) {
        let response = self.response.with_body(self.body.into_content());
        (State::Done { keep_alive: self.persistent }, Some(response))
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Head(_) => "Head",
            State::Body(_) => "Body",
            State::Done { .. } => "Done",
            State::Failed(_) => "Failed",
        };
        f.debug_struct("Decoder").field("state", &state).finish_non_exhaustive()
    }
}
