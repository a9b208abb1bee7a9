//! The server over TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ibkr_oauth_gateway::{Certificate, Delivery, Incident, Server};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const POLITE: &[u8] = b"GET /v1/api/tickle HTTP/1.1\r\nUser-Agent: t\r\nConnection: close\r\n\r\n";

fn trusting(certificate: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// What the server answers, or what is wrong with its certificate.
fn ask(server: &Server, name: &'static str, config: &Arc<ClientConfig>) -> Result<String, String> {
    let connection = ClientConnection::new(Arc::clone(config), name.try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, connect(server));
    stream.write_all(POLITE).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    Ok(answer)
}

#[test]
fn who_trusts_the_certificate_is_served_by_each_of_its_names() {
    let certificate = Certificate::generate().unwrap();
    let server = Server::bind_tls("127.0.0.1:0", &certificate).unwrap();
    assert_eq!(server.base_url(), format!("https://{}/v1/api", server.address()));
    let config = trusting(CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap());
    for name in ["localhost", "127.0.0.1", "::1"] {
        let answer = ask(&server, name, &config).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{name}: {answer}");
    }
    ask(&server, "localhost.localdomain", &config).unwrap_err();
    let other = trusting(Certificate::generate().unwrap().der().to_vec().into());
    ask(&server, "localhost", &other).unwrap_err();
}

#[test]
fn who_does_not_speak_tls_harms_nobody() {
    let certificate = Certificate::generate().unwrap();
    let server = Server::bind_tls("127.0.0.1:0", &certificate).unwrap();
    let _silent = connect(&server);
    let mut plain = connect(&server);
    plain.write_all(POLITE).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"));
    let config = trusting(certificate.der().to_vec().into());
    assert!(ask(&server, "localhost", &config).unwrap().starts_with("HTTP/1.1 401 "));
}

#[test]
fn a_connection_is_reset_under_its_encryption_too() {
    let certificate = Certificate::generate().unwrap();
    let server = Server::bind_tls("127.0.0.1:0", &certificate).unwrap();
    let incident = Incident::BadDelivery { delivery: Delivery::Reset, lasts: Duration::MAX };
    server.gateway().schedule(SystemTime::UNIX_EPOCH, incident);
    let error = ask(&server, "localhost", &trusting(certificate.der().to_vec().into())).unwrap_err();
    assert!(error.contains("reset"), "{error}");
}
