//! HTTP/1.1 without an HTTP client: what is sent is what was signed, and no answer is taken for another's.
#![cfg(feature = "http1")]

mod support;

use std::time::Duration;

use ibkr_oauth::http1::{Decoder, Http1Error, encode};
use ibkr_oauth::{ApiRequest, OAuthSession, Response};
use proptest::prelude::*;
use support::{NOW, WorkedLogin, builder, poll};

/// What comes of a connection on which these chunks arrive, and then its end.
fn decode_chunks<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Result<Response<'static>, Http1Error> {
    let mut decoder = Decoder::new();
    let mut response = None;
    for chunk in chunks {
        response = response.or(decoder.handle_bytes(chunk)?);
    }
    response = response.or(decoder.handle_eof()?);
    Ok(response.expect("the end brings a response or an error"))
}

fn decode(bytes: &[u8]) -> Result<Response<'static>, Http1Error> {
    decode_chunks([bytes])
}

fn body(message: &str) -> Result<String, Http1Error> {
    decode(message.as_bytes()).map(|response| String::from_utf8(response.body().to_vec()).unwrap())
}

#[test]
fn a_request_is_sent_to_the_last_byte_as_it_was_signed() {
    let session = WorkedLogin::at("http://[::1]:8080/v1/api").live_session(NOW);
    let form = [("a", "x y"), ("b", "&")];
    let call = ApiRequest::post("/iserver/account").query(&[("q", "a b")]).form(&form);
    let request = session.live(NOW).unwrap().sign(&call, &mut support::rng(1), NOW).unwrap();
    let bytes = String::from_utf8(encode(&request)).unwrap();
    let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.as_bytes(), request.body());
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some("POST /v1/api/iserver/account?q=a%20b HTTP/1.1"));
    assert_eq!(lines.next(), Some("Host: [::1]:8080"));
    assert_eq!(lines.next(), Some("Accept-Encoding: identity"));
    let headers: Vec<_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(headers, request.headers().collect::<Vec<_>>());
    assert!(headers.contains(&("Content-Length", &body.len().to_string())));
}

#[test]
fn an_empty_post_says_that_it_is_empty() {
    let request = poll(&mut OAuthSession::new(builder().build().unwrap())).request;
    let bytes = String::from_utf8(encode(&request)).unwrap();
    assert!(bytes.starts_with("POST /v1/api/oauth/request_token HTTP/1.1\r\nHost: api.ibkr.com\r\n"));
    assert!(bytes.contains("\r\nContent-Length: 0\r\n") && bytes.ends_with("\r\n\r\n"));
}

#[test]
fn the_end_of_a_body_is_found_in_every_way_there_is() {
    for (message, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\ncontent-length:\t5 \r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 000005\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", ""),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n0005 ;a=\"b\";c\r\nhello\r\n00;x\r\n\r\n", "hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nB\t\r\nhello world\r\n0\r\nX: y\r\nZ: z\r\n\r\n",
            "hello world",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.0 200 OK\r\nContent-Encoding: identity\r\n\r\n", ""),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "{}",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", ""),
        ("HTTP/1.1 200 \u{e9}\r\nX: \u{fc}\r\nContent-Length: 2\r\n\r\n{}", "{}"),
    ] {
        assert_eq!(body(message).as_deref(), Ok(expected), "{message:?}");
    }
}

