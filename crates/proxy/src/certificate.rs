//! The certificate that the proxy shows.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::options::Tls;

/// Certificate and private key, in the folder of [`Tls::SelfSigned`].
const FILE: &str = "proxy.pem";

/// Returns what speaks TLS with clients; `None` for plain HTTP.
pub(crate) fn acceptor(tls: &Tls) -> io::Result<Option<TlsAcceptor>> {
    match tls {
        Tls::Plain | Tls::InFront => Ok(None),
        Tls::Own { certificates, key } => configure(&read(certificates)?, &read(key)?).map(Some),
        Tls::SelfSigned(folder) => {
            let path = folder.join(FILE);
            if !path.exists() {
                generate(folder, &path)?;
            }
            check_private(&path)?;
            let pem = read(&path)?;
            configure(&pem, &pem).map(Some)
        }
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    fs::read(path).map(Zeroizing::new).map_err(named)
}

fn configure(certificates: &[u8], key: &[u8]) -> io::Result<TlsAcceptor> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let certificates = certificates.map_err(|error| unusable("certificate", &error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable("private key", &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| unusable("certificate", &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unusable(what: &str, error: &dyn std::error::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the {what} is unusable: {error}"))
}

/// Makes a key and its certificate. Two proxies that start at once end up with the same.
fn generate(folder: &Path, path: &Path) -> io::Result<()> {
    create_private(folder)?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    // Readable for its owner only, from the first moment on.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(made.cert.pem().as_bytes())?;
    file.write_all(Zeroizing::new(made.signing_key.serialize_pem()).as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

/// A private key that others can read or replace proves nothing.
#[cfg(unix)]
fn check_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    if fs::metadata(path)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let why = format!("{} is not its owner's alone: chmod 600", path.display());
    Err(io::Error::new(ErrorKind::PermissionDenied, why))
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> io::Result<()> {
    Ok(())
}

fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
