//! Takes connections of peers; a slow or a hostile one is in nobody's way.
//!
//! ```text
//!   listener ──▶ handshakes, each with a deadline ──▶ queue ──▶ server
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use crate::dial::tls_cause;
use crate::refusals::{Refusal, Refusals};
use crate::stream::PeerStream;
use crate::tls::{PeerTls, reason};
use crate::world::{Listen, Listener, Wire};

/// The one that listens.
pub(crate) struct Acceptor {
    listener: Box<dyn Listen>,
    tls: Option<Arc<PeerTls>>,
    refusals: Arc<Refusals>,
    permits: Arc<Semaphore>,
    handshakes: JoinSet<()>,
    /// Oldest in front.
    under_way: VecDeque<AbortHandle>,
    ready: mpsc::Sender<PeerStream>,
}

impl Acceptor {
    /// Who listens, and what comes of it.
    ///
    /// # Errors
    ///
    /// If the listener cannot be used.
    pub(crate) fn new(
        listener: Listener,
        tls: Option<Arc<PeerTls>>,
        refusals: Arc<Refusals>,
    ) -> io::Result<(Self, impl Stream<Item = Result<PeerStream, Infallible>>)> {
        let listener: Box<dyn Listen> = match listener {
            Listener::Other(listener) => listener,
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Box::new(TcpListener::from_std(listener)?)
            }
        };
        let (ready, streams) = mpsc::channel(READY_MAX);
        let acceptor = Self {
            listener,
            tls,
            refusals,
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            handshakes: JoinSet::new(),
            under_way: VecDeque::new(),
            ready,
        };
        Ok((acceptor, ReceiverStream::new(streams).map(Ok)))
    }

    /// Runs until dropped, whatever the system or the peers do.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => self.begin(stream, address),
                    Err(error) => {
                        // Out of descriptors, most likely: they come back, a loop at full speed
                        // would only take time from heartbeats.
                        self.refusals.log(Refusal::Accept, format_args!("accepting peers: {error}"));
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = self.handshakes.join_next() => {}
            }
        }
    }

    fn begin(&mut self, stream: Wire, address: SocketAddr) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let why = format_args!("{address}: {CONNECTIONS_MAX} connections of peers are open");
            self.refusals.log(Refusal::Crowd, why);
            return;
        };
        self.make_room();
        let (tls, refusals) = (self.tls.clone(), Arc::clone(&self.refusals));
        let ready = self.ready.clone();
        let handle = self.handshakes.spawn(async move {
            let stream = timeout(HANDSHAKE_TIMEOUT, shake_hands(tls.as_deref(), stream, permit));
            match stream.await {
                // The server is gone only when the node is.
                Ok(Ok(stream)) => drop(ready.send(stream).await),
                Ok(Err(error)) => tell(&refusals, address, &error),
                Err(_) => {
                    let why = format_args!("{address}: no handshake in {HANDSHAKE_TIMEOUT:?}");
                    refusals.log(Refusal::Handshake, why);
                }
            }
        });
        self.under_way.push_back(handle);
    }

    /// Gives up on the oldest handshake when there are too many: peers need milliseconds, whoever
    /// holds connections without speaking must not keep them out.
    fn make_room(&mut self) {
        if self.under_way.len() < HANDSHAKES_MAX {
            return;
        }
        self.under_way.retain(|handle| !handle.is_finished());
        if HANDSHAKES_MAX <= self.under_way.len()
            && let Some(oldest) = self.under_way.pop_front()
        {
            oldest.abort();
            let why = format_args!("{HANDSHAKES_MAX} handshakes at once: the oldest is given up");
            self.refusals.log(Refusal::Crowd, why);
        }
    }
}

impl Listen for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Wire, SocketAddr)>> {
        Box::pin(async {
            let (stream, address) = Self::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok((Wire::Tcp(stream), address))
        })
    }
}

async fn shake_hands(
    tls: Option<&PeerTls>,
    stream: Wire,
    permit: OwnedSemaphorePermit,
) -> io::Result<PeerStream> {
    let Some(tls) = tls else { return Ok(PeerStream::plain(stream, Some(permit))) };
    let stream = TlsAcceptor::from(tls.server()).accept(stream).await?;
    Ok(PeerStream::tls(stream, Some(permit)))
}

/// Who hangs up without a word only wanted to know whether somebody listens.
fn tell(refusals: &Refusals, address: SocketAddr, error: &io::Error) {
    if let Some(error) = tls_cause(error) {
        let why = reason(error);
        refusals.log(Refusal::Handshake, format_args!("peer {address} is refused: {why}"));
    }
}

/// Several for each of the peers that a cluster can have, and a reserve for those that restart.
const CONNECTIONS_MAX: usize = 512;
const HANDSHAKES_MAX: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that the server has not looked at yet.
const READY_MAX: usize = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
