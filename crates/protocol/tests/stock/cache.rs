//! A cache of a few lines, without time: what is stored with a deadline that is still to come
//! stays for ever, what is stored with one that has passed is gone.

use std::collections::BTreeMap;

use protocol::{
    Direction, Initial, KEY_LEN_MAX, Keys, Limits, MetaReply, MetaStatus, Parser, ProtocolError,
    ReplyTo, Request, StatsDetail, StatsTopic, StoreMode,
};

pub(crate) struct Cache {
    pub(crate) items: BTreeMap<Vec<u8>, Item>,
    /// As in memcached: goes up by one with every change.
    pub(crate) cas: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Item {
    pub(crate) flags: u32,
    pub(crate) value: Vec<u8>,
    pub(crate) cas: u64,
    /// What meta commands know of it.
    pub(crate) key_is_base64: bool,
    pub(crate) fetched: bool,
    pub(crate) stale: bool,
    pub(crate) token_sent: bool,
}

impl Cache {
    /// An empty one that has given away cas uniques up to `cas`.
    pub(crate) fn new(cas: u64) -> Self {
        Self { items: BTreeMap::new(), cas }
    }

    /// Everything that a connection would be sent.
    pub(crate) fn serve(&mut self, stream: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut parser = Parser::new();
        let mut front = 0;
        while let Some(input) = stream.get(front..) {
            match parser.parse(input, &Limits::default()) {
                Ok(None) => break,
                Ok(Some(parsed)) => {
                    let quit = parsed.request == Request::Quit;
                    self.answer(parsed.request, parsed.reply_to, &mut out);
                    front += parsed.consumed;
                    if quit {
                        break;
                    }
                }
                Err(refusal) => {
                    if let Some(key) = refusal.delete {
                        self.items.remove(key.bytes(&mut [0; KEY_LEN_MAX]));
                    }
                    refusal.reply_to.error(refusal.error, &mut out);
                    front += refusal.consumed;
                    if refusal.close {
                        break;
                    }
                }
            }
        }
        out
    }

    fn answer(&mut self, request: Request<'_>, reply_to: ReplyTo, out: &mut Vec<u8>) {
        if let ReplyTo::Meta(reply) = reply_to {
            return self.meta(&request, reply, out);
        }
        match request {
            Request::Get { keys } => self.get(keys, 0, reply_to, out),
            Request::GetAndTouch { exptime, keys } => self.get(keys, exptime, reply_to, out),
            Request::Store { mode, key, flags, exptime, value, cas } => {
                let item = Item { flags, value: value.into(), ..Item::default() };
                let before = self.cas;
                self.store(mode, key, item, cas, reply_to, out);
                // An append keeps the deadline that is there.
                let replaced = !matches!(mode, StoreMode::Append | StoreMode::Prepend);
                if exptime < 0 && replaced && before < self.cas {
                    self.items.remove(key);
                }
            }
            Request::Delete { key, cas } => match self.items.get(key) {
                None => reply_to.not_found(out),
                Some(item) if cas.is_some_and(|cas| cas != item.cas) => reply_to.exists(out),
                Some(_) => {
                    self.items.remove(key);
                    reply_to.deleted(out);
                }
            },
            Request::Arithmetic { direction, key, delta, initial, cas } => {
                self.arithmetic(direction, key, delta, (initial, cas), reply_to, out);
            }
            Request::Touch { key, exptime } => match self.items.get(key) {
                None => reply_to.not_found(out),
                Some(item) => {
                    reply_to.touched(item.flags, item.cas, out);
                    if exptime < 0 {
                        self.items.remove(key);
                    }
                }
            },
            Request::FlushAll { .. } => {
                self.items.clear();
                self.cas += 1;
                reply_to.done(out);
            }
            Request::Version => reply_to.version("1.6.18", out),
            Request::Noop | Request::Quit | Request::Verbosity { .. } => reply_to.done(out),
            Request::Stats { topic } => stats(topic, reply_to, out),
            Request::Shutdown { .. } => {
                reply_to.error(ProtocolError::ShutdownNotEnabled, out);
            }
            Request::Accepted | _ => {
                reply_to.server_error("not known to this test", out);
            }
        }
    }

