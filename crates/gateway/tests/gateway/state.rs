//! A gateway that takes another's place, as after a restart.

use std::time::Duration;

use ibkr_oauth_gateway::http::Response;
use ibkr_oauth_gateway::{Gateway, Incident, State};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::client::{FIRST_PARTY, Live, Login, ORIGIN, USER, World, at, json, keys, registration, said, seconds};

const ORDERS: &str = "/iserver/account/DU1234567/orders";
/// Its last price is 93.14.
const CONID: u32 = 8314;
const OTHER: &str = "OTHERCONS";
const CALLBACK: &str = "https://localhost:20000/";

/// Puts another gateway in the place of the world's, which is returned: with what that has on file, and its state.
fn restart(world: &mut World) -> Gateway {
    let mut gateway = Gateway::new(&format!("{ORIGIN}/v1/api")).unwrap();
    gateway.restore(serde_json::from_str::<State>(&stored(world)).unwrap());
    for consumer in [registration(FIRST_PARTY, None), registration(OTHER, Some(CALLBACK))] {
        gateway.register_consumer(&consumer).unwrap();
    }
    world.gateway.users().for_each(|user| gateway.add_user(user.clone()));
    std::mem::replace(&mut world.gateway, gateway)
}

fn stored(world: &World) -> String {
    serde_json::to_string(&world.gateway.state()).unwrap()
}

fn post(world: &mut World, live: &Live, endpoint: &str, body: &Value) -> Response<Vec<u8>> {
    let call = world.api_call("POST", endpoint, live).with_body("application/json", body.to_string().leak());
    world.send(&call.signed_with(&live.token))
}

fn place(world: &mut World, live: &Live, price: f64, reference: u8) -> Response<Vec<u8>> {
    let order = json!({ "conid": CONID, "orderType": "LMT", "side": "BUY", "tif": "DAY", "quantity": 5, "price": price,
        "cOID": reference.to_string() });
    post(world, live, ORDERS, &json!({ "orders": [order] }))
}

fn orders(world: &mut World, live: &Live) -> Value {
    json(&world.api("GET", "/iserver/account/orders", live))["orders"].clone()
}

#[test]
fn a_client_goes_on_after_a_restart_and_its_orders_are_there() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    world.open_brokerage_session(&live);
    let placed = json(&place(&mut world, &live, 93.1, 1))[0]["order_id"].clone();
    let question = json(&place(&mut world, &live, 1.0, 2))[0]["id"].as_str().unwrap().to_owned();
    let before = orders(&mut world, &live);

    restart(&mut world);
    assert_eq!(orders(&mut world, &live), before);
    assert_eq!(before[0]["orderId"].to_string(), placed);
    let answer = post(&mut world, &live, &format!("/iserver/reply/{question}"), &json!({ "confirmed": true }));
    let confirmed = json(&answer)[0]["order_id"].clone();
    let another = json(&place(&mut world, &live, 93.1, 3))[0]["order_id"].clone();
    assert!(placed != confirmed && placed != another && confirmed != another, "{placed} {confirmed} {another}");
    assert_eq!(orders(&mut world, &live).as_array().unwrap().len(), 3);
    let again = place(&mut world, &live, 93.1, 1);
    assert_eq!(again.status(), 400, "no order counts twice: {}", said(&again));

    world.wait(live.expires.duration_since(world.now).unwrap() - Duration::from_secs(1));
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 200);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 401, "it expires when it would have");
    world.live(&login);
}

#[test]
fn a_token_that_was_dead_is_dead_after_a_restart() {
    let (mut world, login) = World::first_party();
    let [older, newer] = [(); 2].map(|()| world.live(&login));
    restart(&mut world);
    assert_eq!(world.api("GET", "/portfolio/accounts", &older).status(), 401);
    world.api("POST", "/logout", &newer);
    restart(&mut world);
    assert_eq!(world.api("GET", "/portfolio/accounts", &newer).status(), 401);
}

#[test]
fn a_brokerage_session_goes_on_ageing_during_a_restart() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    for (away, is_there) in [(350, true), (361, false)] {
        world.open_brokerage_session(&live);
        restart(&mut world);
        world.wait(Duration::from_secs(away));
        assert_eq!(json(&world.api("POST", "/iserver/auth/status", &live))["authenticated"], is_there, "{away} s");
    }
}

