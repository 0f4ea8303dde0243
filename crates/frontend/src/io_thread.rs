//! Threads that serve connections, and nothing else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::connection;
use crate::listener::Accepted;
use crate::registry::Registered;
use crate::server::Context;
use crate::slot::Slot;
use crate::tls::{ClientTls, shake_hands};
use crate::udp;

/// Something for an I/O thread to serve.
#[derive(Debug)]
pub(crate) enum Job {
    Connection(Accepted, Slot),
    Datagrams(std::net::UdpSocket, Registered),
}

/// Serves the connections given to it, on a runtime and thread of its own.
pub(crate) struct IoThread<B> {
    jobs: mpsc::Receiver<Job>,
    backend: B,
    context: Context,
    /// Dropped at the end of the thread, which tells [`crate::Server::run`].
    _done: mpsc::Sender<()>,
}

impl<B: Backend> IoThread<B> {
    /// Prepares a thread that serves what comes out of `jobs`, and drops `done` at its end.
    pub(crate) fn new(
        jobs: mpsc::Receiver<Job>,
        backend: B,
        context: Context,
        done: mpsc::Sender<()>,
    ) -> Self {
        Self { jobs, backend, context, _done: done }
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// If the system has no thread for it.
    pub(crate) fn start(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name(format!("io-{}", self.context.thread))
            .spawn(move || runtime.block_on(self.run()))?;
        Ok(())
    }

    async fn run(mut self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                job = self.jobs.recv() => match job {
                    Some(Job::Connection(stream, slot)) => {
                        self.spawn(&mut connections, stream, slot);
                    }
                    Some(Job::Datagrams(socket, registered)) => {
                        if let Ok(socket) = UdpSocket::from_std(socket) {
                            let (backend, context) = (self.backend.clone(), self.context.clone());
                            connections.spawn(udp::serve(socket, backend, context, registered));
                        }
                    }
                    None => break,
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        // No acceptor is left: the node is shutting down, and has said so to the connections.
        let drained = async { while connections.join_next().await.is_some() {} };
        let options = &self.context.shared.options;
        let limit = options.drain_time + options.drain_timeout;
        if timeout(limit, drained).await.is_err() {
            tracing::warn!(thread = self.context.thread, ?limit, "connections cut off at shutdown");
        }
    }

    fn spawn(&self, connections: &mut JoinSet<()>, stream: Accepted, slot: Slot) {
        // An error here is the client's going away: there is nobody to tell.
        match stream {
            Accepted::Tcp(stream, _) => {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    if let Some(tls) = slot.tls() {
                        connections.spawn(self.serve_tls(stream, slot, tls));
                    } else {
                        connections.spawn(self.serve(stream, slot));
                    }
                }
            }
            Accepted::Unix(stream) => {
                if let Ok(stream) = UnixStream::from_std(stream) {
                    connections.spawn(self.serve(stream, slot));
                }
            }
        }
    }

    fn serve<S>(&self, stream: S, slot: Slot) -> impl Future<Output = ()> + use<S, B>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let serve =
            connection::serve(stream, self.backend.clone(), self.context.clone(), slot.entry());
        async move {
            // An error is a connection reset.
            let _ = serve.await;
            drop(slot);
        }
    }

    fn serve_tls(
        &self,
        stream: TcpStream,
        slot: Slot,
        tls: Arc<ClientTls>,
    ) -> impl Future<Output = ()> + use<B> {
        let (backend, context, entry) = (self.backend.clone(), self.context.clone(), slot.entry());
        async move {
            // In a box: what a handshake needs is given back when it is done.
            let stream = Box::pin(shake_hands(&tls, stream, &context)).await;
            if let Some(mut stream) = stream {
                let served = connection::serve(&mut stream, backend, context.clone(), entry).await;
                match served {
                    // The client is told that this is the end, and not somebody's cutting it short.
                    Ok(()) => drop(timeout(GOODBYE, stream.shutdown()).await),
                    Err(error) if is_tls(&error) => context.counters.ssl_proto_errors.add(1),
                    // A connection reset.
                    Err(_) => {}
                }
            }
            drop(slot);
        }
    }
}

/// Whether it was what the client sent that was no TLS.
fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>())
}

/// For a client to take the last record.
const GOODBYE: Duration = Duration::from_millis(100);
