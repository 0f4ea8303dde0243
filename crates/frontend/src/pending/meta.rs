//! Answers to meta commands.

use engine::{Item, Marks, Outcome, Seen, UnixMillis, Usage};
use protocol::{MetaItem, MetaReply, MetaStatus, ProtocolError, ReplyTo};

use super::{Kind, count};
use crate::counters::Counters;
use crate::output::Output;

/// What to do with the outcome of a meta command.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: MetaReply,
    /// What the item is called, if the client wants to be told; otherwise empty.
    pub(crate) key: Box<[u8]>,
    pub(crate) asked: Asked,
}

/// Which meta command it was.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    Get {
        unless_cas: Option<u64>,
        touches: bool,
        /// Of the item on this node, before.
        usage: Usage,
    },
    /// `ma`, `md` or `ms`.
    Change(Kind),
}

impl Answer {
    pub(super) fn tell(self, outcome: Outcome, output: &mut Output, counters: &Counters) {
        match self.asked {
            Asked::Get { unless_cas, touches, usage } => {
                count_get(&outcome, touches, counters);
                // Also if there is no memory for one that was to be made, as in memcached.
                if matches!(outcome, Outcome::NotFound | Outcome::OutOfMemory) {
                    return self.reply.status(MetaStatus::En, &self.key, output.bytes());
                }
                let Outcome::Seen(seen) = outcome else {
                    return unexpected(self.reply, output);
                };
                let shown = Shown::of(&seen, usage, self.reply);
                hit(self.reply, seen.item, &shown, unless_cas, output);
            }
            Asked::Change(kind) => {
                count(kind, &outcome, counters);
                self.tell_change(outcome, output);
            }
        }
    }

    fn tell_change(self, outcome: Outcome, output: &mut Output) {
        let Self { reply, key, .. } = self;
        let (reply_to, bytes) = (ReplyTo::Meta(reply), output.bytes());
        let status = match outcome {
            Outcome::Seen(seen) => {
                let shown = Shown::of(&seen, Usage::default(), reply);
                // memcached says what it has made, whether it is to be quiet or not.
                let reply = if seen.won { reply.loud() } else { reply };
                return reply.number(number(&seen.item), &shown.of_item(&seen.item), bytes);
            }
            Outcome::StoredLen { cas, value_len } => {
                let size = usize::try_from(value_len).unwrap_or(usize::MAX);
                let item = MetaItem { key: &key, cas: cas.0, size, ..NOTHING };
                return reply.item(MetaStatus::Hd, 0, &item, bytes);
            }
            Outcome::Number { value, cas } => {
                // Made, and gone at once.
                let item = MetaItem { key: &key, cas: cas.0, ttl_s: Some(0), ..NOTHING };
                return reply.loud().number(value, &item, bytes);
            }
            Outcome::Deleted => MetaStatus::Hd,
            Outcome::NotStored => MetaStatus::Ns,
            Outcome::Exists => MetaStatus::Ex,
            Outcome::NotFound => MetaStatus::Nf,
            Outcome::NonNumeric => return reply_to.non_numeric(bytes),
            Outcome::TooLarge => return reply_to.error(ProtocolError::TooLarge, bytes),
            Outcome::OutOfMemory => return reply_to.out_of_memory(bytes),
            Outcome::Stored(_)
            | Outcome::Touched { .. }
            | Outcome::Value(_)
            | Outcome::Done
            | _ => return unexpected(reply, output),
        };
        reply.status(status, &key, bytes);
    }
}

/// Never a miss: a client would take that for an item that is gone.
fn unexpected(reply: MetaReply, output: &mut Output) {
    ReplyTo::Meta(reply).server_error("unexpected outcome", output.bytes());
}

/// What an answer shows of an item beside what the item itself says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) usage: Usage,
    pub(crate) ttl_s: Option<u64>,
    pub(crate) won: bool,
}

impl Shown {
    /// Of an item that was only read, at `at`.
    pub(crate) fn read(item: &Item, usage: Usage, at: UnixMillis) -> Self {
        Self { usage, ttl_s: ttl_s(item.deadline(), at), won: false }
    }

    fn of(seen: &Seen, usage: Usage, reply: MetaReply) -> Self {
        let before = reply.wants_ttl_before();
        let deadline = if before { seen.deadline_before() } else { seen.item.deadline() };
        Self { usage, ttl_s: ttl_s(deadline, seen.now), won: seen.won }
    }

    pub(crate) fn of_item(self, item: &Item) -> MetaItem<'_> {
        let marks = item.marks();
        MetaItem {
            key: item.key(),
            key_is_base64: marks.has(Marks::BASE64),
            flags: item.flags(),
            cas: item.cas_unique().0,
            size: item.value().len(),
            ttl_s: self.ttl_s,
            idle_s: self.usage.idle_s,
            fetched: self.usage.fetched,
            won: self.won,
            stale: marks.has(Marks::STALE),
            token_sent: marks.has(Marks::TOKEN_SENT),
        }
    }
}

/// Appends the answer of an `mg` that has found `item`.
pub(crate) fn hit(
    reply: MetaReply,
    item: Item,
    shown: &Shown,
    unless_cas: Option<u64>,
    output: &mut Output,
) {
    let meta = shown.of_item(&item);
    if reply.wants_value() && unless_cas != Some(meta.cas) {
        reply.item(MetaStatus::Va, meta.size, &meta, output.bytes());
        output.value(item, b"\r\n");
    } else {
        reply.item(MetaStatus::Hd, 0, &meta, output.bytes());
    }
}

fn count_get(outcome: &Outcome, touches: bool, counters: &Counters) {
    let hit = u64::from(matches!(outcome, Outcome::Seen(_)));
    counters.cmd_get.add(1);
    counters.get_hits.add(hit);
    counters.get_misses.add(1 - hit);
    if touches {
        counters.cmd_touch.add(1);
        counters.touch_hits.add(hit);
        counters.touch_misses.add(1 - hit);
    }
}

/// Seconds left at `at`, begun ones included: right after it was set, a ttl is what was asked for.
fn ttl_s(deadline: Option<UnixMillis>, at: UnixMillis) -> Option<u64> {
    deadline.map(|deadline| deadline.0.saturating_sub(at.0).div_ceil(1000))
}

/// The number that arithmetic has left as an item's value, padded with blanks.
fn number(item: &Item) -> u64 {
    let digits = item.value().trim_ascii_end();
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

const NOTHING: MetaItem<'_> = MetaItem {
    key: b"",
    key_is_base64: false,
    flags: 0,
    cas: 0,
    size: 0,
    ttl_s: None,
    idle_s: 0,
    fetched: false,
    won: false,
    stale: false,
    token_sent: false,
};
