//! Two programs that take one login, or one brokerage session, from each other: recognised, said, and damped.

use std::time::Duration;

use ibkr_oauth::brokerage::{BrokeragePhase, CompetePolicy};
use ibkr_oauth::{Client, Event, OAuthSession, Pacing, Penalty, UnixTime};
use ibkr_oauth_gateway::{Incident, LiveSessionTokens};

use crate::fleet::{Fleet, Member};
use crate::support::pair::{Pair, system_time};
use crate::support::world::{Network, Sound, World};
use crate::{DAY, HOUR, LOGIN, MINUTE, phase, ready};

#[test]
fn two_processes_with_one_token_log_in_200_times_a_day_instead_of_1441() {
    let mut fleet = Fleet::of_one_token(Pair::builder, 2);
    fleet.run(DAY);
    let logins = fleet.count(LOGIN);
    assert!(logins <= 200, "{logins}");
    for member in &fleet.members {
        assert!(member.count_events(&Event::LoginContested) > 0, "recognised");
        let (contested, logged_in) = before(member, &Event::LoginContested);
        assert!(contested && logged_in <= 3, "after three rounds: {logged_in}");
        let failed = |event: &Event| matches!(event, Event::LoginFailed { .. } | Event::Stopped { .. });
        assert!(!member.events.iter().any(failed));
    }
}

/// Whether this happened, and how many logins before it.
fn before(member: &Member, event: &Event) -> (bool, usize) {
    let until = member.first(event);
    let logins = member.events.iter().take(until.unwrap_or(0)).filter(|e| matches!(e, Event::LoggedIn { .. })).count();
    (until.is_some(), logins)
}

#[test]
fn three_processes_with_one_token_are_damped_too() {
    let mut fleet = Fleet::of_one_token(Pair::builder, 3);
    fleet.run(DAY / 2);
    assert!(fleet.count(LOGIN) <= 150, "{}", fleet.count(LOGIN));
}

#[test]
fn two_processes_at_a_server_of_several_tokens_log_in_twice_a_day() {
    let mut fleet = Fleet::of_one_token(Pair::builder, 2);
    fleet.pair.gateway.set_live_session_tokens(LiveSessionTokens::Several);
    fleet.run(DAY - HOUR);
    assert_eq!(fleet.count(LOGIN), 2);
}

#[test]
fn a_war_that_the_other_gives_up_ends_in_a_quarter_of_an_hour() {
    let mut fleet = Fleet::of_one_token(Pair::builder, 2);
    fleet.run(6 * HOUR);
    fleet.members.pop();
    let logins = fleet.count(LOGIN);
    fleet.run(16 * MINUTE);
    assert_eq!(fleet.members[0].client.brokerage_phase(fleet.pair.now), BrokeragePhase::Ready);
    fleet.run(12 * HOUR);
    assert!(fleet.count(LOGIN) <= logins + 1);
}

/// A token that dies a few minutes after it was made, once a day, is no war: the nightly reset does that.
#[test]
fn a_token_that_dies_young_once_a_day_for_4_days_is_no_contest() {
    let mut world = World::new();
    world.run(&mut Sound, 20 * MINUTE);
    for _ in 0..4 {
        world.happen(Incident::LiveSessionsEnd);
        world.run(&mut Sound, DAY + 10 * MINUTE);
        assert_eq!(phase(&world), BrokeragePhase::Ready);
        world.happen(Incident::LiveSessionsEnd);
        world.run(&mut Sound, 20 * MINUTE);
    }
    assert_eq!(world.count_events(|event| *event == Event::LoginContested), 0);
    assert!(world.count(LOGIN) <= 18, "{}", world.count(LOGIN));
}

/// Two access tokens of one user: the brokerage session goes from hand to hand, the logins stay.
fn two_of_one_user(policies: [CompetePolicy; 2]) -> Fleet {
    use ibkr_oauth_gateway::{IssuedToken, RegisteredConsumer};
    let mut pair = Pair::new();
    let other = RegisteredConsumer {
        consumer_key: "OTHERCONS".to_string(),
        signature_public_key_pem: include_str!("../keys/public_signature.pem").to_string(),
        encryption_public_key_pem: include_str!("../keys/public_encryption.pem").to_string(),
        dhparam_pem: crate::support::DHPARAM_PEM.to_string(),
        callback_url: None,
    };
    pair.gateway.register_consumer(&other).unwrap();
    let members = ["TRADINGCO", "OTHERCONS"].into_iter().zip(policies).map(|(key, policy)| {
        let IssuedToken { token, secret_base64 } =
            pair.gateway.issue_access_token(key, "alice", &mut pair.rng).unwrap();
        let access_token = ibkr_oauth::AccessToken::new(&token, &secret_base64).unwrap();
        let consumer = ibkr_oauth::Consumer::builder(key, crate::support::keys(), crate::support::dh())
            .base_url(crate::support::pair::BASE_URL)
            .build()
            .unwrap();
        let session = OAuthSession::with_access_token(consumer, access_token);
        Member::new(Client::new(session).with_compete_policy(policy))
    });
    let members = members.collect();
    Fleet { pair, members }
}

