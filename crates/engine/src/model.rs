//! The dumb model: the same semantics in one map, without segments, queues or reclaiming, and the
//! histories that compare it with the engine.
//!
//! What is dead is dropped at once here, and memory is the sum over what is alive: the engine must
//! give the same answers although it takes its time.

use std::collections::BTreeMap;

use crate::item::{Data, Deadline, Marks};
use crate::store::item_bytes;
use crate::{
    CasUnique, Command, Direction, Expiry, Initial, Item, MetaStore, Origin, Outcome, Settings,
    StoreMode, number,
};

#[cfg(test)]
mod history;
mod meta;

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    flush_at: Option<u64>,
    pub(crate) settings: Settings,
    /// Instead of that of `settings`.
    limit: Option<u64>,
    items: BTreeMap<Vec<u8>, ModelItem>,
    pub(crate) evicted: u64,
    origins: BTreeMap<Origin, ModelOrigin>,
}

#[derive(Debug, Clone, Default)]
struct ModelItem {
    value: Vec<u8>,
    flags: u32,
    deadline: Option<u64>,
    cas: u64,
    order: u64,
    stale: bool,
    token: bool,
    base64: bool,
}

#[derive(Debug, Clone, Default)]
struct ModelOrigin {
    last_seq: u64,
    seen: u64,
    kept: BTreeMap<u64, Vec<Outcome>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ModelApplied {
    Outcomes(Vec<Outcome>),
    Gap(u64),
    Forgotten,
}

/// Who sends a batch, its number, and what it acknowledges.
pub(crate) type Header = (Origin, u64, u64);

impl Model {
    pub(crate) fn apply(
        &mut self,
        index: u64,
        stamp: u64,
        (origin, seq, acked): Header,
        commands: &[Command<'_>],
    ) -> ModelApplied {
        let before = self.now;
        self.now = self.now.max(stamp);
        let now = self.now;
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            self.items.clear();
        }
        self.items.retain(|_, item| item.deadline.is_none_or(|deadline| now < deadline));
        if let Some(state) = self.origins.get_mut(&origin) {
            state.seen = now;
            state.kept.retain(|seq, _| acked < *seq);
        }
        if before / 60_000 != now / 60_000 {
            self.origins.retain(|_, state| now < state.seen + 600_000);
        }
        let last_seq = self.origins.get(&origin).map_or(0, |state| state.last_seq);
        if last_seq + 1 < seq {
            return ModelApplied::Gap(last_seq + 1);
        }
        if seq <= last_seq {
            let known = self.origins[&origin].kept.get(&seq);
            return known.map_or(ModelApplied::Forgotten, |o| ModelApplied::Outcomes(o.clone()));
        }
        let positions = (index << 12)..;
        let outcomes = commands.iter().zip(positions).map(|(c, at)| self.execute(c, at));
        let outcomes = outcomes.collect::<Vec<_>>();
        let state = self.origins.entry(origin).or_default();
        (state.last_seq, state.seen) = (seq, now);
        state.kept.insert(seq, outcomes.clone());
        ModelApplied::Outcomes(outcomes)
    }

    pub(crate) fn get(&self, key: &[u8], at: u64) -> Option<Item> {
        let at = at.max(self.now);
        let gone = |time: Option<u64>| time.is_some_and(|time| time <= at);
        let item = self.items.get(key).filter(|item| !gone(item.deadline))?;
        (!gone(self.flush_at)).then(|| item.item(key))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.items.iter().map(|(key, item)| cost(key, &item.value)).sum()
    }