#[test]
fn a_third_party_goes_on_wherever_its_login_was() {
    let mut world = World::new();
    world.enroll_third_party(OTHER, CALLBACK);
    let realm = "limited_poa";
    let ask = |world: &mut World, endpoint: &str, name: &str, value: &str, token: Option<&str>| {
        let call = world.call("POST", endpoint, OTHER, realm).with(name, value);
        let call = token.map_or(call.clone(), |token| call.with("oauth_token", token));
        json(&world.send(&call.signed_rsa(&keys().signature, "")))
    };
    let requested = ask(&mut world, "/oauth/request_token", "oauth_callback", "oob", None);
    let request_token = requested["oauth_token"].as_str().unwrap();
    restart(&mut world);
    assert_eq!(world.gateway.awaiting_consent(request_token), Some(OTHER));
    let consent = ibkr_oauth_gateway::Consent::Grant;
    let url = world.gateway.consent(request_token, USER, consent, &mut StdRng::seed_from_u64(3)).unwrap();
    let (_, verifier) = url.split_once("oauth_verifier=").unwrap();
    restart(&mut world);
    let issued = ask(&mut world, "/oauth/access_token", "oauth_verifier", verifier, Some(request_token));
    let [token, secret] = ["oauth_token", "oauth_token_secret"].map(|name| issued[name].as_str().unwrap());
    restart(&mut world);
    let login = world.login(OTHER, realm, token, secret);
    world.live(&login);
}

#[test]
fn what_is_on_file_already_keeps_its_live_sessions() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    restart(&mut world);
    let restore = |world: &mut World, secret| {
        world.gateway.restore_access_token(FIRST_PARTY, USER, &login.token, secret).unwrap();
        world.api("GET", "/portfolio/accounts", &live).status().as_u16()
    };
    assert_eq!(restore(&mut world, login.secret.clone().try_into().unwrap()), 200);
    assert_eq!(restore(&mut world, [1; 32]), 401, "another secret is a new beginning");
}

#[test]
fn only_a_state_is_taken_for_one() {
    let (world, _) = World::first_party();
    let whole: Value = serde_json::from_str(&stored(&world)).unwrap();
    let token = whole["tokens"]["access_tokens"].as_object().unwrap().keys().next().unwrap().clone();
    let spoilt = |spoil: &dyn Fn(&mut Value)| {
        let mut state = whole.clone();
        spoil(&mut state);
        serde_json::from_value::<State>(state).unwrap_err();
    };
    spoilt(&|state| *state = json!({}));
    spoilt(&|state| state["format"] = json!("ibkr-oauth-gateway 2"));
    spoilt(&|state| state["more"] = json!(1));
    spoilt(&|state| drop(state.as_object_mut().unwrap().remove("orders")));
    spoilt(&|state| state["tokens"]["access_tokens"][&token]["secret"] = json!("00"));
    let text = stored(&world);
    assert!((0..text.len()).all(|end| serde_json::from_str::<State>(&text[..end]).is_err()), "half a state is none");
    assert_eq!(format!("{:?}", world.gateway.state()), "State { .. }", "it holds secrets");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    LogIn(usize),
    Open(usize),
    LogOut(usize),
    Place(usize, f64, u8),
    Reply(u64, bool),
    Cancel(u64),
    Look(usize),
    Wait(u64),
    Reset,
    Compete,
    Rejoin,
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..2_usize;
    let price = prop_oneof![1.0..200.0, 93.0..93.2];
    prop_oneof![
        1 => who.clone().prop_map(Step::LogIn),
        1 => who.clone().prop_map(Step::LogOut),
        2 => who.clone().prop_map(Step::Open),
        4 => (who.clone(), price, 0..9_u8).prop_map(|(who, price, reference)| Step::Place(who, price, reference)),
        4 => (1..9_u64, any::<bool>()).prop_map(|(id, yes)| Step::Reply(id, yes)),
        2 => (1..9_u64).prop_map(Step::Cancel),
        4 => who.prop_map(Step::Look),
        3 => prop_oneof![4 => Just(40), 1 => Just(350), 1 => Just(86_000)].prop_map(Step::Wait),
        1 => Just(Step::Reset),
        1 => Just(Step::Compete),
        1 => Just(Step::Rejoin),
    ]
}

/// Two users, each with the newest of their live session tokens.
struct Users {
    logins: [Login; 2],
    live: [Live; 2],
}

