//! IBKR as a whole: requests in, responses out.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, USER_AGENT};
use http::{Method, Request, StatusCode};
use rand_core::CryptoRng;
use serde_json::Value;

use crate::base_url::BaseUrl;
use crate::brokerage::BrokerageSessions;
use crate::orders::Orders;
use crate::registry::{Consumer, Registry};
use crate::rejection::Rejection;
use crate::replay::ReplayGuard;
use crate::response::{JSON, Response, dated, response};
use crate::schedule::Schedule;
use crate::settings::Settings;
use crate::signed_request::SignedRequest;
use crate::time::UnixTime;
use crate::{GatewayError, RegisteredConsumer, User};

/// How far a timestamp may be from now, unless set otherwise; IBKR's own tolerance is not documented.
const TIMESTAMP_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Longest request body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// IBKR, as seen through its Web API: consumers and users on file, tokens issued, requests answered.
///
/// Its memory is bounded, whatever it is sent, and it never panics.
pub struct Gateway {
    pub(crate) base_url: BaseUrl,
    pub(crate) registry: Registry,
    pub(crate) replay: ReplayGuard,
    pub(crate) brokerage: BrokerageSessions,
    pub(crate) orders: Orders,
    pub(crate) schedule: Schedule,
    pub(crate) settings: Settings,
    /// The `id` in error messages: counts rejections.
    pub(crate) trace: u32,
    pub(crate) revision: u64,
}

impl Gateway {
    /// Returns a gateway that is reached under this base URL, such as `http://127.0.0.1:4000/v1/api`, and knows nobody yet.
    ///
    /// Signatures must cover this URL, whatever the `Host` header says.
    ///
    /// # Errors
    /// [`GatewayError::BaseUrl`]
    pub fn new(base_url: &str) -> Result<Self, GatewayError> {
        Ok(Self {
            base_url: BaseUrl::parse(base_url).ok_or(GatewayError::BaseUrl)?,
            registry: Registry::default(),
            replay: ReplayGuard::new(TIMESTAMP_WINDOW),
            brokerage: BrokerageSessions::default(),
            orders: Orders::default(),
            schedule: Schedule::default(),
            settings: Settings::default(),
            trace: 0,
            revision: 0,
        })
    }

    /// Returns the base URL, in the form that signatures must cover.
    pub fn base_url(&self) -> String {
        self.base_url.to_string()
    }

    /// Puts a consumer on file, or replaces the one of that key.
    ///
    /// # Errors
    /// [`GatewayError::ConsumerKey`], [`GatewayError::SignatureKey`], [`GatewayError::EncryptionKey`],
    /// [`GatewayError::DhParams`], [`GatewayError::CallbackUrl`]: that one is unusable; nothing changes.
    pub fn register_consumer(&mut self, consumer: &RegisteredConsumer) -> Result<(), GatewayError> {
        self.registry.add_consumer(Consumer::parse(consumer)?);
        Ok(())
    }

    /// Adds a user, or replaces the one of that name.
    pub fn add_user(&mut self, user: User) {
        self.registry.add_user(user);
    }

    /// Returns the users, by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.registry.users()
    }

    /// Answers a request.
    ///
    /// Of its URI, path and query count; whatever scheme and host stand before them, the request is taken to have come
    /// to the [base URL](Self::base_url). The body is whole and free of transfer coding. What frames the response
    /// (`Content-Length`, `Connection`) is the carrier's to add, and so is what a [`Delivery`](crate::Delivery) among its
    /// extensions says.
    ///
    /// Statuses and bodies are those of protocol section 6. A rejection says why in its `Gateway-Reason` header. Only a
    /// request whose signature is verified changes anything.
    pub fn handle<B: AsRef<[u8]>>(
        &mut self,
        request: &Request<B>,
        rng: &mut dyn CryptoRng,
        now: SystemTime,
    ) -> http::Response<Vec<u8>> {
        let now = self.catch_up(now);
        let mut response = match self.answer(request, rng, now) {
            Ok(response) => dated(response, self.schedule.date(now)),
            Err(rejection) => self.reject(rejection, now),
        };
        self.schedule.delivery().map(|delivery| response.extensions_mut().insert(delivery));
        response
    }

    pub(crate) fn reject(&mut self, rejection: Rejection, now: UnixTime) -> Response {
        self.trace = self.trace.wrapping_add(1);
        dated(rejection.into_response(self.trace), self.schedule.date(now))
    }

    fn answer<B: AsRef<[u8]>>(
        &mut self,
        request: &Request<B>,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<Response, Rejection> {
        admit(request)?;
        self.schedule.admit()?;
        let target = self.base_url.resolve(request.uri()).ok_or(Rejection::NotFound)?;
        if let Some(odd) = self.schedule.odd_response(target.endpoint) {
            return Ok(odd);
        }
        let signed = SignedRequest::read(request, &self.base_url, target, self.settings.plus_in_query)?;
        let answer = self.answer_signed(&signed, target.endpoint, rng, now)?;
        Ok(response(StatusCode::OK, JSON, answer.to_string()))
    }

    fn answer_signed(
        &mut self,
        request: &SignedRequest<'_>,
        endpoint: &str,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<Value, Rejection> {
        match (request.method, endpoint) {
            ("POST", "/oauth/request_token") => self.request_token(request, rng, now),
            ("POST", "/oauth/access_token") => self.access_token(request, rng, now),
            ("POST", "/oauth/live_session_token") => self.live_session_token(request, rng, now),
            _ => {
                let caller = self.verify_hmac(request, now)?;
                self.schedule.admit_to_api()?;
                self.api(&caller, endpoint, request, self.schedule.now())
            }
        }
    }
}

/// What the edge in front of IBKR asks of any request (protocol sections 2.3 and 2.4).
pub(crate) fn admit<B: AsRef<[u8]>>(request: &Request<B>) -> Result<(), Rejection> {
    let headers = request.headers();
    if headers.get(USER_AGENT).is_none_or(|value| value.is_empty()) {
        return Err(Rejection::NoUserAgent);
    }
    if request.method() == Method::POST && !headers.contains_key(CONTENT_LENGTH) {
        return Err(Rejection::NoContentLength);
    }
    if request.body().as_ref().len() > MAX_BODY {
        return Err(Rejection::BodyTooLarge);
    }
    Ok(())
}

/// Shows the base URL only.
impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}