#[test]
fn whatever_could_end_in_two_places_is_rejected_by_name() {
    use Http1Error::*;
    let chunked = |chunks: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let head = |head: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{{}}");
    for (message, problem) in [
        // Two answers to the question where the body ends.
        (head("Content-Length: 2\r\nTransfer-Encoding: chunked"), TwoFramings),
        (head("Transfer-Encoding: identity\r\nContent-Length: 2"), TwoFramings),
        (head("Content-Length: 2\r\nContent-Length: 3"), ContentLength),
        (head("Content-Length: 2\r\nContent-Length: 2"), ContentLength),
        (head("Content-Length: 2, 3"), ContentLength),
        (head("Content-Length: 2, 2"), ContentLength),
        (head("Content-Length: +2"), ContentLength),
        (head("Content-Length: -2"), ContentLength),
        (head("Content-Length: 0x2"), ContentLength),
        (head("Content-Length: 2 2"), ContentLength),
        (head("Content-Length:"), ContentLength),
        (head("Content-Length: 65537"), BodyTooLarge { limit: 65536 }),
        (head("Content-Length: 18446744073709551618"), BodyTooLarge { limit: 65536 }),
        (head("Content-Length: 99999999999999999999999999999999999999999"), BodyTooLarge { limit: 65536 }),
        // Codings that are not `chunked` alone.
        (head("Transfer-Encoding: gzip, chunked"), TransferEncoding),
        (head("Transfer-Encoding: chunked, chunked"), TransferEncoding),
        (head("Transfer-Encoding: xchunked"), TransferEncoding),
        (head("Transfer-Encoding: \x0bchunked"), Header),
        (head("Transfer-Encoding: identity"), TransferEncoding),
        (head("Transfer-Encoding:"), TransferEncoding),
        (head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), TransferEncoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), TransferEncoding),
        (head("Content-Length: 2\r\nContent-Encoding: gzip"), ContentEncoding),
        // Chunks.
        (chunked("\r\n\r\n"), ChunkSize),
        (chunked(";x\r\n\r\n"), ChunkSize),
        (chunked("-1\r\n\r\n"), ChunkSize),
        (chunked("+1\r\nx\r\n"), ChunkSize),
        (chunked("0x1\r\nx\r\n"), ChunkSize),
        (chunked(" 1\r\nx\r\n"), ChunkSize),
        (chunked("1 1\r\nx\r\n"), ChunkSize),
        (chunked("g\r\n\r\n"), ChunkSize),
        (chunked(&format!("1;{}\r\nx\r\n", "x".repeat(256))), ChunkSize),
        (chunked("10000000000000002\r\n{}\r\n0\r\n\r\n"), BodyTooLarge { limit: 65536 }),
        (chunked("FFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n"), BodyTooLarge { limit: 65536 }),
        (chunked("2\r\n{}\r\nFFFFFFFFFFFFFFFE\r\n"), BodyTooLarge { limit: 65536 }),
        (chunked("10001\r\n"), BodyTooLarge { limit: 65536 }),
        (chunked("2\r\n{}x\r\n0\r\n\r\n"), ChunkEnd),
        (chunked("1\r\n{}\r\n0\r\n\r\n"), ChunkEnd),
        (chunked("2\n{}\n0\n\n"), LineEnding),
        (chunked("2\r\n{}\n0\r\n\r\n"), LineEnding),
        (chunked("2;\n\r\n{}\r\n0\r\n\r\n"), LineEnding),
        (chunked("2;\rx\r\n{}\r\n0\r\n\r\n"), LineEnding),
        (chunked("0\r\n\n"), LineEnding),
        (chunked(&format!("0\r\nX: {}\r\n\r\n", "x".repeat(16384))), HeadersTooLong { limit: 16384 }),
        // Lines.
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\n{}".into(), LineEnding),
        (head("X: y\nContent-Length: 2"), LineEnding),
        (head("X: y\rContent-Length: 2"), LineEnding),
        (head("X: y\r\rContent-Length: 2"), LineEnding),
        (head("X: y\r\n Content-Length: 3"), LineFolding),
        (head("X: y\r\n\tz"), LineFolding),
        (head(" X: y"), LineFolding),
        (head("Content-Length : 2"), Header),
        (head("Content-Length"), Header),
        (head(": 2"), Header),
        (head("X: \0"), Header),
        (head(&format!("X: {}", "x".repeat(16384))), HeadersTooLong { limit: 16384 }),
        (head(&"X: y\r\n".repeat(101)), TooManyHeaders { limit: 100 }),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), HeadersTooLong { limit: 16384 }),
        // Status lines.
        ("HTTP/1.1 2000 OK\r\n\r\n".into(), StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n".into(), StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n".into(), StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n".into(), StatusLine),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n".into(), SwitchingProtocols),
        ("HTTP/1.2 200 OK\r\n\r\n".into(), NotHttp1),
        ("HTTP/2 200\r\n\r\n".into(), NotHttp1),
        ("HTTP/0.9 200 OK\r\n\r\n".into(), NotHttp1),
        ("http/1.1 200 OK\r\n\r\n".into(), NotHttp1),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), NotHttp1),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".into(), NotHttp1),
        ("<html>an HTTP/0.9 page</html>".into(), NotHttp1),
        ("HTTP/1.1 100 Continue\r\n\r\nnonsense".into(), NotHttp1),
        // An alert of TLS, and the first frame of HTTP/2: neither ever sends a line.
        ("\x15\x03\x01\0\x02\x02\x46".into(), NotHttp1),
        ("\0\0\x12\x04\0\0\0\0\0".into(), NotHttp1),
        // Behind the end.
        (head("Content-Length: 1"), TrailingBytes),
        (head("Content-Length: 2") + "HTTP/1.1 200 OK\r\n\r\n", TrailingBytes),
        (chunked("0\r\n\r\n\r\n"), TrailingBytes),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}".into(), TrailingBytes),
        // Before the end.
        (head("Content-Length: 3"), Truncated),
        (chunked("2\r\n{}\r\n"), Truncated),
        (chunked("0\r\n"), Truncated),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP".into(), Truncated),
        ("HTTP/1.1 20".into(), Truncated),
        (String::new(), NoResponse),
    ] {
        assert_eq!(decode(message.as_bytes()), Err(problem), "{message:?}");
        assert_eq!(decode_chunks(message.as_bytes().chunks(1)), Err(problem), "a byte at a time: {message:?}");
    }
}

#[test]
fn an_error_is_final() {
    let mut decoder = Decoder::new();
    for next in [&b"SSH-2.0"[..], b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"] {
        assert_eq!(decoder.handle_bytes(next), Err(Http1Error::NotHttp1));
        assert_eq!(decoder.handle_eof(), Err(Http1Error::NotHttp1));
        assert!(!decoder.keep_alive());
    }
}

