//! As much of HTTP/1.1 as this test's clients speak. No kept server would do: the bytes of a response are damaged here,
//! and sent by the clock of the test.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;

use http::{Request, Response};

/// The next request, when all of it is here; `None` if there is none, or nobody waits for it any more.
pub fn receive(stream: &mut TcpStream, is_awaited: &dyn Fn() -> bool) -> Option<Request<Vec<u8>>> {
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(request) = read(&received) {
            return Some(request);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && is_awaited() => {}
            Err(_) => return None,
        }
    }
}

fn read(received: &[u8]) -> Option<Request<Vec<u8>>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(received).unwrap() else {
        return None;
    };
    let request = Request::builder().method(head.method.unwrap()).uri(head.path.unwrap());
    let request = head.headers.iter().fold(request, |request, header| request.header(header.name, header.value));
    let length =
        request.headers_ref()?.get("content-length").map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    let body = received.get(head_length..head_length + length)?;
    Some(request.body(body.to_vec()).unwrap())
}

/// The response, after which the connection stays open.
pub fn encode(response: &Response<Vec<u8>>) -> Vec<u8> {
    let (status, length) = (response.status(), response.body().len());
    let mut message = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in response.headers() {
        message.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    message.extend(format!("Content-Length: {length}\r\nConnection: keep-alive\r\n\r\n").into_bytes());
    message.extend_from_slice(response.body());
    message
}
