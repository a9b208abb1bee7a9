//! Timestamps and nonces: no request counts twice (protocol section 7).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::authorization::Authorization;
use crate::rejection::Rejection;
use crate::time::UnixTime;

/// How far a request may fall behind the newest of its consumer: concurrent requests overtake one another on the way.
const OVERTAKING_SECONDS: u64 = 5;

/// Longest nonce that is remembered, in bytes; those in use have 15 to 32.
const MAX_NONCE_LENGTH: usize = 128;

/// Most nonces that are remembered at once: some 400 requests a second for ten minutes.
const MAX_NONCES: usize = 1 << 18;

/// Most nonces that a request makes the guard forget: more than one, so that the memory shrinks after a rush, and few, so
/// that no request pays for the rush.
const FORGOTTEN_AT_ONCE: usize = 8;

/// What stands for a consumer key, a token and a nonce, since a client chooses how long a token is.
type Digest = [u8; 32];

/// When a request says it was made, and what tells it from all others.
pub(crate) struct Stamp<'r> {
    /// Seconds since 1970.
    timestamp: u64,
    nonce: &'r str,
}

impl<'r> Stamp<'r> {
    /// "Values beyond 10 digits will result in an error."
    pub(crate) fn read(authorization: &'r Authorization) -> Result<Self, Rejection> {
        let (text, nonce) = (authorization.get("oauth_timestamp")?, authorization.get("oauth_nonce")?);
        let digits = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
        let timestamp = text.parse().ok().filter(|_| digits);
        let timestamp = timestamp.ok_or(Rejection::Malformed("oauth_timestamp is not seconds in 10 digits"))?;
        if nonce.is_empty() || nonce.len() > MAX_NONCE_LENGTH {
            return Err(Rejection::Malformed("oauth_nonce is empty or too long"));
        }
        Ok(Self { timestamp, nonce })
    }
}

/// What is remembered of verified requests; others leave no trace.
pub(crate) struct ReplayGuard {
    /// How far a timestamp may be from now, either way.
    window: Duration,
    /// The newest timestamp of each consumer.
    newest: BTreeMap<String, u64>,
    nonces: BTreeSet<Digest>,
    /// The same, by the second of their timestamp: what is out of date comes first.
    by_second: BTreeMap<u64, Vec<Digest>>,
}

impl ReplayGuard {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, newest: BTreeMap::new(), nonces: BTreeSet::new(), by_second: BTreeMap::new() }
    }

    pub(crate) fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// Is the request from now, or near it? On rejection, the reason.
    pub(crate) fn check_clock(&self, stamp: &Stamp<'_>, now: UnixTime) -> Result<(), &'static str> {
        if now.as_secs().abs_diff(stamp.timestamp) > self.window.as_secs() {
            return Err("oauth_timestamp is too far from the time of the Date header");
        }
        Ok(())
    }

    /// Takes note of a request whose signature is verified, or gives the reason why it must not count.
    pub(crate) fn admit(
        &mut self,
        consumer: &str,
        token: &str,
        stamp: &Stamp<'_>,
        now: UnixTime,
    ) -> Result<(), &'static str> {
        let newest = self.newest.get(consumer).copied().unwrap_or_default();
        if stamp.timestamp < newest.saturating_sub(OVERTAKING_SECONDS) {
            return Err("oauth_timestamp is older than that of an earlier request");
        }
        let digest = digest(consumer, token, stamp.nonce);
        if self.nonces.contains(&digest) {
            return Err("oauth_nonce was used before");
        }
        self.forget(now);
        if self.nonces.len() >= MAX_NONCES {
            return Err("more requests than can be remembered");
        }
        self.nonces.insert(digest);
        self.by_second.entry(stamp.timestamp).or_default().push(digest);
        self.newest.insert(consumer.into(), newest.max(stamp.timestamp));
        Ok(())
    }

    /// Forgets some of what [`Self::check_clock`] rejects anyway.
    fn forget(&mut self, now: UnixTime) {
        let oldest = now.saturating_sub(self.window).as_secs();
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some(mut second) = self.by_second.first_entry().filter(|second| *second.key() < oldest) else {
                return;
            };
            match second.get_mut().pop() {
                Some(digest) => _ = self.nonces.remove(&digest),
                None => _ = second.remove(),
            }
        }
    }
}

