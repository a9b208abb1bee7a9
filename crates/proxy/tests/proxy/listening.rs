//! Where the proxy listens, and for whom.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use ibkr_oauth_proxy::ibkr_oauth_tokio::rustls::pki_types::pem::PemObject;
use ibkr_oauth_proxy::ibkr_oauth_tokio::rustls::pki_types::{CertificateDer, ServerName};
use ibkr_oauth_proxy::ibkr_oauth_tokio::rustls::{ClientConfig, RootCertStore, crypto::ring};
use ibkr_oauth_proxy::{BearerToken, Listen, Options, Proxy, StartError, Tls};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::support::{World, converse, plain, request};

#[tokio::test]
async fn beyond_loopback_there_is_a_token_and_tls() {
    let options = |tls: Tls, token: bool| {
        let bearer_token = token.then(|| BearerToken::new("0123456789abcdef").unwrap());
        Options { bearer_token, ..Options::new(Listen::Tcp { address: ([0, 0, 0, 0], 0).into(), tls }) }
    };
    let folder = tempfile::tempdir().unwrap();
    let own = || Tls::SelfSigned(folder.path().into());
    assert!(matches!(Proxy::bind(options(own(), false)).await, Err(StartError::NeedsToken)));
    assert!(matches!(Proxy::bind(options(Tls::InFront, false)).await, Err(StartError::NeedsToken)));
    assert!(matches!(Proxy::bind(options(Tls::Plain, true)).await, Err(StartError::NeedsTls)));
    assert!(Proxy::bind(options(own(), true)).await.is_ok());
    assert!(Proxy::bind(options(Tls::InFront, true)).await.is_ok());
}

#[tokio::test]
async fn the_certificate_is_made_once_and_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("new");
    let options =
        || Options::new(Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), tls: Tls::SelfSigned(inner.clone()) });
    let world = World::with(options(), |client| client).await;
    let file = inner.join("proxy.pem");
    let made = std::fs::read(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);

    let stream = TcpStream::connect(world.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = trusting(&made).connect(name, stream).await.unwrap();
    let reply = converse(stream, &request("GET", "/v1/api/iserver/accounts", &[], "")).await;
    assert_eq!(reply.status, 200, "{reply:?}");

    Proxy::bind(options()).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), made);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(matches!(Proxy::bind(options()).await, Err(StartError::Certificate(_))), "others may know the key");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&file, "damaged").unwrap();
    assert!(matches!(Proxy::bind(options()).await, Err(StartError::Certificate(_))));
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let make = || rcgen::generate_simple_self_signed(["ibkr.example".to_owned()]).unwrap();
    let (made, other) = (make(), make());
    let certificates = write("certificate.pem", &made.cert.pem());
    let options = |key: &str| {
        let tls = Tls::Own { certificates: certificates.clone(), key: write("key.pem", key) };
        let listen = Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), tls };
        Options { allowed_hosts: vec!["ibkr.example".into()], ..Options::new(listen) }
    };
    for key in [other.signing_key.serialize_pem(), made.cert.pem(), String::new()] {
        assert!(matches!(Proxy::bind(options(&key)).await, Err(StartError::Certificate(_))));
    }
    let world = World::with(options(&made.signing_key.serialize_pem()), |client| client).await;
    let stream = trusting(made.cert.pem())
        .connect(ServerName::try_from("ibkr.example").unwrap(), TcpStream::connect(world.address).await.unwrap());
    let ask = request("GET", "/v1/api/iserver/accounts", &[("Host", "ibkr.example")], "");
    assert_eq!(converse(stream.await.unwrap(), &ask).await.status, 200);
}

/// Speaks TLS with whoever shows this certificate.
fn trusting(pem: impl AsRef<[u8]>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_ref()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    TlsConnector::from(Arc::new(config.with_no_client_auth()))
}

#[tokio::test]
async fn a_unix_socket_is_for_its_owner_only_and_goes_with_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.sock");
    let mut world = World::with(Options::new(Listen::Unix(path.clone())), |client| client).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = request("GET", "/v1/api/iserver/accounts", &[], "");
    let reply = converse(UnixStream::connect(&path).await.unwrap(), &ask).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let foreign = request("GET", "/v1/api/iserver/accounts", &[("Host", "evil.example")], "");
    assert_eq!(converse(UnixStream::connect(&path).await.unwrap(), &foreign).await.status, 403);

    let second = Proxy::bind(Options::new(Listen::Unix(path.clone()))).await;
    assert!(matches!(second, Err(StartError::Socket { .. })), "one that is served is not taken over");
    world.stop().await;
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    assert!(Proxy::bind(Options::new(Listen::Unix(path.clone()))).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(Proxy::bind(Options::new(Listen::Unix(path))).await.is_ok(), "what nobody serves any more is replaced");
}

#[tokio::test]
async fn only_the_peers_that_are_named_are_served() {
    let peers = |net: &str| Options { peers: vec![net.parse().unwrap()], ..plain() };
    let world = World::with(peers("10.0.0.0/8"), |client| client).await;
    assert_eq!(world.get("/v1/api/iserver/accounts").await.status, 0);
    let world = World::with(peers("127.0.0.0/8"), |client| client).await;
    assert_eq!(world.get("/v1/api/iserver/accounts").await.status, 200);
}
