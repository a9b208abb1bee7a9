//! What clients of the Client Portal Gateway do to the session. Here it is the machine's: it is asked, or told.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use ibkr_oauth_tokio::ibkr_oauth::brokerage::{BrokeragePhase, CompetePolicy};
use ibkr_oauth_tokio::ibkr_oauth::{Method, UnixTime};
use ibkr_oauth_tokio::{Activity, Status, WebApi};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::answer::{Answer, Fate, answered, failed};
use crate::forward::Forwarded;
use crate::metrics::Metrics;

/// For so long, the answer to one client's tickle is good for all; if it was a refusal, for those only who waited for it.
const TICKLE_LIFETIME: Duration = Duration::from_secs(5);
const REFUSAL_LIFETIME: Duration = Duration::from_secs(1);
/// How long a client that wants a brokerage session waits for it.
const OPENING_TIME: Duration = Duration::from_secs(15);

/// What a path means for the session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Tickle,
    Init,
    Reauthenticate,
    Validate,
    LogOut,
    /// Asks how the brokerage session stands, and opens none.
    Status,
}

impl Action {
    /// What a path below the base URL asks for, in any spelling that a server may take for it; `None` if it does not concern the
    /// session.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path.trim_end_matches('/').to_ascii_lowercase().as_str() {
            "/tickle" => Self::Tickle,
            "/iserver/auth/ssodh/init" => Self::Init,
            "/iserver/reauthenticate" => Self::Reauthenticate,
            "/sso/validate" => Self::Validate,
            "/logout" => Self::LogOut,
            "/iserver/auth/status" => Self::Status,
            _ => return None,
        })
    }
}

/// The session as clients see it.
#[derive(Default)]
pub(crate) struct Session {
    /// The answer to the latest tickle, and until when it is good.
    tickled: Mutex<Option<(Instant, Answer)>>,
}

impl Session {
    pub(crate) async fn act(&self, action: Action, api: &WebApi, compete: CompetePolicy, metrics: &Metrics) -> Answer {
        match action {
            Action::Validate => validate(&api.status()),
            Action::LogOut => {
                api.log_out().await;
                *self.tickled.lock().await = None;
                answered(&json!({ "status": true }))
            }
            Action::Reauthenticate => {
                ask_for_brokerage_session(api, compete);
                answered(&json!({ "message": "triggered" }))
            }
            Action::Init => {
                ask_for_brokerage_session(api, compete);
                let is_settled = |status: &Status| status.is_ready() || status.brokerage == BrokeragePhase::Competing;
                // Whatever comes of it, the answer says how things stand then.
                let _ = timeout(OPENING_TIME, api.wait_until(is_settled)).await;
                // In content the same as the answer to init.
                Forwarded::new(Method::Post, "/iserver/auth/status").send(api, metrics).await
            }
            Action::Tickle | Action::Status if is_logged_out(&api.status()) => {
                let why = "logged out: the next request of another kind logs in again";
                failed(StatusCode::UNAUTHORIZED, Fate::NotSent, why)
            }
            Action::Tickle => self.tickle(api, metrics).await,
            Action::Status => Forwarded::new(Method::Post, "/iserver/auth/status").send(api, metrics).await,
        }
    }

    /// One tickle is enough for all clients that ask at about the same time.
    async fn tickle(&self, api: &WebApi, metrics: &Metrics) -> Answer {
        let mut tickled = self.tickled.lock().await;
        if let Some((_, answer)) = tickled.as_ref().filter(|(until, _)| Instant::now() < *until) {
            return answer.clone();
        }
        let answer = Forwarded::new(Method::Post, "/tickle").send(api, metrics).await;
        let lifetime = if answer.status().is_success() { TICKLE_LIFETIME } else { REFUSAL_LIFETIME };
        *tickled = Instant::now().checked_add(lifetime).map(|until| (until, answer.clone()));
        answer
    }
}

/// Logs in again, if a client has logged out.
pub(crate) fn wake(api: &WebApi) {
    if is_logged_out(&api.status()) {
        api.open();
    }
}

fn is_logged_out(status: &Status) -> bool {
    matches!(status.activity, Activity::LoggingOut | Activity::LoggedOut)
}

/// Lets the machine look after its brokerage session; only by the proxy's own policy it takes one from somebody else.
fn ask_for_brokerage_session(api: &WebApi, compete: CompetePolicy) {
    let status = api.status();
    let may_open = compete == CompetePolicy::TakeOver || status.brokerage != BrokeragePhase::Competing;
    if is_logged_out(&status) || status.activity == Activity::Running && !status.is_ready() && may_open {
        api.open();
    } else {
        api.doubt();
    }
}

/// `GET /sso/validate`, which IBKR does not serve for OAuth 1.0a
/// ([protocol section 8](ibkr_oauth_tokio::ibkr_oauth::protocol#section-8)).
fn validate(status: &Status) -> Answer {
    let now = UnixTime::from(SystemTime::now());
    let left = status.expires_at.map_or(Duration::ZERO, |until| until.saturating_since(now));
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    answered(&json!({ "RESULT": status.is_logged_in(), "EXPIRES": left }))
}
