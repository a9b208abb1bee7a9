//! Nothing that is shown holds a secret: planted ones are looked for in every `Debug`, `Display`, error chain and
//! serialised form.
#![cfg(feature = "serde")]

mod support;

use std::cell::RefCell;
use std::error::Error as _;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use ibkr_oauth::brokerage::{BrokerageSession, CompetePolicy};
use ibkr_oauth::{
    AccessToken, ApiRequest, Callback, Consumer, Error, OAuthSession, Phase, Response, RsaPrivateKey, Secret,
};
use support::pair::{Pair, system_time};
use support::{DHPARAM_PEM, ENCRYPTION_PEM, NOW, SIGNATURE_PEM, Script, WorkedLogin, answer, keys, rng};

/// Recognisable, and of the forms in which secrets come.
const TOKEN: &str = "5ec7e7705ec7e7705ec7";
const VERIFIER: &str = "0ddba110ddba110ddba1";
const SESSION_ID: &str = "c0ffee00c0ffee00c0ff";
const SECRET: &str = "U0VDUkVULVNFTlRJTkVMLVNFQ1JFVC1TRU5USU5FTC0wMTIzNDU2Nzg5";

/// All that must not be shown, in every form in which it could be.
fn planted() -> Vec<String> {
    let login = WorkedLogin::any();
    let prepend = &login.keys.prepend;
    let mut texts: Vec<String> =
        [TOKEN, VERIFIER, SESSION_ID, SECRET, "SENTINEL", &login.token].map(String::from).into();
    texts.extend([hex_text(prepend), format!("{prepend:?}"), format!("{:?}", &login.random[16..])]);
    texts.push(hex_text(&login.random[16..]));
    for pem in [SIGNATURE_PEM, ENCRYPTION_PEM] {
        texts.extend(pem.lines().filter(|line| line.len() == 64).map(str::to_string));
    }
    texts
}

fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
fn silent(shown: &str) {
    for secret in planted() {
        assert!(!shown.contains(&secret), "{secret} is shown in: {shown}");
    }
}

#[track_caller]
fn silent_debug(value: &impl Debug) {
    silent(&format!("{value:?} {value:#?}"));
}

#[track_caller]
fn silent_error(error: &Error) {
    silent_debug(error);
    silent(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        silent(&format!("{cause} {cause:?}"));
        source = cause.source();
    }
}

fn access_token() -> AccessToken {
    AccessToken::new(TOKEN, SECRET).unwrap()
}

#[test]
fn the_planted_secrets_would_be_found() {
    let shown = catch_unwind(|| silent(&format!("oauth_token={TOKEN}")));
    assert!(shown.is_err());
}

#[test]
fn credentials_show_nothing() {
    silent_debug(&RsaPrivateKey::from_pem(SIGNATURE_PEM).unwrap());
    silent_debug(&keys());
    silent_debug(&support::dh());
    silent_debug(&access_token());
    silent_debug(&access_token().secret());
    silent_debug(&Secret::new(SECRET.to_string()));
    let consumer = Consumer::builder("TESTCONS", keys(), support::dh()).build().unwrap();
    silent_debug(&consumer);
    let damaged = SIGNATURE_PEM.replace("MII", "*II");
    silent(&format!("{:?}", RsaPrivateKey::from_pem(&damaged)));
    silent(&format!("{:?}", RsaPrivateKey::from_pem(&SIGNATURE_PEM.replace("PRIVATE KEY", "SENTINEL"))));
    silent(&format!("{:?}", AccessToken::new(&format!("{TOKEN}\""), SECRET)));
    silent(&format!("{:?}", AccessToken::new(TOKEN, &format!("{SECRET}*"))));
    silent(&format!("{:?}", ibkr_oauth::DhParams::from_hex(&DHPARAM_PEM.replace('-', ""), 2)));
}

