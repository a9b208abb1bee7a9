//! Logins over TLS: by an HTTP client and by an event loop, and never past a certificate that nobody vouches for.
#![cfg(all(feature = "http", feature = "http1"))]

#[path = "support/connections.rs"]
mod connections;
#[path = "support/credentials.rs"]
mod credentials;
#[path = "support/driver.rs"]
mod driver;
mod support;
#[path = "support/workplace.rs"]
mod workplace;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use connections::{Call, wait};
use credentials::{ACCOUNTS, Credentials};
use driver::{account_ids, accounts, agent, drive, now, rng};
use ibkr_oauth::{ApiRequest, Client, Event, OAuthSession, Outcome, Output, Phase};
use ibkr_oauth_gateway::{Certificate, Server};
use mio::{Events, Poll, Token};
use rustls::{ClientConfig, RootCertStore};
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
        let certificate = Certificate::generate().unwrap();
        let server = Server::bind_tls("127.0.0.1:0", &certificate).unwrap();
        let credentials = ["FIRSTUSER", "OTHERUSER"].map(|name| Credentials::first_party(&mut server.gateway(), name));
        Self { server, certificate, credentials }
    }

    fn sessions(&self) -> [OAuthSession; 2] {
        self.credentials.each_ref().map(|credentials| {
            assert_eq!(credentials.base_url, self.server.base_url());
            credentials.session()
        })
    }

    fn clients(&self) -> [Client; 2] {
        self.sessions().map(|session| Client::new(session).without_brokerage_session())
    }

    /// An HTTP client that trusts this certificate and no other.
    fn trusting_agent(&self) -> Agent {
        let certificate = ureq::tls::Certificate::from_pem(self.certificate.pem().as_bytes()).unwrap();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[certificate])).build();
        Agent::config_builder().tls_config(tls).build().into()
    }
}

/// Logs the clients in on this thread, all at once, and returns the accounts of each.
fn event_loop(clients: &mut [Client], roots: RootCertStore) -> Result<Vec<Vec<String>>, Box<dyn Error>> {
    let tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(8));
    let (mut calls, mut listed) = (BTreeMap::new(), BTreeMap::new());
    for client in &mut *clients {
        client.request(&ApiRequest::get("/portfolio/accounts"), now())?;
    }
    while listed.len() < clients.len() {
        for (index, client) in clients.iter_mut().enumerate() {
            // Each sends one request at a time: first the login's, then its own.
            loop {
                match client.poll(&mut rng(), now()) {
                    Output::Wait(_) => break,
                    Output::Send { request, exchange } => {
                        let call = Call::start(&request, poll.registry(), Token(index), &tls)?;
                        calls.insert(index, (exchange, call));
                    }
                    Output::Event(Event::Finished { outcome: Outcome::Responded(response), .. }) => {
                        listed.insert(index, account_ids(&response));
                    }
                    Output::Event(event) => assert!(matches!(event, Event::LoggedIn { .. }), "{event:?}"),
                }
            }
        }
        wait(&mut poll, &mut events, Some(Duration::from_millis(100)))?;
        for index in events.iter().map(|event| event.token().0) {
            let Some((_, call)) = calls.get_mut(&index) else { continue };
            let Some(response) = call.advance()? else { continue };
            let (exchange, _) = calls.remove(&index).unwrap();
            clients[index].handle_response(exchange, &response, now())?;
        }
    }
    Ok(listed.into_values().collect())
}

#[test]
fn an_http_client_logs_in_over_tls() {
    let service = Service::start();
    let ([mut session, _], agent) = (service.sessions(), service.trusting_agent());
    drive(&mut session, &agent).unwrap();
    assert_eq!(accounts(session.live(now()).unwrap(), &agent), ACCOUNTS);
}

#[test]
fn an_event_loop_logs_two_sessions_in_over_tls() {
    let service = Service::start();
    let mut roots = RootCertStore::empty();
    roots.add(service.certificate.der().to_vec().into()).unwrap();
    assert_eq!(event_loop(&mut service.clients(), roots).unwrap(), [ACCOUNTS; 2]);
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
    let error = event_loop(&mut service.clients(), roots).unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate: UnknownIssuer"), "{error:?}");
}

#[test]
fn a_program_in_one_loop_says_why_it_cannot_log_in() {
    let workplace = Workplace::new("unvouched");
    let (service, file) = (Service::start(), workplace.file("credentials.json"));
    service.credentials[0].write_new(file.as_ref());
    let arguments = ["--credentials", &file, "--patience", "4"];
    let said = workplace.run("event_loop", &arguments);
    assert!(said.contains("invalid peer certificate: UnknownIssuer"), "{said}");
}
