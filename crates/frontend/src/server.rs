//! One node's client side: starts and ends it, and says what it does.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::acceptor::Acceptor;
use crate::backend::Backend;
use crate::budget::{Account, Budget};
use crate::counters::{AllCounters, Counters, Totals};
use crate::io_thread::{IoThread, Job};
use crate::listener::{Address, ListenError, Listener};
use crate::options::{DRAIN_AT_ONCE, Options};
use crate::registry::{ConnectionInfo, Registry};
use crate::stats::prefixes::Prefixes;
use crate::stats::settings::idle_setting;
use crate::tls::TlsError;
use crate::watch::Watchers;

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
            listen_disabled_count: shared.listen_disabled_count.load(Ordering::Relaxed),
            listen_disabled_us: shared.listen_disabled_us.load(Ordering::Relaxed),
            buffers_len: shared.budget.total(),
            totals: shared.counters.totals(),
        }
    }

    /// One of memcached's settings that are accepted and have no effect, as `stats settings` shows it.
    pub fn idle_setting(&self, name: &str) -> Option<&str> {
        idle_setting(&self.0.options, name)
    }

    /// As [`crate::ClientTls::reload`], beside the threads that serve; `Ok(false)` without TLS. Within a
    /// runtime.
    ///
    /// # Errors
    ///
    /// As [`crate::ClientTls::reload`].
    pub async fn refresh_certs(&self) -> Result<bool, TlsError> {
        self.0.refresh_certs().await
    }

    /// Shows `visit` every open connection and listener, in the order of descriptors. From any
    /// thread; connections come and go meanwhile.
    pub fn for_each_connection(&self, visit: &mut dyn FnMut(ConnectionInfo)) {
        self.0.for_each_connection(visit);
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
            if listener.is_tls() && shared.options.tls.is_none() {
                return Err(RunError::NoTls { address: listener.address().clone() });
            }
            listener.listen(shared.options.backlog)?;
        }
        shared.show_evictions(&backend);
        let (done, mut all_done) = mpsc::channel::<()>(1);
        let mut inboxes = Vec::new();
        for thread in 0..shared.open.len() {
            let (inbox, accepted) = mpsc::channel(INBOX_LEN);
            inboxes.push(inbox);
            let context = Context::new(&shared, thread);
            IoThread::new(accepted, backend.clone(), context, done.clone()).start()?;
        }
        drop(done);

        let mut acceptors = JoinSet::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            if let Some(socket) = listener.datagrams()? {
                let registered =
                    shared.registry.add(socket.as_raw_fd(), listener.address().into(), None);
                if let Some(inbox) = inboxes.get(number % inboxes.len()) {
                    // Fails only if the thread has ended, which it does not yet.
                    let _ = inbox.send(Job::Datagrams(socket, registered)).await;
                }
                continue;
            }
            let (backend, shared) = (backend.clone(), Arc::clone(&shared));
            let acceptor = Acceptor::new(listener, backend, shared, inboxes.clone());
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
    /// Connections closed, and datagrams dropped, because the node must not take new clients.
    pub unaccepting_count: u64,
    /// Times that no connection was accepted because there were too many.
    pub listen_disabled_count: u64,
    /// Microseconds that this lasted, all listeners together.
    pub listen_disabled_us: u64,
    /// Bytes that connections hold in buffers.
    pub buffers_len: usize,
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
    /// A listener is for TLS, and there is no certificate.
    #[error("cannot listen on {address}: TLS needs a certificate")]
    NoTls {
        /// The listener's address.
        address: Address,
    },
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
    pub(crate) watchers: Watchers,
    /// Connections open, by thread.
    pub(crate) open: Vec<AtomicUsize>,
    /// Connections ever served.
    pub(crate) accepted_count: AtomicU64,
    /// Connections refused because there were too many.
    pub(crate) rejected_count: AtomicU64,
    /// Connections closed, and datagrams dropped, because the node must not take new clients.
    pub(crate) unaccepting_count: AtomicU64,
    /// Times that accepting stopped because there were too many.
    pub(crate) listen_disabled_count: AtomicU64,
    /// How long that lasted.
    pub(crate) listen_disabled_us: AtomicU64,
    /// Tells those who wait for room that a connection has gone.
    pub(crate) room: Notify,
    /// What connections hold in buffers.
    pub(crate) budget: Arc<Budget>,
    pub(crate) started: Instant,
    pub(crate) registry: Arc<Registry>,
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
            watchers: Watchers::default(),
            budget: Arc::new(Budget::new(options.buffers_len_max, thread_count)),
            options,
            counters: AllCounters::new(thread_count),
            open: std::iter::repeat_with(AtomicUsize::default).take(thread_count).collect(),
            accepted_count: AtomicU64::new(0),
            rejected_count: AtomicU64::new(0),
            unaccepting_count: AtomicU64::new(0),
            listen_disabled_count: AtomicU64::new(0),
            listen_disabled_us: AtomicU64::new(0),
            room: Notify::new(),
            started: Instant::now(),
            registry: Arc::default(),
            drain: Notify::new(),
            draining: OnceLock::new(),
        }
    }

    /// From now on watchers see what is evicted from the copy of `backend`.
    pub(crate) fn show_evictions(self: &Arc<Self>, backend: &impl Backend) {
        // The copy outlives those who serve it.
        let shared = Arc::downgrade(self);
        backend.on_eviction(Box::new(move |item, usage, at| {
            if let Some(shared) = shared.upgrade() {
                shared.watchers.evicted(item, usage, at);
            }
        }));
    }

    /// Whether there may be no further connection.
    pub(crate) fn is_full(&self) -> bool {
        self.options.connections_max <= self.open_count()
    }

    /// Connections open on all threads.
    pub(crate) fn open_count(&self) -> usize {
        self.open.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Reads the certificates again, on a thread that may wait for the disk, and says whether they
    /// have changed; `Ok(false)` without TLS. The future is free of `self`, and holds nothing of it.
    ///
    /// # Errors
    ///
    /// As [`crate::ClientTls::reload`].
    pub(crate) fn refresh_certs(
        &self,
    ) -> impl Future<Output = Result<bool, TlsError>> + Send + use<> {
        let tls = self.options.tls.clone();
        async {
            let Some(tls) = tls else { return Ok(false) };
            // Fails only if it panicked: as good as a file that has not changed.
            tokio::task::spawn_blocking(move || tls.reload()).await.unwrap_or(Ok(false))
        }
    }

    /// Shows `visit` every open connection and listener, in the order of descriptors.
    pub(crate) fn for_each_connection(&self, visit: &mut dyn FnMut(ConnectionInfo)) {
        self.registry.for_each(visit);
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
    pub(crate) thread: usize,
}

impl Context {
    pub(crate) fn new(shared: &Arc<Shared>, thread: usize) -> Self {
        Self { shared: Arc::clone(shared), counters: shared.counters.of(thread), thread }
    }

    /// The account of a further connection on this thread.
    pub(crate) fn open_account(&self) -> Account {
        self.shared.budget.open(self.thread)
    }

    /// The number of connections open on this thread.
    pub(crate) fn open(&self) -> Option<&AtomicUsize> {
        self.shared.open.get(self.thread)
    }
}

/// Accepted connections that wait for their thread; more wait in the kernel.
const INBOX_LEN: usize = 64;
