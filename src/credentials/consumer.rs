//! The consumer: key, private keys, parameters and policies, fixed before the first request.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use crate::agreement::diffie_hellman::DhParams;
use crate::credentials::base_url::{self, BaseUrl, Scheme};
use crate::credentials::error::{ConfigError, UrlError};
use crate::credentials::identity::{Identity, IdentitySettings};
use crate::credentials::keys::ConsumerKeys;
use crate::signing::policy::{ParameterEncoding, QueryPolicy};

/// The server computes a 2048-bit power and an RSA decryption for a live session token; half a minute is ample.
const OAUTH_DEADLINE: Duration = Duration::from_secs(30);

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

struct Settings<I = Identity> {
    identity: I,
    keys: Arc<dyn ConsumerKeys>,
    dh: DhParams,
    authorize_url: BaseUrl,
    callback: String,
    oauth_deadline: Duration,
}

impl Consumer {
    /// Starts a builder from the three values that have no default. Everything else has a default.
    ///
    /// IBKR's consumer keys are nine upper-case letters; `TESTCONS` is its test consumer
    /// ([protocol section 9](crate::protocol#section-9)).
    pub fn builder(consumer_key: &str, keys: impl ConsumerKeys + 'static, dh: DhParams) -> ConsumerBuilder {
        let settings = Settings {
            identity: IdentitySettings::new(consumer_key),
            keys: Arc::new(keys),
            dh,
            authorize_url: BaseUrl::from_parts(Scheme::Https, "interactivebrokers.com", None, "/authorize"),
            callback: "oob".to_string(),
            oauth_deadline: OAUTH_DEADLINE,
        };
        ConsumerBuilder { settings, authorize_url: None }
    }

    /// The same without the keys.
    pub(crate) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Returns the consumer key.
    pub fn consumer_key(&self) -> &str {
        self.identity().consumer_key()
    }

    /// Returns the realm: `limited_poa`, or `test_realm` for the test consumer.
    pub fn realm(&self) -> &str {
        self.identity().realm()
    }

    /// Returns the base URL as it is signed: lower-case host, no default port, no trailing slash.
    pub fn base_url(&self) -> &str {
        self.identity().base_url()
    }

    pub(crate) fn authorize_url(&self) -> &str {
        self.0.authorize_url.as_str()
    }

    pub(crate) fn callback(&self) -> &str {
        &self.0.callback
    }

    pub(crate) fn keys(&self) -> &dyn ConsumerKeys {
        &*self.0.keys
    }

    pub(crate) fn dh(&self) -> &DhParams {
        &self.0.dh
    }

    pub(crate) fn oauth_deadline(&self) -> Duration {
        self.0.oauth_deadline
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("consumer_key", &self.consumer_key())
            .field("realm", &self.realm())
            .field("base_url", &self.base_url())
            .finish_non_exhaustive()
    }
}

/// The builder of a [`Consumer`]. [`build`](Self::build) checks every setting.
///
/// ```no_run
/// # use ibkr_oauth::{ConfigError, DhParams, RsaKeys};
/// # fn register(keys: RsaKeys, dh: DhParams) -> Result<(), ConfigError> {
/// use ibkr_oauth::{Consumer, QueryPolicy};
/// use std::time::Duration;
/// let consumer = Consumer::builder("MYCONSKEY", keys, dh)
///     .user_agent("my-trader/1.0")
///     .base_url("https://1.api.ibkr.com/v1/api") // if the usual host responds with 410
///     .query_policy(QueryPolicy::Fold) // if only requests with a query are rejected
///     .refresh_margin(Duration::from_secs(30 * 60))
///     .build()?;
/// assert_eq!(consumer.realm(), "limited_poa");
/// # Ok(()) }
/// ```
#[must_use = "nothing is set before `build`"]
pub struct ConsumerBuilder {
    settings: Settings<IdentitySettings>,
    /// What the caller gave in place of the default.
    authorize_url: Option<String>,
}

