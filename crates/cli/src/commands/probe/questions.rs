//! The questions, and how each is put. All are put with GETs of the list of accounts.

use std::time::Duration;

use ibkr_oauth::{AccessToken, ApiRequest, Consumer, OAuthSession, Outbound, QueryPolicy, Request, Response, UnixTime};
use ibkr_oauth_tokio::{Credentials, CredentialsError};
use serde_json::Value;
use ureq::http::header::AUTHORIZATION;
use ureq::http::{self, HeaderValue, Uri};

use crate::exit::{Exit, Failure};
use crate::surroundings::{now, rng};

use super::answers::Answers;
use super::wire::Wire;

/// It works with a live session token alone (protocol section 8), whatever its query is.
const PATH: &str = "/portfolio/accounts";
/// By how many seconds timestamps are ahead, one after the other: the first that is rejected ends it.
const AHEAD: [u64; 8] = [10, 30, 60, 120, 240, 360, 600, 900];
/// Nothing else is as long after the login as a token's expiry.
const LONG: Duration = Duration::from_secs(3600);

pub struct Questions {
    /// One for each policy: the same keys.
    excluding: Consumer,
    folding: Consumer,
    access_token: AccessToken,
    wire: Wire,
    answers: Answers,
    /// Set by the login.
    session: Option<OAuthSession>,
    /// Which signatures with a query are accepted.
    accepts: Accepted,
}

/// Whether signatures say anything at all, and of requests with a query, which.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepted {
    Anything,
    Query { excluded: bool, folded: bool },
}

impl Questions {
    pub fn new(credentials: &Credentials, wire: Wire, answers: Answers) -> Result<Self, Failure> {
        let consumer = |policy| {
            let builder = credentials.consumer()?.query_policy(policy);
            builder.build().map_err(|error| Failure::new(Exit::Credentials, error.to_string()))
        };
        let missing =
            || CredentialsError::Missing { key: "access_token", variable: "IBKR_OAUTH_ACCESS_TOKEN".to_owned() };
        Ok(Self {
            excluding: consumer(QueryPolicy::Exclude)?,
            folding: consumer(QueryPolicy::Fold)?,
            access_token: credentials.access_token()?.ok_or_else(missing)?,
            wire,
            answers,
            session: None,
            accepts: Accepted::Query { excluded: false, folded: false },
        })
    }

    pub fn end(self) -> (Wire, Answers) {
        (self.wire, self.answers)
    }

    /// Logs in, and sees what the expiration means and whether the list of accounts can be had.
    pub fn log_in(&mut self) -> Result<(), Failure> {
        let (session, expiration) = self.new_session()?;
        let expiration = expiration.map(|at| (at >= now().saturating_add(LONG), at.saturating_since(now())));
        let question = "What is live_session_token_expiration?";
        let seen = |left: Duration| format!("{} s after the answer", left.as_secs());
        match expiration {
            Some((true, left)) => self.answers.add("expiration", question, "the expiry", seen(left)),
            Some((false, left)) => self.answers.add("expiration", question, "the time of computation", seen(left)),
            None => self.answers.add("expiration", question, "not there", "no number in the answer"),
        }
        self.session = Some(session);
        let request = self.sign(&self.excluding, &ApiRequest::get(PATH), now())?;
        match self.is_accepted(request, |_| ())? {
            true => Ok(()),
            false => Err(Failure::new(
                Exit::Rejected,
                format!("GET {PATH} is rejected with a fresh token: nothing can be told"),
            )),
        }
    }

    pub fn is_the_signature_verified(&mut self) -> Result<(), Failure> {
        let request = self.sign(&self.excluding, &ApiRequest::get(PATH), now())?;
        let question = "Is the signature of API requests verified?";
        if self.is_accepted(request, spoil_signature)? {
            self.accepts = Accepted::Anything;
            self.answers.add("signature", question, "no", "a wrong one is accepted");
        } else {
            self.answers.add("signature", question, "yes", "a wrong one is rejected");
        }
        Ok(())
    }

    /// Protocol section 14.1.
    pub fn is_the_query_signed(&mut self) -> Result<(), Failure> {
        let question = "Does the signature cover the query?";
        if self.accepts == Accepted::Anything {
            self.answers.add("query", question, "cannot be told", "signatures are not verified");
            return Ok(());
        }
        let request = ApiRequest::get(PATH).query(&[("probe", "1")]);
        let excluded = self.sign(&self.excluding, &request, now())?;
        let excluded = self.is_accepted(excluded, |_| ())?;
        let folded = self.sign(&self.folding, &request, now())?;
        let folded = self.is_accepted(folded, |_| ())?;
        let answer = match (excluded, folded) {
            (true, true) => "either way is accepted",
            (true, false) => "no",
            (false, true) => "yes",
            (false, false) => "neither way is accepted",
        };
        self.accepts = Accepted::Query { excluded, folded };
        self.answers.add("query", question, answer, format!("without: {}, with: {}", word(excluded), word(folded)));
        Ok(())
    }

