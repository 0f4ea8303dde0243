//! Requests of several keys, which may have to stop half-way.

use engine::{Missing, UnixMillis};
use protocol::ReplyTo;

use super::{Need, Partial, Session};
use crate::backend::Backend;
use crate::lower;
use crate::pending::Answer;
use crate::stats::prefixes::Asked;

impl<B: Backend> Session<B> {
    pub(super) fn get_and_touch(
        &mut self,
        exptime: i64,
        keys: protocol::Keys<'_>,
        reply_to: ReplyTo,
    ) -> Result<(), Need> {
        let done = match self.partial {
            Partial::GetAndTouch { proposed_count } => proposed_count,
            Partial::None | Partial::Dump(_) | Partial::Get { .. } => 0,
        };
        if done == 0 {
            // So that the items of one request alone are collected.
            self.in_order()?;
        }
        let mut keys = keys.skip(done).peekable();
        if keys.peek().is_none() {
            reply_to.end(self.output.bytes());
        }
        let mut proposed_count = done;
        while let Some(key) = keys.next() {
            if let Some(error) = self.no_room.take() {
                let counters = &self.context.counters;
                self.pending.abandon_touch(reply_to, error, &mut self.output, counters);
                break;
            }
            let name = if let ReplyTo::Binary(_) = reply_to { key } else { &[] };
            let last = keys.peek().is_none();
            let command = lower::get_and_touch(key, exptime);
            let answer = || Answer::Touch { reply_to, key: name.into(), last };
            if let Err(need) = self.propose(&command, reply_to, answer) {
                self.partial = Partial::GetAndTouch { proposed_count };
                return Err(need);
            }
            proposed_count += 1;
        }
        self.partial = Partial::None;
        Ok(())
    }

    /// Answers `keys`; returns the last key answered if there is no room for the others yet.
    pub(super) fn get<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k [u8]>,
        reply_to: ReplyTo,
        at: UnixMillis,
    ) -> Option<&'k [u8]> {
        let (mut hit_count, mut miss_count) = (0, 0);
        let mut last = None;
        for key in keys {
            match self.backend.get(key, at) {
                Ok(item) => {
                    hit_count += 1;
                    self.note_hit(key, item.value().len());
                    self.output.hit(reply_to, key, item);
                }
                Err(why) => {
                    miss_count += 1;
                    self.note_miss(key, why);
                    reply_to.miss(key, self.output.bytes());
                }
            }
            if self.output.is_full()
                && let ReplyTo::Text(_) = reply_to
            {
                last = Some(key);
                break;
            }
        }
        if last.is_none() {
            reply_to.end(self.output.bytes());
        }
        let counters = &self.context.counters;
        counters.cmd_get.add(hit_count + miss_count);
        counters.get_hits.add(hit_count);
        counters.get_misses.add(miss_count);
        last
    }

    pub(super) fn count_prefix(&self, key: &[u8], asked: Asked) {
        self.context.shared.prefixes.count(key, asked);
    }

    /// A key was read, for those who want to know more than how often.
    pub(super) fn note_hit(&self, key: &[u8], value_len: usize) {
        self.count_prefix(key, Asked::Hit);
        self.show_fetch(key, Ok(value_len));
    }

    /// As [`Session::note_hit`]. memcached says how many misses were of items that had been there.
    pub(super) fn note_miss(&self, key: &[u8], why: Missing) {
        self.count_prefix(key, Asked::Miss);
        self.show_fetch(key, Err(why));
        let counters = &self.context.counters;
        match why {
            Missing::Absent => {}
            Missing::Expired => counters.get_expired.add(1),
            Missing::Flushed => counters.get_flushed.add(1),
        }
    }

    /// Goes on with a get whose first keys have filled the output.
    ///
    /// The time is still that of its beginning: what this node's copy proved then, it still proves.
    pub(super) fn resume_get(
        &mut self,
        input: &[u8],
        from: usize,
        line_len: usize,
        reply_to: ReplyTo,
        at: UnixMillis,
    ) {
        let rest = input.get(from..line_len).unwrap_or_default();
        let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
        let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
        let keys = rest.split(|byte| *byte == b' ').filter(|key| !key.is_empty());
        self.partial = match self.get(keys, reply_to, at) {
            None => Partial::None,
            Some(last) => {
                let from = last.as_ptr_range().end.addr() - input.as_ptr().addr();
                Partial::Get { from, line_len, reply_to, at }
            }
        };
    }
}
