//! As much of HTTP/1.1 as a server on the loopback needs, wary of whoever is at the other end.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Response};

const MAX_HEADERS: usize = 100;
const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 1024 * 1024;

/// How long a request may take, from its first byte to its last.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// How long a client is heard out that is being refused.
const LINGER_TIME: Duration = Duration::from_millis(100);
/// How long a connection may stay without a request.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// A request, complete.
pub struct Request {
    pub message: http::Request<Vec<u8>>,
    /// May another request follow?
    pub keep_alive: bool,
}

impl Request {
    /// Does the client want to go on with a WebSocket?
    pub fn is_web_socket_upgrade(&self) -> bool {
        let headers = self.message.headers();
        has_token(headers, CONNECTION, "upgrade") && has_token(headers, UPGRADE, "websocket")
    }
}

/// Why no request came.
pub enum Trouble {
    /// The client is gone, or has nothing more to say, or the server stops: hang up.
    Over,
    /// The client may be told what it did wrong, before hanging up.
    Refused(u16, &'static str),
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Over
    }
}

/// A connection: bytes that were read ahead stay for the next request.
///
/// Reads of the stream must time out after a moment (`ErrorKind::WouldBlock` or `TimedOut`), so that `stopping` is
/// asked now and then.
pub struct Connection<'s, S> {
    stream: S,
    read_ahead: Vec<u8>,
    stopping: &'s dyn Fn() -> bool,
}

impl<'s, S: Read + Write> Connection<'s, S> {
    pub fn new(stream: S, stopping: &'s dyn Fn() -> bool) -> Self {
        Self { stream, read_ahead: Vec::new(), stopping }
    }

    /// For another protocol to go on with: the stream, and what was read ahead.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.read_ahead)
    }

    /// The next request, when all of it is here.
    pub fn receive(&mut self) -> Result<Request, Trouble> {
        if self.read_ahead.is_empty() {
            self.read_more(Instant::now() + IDLE_TIME).map_err(|_| Trouble::Over)?;
        }
        let deadline = Instant::now() + REQUEST_TIME;
        let mut head = self.receive_head(deadline)?;
        *head.request.message.body_mut() = match head.framing {
            Framing::Length(length) => self.receive_exactly(length, deadline)?,
            Framing::Chunked => self.receive_chunks(deadline)?,
        };
        Ok(head.request)
    }

    pub fn send(&mut self, response: &Response<Vec<u8>>, to: &Request) -> io::Result<()> {
        let status = response.status().as_u16();
        let mut message = format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status)).into_bytes();
        for (name, value) in response.headers() {
            message.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        let (length, connection) = (response.body().len(), if to.keep_alive { "keep-alive" } else { "close" });
        message.extend(format!("Content-Length: {length}\r\nConnection: {connection}\r\n\r\n").into_bytes());
        if to.message.method() != Method::HEAD {
            message.extend_from_slice(response.body());
        }
        self.stream.write_all(&message)?;
        self.stream.flush()
    }

    /// Tells the client what it did wrong, if it listens.
    ///
    /// Reads on for a moment: to hang up on what was not read would take the answer back.
    pub fn refuse(&mut self, status: u16, why: &str) -> io::Result<()> {
        let (phrase, length) = (reason_phrase(status), why.len());
        write!(
            self.stream,
            "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{why}"
        )?;
        self.stream.flush()?;
        let deadline = Instant::now() + LINGER_TIME;
        while self.read_more(deadline).is_ok() {
            self.read_ahead.clear();
        }
        Ok(())
    }

    fn receive_head(&mut self, deadline: Instant) -> Result<Head, Trouble> {
        loop {
            if let Some((head, length)) = parse_head(&self.read_ahead)? {
                self.read_ahead.drain(..length);
                if head.expects_continue {
                    self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                return Ok(head);
            }
            if self.read_ahead.len() > MAX_HEAD {
                return Err(Trouble::Refused(431, "the head of the request is too long"));
            }
            self.read_more(deadline)?;
        }
    }

    fn receive_exactly(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, Trouble> {
        while self.read_ahead.len() < length {
            self.read_more(deadline)?;
        }
        Ok(self.read_ahead.drain(..length).collect())
    }

    fn receive_chunks(&mut self, deadline: Instant) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        loop {
            let line = self.receive_line(deadline)?;
            let size = match httparse::parse_chunk_size(&line) {
                Ok(httparse::Status::Complete((_, size))) => size,
                _ => return Err(Trouble::Refused(400, "a chunk has no size")),
            };
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > MAX_BODY - body.len() {
                return Err(Trouble::Refused(413, "the body is too long"));
            }
            if size == 0 {
                while self.receive_line(deadline)? != b"\r\n" {}
                return Ok(body);
            }
            body.extend(self.receive_exactly(size, deadline)?);
            if self.receive_line(deadline)? != b"\r\n" {
                return Err(Trouble::Refused(400, "a chunk is longer than it says"));
            }
        }
    }

    fn receive_line(&mut self, deadline: Instant) -> Result<Vec<u8>, Trouble> {
        loop {
            if let Some(end) = self.read_ahead.iter().position(|&byte| byte == b'\n') {
                return Ok(self.read_ahead.drain(..=end).collect());
            }
            if self.read_ahead.len() > MAX_HEAD {
                return Err(Trouble::Refused(400, "a line is too long"));
            }
            self.read_more(deadline)?;
        }
    }

    fn read_more(&mut self, deadline: Instant) -> Result<(), Trouble> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if (self.stopping)() {
                return Err(Trouble::Over);
            }
            if Instant::now() > deadline {
                return Err(Trouble::Refused(408, "the request took too long"));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Trouble::Over),
                Ok(count) => {
                    self.read_ahead.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error) if is_pause(&error) => {}
                Err(_) => return Err(Trouble::Over),
            }
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

