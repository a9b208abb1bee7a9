//! What goes wrong at IBKR or on the way, and how soon all is well again, by how many requests.

use std::time::Duration;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{Client, Event, Misuse, Request, Response};
use ibkr_oauth_gateway::{DeadTokenResponse, Incident};

use crate::support::pair::{Pair, response};
use crate::support::world::{Sound, World};
use crate::{ACCOUNTS, DAY, HOUR, LOGIN, MINUTE, ORDER, answering, phase, ready, recovery, to};

#[test]
fn a_tickle_on_a_dead_connection_is_repeated_in_15_seconds_for_10_hours() {
    let mut world = ready();
    let mut lost = 0;
    let mut half_open = |pair: &mut Pair, request: &Request| {
        lost += 1;
        (lost > 1).then(|| response(&pair.send(request)))
    };
    world.run(&mut half_open, 10 * HOUR);
    assert!(world.count("/tickle") > 590, "{}", world.count("/tickle"));
    assert_eq!(phase(&world), BrokeragePhase::Ready);
}

#[test]
fn each_kind_of_request_that_is_lost_once_is_made_again() {
    for endpoint in [LOGIN, "/iserver/auth/ssodh/init", "/tickle", "/iserver/accounts", "/iserver/auth/status"] {
        for is_dropped in [false, true] {
            let mut world = World::new();
            world.client.doubt();
            let mut is_first = true;
            let until = world.pair.now.saturating_add(Duration::from_secs(90));
            while world.pair.now < until {
                match world.next_send() {
                    None => world.pair.wait(1),
                    Some((request, exchange)) if to(endpoint)(&request) && std::mem::take(&mut is_first) => {
                        if is_dropped {
                            drop(exchange)
                        } else {
                            std::mem::forget(exchange)
                        }
                    }
                    Some((request, exchange)) => {
                        let answer = response(&world.pair.send(&request));
                        world.client.handle_response(exchange, &answer, world.pair.now).unwrap();
                    }
                }
            }
            assert_eq!(phase(&world), BrokeragePhase::Ready, "{endpoint} {is_dropped}");
        }
    }
}

#[test]
fn dead_tokens_are_replaced_within_7_minutes_however_they_are_answered() {
    for (answer, longest) in [
        (DeadTokenResponse::Unauthorized, MINUTE + 5),
        (DeadTokenResponse::RedirectToLogin, 7 * MINUTE),
        (DeadTokenResponse::LoginPage, 7 * MINUTE),
    ] {
        for trades in [true, false] {
            let mut world = World::new();
            world.pair.gateway.set_dead_token_response(answer);
            if !trades {
                world.client = Client::new(world.pair.first_party(world.pair.builder())).without_brokerage_session();
            }
            world.run(&mut Sound, 70);
            world.happen(Incident::LiveSessionsEnd);
            let begin = world.pair.now;
            while world.count(LOGIN) < 2 {
                // Without a brokerage session there is nobody else who could find out.
                if !trades {
                    world.request(&ACCOUNTS);
                }
                world.run(&mut Sound, 10);
                assert!(world.pair.now.saturating_since(begin).as_secs() <= longest, "{answer:?} {trades}");
            }
            world.run(&mut Sound, HOUR);
            assert_eq!(world.count(LOGIN), 2);
            assert!(!trades || phase(&world) == BrokeragePhase::Ready);
        }
    }
}

#[test]
fn a_redirect_of_everything_for_a_day_costs_125_tokens_at_most() {
    for body in ["", "<html>"] {
        let mut world = ready();
        world.run(&mut answering(|_| true, 302, body), DAY);
        assert!(world.count(LOGIN) <= 125, "{}", world.count(LOGIN));
        let seconds = recovery(&mut world);
        assert!(seconds <= 16 * MINUTE, "{seconds} s");
    }
}

