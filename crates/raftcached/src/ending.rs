//! Why a node ends: signals, what was asked for over the admin HTTP, and clients that may.

use std::path::PathBuf;

use anyhow::Context as _;
use frontend::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// An operator's request by HTTP.
#[derive(Debug)]
pub(crate) enum Request {
    /// The same as SIGTERM.
    Drain,
    /// Become a new replica that begins with the state in this file.
    BeginFrom(PathBuf),
}

/// Why the node is to end.
#[derive(Debug)]
pub(crate) enum Ending {
    Signal(SignalKind),
    Request(Request),
    /// A client's `shutdown` (`-A`).
    Client(Shutdown),
}

/// Where requests are made; the first one counts.
#[derive(Debug, Clone)]
pub(crate) struct Requests(mpsc::Sender<Request>);

impl Requests {
    /// Takes effect after the answer has gone out; void if another one came first.
    pub(crate) fn make(&self, request: Request) {
        let _ = self.0.try_send(request);
    }
}

/// All that can end the node from outside.
#[derive(Debug)]
pub(crate) struct Endings {
    interrupt: Signal,
    terminate: Signal,
    /// memcached's graceful end.
    user1: Signal,
    requests: mpsc::Receiver<Request>,
    clients: mpsc::UnboundedReceiver<Shutdown>,
    /// Held, so that there may be no client that can ask.
    from_clients: mpsc::UnboundedSender<Shutdown>,
}

impl Endings {
    /// Takes over SIGINT, SIGTERM and SIGUSR1.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub(crate) fn new() -> anyhow::Result<(Self, Requests)> {
        let (sender, requests) = mpsc::channel(1);
        let interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let user1 = signal(SignalKind::user_defined1()).context("SIGUSR1")?;
        // The first that comes ends the node; no reply waits for what comes behind it.
        let (from_clients, clients) = mpsc::unbounded_channel();
        let endings = Self { interrupt, terminate, user1, requests, clients, from_clients };
        Ok((endings, Requests(sender)))
    }

    /// Where clients that may end the node say so.
    pub(crate) fn for_clients(&self) -> mpsc::UnboundedSender<Shutdown> {
        self.from_clients.clone()
    }

    /// The next reason to end.
    pub(crate) async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.interrupt.recv() => Ending::Signal(SignalKind::interrupt()),
            _ = self.terminate.recv() => Ending::Signal(SignalKind::terminate()),
            _ = self.user1.recv() => Ending::Signal(SignalKind::user_defined1()),
            Some(shutdown) = self.clients.recv() => Ending::Client(shutdown),
            Some(request) = self.requests.recv() => Ending::Request(request),
        }
    }

    /// The next signal: whoever sends one more wants the end at once.
    pub(crate) async fn signal(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.user1.recv() => SignalKind::user_defined1(),
        }
    }
}
