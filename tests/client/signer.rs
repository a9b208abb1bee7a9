//! Signing beside the client: it follows refresh, dead tokens, log-out and a new consent, and tells the client.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{Diagnosis, Error, Event, PreparedRequest, Receipt, Request, Response, Signer};
use ibkr_oauth_gateway::Incident;

use crate::support::pair::response;
use crate::support::world::{Sound, World};
use crate::support::{self, rng};
use crate::{ACCOUNTS, DAY, HOUR, LOGIN, MINUTE, SNAPSHOT, answering, phase, ready};

/// Status of the response to a request that was signed beside the client.
fn ask(world: &mut World, signer: &Signer) -> Result<u16, Error> {
    let request = signer.sign(&ACCOUNTS, &mut world.pair.rng, world.pair.now)?;
    let answer = response(&world.pair.send(&request));
    signer.handle_response(request.receipt(), &answer, world.pair.now).map(|()| answer.status())
}

#[test]
fn a_signer_works_through_3_days_of_refreshes() {
    let mut world = ready();
    let signer = world.client.signer();
    for _ in 0..3 * 24 * 6 {
        world.run(&mut Sound, 10 * MINUTE);
        assert_eq!(ask(&mut world, &signer), Ok(200));
    }
    assert_eq!(world.count(LOGIN), 4);
}

#[test]
fn a_prepared_request_follows_3_days_of_refreshes() {
    let mut world = ready();
    let (signer, mut prepared) = (world.client.signer(), PreparedRequest::new(&SNAPSHOT).unwrap());
    let mut tokens = Vec::new();
    for hour in 0..3 * 24 {
        world.run(&mut Sound, HOUR);
        let (now, mut header) = (world.pair.now, String::new());
        let receipt = signer.prepared_authorization_into(&mut header, &mut prepared, &mut rng(hour), now).unwrap();
        let ordinary = signer.sign(&SNAPSHOT, &mut rng(hour), now).unwrap();
        assert_eq!((Some(&*header), receipt), (support::header(&ordinary, "Authorization"), ordinary.receipt()));
        tokens.extend(signer.live());
    }
    tokens.dedup_by(|left, right| left.expires_at() == right.expires_at());
    assert_eq!(tokens.len(), 4, "several tokens signed it");
    world.client.log_out(world.pair.now);
    world.settle(&mut Sound);
    let rejected = signer.prepared_authorization_into(&mut String::new(), &mut prepared, &mut rng(1), world.pair.now);
    assert_eq!(rejected, Err(Error::NoLiveSession));
}

#[test]
fn a_rejected_signature_is_looked_into_and_right_within_10_seconds() {
    let mut world = ready();
    let signer = world.client.signer().clone();
    world.happen(Incident::LiveSessionsEnd);
    let rejected = ask(&mut world, &signer).unwrap_err();
    assert!(matches!(rejected, Error::Rejected(rejected) if rejected.diagnosis == Diagnosis::Unauthorized));
    world.run(&mut Sound, 10);
    assert_eq!(ask(&mut world, &signer), Ok(200));
    assert_eq!(world.count(LOGIN), 2);
}

#[test]
fn six_hundred_rejections_of_signed_requests_cost_no_token_and_60_tickles() {
    let mut world = ready();
    let signer = world.client.signer();
    world.sent.clear();
    for _ in 0..600 {
        let request = signer.sign(&SNAPSHOT, &mut world.pair.rng, world.pair.now).unwrap();
        let rejection = Response::new(401, b"Invalid signature");
        assert!(signer.handle_response(request.receipt(), &rejection, world.pair.now).is_err());
        world.run(&mut Sound, 1);
    }
    assert_eq!(world.count(LOGIN), 0);
    assert!(world.count("/tickle") <= 71, "{}", world.count("/tickle"));
}

