//! Errors of the HTTP/1.1 decoder.

use thiserror::Error;

/// Why the bytes from a server cannot be read as the response to a request.
///
/// The connection is not to be used again. Nothing received is quoted. The exchange can be dropped, and the next poll
/// offers a fresh request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Http1Error {
    /// The connection was closed before the first byte of a response: as a rule it had been idle for too long.
    #[error("the connection was closed before a response began")]
    NoResponse,
    /// The connection was closed in the middle of a response
    /// ([RFC 9112 section 8](https://www.rfc-editor.org/rfc/rfc9112#section-8)).
    #[error("the connection was closed in the middle of a response")]
    Truncated,
    /// Neither HTTP/1.1 nor HTTP/1.0: HTTP/2, HTTP/0.9, TLS where none is expected, another protocol.
    #[error("the server does not speak HTTP/1.1: is the port right, and is TLS where it should be?")]
    NotHttp1,
    /// A status which is not three digits from 100 on, or a malformed status line
    /// ([RFC 9112 section 4](https://www.rfc-editor.org/rfc/rfc9112#section-4)).
    #[error("the status line is malformed")]
    StatusLine,
    /// A line that ends in a bare LF, or a CR without LF
    /// ([RFC 9112 section 2.2](https://www.rfc-editor.org/rfc/rfc9112#section-2.2)).
    #[error("a line does not end in CRLF")]
    LineEnding,
    /// A header that goes on in the next line
    /// ([RFC 9112 section 5.2](https://www.rfc-editor.org/rfc/rfc9112#section-5.2)).
    #[error("a header is folded over several lines")]
    LineFolding,
    /// A header that is not `name: value` in the characters these may have
    /// ([RFC 9112 section 5](https://www.rfc-editor.org/rfc/rfc9112#section-5)).
    #[error("a header is malformed")]
    Header,
    /// The head of the response, or the trailer behind its body, is too long.
    #[error("the headers have more than {limit} bytes")]
    HeadersTooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// More headers than anyone needs.
    #[error("there are more than {limit} headers")]
    TooManyHeaders {
        /// Headers allowed.
        limit: usize,
    },
    /// `101 Switching Protocols`, which nobody asked for
    /// ([RFC 9110 section 15.2.2](https://www.rfc-editor.org/rfc/rfc9110#section-15.2.2)).
    #[error("the server switches to another protocol, unasked")]
    SwitchingProtocols,
    /// Both `Content-Length` and `Transfer-Encoding`
    /// ([RFC 9112 section 6.3](https://www.rfc-editor.org/rfc/rfc9112#section-6.3), rule 3).
    #[error("it is not clear where the body ends: by its length or by its chunks")]
    TwoFramings,
    /// A `Content-Length` that is not one decimal number
    /// ([RFC 9112 section 6.3](https://www.rfc-editor.org/rfc/rfc9112#section-6.3), rule 5).
    #[error("Content-Length is not one decimal number")]
    ContentLength,
    /// A `Transfer-Encoding` other than `chunked`, or any in a response of HTTP/1.0
    /// ([RFC 9112 section 6.1](https://www.rfc-editor.org/rfc/rfc9112#section-6.1)).
    #[error("Transfer-Encoding is not `chunked`")]
    TransferEncoding,
    /// A compressed body, although the request declined it
    /// ([RFC 9110 section 12.5.3](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3)).
    #[error("the body is compressed, although the request declined it")]
    ContentEncoding,
    /// The body is longer than this decoder takes.
    #[error("the body has more than {limit} bytes")]
    BodyTooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// A chunk whose size is not a hexadecimal number, or too long a line to be one
    /// ([RFC 9112 section 7.1](https://www.rfc-editor.org/rfc/rfc9112#section-7.1)).
    #[error("the size of a chunk is malformed")]
    ChunkSize,
    /// A chunk that goes on behind its size
    /// ([RFC 9112 section 7.1](https://www.rfc-editor.org/rfc/rfc9112#section-7.1)).
    #[error("a chunk is longer than it says")]
    ChunkEnd,
    /// Bytes behind the response. Requests are not pipelined here, so they belong to none.
    #[error("there is more behind the end of the response")]
    TrailingBytes,
}
