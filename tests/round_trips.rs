//! What one half writes, the other half or a library reads, and gets what went in. Of everything that is cut off, wherever
//! it is cut, it says so; and then nothing has changed, so that the whole is still good.
#![cfg(all(feature = "http", feature = "http1", feature = "serde"))]

mod support;

use ibkr_oauth::brokerage::{BrokerageEvent, BrokerageSession, CompetePolicy};
use ibkr_oauth::http1::{Decoder, Http1Error, encode};
use ibkr_oauth::{
    ApiRequest, DhParams, Error, KeyError, OAuthSession, Phase, QueryPolicy, Request, Response, RsaPrivateKey,
};
use ibkr_oauth_gateway::{Consent, Gateway, RegisteredConsumer};
use serde_json::Value;
use support::pair::{BASE_URL, CONSUMER, Pair, http_request, system_time};
use support::{DHPARAM_PEM, NOW, SIGNATURE_PEM, WorkedLogin, header, poll, rng};

/// All that `text` may be cut down to.
fn cuts(text: &str) -> impl Iterator<Item = &str> {
    (0..text.len()).filter_map(|end| text.get(..end))
}

fn seen(session: &OAuthSession) -> Value {
    serde_json::to_value(session.snapshot().expose()).unwrap()
}

/// A request with one part exchanged, as the gateway sees it.
struct Sent<'a> {
    request: &'a Request,
    target: &'a str,
    authorization: &'a str,
    body: &'a str,
}

impl<'a> Sent<'a> {
    fn whole(request: &'a Request) -> Self {
        let body = std::str::from_utf8(request.body()).unwrap();
        Self { request, target: request.path(), authorization: header(request, "Authorization").unwrap(), body }
    }

    fn to(&self, pair: &mut Pair) -> u16 {
        let mut request = http_request(self.request);
        // No URI is empty.
        *request.uri_mut() = format!("http://127.0.0.1:4000{}", self.target).parse().unwrap();
        request.headers_mut().insert("Authorization", self.authorization.parse().unwrap());
        let request = request.map(|_| self.body);
        pair.gateway.handle(&request, &mut pair.rng, system_time(pair.now)).status().as_u16()
    }
}

#[test]
fn a_request_in_bytes_is_read_by_a_library_whole_or_not_at_all() {
    let session = WorkedLogin::at("http://[::1]:8080/v1/api").live_session(NOW);
    let form = [("a", "x y"), ("b", "&\u{3001}")];
    let call = ApiRequest::post("/iserver/account").query(&[("q", "a b"), ("r", "")]).form(&form);
    let request = session.live(NOW).unwrap().sign(&call, &mut rng(1), NOW).unwrap();
    let bytes = encode(&request);
    let head_length = bytes.len() - request.body().len();

    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut read = httparse::Request::new(&mut headers);
    assert_eq!(read.parse(&bytes), Ok(httparse::Status::Complete(head_length)));
    assert_eq!((read.method, read.path), (Some("POST"), Some(request.path())));
    let found = |name: &str| read.headers.iter().find(|header| header.name == name).map(|header| header.value);
    for (name, value) in request.headers().chain([("Host", "[::1]:8080")]) {
        assert_eq!(found(name), Some(value.as_bytes()), "{name}");
    }
    assert_eq!(&bytes[head_length..], request.body());
    for end in 0..head_length {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        assert_eq!(httparse::Request::new(&mut headers).parse(&bytes[..end]), Ok(httparse::Status::Partial), "{end}");
    }
}

#[test]
fn a_signed_request_cut_off_anywhere_is_rejected_and_the_whole_one_counts() {
    let mut pair = Pair::new();
    // Under the other policy nobody notices a query that was cut off.
    let session = pair.live(pair.builder().query_policy(QueryPolicy::Fold));
    let live = session.live(pair.now).unwrap().clone();
    let form = [("conid", "265598"), ("side", "BUY & hold")];
    let call = ApiRequest::post("/tickle").query(&[("fields", "31,84"), ("q", "a b")]).form(&form);
    let request = live.sign(&call, &mut pair.rng, pair.now).unwrap();
    let whole = Sent::whole(&request);
    for authorization in cuts(whole.authorization) {
        assert!((400..500).contains(&Sent { authorization, ..Sent::whole(&request) }.to(&mut pair)), "{authorization}");
    }
    for target in cuts(whole.target) {
        assert!((400..500).contains(&Sent { target, ..Sent::whole(&request) }.to(&mut pair)), "{target}");
    }
    for body in cuts(whole.body) {
        assert!((400..500).contains(&Sent { body, ..Sent::whole(&request) }.to(&mut pair)), "{body}");
    }
    assert_eq!(whole.to(&mut pair), 200);
}

#[test]
fn a_login_request_cut_off_anywhere_is_rejected_and_the_whole_one_counts() {
    let mut pair = Pair::new();
    let mut session = pair.first_party(pair.builder());
    let request = session.poll_request(&mut pair.rng, pair.now).unwrap().unwrap().request;
    let whole = Sent::whole(&request);
    for authorization in cuts(whole.authorization) {
        assert!((400..500).contains(&Sent { authorization, ..Sent::whole(&request) }.to(&mut pair)), "{authorization}");
    }
    assert_eq!(whole.to(&mut pair), 200);
}