    /// Protocol section 3.4.
    pub fn is_a_plus_a_space(&mut self) -> Result<(), Failure> {
        let question = "Is + in a query a space, to a signature that covers it?";
        let Accepted::Query { folded: true, excluded } = self.accepts else {
            self.answers.add("plus", question, "cannot be told", "signatures do not cover the query");
            return Ok(());
        };
        if excluded {
            self.answers.add("plus", question, "cannot be told", "signatures need not cover the query");
            return Ok(());
        }
        let request = ApiRequest::get(PATH).query(&[("probe", "a b")]);
        let percent = self.sign(&self.folding, &request, now())?;
        let percent = self.is_accepted(percent, |_| ())?;
        let plus = self.sign(&self.folding, &request, now())?;
        let plus = self.is_accepted(plus, write_plus)?;
        let answer = if plus { "yes" } else { "no" };
        self.answers.add("plus", question, answer, format!("%20: {}, +: {}", word(percent), word(plus)));
        Ok(())
    }

    /// Protocol section 13.
    pub fn does_an_older_token_survive(&mut self) -> Result<(), Failure> {
        let question = "Does an older live session token survive a newer one?";
        if self.accepts == Accepted::Anything {
            self.answers.add("older-token", question, "cannot be told", "signatures are not verified");
            return Ok(());
        }
        let (newer, _) = self.new_session()?;
        let old = self.sign(&self.excluding, &ApiRequest::get(PATH), now())?;
        let survives = self.is_accepted(old, |_| ())?;
        self.session = Some(newer);
        let new = self.sign(&self.excluding, &ApiRequest::get(PATH), now())?;
        let is_good = self.is_accepted(new, |_| ())?;
        let answer = if survives { "yes" } else { "no" };
        self.answers.add(
            "older-token",
            question,
            answer,
            format!("older: {}, newer: {}", word(survives), word(is_good)),
        );
        Ok(())
    }

    /// Protocol section 7. An accepted timestamp may make the server reject all that are older: so the small ones come first.
    pub fn how_far_may_timestamps_be_ahead(&mut self) -> Result<(), Failure> {
        let question = "How far may a timestamp be ahead?";
        let mut accepted = 0;
        for seconds in AHEAD {
            let later = now().saturating_add(Duration::from_secs(seconds));
            let request = self.sign(&self.excluding, &ApiRequest::get(PATH), later)?;
            if !self.is_accepted(request, |_| ())? {
                let seen = format!("{accepted} s: accepted, {seconds} s: rejected");
                self.answers.add("timestamp", question, "there is a limit", seen);
                return Ok(());
            }
            accepted = seconds;
        }
        self.answers.add("timestamp", question, "no limit was found", format!("{accepted} s: accepted"));
        Ok(())
    }

    /// A session with a new live session token, and what the server calls its expiration.
    fn new_session(&mut self) -> Result<(OAuthSession, Option<UnixTime>), Failure> {
        let mut session = OAuthSession::with_access_token(self.excluding.clone(), self.access_token.clone());
        let mut expiration = None;
        while session.live(now()).is_none() {
            let outbound = session.poll_request(&mut rng(), now()).map_err(|error| rejected(&error))?;
            let Some(Outbound { request, exchange }) = outbound else { break };
            let answer = self.wire.send(request, |_| ())?;
            expiration = expiration_in(&answer);
            // A clock that was off is corrected by now: the next request has the right timestamp.
            if let Err(error) = session.handle_response(exchange, &answer, now())
                && error.retry(now()) != ibkr_oauth::Retry::Again
            {
                return Err(rejected(&error));
            }
        }
        Ok((session, expiration))
    }

    /// Signs with the current token, as `consumer` does.
    fn sign(&self, consumer: &Consumer, request: &ApiRequest<'_>, at: UnixTime) -> Result<Request, Failure> {
        let session = self.session.as_ref().ok_or_else(|| Failure::new(Exit::Login, "there is no session"))?;
        let snapshot = session.snapshot();
        let session = OAuthSession::resume(consumer.clone(), snapshot.expose(), now());
        let session = session.map_err(|error| Failure::new(Exit::Login, error.to_string()))?;
        let live = session.live(now()).ok_or_else(|| Failure::new(Exit::Login, "the session has expired"))?;
        live.sign(request, &mut rng(), at).map_err(|error| rejected(&error))
    }

    fn is_accepted(
        &mut self,
        request: Request,
        change: impl FnOnce(&mut http::Request<Vec<u8>>),
    ) -> Result<bool, Failure> {
        Ok((200..300).contains(&self.wire.send(request, change)?.status()))
    }
}

fn rejected(error: &ibkr_oauth::Error) -> Failure {
    Failure::new(Exit::Login, format!("not logged in: {error}"))
}

fn expiration_in(answer: &Response<'_>) -> Option<UnixTime> {
    let body: Value = serde_json::from_slice(answer.body()).ok()?;
    body.get("live_session_token_expiration")?.as_u64().map(UnixTime::from_millis)
}

fn word(accepted: bool) -> &'static str {
    if accepted { "accepted" } else { "rejected" }
}

/// Changes one letter of the signature.
fn spoil_signature(request: &mut http::Request<Vec<u8>>) {
    const NAME: &str = "oauth_signature=\"";
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some((before, after)) = header.split_once(NAME) else { return };
    let first = if after.starts_with('A') { 'B' } else { 'A' };
    let spoiled = format!("{before}{NAME}{first}{}", after.chars().skip(1).collect::<String>());
    if let Ok(value) = HeaderValue::try_from(spoiled) {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
}

fn write_plus(request: &mut http::Request<Vec<u8>>) {
    if let Ok(uri) = Uri::try_from(request.uri().to_string().replace("%20", "+")) {
        *request.uri_mut() = uri;
    }
}
