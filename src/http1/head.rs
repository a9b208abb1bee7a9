//! The head of a response: status line and headers.

use alloc::vec::Vec;

use super::Http1Error;
use super::lines::Lines;
use super::lines::number;
use crate::wire::response::Response;

/// Bytes of the longest head, all interim responses included. IBKR's have about 1,000.
pub(super) const MAX_HEADERS_LENGTH: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
/// What every response begins with.
const PREFIX: &[u8] = b"HTTP/1.";

/// What the head says, and the response as far as it is known.
pub(super) struct Head {
    /// Without its body.
    pub(super) response: Response<'static>,
    pub(super) framing: Framing,
    /// Neither version nor headers speak against another request on this connection.
    pub(super) persistent: bool,
}

/// How the end of the body is found ([RFC 9112 section 6.3](https://www.rfc-editor.org/rfc/rfc9112#section-6.3)).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Collects a head, and passes over interim responses.
pub(super) struct HeadReader(Lines);

impl HeadReader {
    pub(super) fn new() -> Self {
        Self(Lines::new(MAX_HEADERS_LENGTH, Http1Error::HeadersTooLong { limit: MAX_HEADERS_LENGTH }))
    }

    pub(super) fn has_begun(&self) -> bool {
        !self.0.bytes().is_empty()
    }

    /// Takes the head out of `unread`; `None` if it goes on behind that.
    pub(super) fn read(&mut self, unread: &mut &[u8]) -> Result<Option<Head>, Http1Error> {
        self.check_prefix(unread)?;
        while let Some(line) = self.0.read(unread)? {
            match line.first() {
                Some(b' ' | b'\t') => return Err(Http1Error::LineFolding),
                Some(_) => {}
                None => match parse(self.0.bytes())? {
                    Some(head) => return Ok(Some(head)),
                    None => {
                        self.0.clear();
                        self.check_prefix(unread)?;
                    }
                },
            }
        }
        Ok(None)
    }

    /// Looks at the first bytes before there is a line: what speaks another protocol may never send one.
    fn check_prefix(&self, unread: &[u8]) -> Result<(), Http1Error> {
        let missing = PREFIX.iter().skip(self.0.bytes().len());
        let begins_well = missing.zip(unread).all(|(expected, byte)| expected == byte);
        if begins_well { Ok(()) } else { Err(Http1Error::NotHttp1) }
    }
}

/// Parses a whole head; `None` if it is that of an interim response
/// ([RFC 9110 section 15.2](https://www.rfc-editor.org/rfc/rfc9110#section-15.2)).
fn parse(bytes: &[u8]) -> Result<Option<Head>, Http1Error> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    parsed.parse(bytes).map_err(|error| match error {
        httparse::Error::Version => Http1Error::NotHttp1,
        httparse::Error::Status => Http1Error::StatusLine,
        httparse::Error::TooManyHeaders => Http1Error::TooManyHeaders { limit: MAX_HEADERS },
        _ => Http1Error::Header,
    })?;
    match parsed.code {
        None | Some(0..100) => Err(Http1Error::StatusLine),
        Some(101) => Err(Http1Error::SwitchingProtocols),
        Some(100..200) => Ok(None),
        Some(status) => final_head(status, parsed.version == Some(1), parsed.headers).map(Some),
    }
}

fn final_head(status: u16, is_http_1_1: bool, headers: &[httparse::Header<'_>]) -> Result<Head, Http1Error> {
    let framing = framing(status, is_http_1_1, headers)?;
    if values(headers, "content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(Http1Error::ContentEncoding);
    }
    let without_headers = Response::new(status, Vec::new());
    Ok(Head {
        response: headers
            .iter()
            .fold(without_headers, |response, header| response.with_header(header.name, header.value)),
        framing,
        persistent: is_http_1_1 && !says_close(headers) && framing != Framing::UntilClose,
    })
}

/// [RFC 9112 section 6.3](https://www.rfc-editor.org/rfc/rfc9112#section-6.3), and stricter: where it lets a recipient
/// guess, this one rejects.
fn framing(status: u16, is_http_1_1: bool, headers: &[httparse::Header<'_>]) -> Result<Framing, Http1Error> {
    if matches!(status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    let mut lengths = values(headers, "content-length");
    let mut codings = values(headers, "transfer-encoding");
    match (lengths.next(), codings.next()) {
        (Some(_), Some(_)) => Err(Http1Error::TwoFramings),
        (None, None) => Ok(Framing::UntilClose),
        // RFC 9110 section 8.6: digits alone, no sign, no list.
        (Some(length), None) if lengths.next().is_none() => {
            number(length, 10).map(Framing::Length).ok_or(Http1Error::ContentLength)
        }
        (Some(_), None) => Err(Http1Error::ContentLength),
        (None, Some(coding)) if is_http_1_1 && codings.next().is_none() && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        (None, Some(_)) => Err(Http1Error::TransferEncoding),
    }
}

/// [RFC 9112 section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6).
fn says_close(headers: &[httparse::Header<'_>]) -> bool {
    let mut options = values(headers, "connection").flat_map(|value| value.split(|&byte| byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// The values of all headers of that name.
fn values<'h>(headers: &'h [httparse::Header<'_>], name: &'static str) -> impl Iterator<Item = &'h [u8]> {
    let of_that_name = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    of_that_name.map(|header| header.value.trim_ascii())
}
