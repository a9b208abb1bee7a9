//! The caller's own requests: each ends exactly once, and no order goes out twice.

use std::time::Duration;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{
    ApiRequest, Client, Diagnosis, Error, Event, Method, Misuse, NotSent, OAuthSession, Outcome, Pacing, QueryPolicy,
    Request, RequestTicket, Response, UnixTime,
};
use ibkr_oauth_gateway::{Incident, QueryPolicy as Expected};

use crate::support::pair::{Pair, response};
use crate::support::world::{Sound, World};
use crate::{ACCOUNTS, DAY, HOUR, LOGIN, MINUTE, ORDER, SNAPSHOT, answering, diagnosis, phase, ready, to};

/// What may come instead of a success; 0 stands for nothing.
const FAILURES: [(u16, &str); 20] = [
    (0, ""),
    (302, ""),
    (400, r#"{"error":"Bad Request: no bridge","statusCode":400}"#),
    (400, r#"{"error":"bad"}"#),
    (401, ""),
    (401, "<html>"),
    (401, "Invalid signature"),
    (401, "Unauthorized"),
    (401, r#"{"error":"id: 1, error: invalid consumer","statusCode":401}"#),
    (403, "<html>"),
    (404, ""),
    (408, ""),
    (410, "gone"),
    (411, ""),
    (425, ""),
    (429, ""),
    (500, r#"{"error":"failed to generate sso dh token"}"#),
    (502, ""),
    (503, "<html>"),
    (599, ""),
];

#[test]
fn an_order_goes_out_once_whatever_comes_back_and_whatever_its_method() {
    for method in [Method::Post, Method::Put, Method::Delete] {
        for (status, body) in FAILURES {
            let mut world = ready();
            let ticket = world.request(&ApiRequest::new(method, "/iserver/account/DU1/orders"));
            world.run(&mut answering(to("/orders"), status, body), 2 * HOUR);
            assert_eq!(world.count("/orders"), 1, "{status} {body}");
            match world.outcome(ticket) {
                Some(Outcome::NoResponse) if status == 0 => {}
                Some(Outcome::Rejected { response, .. }) => assert_eq!(response.status(), status),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Each order meets a token that was dead before, or dies with it.
#[test]
fn an_order_goes_out_once_when_the_token_dies_or_is_replaced() {
    for incident in [Incident::LiveSessionsEnd, Incident::Gone, Incident::NightlyReset] {
        let mut world = ready();
        world.happen(incident.clone());
        let ticket = world.request(&ORDER);
        world.run(&mut Sound, HOUR);
        assert_eq!(world.count("/orders"), 1, "{incident:?}");
        assert!(matches!(world.outcome(ticket), Some(Outcome::Rejected { .. })));
        assert_eq!(phase(&world), BrokeragePhase::Ready);
    }
}

#[test]
fn an_order_whose_exchange_was_dropped_is_unanswered_and_not_repeated() {
    let mut world = ready();
    let ticket = world.request(&ORDER);
    drop(world.next_send().unwrap());
    world.run(&mut Sound, HOUR);
    assert_eq!((world.outcome(ticket), world.count("/orders")), (Some(&Outcome::NoResponse), 1));
    let ticket = world.request(&ORDER);
    let (_, exchange) = world.next_send().unwrap();
    assert_eq!(exchange.request(), Some(ticket));
    world.client.handle_no_response(exchange, world.pair.now);
    world.run(&mut Sound, HOUR);
    assert_eq!((world.outcome(ticket), world.count("/orders")), (Some(&Outcome::NoResponse), 2));
}

#[test]
fn an_order_that_waits_for_a_login_goes_out_once_after_it() {
    let mut world = ready();
    world.happen(Incident::LiveSessionsEnd);
    let mut no_login = answering(to(LOGIN), 503, "");
    world.run(&mut no_login, MINUTE);
    let ticket = world.request(&ORDER);
    world.run(&mut no_login, 10);
    assert_eq!(world.count("/orders"), 0);
    world.run(&mut Sound, 50);
    assert_eq!(
        (world.count("/orders"), diagnosis(world.outcome(ticket))),
        (1, Diagnosis::MalformedRequest),
        "the order has no body"
    );
}

#[test]
fn a_get_goes_out_twice_at_most_whatever_comes_back() {
    for (status, body) in FAILURES {
        let mut world = ready();
        let ticket = world.request(&SNAPSHOT);
        world.run(&mut answering(to("/snapshot"), status, body), 2 * HOUR);
        assert!((1..=2).contains(&world.count("/snapshot")), "{status} {body}: {}", world.count("/snapshot"));
        match world.outcome(ticket) {
            Some(Outcome::NoResponse) if status == 0 => {}
            Some(Outcome::Rejected { response, .. }) => assert_eq!(response.status(), status),
            other => panic!("{other:?}"),
        }
        let finished = |event: &Event| matches!(event, Event::Finished { .. });
        assert_eq!(world.count_events(finished), 1);
    }
}

#[test]
fn a_get_that_met_a_dead_token_is_repeated_once_with_the_next() {
    for incident in [Incident::LiveSessionsEnd, Incident::Gone] {
        let mut world = ready();
        world.run(&mut Sound, 10);
        world.happen(incident);
        let ticket = world.request(&ACCOUNTS);
        world.run(&mut Sound, 30);
        assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))), "{:?}", world.events);
        assert_eq!((world.count("/portfolio/accounts"), world.count(LOGIN)), (2, 2));
    }
}

#[test]
fn a_get_that_met_no_bridge_is_repeated_once_when_there_is_one() {
    let mut world = ready();
    world.happen(Incident::NightlyReset);
    let ticket = world.request(&SNAPSHOT);
    world.run(&mut Sound, 15);
    assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))), "{:?}", world.events);
    assert_eq!((world.count("/snapshot"), world.count(LOGIN)), (2, 1));
}

