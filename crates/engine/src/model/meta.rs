//! The meta commands, done plainly.

use super::{Model, ModelItem};
use crate::item::Deadline;
use crate::outcome::Seen;
use crate::{
    CasUnique, Command, Expiry, Item, MetaArithmetic, MetaDelete, MetaGet, MetaStore, Outcome,
    StoreMode, UnixMillis,
};

impl Model {
    pub(super) fn meta_get(&mut self, get: &MetaGet<'_>, at: u64) -> Outcome {
        let Some(old) = self.items.get(get.key).cloned() else {
            let Some(expiry) = get.touch.filter(|_| get.vivify.is_some()).or(get.vivify) else {
                return Outcome::NotFound;
            };
            let deadline = self.deadline(expiry);
            let cas = get.new_cas.map_or(at, |cas| cas.0);
            let mut item = ModelItem::new(b"", cas, at);
            item.deadline = deadline.unwrap_or(Some(self.now));
            (item.base64, item.token) = (get.base64, true);
            if !self.put(get.key, item.clone()) {
                return Outcome::OutOfMemory;
            }
            if deadline.is_err() {
                self.items.remove(get.key);
            }
            item.token = false;
            return self.seen(item.item(get.key), true, None);
        };
        let bound = get.recache.and_then(|expiry| self.deadline(expiry).ok().flatten());
        let left = |at: u64| (at - self.now).div_ceil(1000);
        let early =
            matches!((old.deadline, bound), (Some(ends), Some(bound)) if left(ends) < left(bound));
        let won = !old.token && (early || old.stale);
        self.items.get_mut(get.key).unwrap().token |= won;
        let shown = self.shown(get.key, get.touch, &old, at);
        self.seen(shown, won, old.deadline)
    }

    pub(super) fn meta_store(&mut self, store: &MetaStore<'_>, at: u64) -> Outcome {
        let joins = matches!(store.mode, StoreMode::Append | StoreMode::Prepend);
        let stored = self.store(store, true, at);
        let Outcome::Stored(cas) = stored else { return stored };
        let item = self.items.get(store.key).filter(|_| joins);
        let len = item.map_or(store.value.len(), |item| item.value.len());
        Outcome::StoredLen { cas, value_len: u32::try_from(len).unwrap() }
    }

    pub(super) fn meta_delete(&mut self, delete: &MetaDelete<'_>, at: u64) -> Outcome {
        if let Some(refusal) = self.check(delete.key, delete.cas) {
            return refusal;
        }
        let old = self.items[delete.key].clone();
        let mut new = ModelItem { order: at, token: false, stale: delete.mark_stale, ..old };
        new.cas = delete.new_cas.map_or(at, |cas| cas.0);
        if delete.drop_value {
            (new.value, new.flags, new.deadline) = (Vec::new(), 0, None);
        }
        let touch = delete.touch.filter(|_| delete.mark_stale || delete.drop_value);
        match touch.map(|expiry| self.deadline(expiry)) {
            Some(Ok(deadline)) => new.deadline = deadline,
            Some(Err(())) => {
                self.items.remove(delete.key);
                return Outcome::Deleted;
            }
            None => {}
        }
        if delete.mark_stale || delete.drop_value {
            self.put(delete.key, new);
        } else {
            self.items.remove(delete.key);
        }
        Outcome::Deleted
    }

    pub(super) fn meta_arithmetic(&mut self, ma: &MetaArithmetic<'_>, at: u64) -> Outcome {
        let MetaArithmetic { direction, key, delta, initial, .. } = *ma;
        let is_there = self.items.contains_key(key);
        // Whether it is the version asked for does not matter where there is none.
        let cas = ma.cas.filter(|_| is_there);
        let classic = Command::Arithmetic { direction, key, delta, initial, cas };
        let Outcome::Number { value, .. } = self.execute(&classic, at) else {
            // A second time: nothing has changed by the first.
            return self.execute(&classic, at);
        };
        let cas = ma.new_cas.map_or(at, |cas| cas.0);
        let Some(item) = self.items.get_mut(key) else {
            return Outcome::Number { value, cas: CasUnique(cas) };
        };
        item.cas = cas;
        item.base64 |= ma.base64 && !is_there;
        let old = item.clone();
        let shown = self.shown(key, ma.touch, &old, at);
        self.seen(shown, !is_there, old.deadline.filter(|_| is_there))
    }

    /// `old`, with the deadline that a touch gives it.
    fn shown(&mut self, key: &[u8], touch: Option<Expiry>, old: &ModelItem, at: u64) -> Item {
        let touched = touch.and_then(|expiry| self.touch(key, expiry, at));
        let deadline = touched.map(|item| item.deadline);
        let item = old.item(key);
        Item { deadline: deadline.unwrap_or(item.deadline), ..item }
    }

    fn seen(&self, item: Item, won: bool, before: Option<u64>) -> Outcome {
        let before = before.map_or(Deadline::NEVER, Deadline);
        Outcome::Seen(Seen { item, won, before, now: UnixMillis(self.now) })
    }
}
