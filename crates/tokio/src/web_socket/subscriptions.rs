//! Which subscriptions are in force, and when each is to be sent (again).

use std::time::Duration;

use ibkr_oauth::brokerage::WebSocketRequest;
use tokio::time::Instant;

/// Between two subscriptions that are repeated.
const PACE: Duration = Duration::from_millis(100);
/// Topics that begin with `s` and are ended by the same topic with `u`: market data, orders, profit and loss, depth of book,
/// account summary, ledger, trades.
const TOPICS: [&str; 7] = ["md", "or", "pl", "bd", "sd", "ld", "tr"];

/// The subscriptions in force, in the order in which they were made.
#[derive(Default)]
pub(super) struct Subscriptions {
    in_force: Vec<Subscription>,
    /// Whether the server takes subscriptions now.
    is_ready: bool,
    not_before: Option<Instant>,
}

struct Subscription {
    /// What it is about: the message without its first letter and without arguments, such as `md+265598`.
    subject: String,
    message: String,
    /// When it is to be sent, if the server is ready.
    due: Option<Instant>,
}

impl Subscriptions {
    /// Takes note of a client's message, and returns it if it is to be sent now. A subscription is not: it has its turn.
    pub(super) fn take(&mut self, message: String, now: Instant) -> Option<String> {
        match Meaning::of(&message) {
            Meaning::Begin(subject) => {
                let subscription = Subscription { subject: subject.to_owned(), message, due: Some(now) };
                match self.in_force.iter_mut().find(|known| known.subject == subscription.subject) {
                    Some(known) => *known = subscription,
                    None => self.in_force.push(subscription),
                }
                None
            }
            Meaning::End(subject) => {
                self.in_force.retain(|known| !is_about(&known.subject, subject));
                Some(message).filter(|_| self.is_ready)
            }
            Meaning::Other => Some(message),
        }
    }

    /// How many are in force.
    pub(super) fn count(&self) -> usize {
        self.in_force.len()
    }

    /// The server takes subscriptions from now on, and has forgotten all before.
    pub(super) fn begin(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.is_ready, true) {
            self.in_force.iter_mut().for_each(|known| known.due = Some(now));
        }
    }

    /// The server takes none any more.
    pub(super) fn suspend(&mut self) {
        self.is_ready = false;
    }

    /// When the next one is to be sent.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let due = self.in_force.iter().filter_map(|known| known.due).min().filter(|_| self.is_ready)?;
        Some(self.not_before.map_or(due, |at| at.max(due)))
    }

    /// The next one, if it is to be sent by now. One of market data is sent again before its prices stop.
    pub(super) fn next(&mut self, now: Instant) -> Option<String> {
        self.next_at().filter(|at| *at <= now)?;
        let next = self.in_force.iter_mut().filter(|known| known.due.is_some()).min_by_key(|known| known.due)?;
        let ends_by_itself = next.subject.starts_with("md+");
        next.due = now.checked_add(WebSocketRequest::MARKET_DATA_RENEWAL).filter(|_| ends_by_itself);
        self.not_before = now.checked_add(PACE);
        Some(next.message.clone())
    }
}

