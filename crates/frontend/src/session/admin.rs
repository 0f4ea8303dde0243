//! Requests about this node and not about items.

use protocol::{Compat, ProtocolError, ReplyTo, Request, StatsTopic};

use super::{Need, Session};
use crate::backend::Backend;
use crate::options::Shutdown;
use crate::pending::{Answer, Kind};
use crate::stats;

impl<B: Backend> Session<B> {
    /// Everything that is not about items.
    pub(super) fn administer(
        &mut self,
        request: &Request<'_>,
        reply_to: ReplyTo,
    ) -> Result<(), Need> {
        self.in_order()?;
        let shared = &self.context.shared;
        match *request {
            Request::Accepted | Request::MetaNoop | Request::Noop | Request::Verbosity { .. } => {
                reply_to.done(self.output.bytes())
            }
            Request::Authenticate { user, password } => {
                self.authenticate(user, password, reply_to);
            }
            Request::SaslAuth { mechanism, data } => self.sasl_auth(mechanism, data, reply_to),
            Request::SaslList => reply_to.sasl(super::auth::MECHANISM, self.output.bytes()),
            Request::SaslStep { data, .. } => self.sasl_step(data, reply_to),
            Request::Quit => {
                if let ReplyTo::Binary(_) = reply_to {
                    reply_to.done(self.output.bytes());
                }
                self.closing = true;
            }
            Request::Shutdown { graceful } => self.shutdown(graceful, reply_to),
            Request::Stats { topic: StatsTopic::CacheDump { .. } }
                if shared.options.dump_refused =>
            {
                reply_to.error(ProtocolError::CacheDumpNotAllowed, self.output.bytes());
            }
            Request::Stats { topic: StatsTopic::Reset } => {
                shared.counters.reset();
                shared.prefixes.clear();
                reply_to.stats_reset(self.output.bytes());
            }
            Request::Stats { topic } => {
                stats::encode(topic, &self.backend, shared, reply_to, self.output.bytes());
            }
            Request::Version => {
                reply_to.version(shared.options.compat.version(), self.output.bytes());
            }
            Request::Arithmetic { .. }
            | Request::CacheMemlimit { .. }
            | Request::Delete { .. }
            | Request::Dump { .. }
            | Request::FlushAll { .. }
            | Request::Get { .. }
            | Request::GetAndTouch { .. }
            | Request::MetaArithmetic(_)
            | Request::MetaDebug { .. }
            | Request::MetaDelete(_)
            | Request::MetaGet(_)
            | Request::MetaStore(_)
            | Request::RefreshCerts
            | Request::Store { .. }
            | Request::Touch { .. }
            | Request::Watch { .. }
            | _ => reply_to.error(ProtocolError::UnknownCommand, self.output.bytes()),
        }
        Ok(())
    }

    /// `cache_memlimit`: of the whole cluster, as all replicas must evict alike.
    pub(super) fn limit_memory(&mut self, megabytes: u32, reply_to: ReplyTo) -> Result<(), Need> {
        let memory_limit = u64::from(megabytes) * 1024 * 1024;
        let item_len_max = self.context.shared.options.item_len_max as u64;
        if memory_limit / 2 < item_len_max {
            self.in_order()?;
            reply_to.error(ProtocolError::MemlimitOutOfBounds, self.output.bytes());
            return Ok(());
        }
        let command = engine::Command::LimitMemory { memory_limit };
        self.propose(&command, reply_to, || Answer::Tell { reply_to, kind: Kind::Other })
    }

    /// `refresh_certs`, which waits for the disk elsewhere.
    pub(super) fn refresh_certs(&mut self, reply_to: ReplyTo) -> Result<(), Need> {
        self.in_order()?;
        if self.context.shared.options.tls.is_none() {
            reply_to.error(ProtocolError::UnknownCommand, self.output.bytes());
            return Ok(());
        }
        match self.certs.take() {
            None => return Err(Need::Certs),
            Some(Ok(_)) => reply_to.done(self.output.bytes()),
            Some(Err(why)) => reply_to.server_error(&why, self.output.bytes()),
        }
        Ok(())
    }

    fn shutdown(&mut self, graceful: Option<bool>, reply_to: ReplyTo) {
        let options = &self.context.shared.options;
        let error = match (&options.shutdown, graceful) {
            (Some(told), Some(graceful)) => {
                // Fails only if the node is ending already.
                let _ = told.send(if graceful { Shutdown::Graceful } else { Shutdown::Now });
                self.closing = true;
                return;
            }
            (Some(_), None) => ProtocolError::BadShutdownMode,
            (None, _) if options.compat == Compat::V1_6_18 => ProtocolError::ShutdownNotEnabled,
            (None, _) => ProtocolError::ShutdownNotEnabledServer,
        };
        reply_to.error(error, self.output.bytes());
    }
}
