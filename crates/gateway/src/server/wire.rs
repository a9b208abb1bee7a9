//! Connections, encrypted or not.

use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::server::TlsStream;

/// A connection on which HTTP is spoken.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Ends it with a reset (RFC 9293 section 3.5.2), where a drop ends it in order.
    fn reset(self) -> io::Result<()>;
}

impl Wire for Pin<Box<TimeoutStream<TcpStream>>> {
    fn reset(self) -> io::Result<()> {
        self.as_ref().get_ref().get_ref().set_zero_linger()
    }
}

impl<W: Wire> Wire for TlsStream<W> {
    fn reset(self) -> io::Result<()> {
        self.into_inner().0.reset()
    }
}