/// What a message of a client's does to its subscriptions.
enum Meaning<'a> {
    Begin(&'a str),
    End(&'a str),
    Other,
}

impl<'a> Meaning<'a> {
    fn of(message: &'a str) -> Self {
        let head = message.split('{').next().unwrap_or(message).trim_end_matches('+');
        let begun = head.strip_prefix('s').filter(|subject| is_topic(subject));
        let ended = head.strip_prefix('u').filter(|subject| is_topic(subject));
        begun.map(Self::Begin).or(ended.map(Self::End)).unwrap_or(Self::Other)
    }
}

fn is_topic(subject: &str) -> bool {
    subject.split('+').next().is_some_and(|topic| TOPICS.contains(&topic))
}

/// Whether ending `ended` ends `subject`: `bd+DU1234567` ends all books of that account.
fn is_about(subject: &str, ended: &str) -> bool {
    subject.strip_prefix(ended).is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: &str = r#"smd+265598+{"fields":["31"]}"#;
    const OTHER_PRICES: &str = r#"smd+8314+{"fields":["31"]}"#;

    fn ready() -> (Subscriptions, Instant) {
        let now = Instant::now();
        let mut subscriptions = Subscriptions::default();
        subscriptions.begin(now);
        (subscriptions, now)
    }

    /// All that is sent within so many milliseconds, with the time of each.
    fn sent(subscriptions: &mut Subscriptions, now: Instant, millis: u64) -> Vec<(u64, String)> {
        let until = now + Duration::from_millis(millis);
        let mut sent = Vec::new();
        while let Some(at) = subscriptions.next_at().filter(|at| *at <= until) {
            let since = at.saturating_duration_since(now).as_millis().try_into().unwrap();
            sent.extend(subscriptions.next(at.max(now)).map(|message| (since, message)));
        }
        sent
    }

    #[test]
    fn subscriptions_go_out_one_by_one_and_again_after_a_loss() {
        let (mut subscriptions, now) = ready();
        for message in [PRICES, "sor+{}", OTHER_PRICES] {
            assert_eq!(subscriptions.take(message.into(), now), None);
        }
        let all = [(0, PRICES.into()), (100, "sor+{}".into()), (200, OTHER_PRICES.into())];
        assert_eq!(sent(&mut subscriptions, now, 1000), all);

        let later = now + Duration::from_secs(5);
        subscriptions.suspend();
        assert_eq!(subscriptions.next_at(), None, "nothing while the server is not ready");
        subscriptions.begin(later);
        assert_eq!(sent(&mut subscriptions, later, 1000), all);
        subscriptions.begin(later + Duration::from_secs(5));
        assert_eq!(
            sent(&mut subscriptions, later, 9000),
            [],
            "a server that says again that it is ready forgets nothing"
        );
    }

    #[test]
    fn every_kind_of_subscription_is_repeated_after_a_loss() {
        let (mut subscriptions, now) = ready();
        let all = [PRICES, "sor+{}", "spl", "sbd+DU1+265598", "ssd+DU1+{}", "sld+DU1+{}", r#"str+{"days":1}"#];
        let repeats = |subscriptions: &mut Subscriptions| {
            let sent = sent(subscriptions, now, 10_000);
            sent.into_iter().map(|(_, message)| message).collect::<Vec<_>>()
        };
        for message in all {
            assert_eq!(subscriptions.take(message.into(), now), None);
        }
        assert_eq!(repeats(&mut subscriptions), all);
        subscriptions.suspend();
        subscriptions.begin(now);
        assert_eq!(repeats(&mut subscriptions), all);
        for message in ["umd+265598+{}", "uor", "upl{}", "ubd+DU1", "usd+DU1", "uld+DU1+{}", "utr"] {
            assert_eq!(subscriptions.take(message.into(), now).as_deref(), Some(message));
        }
        assert_eq!(subscriptions.count(), 0);
    }

    #[test]
    fn market_data_is_renewed_every_ten_minutes_and_the_rest_is_not() {
        let (mut subscriptions, now) = ready();
        subscriptions.take(PRICES.into(), now);
        subscriptions.take("spl".into(), now);
        let times: Vec<_> = sent(&mut subscriptions, now, 21 * 60_000);
        let expected = [(0, PRICES), (100, "spl"), (600_000, PRICES), (1_200_000, PRICES)];
        assert_eq!(times, expected.map(|(at, message)| (at, message.to_owned())));
    }

    #[test]
    fn subscriptions_are_repeated_as_last_changed_and_not_when_ended() {
        let (mut subscriptions, now) = ready();
        let wider = r#"smd+265598+{"fields":["31","84"]}"#;
        for message in [PRICES, wider, "sbd+DU1+265598+NYSE", "sbd+DU12+8314", "sor+{}"] {
            subscriptions.take(message.into(), now);
        }
        let passed_on = ["ubd+DU1", "uor+{}", "tic", r#"{"session":"x"}"#, "smh+265598+{}"];
        for message in passed_on {
            assert_eq!(subscriptions.take(message.into(), now).as_deref(), Some(message));
        }
        let left: Vec<_> = sent(&mut subscriptions, now, 1000).into_iter().map(|(_, message)| message).collect();
        assert_eq!(left, [wider, "sbd+DU12+8314"]);
        subscriptions.suspend();
        assert_eq!(subscriptions.take("umd+265598+{}".into(), now), None, "the server has forgotten it anyway");
        subscriptions.begin(now);
        assert_eq!(sent(&mut subscriptions, now, 2000).len(), 1);
    }
}
