//! What is counted, and how it is told: Prometheus' text format, and the answer of a health check.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use ibkr_oauth_tokio::ibkr_oauth::UnixTime;
use ibkr_oauth_tokio::ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth_tokio::{Activity, Status, WebSockets};
use serde_json::json;

use crate::answer::{Answer, Fate, own};

/// Where a brokerage session can stand.
const PHASES: [BrokeragePhase; 7] = [
    BrokeragePhase::Missing,
    BrokeragePhase::Opening,
    BrokeragePhase::Ready,
    BrokeragePhase::Unconfirmed,
    BrokeragePhase::Competing,
    BrokeragePhase::LoggingOut,
    BrokeragePhase::LoggedOut,
];

#[derive(Default)]
pub(crate) struct Metrics {
    answers: Counts,
    own_answers: Counts,
    rejections: Counts,
    web_sockets: AtomicU64,
    turned_away: AtomicU64,
}

/// Counters of one name, each with a label. There are few labels.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, u64>>);

impl Counts {
    fn add(&self, label: String) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(label).or_default();
        *count = count.saturating_add(1);
    }

    fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Metrics {
    pub(crate) fn note_answer(&self, answer: &Answer) {
        self.answers.add(answer.status().as_u16().to_string());
        if let Some(fate) = answer.headers().get(crate::answer::MARK).and_then(|fate| fate.to_str().ok()) {
            self.own_answers.add(fate.to_owned());
        }
    }

    /// IBKR has refused a request; `diagnosis` is a name from a fixed list.
    pub(crate) fn note_rejection(&self, diagnosis: String) {
        self.rejections.add(diagnosis);
    }

    pub(crate) fn note_turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a WebSocket for as long as the result lives.
    pub(crate) fn web_socket(&self) -> OpenWebSocket<'_> {
        self.web_sockets.fetch_add(1, Ordering::Relaxed);
        OpenWebSocket(&self.web_sockets)
    }

    /// Writes everything in Prometheus' text format, as of `now`.
    pub(crate) fn write(&self, status: &Status, connections: usize, now: UnixTime) -> Result<String, fmt::Error> {
        let mut page = Page(String::new());
        page.session(status, now)?;
        page.upstream(&status.web_sockets)?;
        self.clients(connections, &mut page)?;
        Ok(page.0)
    }

    fn clients(&self, connections: usize, page: &mut Page) -> fmt::Result {
        let web_sockets = self.web_sockets.load(Ordering::Relaxed);
        page.one("web_sockets", "gauge", "WebSockets of clients.", web_sockets)?;
        page.one("connections", "gauge", "Connections of clients.", connections)?;
        let turned_away = self.turned_away.load(Ordering::Relaxed);
        page.one("connections_refused_total", "counter", "Connections that were turned away.", turned_away)?;
        page.counts("answers_total", "Answers to clients, by status.", "status", &self.answers)?;
        page.counts(
            "own_answers_total",
            "Answers of the proxy itself, by what became of the request.",
            "fate",
            &self.own_answers,
        )?;
        page.counts("rejections_total", "Rejections by IBKR, by diagnosis.", "diagnosis", &self.rejections)
    }
}

/// A page of metrics.
struct Page(String);

impl Page {
    fn session(&mut self, status: &Status, now: UnixTime) -> fmt::Result {
        self.one("logged_in", "gauge", "Whether there is a live session token.", u64::from(status.is_logged_in()))?;
        self.one("ready", "gauge", "Whether there is a brokerage session.", u64::from(status.is_ready()))?;
        let phases = PHASES.map(|phase| (phase.to_string(), u64::from(phase == status.brokerage)));
        self.many("brokerage_session", "gauge", "Where the brokerage session stands.", "phase", phases)?;
        if let Some(until) = status.expires_at {
            let left = until.saturating_since(now).as_secs();
            self.one("token_expires_in_seconds", "gauge", "Until the live session token expires.", left)?;
        }
        if let Some(at) = status.tickled_at {
            let age = now.saturating_since(at).as_secs();
            self.one("tickle_age_seconds", "gauge", "Since a tickle was answered with success.", age)?;
        }
        let penalty = status.penalty_ends_at.map_or(0, |end| end.saturating_since(now).as_secs());
        self.one("penalty_seconds", "gauge", "Left of the pause after a 429.", penalty)?;
        self.one("clock_skew_seconds", "gauge", "By which IBKR's clock is ahead.", status.clock_skew)
    }

