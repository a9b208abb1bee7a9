//! Clocks that are set, wobble, stop or were never right: on either side.

use std::time::Duration;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{Client, Diagnosis, Event, NotSent, Outcome, Output, Response, UnixTime};
use ibkr_oauth_gateway::Incident;

use crate::support::pair::{Pair, response};
use crate::support::world::{Sound, World};
use crate::{ACCOUNTS, DAY, HOUR, LOGIN, MINUTE, ORDER, SNAPSHOT, answering, diagnosis, phase, ready, recovery, to};

/// Sets the caller's clock; the server's stays.
fn set_clock(world: &mut World, by: i64) {
    let now = world.pair.now.as_millis().checked_add_signed(by * 1000).unwrap();
    world.pair.now = UnixTime::from_millis(now);
    world.pair.server_ahead -= by;
}

/// A clock that is off by more than a day is not corrected: no TLS certificate would be valid by it.
const STEPS: [i64; 8] = [-80_000, -7200, -600, -61, 61, 600, 7200, 80_000];

#[test]
fn a_clock_set_by_seconds_or_days_costs_2_tokens_and_2_minutes_at_most() {
    for by in STEPS {
        for back in [false, true] {
            let mut world = ready();
            world.sent.clear();
            set_clock(&mut world, by);
            world.run(&mut Sound, 2 * MINUTE);
            assert_eq!(phase(&world), BrokeragePhase::Ready, "{by}");
            if back {
                set_clock(&mut world, -by);
                world.run(&mut Sound, 2 * MINUTE);
                assert_eq!(phase(&world), BrokeragePhase::Ready, "{by} and back");
            }
            assert!(world.count(LOGIN) <= 2, "{by} {back}: {}", world.count(LOGIN));
            assert!(world.most_in(10, "") <= 12, "{by}: {}", world.most_in(10, ""));
            assert_eq!(world.count_events(|event| *event == Event::LoginContested), 0);
        }
    }
}

#[test]
fn a_clock_three_days_off_costs_12_tokens_an_hour_until_it_is_right() {
    for by in [-3 * 86_400, 3 * 86_400] {
        let mut world = ready();
        set_clock(&mut world, by);
        world.run(&mut Sound, 3 * HOUR);
        assert!(world.count(LOGIN) <= 37 && world.sent.len() < 600, "{} {}", world.count(LOGIN), world.sent.len());
        set_clock(&mut world, -by);
        let seconds = recovery(&mut world);
        assert!(seconds <= 16 * MINUTE, "{by}: {seconds} s");
    }
}

#[test]
fn an_order_is_not_held_back_by_a_clock_that_was_set() {
    for by in STEPS {
        let mut world = ready();
        set_clock(&mut world, by);
        world.run(&mut Sound, 10 * MINUTE);
        let ticket = world.request(&ORDER);
        world.run(&mut Sound, 10);
        assert_eq!(world.count("/orders"), 1, "{by}: {:?}", world.outcome(ticket));
    }
}

#[test]
fn a_request_handed_over_just_after_the_clock_was_set_back_has_its_time() {
    for by in [-7200, -86_400] {
        let mut world = ready();
        set_clock(&mut world, by);
        let ticket = world.request(&SNAPSHOT);
        world.run(&mut Sound, 30);
        assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))), "{:?}", world.outcome(ticket));
    }
}

#[test]
fn a_log_out_just_after_the_clock_was_set_back_waits_for_its_response() {
    let mut world = ready();
    set_clock(&mut world, -7200);
    world.client.log_out(world.pair.now);
    let (request, _exchange) = world.next_send().unwrap();
    assert!(to("/logout")(&request));
    world.settle(&mut Sound);
    assert!(!world.has(&Event::LoggedOut));
}

/// A witness from before the step is no younger than it was.
#[test]
fn ready_is_said_for_5_minutes_at_most_whatever_the_clock_does() {
    for by in [-7200, -600, -86_400] {
        for in_flight in [false, true] {
            for (status, body) in [(0, ""), (401, "Unauthorized")] {
                let (mut world, mut network) = (ready(), answering(|_| true, status, body));
                let held = in_flight.then(|| {
                    world.client.doubt();
                    world.next_send().unwrap()
                });
                set_clock(&mut world, by);
                if let Some((request, exchange)) = held {
                    let witness = response(&world.pair.send(&request));
                    world.client.handle_response(exchange, &witness, world.pair.now).unwrap();
                }
                world.run(&mut network, 5 * MINUTE + 61);
                assert_ne!(phase(&world), BrokeragePhase::Ready, "{by} {in_flight}");
            }
        }
    }
}

