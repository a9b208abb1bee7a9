//! HTTP/1.1 for event loops that have no HTTP client: requests to bytes, bytes to responses. No IO here either.
//!
//! `httparse` reads the heads. What surrounds them in an HTTP client (redirects, repeats, pools) must not be done to a signed
//! request, so none is built upon.
//!
//! ```no_run
//! use ibkr_oauth::{Request, Response, http1};
//! use std::io::{Read, Write};
//!
//! /// Works on any stream: plain, TLS, or a test's.
//! fn send(request: &Request, stream: &mut (impl Read + Write)) -> Result<Response<'static>, Box<dyn core::error::Error>> {
//!     stream.write_all(&http1::encode(request))?;
//!     let mut decoder = http1::Decoder::new();
//!     let mut buffer = [0; 4096];
//!     loop {
//!         let response = match stream.read(&mut buffer)? {
//!             0 => decoder.handle_eof()?,
//!             count => decoder.handle_bytes(&buffer[..count])?,
//!         };
//!         if let Some(response) = response {
//!             return Ok(response);
//!         }
//!     }
//! }
//! ```
//!
//! Rejects every response whose length is ambiguous, so that no response is ever taken for a part of another one
//! ([RFC 9112 section 11.2](https://www.rfc-editor.org/rfc/rfc9112#section-11.2)).

mod body;
mod decoder;
mod encode;
mod error;
mod head;
mod lines;

pub use decoder::Decoder;
pub use encode::{encode, encode_into};
pub use error::Http1Error;
