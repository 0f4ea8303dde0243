//! One memcached in memory with a clock that strays, and the bugs it can be given.
//!
//! Written apart from the checker's model, which knows intervals where this knows moments.

use std::collections::BTreeMap;

use super::rng::Rng;
use crate::history::{Input, Output, Ttl};

/// What a store does wrong, now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Adds over an item that is there.
    AddsOverItem,
    /// Takes a cas with a token of another version.
    CasWithOldToken,
    /// Deletes, and the item comes back.
    DeletedReturns,
    /// Appends twice.
    DoubledAppend,
    /// Counts twice and answers the first result.
    DoubledIncr,
    /// An expired item comes back.
    ExpiredReturns,
    /// Misses an item that is there.
    FalseMiss,
    /// Acknowledges a store and forgets it.
    LostWrite,
    /// Reads a version that was overwritten before.
    StaleRead,
    /// Gives a new version the token of the one before.
    TokenReused,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AddsOverItem,
        Self::CasWithOldToken,
        Self::DeletedReturns,
        Self::DoubledAppend,
        Self::DoubledIncr,
        Self::ExpiredReturns,
        Self::FalseMiss,
        Self::LostWrite,
        Self::StaleRead,
        Self::TokenReused,
    ];
}

#[derive(Clone)]
struct Item {
    value: String,
    token: u64,
    /// By the store's clock, in microseconds.
    expires: Option<u64>,
}

pub(super) struct Store {
    items: BTreeMap<String, Item>,
    /// What was there before the last change, for bugs.
    old: BTreeMap<String, Item>,
    last_token: u64,
    /// How far the clock is ahead, up to the slack. It never turns back.
    ahead_us: u64,
    slack_us: u64,
    clock_us: u64,
    bug: Option<Bug>,
}

impl Store {
    pub(super) fn new(slack_us: u64, bug: Option<Bug>) -> Self {
        Self {
            items: BTreeMap::new(),
            old: BTreeMap::new(),
            last_token: 100,
            ahead_us: 0,
            slack_us,
            clock_us: 0,
            bug,
        }
    }

    /// Does what a request asks at time `now`, which never decreases.
    pub(super) fn apply(&mut self, now: u64, key: &str, input: &Input, rng: &mut Rng) -> Output {
        if rng.below(4) == 0 {
            self.ahead_us = rng.below(self.slack_us + 1);
        }
        self.clock_us = self.clock_us.max(now + self.ahead_us);
        let mut bug = self.bug.filter(|_| rng.below(6) == 0);
        let mut has = |one| bug.take_if(|bug| *bug == one).is_some();

        let before = self.items.get(key).cloned();
        let expired = |item: &Item| item.expires.is_some_and(|at| at <= self.clock_us);
        if before.as_ref().is_some_and(expired)
            && let Some(item) = self.items.remove(key)
        {
            self.old.insert(key.to_owned(), item);
        }
        let returns = match self.bug {
            Some(Bug::DeletedReturns | Bug::ExpiredReturns) => !self.items.contains_key(key),
            _ => false,
        };
        if returns
            && (has(Bug::DeletedReturns) || has(Bug::ExpiredReturns))
            && let Some(item) = self.old.remove(key)
        {
            self.items.insert(key.to_owned(), Item { expires: None, ..item });
        }
        let item = self.items.get(key).cloned();
        match input {
            Input::Get | Input::Gets | Input::Gat { .. } => {
                let old = self.old.get(key).cloned();
                let shown = match item {
                    Some(_) if has(Bug::FalseMiss) => None,
                    Some(_) if old.is_some() && has(Bug::StaleRead) => old,
                    other => other,
                };
                if let (Input::Gat { ttl }, Some(_)) = (input, &shown) {
                    self.touch(key, *ttl);
                }
                let token = !matches!(input, Input::Get);
                let hit = |item: Item| {
                    let cas = token.then_some(item.token);
                    Output::Value { value: item.value, cas }
                };
                shown.map_or(Output::Miss, hit)
            }
            Input::Touch { ttl } => match item {
                None => Output::NotFound,
                Some(_) => {
                    self.touch(key, *ttl);
                    Output::Touched
                }
            },
            Input::Delete => match item {
                None => Output::NotFound,
                Some(item) => {
                    self.old.insert(key.to_owned(), item);
                    self.items.remove(key);
                    Output::Deleted
                }
            },
            Input::Incr { by } => {
                self.count(key, item, has(Bug::DoubledIncr), |old| old.wrapping_add(*by))
            }
            Input::Decr { by } => {
                self.count(key, item, has(Bug::DoubledIncr), |old| old.saturating_sub(*by))
            }
            Input::Set { .. }
            | Input::Add { .. }
            | Input::Replace { .. }
            | Input::Append { .. }
            | Input::Prepend { .. }
            | Input::Cas { .. } => self.store(key, input, item, &mut has),
        }
    }