#[test]
fn a_clock_that_falls_to_1970_does_not_make_an_old_witness_young() {
    let mut world = ready();
    world.run(&mut answering(|_| true, 0, ""), 10 * MINUTE);
    assert_eq!(phase(&world), BrokeragePhase::Unconfirmed);
    let right = world.pair.now;
    world.pair.now = UnixTime::default();
    assert!(world.next_send().is_none());
    assert_eq!(phase(&world), BrokeragePhase::Unconfirmed);
    world.pair.now = right;
    assert!(recovery(&mut world) <= 60);
}

/// Without a live session nothing else follows the clock.
#[test]
fn ready_is_not_said_again_by_a_clock_set_back_while_logins_fail() {
    let mut world = ready();
    world.happen(Incident::LiveSessionsEnd);
    let mut no_login = answering(to(LOGIN), 503, "");
    world.run(&mut no_login, 3 * MINUTE);
    set_clock(&mut world, -7200);
    world.run(&mut no_login, 6 * MINUTE);
    assert_ne!(phase(&world), BrokeragePhase::Ready);
}

#[test]
fn a_response_that_lay_in_the_socket_for_8_hours_of_sleep_is_old() {
    for sleeps in [HOUR, 8 * HOUR, 30 * HOUR] {
        let mut world = ready();
        world.client.doubt();
        let order = world.request(&ORDER);
        let [(question, status), (_, order_exchange)] = [(); 2].map(|()| world.next_send().unwrap());
        assert!(to("/iserver/auth/status")(&question));
        let witness = response(&world.pair.send(&question));
        world.pair.wait(sleeps);
        world.client.handle_response(status, &witness, world.pair.now).unwrap();
        assert_ne!(phase(&world), BrokeragePhase::Ready, "the witness is {sleeps} s old");
        assert_eq!(world.client.clock_skew(), 0);
        std::mem::forget(order_exchange);
        let seconds = recovery(&mut world);
        assert!(seconds <= 10, "{sleeps}: {seconds} s");
        assert_eq!(world.outcome(order), Some(&Outcome::NoResponse));
        assert_eq!(world.count("/orders"), 1);
        assert_eq!(world.count(LOGIN), 1 + usize::from(sleeps > DAY));
    }
}

#[test]
fn a_token_that_expired_on_its_way_is_no_new_access_token_and_replaced() {
    let mut world = World::new();
    let (request, exchange) = world.next_send().unwrap();
    let answer = response(&world.pair.send(&request));
    world.pair.wait(DAY + HOUR);
    world.client.handle_response(exchange, &answer, world.pair.now).unwrap();
    assert!(recovery(&mut world) <= 5);
    assert_eq!((world.count(LOGIN), world.has(&Event::AccessTokenGranted)), (2, false));
}

#[test]
fn a_token_whose_response_lay_in_the_socket_for_20_hours_lives_4_more() {
    let mut world = World::new();
    let (request, login) = world.next_send().unwrap();
    let token = response(&world.pair.send(&request));
    world.pair.wait(20 * HOUR);
    world.client.handle_response(login, &token, world.pair.now).unwrap();
    let left = world.client.live(world.pair.now).unwrap().expires_at().saturating_since(world.pair.now);
    assert_eq!(left.as_secs(), 4 * HOUR);
}

#[test]
fn two_threads_100_ms_apart_cause_60_tickles_an_hour() {
    for apart in [0, 10, 50, 100, 900] {
        let mut world = ready();
        world.sent.clear();
        let begin = world.pair.now;
        for millis in (0..HOUR * 1000).step_by(100) {
            for ahead in [apart, 0] {
                world.pair.now = begin.saturating_add(Duration::from_millis(millis + ahead));
                world.settle(&mut Sound);
            }
        }
        assert!((59..=61).contains(&world.count("/tickle")), "{apart}: {}", world.count("/tickle"));
        assert_eq!(world.sent.len(), world.count("/tickle"));
    }
}

#[test]
fn two_threads_apart_send_no_more_than_10_requests_a_second() {
    let mut world = ready();
    for _ in 0..60 {
        world.request(&SNAPSHOT);
    }
    world.sent.clear();
    let begin = world.pair.now;
    let mut by_server = Vec::new();
    for millis in (0..4000).step_by(20) {
        for ahead in [500, 0] {
            world.pair.now = begin.saturating_add(Duration::from_millis(millis + ahead));
            let before = world.sent.len();
            world.settle(&mut Sound);
            by_server.extend(vec![millis; world.sent.len() - before]);
        }
    }
    let most = (0..4000).map(|from| by_server.iter().filter(|at| (from..from + 1000).contains(*at)).count()).max();
    assert!(most <= Some(10), "{most:?}");
}

/// No battery-backed clock: the network's time comes after a while.
#[test]
fn a_machine_that_boots_in_1970_waits_for_its_clock_then_takes_seconds() {
    for minutes in [1, 60] {
        let mut pair = Pair::new();
        let session = pair.first_party(pair.builder());
        let noon = pair.now;
        let mut world = World::of(pair, Client::new(session));
        world.pair.now = UnixTime::from_secs(20);
        world.run(&mut Sound, minutes * MINUTE);
        assert_eq!(world.sent, []);
        assert_eq!(world.count_events(|event| matches!(event, Event::Stopped { .. })), 0);
        assert!(world.events.len() <= 12, "{}", world.events.len());
        world.pair.now = noon;
        let seconds = recovery(&mut world);
        assert!(seconds <= 3, "{seconds} s");
    }
}

