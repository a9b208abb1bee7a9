//! One request at a time, with pauses, and an end to those that are rejected.

use std::thread;
use std::time::Duration;

use ibkr_oauth::{Request, Response};
use ureq::Agent;
use ureq::http;

use crate::exit::{Exit, Failure};

/// So many rejections in a run.
const MOST_REJECTED: u32 = 10;
/// Bytes of the largest body that is read.
const MAX_BODY: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
const TOO_MANY_REQUESTS: u16 = 429;

pub struct Wire {
    agent: Agent,
    pause: Duration,
    sent: u32,
    rejected: u32,
    /// Whether there was a 429.
    was_too_many: bool,
}

impl Wire {
    pub fn new(pause: Duration) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        Self { agent, pause, sent: 0, rejected: 0, was_too_many: false }
    }

    pub fn sent(&self) -> u32 {
        self.sent
    }

    pub fn rejected(&self) -> u32 {
        self.rejected
    }

    /// Sends `request` as it is, but for what `change` does to it.
    pub fn send(
        &mut self,
        request: Request,
        change: impl FnOnce(&mut http::Request<Vec<u8>>),
    ) -> Result<Response<'static>, Failure> {
        let mut request = http::Request::try_from(request).map_err(|error| no_answer(&error))?;
        change(&mut request);
        self.exchange(request)
    }

    fn exchange(&mut self, request: http::Request<Vec<u8>>) -> Result<Response<'static>, Failure> {
        if self.was_too_many {
            return Err(too_many());
        }
        if self.rejected >= MOST_REJECTED {
            return Err(Failure::new(Exit::NotReady, "ten requests were rejected: no more are sent in this run"));
        }
        if self.sent > 0 {
            thread::sleep(self.pause);
        }
        self.sent = self.sent.saturating_add(1);
        // An empty body is one to `ureq`: it would add `Content-Length: 0` to a GET.
        let empty = request.body().is_empty();
        let answer = if empty { self.agent.run(request.map(drop)) } else { self.agent.run(request) };
        let (head, mut body) = answer.map_err(|error| no_answer(&error))?.into_parts();
        let body = body.with_config().limit(MAX_BODY).read_to_vec().map_err(|error| no_answer(&error))?;
        let answer = Response::from(http::Response::from_parts(head, body));
        match answer.status() {
            TOO_MANY_REQUESTS => {
                self.was_too_many = true;
                return Err(too_many());
            }
            200..300 => {}
            _ => self.rejected = self.rejected.saturating_add(1),
        }
        Ok(answer)
    }
}

fn no_answer(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Network, format!("the server does not answer: {error}"))
}

fn too_many() -> Failure {
    Failure::new(Exit::NotReady, "the server answers 429: nothing more is sent")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A server that answers so, and counts whom it answers.
    fn answering(status: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = client.read(&mut [0; 4096]);
                let _ = write!(client, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            }
        });
        (address, asked)
    }

    /// How many of thirty requests are answered, and how many have reached the server.
    fn ask_thirty_times(status: &'static str) -> (usize, usize) {
        let (address, asked) = answering(status);
        let mut wire = Wire::new(Duration::ZERO);
        let request = || http::Request::get(format!("http://{address}/")).body(Vec::new()).unwrap();
        let answered = (0..30).filter(|_| wire.exchange(request()).is_ok()).count();
        (answered, asked.load(Ordering::Relaxed))
    }

    #[test]
    fn ten_rejections_end_a_run() {
        assert_eq!(ask_thirty_times("401 Unauthorized"), (10, 10));
        assert_eq!(ask_thirty_times("200 OK"), (30, 30));
    }

    #[test]
    fn one_429_ends_a_run() {
        assert_eq!(ask_thirty_times("429 Too Many Requests"), (0, 1));
    }
}
