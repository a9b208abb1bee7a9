//! The encoder of HTTP/1.1 requests.

use alloc::vec::Vec;

use crate::wire::request::Request;

/// Returns the bytes of `request`, to be written once to a connection with [`Request::authority`].
///
/// To its headers come `Host` and `Accept-Encoding: identity`, because nothing is decompressed here. The connection is
/// kept: [`Decoder::keep_alive`](super::Decoder::keep_alive) says whether the server keeps it too.
pub fn encode(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(&mut bytes, request);
    bytes
}

/// Appends the bytes of `request` to `out`, as [`encode`] returns them. If `out` has room for them, nothing is allocated.
pub fn encode_into(out: &mut Vec<u8>, request: &Request) {
    let mut write = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    // RFC 9112 sections 3.2 and 3.2.1. No part can hold a line's end: all were checked where they came in.
    write(&[request.method().as_str(), " ", request.path(), " HTTP/1.1\r\n"]);
    write(&["Host: ", request.authority(), "\r\n"]);
    write(&["Accept-Encoding: identity\r\n"]);
    for (name, value) in request.headers() {
        write(&[name, ": ", value, "\r\n"]);
    }
    write(&["\r\n"]);
    out.extend_from_slice(request.body());
}
