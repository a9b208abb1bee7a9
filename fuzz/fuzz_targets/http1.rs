//! Any bytes as an answer, whole, a byte at a time, and in pieces. Invariants: no panic; the same outcome however they
//! are cut; no body over the limit; an error stays; a connection is kept only behind a whole response; no more memory than
//! 16 KiB and 16 bytes for each byte of the input.
#![no_main]

use ibkr_oauth::Response;
use ibkr_oauth::http1::{Decoder, Http1Error};
use ibkr_oauth_fuzz::MemoryBound;
use libfuzzer_sys::fuzz_target;

const MAX_BODY: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    let _bound = MemoryBound::bytes(16 * 1024 + 16 * bytes.len());
    let whole = decode(bytes.chunks(bytes.len().max(1)));
    assert_eq!(decode(bytes.chunks(1)), whole);
    assert_eq!(decode(bytes.chunks(1 + bytes.len() / 3)), whole);
    if let Ok(response) = whole {
        assert!(response.body().len() <= MAX_BODY && (100..1000).contains(&response.status()));
    }
});

fn decode<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> Result<Response<'static>, Http1Error> {
    let mut decoder = Decoder::new().with_max_body(MAX_BODY);
    let mut response = None;
    for chunk in chunks {
        match decoder.handle_bytes(chunk) {
            Ok(complete) => response = response.or(complete),
            Err(error) => {
                assert_eq!(decoder.handle_bytes(b"HTTP/1.1 200 OK\r\n\r\n"), Err(error));
                return Err(error);
            }
        }
        assert!(!decoder.keep_alive() || response.is_some());
    }
    let last = decoder.handle_eof()?;
    Ok(response.or(last).expect("the end brings a response or an error"))
}
