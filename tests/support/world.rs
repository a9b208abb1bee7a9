//! A client and its gateway on a virtual clock, with what happens on the way written down.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::time::Duration;

use ibkr_oauth::{
    ApiRequest, Client, ClientExchange, Event, Outcome, Output, Request, RequestTicket, Response, UnixTime,
};

use ibkr_oauth_gateway::Incident;

use super::pair::{Pair, response, system_time};

/// What stands between a client and its gateway.
pub trait Network {
    /// The response that reaches the client at once; `None` if it never comes.
    fn carry(&mut self, pair: &mut Pair, request: &Request) -> Option<Response<'static>>;
}

/// Everything arrives.
pub struct Sound;

impl Network for Sound {
    fn carry(&mut self, pair: &mut Pair, request: &Request) -> Option<Response<'static>> {
        Some(response(&pair.send(request)))
    }
}

impl<F: FnMut(&mut Pair, &Request) -> Option<Response<'static>>> Network for F {
    fn carry(&mut self, pair: &mut Pair, request: &Request) -> Option<Response<'static>> {
        self(pair, request)
    }
}

pub struct World {
    pub pair: Pair,
    pub client: Client,
    /// All events, in order.
    pub events: Vec<Event>,
    /// Method and path of all requests, without the base path, and when they went out.
    pub sent: Vec<(UnixTime, String)>,
}

impl World {
    /// A first party that has not logged in yet.
    pub fn new() -> Self {
        let mut pair = Pair::new();
        let session = pair.first_party(pair.builder());
        Self::of(pair, Client::new(session))
    }

    pub fn of(pair: Pair, client: Client) -> Self {
        Self { pair, client, events: Vec::new(), sent: Vec::new() }
    }

    /// Lets so much time pass, with everything that is to be done in it.
    pub fn run(&mut self, network: &mut dyn Network, seconds: u64) {
        let until = self.pair.now.saturating_add(Duration::from_secs(seconds));
        let mut at_once = 0;
        while self.pair.now < until {
            let now = self.pair.now;
            at_once += 1;
            assert!(at_once < 1000, "a flood at {now:?}: {:?}", self.sent.iter().rev().take(10).collect::<Vec<_>>());
            match self.client.poll(&mut self.pair.rng, now) {
                Output::Event(event) => self.events.push(event),
                Output::Wait(at) => {
                    assert!(at > now, "a wait for the past");
                    assert!(at <= now.saturating_add(Duration::from_secs(60)), "a wait that oversleeps");
                    self.pair.now = at.min(until);
                    at_once = 0;
                }
                Output::Send { request, exchange } => {
                    self.sent.push((now, line(&request)));
                    match network.carry(&mut self.pair, &request) {
                        Some(response) => self.client.handle_response(exchange, &response, self.pair.now).unwrap(),
                        None => std::mem::forget(exchange),
                    }
                }
            }
        }
    }

    /// Works for a few minutes, sleeps, and works for the last few minutes: what is in between is the same all along.
    pub fn sleep_through(&mut self, network: &mut dyn Network, seconds: u64) {
        // The last tickle is half a minute before the end.
        const AWAKE: u64 = 10 * 60 + 30;
        self.run(network, AWAKE);
        self.pair.wait(seconds - 2 * AWAKE);
        self.run(network, AWAKE);
    }

    /// Polls until the client waits, with all that is to be done now and no time passing.
    pub fn settle(&mut self, network: &mut dyn Network) {
        let now = self.pair.now;
        while let Some((request, exchange)) = self.next_send() {
            match network.carry(&mut self.pair, &request) {
                Some(response) => self.client.handle_response(exchange, &response, now).unwrap(),
                None => std::mem::forget(exchange),
            }
        }
    }

    /// Polls for the next request and leaves the response to the caller; `None` if the client waits.
    pub fn next_send(&mut self) -> Option<(Request, ClientExchange)> {
        for _ in 0..1000 {
            match self.client.poll(&mut self.pair.rng, self.pair.now) {
                Output::Event(event) => self.events.push(event),
                Output::Wait(_) => return None,
                Output::Send { request, exchange } => {
                    self.sent.push((self.pair.now, line(&request)));
                    return Some((request, exchange));
                }
            }
        }
        panic!("no end of events");
    }

    /// Lets something happen at IBKR now.
    pub fn happen(&mut self, incident: Incident) {
        self.pair.gateway.schedule(system_time(self.pair.now), incident);
    }

    /// How many requests like this went out.
    pub fn count(&self, line: &str) -> usize {
        self.sent.iter().filter(|(_, sent)| sent.contains(line)).count()
    }

    /// How many requests like this went out in the busiest period of so many seconds.
    pub fn most_in(&self, seconds: u64, line: &str) -> usize {
        let times: Vec<_> = self.sent.iter().filter(|(_, sent)| sent.contains(line)).map(|(at, _)| *at).collect();
        let period = Duration::from_secs(seconds);
        let is_in = |from: UnixTime, at: UnixTime| at >= from && at.saturating_since(from) < period;
        times.iter().map(|from| times.iter().filter(|at| is_in(*from, **at)).count()).max().unwrap_or_default()
    }

    /// How many events are like this.
    pub fn count_events(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| is_it(event)).count()
    }

    pub fn has(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    pub fn request(&mut self, request: &ApiRequest<'_>) -> RequestTicket {
        self.client.request(request, self.pair.now).unwrap()
    }

    /// The outcome of a request, if it is finished.
    pub fn outcome(&self, ticket: RequestTicket) -> Option<&Outcome> {
        self.events.iter().find_map(|event| match event {
            Event::Finished { ticket: of, outcome } if *of == ticket => Some(outcome),
            _ => None,
        })
    }
}

fn line(request: &Request) -> String {
    let path = request.path().strip_prefix("/v1/api").unwrap_or(request.path());
    format!("{} {path}", request.method())
}
