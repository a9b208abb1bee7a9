//! Several processes, one live session token: whoever finds that another has asked for a new one asks for none.
#![cfg(feature = "serde")]

use std::time::Duration;

use ibkr_oauth::{Client, Outcome, SnapshotError};
use ibkr_oauth_gateway::Incident;

use super::support::pair::response;
use super::support::world::{Sound, World};
use super::{ACCOUNTS, HOUR, LOGIN, MINUTE, ready};

/// A client of another process, which has all that `world`'s client has.
fn twin(world: &World) -> Client {
    let snapshot = world.client.snapshot();
    Client::resume(world.client.consumer().clone(), snapshot.expose(), world.pair.now).unwrap()
}

#[test]
fn the_token_of_another_process_serves_in_place_of_a_login() {
    let mut world = ready();
    let mut twin = twin(&world);
    world.happen(Incident::LiveSessionsEnd);
    world.run(&mut Sound, 120);
    assert_eq!(world.count(LOGIN), 2);
    let renewed = world.client.snapshot();

    std::mem::swap(&mut world.client, &mut twin);
    let accounts = world.request(&ACCOUNTS);
    let exchange = loop {
        let (request, exchange) = world.next_send().unwrap();
        if request.path().ends_with(LOGIN) {
            break exchange;
        }
        let response = response(&world.pair.send(&request));
        world.client.handle_response(exchange, &response, world.pair.now).unwrap();
    };
    assert!(world.client.adopt(renewed.expose(), world.pair.now).unwrap());
    drop(exchange);
    world.run(&mut Sound, 30);
    assert_eq!(world.count(LOGIN), 3, "only the login that was not sent");
    assert!(matches!(world.outcome(accounts), Some(Outcome::Responded(_))));
}

#[test]
fn what_is_known_already_due_or_foreign_is_not_adopted() {
    let mut world = ready();
    let known = world.client.snapshot();
    assert_eq!(world.client.adopt(known.expose(), world.pair.now), Ok(false), "its own token");

    let mut twin = twin(&world);
    world.happen(Incident::LiveSessionsEnd);
    world.run(&mut Sound, 120);
    let renewed = world.client.snapshot();
    let almost_over = world.pair.now.saturating_add(Duration::from_secs(24 * HOUR - 5 * MINUTE));
    assert_eq!(twin.adopt(renewed.expose(), almost_over), Ok(false), "a token that is due");

    let mut foreign = serde_json::to_value(renewed.expose()).unwrap();
    foreign["access_token"]["token"] = "0123456789abcdef0123".into();
    let foreign = serde_json::from_value(foreign).unwrap();
    assert_eq!(twin.adopt(&foreign, world.pair.now), Err(SnapshotError::Foreign));
}
