//! One connection to or from a peer, encrypted or not, and who is at its other end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

use crate::tls::node_name;
use crate::world::Wire;

/// What both ends of a connection read and write.
pub(crate) struct PeerStream {
    io: Io,
    /// One of the connections that may be open; given back with the stream.
    _permit: Option<OwnedSemaphorePermit>,
}

enum Io {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The node of this name: its certificate says so.
    Certified(String),
    /// Somebody; nothing is known without TLS.
    Anybody,
}

impl Caller {
    /// Whether who calls may be the node called `name`.
    pub(crate) fn may_be(&self, name: &str) -> bool {
        match self {
            Self::Certified(certified) => certified == name,
            Self::Anybody => true,
        }
    }
}

impl PeerStream {
    pub(crate) fn plain(stream: Wire, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { io: Io::Plain(stream), _permit: permit }
    }

    pub(crate) fn tls(
        stream: impl Into<TlsStream<Wire>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { io: Io::Tls(Box::new(stream.into())), _permit: permit }
    }

    /// Who is at the other end, as far as it is known.
    pub(crate) fn caller(&self) -> Caller {
        let Io::Tls(stream) = &self.io else { return Caller::Anybody };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        // The handshake took no certificate without a name; the empty one is nobody's.
        Caller::Certified(certificates.first().and_then(node_name).unwrap_or_default())
    }
}

impl Connected for PeerStream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
