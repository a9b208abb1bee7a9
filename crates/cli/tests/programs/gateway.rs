//! The gateway, for clients in any language.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ibkr_oauth::Outbound;
use ibkr_oauth_tokio::Credentials;
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, http};

use crate::support::{Ran, World};

const ORDERS: &str = "/iserver/account/DU1234567/orders";

/// A client of the gateway whose folder is `gateway`.
#[derive(Clone, Copy)]
struct Client<'a>(&'a World);

impl Client<'_> {
    fn run(&self, arguments: &[&str]) -> Ran {
        self.0.run(&[arguments, &["--credentials", "gateway/credentials.json"]].concat())
    }

    /// The id of the new order, unless nobody answers.
    fn place_order(&self) -> Option<String> {
        let order =
            json!({ "conid": 8314, "orderType": "LMT", "side": "BUY", "tif": "DAY", "quantity": 1, "price": 93.0 });
        let orders = json!({ "orders": [order] }).to_string();
        let arguments = ["request", "POST", ORDERS, "--json", "-", "--credentials", "gateway/credentials.json"];
        let ran = self.0.run_with_stdin(&arguments, &orders);
        (ran.code == 0).then(|| ran.json()[0]["order_id"].as_str().unwrap().to_owned())
    }

    fn orders(&self) -> Value {
        self.run(&["request", "GET", "/iserver/account/orders"]).ends_with(0).json()["orders"].clone()
    }
}

#[test]
fn clients_log_in_to_the_gateway_also_after_a_restart() {
    let world = World::new("gateway");
    let arguments = ["gateway", "--dir", "gateway", "--user", "alice", "--user", "bob"];
    let login = |file: &str| world.run(&["login", "--credentials", &format!("gateway/{file}")]);
    let gateway = world.start(&arguments);
    let first = gateway.wait_for("listening on ");
    login("credentials.json").ends_with(0).says("Logged in").says("DU1234567");
    login("credentials-bob.json").ends_with(0).says("DU2000001");
    gateway.terminate().ends_with(0);
    let again = world.start(&arguments);
    assert_eq!(again.wait_for("listening on "), first, "the address stays");
    login("credentials.json").ends_with(0).says("Still logged in").says("DU1234567");
    login("credentials-bob.json").ends_with(0).says("Still logged in").says("DU2000001");
    let _ = std::fs::remove_file(world.file("gateway/dhparam.pem"));
    again.terminate().ends_with(0);
    let third = world.start(&arguments);
    third.wait_for("listening on ");
    assert!(world.file("gateway/dhparam.pem").exists());
}

#[test]
fn clients_go_on_as_if_the_gateway_had_not_been_killed() {
    let world = World::new("killed");
    let (client, arguments) = (Client(&world), ["gateway", "--dir", "gateway"]);
    let gateway = world.start(&arguments);
    gateway.wait_for("listening on ");
    let login = client.run(&["login", "--json"]).ends_with(0).json();
    let first = client.place_order().unwrap();
    let before = client.orders();
    assert_eq!(before[0]["orderId"].to_string(), first);
    // Without a signal that it could catch.
    drop(gateway);

    let gateway = world.start(&arguments);
    gateway.wait_for("listening on ");
    let tickle = client.run(&["request", "POST", "/tickle"]).ends_with(0).json();
    assert_eq!(tickle["iserver"]["authStatus"]["authenticated"], true, "the brokerage session stands");
    let again = client.run(&["login", "--json"]).ends_with(0).json();
    assert_eq!(
        (&again["stored"], &again["until"]),
        (&json!(true), &login["until"]),
        "the same token, which ends when it would"
    );
    assert_eq!(client.orders(), before);
    assert_ne!(client.place_order().unwrap(), first);
    assert_eq!(client.orders().as_array().unwrap().len(), 2);
    gateway.terminate().ends_with(0);
}

#[test]
fn an_order_that_was_answered_is_there_whenever_the_gateway_is_killed() {
    let world = World::new("whenever");
    let (client, arguments) = (Client(&world), ["gateway", "--dir", "gateway"]);
    let mut answered = Vec::new();
    for milliseconds in [0, 70, 130, 210] {
        let gateway = world.start(&arguments);
        gateway.wait_for("listening on ");
        thread::scope(|scope| {
            let (sender, orders) = mpsc::channel();
            scope.spawn(move || std::iter::from_fn(|| client.place_order()).try_for_each(|order| sender.send(order)));
            answered.push(orders.recv().unwrap());
            thread::sleep(Duration::from_millis(milliseconds));
            drop(gateway);
            answered.extend(orders);
        });
    }
    let gateway = world.start(&arguments);
    gateway.wait_for("listening on ");
    answered.push(client.place_order().unwrap());
    let listed: Vec<_> = client.orders().as_array().unwrap().iter().map(|order| order["orderId"].to_string()).collect();
    assert!(answered.iter().all(|order| listed.contains(order)), "{answered:?} {listed:?}");
    let count = answered.len();
    answered.sort();
    answered.dedup();
    assert_eq!(answered.len(), count, "each has an id of its own");
}

