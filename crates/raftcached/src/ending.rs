//! Why a node ends: signals, and what was asked for over the admin HTTP.

use std::path::PathBuf;

use anyhow::Context as _;
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
    requests: mpsc::Receiver<Request>,
}

impl Endings {
    /// Takes over SIGINT and SIGTERM.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub(crate) fn new() -> anyhow::Result<(Self, Requests)> {
        let (sender, requests) = mpsc::channel(1);
        let interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        Ok((Self { interrupt, terminate, requests }, Requests(sender)))
    }

    /// The next reason to end.
    pub(crate) async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.interrupt.recv() => Ending::Signal(SignalKind::interrupt()),
            _ = self.terminate.recv() => Ending::Signal(SignalKind::terminate()),
            Some(request) = self.requests.recv() => Ending::Request(request),
        }
    }

    /// The next signal: whoever sends one more wants the end at once.
    pub(crate) async fn signal(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }
}
