//! What the cache makes of meta commands.

use protocol::{
    Direction, KEY_LEN_MAX, MetaArithmetic, MetaDelete, MetaGet, MetaItem, MetaReply, MetaStatus,
    MetaStore, StoreMode,
};

use crate::cache::{Cache, Item};

impl Cache {
    pub(crate) fn meta_get(&mut self, get: &MetaGet<'_>, reply: MetaReply, out: &mut Vec<u8>) {
        let mut buffer = [0; KEY_LEN_MAX];
        let key = get.key.bytes(&mut buffer);
        let made = get.vivify.is_some() && !self.items.contains_key(key);
        if made {
            self.cas += 1;
            self.items.insert(key.into(), Item { cas: self.cas, ..Item::default() });
        }
        let Some(item) = self.items.get_mut(key) else {
            return reply.status(MetaStatus::En, key, out);
        };
        let won = made || (item.stale && !item.token_sent);
        let shown = MetaItem { won, ..item.shown(key) };
        let status = if reply.wants_value() { MetaStatus::Va } else { MetaStatus::Hd };
        reply.item(status, item.value.len(), &shown, out);
        if reply.wants_value() {
            out.extend_from_slice(&item.value);
            out.extend_from_slice(b"\r\n");
        }
        item.token_sent |= won;
        item.fetched |= !get.no_bump;
    }

    pub(crate) fn meta_store(
        &mut self,
        store: &MetaStore<'_>,
        reply: MetaReply,
        out: &mut Vec<u8>,
    ) {
        let mut buffer = [0; KEY_LEN_MAX];
        let key = store.key.bytes(&mut buffer);
        let mut new = Item {
            flags: store.flags,
            value: store.value.into(),
            key_is_base64: store.key.is_base64(),
            ..Item::default()
        };
        let old = self.items.get(key);
        let refusal = match (store.mode, store.cas, old) {
            (StoreMode::Set, Some(_), None) => Some(MetaStatus::Nf),
            (StoreMode::Add, _, Some(_)) => Some(MetaStatus::Ns),
            (StoreMode::Append | StoreMode::Prepend | StoreMode::Replace, _, None) => {
                Some(MetaStatus::Ns)
            }
            (_, Some(cas), Some(old)) if store.invalidate && 0 < cas && cas < old.cas => {
                (new.stale, new.token_sent) = (true, old.token_sent);
                None
            }
            (_, Some(cas), Some(old)) if cas != old.cas => Some(MetaStatus::Ex),
            _ => None,
        };
        if let Some(status) = refusal {
            return reply.status(status, key, out);
        }
        match (store.mode, old) {
            (StoreMode::Append, Some(old)) => new.extend(old, &[&old.value, store.value]),
            (StoreMode::Prepend, Some(old)) => new.extend(old, &[store.value, &old.value]),
            _ => {}
        }
        self.cas += 1;
        new.cas = self.cas;
        reply.item(MetaStatus::Hd, 0, &new.shown(key), out);
        self.items.insert(key.into(), new);
    }

    pub(crate) fn meta_delete(
        &mut self,
        delete: &MetaDelete<'_>,
        reply: MetaReply,
        out: &mut Vec<u8>,
    ) {
        let mut buffer = [0; KEY_LEN_MAX];
        let key = delete.key.bytes(&mut buffer);
        let Some(item) = self.items.get_mut(key) else {
            return reply.status(MetaStatus::Nf, key, out);
        };
        if delete.cas.is_some_and(|cas| cas != item.cas) {
            return reply.status(MetaStatus::Ex, key, out);
        }
        reply.status(MetaStatus::Hd, key, out);
        if delete.mark_stale {
            self.cas += 1;
            (item.cas, item.stale, item.token_sent) = (self.cas, true, false);
        } else {
            self.items.remove(key);
        }
    }

    pub(crate) fn meta_arithmetic(
        &mut self,
        arithmetic: &MetaArithmetic<'_>,
        reply: MetaReply,
        out: &mut Vec<u8>,
    ) {
        let mut buffer = [0; KEY_LEN_MAX];
        let key = arithmetic.key.bytes(&mut buffer);
        let Some(item) = self.items.get_mut(key) else {
            let Some(initial) = arithmetic.initial else {
                return reply.status(MetaStatus::Nf, key, out);
            };
            self.cas += 1;
            let value = initial.value.to_string().into_bytes();
            let item = Item { value, cas: self.cas, ..Item::default() };
            reply.number(initial.value, &item.shown(key), out);
            self.items.insert(key.into(), item);
            return;
        };
        if item.value.is_empty() {
            return protocol::ReplyTo::Meta(reply).non_numeric(out);
        }
        if arithmetic.cas.is_some_and(|cas| cas != item.cas) {
            return reply.status(MetaStatus::Ex, key, out);
        }
        let text = String::from_utf8_lossy(&item.value);
        let number = text.split_ascii_whitespace().next().unwrap_or_default();
        let Ok(number) = number.parse::<u64>() else {
            return protocol::ReplyTo::Meta(reply).non_numeric(out);
        };
        let number = match arithmetic.direction {
            Direction::Decrement => number.saturating_sub(arithmetic.delta),
            Direction::Increment => number.wrapping_add(arithmetic.delta),
        };
        self.cas += 1;
        item.value = format!("{number:<width$}", width = item.value.len()).into_bytes();
        item.cas = self.cas;
        reply.number(number, &item.shown(key), out);
    }
}

impl Item {
    fn shown<'a>(&self, key: &'a [u8]) -> MetaItem<'a> {
        MetaItem {
            key,
            key_is_base64: self.key_is_base64,
            flags: self.flags,
            cas: self.cas,
            size: self.value.len(),
            ttl_s: None,
            idle_s: 0,
            fetched: self.fetched,
            won: false,
            stale: self.stale,
            token_sent: self.token_sent,
        }
    }

    /// The value grows; everything else is the old item's but for what memcached makes anew.
    fn extend(&mut self, old: &Self, parts: &[&[u8]; 2]) {
        *self = Self { flags: old.flags, value: parts.concat(), ..Self::default() };
    }
}
