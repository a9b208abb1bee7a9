//! The consent page.

use std::sync::{Arc, Mutex};

use ibkr_oauth_gateway::{AccountKind, User};

use crate::Service;
use crate::client::{World, json, keys};

const CALLBACK: &str = "https://localhost:20000/";

fn request_token(world: &mut World) -> String {
    let call = world.call("POST", "/oauth/request_token", "TESTCONS", "test_realm").with("oauth_callback", "oob");
    let response = world.send(&call.signed_rsa(&keys().signature, ""));
    json(&response)["oauth_token"].as_str().unwrap().to_owned()
}

#[test]
fn a_user_consents_in_a_browser() {
    let mut world = World::new();
    world.enroll_third_party("TESTCONS", CALLBACK);
    let [token, denied, other] = [(); 3].map(|()| request_token(&mut world));
    let service = Service::start_with(world.gateway);
    let ask = |target: &str| service.exchange(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());

    let page = ask(&format!("/authorize?oauth_token={token}"));
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<b>TESTCONS</b>"), "{page}");
    assert!(page.contains("name=\"approve\" value=\"demo\"") && page.contains(&token), "{page}");
    let approved = ask(&format!("/authorize?oauth_token={token}&approve=demo"));
    assert!(approved.contains(&format!("\r\nlocation: {CALLBACK}?oauth_token={token}&oauth_verifier=")), "{approved}");
    assert!(ask(&format!("/authorize?oauth_token={token}&approve=demo")).starts_with("HTTP/1.1 404 "));
    let denied = ask(&format!("/authorize?oauth_token={denied}&deny="));
    assert!(denied.starts_with("HTTP/1.1 303 ") && !denied.contains("oauth_verifier"), "{denied}");

    assert!(ask("/authorize?oauth_token=%3Cscript%3E").starts_with("HTTP/1.1 404 "));
    assert!(ask("/authorized").starts_with("HTTP/1.1 403 "), "that one is the gateway's");

    let name = "\"<b>&".to_owned();
    service.server.gateway().add_user(User { name, accounts: Vec::new(), kind: AccountKind::Paper });
    let page = ask(&format!("/authorize?oauth_token={other}"));
    assert!(page.contains("value=\"&quot;&lt;b&gt;&amp;\"") && !page.contains("\"<b>"), "{page}");
    let approved = ask(&format!("/authorize?oauth_token={other}&approve=%22%3Cb%3E%26"));
    assert!(approved.starts_with("HTTP/1.1 303 "), "{approved}");
}

#[test]
fn who_watches_sees_a_change_before_the_client_does_and_nothing_else() {
    let mut world = World::new();
    world.enroll_third_party("TESTCONS", CALLBACK);
    let token = request_token(&mut world);
    let service = Service::start_with(world.gateway);
    let seen = Arc::<Mutex<Vec<bool>>>::default();
    let (sees, awaited) = (Arc::clone(&seen), token.clone());
    let is_waiting = move |gateway: &ibkr_oauth_gateway::Gateway| gateway.awaiting_consent(&awaited).is_some();
    service.server.on_change(move |gateway| sees.lock().unwrap().push(is_waiting(gateway)));
    assert_eq!(*seen.lock().unwrap(), [true], "how it is at first");
    let ask = |target: &str| service.exchange(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());
    ask(&format!("/authorize?oauth_token={token}"));
    ask("/v1/api/tickle");
    assert_eq!(*seen.lock().unwrap(), [true]);
    ask(&format!("/authorize?oauth_token={token}&approve=demo"));
    assert_eq!(*seen.lock().unwrap(), [true, false]);
}
