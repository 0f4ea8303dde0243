//! A connection's place among those that there may be.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::registry::{Entry, Registered};
use crate::server::Context;
use crate::tls::ClientTls;

/// Counts one open connection, and shows it, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Slot {
    context: Context,
    registered: Registered,
    /// Whether it speaks TLS.
    tls: bool,
}

impl Slot {
    /// Takes a place on the thread of `context`.
    pub(crate) fn take(context: Context, registered: Registered, tls: bool) -> Self {
        if let Some(open) = context.open() {
            open.fetch_add(1, Ordering::Relaxed);
        }
        context.shared.accepted_count.fetch_add(1, Ordering::Relaxed);
        let entry = registered.entry();
        context
            .shared
            .watchers
            .connection(|| format!("type=conn_new {} cfd={}", entry.peer(), entry.fd()));
        Self { context, registered, tls }
    }

    /// What it speaks below the protocol; `None` for nothing.
    pub(crate) fn tls(&self) -> Option<Arc<ClientTls>> {
        self.context.shared.options.tls.clone().filter(|_| self.tls)
    }

    /// How others see the connection.
    pub(crate) fn entry(&self) -> Arc<Entry> {
        Arc::clone(self.registered.entry())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(open) = self.context.open() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
        let entry = self.registered.entry();
        self.context.shared.watchers.connection(|| {
            let (peer, reason, fd) = (entry.peer(), entry.end_reason(), entry.fd());
            format!("type=conn_close {peer} reason={reason} cfd={fd}")
        });
        self.context.shared.room.notify_waiters();
    }
}