/// The API is redirected, and logins succeed: a new token does not help, so the pauses double up to an hour.
#[test]
fn tokens_that_do_not_help_are_replaced_30_times_a_day_at_most() {
    let mut world = ready();
    world.run(&mut answering(|request| !to(LOGIN)(request), 302, ""), DAY);
    assert!(world.count(LOGIN) <= 30, "{}", world.count(LOGIN));
}

#[test]
fn outages_of_minutes_to_days_cost_no_live_token_and_20_minutes_at_most() {
    for (seconds, logins, longest) in
        [(30, 1, MINUTE), (10 * MINUTE, 1, MINUTE + 15), (3 * HOUR, 1, MINUTE + 15), (2 * DAY, 400, 20 * MINUTE)]
    {
        let mut world = ready();
        world.happen(Incident::Outage { lasts: Duration::from_secs(seconds) });
        world.run(&mut Sound, seconds);
        let took = recovery(&mut world);
        assert!(took <= longest, "{seconds}: {took} s");
        assert!(world.count(LOGIN) <= logins && world.most_in(HOUR, LOGIN) <= 12, "{}", world.count(LOGIN));
    }
}

/// Nobody uses `/iserver` for longer than this after the night, and with a doubt not even that.
#[test]
fn a_nightly_reset_costs_65_seconds_without_iserver_at_most() {
    for second in (0..60).step_by(7) {
        let mut world = ready();
        world.run(&mut Sound, second);
        world.happen(Incident::NightlyReset);
        let begin = world.pair.now;
        while !world.events.iter().rev().take(3).any(|event| *event == Event::Brokerage(BrokeragePhase::Missing)) {
            world.run(&mut Sound, 1);
        }
        recovery(&mut world);
        let took = world.pair.now.saturating_since(begin).as_secs();
        assert!(took <= 65, "{took} s");
        assert_eq!(world.count(LOGIN), 1);
    }
}

#[test]
fn no_brokerage_session_for_6_hours_costs_no_token_and_2_asks_a_minute() {
    let mut world = World::new();
    world.happen(Incident::NoBrokerageSessions { lasts: Duration::from_secs(6 * HOUR) });
    world.run(&mut Sound, 6 * HOUR);
    assert_eq!(world.count(LOGIN), 1);
    assert!(world.sent.len() < 6 * 60 * 2, "{}", world.sent.len());
    let seconds = recovery(&mut world);
    assert!(seconds <= 8 * MINUTE, "{seconds} s");
}

/// `no bridge` to everything under `/iserver`, the init too: it is given after the token was accepted.
#[test]
fn no_bridge_for_6_hours_costs_no_token() {
    let mut world = World::new();
    let no_bridge = r#"{"error":"Bad Request: no bridge","statusCode":400}"#;
    let mut network = answering(|request| request.path().contains("/iserver/"), 400, no_bridge);
    world.run(&mut network, 6 * HOUR);
    assert_eq!(world.count(LOGIN), 1);
    assert!(world.sent.len() < 6 * 60 * 2, "{}", world.sent.len());
}

#[test]
fn a_log_out_is_told_to_the_server_and_nothing_is_sent_after_it() {
    let mut world = ready();
    world.client.log_out(world.pair.now);
    world.run(&mut Sound, DAY);
    assert_eq!(world.count("/logout"), 1);
    assert_eq!(world.sent.last().map(|(_, line)| line.as_str()), Some("POST /logout"));
    assert_eq!(world.count_events(|event| *event == Event::LoggedOut), 1);
    world.client.open();
    assert!(recovery(&mut world) <= 5);
}

#[test]
fn a_log_out_that_nobody_answers_ends_after_30_seconds() {
    for (status, body) in [(0, ""), (503, ""), (302, ""), (401, "")] {
        let mut world = ready();
        world.client.log_out(world.pair.now);
        world.run(&mut answering(|_| true, status, body), 31);
        assert_eq!(world.count_events(|event| *event == Event::LoggedOut), 1, "{status}");
        assert!(world.count("/logout") <= 3);
        world.sent.clear();
        world.run(&mut Sound, HOUR);
        assert_eq!(world.sent, []);
    }
}

