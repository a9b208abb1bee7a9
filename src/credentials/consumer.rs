//! Who we are: consumer key, keys, parameters and policies, fixed before the first request.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use crate::agreement::diffie_hellman::DhParams;
use crate::credentials::base_url::{self, BaseUrl, Scheme};
use crate::credentials::error::{ConfigError, UrlError};
use crate::credentials::keys::ConsumerKeys;
use crate::credentials::token::check_header_text;
use crate::signing::policy::{ParameterEncoding, QueryPolicy};
use crate::signing::server_clock::{ClockVerdict, ServerClock};
use crate::time::UnixTime;
use crate::wire::receipt::Receipt;
use crate::wire::response::Response;

/// The consumer key of IBKR's paper-only test consumer, the only one in realm `test_realm`
/// ([protocol section 9](crate::protocol#section-9)).
pub(crate) const TEST_CONSUMER: &str = "TESTCONS";
pub(crate) const TEST_REALM: &str = "test_realm";
pub(crate) const REALM: &str = "limited_poa";

const USER_AGENT: &str = concat!("ibkr-oauth/", env!("CARGO_PKG_VERSION"));
const REFRESH_MARGIN: Duration = Duration::from_secs(10 * 60);
const MAX_REFRESH_MARGIN: Duration = Duration::from_secs(12 * 60 * 60);
/// The server computes a 2048-bit power and an RSA decryption for a live session token; half a minute is ample.
const OAUTH_DEADLINE: Duration = Duration::from_secs(30);
/// IBKR aborts requests that take longer than 10 s ([protocol section 6.2](crate::protocol#section-6-2)).
const BROKERAGE_DEADLINE: Duration = Duration::from_secs(15);

/// A registered consumer. Cheap to clone; many sessions share one, and with it one knowledge of the server's clock and
/// one series of timestamps: give all sessions of a consumer key clones of one value.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn core::error::Error>> {
/// use ibkr_oauth::{Consumer, DhParams, RsaKeys, RsaPrivateKey};
/// # let read = |path: &str| std::fs::read_to_string(path);
/// let keys = RsaKeys::new(
///     RsaPrivateKey::from_pem(&read("private_signature.pem")?)?,
///     RsaPrivateKey::from_pem(&read("private_encryption.pem")?)?,
/// );
/// let dh = DhParams::from_pem(&read("dhparam.pem")?)?;
/// let consumer = Consumer::builder("MYCONSKEY", keys, dh).user_agent("my-trader/1.0").build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Consumer(Arc<Settings>);

struct Settings {
    consumer_key: String,
    realm: String,
    keys: Arc<dyn ConsumerKeys>,
    dh: DhParams,
    base_url: Arc<BaseUrl>,
    authorize_url: BaseUrl,
    callback: String,
    user_agent: String,
    /// None: the default, which a [`Client`](crate::Client) may change if the server wants the other.
    query_policy: Option<QueryPolicy>,
    parameter_encoding: ParameterEncoding,
    refresh_margin: Duration,
    oauth_deadline: Duration,
    brokerage_deadline: Duration,
    corrects_clock: bool,
    clock: ServerClock,
}

impl Consumer {
    /// Starts a builder from the three values that have no default. Everything else has a default.
    ///
    /// IBKR's consumer keys are nine upper-case letters; `TESTCONS` is its test consumer
    /// ([protocol section 9](crate::protocol#section-9)).
    pub fn builder(consumer_key: &str, keys: impl ConsumerKeys + 'static, dh: DhParams) -> ConsumerBuilder {
        let realm = if consumer_key == TEST_CONSUMER { TEST_REALM } else { REALM };
        let settings = Settings {
            consumer_key: consumer_key.to_string(),
            realm: realm.to_string(),
            keys: Arc::new(keys),
            dh,
            base_url: Arc::new(BaseUrl::from_parts(Scheme::Https, "api.ibkr.com", None, "/v1/api")),
            authorize_url: BaseUrl::from_parts(Scheme::Https, "interactivebrokers.com", None, "/authorize"),
            callback: "oob".to_string(),
            user_agent: USER_AGENT.to_string(),
            query_policy: None,
            parameter_encoding: ParameterEncoding::default(),
            refresh_margin: REFRESH_MARGIN,
            oauth_deadline: OAUTH_DEADLINE,
            brokerage_deadline: BROKERAGE_DEADLINE,
            corrects_clock: true,
            clock: ServerClock::default(),
        };
        ConsumerBuilder(settings, UncheckedUrls::default())
    }