#[test]
fn a_signer_stops_with_log_out_and_reauthorize_and_goes_on_with_open() {
    let mut world = ready();
    let signer = world.client.signer();
    world.client.log_out(world.pair.now);
    world.settle(&mut Sound);
    assert_eq!(ask(&mut world, &signer), Err(Error::NoLiveSession));
    world.run(&mut Sound, DAY);
    assert_eq!((world.count(LOGIN), ask(&mut world, &signer)), (1, Err(Error::NoLiveSession)));
    world.client.open();
    world.run(&mut Sound, 10);
    assert_eq!((ask(&mut world, &signer), phase(&world)), (Ok(200), BrokeragePhase::Ready));
    world.client.reauthorize();
    assert_eq!(ask(&mut world, &signer), Err(Error::NoLiveSession), "at once");
}

/// The response to the login comes when nobody wants it any more.
#[test]
fn a_login_that_ends_after_the_log_out_signs_nothing() {
    for is_refresh in [false, true] {
        let mut world = World::new();
        if is_refresh {
            world.run(&mut Sound, DAY - 10 * MINUTE - 1);
            world.pair.wait(2);
        }
        let (request, login) = loop {
            let (request, exchange) = world.next_send().unwrap();
            if request.path().ends_with(LOGIN) {
                break (request, exchange);
            }
            let answer = response(&world.pair.send(&request));
            world.client.handle_response(exchange, &answer, world.pair.now).unwrap();
        };
        let token = response(&world.pair.send(&request));
        world.client.log_out(world.pair.now);
        world.run(&mut Sound, 40);
        assert!(world.has(&Event::LoggedOut));
        let _ = world.client.handle_response(login, &token, world.pair.now);
        let signer = world.client.signer();
        world.run(&mut Sound, HOUR);
        assert!(signer.live().is_none() && world.client.live(world.pair.now).is_none(), "{is_refresh}");
        assert!(!matches!(world.events.last(), Some(Event::LoggedIn { .. })));
        world.client.open();
        world.run(&mut Sound, 10);
        assert_eq!(ask(&mut world, &signer), Ok(200));
    }
}

#[test]
fn a_signer_says_when_the_token_has_expired_and_nothing_is_signed() {
    let mut world = ready();
    let signer = world.client.signer();
    world.run(&mut answering(|_| true, 503, ""), DAY);
    assert!(matches!(ask(&mut world, &signer), Err(Error::Expired { .. })));
}

#[test]
fn rejections_of_an_old_token_that_come_late_kill_no_new_one() {
    let mut world = ready();
    let signer = world.client.signer();
    let receipts: Vec<Receipt> = (0..10).map(|_| sign(&mut world, &signer).receipt()).collect();
    world.happen(Incident::LiveSessionsEnd);
    world.run(&mut Sound, 2 * MINUTE);
    assert_eq!(world.count(LOGIN), 2);
    world.sent.clear();
    for receipt in receipts {
        let rejection = Response::new(401, b"Invalid signature");
        assert!(signer.handle_response(receipt, &rejection, world.pair.now).is_err());
        world.run(&mut Sound, 2 * MINUTE);
    }
    assert_eq!(world.count(LOGIN), 0);
    assert!((19..=21).contains(&world.count("/tickle")), "{}", world.count("/tickle"));
}

fn sign(world: &mut World, signer: &Signer) -> Request {
    signer.sign(&ACCOUNTS, &mut world.pair.rng, world.pair.now).unwrap()
}

#[test]
fn eight_threads_sign_while_the_token_is_replaced() {
    let mut world = ready();
    let (signer, is_over, now) = (world.client.signer(), AtomicBool::new(false), world.pair.now);
    let signs_on = &|seed| {
        let (mut rng, mut header, mut signed) = (rng(seed), String::with_capacity(512), 0);
        while !is_over.load(Ordering::Relaxed) || signed == 0 {
            header.clear();
            match signer.authorization_into(&mut header, &ACCOUNTS, &mut rng, now) {
                Ok(_) => signed += 1,
                Err(error) => assert_eq!(error, Error::NoLiveSession),
            }
        }
    };
    thread::scope(|scope| {
        (0..8).for_each(|seed| drop(scope.spawn(move || signs_on(100 + seed))));
        for _ in 0..6 {
            world.happen(Incident::LiveSessionsEnd);
            // From the third on, a pause: tokens that die young have a rival.
            world.run(&mut Sound, 20 * MINUTE);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(ask(&mut world, &signer), Ok(200));
}