struct Head {
    request: Request,
    framing: Framing,
    expects_continue: bool,
}

enum Framing {
    Length(usize),
    Chunked,
}

/// The head at the start of `bytes` and its length; `None` if it is not all there yet.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Trouble> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Trouble::Refused(431, "too many headers"));
        }
        Err(_) => return Err(Trouble::Refused(400, "this is not HTTP/1.1")),
    };
    let message = http::Request::builder().method(parsed.method.unwrap_or_default());
    let message = message.uri(parsed.path.unwrap_or_default());
    let message = parsed.headers.iter().fold(message, |message, header| message.header(header.name, header.value));
    let message = message.body(Vec::new()).map_err(|_| Trouble::Refused(400, "this is not HTTP/1.1"))?;
    let has_token = |name, token| has_token(message.headers(), name, token);
    let keep_alive = match parsed.version {
        Some(1) => !has_token(CONNECTION, "close"),
        _ => has_token(CONNECTION, "keep-alive"),
    };
    let expects_continue = has_token(EXPECT, "100-continue");
    let framing = framing(message.headers())?;
    Ok(Some((Head { request: Request { message, keep_alive }, framing, expects_continue }, length)))
}

/// Two answers to the question where the body ends are one too many.
fn framing(headers: &HeaderMap) -> Result<Framing, Trouble> {
    let values = |name: HeaderName| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase()).collect()
    };
    let (lengths, codings) = (values(CONTENT_LENGTH), values(TRANSFER_ENCODING));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [coding]) if coding == "chunked" => Ok(Framing::Chunked),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => match length.parse() {
            Ok(length) if length <= MAX_BODY => Ok(Framing::Length(length)),
            _ => Err(Trouble::Refused(413, "the body is too long")),
        },
        _ => Err(Trouble::Refused(400, "it is not clear where the body ends")),
    }
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let value = String::from_utf8_lossy(value.as_bytes());
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
    })
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}
