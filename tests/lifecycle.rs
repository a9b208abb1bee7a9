//! From the first live session token to the next: expiry, refresh, clocks that jump. All on a virtual clock.

mod support;

use ibkr_oauth::{ApiRequest, ConfigError, Consumer, Error, Misuse, OAuthSession, Phase, Request, Response, UnixTime};
use std::time::Duration;
use support::{NOW, WorkedLogin, parameter, rng};

const NO_BRIDGE: &[u8] = br#"{"error":"Bad Request: no bridge","statusCode":400}"#;
const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");

fn after(hours: u64, minutes: u64) -> UnixTime {
    NOW.saturating_add(Duration::from_secs((hours * 60 + minutes) * 60))
}

fn timestamp(session: &OAuthSession, now: UnixTime) -> String {
    let request = session.live(now).unwrap().sign(&ACCOUNTS, &mut rng(1), now).unwrap();
    parameter(&request, "oauth_timestamp").unwrap().to_string()
}

#[test]
fn the_next_token_is_fetched_while_the_old_one_still_signs() {
    let login = WorkedLogin::any();
    let mut session = login.live_session(NOW);
    assert_eq!(session.poll_timeout(), Some(after(23, 50)));
    assert!(login.poll(&mut session, after(23, 49)).is_none());

    let refresh = login.poll(&mut session, after(23, 50)).expect("the refresh margin has begun");
    assert!(session.live(after(23, 55)).unwrap().sign(&ACCOUNTS, &mut rng(1), after(23, 55)).is_ok());
    let body = login.body(None);
    let phase = session.handle_response(refresh.exchange, &Response::new(200, body.as_bytes()), after(23, 56));
    assert_eq!(phase, Ok(Phase::LiveSession));
    assert_eq!(session.live(after(24, 1)).unwrap().expires_at(), after(47, 50), "counted from the asking");
}

#[test]
fn a_refresh_that_fails_leaves_the_old_token_signing() {
    let login = WorkedLogin::any();
    let mut session = login.live_session(NOW);
    let refresh = login.poll(&mut session, after(23, 50)).unwrap();
    assert!(session.handle_response(refresh.exchange, &Response::new(503, b""), after(23, 51)).is_err());
    assert!(session.live(after(23, 52)).unwrap().sign(&ACCOUNTS, &mut rng(1), after(23, 52)).is_ok());
    assert!(login.poll(&mut session, after(23, 53)).is_some(), "and the next attempt is offered");
}

#[test]
fn an_expired_token_signs_nothing_and_says_so() {
    let login = WorkedLogin::any();
    let mut session = login.live_session(NOW);
    let kept = session.live(NOW).unwrap().clone();
    let last = UnixTime::from_millis(after(24, 0).as_millis() - 1);
    assert!(kept.sign(&ACCOUNTS, &mut rng(1), last).is_ok());
    let expired = Error::Expired { at: after(24, 0) };
    assert_eq!(kept.sign(&ACCOUNTS, &mut rng(1), after(24, 0)).unwrap_err(), expired);
    assert_eq!(kept.authorization(&ACCOUNTS, &mut rng(1), after(24, 0)).unwrap_err(), expired);
    assert!(session.live(after(24, 0)).is_none());
    assert_eq!(session.phase(after(24, 0)), Phase::AccessToken);
    assert!(login.poll(&mut session, after(24, 0)).is_some(), "logging in again needs nothing else");
}

#[test]
fn timestamps_never_go_back_even_if_the_clock_does() {
    let login = WorkedLogin::any();
    let mut session = login.live_session(NOW);
    assert_eq!(timestamp(&session, after(1, 0)), "1714653600");
    assert_eq!(timestamp(&session, NOW), "1714653600", "the clock went back an hour");
    assert_eq!(timestamp(&session, after(2, 0)), "1714657200");
    session.reauthorize();
    let request = session.poll_request(&mut rng(1), NOW).unwrap().unwrap().request;
    assert_eq!(parameter(&request, "oauth_timestamp"), Some("1714657200"), "a new login continues the series");
}