/// Each part with its length, so that no two triples run together to the same bytes.
fn digest(consumer: &str, token: &str, nonce: &str) -> Digest {
    let mut hash = Sha256::new();
    for part in [consumer, token, nonce] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn admit(guard: &mut ReplayGuard, timestamp: u64, nonce: &str) -> Result<(), &'static str> {
        let (stamp, now) = (Stamp { timestamp, nonce }, Duration::from_secs(timestamp));
        guard.check_clock(&stamp, now)?;
        guard.admit("KEY", "token", &stamp, now)
    }

    #[test]
    fn a_nonce_counts_once_for_a_consumer_and_token() {
        let mut guard = ReplayGuard::new(WINDOW);
        admit(&mut guard, 1_700_000_000, "n").unwrap();
        assert_eq!(admit(&mut guard, 1_700_000_001, "n"), Err("oauth_nonce was used before"));
        admit(&mut guard, 1_700_000_001, "m").unwrap();
        let stamp = Stamp { timestamp: 1_700_000_001, nonce: "n" };
        guard.admit("KEY", "other token", &stamp, Duration::from_secs(1_700_000_001)).unwrap();
        guard.admit("OTHER", "token", &stamp, Duration::from_secs(1_700_000_001)).unwrap();
        guard.admit("KEYt", "oken", &stamp, Duration::from_secs(1_700_000_001)).unwrap();
        guard.admit("KEY", "tokenn", &Stamp { nonce: "", ..stamp }, Duration::from_secs(1_700_000_001)).unwrap();
    }

    #[test]
    fn requests_may_overtake_one_another_but_not_travel_in_time() {
        let mut guard = ReplayGuard::new(WINDOW);
        admit(&mut guard, 1_700_000_100, "a").unwrap();
        admit(&mut guard, 1_700_000_095, "b").unwrap();
        assert!(admit(&mut guard, 1_700_000_094, "c").is_err());
        for (timestamp, near) in [(299, true), (300, true), (301, false)] {
            let (past, future) = (1_700_000_000 - timestamp, 1_700_000_000 + timestamp);
            for timestamp in [past, future] {
                let stamp = Stamp { timestamp, nonce: "d" };
                assert_eq!(guard.check_clock(&stamp, Duration::from_secs(1_700_000_000)).is_ok(), near);
            }
        }
    }

    #[test]
    fn the_memory_is_bounded_by_the_window() {
        let mut guard = ReplayGuard::new(WINDOW);
        for count in 0..20_000_u64 {
            admit(&mut guard, 1_700_000_000 + count, &format!("{count}")).unwrap();
        }
        assert_eq!((guard.nonces.len(), guard.by_second.len()), (301, 301));
        assert!(admit(&mut guard, 1_700_019_999, "19999").is_err(), "what is within the window is never forgotten");
        assert!(admit(&mut guard, 1_700_019_999, "19700").is_err());
    }

    #[test]
    fn the_memory_is_bounded_within_the_window_too() {
        let mut guard = ReplayGuard::new(WINDOW);
        for count in 0..MAX_NONCES {
            admit(&mut guard, 1_700_000_000, &format!("{count}")).unwrap();
        }
        assert_eq!(admit(&mut guard, 1_700_000_300, "n"), Err("more requests than can be remembered"));
        assert_eq!(guard.nonces.len(), MAX_NONCES);
        for count in 0..100 {
            let remembered = guard.nonces.len();
            admit(&mut guard, 1_700_000_301, &format!("late {count}")).unwrap();
            assert_eq!(guard.nonces.len(), remembered + 1 - FORGOTTEN_AT_ONCE, "no request pays for all before it");
        }
    }

    #[test]
    fn the_longest_nonce_is_taken() {
        let header = format!(r#"OAuth oauth_timestamp="1700000000", oauth_nonce="{}""#, "n".repeat(MAX_NONCE_LENGTH));
        let authorization = Authorization::parse(header.as_bytes()).unwrap();
        assert!(Stamp::read(&authorization).is_ok());
    }

    #[test]
    fn odd_stamps_are_rejected() {
        for (timestamp, nonce) in [
            ("170000000", "n"),
            ("17000000000", "n"),
            ("+170000000", "n"),
            ("170000000x", "n"),
            ("1700000000", ""),
            ("1700000000", &"n".repeat(129)),
        ] {
            let header = format!(r#"OAuth oauth_timestamp="{timestamp}", oauth_nonce="{nonce}""#);
            let authorization = Authorization::parse(header.as_bytes()).unwrap();
            assert!(matches!(Stamp::read(&authorization), Err(Rejection::Malformed(_))), "{header}");
        }
    }
}
