//! Several clients at one gateway, on one clock.

use std::time::Duration;

use ibkr_oauth::{Client, ConsumerBuilder, Event, OAuthSession, Output, UnixTime};

use crate::support::pair::{Pair, response};

pub struct Fleet {
    pub pair: Pair,
    pub members: Vec<Member>,
}

pub struct Member {
    pub client: Client,
    pub events: Vec<Event>,
    /// Paths, and when they went out.
    pub sent: Vec<(UnixTime, String)>,
}

impl Member {
    pub fn new(client: Client) -> Self {
        Self { client, events: Vec::new(), sent: Vec::new() }
    }

    pub fn count(&self, path: &str) -> usize {
        self.sent.iter().filter(|(_, sent)| sent.contains(path)).count()
    }

    pub fn first(&self, event: &Event) -> Option<usize> {
        self.events.iter().position(|known| known == event)
    }

    pub fn count_events(&self, event: &Event) -> usize {
        self.events.iter().filter(|known| *known == event).count()
    }
}

impl Fleet {
    /// Users of one consumer, with an access token each.
    pub fn new(users: usize) -> Self {
        let mut pair = Pair::new();
        let consumer = pair.builder().build().unwrap();
        let members = (0..users).map(|number| {
            let name = format!("user{number}");
            let user = ibkr_oauth_gateway::User {
                name: name.clone(),
                accounts: vec!["DU1".into()],
                kind: ibkr_oauth_gateway::AccountKind::Paper,
            };
            pair.gateway.add_user(user);
            let issued = pair.gateway.issue_access_token(crate::support::pair::CONSUMER, &name, &mut pair.rng).unwrap();
            let token = ibkr_oauth::AccessToken::new(&issued.token, &issued.secret_base64).unwrap();
            Member::new(Client::new(OAuthSession::with_access_token(consumer.clone(), token)))
        });
        let members = members.collect();
        Self { pair, members }
    }

    /// Processes that know nothing of each other, with one access token.
    pub fn of_one_token(builders: impl Fn(&Pair) -> ConsumerBuilder, processes: usize) -> Self {
        let mut pair = Pair::new();
        let issued = pair.issue();
        let token = ibkr_oauth::AccessToken::new(&issued.token, &issued.secret_base64).unwrap();
        let members = (0..processes).map(|_| {
            let consumer = builders(&pair).build().unwrap();
            Member::new(Client::new(OAuthSession::with_access_token(consumer, token.clone())))
        });
        let members = members.collect();
        Self { pair, members }
    }

    /// Lets so much time pass for all of them; everything arrives.
    pub fn run(&mut self, seconds: u64) {
        let until = self.pair.now.saturating_add(Duration::from_secs(seconds));
        while self.pair.now < until {
            let now = self.pair.now;
            let waits = self.members.iter_mut().map(|member| settle(&mut self.pair, member));
            let next = waits.min().unwrap_or(until);
            assert!(next > now);
            self.pair.now = next.min(until);
        }
    }

    pub fn count(&self, path: &str) -> usize {
        self.members.iter().map(|member| member.count(path)).sum()
    }
}

/// Until when this one waits.
fn settle(pair: &mut Pair, member: &mut Member) -> UnixTime {
    for _ in 0..1000 {
        match member.client.poll(&mut pair.rng, pair.now) {
            Output::Wait(until) => return until,
            Output::Event(event) => member.events.push(event),
            Output::Send { request, exchange } => {
                member.sent.push((pair.now, request.path().to_string()));
                let answer = response(&pair.send(&request));
                member.client.handle_response(exchange, &answer, pair.now).unwrap();
            }
        }
    }
    panic!("a flood: {:?}", member.sent.iter().rev().take(10).collect::<Vec<_>>());
}