    /// Returns the consumer key.
    pub fn consumer_key(&self) -> &str {
        &self.0.consumer_key
    }

    /// Returns the realm: `limited_poa`, or `test_realm` for the test consumer.
    pub fn realm(&self) -> &str {
        &self.0.realm
    }

    /// Returns the base URL as it is signed: lower-case host, no default port, no trailing slash.
    pub fn base_url(&self) -> &str {
        self.parsed_base_url().as_str()
    }

    pub(crate) fn parsed_base_url(&self) -> &Arc<BaseUrl> {
        &self.0.base_url
    }

    pub(crate) fn authorize_url(&self) -> &str {
        self.0.authorize_url.as_str()
    }

    pub(crate) fn callback(&self) -> &str {
        &self.0.callback
    }

    pub(crate) fn user_agent(&self) -> &str {
        &self.0.user_agent
    }

    pub(crate) fn keys(&self) -> &dyn ConsumerKeys {
        &*self.0.keys
    }

    pub(crate) fn dh(&self) -> &DhParams {
        &self.0.dh
    }

    /// The policy that the caller fixed, if any.
    pub(crate) fn fixed_query_policy(&self) -> Option<QueryPolicy> {
        self.0.query_policy
    }

    pub(crate) fn parameter_encoding(&self) -> ParameterEncoding {
        self.0.parameter_encoding
    }

    pub(crate) fn refresh_margin(&self) -> Duration {
        self.0.refresh_margin
    }

    pub(crate) fn oauth_deadline(&self) -> Duration {
        self.0.oauth_deadline
    }

    pub(crate) fn brokerage_deadline(&self) -> Duration {
        self.0.brokerage_deadline
    }

    pub(crate) fn clock(&self) -> &ServerClock {
        &self.0.clock
    }

    /// Learns the server's clock from the response to the request of `receipt`, read at `now`.
    pub(crate) fn learn_clock(&self, receipt: &Receipt, response: &Response<'_>, now: UnixTime) -> ClockVerdict {
        if self.0.corrects_clock { self.clock().learn(receipt, response, now) } else { ClockVerdict::Innocent }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("consumer_key", &self.0.consumer_key)
            .field("realm", &self.0.realm)
            .field("base_url", &self.base_url())
            .finish_non_exhaustive()
    }
}

/// Settings on their way to a [`Consumer`].
#[must_use = "nothing is set before `build`"]
pub struct ConsumerBuilder(Settings, UncheckedUrls);

/// What the caller gave in place of a default.
#[derive(Default)]
struct UncheckedUrls {
    base: Option<String>,
    authorize: Option<String>,
}

impl ConsumerBuilder {
    /// Sets the realm. Default: `test_realm` for `TESTCONS`, `limited_poa` for every other consumer key.
    pub fn realm(mut self, realm: &str) -> Self {
        self.0.realm = realm.to_string();
        self
    }

    /// Sets the base URL. Default: `https://api.ibkr.com/v1/api`. What stands here is both requested and signed.
    pub fn base_url(mut self, url: &str) -> Self {
        self.1.base = Some(url.to_string());
        self
    }

    /// Sets where users give consent. Default: `https://interactivebrokers.com/authorize`.
    pub fn authorize_url(mut self, url: &str) -> Self {
        self.1.authorize = Some(url.to_string());
        self
    }

    /// Sets the callback URL. Default: `oob`. With it, users land on the URL that was registered with the consumer key
    /// all the same, and copy the verifier out of the browser's address bar
    /// ([protocol section 1](crate::protocol#section-1)). What IBKR does with any other value is not documented.
    pub fn callback_url(mut self, url: &str) -> Self {
        self.0.callback = url.to_string();
        self
    }

