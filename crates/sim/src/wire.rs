//! The nodes' side of the network: what a socket and a listener are to them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use replication::world::{Listen, Listener, Net, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::network::{EndId, HostId, Network};

/// The network as one host sees it.
pub(crate) struct HostNet {
    pub(crate) network: Network,
    pub(crate) host: HostId,
}

/// The port that all nodes have for peers.
pub(crate) const PEER_PORT: u16 = 21211;

/// The peer address of a host.
pub(crate) fn address(host: HostId) -> String {
    format!("n{}:{PEER_PORT}", host + 1)
}

fn host_at(address: &str) -> Option<HostId> {
    let (name, _) = address.split_once(':')?;
    name.strip_prefix('n')?.parse::<usize>().ok()?.checked_sub(1)
}

impl Net for HostNet {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Wire>> {
        let (network, from) = (self.network.clone(), self.host);
        let to = host_at(address);
        Box::pin(async move {
            let to = to.ok_or(io::ErrorKind::NotFound)?;
            let id = network.state.lock().connect(from, to);
            // Owned from here on: dropped, it is hung up.
            let stream = Stream { network, id };
            std::future::poll_fn(|cx| stream.network.state.lock().poll_opened(id, cx)).await?;
            Ok(Wire::Other(Box::new(stream)))
        })
    }
}

impl HostNet {
    /// Listens for peers from now on.
    pub(crate) fn listen(&self) -> Listener {
        self.network.state.lock().listen(self.host);
        let (network, host) = (self.network.clone(), self.host);
        Listener::Other(Box::new(Backlog { network, host }))
    }
}

struct Backlog {
    network: Network,
    host: HostId,
}

impl Listen for Backlog {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Wire, SocketAddr)>> {
        Box::pin(async {
            let network = self.network.clone();
            let accepted =
                std::future::poll_fn(|cx| network.state.lock().poll_accept(self.host, cx));
            let stream = Stream { id: accepted.await, network: self.network.clone() };
            let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            Ok((Wire::Other(Box::new(stream)), nowhere))
        })
    }
}

struct Stream {
    network: Network,
    id: EndId,
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.network.state.lock().poll_read(self.id, cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.network.state.lock().poll_write(self.id, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.state.lock().finish(self.id);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.network.state.lock().drop_end(self.id);
    }
}
