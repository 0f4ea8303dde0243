//! Meta commands.

use engine::{Command, UnixMillis};
use protocol::{
    KEY_LEN_MAX, KeyBuffer, MetaArithmetic, MetaDelete, MetaGet, MetaKey, MetaReply, MetaStatus,
    MetaStore, ProtocolError, ReplyTo,
};

use super::{Need, Session};
use crate::backend::Backend;
use crate::lower;
use crate::pending::meta::{Answer, Asked, Shown, hit};
use crate::pending::{self, Kind};
use crate::server::Shared;
use crate::stats::prefixes::Asked as Prefix;

impl<B: Backend> Session<B> {
    /// Any of them but `mn`.
    pub(super) fn meta(
        &mut self,
        reply_to: ReplyTo,
        execute: impl FnOnce(&mut Self, MetaReply) -> Result<(), Need>,
    ) -> Result<(), Need> {
        // The parser gives each dialect its own.
        let ReplyTo::Meta(reply) = reply_to else {
            reply_to.error(ProtocolError::UnknownCommand, self.output.bytes());
            return Ok(());
        };
        execute(self, reply)?;
        self.context.counters.cmd_meta.add(1);
        Ok(())
    }

    /// `mg`: a read, unless it may change something.
    pub(super) fn meta_get(
        &mut self,
        get: &MetaGet<'_>,
        reply: MetaReply,
        len: usize,
    ) -> Result<(), Need> {
        let mut buffer = new_buffer();
        let key = get.key.bytes(&mut buffer);
        let command = lower::meta_get(get, key);
        let touches = command.touch.is_some();
        let usage = if touches {
            // The log decides in any case; nothing that a read could prove is asked for.
            let now = UnixMillis(Shared::unix_seconds() * 1000);
            self.backend.look(key, now, !get.no_bump).map(|(_, usage)| usage)
        } else {
            let at = match self.read_at(len)? {
                Ok(at) => at,
                Err(error) => return self.unavailable(error, ReplyTo::Meta(reply)),
            };
            match self.backend.look(key, at, !get.no_bump) {
                Ok((item, usage)) if !command.changes(&item, at) => {
                    self.count_meta_get(true);
                    self.note_hit(key, item.value().len());
                    let shown = Shown::read(&item, usage, at);
                    hit(reply, item, &shown, get.unless_cas, &mut self.output);
                    return Ok(());
                }
                Err(why) if command.vivify.is_none() => {
                    self.count_meta_get(false);
                    self.note_miss(key, why);
                    reply.status(MetaStatus::En, key, self.output.bytes());
                    return Ok(());
                }
                seen => seen.map(|(_, usage)| usage),
            }
        };
        let (unless_cas, usage) = (get.unless_cas, usage.unwrap_or_default());
        let asked = Asked::Get { unless_cas, touches, usage };
        self.propose_meta(&Command::MetaGet(command), reply, key, asked)
    }

    /// `ms`.
    pub(super) fn meta_store(
        &mut self,
        store: &MetaStore<'_>,
        reply: MetaReply,
    ) -> Result<(), Need> {
        let mut buffer = new_buffer();
        let key = store.key.bytes(&mut buffer);
        self.change_meta(&lower::meta_store(store, key), reply, key)?;
        self.count_prefix(key, Prefix::Set);
        self.context.counters.cmd_set.add(1);
        Ok(())
    }

    /// `md`.
    pub(super) fn meta_delete(
        &mut self,
        delete: &MetaDelete<'_>,
        reply: MetaReply,
    ) -> Result<(), Need> {
        let mut buffer = new_buffer();
        let key = delete.key.bytes(&mut buffer);
        let command = lower::meta_delete(delete, key);
        self.change_unless_missing(&command, reply, key)?;
        self.count_prefix(key, Prefix::Delete);
        Ok(())
    }

    /// `ma`.
    pub(super) fn meta_arithmetic(
        &mut self,
        arithmetic: &MetaArithmetic<'_>,
        reply: MetaReply,
    ) -> Result<(), Need> {
        let mut buffer = new_buffer();
        let key = arithmetic.key.bytes(&mut buffer);
        let command = lower::meta_arithmetic(arithmetic, key);
        if arithmetic.initial.is_some() {
            self.change_meta(&command, reply, key)
        } else {
            self.change_unless_missing(&command, reply, key)
        }
    }

    /// `me`: not a use of the item.
    pub(super) fn meta_debug(
        &mut self,
        key: &MetaKey<'_>,
        reply: MetaReply,
        len: usize,
    ) -> Result<(), Need> {
        let mut buffer = new_buffer();
        let key = key.bytes(&mut buffer);
        let at = match self.read_at(len)? {
            Ok(at) => at,
            Err(error) => return self.unavailable(error, ReplyTo::Meta(reply)),
        };
        let bytes = self.output.bytes();
        match self.backend.look(key, at, false) {
            Err(_) => reply.status(MetaStatus::En, key, bytes),
            Ok((item, usage)) => {
                let shown = Shown::read(&item, usage, at);
                reply.debug_item(&shown.of_item(&item), THE_CLASS, lower::total_len(&item), bytes);
            }
        }
        Ok(())
    }

    /// A change of an item that is not there is answered without a log entry.
    fn change_unless_missing(
        &mut self,
        command: &Command<'_>,
        reply: MetaReply,
        key: &[u8],
    ) -> Result<(), Need> {
        if self.is_missing(key) {
            let outcome = engine::Outcome::NotFound;
            pending::count(Kind::of(command), &outcome, &self.context.counters);
            reply.status(MetaStatus::Nf, key, self.output.bytes());
            return Ok(());
        }
        self.change_meta(command, reply, key)
    }

    fn change_meta(
        &mut self,
        command: &Command<'_>,
        reply: MetaReply,
        key: &[u8],
    ) -> Result<(), Need> {
        self.propose_meta(command, reply, key, Asked::Change(Kind::of(command)))
    }

    fn propose_meta(
        &mut self,
        command: &Command<'_>,
        reply: MetaReply,
        key: &[u8],
        asked: Asked,
    ) -> Result<(), Need> {
        let key = if reply.wants_key() { key } else { &[] };
        let watched = self.watched(command);
        let answer =
            || pending::Answer::Meta(Answer { reply, key: key.into(), asked }).watched(watched);
        self.propose(command, ReplyTo::Meta(reply), answer)
    }

    fn count_meta_get(&self, hit: bool) {
        let counters = &self.context.counters;
        counters.cmd_get.add(1);
        if hit { counters.get_hits.add(1) } else { counters.get_misses.add(1) }
    }
}

fn new_buffer() -> KeyBuffer {
    [0; KEY_LEN_MAX]
}

/// All items count as one slab class, as in `stats items`.
const THE_CLASS: u32 = 1;
