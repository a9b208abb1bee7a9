//! Brokerage sessions: one for each user, whoever logs in (protocol section 8).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::UnixTime;

/// How long a brokerage session outlives the last request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(6 * 60);

/// By user name.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct BrokerageSessions {
    sessions: BTreeMap<String, BrokerageSession>,
}

#[derive(Clone, Serialize, Deserialize)]
struct BrokerageSession {
    /// The access token it was opened with, empty for an incident's; to all others it is a competitor.
    holder: String,
    opened: UnixTime,
    last_request: UnixTime,
}

/// How a user's brokerage session looks to one access token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Absent,
    Ready,
    Competing,
}

impl BrokerageSessions {
    /// Those that were opened by requests, and not by an incident.
    pub(crate) fn of_clients(&self) -> Self {
        let of_clients = self.sessions.iter().filter(|(_, session)| !session.holder.is_empty());
        Self { sessions: of_clients.map(|(user, session)| (user.clone(), session.clone())).collect() }
    }

    /// Opens the session, unless another holds it and is not to be competed with.
    pub(crate) fn open(&mut self, user: &str, holder: &str, compete: bool, now: UnixTime) {
        if compete || self.standing(user, holder, now) != Standing::Competing {
            let session = BrokerageSession { holder: holder.into(), opened: now, last_request: now };
            self.sessions.insert(user.into(), session);
        }
    }

    pub(crate) fn standing(&self, user: &str, holder: &str, now: UnixTime) -> Standing {
        let session = self.sessions.get(user);
        let session = session.filter(|session| now.saturating_sub(session.last_request) < IDLE_TIMEOUT);
        match session {
            None => Standing::Absent,
            Some(session) if session.holder == holder => Standing::Ready,
            Some(_) => Standing::Competing,
        }
    }

    /// How long ago the user's session was opened; no time if there is none.
    pub(crate) fn age(&self, user: &str, now: UnixTime) -> Duration {
        self.sessions.get(user).map(|session| now.saturating_sub(session.opened)).unwrap_or_default()
    }

    /// Any request of its holder keeps a session alive. Returns whether this one is the first in its minute.
    pub(crate) fn touch(&mut self, user: &str, holder: &str, now: UnixTime) -> bool {
        let is_ready = self.standing(user, holder, now) == Standing::Ready;
        let Some(session) = self.sessions.get_mut(user).filter(|_| is_ready) else { return false };
        let before = std::mem::replace(&mut session.last_request, now);
        before.as_secs() / 60 != now.as_secs() / 60
    }

    pub(crate) fn close_all(&mut self) {
        self.sessions.clear();
    }

    pub(crate) fn close(&mut self, user: &str, holder: &str) {
        self.sessions.retain(|name, session| name != user || session.holder != holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = Duration::from_secs(1_700_000_000);

    #[test]
    fn a_session_lives_as_long_as_its_holder_asks() {
        let mut sessions = BrokerageSessions::default();
        sessions.open("user", "a", false, START);
        let later = START.saturating_add(Duration::from_secs(359));
        sessions.touch("user", "a", later);
        let much_later = later.saturating_add(Duration::from_secs(359));
        assert_eq!(sessions.standing("user", "a", much_later), Standing::Ready);
        let too_late = later.saturating_add(IDLE_TIMEOUT);
        assert_eq!(sessions.standing("user", "a", too_late), Standing::Absent);
        sessions.touch("user", "a", too_late);
        assert_eq!(sessions.standing("user", "a", too_late), Standing::Absent, "a dead session is not revived");
    }

    #[test]
    fn of_two_only_the_competing_one_gets_the_session() {
        let mut sessions = BrokerageSessions::default();
        sessions.open("user", "a", false, START);
        sessions.open("user", "b", false, START);
        assert_eq!(sessions.standing("user", "b", START), Standing::Competing);
        sessions.open("user", "b", true, START);
        assert_eq!(sessions.standing("user", "b", START), Standing::Ready);
        assert_eq!(sessions.standing("user", "a", START), Standing::Competing);
        sessions.close("user", "a");
        assert_eq!(sessions.standing("user", "b", START), Standing::Ready, "only its holder closes it");
        sessions.close("user", "b");
        assert_eq!(sessions.standing("user", "a", START), Standing::Absent);
    }
}
