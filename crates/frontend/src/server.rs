//! Accepts clients and spreads them over the I/O threads.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::connection;
use crate::counters::{AllCounters, Counters, Totals};
use crate::listener::{Accepted, ListenError, Listener};
use crate::options::{DRAIN_AT_ONCE, Options};
use crate::stats::prefixes::Prefixes;

/// One node's client side: a cheap handle, there before the first client and after the last.
#[derive(Debug, Clone)]
pub struct Server(Arc<Shared>);

impl Server {
    /// Prepares to serve; nothing is opened yet.
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Shared::new(options)))
    }

    /// What clients have done so far; zero before they can connect. From any thread.
    pub fn figures(&self) -> Figures {
        let shared = &self.0;
        Figures {
            version: shared.options.compat.version(),
            uptime_s: shared.started.elapsed().as_secs(),
            threads: shared.open.len(),
            connections_max: shared.options.connections_max,
            connections_open: shared.open_count(),
            accepted_count: shared.accepted_count.load(Ordering::Relaxed),
            rejected_count: shared.rejected_count.load(Ordering::Relaxed),
            unaccepting_count: shared.unaccepting_count.load(Ordering::Relaxed),
            totals: shared.counters.totals(),
        }
    }

    /// Serves clients on `listeners` until `shutdown` is ready and all of them are gone. To be
    /// called once.
    ///
    /// Opens the listeners; to be called when the node can answer. Accepting happens in the
    /// caller's runtime; connections are served on [`Options::threads`] threads of their own.
    ///
    /// Shutdown: addresses are closed, requests that have arrived are answered, connections are
    /// closed, over [`Options::drain_time`], and whatever is not finished
    /// [`Options::drain_timeout`] later is cut off.
    ///
    /// # Errors
    ///
    /// If an address cannot be opened or a thread cannot be started. Once it serves it does not
    /// fail.
    pub async fn run<B: Backend>(
        self,
        listeners: Vec<Listener>,
        backend: B,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let shared = self.0;
        for listener in &listeners {
            listener.listen(shared.options.backlog)?;
        }
        let (done, mut all_done) = mpsc::channel::<()>(1);
        let mut inboxes = Vec::new();
        for thread in 0..shared.open.len() {
            let (inbox, accepted) = mpsc::channel(INBOX_LEN);
            inboxes.push(inbox);
            let io_thread = IoThread {
                accepted,
                backend: backend.clone(),
                context: Context::new(&shared, thread),
                _done: done.clone(),
            };
            io_thread.start()?;
        }
        drop(done);

        let mut acceptors = JoinSet::new();
        for listener in listeners {
            let acceptor = Acceptor {
                listener,
                backend: backend.clone(),
                shared: Arc::clone(&shared),
                inboxes: inboxes.clone(),
            };
            acceptors.spawn(acceptor.run());
        }
        drop(inboxes);

        shutdown.await;
        acceptors.shutdown().await;
        shared.start_draining();
        // Each thread ends by itself within the drain timeout, and drops its sender.
        let _ = all_done.recv().await;
        Ok(())
    }
}

/// The numbers of `stats` that are not the backend's, at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// What `version` answers.
    pub version: &'static str,
    /// Seconds since [`Server::new`].
    pub uptime_s: u64,
    /// I/O threads.
    pub threads: usize,
    /// Connections that there may be at the same time.
    pub connections_max: usize,
    /// Connections that there are.
    pub connections_open: usize,
    /// Connections ever served.
    pub accepted_count: u64,
    /// Connections refused because there were too many.
    pub rejected_count: u64,
    /// Connections closed because the node must not take new clients.
    pub unaccepting_count: u64,
    /// What was asked on them.
    pub totals: Totals,
}

/// Why clients cannot be served at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An address cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A thread cannot be started.
    #[error("cannot start an I/O thread")]
    Thread(#[from] io::Error),
}

/// What all I/O threads and acceptors know together.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) counters: AllCounters,
    pub(crate) prefixes: Prefixes,
    /// Connections open, by thread.
    pub(crate) open: Vec<AtomicUsize>,
    /// Connections ever served.
    pub(crate) accepted_count: AtomicU64,
    /// Connections refused because there were too many.
    pub(crate) rejected_count: AtomicU64,
    /// Connections closed because the node must not take new clients.
    pub(crate) unaccepting_count: AtomicU64,
    pub(crate) started: Instant,
    drain: Notify,
    draining: OnceLock<Draining>,
}

