//! Clients that share an access token, and log in by permit only.

use ibkr_oauth::{Client, Event, OAuthSession, Outcome, Snapshot};
use ibkr_oauth_gateway::Incident;

use crate::support::pair::Pair;
use crate::support::world::{Sound, World};
use crate::{ACCOUNTS, DAY, HOUR, LOGIN, MINUTE};

fn with_permits() -> World {
    let mut pair = Pair::new();
    let session = pair.first_party(pair.builder());
    World::of(pair, Client::new(session).with_login_permits())
}

/// What a client on another machine stores when it has logged in with the same access token.
fn login_elsewhere(world: &mut World) -> Snapshot {
    let stored = world.client.snapshot();
    let consumer = world.pair.builder().build().unwrap();
    let access_token = world.client.access_token().unwrap().clone();
    let mut session = match OAuthSession::resume(consumer.clone(), stored.expose(), world.pair.now) {
        Ok(mut session) => {
            let live = session.live(world.pair.now).cloned();
            live.iter().for_each(|live| session.invalidate(live));
            session
        }
        Err(_) => OAuthSession::with_access_token(consumer, access_token),
    };
    world.pair.drive(&mut session).unwrap();
    session.snapshot().expose().clone()
}

#[test]
fn a_client_without_a_permit_never_asks_for_a_token() {
    let mut world = with_permits();
    world.run(&mut Sound, HOUR);
    assert!(world.client.awaits_permit(world.pair.now) && world.sent.is_empty());
    world.client.permit_login();
    world.run(&mut Sound, DAY - 11 * MINUTE);
    assert_eq!((world.count(LOGIN), world.client.awaits_permit(world.pair.now)), (1, false));
    world.run(&mut Sound, 2 * MINUTE);
    assert!(world.client.awaits_permit(world.pair.now), "the refresh is due");
    world.run(&mut Sound, DAY);
    assert_eq!(world.count(LOGIN), 1);
    world.client.permit_login();
    world.run(&mut Sound, MINUTE);
    assert_eq!((world.count(LOGIN), world.client.awaits_permit(world.pair.now)), (2, false));
}

/// A network that swallows the request.
#[test]
fn each_attempt_needs_a_permit_of_its_own() {
    let mut world = with_permits();
    world.client.permit_login();
    world.run(&mut crate::answering(|_| true, 0, ""), HOUR);
    assert_eq!((world.count(LOGIN), world.client.awaits_permit(world.pair.now)), (1, true));
}

#[test]
fn a_login_stored_by_another_client_is_adopted_and_the_queue_goes_out() {
    let mut world = with_permits();
    let ticket = world.request(&ACCOUNTS);
    world.run(&mut Sound, 5);
    let stored = login_elsewhere(&mut world);
    let signer = world.client.signer();
    assert_eq!(world.client.adopt(&stored, world.pair.now), Ok(true));
    assert!(signer.live().is_some());
    world.run(&mut Sound, 5);
    assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))), "{:?}", world.events);
    assert!(world.has(&Event::LoggedIn { until: signer.live().unwrap().expires_at() }));
    assert_eq!((world.count(LOGIN), world.client.awaits_permit(world.pair.now)), (0, false));
}

#[test]
fn a_dead_token_is_replaced_by_the_one_that_another_client_stored() {
    let mut world = with_permits();
    world.client.permit_login();
    world.run(&mut Sound, 70);
    let stored = login_elsewhere(&mut world);
    world.run(&mut Sound, 2 * MINUTE);
    assert!(world.client.awaits_permit(world.pair.now), "a tickle was rejected");
    assert_eq!(world.client.adopt(&stored, world.pair.now), Ok(true));
    world.run(&mut Sound, HOUR);
    assert_eq!((world.count(LOGIN), world.client.awaits_permit(world.pair.now)), (1, false));
    world.happen(Incident::LiveSessionsEnd);
    world.run(&mut Sound, 2 * MINUTE);
    assert!(world.client.awaits_permit(world.pair.now) && world.count(LOGIN) == 1);
}

/// A third party's access token may be nowhere but in the store.
#[test]
fn a_client_without_an_access_token_takes_the_stored_one() {
    let mut other = crate::ready();
    for seconds in [0, 2 * DAY] {
        let stored = other.client.snapshot();
        other.pair.wait(seconds);
        let mut client = Client::new(OAuthSession::new(other.client.consumer().clone()));
        assert_eq!(client.adopt(stored.expose(), other.pair.now), Ok(seconds == 0));
        assert_eq!(client.access_token(), other.client.access_token());
        assert_eq!(client.generation(), 1);
    }
}