    fn execute(&mut self, command: &Command<'_>, at: u64) -> Outcome {
        match *command {
            Command::Store { mode, key, flags, expiry, value, cas } => {
                let store = MetaStore { mode, key, flags, expiry, value, cas, ..MetaStore::PLAIN };
                self.store(&store, mode == StoreMode::Set && cas.is_none(), at)
            }
            Command::Delete { key, cas } => match self.check(key, cas) {
                Some(refusal) => refusal,
                None => {
                    self.items.remove(key);
                    Outcome::Deleted
                }
            },
            Command::Arithmetic { direction, key, delta, initial, cas } => {
                self.arithmetic(direction, key, delta, initial, cas, at)
            }
            Command::MetaArithmetic(ref arithmetic) => self.meta_arithmetic(arithmetic, at),
            Command::MetaDelete(ref delete) => self.meta_delete(delete, at),
            Command::MetaGet(ref get) => self.meta_get(get, at),
            Command::MetaStore(ref store) => self.meta_store(store, at),
            Command::Touch { key, expiry } => match self.touch(key, expiry, at) {
                None => Outcome::NotFound,
                Some(item) => Outcome::Touched { flags: item.flags, cas: item.cas },
            },
            Command::GetAndTouch { key, expiry } => {
                self.touch(key, expiry, at).map_or(Outcome::NotFound, Outcome::Value)
            }
            Command::FlushAll { after_ms: 0 } => {
                self.flush_at = None;
                self.items.clear();
                Outcome::Done
            }
            Command::FlushAll { after_ms } => {
                self.flush_at = Some(self.now + after_ms);
                Outcome::Done
            }
            Command::Configure(settings) => {
                (self.settings, self.limit) = (settings, None);
                self.fit();
                Outcome::Done
            }
            Command::LimitMemory { memory_limit } => {
                self.limit = Some(memory_limit);
                self.fit();
                Outcome::Done
            }
            Command::Tick => Outcome::Done,
        }
    }

    fn store(&mut self, store: &MetaStore<'_>, drops_old: bool, at: u64) -> Outcome {
        let MetaStore { mode, key, flags, expiry, value, cas, .. } = *store;
        let joins = matches!(mode, StoreMode::Append | StoreMode::Prepend);
        if self.too_large(key, value.len(), flags) {
            if drops_old {
                self.items.remove(key);
            }
            return Outcome::TooLarge;
        }
        let old = self.items.get(key).cloned();
        if let (None, true, Some(expiry)) = (&old, joins, store.vivify) {
            let set = MetaStore { mode: StoreMode::Set, expiry, cas: None, ..*store };
            return self.store(&set, drops_old, at);
        }
        let mut stale = false;
        if let Some(wanted) = cas {
            match &old {
                None if joins => return Outcome::NotStored,
                None => return Outcome::NotFound,
                Some(old) if old.cas == wanted.0 => {}
                Some(old) => {
                    stale = store.invalidate && (1..old.cas).contains(&wanted.0) && !joins;
                    if !stale {
                        return Outcome::Exists;
                    }
                }
            }
        }
        match (&old, mode) {
            (Some(_), StoreMode::Add) if cas.is_none() => {
                self.items.get_mut(key).unwrap().order = at;
                return Outcome::NotStored;
            }
            (None, StoreMode::Replace | StoreMode::Append | StoreMode::Prepend) => {
                return Outcome::NotStored;
            }
            _ => {}
        }
        let cas = store.new_cas.map_or(at, |cas| cas.0);
        let base64 = store.base64;
        let mut new = ModelItem { flags, base64, ..ModelItem::new(value, cas, at) };
        if let Some(old) = old.as_ref().filter(|_| joins) {
            (new.flags, new.deadline) = (old.flags, old.deadline);
            new.base64 |= old.base64;
            let pair = [old.value.as_slice(), value];
            let [a, b] = if mode == StoreMode::Append { pair } else { [value, &old.value] };
            new.value = [a, b].concat();
            if self.too_large(key, new.value.len(), new.flags) {
                return Outcome::NotStored;
            }
        } else if let Some(old) = old.filter(|_| stale) {
            (new.deadline, new.stale, new.token) = (old.deadline, true, old.token);
        } else {
            match self.deadline(expiry) {
                Ok(deadline) => new.deadline = deadline,
                Err(()) => {
                    self.items.remove(key);
                    return Outcome::Stored(CasUnique(cas));
                }
            }
        }
        if self.put(key, new) {
            return Outcome::Stored(CasUnique(cas));
        }
        if drops_old && !joins {
            self.items.remove(key);
        }
        Outcome::OutOfMemory
    }