#[test]
fn a_stored_session_on_a_machine_that_boots_in_1970_is_kept() {
    let mut world = ready();
    let (consumer, snapshot, noon) = (world.client.consumer().clone(), world.client.snapshot(), world.pair.now);
    world.pair.now = UnixTime::from_secs(20);
    world.client = Client::resume(consumer, snapshot.expose(), world.pair.now).unwrap();
    let ticket = world.request(&ACCOUNTS);
    world.sent.clear();
    world.run(&mut Sound, 30);
    assert_eq!((world.sent.len(), world.outcome(ticket)), (0, None), "it waits too");
    world.pair.now = noon;
    let seconds = recovery(&mut world);
    assert!(seconds <= 3, "{seconds} s");
    assert!(matches!(world.outcome(ticket), Some(Outcome::NotSent(NotSent::Deadline { .. }))));
}

#[test]
fn a_server_that_sets_its_clock_costs_no_token_and_only_rejected_requests() {
    for seconds in [600, 7200, 80_000] {
        let mut world = ready();
        world.happen(Incident::ClockSkew { seconds });
        let (get, order) = (world.request(&ACCOUNTS), world.request(&ORDER));
        world.run(&mut Sound, 30);
        assert!(matches!(world.outcome(get), Some(Outcome::Responded(_))), "{seconds}: {:?}", world.outcome(get));
        let what = diagnosis(world.outcome(order));
        assert!(
            matches!(what, Diagnosis::ClockOff | Diagnosis::MalformedRequest),
            "its timestamp, or its missing body"
        );
        world.run(&mut Sound, HOUR);
        assert_eq!((world.count(LOGIN), world.count("/orders"), phase(&world)), (1, 1, BrokeragePhase::Ready));
    }
}

/// Five clients of one consumer, one request each 10 s, for 3 h; one `Date` in a hundred is wrong.
#[test]
fn damaged_dates_cost_no_rejection_in_3_hours_of_5_clients() {
    for (window, seconds) in [(300, 290), (300, -290), (300, 86_000), (300, -86_000), (300, -3600), (200_000, 86_000)] {
        let mut fleet = crate::fleet::Fleet::new(5);
        fleet.pair.gateway.set_timestamp_window(Duration::from_secs(window));
        let at = crate::support::pair::system_time(fleet.pair.now);
        fleet.pair.gateway.schedule(at, Incident::DamagedDates { every: 100, seconds });
        for _ in 0..3 * HOUR / 10 {
            for member in &mut fleet.members {
                let now = fleet.pair.now;
                member.client.request(&SNAPSHOT, now).unwrap();
            }
            fleet.run(10);
        }
        assert_eq!(fleet.count(LOGIN), 5, "{window} {seconds}");
        for member in &fleet.members {
            let rejected = |event: &&Event| matches!(event, Event::Finished { outcome, .. } if !matches!(outcome, Outcome::Responded(_)));
            assert_eq!(member.events.iter().find(rejected), None, "{window} {seconds}");
            let failed = |event: &&Event| matches!(event, Event::BrokerageFailed { .. } | Event::LoginFailed { .. });
            assert_eq!(member.events.iter().find(failed), None, "{window} {seconds}");
        }
    }
}

/// Each wait is later than now, by a minute at most; and nobody polls more than once a second for nothing.
#[test]
fn waits_neither_spin_nor_oversleep_in_an_hour_of_anything() {
    for (status, body) in [(0, ""), (200, "{}"), (302, ""), (401, ""), (429, ""), (503, "")] {
        for by in [-86_400, 0, 86_400] {
            let mut world = ready();
            world.request(&ORDER);
            set_clock(&mut world, by);
            let end = world.pair.now.saturating_add(Duration::from_secs(HOUR));
            let mut polls = 0;
            while world.pair.now < end {
                polls += 1;
                match world.client.poll(&mut world.pair.rng, world.pair.now) {
                    Output::Wait(at) => {
                        let wait = at.saturating_since(world.pair.now);
                        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(60), "{wait:?}");
                        world.pair.now = at;
                    }
                    Output::Event(_) => {}
                    Output::Send { exchange, .. } if status == 0 => std::mem::forget(exchange),
                    Output::Send { exchange, .. } => {
                        let response = Response::new(status, body.as_bytes());
                        world.client.handle_response(exchange, &response, world.pair.now).unwrap();
                    }
                }
            }
            assert!(polls < 3600, "{status} {by}: {polls} polls in an hour");
        }
    }
}
