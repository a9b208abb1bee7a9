//! IBKR's request limits: what may be sent, and how long to wait.

use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use ibkr_oauth::{ApiRequest, Method, UnixTime};
use ibkr_oauth::{Pacing, PacingError, Penalty};
use proptest::prelude::*;

const NOW: UnixTime = UnixTime::from_secs(1_714_650_000);
const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

fn later(seconds: u64) -> UnixTime {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn earlier(seconds: u64) -> UnixTime {
    NOW.saturating_sub(Duration::from_secs(seconds))
}

/// When the next is allowed: now, as soon as so many have gone out.
fn free_after(pacing: &mut Pacing, count: usize, request: &ApiRequest<'_>) -> Option<UnixTime> {
    for sent in 0..count {
        assert_eq!(pacing.try_send(request, NOW), Ok(()), "{request:?}, {sent} sent");
    }
    pacing.free_at(request, NOW)
}

/// Protocol sections 8 and 14.3.
#[test]
fn each_endpoint_keeps_its_own_documented_limit() {
    for (method, path, count, seconds) in [
        (Method::Get, "/fyi/unreadnumber", 1, 1),
        (Method::Get, "/fyi/settings", 1, 1),
        (Method::Post, "/fyi/settings/BA", 1, 1),
        (Method::Put, "/fyi/disclaimer/BA", 1, 1),
        (Method::Get, "/fyi/deliveryoptions", 1, 1),
        (Method::Delete, "/fyi/deliveryoptions/1", 1, 1),
        (Method::Get, "/fyi/notifications", 1, 1),
        (Method::Get, "/fyi/notifications/more", 1, 1),
        (Method::Put, "/fyi/notifications/1", 1, 1),
        (Method::Get, "/fyi/somethingnew", 1, 1),
        (Method::Get, "/iserver/orders", 1, 5),
        (Method::Get, "/iserver/account/orders", 1, 5),
        (Method::Get, "/iserver/trades", 1, 5),
        (Method::Get, "/iserver/account/trades", 1, 5),
        (Method::Get, "/iserver/account/pnl/partitioned", 1, 5),
        (Method::Get, "/iserver/marketdata/history", 10, 1),
        (Method::Get, "/iserver/marketdata/snapshot", 10, 1),
        (Method::Get, "/iserver/scanner/params", 1, 15 * MINUTE),
        (Method::Post, "/iserver/scanner/run", 1, 1),
        (Method::Post, "/pa/performance", 1, 15 * MINUTE),
        (Method::Post, "/pa/summary", 1, 15 * MINUTE),
        (Method::Post, "/pa/transactions", 1, 15 * MINUTE),
        (Method::Post, "/pa/allperiods", 1, 15 * MINUTE),
        (Method::Get, "/portfolio/accounts", 1, 5),
        (Method::Get, "/portfolio/subaccounts", 1, 5),
        (Method::Get, "/sso/validate", 1, MINUTE),
        (Method::Get, "/tickle", 1, 1),
        (Method::Post, "/tickle", 1, 1),
        (Method::Get, "/iserver/accounts", 50, 1),
    ] {
        let (mut pacing, request) = (Pacing::fifty_a_second(), ApiRequest::new(method, path));
        assert_eq!(free_after(&mut pacing, count, &request), Some(later(seconds)), "{path}");
        assert_eq!(pacing.try_send(&request, NOW).unwrap_err().retry_at, later(seconds), "{path}");
        assert_eq!(pacing.try_send(&request, later(seconds)), Ok(()), "{path}");
    }
}

#[test]
fn ten_requests_a_second_are_allowed_and_fifty_only_on_demand() {
    for (mut pacing, count) in [(Pacing::default(), 10), (Pacing::fifty_a_second(), 50)] {
        let paths: Vec<String> = (0..count).map(|account| format!("/portfolio/U{account}/summary")).collect();
        for path in &paths {
            assert_eq!(pacing.try_send(&ApiRequest::get(path), NOW), Ok(()));
        }
        assert_eq!(pacing.free_at(&ApiRequest::post("/oauth/live_session_token"), NOW), Some(later(1)));
    }
}

#[test]
fn history_has_a_limit_for_the_second_and_one_for_the_minute() {
    let (mut pacing, history) = (Pacing::default(), ApiRequest::get("/iserver/marketdata/history"));
    for second in 0..5 {
        for _ in 0..10 {
            assert_eq!(pacing.try_send(&history, later(second)), Ok(()));
        }
        let next = if second < 4 { second + 1 } else { MINUTE };
        assert_eq!(pacing.free_at(&history, later(second)), Some(later(next)));
    }
}

#[test]
fn one_endpoint_in_many_spellings_is_one_endpoint() {
    for spelling in ["/portfolio/accounts", "/portfolio/accounts/", "//portfolio/accounts", "/portfolio/%61ccount%73"] {
        let mut pacing = Pacing::default();
        assert_eq!(pacing.try_send(&ApiRequest::get("/portfolio/accounts"), NOW), Ok(()));
        assert_eq!(pacing.free_at(&ApiRequest::get(spelling), NOW), Some(later(5)), "{spelling}");
    }
    let query = [("page", "1")];
    let mut pacing = Pacing::default();
    assert_eq!(pacing.try_send(&ApiRequest::get("/iserver/orders").query(&query), NOW), Ok(()));
    assert_eq!(pacing.free_at(&ApiRequest::get("/iserver/account/orders"), NOW), Some(later(5)), "its older name");
}

#[test]
fn orders_are_not_paced_by_the_limit_of_the_list_of_orders() {
    let mut pacing = Pacing::default();
    assert_eq!(pacing.try_send(&ApiRequest::get("/iserver/account/orders"), NOW), Ok(()));
    for request in [
        ApiRequest::post("/iserver/account/U1/orders"),
        ApiRequest::post("/iserver/account/orders"),
        ApiRequest::post("/iserver/account/orders/group"),
        ApiRequest::post("/iserver/orders"),
        ApiRequest::delete("/iserver/account/U1/order/7"),
        ApiRequest::get("/iserver/account/order/status/7"),
        ApiRequest::get("/iserver/account/ordersheet"),
        ApiRequest::get("/iserver/account"),
    ] {
        assert_eq!(pacing.free_at(&request, NOW), None, "{request:?}");
    }
    let mut pacing = Pacing::default();
    assert_eq!(free_after(&mut pacing, 10, &ApiRequest::post("/iserver/account/U1/orders")), Some(later(1)));
}

#[test]
fn endpoints_of_one_family_do_not_wait_for_each_other() {
    let mut pacing = Pacing::default();
    for path in ["/pa/performance", "/pa/summary", "/pa/transactions"] {
        assert_eq!(pacing.try_send(&ApiRequest::post(path), NOW), Ok(()), "{path}");
    }
    for path in ["/fyi/settings", "/fyi/settings/BA", "/fyi/notifications", "/fyi/notifications/more"] {
        assert_eq!(pacing.try_send(&ApiRequest::get(path), NOW), Ok(()), "{path}");
    }
}

#[test]
fn asking_spends_nothing_and_a_clone_counts_for_itself() {
    let (mut pacing, tickle) = (Pacing::default(), ApiRequest::post("/tickle"));
    for _ in 0..100 {
        assert_eq!(pacing.free_at(&tickle, NOW), None);
    }
    let mut clone = pacing.clone();
    assert_eq!(pacing.try_send(&tickle, NOW), Ok(()));
    assert!(pacing.try_send(&tickle, NOW).is_err());
    assert_eq!(clone.try_send(&tickle, NOW), Ok(()));
    assert_eq!(pacing.try_send(&ApiRequest::get("/a"), NOW), Ok(()), "a refused request was not counted");
    assert_eq!(free_after(&mut pacing, 8, &ApiRequest::get("/a")), Some(later(1)));
}

#[test]
fn a_clock_set_back_lengthens_no_wait_beyond_one_period() {
    let (mut pacing, summary) = (Pacing::default(), ApiRequest::post("/pa/summary"));
    assert_eq!(pacing.try_send(&summary, NOW), Ok(()));
    let free_at = earlier(DAY - 15 * MINUTE);
    assert_eq!(pacing.free_at(&summary, earlier(DAY)), Some(free_at));
    assert_eq!(pacing.free_at(&summary, earlier(DAY - MINUTE)), Some(free_at), "asking does not start it anew");
    assert_eq!(pacing.try_send(&summary, free_at), Ok(()), "who obeys is let through");

    for (wish, pause) in [(None, 10 * MINUTE), (Some(Duration::from_secs(3600)), 3600)] {
        let mut pacing = Pacing::default();
        pacing.handle_too_many_requests(NOW, wish);
        let free_at = earlier(DAY - pause);
        assert_eq!(pacing.free_at(&summary, earlier(DAY)), Some(free_at));
        assert_eq!(pacing.free_at(&summary, earlier(DAY - MINUTE)), Some(free_at));
        assert_eq!(pacing.try_send(&summary, free_at), Ok(()));
    }
}

#[test]
fn a_429_pauses_for_ten_minutes_or_as_long_as_the_server_wishes() {
    for (wish, pause) in [
        (None, 10 * MINUTE),
        (Some(0), 10 * MINUTE),
        (Some(599), 10 * MINUTE),
        (Some(601), 601),
        (Some(DAY), DAY),
        (Some(u64::MAX), DAY),
    ] {
        let (mut pacing, request) = (Pacing::default(), ApiRequest::get("/iserver/accounts"));
        pacing.handle_too_many_requests(NOW, wish.map(Duration::from_secs));
        assert_eq!(pacing.free_at(&request, NOW), Some(later(pause)), "{wish:?}");
        assert!(pacing.try_send(&request, later(pause - 1)).is_err(), "{wish:?}");
        assert_eq!(pacing.try_send(&request, later(pause)), Ok(()), "{wish:?}");
    }
}

#[test]
fn a_second_429_never_shortens_the_pause_and_a_later_one_begins_anew() {
    let penalty = Penalty::default();
    penalty.handle_too_many_requests(NOW, Some(Duration::from_secs(3600)));
    penalty.handle_too_many_requests(later(1), None);
    assert_eq!(penalty.ends_at(later(1)), Some(later(3600)));
    assert_eq!(penalty.ends_at(later(3600)), None);
    penalty.handle_too_many_requests(later(3600), None);
    assert_eq!(penalty.ends_at(later(3600)), Some(later(4200)));
    assert_eq!(penalty.ends_at(NOW), Some(later(600)), "and remembers nothing of the longer one");
}

#[test]
fn one_429_pauses_all_who_send_from_the_same_address() {
    let penalty = Penalty::default();
    let users: Vec<Pacing> = (0..4).map(|_| Pacing::default().with_penalty(penalty.clone())).collect();
    let mut stranger = Pacing::default();
    users[0].clone().handle_too_many_requests(NOW, None);
    let request = ApiRequest::get("/iserver/accounts");
    thread::scope(|scope| {
        for mut user in users {
            scope.spawn(move || assert_eq!(user.free_at(&request, NOW), Some(later(600))));
        }
    });
    assert_eq!(stranger.free_at(&request, NOW), None);
}

#[test]
fn the_error_says_when_to_try_again() {
    let (mut pacing, tickle) = (Pacing::default(), ApiRequest::post("/tickle"));
    pacing.try_send(&tickle, NOW).unwrap();
    let error: PacingError = pacing.try_send(&tickle, NOW).unwrap_err();
    assert_eq!(error.to_string(), "too many requests: IBKR's limits allow this one at 2024-05-02T11:40:01Z");
}

#[test]
fn a_limit_holds_again_after_it_has_let_somebody_through() {
    let (mut pacing, accounts) = (Pacing::default(), ApiRequest::get("/portfolio/accounts"));
    for seconds in [0, 5, 10, 15] {
        assert_eq!(pacing.try_send(&accounts, later(seconds)), Ok(()));
        assert_eq!(pacing.free_at(&accounts, later(seconds)), Some(later(seconds + 5)));
    }
}

#[test]
fn of_several_limits_the_last_one_to_end_counts() {
    let (mut pacing, accounts) = (Pacing::default(), ApiRequest::get("/portfolio/accounts"));
    assert_eq!(pacing.try_send(&accounts, NOW), Ok(()));
    assert_eq!(free_after(&mut pacing, 9, &ApiRequest::get("/anything")), Some(later(1)));
    assert_eq!(pacing.free_at(&accounts, NOW), Some(later(5)));
}

/// Endpoints with their documented limits, and one that only the global limit holds for.
const PACED: [(&str, &[(usize, u64)]); 5] = [
    ("/tickle", &[(1, 1)]),
    ("/portfolio/accounts", &[(1, 5)]),
    ("/iserver/marketdata/history", &[(10, 1), (50, 60)]),
    ("/iserver/scanner/params", &[(1, 900)]),
    ("/iserver/accounts", &[]),
];

proptest! {
    /// Requests as fast as they are let through, and some that do not wait until then.
    #[test]
    fn no_period_ever_sees_more_than_is_documented(
        steps in proptest::collection::vec((0..PACED.len(), 0_u64..400, any::<bool>()), 1..400),
    ) {
        let (mut pacing, mut now) = (Pacing::default(), NOW);
        let mut sent: Vec<(usize, UnixTime)> = Vec::new();
        for (which, millis, waits) in steps {
            now = now.saturating_add(Duration::from_millis(millis));
            let request = ApiRequest::get(PACED[which].0);
            let free_at = pacing.free_at(&request, now);
            if let (Some(at), true) = (free_at, waits) {
                prop_assert!(at > now);
                now = at;
            }
            let result = pacing.try_send(&request, now);
            prop_assert_eq!(result.is_ok(), waits || free_at.is_none(), "asking and sending agree");
            if result.is_ok() {
                sent.push((which, now));
            }
        }
        let most = |sent: &[UnixTime], seconds| {
            let until = |from: UnixTime| from.saturating_add(Duration::from_secs(seconds));
            sent.iter().map(|from| sent.iter().filter(|at| (*from..until(*from)).contains(at)).count()).max()
        };
        let all: Vec<UnixTime> = sent.iter().map(|(_, at)| *at).collect();
        prop_assert!(most(&all, 1) <= Some(10));
        for (index, (path, limits)) in PACED.iter().enumerate() {
            let of_this: Vec<UnixTime> = sent.iter().filter(|(which, _)| *which == index).map(|(_, at)| *at).collect();
            for (count, seconds) in *limits {
                prop_assert!(most(&of_this, *seconds) <= Some(*count), "{path}");
            }
        }
    }

    #[test]
    fn whatever_the_clock_does_nobody_waits_for_longer_than_a_period(
        steps in proptest::collection::vec((0..PACED.len(), any::<i32>(), 0..20), 1..100),
    ) {
        let (mut pacing, mut now) = (Pacing::default(), NOW);
        for (which, seconds, event) in steps {
            now = UnixTime::from_secs(now.as_secs().saturating_add_signed(i64::from(seconds) / 100_000));
            if event == 0 {
                pacing.handle_too_many_requests(now, None);
            }
            if let Err(error) = pacing.try_send(&ApiRequest::get(PACED[which].0), now) {
                prop_assert!(error.retry_at.saturating_since(now) <= Duration::from_secs(900));
                prop_assert_eq!(pacing.try_send(&ApiRequest::get(PACED[which].0), error.retry_at), Ok(()));
                now = error.retry_at;
            }
        }
    }

    #[test]
    fn no_moment_and_no_path_is_too_strange(millis: u64, path in ".{0,40}", wish: u64) {
        let (mut pacing, now) = (Pacing::default(), UnixTime::from_millis(millis));
        let request = ApiRequest::get(&path);
        prop_assert_eq!(pacing.try_send(&request, now), Ok(()));
        pacing.handle_too_many_requests(now, Some(Duration::from_millis(wish)));
        let pause = pacing.free_at(&request, now).unwrap_or_default().saturating_since(now);
        prop_assert!(pause <= Duration::from_secs(DAY + 1));
    }
}

/// Replicas behind a load balancer know nothing of each other's requests, and the server counts all of them.
#[test]
fn sharers_together_keep_the_limits_of_one_user_on_the_average() {
    let accounts = ApiRequest::get("/portfolio/accounts");
    for (request, count, seconds) in [(ApiRequest::get("/iserver/accounts"), 10, 1), (accounts, 1, 5)] {
        for sharers in 1..=12 {
            let sharers = NonZeroU32::new(sharers).unwrap();
            let mut processes = vec![Pacing::default().shared_by(sharers); sharers.get() as usize];
            let mut sent = Vec::new();
            for second in 0..60_u64 {
                for pacing in &mut processes {
                    let count = (0..20).filter(|_| pacing.try_send(&request, later(second)).is_ok()).count();
                    sent.extend(vec![second; count]);
                }
            }
            let most = (0..60).map(|from| sent.iter().filter(|at| (from..from + seconds).contains(*at)).count()).max();
            // Of a limit with less requests than sharers, each may take its turn at the same moment.
            assert!(most <= Some(count.max(processes.len())), "{sharers} sharers, {request:?}: {most:?}");
            assert!(
                sent.len() >= (60 / seconds) as usize * count / 2,
                "{sharers} sharers, {request:?}: {}",
                sent.len()
            );
        }
    }
}