#[cfg(unix)]
#[test]
fn the_state_is_written_only_when_it_has_changed() {
    let world = World::new("unchanged");
    let client = Client(&world);
    let gateway = world.start(&["gateway", "--dir", "gateway"]);
    gateway.wait_for("listening on ");
    // Each new file has a number of its own.
    let file = || {
        let metadata = std::fs::metadata(world.file("gateway/gateway-state.json")).unwrap();
        (std::os::unix::fs::MetadataExt::ino(&metadata), metadata.modified().unwrap())
    };
    let before = file();
    client.run(&["login"]).ends_with(0);
    let after = file();
    assert_ne!(before, after);
    for _ in 0..3 {
        client.run(&["request", "GET", "/portfolio/accounts"]).ends_with(0);
    }
    assert_eq!(file(), after);
}

#[test]
fn scenarios_happen_to_clients() {
    let world = World::new("scenario");
    let gateway = world.start(&["gateway", "--dir", "gateway", "--json", "--scenario", "outage,for=600"]);
    let said: Value = serde_json::from_str(&gateway.wait_for("\n")).unwrap();
    let credentials = said["credentials"].as_str().unwrap();
    assert!(said["base_url"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    world.run(&["login", "--credentials", credentials]).ends_with(7).says("503");
    drop(gateway);
    let gateway = world.start(&["gateway", "--dir", "gateway", "--scenario", "no-sign-bytes"]);
    gateway.wait_for("listening on ");
    world.run(&["login", "--credentials", credentials]).ends_with(4).says("sign byte");
    drop(gateway);
    let gateway = world.start(&["gateway", "--dir", "gateway", "--scenario", "clock-skew", "--scenario", "sign-bytes"]);
    gateway.wait_for("listening on ");
    world.run(&["login", "--credentials", credentials]).ends_with(0).says("DU1234567");
    world.run(&["gateway", "--scenario", "rain"]).ends_with(2).says("there is no scenario rain");
}

/// By a program in any language: what comes on a bare socket, and how it ends.
#[test]
fn answers_travel_as_badly_as_the_scenario_says() {
    let world = World::new("delivery");
    let ask = |scenario: &str| {
        let gateway = world.start(&["gateway", "--dir", "gateway", "--scenario", scenario]);
        let address = gateway.wait_for("/v1/api\n").replace("listening on http://", "").replace("/v1/api\n", "");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /v1/api/tickle HTTP/1.1\r\nUser-Agent: t\r\nConnection: close\r\n\r\n").unwrap();
        let (begin, mut answer) = (Instant::now(), Vec::new());
        let end = stream.read_to_end(&mut answer).err().map(|error| error.kind());
        (String::from_utf8(answer).unwrap(), end, begin.elapsed())
    };
    let (text, _, elapsed) = ask("slow-answers,by=1");
    assert!(text.ends_with("\r\n\r\nUnauthorized") && elapsed >= Duration::from_secs(1), "{text} {elapsed:?}");
    let (text, _, elapsed) = ask("trickling-answers");
    assert!(text.ends_with("\r\n\r\nUnauthorized") && elapsed >= Duration::from_millis(1200), "{text} {elapsed:?}");
    let (text, end, _) = ask("cut-answers");
    assert!(text.contains("\r\ncontent-length: 12\r\n") && text.ends_with("\r\n\r\nUnauth"), "{text} {end:?}");
    let (text, end, _) = ask("lost-answers");
    assert_eq!((text.as_str(), end), ("", None));
    let (text, end, _) = ask("connection-resets");
    assert_eq!((text.as_str(), end), ("", Some(ErrorKind::ConnectionReset)));
    let (text, end, elapsed) = ask("lost-answers,for=0");
    assert!(text.starts_with("HTTP/1.1 401 "), "it is over: {text} {end:?} {elapsed:?}");
}

#[test]
fn a_new_live_session_token_ends_the_earlier_unless_told_otherwise() {
    let world = World::new("several");
    for (folder, option, said) in
        [("alone", None, "Logged in until"), ("beside", Some("--several-tokens"), "Still logged in")]
    {
        let gateway = world.start(&["gateway", "--dir", folder].into_iter().chain(option).collect::<Vec<_>>());
        gateway.wait_for("listening on ");
        let credentials = format!("{folder}/credentials.json");
        let login = |store: &str| {
            world.run(&["login", "--credentials", &credentials, "--store", &format!("{folder}-{store}")]).ends_with(0)
        };
        login("one").says("Logged in until");
        login("other").says("Logged in until");
        login("one").says(said);
    }
}

#[test]
fn clients_are_told_an_address_only_if_their_credentials_name_another() {
    let world = World::new("address");
    let start = |listen: &[&str]| {
        let gateway = world.start(&[&["gateway", "--dir", "gateway"], listen].concat());
        let said = gateway.wait_for("/v1/api\n");
        (said.trim().rsplit('/').nth(2).unwrap().to_owned(), gateway.terminate().ends_with(0))
    };
    let (first, _) = start(&[]);
    // The same, written otherwise.
    let (again, ran) = start(&["--listen", &first.replace(':', ":0")]);
    assert!(again == first && !ran.stderr.contains("--base-url"), "{again} {ran:?}");
    let (other, ran) = start(&["--listen", "127.0.0.1:0"]);
    ran.says(&format!("clients need --base-url http://{other}/v1/api"));
}

/// A login over TLS by a client that trusts this certificate only.
fn log_in_trusting(certificate_pem: &str, credentials: &Path) {
    let certificate = Certificate::from_pem(certificate_pem.as_bytes()).unwrap();
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[certificate])).build();
    let agent: Agent = Agent::config_builder().tls_config(tls).build().into();
    let mut session = Credentials::from_file(credentials).unwrap().session().unwrap();
    let now = || SystemTime::now().into();
    while let Some(Outbound { request, exchange }) = session.poll_request(&mut UnwrapErr(SysRng), now()).unwrap() {
        let (head, mut body) = agent.run(http::Request::try_from(request).unwrap()).unwrap().into_parts();
        let response = http::Response::from_parts(head, body.read_to_vec().unwrap());
        session.handle_response(exchange, &response.into(), now()).unwrap();
    }
    assert!(session.live(now()).is_some());
}