#[test]
fn the_log_out_goes_out_first_whatever_a_rejected_request_made_one_ask() {
    let mut world = ready();
    world.request(&ACCOUNTS);
    let (_, exchange) = world.next_send().expect("the request");
    world.client.handle_response(exchange, &Response::new(401, b"{}"), world.pair.now).unwrap();
    world.client.log_out(world.pair.now);
    world.run(&mut Sound, MINUTE);
    assert_eq!(world.sent.last().map(|(_, line)| line.as_str()), Some("POST /logout"));
    assert_eq!((world.count("/logout"), world.count("/tickle")), (1, 2));
}

#[test]
fn a_response_after_the_log_out_has_ended_is_stale_whatever_it_says() {
    for status in [200, 401, 503] {
        let mut world = ready();
        world.client.log_out(world.pair.now);
        let (_, exchange) = world.next_send().expect("the log-out");
        world.pair.wait(31);
        assert!(world.next_send().is_none());
        assert!(world.has(&Event::LoggedOut));
        let late = world.client.handle_response(exchange, &Response::new(status, b"{}"), world.pair.now);
        assert_eq!(late, Err(Misuse::StaleExchange), "{status}");
    }
}

#[test]
fn open_before_the_log_out_went_out_takes_it_back() {
    for trades in [true, false] {
        let mut world = World::new();
        if !trades {
            world.client = Client::new(world.pair.first_party(world.pair.builder())).without_brokerage_session();
        }
        world.run(&mut Sound, 70);
        world.client.log_out(world.pair.now);
        world.client.open();
        world.run(&mut Sound, HOUR);
        assert_eq!((world.count("/logout"), world.count(LOGIN)), (0, 1), "{trades}");
        assert!(!trades || phase(&world) == BrokeragePhase::Ready);
        assert_eq!(world.count_events(|event| *event == Event::LoggedOut), 0);
    }
}

#[test]
fn a_day_with_everything_in_it_ends_well() {
    let mut world = World::new();
    let at = |world: &World, hours: u64| {
        crate::support::pair::system_time(world.pair.now.saturating_add(Duration::from_secs(hours * HOUR)))
    };
    let minutes = |minutes: u64| Duration::from_secs(minutes * MINUTE);
    for (hour, incident) in [
        (1, Incident::NightlyReset),
        (2, Incident::Outage { lasts: minutes(30) }),
        (3, Incident::TooManyRequests { lasts: minutes(2) }),
        (5, Incident::LiveSessionsEnd),
        (6, Incident::Gone),
        (7, Incident::NoBrokerageSessions { lasts: minutes(10) }),
        (9, Incident::EmptyAccounts { lasts: minutes(5) }),
        (10, Incident::ClockSkew { seconds: 1000 }),
        (12, Incident::TicklesWithoutStatus { lasts: minutes(90) }),
        (13, Incident::NightlyReset),
        (15, Incident::CompetingLogin { user: "alice".to_string() }),
        (16, Incident::CompetitorLeaves { user: "alice".to_string() }),
    ] {
        let at = at(&world, hour);
        world.pair.gateway.schedule(at, incident);
    }
    let (mut seconds_ready, mut orders) = (0, 0);
    for second in 0..20 * HOUR {
        world.run(&mut Sound, 1);
        seconds_ready += u64::from(phase(&world) == BrokeragePhase::Ready);
        if second % 600 == 0 {
            world.request(&ORDER);
            orders += 1;
        }
    }
    assert_eq!(phase(&world), BrokeragePhase::Ready);
    assert!(seconds_ready > 17 * HOUR, "{seconds_ready}");
    assert!(world.count(LOGIN) <= 4, "{}", world.count(LOGIN));
    assert!(world.count("/orders") <= orders);
    assert_eq!(world.count_events(|event| matches!(event, Event::Finished { .. })), orders);
}
