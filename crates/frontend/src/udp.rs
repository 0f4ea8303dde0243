//! Requests in datagrams (`-U`): off unless a listener asks for it.
//!
//! Each datagram begins with eight bytes, numbers in network order:
//!
//! | bytes | request | reply |
//! |---|---|---|
//! | 0..2 | the client's number of the request | the same |
//! | 2..4 | 0 | which datagram of the reply this is, from 0 |
//! | 4..6 | 1: requests of several datagrams are dropped | how many there are |
//! | 6..8 | reserved | 0 |
//!
//! What follows is a request as it would be on a connection of its own. A reply can be lost, and a
//! client that asks again because of it may have its write applied twice.
//!
//! # Source
//!
//! memcached's `doc/protocol.txt`, "UDP protocol".

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::connection;
use crate::output::OUTPUT_LEN_MAX;
use crate::registry::Registered;
use crate::server::Context;

/// Serves everybody who sends to `socket` until the node shuts down, and then those whose requests
/// have arrived.
pub(crate) async fn serve<B: Backend>(
    socket: UdpSocket,
    backend: B,
    context: Context,
    registered: Registered,
) {
    let socket = Arc::new(socket);
    let shared = Arc::clone(&context.shared);
    let mut drain = pin!(shared.drain_started());
    let mut exchanges = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM_LEN_MAX];
    loop {
        tokio::select! {
            () = &mut drain => break,
            Some(_) = exchanges.join_next(), if !exchanges.is_empty() => {}
            received = socket.recv_from(&mut datagram), if exchanges.len() < EXCHANGE_COUNT_MAX => {
                let Ok((len, client)) = received else {
                    tokio::time::sleep(FAILURE_PAUSE).await;
                    continue;
                };
                let request = datagram.get(..len).unwrap_or_default();
                if !backend.accepting() {
                    // Without an answer the client asks another node.
                    shared.unaccepting_count.fetch_add(1, Ordering::Relaxed);
                } else if let Some((number, request)) = request_in(request) {
                    let (socket, backend) = (Arc::clone(&socket), backend.clone());
                    let (context, entry) = (context.clone(), Arc::clone(registered.entry()));
                    let mut exchange = Exchange::new(request.to_vec(), &context);
                    exchanges.spawn(async move {
                        let _ = connection::serve(&mut exchange, backend, context, entry).await;
                        // What cannot be sent is lost, as datagrams are.
                        let _ = send(&socket, client, number, exchange.reply()).await;
                    });
                }
            }
        }
    }
    while exchanges.join_next().await.is_some() {}
}

/// The number of the request in a datagram, and the request; `None` if there is no whole one.
fn request_in(datagram: &[u8]) -> Option<([u8; 2], &[u8])> {
    let (header, request) = datagram.split_first_chunk::<HEADER_LEN>()?;
    let [high, low, _, _, count_high, count_low, _, _] = *header;
    let whole = [count_high, count_low] == [0, 1] && !request.is_empty();
    whole.then_some(([high, low], request))
}

async fn send(
    socket: &UdpSocket,
    client: SocketAddr,
    number: [u8; 2],
    reply: &[u8],
) -> io::Result<()> {
    let pieces = reply.chunks(REPLY_LEN_MAX - HEADER_LEN);
    let count = u16::try_from(pieces.len()).unwrap_or(u16::MAX);
    let mut datagram = Vec::with_capacity(REPLY_LEN_MAX);
    for (piece, index) in pieces.zip(0_u16..) {
        datagram.clear();
        datagram.extend_from_slice(&number);
        datagram.extend_from_slice(&index.to_be_bytes());
        datagram.extend_from_slice(&count.to_be_bytes());
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(piece);
        socket.send_to(&datagram, client).await?;
    }
    Ok(())
}

/// One request and its reply, as a connection sees them: the client says it and hangs up.
#[derive(Debug)]
struct Exchange {
    request: Vec<u8>,
    /// How much of it has been read.
    read_len: usize,
    reply: Vec<u8>,
    reply_len_max: usize,
    overflowed: bool,
}

impl Exchange {
    fn new(request: Vec<u8>, context: &Context) -> Self {
        // One reply, and what a connection may have waiting before it. At the most, as many
        // datagrams as can be numbered.
        let len = context.shared.options.item_len_max.saturating_add(OUTPUT_LEN_MAX);
        let reply_len_max = len.min(usize::from(u16::MAX) * (REPLY_LEN_MAX - HEADER_LEN));
        Self { request, read_len: 0, reply: Vec::new(), reply_len_max, overflowed: false }
    }

    fn reply(&self) -> &[u8] {
        if self.overflowed { TOO_LONG } else { &self.reply }
    }
}

impl AsyncRead for Exchange {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.request.get(self.read_len..).unwrap_or_default();
        let piece = rest.get(..buffer.remaining()).unwrap_or(rest);
        let len = piece.len();
        buffer.put_slice(piece);
        self.read_len += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Exchange {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.reply_len_max < self.reply.len() + bytes.len() {
            self.overflowed = true;
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        self.reply.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const TOO_LONG: &[u8] = b"SERVER_ERROR out of memory writing get response\r\n";
const HEADER_LEN: usize = 8;
/// Longest datagram sent, with its header: fits into a frame of Ethernet.
const REPLY_LEN_MAX: usize = 1400;
/// Longest datagram that there is.
const DATAGRAM_LEN_MAX: usize = 65_536;
/// Requests under way; more wait in the kernel, and are lost when that has no room.
const EXCHANGE_COUNT_MAX: usize = 256;
/// After a failure to receive.
const FAILURE_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
