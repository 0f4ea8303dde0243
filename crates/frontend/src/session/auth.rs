//! Who a client is: SASL PLAIN in binary, a first `set` in text.
//!
//! Until it has proven that, the parser lets nothing else through ([`protocol::Parser`]).
//!
//! # Source
//!
//! RFC 4616 (PLAIN); `process_bin_complete_sasl_auth` in memcached's `proto_bin.c`.

use protocol::{ProtocolError, ReplyTo};

use super::Session;
use crate::backend::Backend;
use crate::options::Auth;

impl<B: Backend> Session<B> {
    /// The `set` of `-Y`.
    pub(super) fn authenticate(&mut self, user: &[u8], password: &[u8], reply_to: ReplyTo) {
        if self.is_right(user, password) {
            reply_to.stored(0, self.output.bytes());
        } else {
            reply_to.error(ProtocolError::AuthFailed, self.output.bytes());
        }
    }

    /// SASL AUTH: the client may say it all at once, or ask to be asked.
    pub(super) fn sasl_auth(&mut self, mechanism: &[u8], data: &[u8], reply_to: ReplyTo) {
        self.sasl_started = mechanism == MECHANISM.as_bytes();
        if self.sasl_started && data.is_empty() {
            reply_to.sasl_continue(self.output.bytes());
        } else {
            self.sasl_step(data, reply_to);
        }
    }

    /// SASL STEP.
    pub(super) fn sasl_step(&mut self, data: &[u8], reply_to: ReplyTo) {
        let started = std::mem::take(&mut self.sasl_started);
        let said = plain(data).filter(|_| started);
        let (user, password) = said.unwrap_or_default();
        if self.is_right(user, password) && said.is_some() {
            reply_to.sasl("Authenticated", self.output.bytes());
        } else {
            reply_to.error(ProtocolError::AuthFailed, self.output.bytes());
        }
    }

    /// Lets the client in if it is. One that is in already stays in.
    fn is_right(&mut self, user: &[u8], password: &[u8]) -> bool {
        let right = match &self.context.shared.options.auth {
            Auth::Ascii(credentials) | Auth::Sasl(credentials) => credentials.check(user, password),
            Auth::None => false,
        };
        let counters = &self.context.counters;
        counters.auth_cmds.add(1);
        if right {
            self.parser.let_in();
        } else {
            counters.auth_errors.add(1);
        }
        right
    }
}

/// User and password: `[authzid] NUL authcid NUL password`. To act for somebody else is not
/// possible here.
fn plain(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (acts_for, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let itself = acts_for.is_empty() || acts_for == user;
    (itself && !user.is_empty() && !password.contains(&0)).then_some((user, password))
}

/// The one there is: what clients of caches speak.
pub(super) const MECHANISM: &str = "PLAIN";