/// Hands out the moments at which connections close.
#[derive(Debug)]
struct Draining {
    began: Instant,
    /// Between two connections.
    step: Duration,
    turns: AtomicU32,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        let thread_count = options.threads.max(1);
        Self {
            prefixes: Prefixes::new(options.prefix_delimiter, options.detail_enabled),
            options,
            counters: AllCounters::new(thread_count),
            open: std::iter::repeat_with(AtomicUsize::default).take(thread_count).collect(),
            accepted_count: AtomicU64::new(0),
            rejected_count: AtomicU64::new(0),
            unaccepting_count: AtomicU64::new(0),
            started: Instant::now(),
            drain: Notify::new(),
            draining: OnceLock::new(),
        }
    }

    /// Connections open on all threads.
    pub(crate) fn open_count(&self) -> usize {
        self.open.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// When the connection that asks is to finish what it has begun and close; `None` while the
    /// node is not shutting down. To be asked once: each answer is another connection's turn.
    pub(crate) fn take_turn_to_close(&self) -> Option<Instant> {
        let draining = self.draining.get()?;
        let turn = draining.turns.fetch_add(1, Ordering::Relaxed);
        let wait = draining.step.saturating_mul(turn).min(self.options.drain_time);
        Some(draining.began + wait)
    }

    /// Ready when draining starts. Once polled, it wakes its task even if not polled again.
    pub(crate) fn drain_started(&self) -> tokio::sync::futures::Notified<'_> {
        self.drain.notified()
    }

    pub(crate) fn start_draining(&self) {
        let open = u32::try_from(self.open_count()).unwrap_or(u32::MAX);
        let many = DRAIN_AT_ONCE < self.open_count();
        let step = if many { self.options.drain_time / open } else { Duration::ZERO };
        let draining = Draining { began: Instant::now(), step, turns: AtomicU32::new(0) };
        // Fails only if it has begun already.
        let _ = self.draining.set(draining);
        self.drain.notify_waiters();
    }

    /// Seconds since 1970, for `stats` alone.
    pub(crate) fn unix_seconds() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }
}

/// One I/O thread's view of the rest.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    /// The counters that this thread alone may add to.
    pub(crate) counters: Arc<Counters>,
    thread: usize,
}

impl Context {
    pub(crate) fn new(shared: &Arc<Shared>, thread: usize) -> Self {
        Self { shared: Arc::clone(shared), counters: shared.counters.of(thread), thread }
    }

    fn open(&self) -> Option<&AtomicUsize> {
        self.shared.open.get(self.thread)
    }
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
struct Slot(Context);

impl Slot {
    fn take(context: Context) -> Self {
        if let Some(open) = context.open() {
            open.fetch_add(1, Ordering::Relaxed);
        }
        context.shared.accepted_count.fetch_add(1, Ordering::Relaxed);
        Self(context)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(open) = self.0.open() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Serves the connections given to it, on a runtime and thread of its own.
struct IoThread<B> {
    accepted: mpsc::Receiver<(Accepted, Slot)>,
    backend: B,
    context: Context,
    /// Dropped at the end of the thread, which tells [`run`].
    _done: mpsc::Sender<()>,
}

impl<B: Backend> IoThread<B> {
    fn start(self) -> io::Result<()> {
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
                accepted = self.accepted.recv() => match accepted {
                    Some((stream, slot)) => self.spawn(&mut connections, stream, slot),
                    None => break,
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        // No acceptor is left: the node is shutting down, and has said so to the connections.
        let drained = async { while connections.join_next().await.is_some() {} };
        let options = &self.context.shared.options;
        let limit = options.drain_time + options.drain_timeout;
        if tokio::time::timeout(limit, drained).await.is_err() {
            tracing::warn!(thread = self.context.thread, ?limit, "connections cut off at shutdown");
        }
    }

    fn spawn(&self, connections: &mut JoinSet<()>, stream: Accepted, slot: Slot) {
        let backend = self.backend.clone();
        let context = self.context.clone();
        // An error here is the client's going away, or a connection reset: there is nobody to tell.
        match stream {
            Accepted::Tcp(stream) => {
                if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                    connections.spawn(async move {
                        let _ = connection::serve(stream, backend, context).await;
                        drop(slot);
                    });
                }
            }
            Accepted::Unix(stream) => {
                if let Ok(stream) = tokio::net::UnixStream::from_std(stream) {
                    connections.spawn(async move {
                        let _ = connection::serve(stream, backend, context).await;
                        drop(slot);
                    });
                }
            }
        }
    }
}

/// Accepts on one address and gives each connection to the thread with the fewest.
struct Acceptor<B> {
    listener: Listener,
    backend: B,
    shared: Arc<Shared>,
    inboxes: Vec<mpsc::Sender<(Accepted, Slot)>>,
}

impl<B: Backend> Acceptor<B> {
    async fn run(self) {
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

    async fn place(&self, stream: Accepted) {
        if !self.backend.accepting() {
            self.shared.unaccepting_count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.shared.options.connections_max <= self.shared.open_count() {
            self.shared.rejected_count.fetch_add(1, Ordering::Relaxed);
            refuse(stream);
            return;
        }
        let fewest = (0..self.inboxes.len()).min_by_key(|thread| {
            self.shared.open.get(*thread).map(|open| open.load(Ordering::Relaxed))
        });
        let Some(thread) = fewest else { return };
        let slot = Slot::take(Context::new(&self.shared, thread));
        if let Some(inbox) = self.inboxes.get(thread) {
            // Fails only if the thread has ended, at shutdown; the connection is closed then.
            let _ = inbox.send((stream, slot)).await;
        }
    }
}

/// Tells a client that there are too many, as far as its socket takes it at once.
fn refuse(stream: Accepted) {
    use std::io::Write;
    let _ = match stream {
        Accepted::Tcp(mut stream) => stream.write(TOO_MANY),
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
/// Accepted connections that wait for their thread; more wait in the kernel.
const INBOX_LEN: usize = 64;
/// After a failure to accept, and before the next attempt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the backend is asked whether it takes clients, if none comes to make us ask.
const ACCEPTING_POLL: Duration = Duration::from_millis(200);