#[test]
fn clients_that_trust_the_certificate_log_in_over_tls() {
    let world = World::new("tls");
    for _ in ["the first time", "again, with the same credentials"] {
        let gateway = world.start(&["gateway", "--dir", "gateway", "--tls"]);
        let said = gateway.wait_for("-----END CERTIFICATE-----\n");
        assert!(said.starts_with("listening on https://127.0.0.1:"), "{said}");
        log_in_trusting(&said[said.find("-----BEGIN").unwrap()..], &world.file("gateway/credentials.json"));
    }
}

/// Agrees on the consent page of a gateway's only user, and returns the address that the browser is sent to.
fn approve(consent_url: &str) -> String {
    let browser: Agent = Agent::config_builder().max_redirects(0).max_redirects_will_error(false).build().into();
    let sent_on = browser.get(format!("{consent_url}&approve=")).call().unwrap();
    sent_on.headers()["location"].to_str().unwrap().to_owned()
}

#[test]
fn a_third_party_asks_for_an_access_token_which_outlives_the_gateway() {
    let world = World::new("third");
    let arguments = ["gateway", "--dir", "gateway", "--callback", "http://localhost:20000/"];
    let client = Client(&world);
    let gateway = world.start(&arguments);
    let said = gateway.wait_for("/v1/api\n");
    client.run(&["login"]).ends_with(3).says("access_token is missing");
    let authorize_url = said.trim().replace("listening on ", "").replace("/v1/api", "/authorize");
    let consent = ["login", "--third-party", "--port", "0", "--authorize-url", &authorize_url];
    let consent = [&consent[..], &["--credentials", "gateway/credentials.json"]].concat();
    let mut login = world.start_with_keyboard(&consent);
    let asked = login.wait_for("press Enter");
    let consent_url = asked.lines().find(|line| line.contains("?oauth_token=")).unwrap().trim();
    assert!(consent_url.starts_with(&authorize_url), "{consent_url}");
    login.types(&approve(consent_url));
    login.end().ends_with(0).says("DU1234567");
    gateway.terminate().ends_with(0);

    // The state knows the access token, and so does the file of credentials.
    for store in ["with-state", "without-state"] {
        let gateway = world.start(&arguments);
        gateway.wait_for("listening on ");
        client.run(&["login", "--store", store]).ends_with(0).says("Logged in until").says("DU1234567");
        gateway.terminate().ends_with(0);
        std::fs::remove_file(world.file("gateway/gateway-state.json")).unwrap();
    }
}

#[test]
fn a_third_partys_gateway_needs_its_callback_each_time() {
    let world = World::new("callback");
    let gateway = world.start(&["gateway", "--dir", "gateway", "--callback", "http://localhost:20000/"]);
    gateway.wait_for("listening on ");
    gateway.terminate().ends_with(0);
    world.run(&["gateway", "--dir", "gateway"]).ends_with(2).says("a third party's, whose gateway needs --callback");
}

#[test]
fn the_demonstration_needs_no_account_and_leaves_nothing_behind() {
    let world = World::new("demo");
    let mut command = world.command(&["demo"]);
    let before = std::fs::read_dir(world.file("")).unwrap().count();
    command.env_remove("IBKR_CREDENTIALS").env_remove("IBKR_OAUTH_STORE");
    let said = world.run_on(command).end().ends_with(0);
    said.says("Logged in until").says("DU1234567").says(r#""selectedAccount":"DU1234567""#);
    assert_eq!(std::fs::read_dir(world.file("")).unwrap().count(), before);
}
