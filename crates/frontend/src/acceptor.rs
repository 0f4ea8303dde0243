//! Accepts clients and spreads them over the I/O threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::backend::Backend;
use crate::io_thread::Job;
use crate::listener::{Accepted, Listener};
use crate::registry::Registered;
use crate::server::{Context, Shared};
use crate::slot::Slot;

/// Accepts on one address and gives each connection to the thread with the fewest.
pub(crate) struct Acceptor<B> {
    listener: Listener,
    registered: Registered,
    backend: B,
    shared: Arc<Shared>,
    inboxes: Vec<mpsc::Sender<Job>>,
}

impl<B: Backend> Acceptor<B> {
    /// Prepares to accept on `listener`, which has been opened.
    pub(crate) fn new(
        listener: Listener,
        backend: B,
        shared: Arc<Shared>,
        inboxes: Vec<mpsc::Sender<Job>>,
    ) -> Self {
        let registered = shared.registry.add(listener.fd(), listener.address().into(), None);
        Self { listener, registered, backend, shared, inboxes }
    }

    /// Accepts until it is dropped.
    pub(crate) async fn run(self) {
        loop {
            if let Err(error) = self.accept_until_suspended().await {
                let address = self.listener.address();
                tracing::error!(%address, %error, "cannot accept clients");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // Where the address cannot be closed for a while, connections are closed instead.
            let suspended = !self.backend.accepting() && self.listener.suspend();
            while suspended && !self.backend.accepting() {
                tokio::time::sleep(ACCEPTING_POLL).await;
            }
            if let Err(error) = self.listener.listen(self.shared.options.backlog) {
                tracing::error!(%error, "cannot open the address again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    /// Accepts while the node may take clients; then closes the address, which stays reserved.
    async fn accept_until_suspended(&self) -> io::Result<()> {
        let incoming = self.listener.incoming()?;
        let mut poll = tokio::time::interval(ACCEPTING_POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if !self.shared.options.maxconns_fast && self.shared.is_full() {
                self.wait_for_room().await;
            }
            tokio::select! {
                accepted = incoming.accept() => match accepted {
                    Ok(stream) => self.place(stream).await,
                    Err(error) => pause_after(&error).await,
                },
                _ = poll.tick() => {}
            }
            if !self.backend.accepting() && self.listener.can_suspend() {
                return Ok(());
            }
        }
    }

    /// Accepts nothing while there are too many connections, as long as the node may take clients.
    async fn wait_for_room(&self) {
        let began = Instant::now();
        self.shared.listen_disabled_count.fetch_add(1, Ordering::Relaxed);
        while self.backend.accepting() {
            let room = self.shared.room.notified();
            if !self.shared.is_full() {
                break;
            }
            // Ready or not, it is looked at again.
            let _ = tokio::time::timeout(ACCEPTING_POLL, room).await;
        }
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.listen_disabled_us.fetch_add(us, Ordering::Relaxed);
    }

    async fn place(&self, stream: Accepted) {
        if !self.backend.accepting() {
            self.shared.unaccepting_count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.shared.options.maxconns_fast && self.shared.is_full() {
            self.shared.rejected_count.fetch_add(1, Ordering::Relaxed);
            refuse(stream);
            return;
        }
        let fewest = (0..self.inboxes.len()).min_by_key(|thread| {
            self.shared.open.get(*thread).map(|open| open.load(Ordering::Relaxed))
        });
        let Some(thread) = fewest else { return };
        let (fd, address) = stream.endpoint();
        let listener = Arc::clone(self.registered.entry());
        let registered = self.shared.registry.add(fd, address, Some(listener));
        let context = Context::new(&self.shared, thread);
        let slot = Slot::take(context, registered, self.listener.is_tls());
        if let Some(inbox) = self.inboxes.get(thread) {
            // Fails only if the thread has ended, at shutdown; the connection is closed then.
            let _ = inbox.send(Job::Connection(stream, slot)).await;
        }
    }
}

/// Tells a client that there are too many, as far as its socket takes it at once.
fn refuse(stream: Accepted) {
    use std::io::Write;
    let _ = match stream {
        Accepted::Tcp(mut stream, _) => stream.write(TOO_MANY),
        Accepted::Unix(mut stream) => stream.write(TOO_MANY),
    };
}

/// Out of descriptors or memory, accepting again at once would only fail again; a connection that
/// was reset before it was accepted is no reason to wait.
async fn pause_after(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
        tracing::warn!(%error, "cannot accept a client");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";
/// After a failure to accept, and before the next attempt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the backend is asked whether it takes clients, if none comes to make us ask.
const ACCEPTING_POLL: Duration = Duration::from_millis(200);