    fn upstream(&mut self, all: &WebSockets) -> fmt::Result {
        let states = [("open".to_owned(), all.open), ("opening".to_owned(), all.opening)];
        self.many("upstream_web_sockets", "gauge", "WebSockets to IBKR.", "state", states)?;
        self.one("upstream_web_sockets_lost_total", "counter", "Open WebSockets to IBKR that were closed.", all.lost)?;
        let help = "WebSockets to IBKR that were opened again after a loss.";
        self.one("upstream_web_sockets_renewed_total", "counter", help, all.renewed)?;
        self.one("subscriptions", "gauge", "Subscriptions in force on WebSockets to IBKR.", all.subscriptions)
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl fmt::Display) -> fmt::Result {
        self.head(name, kind, help)?;
        writeln!(self.0, "ibkr_oauth_proxy_{name} {value}")
    }

    fn many(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, impl fmt::Display)>,
    ) -> fmt::Result {
        self.head(name, kind, help)?;
        for (of, value) in values {
            writeln!(self.0, "ibkr_oauth_proxy_{name}{{{label}=\"{of}\"}} {value}")?;
        }
        Ok(())
    }

    fn counts(&mut self, name: &str, help: &str, label: &str, counts: &Counts) -> fmt::Result {
        self.many(name, "counter", help, label, counts.all())
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP ibkr_oauth_proxy_{name} {help}\n# TYPE ibkr_oauth_proxy_{name} {kind}")
    }
}

pub(crate) struct OpenWebSocket<'a>(&'a AtomicU64);

impl Drop for OpenWebSocket<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says whether requests work: 200 if so, 503 if not.
pub(crate) fn health(status: &Status) -> Answer {
    let works = status.activity == Activity::Running
        && status.is_logged_in()
        && matches!(status.brokerage, BrokeragePhase::Ready | BrokeragePhase::LoggedOut);
    let code = if works { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let activity = match status.activity {
        Activity::Running => "running",
        Activity::Stopped => "stopped",
        Activity::LoggingOut => "logging out",
        Activity::LoggedOut => "logged out",
        _ => "shut down",
    };
    let content = json!({
        "healthy": works,
        "activity": activity,
        "logged_in": status.is_logged_in(),
        "brokerage_session": status.brokerage.to_string(),
    });
    own(code, Fate::Answered, &content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::failed;

    #[test]
    fn what_clients_do_is_counted_in_the_format_of_prometheus() {
        let metrics = Metrics::default();
        let open = [metrics.web_socket(), metrics.web_socket()];
        drop(metrics.web_socket());
        metrics.note_turned_away();
        metrics.note_answer(&Answer::default());
        for _ in 0..2 {
            metrics.note_answer(&failed(StatusCode::BAD_GATEWAY, Fate::Unanswered, "lost"));
        }
        metrics.note_rejection("Unauthorized".to_owned());
        let mut page = Page(String::new());
        metrics.clients(7, &mut page).unwrap();
        drop(open);
        let samples: Vec<_> = page.0.lines().filter_map(|line| line.strip_prefix("ibkr_oauth_proxy_")).collect();
        let expected = [
            "web_sockets 2",
            "connections 7",
            "connections_refused_total 1",
            "answers_total{status=\"200\"} 1",
            "answers_total{status=\"502\"} 2",
            "own_answers_total{fate=\"unanswered\"} 2",
            "rejections_total{diagnosis=\"Unauthorized\"} 1",
        ];
        assert_eq!(samples, expected);
        let head = "# HELP ibkr_oauth_proxy_answers_total Answers to clients, by status.\n\
                    # TYPE ibkr_oauth_proxy_answers_total counter\nibkr_oauth_proxy_answers_total{";
        assert!(page.0.contains(head), "{}", page.0);
    }
}
