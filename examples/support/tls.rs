//! TLS for the gateway's server, with a certificate that lives as long as the process.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate of this machine's loopback address, signed by itself: only who is told to trust it does.
pub struct Certificate {
    der: CertificateDer<'static>,
    server_config: Arc<ServerConfig>,
}

impl Certificate {
    pub fn generate() -> Self {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).expect("these are good names");
        let der = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![der.clone()], key);
        Self { der, server_config: Arc::new(config.expect("the key is the certificate's")) }
    }

    /// For clients to trust.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_config)
    }
}
