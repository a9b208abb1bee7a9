//! Responses that travel badly, as an HTTP client and a bare socket see them.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant, SystemTime};

use ibkr_oauth_gateway::http::Response;
use ibkr_oauth_gateway::{Delivery, Incident};
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

use crate::Service;

const POLITE: &[u8] = b"GET /v1/api/tickle HTTP/1.1\r\nUser-Agent: t\r\nConnection: close\r\n\r\n";
const FOR_EVER: Duration = Duration::from_secs(1_000_000);
/// What is answered to a request that is not signed.
const BODY: &str = "Unauthorized";

/// A server whose responses travel like this from now on.
fn with(delivery: Delivery) -> Service {
    let service = Service::start();
    schedule(&service, delivery, Duration::MAX);
    service
}

fn schedule(service: &Service, delivery: Delivery, lasts: Duration) {
    service.server.gateway().schedule(SystemTime::UNIX_EPOCH, Incident::BadDelivery { delivery, lasts });
}

/// An HTTP client that does not take a rejection for an error.
fn agent(with: impl FnOnce(ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope>) -> Agent {
    with(Agent::config_builder().http_status_as_error(false)).build().into()
}

fn ask(service: &Service, agent: &Agent) -> Result<Response<ureq::Body>, ureq::Error> {
    agent.get(format!("{}/tickle", service.server.base_url())).call()
}

/// All that comes on a bare socket, and how it ends.
fn received(service: &Service) -> (String, Option<ErrorKind>) {
    let mut stream = service.connect();
    stream.write_all(POLITE).unwrap();
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).err().map(|error| error.kind());
    (String::from_utf8(bytes).unwrap(), end)
}

#[test]
fn a_late_response_comes_after_its_time_to_whoever_waits() {
    let delay = Duration::from_millis(200);
    let service = with(Delivery::Late(delay));
    let begin = Instant::now();
    let mut response = ask(&service, &agent(|config| config)).unwrap();
    assert!(begin.elapsed() >= delay);
    assert_eq!((response.status().as_u16(), response.body_mut().read_to_string().unwrap().as_str()), (401, BODY));

    schedule(&service, Delivery::Late(FOR_EVER), Duration::MAX);
    let impatient = agent(|config| config.timeout_recv_response(Some(Duration::from_millis(200))));
    let error = ask(&service, &impatient).unwrap_err();
    assert!(matches!(error, ureq::Error::Timeout(_)), "{error:?}");
}

#[test]
fn a_trickling_response_has_a_head_and_then_one_byte_after_the_other() {
    let pause = Duration::from_millis(100);
    let service = with(Delivery::Trickling(pause));
    let begin = Instant::now();
    let mut response = ask(&service, &agent(|config| config)).unwrap();
    assert_eq!(response.headers()["content-length"], BODY.len().to_string());
    let mut reader = response.body_mut().as_reader();
    let mut first = [0; 100];
    let length = reader.read(&mut first).unwrap();
    assert!(length < BODY.len(), "the rest is not there yet");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!((&first[..length], rest.as_str()), (&BODY.as_bytes()[..length], &BODY[length..]));
    assert!(begin.elapsed() >= pause * u32::try_from(BODY.len()).unwrap());

    schedule(&service, Delivery::Trickling(FOR_EVER), Duration::MAX);
    let impatient = agent(|config| config.timeout_recv_body(Some(Duration::from_millis(200))));
    let mut response = ask(&service, &impatient).unwrap();
    assert_eq!(response.status(), 401);
    let error = response.body_mut().read_to_string().unwrap_err();
    assert!(matches!(error, ureq::Error::Timeout(_)), "{error:?}");
}

#[test]
fn a_lost_response_is_a_connection_that_is_closed() {
    let service = with(Delivery::Lost);
    assert_eq!(received(&service), (String::new(), None));
    let error = ask(&service, &agent(|config| config)).unwrap_err();
    assert!(!matches!(error, ureq::Error::Timeout(_)), "{error:?}");
}

#[test]
fn a_cut_response_is_shorter_than_it_says() {
    let service = with(Delivery::Cut);
    let (text, end) = received(&service);
    assert!(text.contains("\r\ncontent-length: 12\r\n") && text.ends_with("\r\n\r\nUnauth"), "{text}");
    assert_eq!(end, None);
    let mut response = ask(&service, &agent(|config| config)).unwrap();
    assert_eq!(response.status(), 401);
    response.body_mut().read_to_string().unwrap_err();

    let lasts = Duration::MAX;
    service.server.gateway().schedule(SystemTime::UNIX_EPOCH, Incident::TooManyRequests { lasts });
    let (text, _) = received(&service);
    assert!(
        text.starts_with("HTTP/1.1 429 ") && text.contains("\r\ncontent-length: 1\r\n"),
        "an empty one too: {text}"
    );
}

#[test]
fn a_connection_that_is_reset_is_not_closed_in_order() {
    let service = with(Delivery::Reset);
    assert_eq!(received(&service), (String::new(), Some(ErrorKind::ConnectionReset)));
    let error = ask(&service, &agent(|config| config)).unwrap_err();
    assert!(matches!(&error, ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionReset), "{error:?}");
}

#[test]
fn responses_travel_well_again_afterwards_and_others_all_the_time() {
    let service = with(Delivery::Lost);
    let agent = agent(|config| config);
    ask(&service, &agent).unwrap_err();
    let consent = agent.get(format!("http://{}/authorize", service.server.address())).call().unwrap();
    assert_eq!(consent.status(), 404, "what people see is not the API");
    schedule(&service, Delivery::Lost, Duration::ZERO);
    assert_eq!(ask(&service, &agent).unwrap().status(), 401);
}