    /// Sets the `User-Agent`. Default: `ibkr-oauth/VERSION`. Any value will do, but there must be one
    /// ([protocol section 2.3](crate::protocol#section-2-3)).
    pub fn user_agent(mut self, user_agent: &str) -> Self {
        self.0.user_agent = user_agent.to_string();
        self
    }

    /// Fixes the query policy. Default: [`QueryPolicy::Exclude`], which a [`Client`](crate::Client) changes by itself
    /// if the server accepts only the other.
    pub fn query_policy(mut self, policy: QueryPolicy) -> Self {
        self.0.query_policy = Some(policy);
        self
    }

    /// Sets how parameters are encoded. Default: [`ParameterEncoding::Single`].
    pub fn parameter_encoding(mut self, encoding: ParameterEncoding) -> Self {
        self.0.parameter_encoding = encoding;
        self
    }

    /// Sets how long before a live session token's expiry the next one is fetched. Default: 10 minutes; less than 12
    /// hours.
    pub fn refresh_margin(mut self, margin: Duration) -> Self {
        self.0.refresh_margin = margin;
        self
    }

    /// Sets how long the response to one of the three OAuth requests is awaited before a fresh request is offered.
    /// Default: 30 seconds.
    pub fn oauth_deadline(mut self, deadline: Duration) -> Self {
        self.0.oauth_deadline = deadline;
        self
    }

    /// Sets how long the response to a request of a [`BrokerageSession`](crate::brokerage::BrokerageSession) is awaited
    /// before a fresh request is offered. Default: 15 seconds.
    pub fn brokerage_deadline(mut self, deadline: Duration) -> Self {
        self.0.brokerage_deadline = deadline;
        self
    }

    /// Sends the caller's time as it is. Default: timestamps are corrected by what the server's `Date` headers say, as
    /// long as they are within a day of the caller's clock.
    pub fn without_clock_correction(mut self) -> Self {
        self.0.corrects_clock = false;
        self
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting and what is wrong with it.
    pub fn build(mut self) -> Result<Consumer, ConfigError> {
        let Self(settings, urls) = &mut self;
        check_header_text(&settings.consumer_key).map_err(ConfigError::ConsumerKey)?;
        check_header_text(&settings.realm).map_err(ConfigError::Realm)?;
        check_realm_goes_with(&settings.realm, &settings.consumer_key)?;
        if let Some(url) = &urls.base {
            settings.base_url = Arc::new(BaseUrl::parse(url).map_err(ConfigError::BaseUrl)?);
        }
        if let Some(url) = &urls.authorize {
            settings.authorize_url = BaseUrl::parse(url).map_err(ConfigError::AuthorizeUrl)?;
        }
        check_callback(&settings.callback).map_err(ConfigError::CallbackUrl)?;
        check_user_agent(&settings.user_agent)?;
        if settings.refresh_margin >= MAX_REFRESH_MARGIN {
            return Err(ConfigError::RefreshMargin);
        }
        Ok(Consumer(Arc::new(self.0)))
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder").field("consumer_key", &self.0.consumer_key).finish_non_exhaustive()
    }
}

/// [Protocol section 9](crate::protocol#section-9): "will only ever be one of two values". A third one is let through,
/// a swap is not.
pub(crate) fn check_realm_goes_with(realm: &str, consumer_key: &str) -> Result<(), ConfigError> {
    match (realm, consumer_key == TEST_CONSUMER) {
        (REALM, true) | (TEST_REALM, false) => Err(ConfigError::RealmContradictsConsumerKey),
        _ => Ok(()),
    }
}

fn check_callback(callback: &str) -> Result<(), UrlError> {
    if callback == "oob" { Ok(()) } else { base_url::check_absolute(callback) }
}

fn check_user_agent(user_agent: &str) -> Result<(), ConfigError> {
    let printable = user_agent.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let blank = user_agent.trim().is_empty();
    if printable && !blank && user_agent.len() <= 256 { Ok(()) } else { Err(ConfigError::UserAgent) }
}