    fn store(
        &mut self,
        key: &str,
        input: &Input,
        item: Option<Item>,
        has: &mut impl FnMut(Bug) -> bool,
    ) -> Output {
        let expires = item.as_ref().and_then(|item| item.expires);
        let (value, expires) = match (input, &item) {
            (Input::Set { value, ttl }, _) => (value.clone(), self.deadline(*ttl)),
            (Input::Add { value, ttl }, None) => (value.clone(), self.deadline(*ttl)),
            (Input::Add { value, ttl }, Some(_)) if has(Bug::AddsOverItem) => {
                (value.clone(), self.deadline(*ttl))
            }
            (Input::Cas { .. }, None) => return Output::NotFound,
            (Input::Cas { value, ttl, token }, Some(item)) => {
                if item.token != *token && (*token == u64::MAX || !has(Bug::CasWithOldToken)) {
                    return Output::Exists;
                }
                (value.clone(), self.deadline(*ttl))
            }
            (Input::Replace { value, ttl }, Some(_)) => (value.clone(), self.deadline(*ttl)),
            (Input::Append { value }, Some(item)) => {
                let times = if has(Bug::DoubledAppend) { 2 } else { 1 };
                (format!("{}{}", item.value, value.repeat(times)), expires)
            }
            (Input::Prepend { value }, Some(item)) => (format!("{value}{}", item.value), expires),
            _ => return Output::NotStored,
        };
        if !has(Bug::LostWrite) {
            self.put(key, value, expires, has(Bug::TokenReused));
        }
        Output::Stored
    }

    fn count(
        &mut self,
        key: &str,
        item: Option<Item>,
        doubled: bool,
        change: impl Fn(u64) -> u64,
    ) -> Output {
        let Some(item) = item else { return Output::NotFound };
        // What stands behind a blank does not count; no value begins with one.
        let digits = item.value.split(' ').next().unwrap_or_default();
        let Ok(old) = digits.parse() else { return Output::NotANumber };
        let number = change(old);
        let stored = if doubled { change(number) } else { number };
        let mut value = stored.to_string();
        while value.len() < item.value.len() {
            value.push(' ');
        }
        self.put(key, value, item.expires, false);
        Output::Number(number)
    }

    fn put(&mut self, key: &str, value: String, expires: Option<u64>, same_token: bool) {
        let before = self.items.get(key).cloned();
        self.last_token += 1;
        let token = match &before {
            Some(before) if same_token => before.token,
            _ => self.last_token,
        };
        self.items.insert(key.to_owned(), Item { value, token, expires });
        if let Some(before) = before {
            self.old.insert(key.to_owned(), before);
        }
    }

    fn touch(&mut self, key: &str, ttl: Ttl) {
        let deadline = self.deadline(ttl);
        if let Some(item) = self.items.get_mut(key) {
            item.expires = deadline;
        }
    }

    fn deadline(&self, ttl: Ttl) -> Option<u64> {
        match ttl {
            Ttl::Never => None,
            Ttl::Past => Some(0),
            Ttl::Millis(ms) => Some(self.clock_us + ms * 1000),
        }
    }
}