#[test]
fn a_connection_is_kept_only_if_the_server_keeps_it() {
    for (message, kept) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        // Not complete yet.
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\n{}", false),
    ] {
        let mut decoder = Decoder::new();
        decoder.handle_bytes(message.as_bytes()).unwrap();
        assert_eq!(decoder.handle_bytes(b"").unwrap(), None, "a read of nothing is nothing wrong");
        assert_eq!(decoder.keep_alive(), kept, "{message:?}");
        let _ = decoder.handle_eof();
        assert!(!decoder.keep_alive());
    }
}

#[test]
fn a_larger_body_is_taken_if_the_caller_wants_it() {
    let message = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
    let decode = |limit, length| Decoder::new().with_max_body(limit).handle_bytes(message(length).as_bytes());
    assert_eq!(decode(100_000, 100_000).unwrap().unwrap().body().len(), 100_000);
    assert_eq!(decode(100_000, 100_001), Err(Http1Error::BodyTooLarge { limit: 100_000 }));
    assert_eq!(decode(0, 1), Err(Http1Error::BodyTooLarge { limit: 0 }));
    assert!(decode(0, 0).unwrap().is_some());
    let mut endless = Decoder::new();
    endless.handle_bytes(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let error = (0..).find_map(|_| endless.handle_bytes(&[b'x'; 1000]).err());
    assert_eq!(error, Some(Http1Error::BodyTooLarge { limit: 65536 }));
}

#[test]
fn the_server_may_ask_for_patience() {
    let message = b"HTTP/1.1 503 Service Unavailable\r\nRETRY-AFTER: 120\r\nContent-Length: 0\r\n\r\n";
    let response = decode(message).unwrap();
    assert_eq!((response.status(), response.retry_after()), (503, Some(Duration::from_secs(120))));
}

/// A response as a server may write it, and what is to be read out of it.
fn message() -> impl Strategy<Value = (Vec<u8>, u16, Vec<u8>)> {
    let status = prop_oneof![Just(200), Just(401), Just(503), Just(999)];
    let headers = prop::collection::vec(("X-[A-Za-z0-9-]{0,8}", "[ -~]{0,20}"), 0..8);
    let chunks = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6);
    let framing = 0..3_u8;
    let interims = 0..3_usize;
    (status, headers, chunks, framing, interims).prop_map(|(status, headers, chunks, framing, interims)| {
        let content = chunks.concat();
        let mut bytes = b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n".repeat(interims);
        bytes.extend(format!("HTTP/1.1 {status} Whatever\r\n").bytes());
        headers.iter().for_each(|(name, value)| bytes.extend(format!("{name}: {value}\r\n").bytes()));
        match framing {
            0 => bytes.extend(format!("Content-Length: {}\r\n\r\n", content.len()).bytes()),
            1 => bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n"),
            _ => bytes.extend(b"\r\n"),
        }
        if framing == 1 {
            for chunk in &chunks {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&content);
        }
        (bytes, status, content)
    })
}

/// The message with a few bytes changed, so that it is wrong in ways which nobody thought of.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let interesting = prop::sample::select(b"\r\n \t:;,0129afgHX\0\xff".to_vec());
    let changes = prop::collection::vec((any::<prop::sample::Index>(), interesting, 0..3_u8), 0..4);
    (message(), changes).prop_map(|((mut bytes, ..), changes)| {
        for (place, byte, kind) in changes {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => drop(bytes.remove(place)),
            }
        }
        bytes
    })
}

/// `bytes`, cut at `cuts`.
fn cut<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_a_server_wrote_is_read(message in message(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let (bytes, status, content) = message;
        let response = decode_chunks(cut(&bytes, &cuts)).unwrap();
        prop_assert_eq!((response.status(), response.body()), (status, &content[..]));
    }

    #[test]
    fn the_network_may_cut_a_message_anywhere(bytes in damaged(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let whole = decode(&bytes);
        prop_assert_eq!(&decode_chunks(bytes.chunks(1)), &whole);
        prop_assert_eq!(&decode_chunks(cut(&bytes, &cuts)), &whole);
    }

    #[test]
    fn a_message_cut_short_is_waited_for_and_never_taken_for_whole(message in message(), end in any::<prop::sample::Index>()) {
        let (bytes, _, content) = message;
        let mut decoder = Decoder::new();
        prop_assert_eq!(decoder.handle_bytes(&bytes[..end.index(bytes.len())]), Ok(None));
        match decoder.handle_eof() {
            Err(error) => prop_assert!(matches!(error, Http1Error::NoResponse | Http1Error::Truncated)),
            // Only a body that ends with the connection.
            Ok(response) => prop_assert!(content.starts_with(response.unwrap().body())),
        }
    }

    #[test]
    fn any_bytes_at_all_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), behind_a_head in 0..4_usize) {
        let heads = ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"];
        let message = [heads[behind_a_head].as_bytes(), &bytes].concat();
        prop_assert_eq!(decode(&message), decode_chunks(message.chunks(1)));
    }
}
