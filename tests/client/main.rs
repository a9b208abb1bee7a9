//! One client, its gateway, a virtual clock: everything that a program needs to stay logged in.
#![cfg(feature = "std")]

mod adoption;
mod clock;
mod fleet;
mod login;
mod own_requests;
#[cfg(feature = "serde")]
mod permits;
mod readiness;
mod recovery;
mod refresh;
mod signer;
#[path = "../support/mod.rs"]
mod support;
mod third_party;
mod transitions;
mod wars;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{ApiRequest, Diagnosis, Error, Outcome, Request, Response};
use support::pair::{Pair, response};
use support::world::{Sound, World};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

const LOGIN: &str = "/oauth/live_session_token";
const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");
const SNAPSHOT: ApiRequest<'_> =
    ApiRequest::get("/iserver/marketdata/snapshot").query(&[("conids", "8314"), ("fields", "31")]);
const ORDER: ApiRequest<'_> = ApiRequest::post("/iserver/account/DU1/orders").json(b"{}");

fn diagnosis(outcome: Option<&Outcome>) -> Diagnosis {
    match outcome {
        Some(Outcome::Rejected { error: Error::Rejected(rejected), .. }) => rejected.diagnosis,
        other => panic!("{other:?}"),
    }
}

/// A network in which some requests get an answer of their own, or none if its status is 0.
fn answering(
    fits: impl Fn(&Request) -> bool + 'static,
    status: u16,
    body: &'static str,
) -> impl FnMut(&mut Pair, &Request) -> Option<Response<'static>> {
    move |pair, request| match fits(request) {
        true => (status > 0).then(|| Response::new(status, body.as_bytes())),
        false => Some(response(&pair.send(request))),
    }
}

/// Whether a request goes to this endpoint.
fn to(endpoint: &'static str) -> impl Fn(&Request) -> bool {
    move |request| request.path().split('?').next().is_some_and(|path| path.ends_with(endpoint))
}

/// A client that has just tickled: for 50 seconds it has nothing to do.
fn ready() -> World {
    let mut world = World::new();
    world.run(&mut Sound, 70);
    assert_eq!(phase(&world), BrokeragePhase::Ready);
    world
}

fn phase(world: &World) -> BrokeragePhase {
    world.client.brokerage_phase(world.pair.now)
}

/// Seconds until the client is ready again, all being well.
fn recovery(world: &mut World) -> u64 {
    let begin = world.pair.now;
    while phase(world) != BrokeragePhase::Ready || world.client.live(world.pair.now).is_none() {
        assert!(world.pair.now.saturating_since(begin).as_secs() < 2 * HOUR, "no way back");
        world.run(&mut Sound, 1);
    }
    world.pair.now.saturating_since(begin).as_secs()
}
