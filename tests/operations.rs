//! Any sequence of operations on two sessions, with real keys and the gateway as the honest server: what holds then stands at
//! the top of `ordeal/sessions.rs`.
#![cfg(all(feature = "http1", feature = "serde", feature = "std"))]

mod ordeal;
mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ibkr_oauth::{AccessToken, Consumer, ConsumerKeys, Request, Response, UnixTime};
use ibkr_oauth_gateway::{AccountKind, Consent, Gateway, User};
use ordeal::sessions::{Honest, World};
use proptest::prelude::*;
use rand::rngs::StdRng;
use support::pair::{BASE_URL, CONSUMER, gateway, http_request, response, system_time};
use support::{ENCRYPTION_PEM, SIGNATURE_PEM, dh, keys, rng};

#[derive(Debug)]
struct Ibkr(Gateway);

impl Ibkr {
    fn new() -> Self {
        let mut gateway = gateway(BASE_URL);
        for (name, account) in [("alice", "DU1"), ("bob", "DU2")] {
            gateway.add_user(User {
                name: name.to_string(),
                accounts: vec![account.to_string()],
                kind: AccountKind::Paper,
            });
        }
        Self(gateway)
    }
}

impl Honest for Ibkr {
    fn consumer(&self) -> Consumer {
        Consumer::builder(CONSUMER, keys(), dh()).base_url(BASE_URL).build().unwrap()
    }

    fn access_token(&mut self, rng: &mut StdRng) -> AccessToken {
        let issued = self.0.issue_access_token(CONSUMER, "alice", rng).unwrap();
        AccessToken::new(&issued.token, &issued.secret_base64).unwrap()
    }

    fn respond(&mut self, request: &Request, now: UnixTime, rng: &mut StdRng) -> Response<'static> {
        response(&self.0.handle(&http_request(request), rng, system_time(now)))
    }

    fn consent(&mut self, request_token: &str, user: &str, rng: &mut StdRng) -> Option<String> {
        self.0.consent(request_token, user, Consent::Grant, rng).ok()
    }

    fn secrets(&self) -> Vec<String> {
        let lines = [SIGNATURE_PEM, ENCRYPTION_PEM].into_iter().flat_map(str::lines);
        lines.filter(|line| line.len() == 64).map(str::to_string).collect()
    }

    fn decrypted(&self, access_token: &AccessToken) -> Option<String> {
        let encrypted = BASE64.decode(access_token.secret().expose()).unwrap();
        let decrypted = keys().decrypt_pkcs1v15(&encrypted, &mut rng(0)).ok()?;
        Some(ordeal::hex(decrypted.expose()))
    }
}

fn operation() -> impl Strategy<Value = String> {
    let word = |word: &'static str| Just(word.to_string());
    let clock = || prop_oneof![4 => Just(0), 3 => -600..600_i64, 2 => -80_000..80_000_i64, 1 => -400_000..400_000_i64];
    let wait = prop_oneof![4 => 0..60_u64, 2 => 0..7200_u64, 1 => 80_000..200_000_u64];
    let text = || "(\\?|&|oauth_token=|oauth_verifier=|%|[0-9a-f]{20}|[ -~]){0,6}";
    prop_oneof![
        10 => word("proceed"),
        8 => word("poll"),
        12 => answer(clock()),
        1 => word("foreign"),
        1 => word("drop"),
        1 => word("consent"),
        1 => text().prop_map(|url| format!("callback {url}")),
        1 => text().prop_map(|verifier| format!("verifier {verifier}")),
        3 => wait.prop_map(|seconds| format!("wait {seconds}")),
        3 => clock().prop_map(|ahead| format!("clock {ahead}")),
        2 => word("resume"),
        5 => word("sign"),
        1 => word("get /portfolio/accounts?a=b%20c\napi 401 Unauthorized"),
        1 => text().prop_map(|pairs| format!("form {pairs}")),
        2 => word("invalidate"),
        1 => word("invalidate_others"),
        1 => word("reauthorize"),
    ]
}

fn answer(clock: impl Strategy<Value = i64>) -> impl Strategy<Value = String> {
    let status = || prop_oneof![Just(200_u16), Just(400), Just(401), Just(503), any::<u16>()];
    let body = prop_oneof![
        Just(String::new()),
        Just("<html>".to_string()),
        "\\{\"(oauth_token|diffie_hellman_response)\":\"[0-9a-f]{20}\",\"(oauth_token_secret|live_session_token_signature)\":\"[0-9a-f]{40}\"\\}",
    ];
    prop_oneof![
        4 => Just("honest".to_string()),
        3 => any::<u16>().prop_map(|at| format!("forge {at}")),
        1 => any::<u16>().prop_map(|at| format!("cut_off {at}")),
        2 => Just("replay".to_string()),
        2 => Just("others".to_string()),
        2 => (status(), clock).prop_map(|(status, ahead)| format!("refuse {status} {ahead}")),
        1 => (status(), body).prop_map(|(status, body)| format!("answer {status} {body}")),
    ]
}

fn script() -> impl Strategy<Value = String> {
    let of_either = (any::<bool>(), operation());
    let line =
        of_either.prop_map(|(is_other, operation)| format!("{}{operation}\n", ["", "other\n"][usize::from(is_other)]));
    proptest::collection::vec(line, 1..32).prop_map(|lines| lines.concat())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn whatever_happens_every_promise_holds_and_the_way_back_is_open(seed in any::<u64>(), script in script()) {
        World::after(Ibkr::new(), seed, &script).ends_well();
    }
}

proptest! {
    #![proptest_config(config(6))]

    #[test]
    fn the_same_calls_give_the_same_bytes(seed in any::<u64>(), script in script()) {
        let [first, second] = [(); 2].map(|()| World::after(Ibkr::new(), seed, &script));
        prop_assert_eq!(&first.sent, &second.sent);
        prop_assert_eq!(first.stored(), second.stored());
    }
}