    fn meta(&mut self, request: &Request<'_>, reply: MetaReply, out: &mut Vec<u8>) {
        match request {
            Request::MetaGet(get) => self.meta_get(get, reply, out),
            Request::MetaStore(store) => self.meta_store(store, reply, out),
            Request::MetaDelete(delete) => self.meta_delete(delete, reply, out),
            Request::MetaArithmetic(arithmetic) => self.meta_arithmetic(arithmetic, reply, out),
            Request::MetaNoop => ReplyTo::Meta(reply).done(out),
            // `me` of an item is full of numbers that differ; only misses are compared.
            Request::MetaDebug { .. } | _ => reply.status(MetaStatus::En, b"", out),
        }
    }

    fn get(&mut self, keys: Keys<'_>, exptime: i64, reply_to: ReplyTo, out: &mut Vec<u8>) {
        for key in keys {
            match self.items.get_mut(key) {
                Some(item) => {
                    reply_to.hit(key, item.flags, item.cas, &item.value, out);
                    item.fetched = true;
                }
                None => reply_to.miss(key, out),
            }
            if exptime < 0 {
                self.items.remove(key);
            }
        }
        reply_to.end(out);
    }

    fn store(
        &mut self,
        mode: StoreMode,
        key: &[u8],
        mut new: Item,
        cas: Option<u64>,
        reply_to: ReplyTo,
        out: &mut Vec<u8>,
    ) {
        let old = self.items.get(key);
        match (cas, old) {
            (Some(_), None) if mode == StoreMode::Set => return reply_to.not_found(out),
            (Some(cas), Some(old)) if cas != old.cas => return reply_to.exists(out),
            _ => {}
        }
        match (mode, old) {
            (StoreMode::Set, _) | (StoreMode::Add, None) | (StoreMode::Replace, Some(_)) => {}
            (StoreMode::Append, Some(old)) => {
                let value = [&old.value[..], &new.value].concat();
                new = Item { flags: old.flags, value, ..Item::default() };
            }
            (StoreMode::Prepend, Some(old)) => {
                let value = [&new.value[..], &old.value].concat();
                new = Item { flags: old.flags, value, ..Item::default() };
            }
            _ => return reply_to.not_stored(out),
        }
        self.cas += 1;
        new.cas = self.cas;
        self.items.insert(key.into(), new);
        reply_to.stored(self.cas, out);
    }

    fn arithmetic(
        &mut self,
        direction: Direction,
        key: &[u8],
        delta: u64,
        (initial, cas): (Option<Initial>, Option<u64>),
        reply_to: ReplyTo,
        out: &mut Vec<u8>,
    ) {
        let Some(item) = self.items.get_mut(key) else {
            let Some(initial) = initial else { return reply_to.not_found(out) };
            self.cas += 1;
            let value = initial.value.to_string().into_bytes();
            self.items.insert(key.into(), Item { value, cas: self.cas, ..Item::default() });
            return reply_to.number(initial.value, self.cas, out);
        };
        // In this order: lengths, then the cas unique, then what is in the value.
        if !matches!(item.value.len(), 1..=20) {
            return reply_to.non_numeric(out);
        }
        if cas.is_some_and(|cas| cas != item.cas) {
            return reply_to.exists(out);
        }
        let text = String::from_utf8_lossy(&item.value);
        // A blank ends the number, whatever follows.
        let number = text.split_ascii_whitespace().next().unwrap_or_default();
        let Ok(number) = number.parse::<u64>() else { return reply_to.non_numeric(out) };
        let number = match direction {
            Direction::Decrement => number.saturating_sub(delta),
            Direction::Increment => number.wrapping_add(delta),
        };
        // A shorter number keeps the length of the one before.
        item.value = format!("{number:<width$}", width = item.value.len()).into_bytes();
        self.cas += 1;
        item.cas = self.cas;
        reply_to.number(number, self.cas, out);
    }
}

fn stats(topic: StatsTopic<'_>, reply_to: ReplyTo, out: &mut Vec<u8>) {
    if matches!(topic, StatsTopic::Detail(StatsDetail::On | StatsDetail::Off)) {
        reply_to.done(out);
    } else if topic == StatsTopic::Reset {
        reply_to.stats_reset(out);
    } else if matches!(topic, StatsTopic::CacheDump { .. }) {
        reply_to.stats_end(out);
    } else {
        reply_to.error(ProtocolError::UnknownStats, out);
    }
}