/// The second attempt never went out, but the first did.
#[test]
fn a_get_whose_repetition_has_no_time_is_rejected_and_not_unsent() {
    let mut world = ready();
    let (ticket, _) = (world.request(&SNAPSHOT), world.request(&ACCOUNTS));
    let [(_, exchange), (_, other)] = [(); 2].map(|()| world.next_send().unwrap());
    // A wrong timestamp would be repeated at once, but there were too many requests.
    let date = world.pair.now.saturating_add(Duration::from_secs(4000));
    let rejection = Response::new(401, b"Unauthorized").with_server_time(date);
    world.client.handle_response(exchange, &rejection, world.pair.now).unwrap();
    world.client.handle_response(other, &Response::new(429, b""), world.pair.now).unwrap();
    world.run(&mut Sound, 2 * MINUTE);
    assert_eq!(world.count("/snapshot"), 1);
    assert_eq!(diagnosis(world.outcome(ticket)), Diagnosis::ClockOff);
}

#[test]
fn six_hundred_requests_rejected_for_their_query_cost_no_token() {
    let mut world = ready();
    world.pair.gateway.set_query_policy(Expected::Reject);
    let mut tickets = Vec::new();
    for _ in 0..600 {
        tickets.push(world.request(&SNAPSHOT));
        world.run(&mut Sound, 1);
    }
    world.run(&mut Sound, MINUTE);
    assert_eq!((world.count(LOGIN), world.count("/snapshot")), (1, 601), "one is tried with the query signed");
    assert!(world.count("/tickle") < 90, "{}", world.count("/tickle"));
    let rejected = |ticket| diagnosis(world.outcome(ticket)) == Diagnosis::RequestRejected;
    assert_eq!(tickets.into_iter().filter(|ticket| rejected(*ticket)).count(), 599);
}

