//! `watch`, and what others see of this connection's requests.

use std::sync::Arc;

use engine::{Command, Missing};
use protocol::{ProtocolError, ReplyTo, WatchTopics};

use super::{Need, Session};
use crate::backend::Backend;
use crate::pending::Watched;
use crate::watch::{self, Store};

impl<B: Backend> Session<B> {
    /// `watch`: no more requests are taken.
    pub(super) fn watch(
        &mut self,
        topics: Option<WatchTopics>,
        reply_to: ReplyTo,
    ) -> Result<(), Need> {
        self.in_order()?;
        let shared = &self.context.shared;
        let error = match topics {
            _ if shared.options.watch_refused => ProtocolError::WatchNotAllowed,
            None => ProtocolError::UnknownCommand,
            Some(topics) => match shared.watchers.add(topics) {
                None => ProtocolError::TooManyWatchers,
                watcher => {
                    self.watcher = watcher;
                    reply_to.done(self.output.bytes());
                    return Ok(());
                }
            },
        };
        reply_to.error(error, self.output.bytes());
        Ok(())
    }

    /// A key was read: `Ok` with the length of its value, or why it is not there.
    pub(super) fn show_fetch(&self, key: &[u8], found: Result<usize, Missing>) {
        self.context.shared.watchers.fetched(key, found, self.fd);
    }

    /// What is to be shown of a store once its outcome is known, if anybody wants to see it.
    pub(super) fn watched(&self, command: &Command<'_>) -> Option<Box<Watched>> {
        let shared = &self.context.shared;
        if !shared.watchers.wants(WatchTopics::MUTATIONS) {
            return None;
        }
        let (mode, key, value, cas) = if let Command::Store { mode, key, value, cas, .. } = *command
        {
            (mode, key, value, cas)
        } else if let Command::MetaStore(store) = command {
            (store.mode, store.key, store.value, store.cas)
        } else {
            return None;
        };
        let name = watch::name_of(mode, cas.is_some());
        let store = Store { key: key.into(), name, value_len: value.len(), fd: self.fd };
        Some(Box::new(Watched { shared: Arc::clone(shared), store }))
    }
}
