//! From the first live session token to the next: expiry, refresh, clocks that jump. All on a virtual clock.

mod support;

use ibkr_oauth::{ApiRequest, ConfigError, Consumer, Error, OAuthSession, Phase, Response, UnixTime};
use std::time::Duration;
use support::{NOW, WorkedLogin, parameter, rng};

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
    let phase = session.handle_response(refresh.exchange, Response::new(200, body.as_bytes()), after(23, 56));
    assert_eq!(phase, Ok(Phase::LiveSession));
    assert_eq!(session.live(after(24, 1)).unwrap().expires_at(), after(47, 56));
}

#[test]
fn a_refresh_that_fails_leaves_the_old_token_signing() {
    let login = WorkedLogin::any();
    let mut session = login.live_session(NOW);
    let refresh = login.poll(&mut session, after(23, 50)).unwrap();
    assert!(session.handle_response(refresh.exchange, Response::new(503, b""), after(23, 51)).is_err());
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
fn the_refresh_margin_is_the_users_choice() {
    let mut login = WorkedLogin::any();
    let builder = || Consumer::builder("TESTCONS", login.keys.clone(), login.dh.clone());
    let too_long = builder().refresh_margin(Duration::from_secs(12 * 3600)).build();
    assert_eq!(too_long.unwrap_err(), ConfigError::RefreshMargin);
    login.consumer = builder().refresh_margin(Duration::from_secs(3600)).build().unwrap();
    assert_eq!(login.live_session(NOW).poll_timeout(), Some(after(23, 0)));
}