    fn arithmetic(
        &mut self,
        direction: Direction,
        key: &[u8],
        delta: u64,
        initial: Option<Initial>,
        cas: Option<CasUnique>,
        at: u64,
    ) -> Outcome {
        let (order, now_cas) = (at, CasUnique(at));
        match (self.check(key, cas), initial) {
            (Some(Outcome::NotFound), Some(Initial { value, expiry })) if cas.is_none() => {
                let text = value.to_string().into_bytes();
                if self.too_large(key, text.len(), 0) {
                    return Outcome::TooLarge;
                }
                if let Ok(deadline) = self.deadline(expiry) {
                    let item = ModelItem { deadline, ..ModelItem::new(&text, at, order) };
                    if !self.put(key, item) {
                        return Outcome::OutOfMemory;
                    }
                }
                return Outcome::Number { value, cas: now_cas };
            }
            (Some(refusal), _) => return refusal,
            (None, _) => {}
        }
        let old = self.items[key].clone();
        let Some(number) = number::parse(&old.value) else { return Outcome::NonNumeric };
        let value = match direction {
            Direction::Increment => number.wrapping_add(delta),
            Direction::Decrement => number.saturating_sub(delta),
        };
        let text = format!("{value:<width$}", width = old.value.len()).into_bytes();
        if self.put(key, ModelItem { value: text, cas: at, order, ..old }) {
            Outcome::Number { value, cas: now_cas }
        } else {
            Outcome::OutOfMemory
        }
    }

    fn touch(&mut self, key: &[u8], expiry: Expiry, at: u64) -> Option<Item> {
        let deadline = self.deadline(expiry);
        let item = self.items.get_mut(key)?;
        item.order = at;
        item.deadline = deadline.unwrap_or(Some(self.now));
        let shown = Item { marks: Marks::NONE, ..item.item(key) };
        if deadline.is_err() {
            self.items.remove(key);
        }
        Some(shown)
    }

    fn check(&self, key: &[u8], cas: Option<CasUnique>) -> Option<Outcome> {
        match self.items.get(key) {
            None => Some(Outcome::NotFound),
            Some(item) if cas.is_some_and(|cas| cas.0 != item.cas) => Some(Outcome::Exists),
            Some(_) => None,
        }
    }

    fn deadline(&self, expiry: Expiry) -> Result<Option<u64>, ()> {
        match expiry {
            Expiry::Never => Ok(None),
            Expiry::Now | Expiry::AfterMillis(0) => Err(()),
            Expiry::AfterMillis(after) => Ok(Some(self.now + after)),
            Expiry::At(at) if at.0 <= self.now => Err(()),
            Expiry::At(at) => Ok(Some(at.0)),
        }
    }

    fn put(&mut self, key: &[u8], item: ModelItem) -> bool {
        let wanted = cost(key, &item.value);
        let limit = self.memory_limit();
        let old = |model: &Self| model.items.get(key).map_or(0, |old| cost(key, &old.value));
        // What does not grow is not refused, even where a limit has been lowered.
        if old(self) < wanted {
            if limit < wanted {
                return false;
            }
            while limit < self.bytes() - old(self) + wanted {
                if !self.settings.evict {
                    return false;
                }
                self.evict(key);
            }
        }
        self.items.insert(key.to_vec(), item);
        true
    }

    fn memory_limit(&self) -> u64 {
        self.limit.unwrap_or(self.settings.memory_limit)
    }

    /// Evicts down to a new limit.
    fn fit(&mut self) {
        while self.settings.evict && self.memory_limit() < self.bytes() {
            self.evict(b"");
        }
    }

    fn evict(&mut self, spared: &[u8]) {
        let others = self.items.iter().filter(|(key, _)| *key != spared);
        let oldest = others.min_by_key(|(_, item)| item.order).unwrap().0.clone();
        self.items.remove(&oldest);
        self.evicted += 1;
    }

    fn too_large(&self, key: &[u8], value_len: usize, flags: u32) -> bool {
        let flags_len = if flags == 0 { 0 } else { 4 };
        self.settings.item_len_max < (59 + key.len() + value_len + flags_len) as u64
    }
}

impl ModelItem {
    fn new(value: &[u8], cas: u64, order: u64) -> Self {
        Self { value: value.to_vec(), cas, order, ..Self::default() }
    }

    fn item(&self, key: &[u8]) -> Item {
        Item {
            data: Data::new(&mut Vec::new(), key, [&self.value, &[]]),
            flags: self.flags,
            deadline: self.deadline.map_or(Deadline::NEVER, Deadline),
            cas: CasUnique(self.cas),
            marks: Marks::when(self.stale, Marks::STALE)
                .with(Marks::when(self.token, Marks::TOKEN_SENT))
                .with(Marks::when(self.base64, Marks::BASE64)),
        }
    }
}

fn cost(key: &[u8], value: &[u8]) -> u64 {
    item_bytes((key.len() + value.len()) as u64)
}