#[test]
fn the_query_policy_that_works_is_found_by_one_get_and_kept_and_stored() {
    for (expected, found) in [(Expected::Fold, QueryPolicy::Fold), (Expected::Exclude, QueryPolicy::Exclude)] {
        let mut world = ready();
        let signer = world.client.signer();
        world.pair.gateway.set_query_policy(Expected::Fold);
        let first = world.request(&SNAPSHOT);
        world.run(&mut Sound, 30);
        if found == QueryPolicy::Exclude {
            // A client knows that the server wants the query signed until it does not.
            let (consumer, snapshot) = (world.client.consumer().clone(), world.client.snapshot());
            world.client = Client::resume(consumer, snapshot.expose(), world.pair.now).unwrap();
            world.pair.gateway.set_query_policy(expected);
            world.events.clear();
            let again = world.request(&SNAPSHOT);
            world.run(&mut Sound, 30);
            assert!(matches!(world.outcome(again), Some(Outcome::Responded(_))), "{:?}", world.events);
        } else {
            assert!(matches!(world.outcome(first), Some(Outcome::Responded(_))), "{:?}", world.events);
            let signed = signer.sign(&SNAPSHOT, &mut world.pair.rng, world.pair.now).unwrap();
            assert!(signed.base_string().to_string().contains("conids"), "signers follow");
        }
        assert!(world.has(&Event::QueryPolicyChanged(found)));
        let sent = world.count("/snapshot");
        let next = world.request(&SNAPSHOT);
        world.run(&mut Sound, 5);
        assert!(matches!(world.outcome(next), Some(Outcome::Responded(_))));
        assert_eq!((world.count("/snapshot"), world.count(LOGIN)), (sent + 1, 1), "no second attempt, no new token");
        let (consumer, snapshot) = (world.client.consumer().clone(), world.client.snapshot());
        world.client = Client::resume(consumer, snapshot.expose(), world.pair.now).unwrap();
        let signed = world.client.signer().sign(&SNAPSHOT, &mut world.pair.rng, world.pair.now).unwrap();
        assert_eq!(signed.base_string().to_string().contains("conids"), found == QueryPolicy::Fold, "it is stored");
    }
}

#[test]
fn a_trial_of_the_other_policy_that_was_lost_is_made_again_later() {
    let mut world = ready();
    world.pair.gateway.set_query_policy(Expected::Fold);
    let mut trials = 0;
    let mut loses_the_first_trial = |pair: &mut Pair, request: &Request| {
        let is_trial = request.base_string().to_string().contains("conids");
        trials += usize::from(is_trial);
        (!is_trial || trials > 1).then(|| response(&pair.send(request)))
    };
    world.request(&SNAPSHOT);
    world.run(&mut loses_the_first_trial, 2 * MINUTE);
    let second = world.request(&SNAPSHOT);
    world.run(&mut loses_the_first_trial, MINUTE);
    assert!(matches!(world.outcome(second), Some(Outcome::Responded(_))), "{:?}", world.outcome(second));
}

#[test]
fn a_query_policy_that_the_caller_fixed_is_not_changed() {
    let mut pair = Pair::new();
    let session = pair.first_party(pair.builder().query_policy(QueryPolicy::Exclude));
    pair.gateway.set_query_policy(Expected::Fold);
    let mut world = World::of(pair, Client::new(session));
    world.run(&mut Sound, MINUTE);
    let ticket = world.request(&SNAPSHOT);
    world.run(&mut Sound, MINUTE);
    assert_eq!((diagnosis(world.outcome(ticket)), world.count("/snapshot")), (Diagnosis::RequestRejected, 1));
}

#[test]
fn a_cancelled_request_is_never_sent_nor_finished() {
    let mut world = ready();
    let ticket = world.request(&ORDER);
    assert!(world.client.cancel(ticket));
    assert!(!world.client.cancel(ticket), "it is gone");
    world.run(&mut Sound, HOUR);
    assert_eq!((world.count("/orders"), world.outcome(ticket)), (0, None));
    let ticket = world.request(&ORDER);
    let (_, exchange) = world.next_send().unwrap();
    assert!(!world.client.cancel(ticket), "too late");
    world.client.handle_response(exchange, &Response::new(200, b"{}"), world.pair.now).unwrap();
    world.settle(&mut Sound);
    assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))));
}

#[test]
fn a_cancelled_request_that_waits_for_its_repetition_is_not_repeated() {
    let mut world = ready();
    let ticket = world.request(&ACCOUNTS);
    let (_, exchange) = world.next_send().unwrap();
    world.client.handle_response(exchange, &Response::new(401, b""), world.pair.now).unwrap();
    assert!(world.client.cancel(ticket));
    world.run(&mut Sound, HOUR);
    assert_eq!((world.count("/portfolio/accounts"), world.outcome(ticket)), (1, None));
}