/// Hands `answer` in, cut off everywhere and then whole.
fn hand_in_cuts(
    session: &mut OAuthSession,
    response: &str,
    mut hand_in: impl FnMut(&mut OAuthSession, &str) -> Result<Phase, Error>,
) -> Phase {
    let before = seen(session);
    for cut in cuts(response) {
        assert!(matches!(hand_in(session, cut), Err(Error::Malformed(_))), "{cut}");
        assert_eq!(seen(session), before, "{cut}");
    }
    hand_in(session, response).unwrap()
}

#[test]
fn a_login_response_cut_off_anywhere_is_unusable_the_whole_is_taken() {
    let login = WorkedLogin::any();
    let any_poll = |session: &mut OAuthSession, body: &str| {
        let exchange = poll(session).exchange;
        session.handle_response(exchange, &Response::new(200, body.as_bytes()), NOW)
    };
    let mut session = OAuthSession::new(login.consumer.clone());
    let phase = hand_in_cuts(&mut session, r#"{"oauth_token":"b9082d68cfef06b030de"}"#, any_poll);
    assert_eq!(phase, Phase::RequestToken);
    session.handle_verifier("0ffb93ab9aa0d2177cc2").unwrap();
    let response = r#"{"is_paper":true,"oauth_token":"a1b2c3d4e5f6a7b8c9d0","oauth_token_secret":"c2VjcmV0"}"#;
    assert_eq!(hand_in_cuts(&mut session, response, any_poll), Phase::AccessToken);
    let phase = hand_in_cuts(&mut session, &login.body(Some(NOW.as_millis())), |session, body| {
        let exchange = login.poll(session, NOW).unwrap().exchange;
        session.handle_response(exchange, &Response::new(200, body.as_bytes()), NOW)
    });
    assert_eq!(phase, Phase::LiveSession);
}

#[test]
fn a_brokerage_response_cut_off_anywhere_fails_and_the_whole_one_is_taken() {
    let mut pair = Pair::new();
    let oauth = pair.live(pair.builder());
    let live = oauth.live(pair.now).unwrap();
    let poll = |session: &mut BrokerageSession| session.poll_request(live, &mut rng(1), NOW).unwrap().unwrap();
    let after = |responses: &[&str]| {
        let mut session = BrokerageSession::new(CompetePolicy::Yield);
        let events = responses.iter().map(|response| {
            let exchange = poll(&mut session).exchange;
            session.handle_response(exchange, &Response::new(200, response.as_bytes()), NOW).unwrap()
        });
        events.last().unwrap()
    };
    let mut call = |path| String::from_utf8(pair.call(&oauth, &ApiRequest::post(path)).into_body()).unwrap();
    let [absent, tickle] = ["/iserver/auth/status", "/tickle"].map(&mut call);
    for cut in cuts(&absent) {
        assert!(matches!(after(&[cut]), BrokerageEvent::Failed { error: Error::Malformed(_), .. }), "{cut}");
    }
    assert_eq!(after(&[&absent]), BrokerageEvent::Opening);
    for cut in cuts(&tickle) {
        assert!(matches!(after(&[&absent, cut]), BrokerageEvent::Failed { error: Error::Malformed(_), .. }), "{cut}");
    }
    assert_eq!(after(&[&absent, &tickle]), BrokerageEvent::Alive);
}

#[test]
fn a_callback_cut_off_anywhere_leads_nowhere_and_the_whole_one_works() {
    let mut pair = Pair::new();
    let mut session = OAuthSession::new(pair.builder().build().unwrap());
    pair.drive(&mut session).unwrap();
    let url = session.consent_url().unwrap();
    let (_, request_token) = url.split_once("?oauth_token=").unwrap();
    assert!(cuts(request_token).all(|cut| pair.gateway.awaiting_consent(cut).is_none()));
    assert_eq!(pair.gateway.awaiting_consent(request_token), Some(CONSUMER));
    let callback = pair.gateway.consent(request_token, "alice", Consent::Grant, &mut pair.rng).unwrap();

    let verifier_at = callback.split_once("oauth_verifier=").unwrap().0.len() + "oauth_verifier=".len();
    for cut in cuts(&callback) {
        let before = seen(&session);
        match session.handle_callback(cut) {
            Err(error) => assert!(matches!(error, Error::Callback(_)) && seen(&session) == before, "{cut}"),
            // Only the server can tell that a verifier is not whole.
            Ok(()) => {
                assert!(cut.len() > verifier_at, "{cut}");
                assert!(matches!(pair.drive(&mut session), Err(Error::Rejected(_))), "{cut}");
            }
        }
    }
    session.handle_callback(&callback).unwrap();
    assert_eq!(pair.drive(&mut session), Ok(Phase::LiveSession));
}

#[test]
fn keys_as_openssl_writes_them_are_read_whole_or_not_at_all() {
    assert!(RsaPrivateKey::from_pem(SIGNATURE_PEM).is_ok());
    for cut in cuts(SIGNATURE_PEM.trim_end()) {
        assert!(matches!(RsaPrivateKey::from_pem(cut), Err(KeyError::NoPem | KeyError::PemDamaged)), "{cut}");
    }
    assert!(DhParams::from_pem(DHPARAM_PEM).is_ok());
    for cut in cuts(DHPARAM_PEM.trim_end()) {
        assert!(matches!(DhParams::from_pem(cut), Err(KeyError::NoPem | KeyError::PemDamaged)), "{cut}");
    }
    let mut gateway = Gateway::new(BASE_URL).unwrap();
    let mut register = |signature: &str, encryption: &str, dh: &str| {
        gateway.register_consumer(&RegisteredConsumer {
            consumer_key: CONSUMER.to_string(),
            signature_public_key_pem: signature.to_string(),
            encryption_public_key_pem: encryption.to_string(),
            dhparam_pem: dh.to_string(),
            callback_url: None,
        })
    };
    let public = include_str!("keys/public_signature.pem");
    assert!(register(public, public, DHPARAM_PEM).is_ok());
    assert!(cuts(public.trim_end()).all(|cut| register(cut, public, DHPARAM_PEM).is_err()));
    assert!(cuts(public.trim_end()).all(|cut| register(public, cut, DHPARAM_PEM).is_err()));
    assert!(cuts(DHPARAM_PEM.trim_end()).all(|cut| register(public, public, cut).is_err()));
}

#[test]
fn the_gateways_responses_in_bytes_are_waited_for_until_they_are_whole() {
    let mut pair = Pair::new();
    let session = pair.live(pair.builder());
    for path in ["/tickle", "/nowhere"] {
        let response = pair.call(&session, &ApiRequest::post(path));
        let mut head = format!(
            "HTTP/1.1 {} Whatever\r\nContent-Length: {}\r\n",
            response.status().as_u16(),
            response.body().len()
        );
        let lines = response.headers().iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
        head.extend(lines);
        let bytes = [head.as_bytes(), b"\r\n", response.body()].concat();
        for end in 0..bytes.len() {
            let mut decoder = Decoder::new();
            assert_eq!(decoder.handle_bytes(&bytes[..end]), Ok(None), "{end}");
            let ended = decoder.handle_eof();
            assert!(matches!(ended, Err(Http1Error::NoResponse | Http1Error::Truncated)), "{end}");
        }
        assert_eq!(Decoder::new().handle_bytes(&bytes), Ok(Some(response.into())));
    }
}

#[test]
fn a_web_socket_opens_with_the_whole_token_and_the_whole_session_id_only() {
    let mut pair = Pair::new();
    let oauth = pair.live(pair.builder());
    let live = oauth.live(pair.now).unwrap();
    let mut session = BrokerageSession::new(CompetePolicy::Yield);
    while let Some(outbound) = session.poll_request(live, &mut pair.rng, pair.now).unwrap() {
        let response = pair.send(&outbound.request);
        session.handle_response(outbound.exchange, &response.into(), pair.now).unwrap();
    }
    let request = session.web_socket().unwrap();
    let target = request.url().strip_prefix("ws://127.0.0.1:4000").unwrap();
    let headers: Vec<_> = request.headers().collect();
    let [("Cookie", cookie), ("User-Agent", _)] = headers[..] else { panic!("other headers") };
    let mut open = |target: &str, cookie: &str| {
        let upgrade = http::Request::get(format!("http://127.0.0.1:4000{target}"));
        let upgrade = upgrade.header("Cookie", cookie).header("User-Agent", "test").body("").unwrap();
        let opened = pair.gateway.open_web_socket(&upgrade, system_time(pair.now));
        opened.map_err(|rejection| rejection.status().as_u16())
    };
    assert!(cuts(target).all(|cut| matches!(open(cut, cookie), Err(400..500))));
    for cut in cuts(cookie) {
        match open(target, cut) {
            // Without a cookie it is asked for.
            Ok((_, greeting)) => assert!(cut.len() < "api=".len() && greeting[0].contains("waiting for session")),
            Err(status) => assert_eq!(status, 401, "{cut}"),
        }
    }
    assert!(open(target, cookie).unwrap().1[0].contains("alice"));
}

#[test]
fn the_gateways_date_is_read_whole_or_not_at_all() {
    let mut pair = Pair::new();
    pair.server_ahead = 600;
    let mut session = OAuthSession::new(WorkedLogin::any().consumer);
    let date = pair.send(&poll(&mut session).request).headers()["Date"].to_str().unwrap().to_string();
    let mut skew_from = |date: &str| {
        let exchange = poll(&mut session).exchange;
        let response = Response::new(503, b"").with_header("Date", date.as_bytes());
        assert!(session.handle_response(exchange, &response, NOW).is_err());
        session.clock_skew()
    };
    assert!(cuts(&date).all(|cut| skew_from(cut) == 0));
    assert_eq!(skew_from(&date), 600);
}