#[test]
fn two_take_overs_change_hands_110_times_a_day_instead_of_1441() {
    for delay in [0, 4] {
        let mut fleet = two_of_one_user([CompetePolicy::TakeOver; 2]);
        fleet.pair.gateway.set_accounts_delay(Duration::from_secs(delay));
        fleet.run(DAY - HOUR);
        let taken = fleet.count("/ssodh/init");
        assert!(taken <= 110, "{delay}: {taken}");
        for member in &fleet.members {
            let until = member.first(&Event::BrokerageContested);
            let events = member.events.iter().take(until.unwrap_or(0));
            let rounds = events.filter(|event| **event == Event::Brokerage(BrokeragePhase::Opening)).count();
            assert!(until.is_some() && rounds <= 4, "{delay}: recognised after {rounds} rounds");
            assert_eq!(member.count(LOGIN), 1);
        }
    }
}

/// Neither gets as far as an account before the other takes it away: then it looks like a server that fails.
#[test]
fn two_take_overs_at_a_slow_server_change_hands_350_times_a_day() {
    for delay in [30, 90] {
        let mut fleet = two_of_one_user([CompetePolicy::TakeOver; 2]);
        fleet.pair.gateway.set_accounts_delay(Duration::from_secs(delay));
        fleet.run(DAY - HOUR);
        let taken = fleet.count("/ssodh/init");
        assert!(taken <= 350, "{delay}: {taken}");
        assert!(fleet.members.iter().all(|member| member.first(&Event::BrokerageContested).is_some()));
    }
}

#[test]
fn a_take_over_and_a_yield_live_in_peace() {
    let mut fleet = two_of_one_user([CompetePolicy::TakeOver, CompetePolicy::Yield]);
    fleet.run(DAY - HOUR);
    let phases: Vec<_> = fleet.members.iter().map(|member| member.client.brokerage_phase(fleet.pair.now)).collect();
    assert_eq!(phases, [BrokeragePhase::Ready, BrokeragePhase::Competing]);
    assert!(fleet.count("/ssodh/init") <= 4, "{}", fleet.count("/ssodh/init"));
}

#[test]
fn a_session_taken_once_a_day_is_no_contest() {
    let mut fleet = two_of_one_user([CompetePolicy::TakeOver, CompetePolicy::Yield]);
    for _ in 0..4 {
        fleet.run(DAY - HOUR);
        let at = system_time(fleet.pair.now);
        // The nightly reset first: the session is young again when it is taken.
        fleet.pair.gateway.schedule(at, Incident::NightlyReset);
        fleet.run(5 * MINUTE);
        let at = system_time(fleet.pair.now);
        fleet.pair.gateway.schedule(at, Incident::CompetingLogin { user: "alice".to_string() });
        fleet.run(5 * MINUTE);
        assert_eq!(fleet.members[0].client.brokerage_phase(fleet.pair.now), BrokeragePhase::Ready);
    }
    assert_eq!(fleet.members[0].count_events(&Event::BrokerageContested), 0);
}

/// The penalty is the IP address's: all clients are silent for ten minutes.
#[test]
fn one_429_silences_all_clients_that_share_the_penalty_for_10_minutes() {
    let mut fleet = Fleet::new(3);
    let penalty = Penalty::default();
    for member in &mut fleet.members {
        let pacing = Pacing::default().with_penalty(penalty.clone());
        let session = OAuthSession::with_access_token(
            member.client.consumer().clone(),
            member.client.access_token().unwrap().clone(),
        );
        member.client = Client::new(session).with_pacing(pacing);
    }
    fleet.run(90);
    // Told by a signer of one of them.
    let at = fleet.pair.now;
    let signer = fleet.members[0].client.signer();
    let request = signer.sign(&crate::ACCOUNTS, &mut fleet.pair.rng, at).unwrap();
    assert!(signer.handle_response(request.receipt(), &ibkr_oauth::Response::new(429, b""), at).is_err());
    fleet.run(9 * MINUTE);
    let after = |member: &Member, at: UnixTime| member.sent.iter().filter(|(sent, _)| *sent > at).count();
    assert!(fleet.members.iter().all(|member| after(member, at) == 0));
    fleet.run(3 * MINUTE);
    assert!(fleet.members.iter().all(|member| after(member, at) > 0));
    let phases = fleet.members.iter().map(|member| member.client.brokerage_phase(fleet.pair.now));
    assert!(phases.into_iter().all(|phase| phase == BrokeragePhase::Ready));
}

#[test]
fn a_429_counts_even_if_it_comes_too_late() {
    let mut world = ready();
    world.client.doubt();
    let (_, exchange) = world.next_send().unwrap();
    world.run(&mut Sound, MINUTE);
    assert!(world.client.handle_response(exchange, &ibkr_oauth::Response::new(429, b""), world.pair.now).is_err());
    world.sent.clear();
    world.run(&mut Sound, 9 * MINUTE);
    assert_eq!(world.sent, []);
}

#[test]
fn after_a_429_nothing_is_sent_for_10_minutes_whatever_retry_after_says() {
    for wish in ["0", "1", "1200"] {
        let mut world = ready();
        world.sent.clear();
        let mut first = true;
        let mut network = |pair: &mut Pair, request: &ibkr_oauth::Request| {
            if std::mem::take(&mut first) {
                return Some(ibkr_oauth::Response::new(429, b"").with_header("Retry-After", wish.as_bytes()));
            }
            Sound.carry(pair, request)
        };
        world.run(&mut network, 9 * MINUTE);
        assert_eq!(world.sent.len(), 1);
        world.run(&mut network, 13 * MINUTE);
        assert!(world.sent.len() > 1);
    }
}