#[test]
fn a_full_queue_says_so_at_once_and_has_room_again() {
    let mut world = World::new();
    world.client = Client::new(world.pair.first_party(world.pair.builder())).with_request_limit(3);
    for _ in 0..3 {
        world.request(&ACCOUNTS);
    }
    let rejected = world.client.request(&ACCOUNTS, world.pair.now);
    assert_eq!(rejected, Err(Error::QueueFull { limit: 3 }));
    world.run(&mut Sound, MINUTE);
    assert!(world.client.request(&ACCOUNTS, world.pair.now).is_ok());
}

#[test]
fn a_request_that_cannot_be_signed_is_rejected_at_once() {
    let mut world = World::new();
    for (request, misuse) in [
        (ApiRequest::get("portfolio"), Misuse::InvalidPath),
        (ApiRequest::get("/a/../b"), Misuse::InvalidPath),
        (ApiRequest::get("/a").raw_query("%zz"), Misuse::InvalidQuery),
        (ApiRequest::get("/a").query(&[("oauth_token", "x")]), Misuse::ReservedParameter),
    ] {
        assert_eq!(world.client.request(&request, world.pair.now), Err(Error::Misuse(misuse)));
    }
}

#[test]
fn requests_end_at_their_deadline_60_seconds_or_what_was_set() {
    for deadline in [None, Some(5), Some(300)] {
        let mut world = World::new();
        if let Some(seconds) = deadline {
            let client = Client::new(world.pair.first_party(world.pair.builder()));
            world.client = client.with_request_deadline(Duration::from_secs(seconds));
        }
        let seconds = deadline.unwrap_or(60);
        let unsent = world.request(&ORDER);
        let mut nothing_arrives = answering(|_| true, 0, "");
        world.run(&mut nothing_arrives, seconds - 1);
        assert_eq!(world.outcome(unsent), None);
        world.run(&mut nothing_arrives, 2);
        assert!(matches!(world.outcome(unsent), Some(Outcome::NotSent(NotSent::Deadline { .. }))));
        world.run(&mut Sound, 20 * MINUTE + 5);
        let in_flight = world.request(&ACCOUNTS);
        let (_, exchange) = world.next_send().unwrap();
        world.run(&mut Sound, seconds - 1);
        assert_eq!(world.outcome(in_flight), None);
        world.run(&mut Sound, 2);
        assert_eq!(world.outcome(in_flight), Some(&Outcome::NoResponse));
        let late = world.client.handle_response(exchange, &Response::new(200, b"[]"), world.pair.now);
        assert_eq!(late, Err(Misuse::StaleExchange));
        world.run(&mut Sound, MINUTE);
        assert_eq!(world.count_events(|event| matches!(event, Event::Finished { .. })), 2);
    }
}

#[test]
fn requests_are_paced_and_the_clients_own_go_first() {
    let mut world = ready();
    for _ in 0..200 {
        world.request(&SNAPSHOT);
    }
    world.run(&mut Sound, MINUTE);
    assert!(world.most_in(1, "") <= 10, "{} in a second", world.most_in(1, ""));
    assert_eq!((world.count("/snapshot"), world.count("/tickle")), (200, 3));
    world.request(&ACCOUNTS);
    world.request(&ACCOUNTS);
    world.run(&mut Sound, 10);
    assert_eq!(world.most_in(5, "/portfolio/accounts"), 1);
}

#[test]
fn the_pacing_of_a_client_says_how_many_go_out_in_a_second() {
    for (pacing, allowed) in [(Pacing::default(), 10), (Pacing::fifty_a_second(), 50)] {
        let mut world = World::new();
        world.client = Client::new(world.pair.first_party(world.pair.builder())).with_pacing(pacing);
        world.run(&mut Sound, MINUTE);
        let positions = ApiRequest::get("/portfolio/DU1/positions/0");
        for _ in 0..120 {
            world.request(&positions);
        }
        world.run(&mut Sound, 30);
        assert_eq!((world.most_in(1, ""), world.most_in(1, "/positions")), (allowed, allowed));
        assert_eq!(world.count("/positions"), 120);
    }
}

#[test]
fn iserver_requests_wait_for_the_brokerage_session_and_others_do_not() {
    let mut world = World::new();
    world.happen(Incident::NoBrokerageSessions { lasts: Duration::from_secs(40) });
    let (order, snapshot, accounts) = (world.request(&ORDER), world.request(&SNAPSHOT), world.request(&ACCOUNTS));
    world.run(&mut Sound, 30);
    assert!(matches!(world.outcome(accounts), Some(Outcome::Responded(_))));
    assert_eq!((world.outcome(order), world.outcome(snapshot)), (None, None));
    world.run(&mut Sound, 29);
    assert!(matches!(world.outcome(snapshot), Some(Outcome::Responded(_))));
    assert_eq!(world.count("/orders"), 1);
}