#[test]
fn a_machine_that_slept_through_the_expiry_logs_in_again() {
    let login = WorkedLogin::any();
    let mut session = login.live_session(NOW);
    let on_waking = after(24 * 3, 0);
    assert_eq!(session.phase(on_waking), Phase::AccessToken);
    let exchange = login.poll(&mut session, on_waking).unwrap().exchange;
    let body = login.body(None);
    let phase = session.handle_response(exchange, &Response::new(200, body.as_bytes()), on_waking);
    assert_eq!(phase, Ok(Phase::LiveSession));
}

#[test]
fn a_clock_set_back_behind_the_token_fetches_one_and_the_old_one_signs() {
    let login = WorkedLogin::any();
    let mut session = login.live_session(NOW);
    let minutes_back = |minutes: u64| NOW.saturating_sub(Duration::from_secs(minutes * 60));
    assert!(login.poll(&mut session, minutes_back(60)).is_none(), "a correction");
    assert!(login.poll(&mut session, minutes_back(61)).is_some(), "another time zone, or a dead battery");
    assert!(session.live(minutes_back(61)).is_some());
}

#[test]
fn an_expiry_in_the_past_or_missing_does_not_matter_to_a_new_token() {
    let login = WorkedLogin::any();
    for expiration in [None, Some(0), Some(1_714_650_000), Some(u64::MAX)] {
        let mut session = login.session();
        let exchange = login.poll(&mut session, NOW).unwrap().exchange;
        let body = login.body(expiration);
        let phase = session.handle_response(exchange, &Response::new(200, body.as_bytes()), NOW);
        assert_eq!(phase, Ok(Phase::LiveSession), "{expiration:?}");
        let expires_at = session.live(NOW).unwrap().expires_at();
        assert!((after(12, 0)..=after(24, 0)).contains(&expires_at), "{expiration:?}");
    }
}

/// Refuses a first poll with `date` in the answer, and returns what the session makes of it.
#[cfg(feature = "std")]
fn skew_from(date: &str) -> i32 {
    let mut session = WorkedLogin::any().session();
    let exchange = support::poll(&mut session).exchange;
    let rejection = Response::new(503, b"").with_header("Date", date.as_bytes());
    assert!(session.handle_response(exchange, &rejection, NOW).is_err());
    session.clock_skew()
}

/// NOW is 2 May 2024, 11:40:00.25 UTC.
#[cfg(feature = "std")]
#[test]
fn a_date_is_read_in_all_three_forms_and_absurd_ones_are_ignored() {
    for (date, skew) in [
        ("Thu, 02 May 2024 11:50:00 GMT", 600),
        ("Thursday, 02-May-24 11:50:00 GMT", 600),
        ("Thu May  2 11:50:00 2024", 600),
        (" Thu, 02 May 2024 11:30:00 GMT ", -600),
        ("Thu, 02 May 2024 11:40:02 GMT", 0),
        ("Thu, 02 May 2024 11:39:58 GMT", 0),
        ("Fri, 03 May 2024 11:40:00 GMT", 86_400),
        ("Fri, 03 May 2024 11:40:01 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 0),
        ("tomorrow", 0),
        ("", 0),
        ("\u{e9}", 0),
    ] {
        assert_eq!(skew_from(date), skew, "{date}");
    }
}

#[test]
fn without_the_standard_library_the_servers_time_can_be_handed_over() {
    let mut session = WorkedLogin::any().session();
    let exchange = support::poll(&mut session).exchange;
    let rejection = Response::new(503, b"").with_server_time(after(0, 10));
    assert!(session.handle_response(exchange, &rejection, NOW).is_err());
    assert_eq!(session.clock_skew(), 600);
    let request = support::poll(&mut session).request;
    assert_eq!(parameter(&request, "oauth_timestamp"), Some("1714650600"));
}

#[test]
fn clones_on_many_threads_share_one_series_of_timestamps() {
    let session = WorkedLogin::any().live_session(NOW);
    let live = session.live(NOW).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let live = live.clone();
            scope.spawn(move || {
                for minute in 0..60 {
                    live.sign(&ACCOUNTS, &mut rng(thread), after(0, minute)).unwrap();
                }
            });
        }
    });
    assert_eq!(timestamp(&session, NOW), "1714653540");
}