#[test]
fn a_login_shows_nothing_in_any_phase() {
    let login = WorkedLogin::any();
    let mut session = OAuthSession::new(login.consumer.clone());
    silent_debug(&session);
    let outbound = support::poll(&mut session);
    silent_debug(&outbound);
    answer(&mut session, outbound.exchange, &format!(r#"{{"oauth_token":"{TOKEN}"}}"#)).unwrap();
    silent_debug(&session);
    silent_debug(&session.snapshot());
    let callback = format!("?oauth_token={TOKEN}&oauth_verifier={VERIFIER}");
    silent_debug(&Callback::parse(&callback).unwrap());
    silent_debug(&Callback::parse(&format!("{callback}%22")));
    silent_debug(&Callback::parse(&format!("oauth_verifier={VERIFIER}&oauth_token={TOKEN}%22")));
    session.handle_callback(&callback).unwrap();
    let outbound = support::poll(&mut session);
    silent_debug(&outbound);
    let body = format!(r#"{{"oauth_token":"{TOKEN}","oauth_token_secret":"{SECRET}"}}"#);
    answer(&mut session, outbound.exchange, &body).unwrap();
    silent_debug(&session);

    let mut random = Script(login.random.clone());
    let outbound = session.poll_request(&mut random, NOW).unwrap().unwrap();
    silent_debug(&outbound);
    silent(&outbound.request.base_string().to_string().replace(TOKEN, ""));
    answer(&mut session, outbound.exchange, &login.body(None)).unwrap();
    silent_debug(&session);
    silent_debug(&session.snapshot());
    silent_debug(session.snapshot().expose());
    let live = session.live(NOW).unwrap();
    silent_debug(live);
    silent_debug(&live.sign(&ApiRequest::get("/x"), &mut rng(1), NOW).unwrap());
}

#[test]
fn the_brokerage_session_shows_nothing() {
    let login = WorkedLogin::any();
    let mut session = OAuthSession::with_access_token(login.consumer.clone(), access_token());
    let outbound = login.poll(&mut session, NOW).unwrap();
    answer(&mut session, outbound.exchange, &login.body(None)).unwrap();
    let live = session.live(NOW).unwrap();
    let mut brokerage = BrokerageSession::new(CompetePolicy::Yield);
    for body in [r#"{"authenticated":true}"#.to_string(), format!(r#"{{"session":"{SESSION_ID}"}}"#)] {
        let outbound = brokerage.poll_request(live, &mut rng(1), NOW).unwrap().unwrap();
        silent_debug(&outbound);
        silent_debug(&brokerage.handle_response(outbound.exchange, &Response::new(200, body.as_bytes()), NOW));
    }
    silent_debug(&brokerage);
    assert!(brokerage.web_socket().unwrap().url().contains(TOKEN), "the caller needs it");
    silent_debug(&brokerage.web_socket());
}

/// Servers and proxies echo what was sent, and answers hold tokens where they should not.
#[test]
fn errors_show_nothing_that_a_server_sends_back() {
    let echoes = [
        format!("you sent oauth_token=\"{TOKEN}\", oauth_verifier=\"{VERIFIER}\""),
        format!(r#"{{"error":"unknown token {TOKEN}, secret {SECRET}"}}"#),
        format!(r#"{{"message":"{SECRET}"}}"#),
        format!("<html>{TOKEN}</html>"),
        format!(r#"{{"oauth_token":["{TOKEN}"],"diffie_hellman_response":"{SECRET}"}}"#),
        format!(r#"{{"oauth_token":"{TOKEN}","oauth_token_secret":"{SECRET}*"}}"#),
        format!(r#"{{"diffie_hellman_response":"12","live_session_token_signature":"{TOKEN}"}}"#),
    ];
    let login = WorkedLogin::any();
    for status in [200, 400, 401, 403, 500, 503] {
        for body in &echoes {
            for mut session in [
                OAuthSession::new(login.consumer.clone()),
                OAuthSession::with_access_token(login.consumer.clone(), access_token()),
            ] {
                let exchange = support::poll(&mut session).exchange;
                let response = Response::new(status, body.as_bytes());
                silent_debug(&response);
                if let Err(error) = session.handle_response(exchange, &response, NOW) {
                    silent_error(&error);
                }
            }
        }
    }
}

#[test]
fn errors_about_callbacks_show_nothing() {
    let mut session = OAuthSession::new(WorkedLogin::any().consumer);
    let exchange = support::poll(&mut session).exchange;
    answer(&mut session, exchange, &format!(r#"{{"oauth_token":"{TOKEN}"}}"#)).unwrap();
    for callback in [
        format!("?oauth_token={VERIFIER}&oauth_verifier={VERIFIER}"),
        format!("?oauth_token={TOKEN}"),
        format!("?oauth_token={TOKEN}&oauth_verifier={VERIFIER}%22"),
        format!("?oauth_token={TOKEN}&oauth_verifier={VERIFIER}&oauth_{SECRET}=1"),
    ] {
        silent_error(&session.handle_callback(&callback).unwrap_err());
    }
}

/// A mismatch has the most secrets in hand when it fails.
#[test]
fn a_mismatch_shows_nothing() {
    let login = WorkedLogin::any();
    let mut session = login.session();
    let exchange = login.poll(&mut session, NOW).unwrap().exchange;
    let body = login.body(None).replace(&login.proof, &"0".repeat(40));
    silent_error(&answer(&mut session, exchange, &body).unwrap_err());
}

/// What `unwrap` and `expect` say is `Debug` of the error; whoever catches a panic, or has a hook for them, sees no more.
#[test]
fn a_panic_over_a_failed_login_shows_nothing() {
    let login = WorkedLogin::any();
    let mismatch = login.body(None).replace(&login.proof, &"0".repeat(40));
    let echo = format!(r#"{{"error":"unknown token {TOKEN}, secret {SECRET}"}}"#);
    let foreign = format!(r#"{{"oauth_token":"{TOKEN}","oauth_token_secret":"{SECRET}*"}}"#);
    for (status, body, words) in
        [(200, mismatch, "LiveSessionMismatch"), (401, echo, "Rejected"), (200, foreign, "diffie_hellman_response")]
    {
        let fail = || {
            let mut session = OAuthSession::with_access_token(login.consumer.clone(), access_token());
            let exchange = login.poll(&mut session, NOW).unwrap().exchange;
            (session.handle_response(exchange, &Response::new(status, body.as_bytes()), NOW), session)
        };
        let panics: [&dyn Fn(); 4] =
            [&|| _ = fail().0.unwrap(), &|| _ = fail().0.expect("a login"), &|| panic!("{:?}", fail()), &|| {
                assert_eq!(fail().0, Ok(Phase::LiveSession), "{:?}", fail().1)
            }];
        for panic in panics {
            let said = panic_message(panic);
            assert!(said.contains(words), "{said}");
            silent(&said);
        }
    }
}

/// What the hook for panics is told, and what is caught.
fn panic_message(panic: &dyn Fn()) -> String {
    static HOOK: Once = Once::new();
    thread_local!(static TOLD: RefCell<String> = RefCell::default());
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            TOLD.set(panic.to_string());
            usual(panic);
        }));
    });
    let caught = catch_unwind(AssertUnwindSafe(panic)).unwrap_err();
    TOLD.take() + caught.downcast_ref::<String>().unwrap()
}

#[test]
fn the_gateway_shows_nothing() {
    let mut pair = Pair::new();
    let session = pair.live(pair.builder());
    let token = session.access_token().unwrap().token().to_string();
    let upgrade = http::Request::get(format!("/v1/api/ws?oauth_token={token}"));
    let upgrade = upgrade.header("User-Agent", "test").body("").unwrap();
    let web_socket = pair.gateway.open_web_socket(&upgrade, system_time(pair.now)).unwrap();
    let shown = format!("{:?} {session:?} {web_socket:?}", pair.gateway);
    assert!(shown.contains("WebSocket { is_waiting: true, .. }"), "{shown}");
    assert!(!shown.contains(&token), "{shown}");
}