#[test]
fn a_log_out_ends_what_has_not_gone_out_and_repeats_nothing() {
    for is_reauthorized in [false, true] {
        let mut world = ready();
        let (in_flight, waiting) = (world.request(&ACCOUNTS), world.request(&ACCOUNTS));
        let (_, exchange) = world.next_send().unwrap();
        match is_reauthorized {
            true => world.client.reauthorize(),
            false => world.client.log_out(world.pair.now),
        }
        world.settle(&mut Sound);
        assert_eq!(world.outcome(waiting), Some(&Outcome::NotSent(NotSent::LoggedOut)));
        world.client.handle_response(exchange, &Response::new(401, b"Unauthorized"), world.pair.now).unwrap();
        world.settle(&mut Sound);
        assert_eq!(diagnosis(world.outcome(in_flight)), Diagnosis::Unauthorized, "the next user has no part in it");
        world.client.open();
        world.run(&mut Sound, HOUR);
        assert_eq!(world.count("/portfolio/accounts"), 1);
    }
}

#[test]
fn business_errors_and_outages_are_reported_as_they_are() {
    for (status, body, what) in [
        (404, r#"{"error":"no such contract"}"#, Diagnosis::Unknown),
        (400, r#"{"error":"conids are missing"}"#, Diagnosis::MalformedRequest),
        (503, "", Diagnosis::Unavailable),
    ] {
        let mut world = ready();
        let ticket = world.request(&SNAPSHOT);
        world.run(&mut answering(to("/snapshot"), status, body), MINUTE);
        assert_eq!((diagnosis(world.outcome(ticket)), world.count("/snapshot")), (what, 1));
    }
}

#[test]
fn a_day_of_business_errors_costs_no_token() {
    let mut world = World::new();
    world.client = Client::new(world.pair.first_party(world.pair.builder())).without_brokerage_session();
    world.run(&mut Sound, MINUTE);
    let signer = world.client.signer();
    for _ in 0..DAY / HOUR * 4 {
        let rejection = || Response::new(404, br#"{"error":"no such contract"}"#);
        let request = signer.sign(&ACCOUNTS, &mut world.pair.rng, world.pair.now).unwrap();
        let _ = signer.handle_response(request.receipt(), &rejection(), world.pair.now);
        world.request(&ACCOUNTS);
        world.run(&mut |_: &mut Pair, _: &Request| Some(rejection()), 10 * MINUTE);
    }
    assert_eq!(world.count(LOGIN), 1);
}

#[test]
fn what_cannot_go_out_in_time_is_known_before_it_is_handed_over() {
    let mut world = ready();
    let beyond = |world: &mut World, request| world.client.beyond_deadline(&request, world.pair.now);
    for request in [ACCOUNTS, SNAPSHOT, ORDER] {
        assert_eq!(beyond(&mut world, request), None, "all is well");
    }

    // A request limit of a quarter of an hour.
    let report = ApiRequest::post("/pa/performance");
    let until = world.pair.now.saturating_add(Duration::from_secs(15 * MINUTE));
    world.request(&report);
    world.settle(&mut Sound);
    assert_eq!((beyond(&mut world, report), beyond(&mut world, ACCOUNTS)), (Some(until), None));
    world.run(&mut Sound, 14 * MINUTE);
    assert_eq!(beyond(&mut world, report), Some(until), "60 seconds from now is too late");
    world.run(&mut Sound, 1);
    assert_eq!(beyond(&mut world, report), None, "in 59 seconds it goes out");

    // No brokerage session: the pauses grow.
    world.happen(Incident::NoBrokerageSessions { lasts: Duration::MAX });
    world.happen(Incident::NightlyReset);
    world.run(&mut Sound, 30 * MINUTE);
    while beyond(&mut world, ORDER).is_none() {
        world.run(&mut Sound, 1);
    }
    let until = beyond(&mut world, ORDER).unwrap();
    assert!(until > world.pair.now.saturating_add(Duration::from_secs(60 - 1)));
    assert_eq!(beyond(&mut world, ACCOUNTS), None, "which needs none");
    let (asked, left) = (world.count("/ssodh/init"), until.saturating_since(world.pair.now).as_secs());
    world.run(&mut Sound, left);
    assert_eq!(world.count("/ssodh/init"), asked);
    world.run(&mut Sound, 2);
    assert_eq!(world.count("/ssodh/init"), asked + 1, "that is when it is tried again");

    // No live session: the same.
    world.happen(Incident::LiveSessionsEnd);
    let is_login = to(LOGIN);
    let mut no_logins = answering(move |request| is_login(request), 503, "");
    world.run(&mut no_logins, 30 * MINUTE);
    while beyond(&mut world, ACCOUNTS).is_none() {
        world.run(&mut no_logins, 1);
    }
    let until = beyond(&mut world, ACCOUNTS).unwrap();
    let (asked, left) = (world.count(LOGIN), until.saturating_since(world.pair.now).as_secs());
    world.run(&mut no_logins, left);
    assert_eq!(world.count(LOGIN), asked);
    world.run(&mut no_logins, 2);
    assert_eq!(world.count(LOGIN), asked + 1, "that is when it is tried again");

    world.client.log_out(world.pair.now);
    world.run(&mut no_logins, MINUTE);
    assert_eq!(beyond(&mut world, ACCOUNTS), None, "who is logged out does not know");
}

/// What the request of `ticket`, which never went out in its time, says of the next.
fn retry_at(world: &World, ticket: RequestTicket) -> Option<UnixTime> {
    match world.outcome(ticket) {
        Some(Outcome::NotSent(NotSent::Deadline { retry_at })) => *retry_at,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_whose_time_was_up_says_when_the_next_could_go_out() {
    let mut world = ready();
    let tickets: Vec<_> = (0..20).map(|_| world.request(&ACCOUNTS)).collect();
    world.run(&mut Sound, MINUTE);
    world.settle(&mut Sound);
    let sent = world.count("/portfolio/accounts");
    let (last, _) = world.sent.iter().rfind(|(_, line)| line.contains("/portfolio/accounts")).unwrap();
    let free_at = last.saturating_add(Duration::from_secs(5));
    assert!(tickets.iter().skip(sent).all(|ticket| retry_at(&world, *ticket) == Some(free_at)), "{:?}", world.events);

    world.happen(Incident::LiveSessionsEnd);
    let mut no_logins = answering(to(LOGIN), 503, "");
    world.run(&mut no_logins, MINUTE);
    let ticket = world.request(&ORDER);
    world.run(&mut no_logins, MINUTE);
    world.settle(&mut no_logins);
    let next_attempt = world.events.iter().rev().find_map(|event| match event {
        Event::LoginFailed { next_attempt, .. } => Some(*next_attempt),
        _ => None,
    });
    assert!(next_attempt.is_some());
    assert_eq!(retry_at(&world, ticket), next_attempt);

    let mut world = World::new();
    let consumer = world.pair.builder().build().unwrap();
    world.client = Client::new(OAuthSession::new(consumer));
    let ticket = world.request(&ORDER);
    world.run(&mut Sound, 2 * MINUTE);
    assert_eq!(retry_at(&world, ticket), None, "that is up to the user");
}

#[test]
fn a_request_that_may_go_out_in_time_is_not_called_late() {
    let mut world = World::new();
    let beyond = |world: &mut World, request| world.client.beyond_deadline(&request, world.pair.now);
    assert_eq!(beyond(&mut world, ORDER), None, "nothing was tried yet");
    let (_, exchange) = world.next_send().unwrap();
    assert_eq!(beyond(&mut world, ORDER), None, "a login is on its way");
    world.client.handle_response(exchange, &Response::new(401, b""), world.pair.now).unwrap();
    assert_eq!(beyond(&mut world, ORDER), None, "the next attempt comes soon");
    let mut world = ready();
    world.happen(Incident::CompetingLogin { user: "alice".into() });
    world.run(&mut Sound, 2 * MINUTE);
    assert_eq!(phase(&world), BrokeragePhase::Competing);
    assert_eq!(beyond(&mut world, ORDER), None, "the next tickle may find that the competitor is gone");
}