#[test]
fn poll_timeout_never_lets_a_loop_hang_or_spin() {
    let login = WorkedLogin::any();
    let past = |session: &OAuthSession| session.poll_timeout().is_some_and(|at| at <= NOW);
    let mut session = login.session();
    assert!(past(&session), "there is work now");
    let in_flight = login.poll(&mut session, NOW).unwrap();
    let deadline = NOW.saturating_add(Duration::from_secs(30));
    assert_eq!(session.poll_timeout(), Some(deadline), "the answer wakes the loop, or the deadline");
    drop(in_flight);
    assert!(past(&session));
    assert!(past(&OAuthSession::new(login.consumer.clone())));
}

/// A connection that is half open must not stop a login, silently and for good.
#[test]
fn a_response_that_never_comes_is_waited_for_half_a_minute() {
    let mut login = WorkedLogin::any();
    let seconds = |seconds: u64| NOW.saturating_add(Duration::from_secs(seconds));
    for (patience, configured) in [(30, None), (5, Some(5))] {
        let builder = Consumer::builder("TESTCONS", login.keys.clone(), login.dh.clone());
        let builder = match configured {
            Some(seconds) => builder.oauth_deadline(Duration::from_secs(seconds)),
            None => builder,
        };
        login.consumer = builder.build().unwrap();
        let mut session = login.session();
        let never_answered = login.poll(&mut session, NOW).unwrap().exchange;
        assert!(login.poll(&mut session, seconds(patience - 1)).is_none());
        assert_eq!(session.poll_timeout(), Some(seconds(patience)));
        let fresh = login.poll(&mut session, seconds(patience)).expect("the deadline has passed").exchange;
        let body = login.body(None);
        let mut hand_in =
            |exchange| session.handle_response(exchange, &Response::new(200, body.as_bytes()), seconds(patience));
        assert_eq!(hand_in(never_answered), Err(Error::Misuse(Misuse::StaleExchange)));
        assert_eq!(hand_in(fresh), Ok(Phase::LiveSession));
    }
}

/// Late is better than never, as long as nothing fresh is under way.
#[test]
fn a_response_after_the_deadline_is_taken_if_nothing_fresh_went_out() {
    let login = WorkedLogin::any();
    let mut session = login.session();
    let exchange = login.poll(&mut session, NOW).unwrap().exchange;
    let body = login.body(None);
    let phase = session.handle_response(exchange, &Response::new(200, body.as_bytes()), after(0, 10));
    assert_eq!(phase, Ok(Phase::LiveSession));
}

#[test]
fn a_clock_that_is_set_back_does_not_prolong_the_wait() {
    let login = WorkedLogin::any();
    let mut session = login.session();
    let _never_answered = login.poll(&mut session, NOW).unwrap().exchange;
    let an_hour_back = NOW.saturating_sub(Duration::from_secs(3600));
    assert!(login.poll(&mut session, an_hour_back).is_none());
    let deadline = an_hour_back.saturating_add(Duration::from_secs(30));
    assert_eq!(session.poll_timeout(), Some(deadline));
    assert!(login.poll(&mut session, deadline).is_some());
}

/// A clock that ran a year ahead for one request must not cost a year of refusals.
#[test]
fn a_timestamp_that_cannot_be_is_not_gone_on_from() {
    let login = WorkedLogin::any();
    let mut session = login.session();
    drop(session.poll_request(&mut rng(1), after(365 * 24, 0)).unwrap());
    let request = support::poll(&mut session).request;
    assert_eq!(parameter(&request, "oauth_timestamp"), Some("1714650000"));
}

/// With it a series ended; the next one does not go back either.
#[test]
fn behind_a_timestamp_that_cannot_be_a_new_series_begins() {
    let mut session = WorkedLogin::any().live_session(NOW);
    drop(session.poll_request(&mut rng(1), after(365 * 24, 0)).unwrap());
    assert_eq!(timestamp(&session, after(1, 0)), "1714653600");
    assert_eq!(timestamp(&session, NOW), "1714653600", "the clock went back an hour");
}

