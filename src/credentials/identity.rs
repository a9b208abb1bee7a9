//! The identity of a consumer, without its keys: consumer key, realm, base URL, `User-Agent`, policies, and the
//! server's clock.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::time::Duration;

use crate::credentials::base_url::{BaseUrl, Scheme};
use crate::credentials::error::ConfigError;
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
/// IBKR aborts requests that take longer than 10 s ([protocol section 6.2](crate::protocol#section-6-2)).
const BROKERAGE_DEADLINE: Duration = Duration::from_secs(15);

/// What signing with a live session token takes beside the token. Cheap to clone; clones share one knowledge of the server's
/// clock and one series of timestamps.
#[derive(Clone)]
pub(crate) struct Identity(Arc<Inner>);

struct Inner {
    settings: IdentitySettings,
    base_url: Arc<BaseUrl>,
    clock: ServerClock,
}

/// Settings on their way to an [`Identity`].
pub(crate) struct IdentitySettings {
    pub(crate) consumer_key: String,
    pub(crate) realm: String,
    /// None: IBKR's.
    pub(crate) base_url: Option<String>,
    pub(crate) user_agent: String,
    /// None: the default, which a [`Client`](crate::Client) may change if the server wants the other.
    pub(crate) query_policy: Option<QueryPolicy>,
    pub(crate) parameter_encoding: ParameterEncoding,
    pub(crate) refresh_margin: Duration,
    pub(crate) brokerage_deadline: Duration,
    pub(crate) corrects_clock: bool,
}

impl IdentitySettings {
    /// The defaults.
    pub(crate) fn new(consumer_key: &str) -> Self {
        let realm = if consumer_key == TEST_CONSUMER { TEST_REALM } else { REALM };
        Self {
            consumer_key: consumer_key.to_string(),
            realm: realm.to_string(),
            base_url: None,
            user_agent: USER_AGENT.to_string(),
            query_policy: None,
            parameter_encoding: ParameterEncoding::default(),
            refresh_margin: REFRESH_MARGIN,
            brokerage_deadline: BROKERAGE_DEADLINE,
            corrects_clock: true,
        }
    }

    /// Checks every setting.
    pub(crate) fn build(self) -> Result<Identity, ConfigError> {
        check_header_text(&self.consumer_key).map_err(ConfigError::ConsumerKey)?;
        check_header_text(&self.realm).map_err(ConfigError::Realm)?;
        check_realm_goes_with(&self.realm, &self.consumer_key)?;
        let base_url = match &self.base_url {
            Some(url) => BaseUrl::parse(url).map_err(ConfigError::BaseUrl)?,
            None => BaseUrl::from_parts(Scheme::Https, "api.ibkr.com", None, "/v1/api"),
        };
        check_user_agent(&self.user_agent)?;
        if self.refresh_margin >= MAX_REFRESH_MARGIN {
            return Err(ConfigError::RefreshMargin);
        }
        Ok(Identity(Arc::new(Inner { settings: self, base_url: Arc::new(base_url), clock: ServerClock::default() })))
    }
}

impl Identity {
    pub(crate) fn consumer_key(&self) -> &str {
        &self.0.settings.consumer_key
    }

    pub(crate) fn realm(&self) -> &str {
        &self.0.settings.realm
    }

    /// The base URL as it is signed: lower-case host, no default port, no trailing slash.
    pub(crate) fn base_url(&self) -> &str {
        self.0.base_url.as_str()
    }

    pub(crate) fn parsed_base_url(&self) -> &Arc<BaseUrl> {
        &self.0.base_url
    }

    pub(crate) fn user_agent(&self) -> &str {
        &self.0.settings.user_agent
    }

    /// The policy that the caller fixed, if any.
    pub(crate) fn fixed_query_policy(&self) -> Option<QueryPolicy> {
        self.0.settings.query_policy
    }

    pub(crate) fn parameter_encoding(&self) -> ParameterEncoding {
        self.0.settings.parameter_encoding
    }

    pub(crate) fn refresh_margin(&self) -> Duration {
        self.0.settings.refresh_margin
    }

    pub(crate) fn brokerage_deadline(&self) -> Duration {
        self.0.settings.brokerage_deadline
    }

    pub(crate) fn clock(&self) -> &ServerClock {
        &self.0.clock
    }

    /// Learns the server's clock from the response to the request of `receipt`, read at `now`.
    pub(crate) fn learn_clock(&self, receipt: &Receipt, response: &Response<'_>, now: UnixTime) -> ClockVerdict {
        if self.0.settings.corrects_clock { self.clock().learn(receipt, response, now) } else { ClockVerdict::Innocent }
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

fn check_user_agent(user_agent: &str) -> Result<(), ConfigError> {
    let printable = user_agent.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let blank = user_agent.trim().is_empty();
    if printable && !blank && user_agent.len() <= 256 { Ok(()) } else { Err(ConfigError::UserAgent) }
}