impl ConsumerBuilder {
    /// Sets the realm. Default: `test_realm` for `TESTCONS`, `limited_poa` for every other consumer key.
    pub fn realm(mut self, realm: &str) -> Self {
        self.settings.identity.realm = realm.to_string();
        self
    }

    /// Sets the base URL. Default: `https://api.ibkr.com/v1/api`. What stands here is both requested and signed.
    pub fn base_url(mut self, url: &str) -> Self {
        self.settings.identity.base_url = Some(url.to_string());
        self
    }

    /// Sets where users give consent. Default: `https://interactivebrokers.com/authorize`.
    pub fn authorize_url(mut self, url: &str) -> Self {
        self.authorize_url = Some(url.to_string());
        self
    }

    /// Sets the callback URL. Default: `oob`. With it, users land on the URL that was registered with the consumer key
    /// all the same, and copy the verifier out of the browser's address bar
    /// ([protocol section 1](crate::protocol#section-1)). What IBKR does with any other value is not documented.
    pub fn callback_url(mut self, url: &str) -> Self {
        self.settings.callback = url.to_string();
        self
    }

    /// Sets the `User-Agent`. Default: `ibkr-oauth/VERSION`. Any value will do, but there must be one
    /// ([protocol section 2.3](crate::protocol#section-2-3)).
    pub fn user_agent(mut self, user_agent: &str) -> Self {
        self.settings.identity.user_agent = user_agent.to_string();
        self
    }

    /// Fixes the query policy. Default: [`QueryPolicy::Exclude`], which a [`Client`](crate::Client) changes by itself
    /// if the server accepts only the other.
    pub fn query_policy(mut self, policy: QueryPolicy) -> Self {
        self.settings.identity.query_policy = Some(policy);
        self
    }

    /// Sets how parameters are encoded. Default: [`ParameterEncoding::Single`].
    pub fn parameter_encoding(mut self, encoding: ParameterEncoding) -> Self {
        self.settings.identity.parameter_encoding = encoding;
        self
    }

    /// Sets how long before a live session token's expiry the next one is fetched. Default: 10 minutes; less than 12
    /// hours.
    pub fn refresh_margin(mut self, margin: Duration) -> Self {
        self.settings.identity.refresh_margin = margin;
        self
    }

    /// Sets how long the response to one of the three OAuth requests is awaited before a fresh request is offered.
    /// Default: 30 seconds.
    pub fn oauth_deadline(mut self, deadline: Duration) -> Self {
        self.settings.oauth_deadline = deadline;
        self
    }

    /// Sets how long the response to a request of a [`BrokerageSession`](crate::brokerage::BrokerageSession) is awaited
    /// before a fresh request is offered. Default: 15 seconds.
    pub fn brokerage_deadline(mut self, deadline: Duration) -> Self {
        self.settings.identity.brokerage_deadline = deadline;
        self
    }

    /// Sends the caller's time as it is. Default: timestamps are corrected by what the server's `Date` headers say, as
    /// long as they are within a day of the caller's clock.
    pub fn without_clock_correction(mut self) -> Self {
        self.settings.identity.corrects_clock = false;
        self
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting and what is wrong with it.
    pub fn build(self) -> Result<Consumer, ConfigError> {
        let Settings { identity, keys, dh, authorize_url, callback, oauth_deadline } = self.settings;
        let identity = identity.build()?;
        let authorize_url = match &self.authorize_url {
            Some(url) => BaseUrl::parse(url).map_err(ConfigError::AuthorizeUrl)?,
            None => authorize_url,
        };
        check_callback(&callback).map_err(ConfigError::CallbackUrl)?;
        Ok(Consumer(Arc::new(Settings { identity, keys, dh, authorize_url, callback, oauth_deadline })))
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("consumer_key", &self.settings.identity.consumer_key)
            .finish_non_exhaustive()
    }
}

fn check_callback(callback: &str) -> Result<(), UrlError> {
    if callback == "oob" { Ok(()) } else { base_url::check_absolute(callback) }
}