/// Only a server that has looked at the signature can say that a timestamp was not used.
#[test]
fn an_old_page_of_a_cache_does_not_turn_the_timestamps_back() {
    for (status, body) in [(503, &b""[..]), (401, b"<html>"), (403, b"no"), (400, NO_BRIDGE), (200, b"{}")] {
        let mut session = WorkedLogin::any().session();
        drop(session.poll_request(&mut rng(1), after(1, 0)).unwrap());
        let exchange = support::poll(&mut session).exchange;
        let old = Response::new(status, body).with_server_time(NOW);
        assert!(session.handle_response(exchange, &old, NOW).is_err());
        let request = support::poll(&mut session).request;
        assert_eq!(parameter(&request, "oauth_timestamp"), Some("1714653600"), "{status}");
    }
}

#[test]
fn the_refresh_margin_is_the_users_choice() {
    let mut login = WorkedLogin::any();
    let builder = || Consumer::builder("TESTCONS", login.keys.clone(), login.dh.clone());
    let too_long = builder().refresh_margin(Duration::from_secs(12 * 3600)).build();
    assert_eq!(too_long.unwrap_err(), ConfigError::RefreshMargin);
    assert!(builder().refresh_margin(Duration::from_secs(12 * 3600 - 1)).build().is_ok());
    login.consumer = builder().refresh_margin(Duration::from_secs(3600)).build().unwrap();
    assert_eq!(login.live_session(NOW).poll_timeout(), Some(after(23, 0)));
}

/// How many of the numbers are no sums (exclusive or) of others.
fn rank(numbers: impl Iterator<Item = u128>) -> usize {
    let mut basis: Vec<u128> = Vec::new();
    for number in numbers {
        let rest = basis.iter().fold(number, |rest, known| rest.min(rest ^ known));
        basis.extend((rest != 0).then_some(rest));
    }
    basis.len()
}

/// No bit of a nonce is constant or follows from others. (With 256 nonces, chance has no part in it.)
#[test]
fn every_bit_of_a_nonce_is_random() {
    let nonce = |request: &Request| u128::from_str_radix(parameter(request, "oauth_nonce").unwrap(), 16).unwrap();
    let independent_bits = |mut next: Box<dyn FnMut() -> u128>| {
        let first = next();
        rank((0..256).map(|_| next() ^ first))
    };
    let (mut session, mut random) = (WorkedLogin::any().session(), rng(1));
    let login = move || nonce(&session.poll_request(&mut random, NOW).unwrap().unwrap().request);
    assert_eq!(independent_bits(Box::new(login)), 128);
    let (session, mut random) = (WorkedLogin::any().live_session(NOW), rng(1));
    let call = move || nonce(&session.live(NOW).unwrap().sign(&ACCOUNTS, &mut random, NOW).unwrap());
    assert_eq!(independent_bits(Box::new(call)), 128);
}

/// What a refusal takes back is a timestamp; it uses none, and least of all one that was never sent.
#[test]
fn a_rejected_signature_never_moves_the_timestamps_forward() {
    let mut session = WorkedLogin::any().session();
    let exchange = support::poll(&mut session).exchange;
    let late = after(0, 10);
    let rejection = Response::new(401, br#"{"error":"id: 3931, error: invalid consumer"}"#).with_server_time(late);
    assert!(session.handle_response(exchange, &rejection, late).is_err());
    let request = session.poll_request(&mut rng(1), after(0, 5)).unwrap().unwrap().request;
    assert_eq!(parameter(&request, "oauth_timestamp"), Some("1714650300"), "the clock went back, behind the refusal");
}

#[test]
fn who_does_not_want_the_clock_corrected_keeps_it_through_every_response() {
    let mut login = WorkedLogin::any();
    let builder = Consumer::builder("TESTCONS", login.keys.clone(), login.dh.clone());
    login.consumer = builder.without_clock_correction().build().unwrap();
    let session = login.live_session(NOW);
    let live = session.live(NOW).unwrap();
    let receipt = live.sign(&ACCOUNTS, &mut rng(1), NOW).unwrap().receipt();
    live.handle_response(receipt, &Response::new(200, b"{}").with_server_time(after(0, 10)), NOW).unwrap();
    assert_eq!((session.clock_skew(), &*timestamp(&session, NOW)), (0, "1714650000"));
}
