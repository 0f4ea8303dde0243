//! What the meta commands do to the items.
//!
//! # Source
//!
//! memcached 1.6.45, `proto_text.c` and `do_store_item`; `doc/protocol.txt`, "Meta Commands".

use super::{Cache, Made};
use crate::item::{Deadline, Marks};
use crate::outcome::Seen;
use crate::shared::hash;
use crate::store::Found;
use crate::{
    CasUnique, Expiry, Item, MetaArithmetic, MetaDelete, MetaGet, MetaStore, Outcome, StoreMode,
};

impl Cache {
    /// `mg`: of all who ask at the same time, the first in the log wins.
    pub(super) fn meta_get(&mut self, get: &MetaGet<'_>, position: CasUnique) -> Outcome {
        let Some(found) = self.live(get.key) else {
            let Some(expiry) = get.vivify else { return Outcome::NotFound };
            return self.vivify(get, get.touch.unwrap_or(expiry), position);
        };
        let Some(slot) = self.store.slot(&found) else { return Outcome::NotFound };
        let won = get.wins(found.marks, found.deadline, self.times.now);
        if won {
            self.store.mark(&found, found.marks.with(Marks::TOKEN_SENT));
        }
        let deadline = self.touch_if(get.touch, &found, position);
        self.seen(Item { deadline, ..slot.item() }, won, found.deadline)
    }

    /// `ms`.
    pub(super) fn meta_store(&mut self, store: &MetaStore<'_>, position: CasUnique) -> Outcome {
        let MetaStore { mode, key, value, .. } = *store;
        let stored = self.store(store, true, position);
        let Outcome::Stored(cas) = stored else { return stored };
        let joined = matches!(mode, StoreMode::Append | StoreMode::Prepend);
        let value_len = if joined { self.value_len(key) } else { None };
        // The length of a value is a u32 wherever it is written down.
        let value_len = u32::try_from(value_len.unwrap_or(value.len())).unwrap_or(u32::MAX);
        Outcome::StoredLen { cas, value_len }
    }

    /// `md`.
    pub(super) fn meta_delete(&mut self, delete: &MetaDelete<'_>, position: CasUnique) -> Outcome {
        let MetaDelete { key, cas, new_cas, mark_stale, touch, drop_value } = *delete;
        let found = match self.matching(key, cas) {
            Ok(found) => found,
            Err(refusal) => return refusal,
        };
        let deadline = match touch.filter(|_| mark_stale || drop_value) {
            Some(expiry) => self.deadline(expiry),
            None if drop_value => Some(Deadline::NEVER),
            None => Some(found.deadline),
        };
        let Some(deadline) = deadline.filter(|_| mark_stale || drop_value) else {
            self.store.remove(found.hash, found.node);
            return Outcome::Deleted;
        };
        // The next one who asks wins.
        let stale = Marks::when(mark_stale, Marks::STALE);
        let marks = found.marks.only(Marks::BASE64).with(stale);
        let cas = new_cas.unwrap_or(position);
        if !drop_value {
            self.store.revise(&found, (cas, position.0), deadline, marks);
            return Outcome::Deleted;
        }
        let made = Made { flags: 0, deadline, marks, cas, position };
        if self.write(key, [&[], &[]], Some(&found), &made) {
            Outcome::Deleted
        } else {
            Outcome::OutOfMemory
        }
    }

    /// `ma`.
    pub(super) fn meta_arithmetic(
        &mut self,
        arithmetic: &MetaArithmetic<'_>,
        position: CasUnique,
    ) -> Outcome {
        let MetaArithmetic { direction, key, base64, delta, initial, touch, .. } = *arithmetic;
        let cas = arithmetic.new_cas.unwrap_or(position);
        let mut made = false;
        let counted = match (self.matching(key, arithmetic.cas), initial) {
            (Ok(found), _) => self.count(direction, delta, &found, (cas, position)),
            (Err(Outcome::NotFound), Some(initial)) => {
                made = true;
                let marks = Marks::when(base64, Marks::BASE64);
                self.count_from(key, initial, Self::made(marks, Some(cas), position))
            }
            (Err(refusal), _) => refusal,
        };
        let Outcome::Number { .. } = counted else { return counted };
        let Some(found) = self.live(key) else {
            // Created, and gone at once.
            return counted;
        };
        let Some(slot) = self.store.slot(&found) else { return counted };
        let deadline = self.touch_if(touch, &found, position);
        let before = if made { Deadline::NEVER } else { found.deadline };
        self.seen(Item { deadline, ..slot.item() }, made, before)
    }

    /// Creates the item that there is not, for whoever asked to fill in.
    fn vivify(&mut self, get: &MetaGet<'_>, expiry: Expiry, position: CasUnique) -> Outcome {
        let base64 = Marks::when(get.base64, Marks::BASE64);
        let made = Self::made(base64.with(Marks::TOKEN_SENT), get.new_cas, position);
        let deadline = self.deadline(expiry);
        let made = Made { deadline: deadline.unwrap_or(Deadline(self.times.now.0)), ..made };
        if !self.write(get.key, [&[], &[]], None, &made) {
            return Outcome::OutOfMemory;
        }
        let Some(found) = self.store.find(hash(get.key), get.key) else { return Outcome::NotFound };
        let Some(slot) = self.store.slot(&found) else { return Outcome::NotFound };
        if deadline.is_none() {
            self.store.remove(found.hash, found.node);
        }
        self.seen(Item { marks: base64, ..slot.item() }, true, Deadline::NEVER)
    }

    /// The item's deadline after a touch, if there is one.
    fn touch_if(&mut self, touch: Option<Expiry>, found: &Found, position: CasUnique) -> Deadline {
        touch.map_or(found.deadline, |expiry| self.touch(found, expiry, position))
    }

    fn value_len(&self, key: &[u8]) -> Option<usize> {
        let found = self.store.find(hash(key), key)?;
        Some(self.store.slot(&found)?.data.value().len())
    }

    fn seen(&self, item: Item, won: bool, before: Deadline) -> Outcome {
        Outcome::Seen(Seen { item, won, before, now: self.times.now })
    }
}
