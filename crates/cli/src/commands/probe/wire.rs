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
        Self { agent, pause, sent: 0, rejected: 0 }
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
        if self.rejected >= MOST_REJECTED {
            return Err(Failure::new(Exit::NotReady, "ten requests were rejected: no more are sent in this run"));
        }
        if self.sent > 0 {
            thread::sleep(self.pause);
        }
        self.sent = self.sent.saturating_add(1);
        let mut request = http::Request::try_from(request).map_err(|error| no_answer(&error))?;
        change(&mut request);
        // An empty body is one to `ureq`: it would add `Content-Length: 0` to a GET.
        let empty = request.body().is_empty();
        let answer = if empty { self.agent.run(request.map(drop)) } else { self.agent.run(request) };
        let (head, mut body) = answer.map_err(|error| no_answer(&error))?.into_parts();
        let body = body.with_config().limit(MAX_BODY).read_to_vec().map_err(|error| no_answer(&error))?;
        let answer = Response::from(http::Response::from_parts(head, body));
        match answer.status() {
            TOO_MANY_REQUESTS => {
                return Err(Failure::new(Exit::NotReady, "the server answers 429: nothing more is sent"));
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
