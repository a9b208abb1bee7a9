//! A certificate for the time of a test.

use std::fmt;
use std::io;
use std::sync::Arc;

use der::pem::{self, LineEnding};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A self-signed certificate for `localhost`, `127.0.0.1` and `::1`, with its private key. A client must be told to trust
/// it.
///
/// `Debug` shows nothing of either.
#[derive(Clone)]
pub struct Certificate {
    der: CertificateDer<'static>,
    pem: String,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Generates a key and its certificate.
    ///
    /// # Errors
    /// Those of the libraries that do it; none is expected.
    pub fn generate() -> io::Result<Self> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let generated = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let der = generated.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(generated.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(vec![der.clone()], key))
            .map_err(io::Error::other)?;
        let pem = pem::encode_string("CERTIFICATE", LineEnding::LF, &der);
        let pem = pem.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { der, pem, config: Arc::new(config) })
    }

    /// Returns the certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}