fn take(world: &mut World, users: &mut Users, step: Step) {
    match step {
        Step::LogIn(who) => users.live[who] = world.live(&users.logins[who]),
        Step::Open(who) => {
            let body = json!({ "publish": true, "compete": false });
            post(world, &users.live[who], "/iserver/auth/ssodh/init", &body);
        }
        Step::LogOut(who) => _ = world.api("POST", "/logout", &users.live[who]),
        Step::Place(who, price, reference) => _ = place(world, &users.live[who], price, reference),
        Step::Reply(id, confirmed) => {
            let path = format!("/iserver/reply/00000000-0000-4000-8000-{id:012x}");
            post(world, &users.live[0], &path, &json!({ "confirmed": confirmed }));
        }
        Step::Cancel(id) => {
            world.api("DELETE", &format!("/iserver/account/DU1234567/order/{id}"), &users.live[0]);
        }
        Step::Look(who) => _ = world.api("POST", "/tickle", &users.live[who]),
        Step::Wait(seconds) => world.wait(Duration::from_secs(seconds)),
        Step::Reset => happen(world, Incident::NightlyReset),
        Step::Compete => happen(world, Incident::CompetingLogin { user: USER.to_owned() }),
        Step::Rejoin => {
            let secret = users.logins[0].secret.clone().try_into().unwrap();
            world.gateway.restore_access_token(FIRST_PARTY, USER, &users.logins[0].token, secret).unwrap();
        }
    }
}

/// Lets something happen now: with the next request, whoever sends it.
fn happen(world: &mut World, incident: Incident) {
    world.gateway.schedule(world.now, incident);
    let call = world.call("GET", "/", FIRST_PARTY, "");
    world.send(&call);
}

/// All that a client can see without changing it, and the id of one more order.
fn seen(world: &mut World, users: &Users) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    for live in &users.live {
        for endpoint in ["/tickle", "/iserver/accounts", "/iserver/account/orders"] {
            answers.push(world.api("GET", endpoint, live));
        }
        answers.push(place(world, live, 93.1, 100));
    }
    let text = |answer: &Response<Vec<u8>>| String::from_utf8_lossy(answer.body()).into_owned();
    answers.iter().map(|answer| (answer.status().as_u16(), text(answer))).collect()
}

/// The state without when each brokerage session was last asked, and these moments, in seconds.
fn apart(stored: &str) -> (Value, Vec<u64>) {
    let mut state: Value = serde_json::from_str(stored).unwrap();
    let sessions = state["brokerage_sessions"].as_object_mut().unwrap().values_mut();
    let last = sessions.map(|session| session["last_request"].take()["secs"].as_u64().unwrap()).collect();
    (state, last)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever stores the state at each new revision has stored it all.
    #[test]
    fn a_successor_answers_as_the_gateway_would_have(steps in prop::collection::vec(step(), 0..30)) {
        let (mut world, first) = World::first_party();
        let second = world.enroll_first_party_of(OTHER, "somebody else");
        let mut users = Users { live: [world.live(&first), world.live(&second)], logins: [first, second] };
        (0..2).for_each(|who| take(&mut world, &mut users, Step::Open(who)));
        let (mut revision, mut newest) = (world.gateway.revision(), stored(&world));
        for step in steps {
            take(&mut world, &mut users, step);
            if world.gateway.revision() != revision {
                (revision, newest) = (world.gateway.revision(), stored(&world));
            }
            let ((kept, then), (present, now)) = (apart(&newest), apart(&stored(&world)));
            prop_assert_eq!(kept, present, "not counted: {:?}", step);
            prop_assert!(then.iter().zip(now).all(|(then, now)| now - then < 60), "{:?}", step);
        }
        // Incidents end with the gateway.
        happen(&mut world, Incident::CompetitorLeaves { user: USER.to_owned() });
        let state = stored(&world);
        let mut original = restart(&mut world);
        prop_assert_eq!(&stored(&world), &state);
        let after = seen(&mut world, &users);
        std::mem::swap(&mut world.gateway, &mut original);
        prop_assert_eq!(seen(&mut world, &users), after);
    }

    /// What is asked all the time is no reason to store anything.
    #[test]
    fn looking_is_no_change(count in 1..20_usize) {
        let (mut world, login) = World::first_party();
        let live = world.live(&login);
        world.now = at((seconds(world.now) / 60 + 1) * 60_000);
        world.open_brokerage_session(&live);
        let revision = world.gateway.revision();
        for _ in 0..count {
            world.wait(Duration::from_secs(1));
            world.api("GET", "/tickle", &live);
            orders(&mut world, &live);
            world.api("GET", "/nowhere", &live);
        }
        prop_assert_eq!(world.gateway.revision(), revision);
    }
}
