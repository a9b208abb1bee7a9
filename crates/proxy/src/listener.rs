//! The listener: accepts connections on TCP and Unix sockets.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        _file: OwnFile,
    },
}

pub(crate) enum Stream {
    /// With the address that the client has connected to.
    Tcp(TcpStream, SocketAddr),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Listener {
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix { .. } => None,
        }
    }

    /// The next connection; `None` for one from a peer who is not among `peers`.
    pub(crate) async fn accept(&self, peers: &[IpNet]) -> io::Result<Option<Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let peer = peer.ip().to_canonical();
                let is_welcome = peers.is_empty() || peers.iter().any(|net| net.contains(&peer));
                let own = stream.local_addr()?;
                stream.set_nodelay(true)?;
                Ok(is_welcome.then_some(Stream::Tcp(stream, own)))
            }
            #[cfg(unix)]
            Self::Unix { listener, .. } => Ok(Some(Stream::Unix(listener.accept().await?.0))),
        }
    }
}

/// Listens on a socket that only its owner can use, from the first moment on: it is made in a folder that nobody else can
/// enter, and then moved.
#[cfg(unix)]
pub(crate) async fn bind_unix(path: &Path) -> io::Result<Listener> {
    use std::fs::{Permissions, rename, set_permissions};
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};

    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if UnixStream::connect(path).await.is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        _ => {}
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = tempfile::Builder::new().prefix(".ibkr").tempdir_in(parent)?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    set_permissions(&made, Permissions::from_mode(0o600))?;
    rename(&made, path)?;
    Ok(Listener::Unix { listener, _file: OwnFile(path.to_owned()) })
}

/// A file that goes with its owner.
#[cfg(unix)]
pub(crate) struct OwnFile(PathBuf);

#[cfg(unix)]
impl Drop for OwnFile {
    fn drop(&mut self) {
        // Nobody minds if it is gone already.
        let _ = std::fs::remove_file(&self.0);
    }
}
