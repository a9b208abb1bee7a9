//! Logins over TLS: by an HTTP client and by the event loop of the example, to the server and to the program `gateway`, and
//! never past a certificate that nobody vouches for.
#![cfg(all(feature = "http", feature = "http1"))]

#[allow(dead_code, reason = "its `main` is the example's")]
#[path = "../examples/event_loop.rs"]
mod event_loop;
#[path = "support/workplace.rs"]
mod workplace;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use event_loop::support;
use ibkr_oauth::{Client, OAuthSession, Phase};
use ibkr_oauth_gateway::{Certificate, Server};
use rustls::{ClientConfig, RootCertStore};
use support::credentials::{Credentials, Keys, Party};
use support::driver::{accounts, agent, drive, now};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};
use workplace::Workplace;

/// A gateway behind TLS, and two consumers which it knows.
struct Service {
    server: Server,
    certificate: Certificate,
    credentials: [Credentials; 2],
}

impl Service {
    fn start() -> Self {
        static KEYS: OnceLock<Keys> = OnceLock::new();
        let keys = KEYS.get_or_init(|| Keys::generate(&mut |_| ()).unwrap());
        let certificate = Certificate::generate().unwrap();
        let server = Server::bind_tls("127.0.0.1:0", &certificate).unwrap();
        let enroll = |name| Credentials::enroll(&mut server.gateway(), keys, name, &Party::First).unwrap();
        let credentials = ["FIRSTUSER", "OTHERUSER"].map(enroll);
        Self { server, certificate, credentials }
    }

    fn sessions(&self) -> [OAuthSession; 2] {
        self.credentials.each_ref().map(|credentials| {
            assert_eq!(credentials.base_url, self.server.base_url());
            session(credentials)
        })
    }

    fn clients(&self) -> Vec<Client> {
        self.sessions().into_iter().map(Client::new).collect()
    }

    fn trusting_agent(&self) -> Agent {
        trusting(self.certificate.pem())
    }
}

/// An HTTP client that trusts this certificate and no other.
fn trusting(certificate_pem: &str) -> Agent {
    let certificate = ureq::tls::Certificate::from_pem(certificate_pem.as_bytes()).unwrap();
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[certificate])).build();
    Agent::config_builder().tls_config(tls).build().into()
}

fn session(credentials: &Credentials) -> OAuthSession {
    let consumer = credentials.consumer().unwrap().build().unwrap();
    assert_eq!(consumer.base_url(), credentials.base_url);
    OAuthSession::with_access_token(consumer, credentials.access_token().unwrap().unwrap())
}

fn event_loop_config(roots: RootCertStore) -> Arc<ClientConfig> {
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

#[test]
fn an_http_client_logs_in_over_tls() {
    let service = Service::start();
    let ([mut session, _], agent) = (service.sessions(), service.trusting_agent());
    drive(&mut session, &agent).unwrap();
    assert_eq!(accounts(session.live(now()).unwrap(), &agent).unwrap(), ["DU1234567", "DU7654321"]);
}

#[test]
fn an_event_loop_logs_two_sessions_in_over_tls() {
    let service = Service::start();
    let mut roots = RootCertStore::empty();
    roots.add(service.certificate.der().to_vec().into()).unwrap();
    let accounts = event_loop::run(service.clients(), &event_loop_config(roots)).unwrap();
    assert_eq!(accounts, [["DU1234567", "DU7654321"]; 2]);
}

#[test]
fn a_certificate_nobody_vouches_for_stops_the_login_and_harms_nothing() {
    let service = Service::start();
    let [mut session, _] = service.sessions();
    let error = drive(&mut session, &agent()).unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate: UnknownIssuer"), "{error:?}");
    assert_eq!(session.phase(now()), Phase::AccessToken);
    drive(&mut session, &service.trusting_agent()).unwrap();
    assert_eq!(session.phase(now()), Phase::LiveSession);

    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let in_haste = service.clients().into_iter().map(|client| client.with_request_deadline(Duration::from_secs(4)));
    let error = event_loop::run(in_haste.collect(), &event_loop_config(roots)).unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate: UnknownIssuer"), "{error:?}");
}

#[test]
fn the_program_gateway_says_which_certificate_to_trust() {
    let workplace = Workplace::new("tls");
    for _ in ["the first time", "again, with the same credentials"] {
        let (gateway, _) = workplace.start_gateway(&["--tls"]);
        let said = gateway.wait_for("-----END CERTIFICATE-----\n");
        let certificate = &said[said.find("-----BEGIN").unwrap()..];
        let credentials = Credentials::read(workplace.file("credentials.json").as_ref()).unwrap();
        assert!(credentials.base_url.starts_with("https://"), "{}", credentials.base_url);
        drive(&mut session(&credentials), &trusting(certificate)).unwrap();
    }
}
