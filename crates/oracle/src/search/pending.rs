//! The operations that are open: called, and not returned or never to return.

use super::config::{Config, KNOWN_MAX, Slot, Slots, UNKNOWN_MAX};
use crate::action::{Action, Op, TokenId, When};
use crate::history::Ttl;
use crate::model::Model;

/// An operation that is open.
#[derive(Clone, Copy)]
pub(super) struct Open {
    pub(super) op: Op,
    pub(super) slot: Slot,
    /// Those called earlier with equal effects, to be used first.
    alike: Slots,
    /// What it does, with values that are never read taken for one.
    effect: Action,
}

impl Open {
    /// Whether it may take effect next.
    pub(super) fn is_next(&self, config: &Config) -> bool {
        !config.has(self.slot) && self.alike.minus(&config.unknown).is_empty()
    }
}

/// What is open, by slot, and the tokens that operations which returned have shown.
#[derive(Default)]
pub(super) struct Pending {
    known: Vec<Option<Open>>,
    unknown: Vec<Option<Open>>,
    shown: Vec<bool>,
}

impl Pending {
    /// Takes an operation in; `None` if there is no slot left.
    pub(super) fn open(&mut self, op: Op, event: u32, model: &mut Model) -> Option<Slot> {
        let (slots, max) = match op.unknown {
            false => (&mut self.known, KNOWN_MAX),
            true => (&mut self.unknown, UNKNOWN_MAX),
        };
        let index = slots.iter().position(Option::is_none).unwrap_or(slots.len());
        if index == max {
            return None;
        }
        let slot = if op.unknown { Slot::Unknown(index) } else { Slot::Known(index) };
        let mut effect = op.action;
        if let Action::Put { value, .. } = &mut effect {
            *value = model.values.settled(*value, event);
        }
        let mut alike = Slots::default();
        // An expiry depends on the call, so that effects with one are never equal; and what is
        // there depends on the call where an item expires.
        let always = matches!(
            op.action,
            Action::Put { when: When::Always | When::Gone, .. } | Action::Remove
        );
        let expires = matches!(op.action.ttl(), Some(Ttl::Millis(_)));
        if op.unknown && !expires && (always || !model.expires) {
            let equal = slots.iter().flatten().filter(|open| open.effect == effect);
            for open in equal {
                if let Slot::Unknown(index) = open.slot {
                    alike.add(index);
                }
            }
        }
        let open = Some(Open { op, slot, alike, effect });
        match slots.get_mut(index) {
            Some(free) => *free = open,
            None => slots.push(open),
        }
        Some(slot)
    }

    /// Where a known operation is kept.
    pub(super) fn slot_of(&self, op: &Op) -> Option<Slot> {
        self.known.iter().flatten().find(|open| open.op.index == op.index).map(|open| open.slot)
    }

    /// What is open, but for one.
    pub(super) fn others(&self, slot: Slot) -> Vec<Open> {
        let all = self.known.iter().chain(&self.unknown).flatten();
        all.filter(|open| open.slot != slot).copied().collect()
    }

    /// What is open in a slot.
    pub(super) fn get(&self, slot: Slot) -> Option<&Open> {
        match slot {
            Slot::Known(slot) => self.known.get(slot)?.as_ref(),
            Slot::Unknown(slot) => self.unknown.get(slot)?.as_ref(),
        }
    }

    /// Lets a known operation go that took effect everywhere and showed `token`.
    pub(super) fn close(&mut self, slot: Slot, token: TokenId) {
        if let Slot::Known(slot) = slot
            && let Some(open) = self.known.get_mut(slot)
        {
            *open = None;
        }
        let token = token as usize;
        if token != 0 {
            self.shown.resize(self.shown.len().max(token + 1), false);
            self.shown.iter_mut().skip(token).take(1).for_each(|shown| *shown = true);
        }
    }

    /// Lets unknown operations go that took effect everywhere, or will nowhere any more.
    pub(super) fn close_unknown(&mut self, slots: &Slots) {
        for (slot, open) in self.unknown.iter_mut().enumerate() {
            if slots.has(slot) {
                *open = None;
            }
            if let Some(open) = open {
                open.alike = open.alike.minus(slots);
            }
        }
    }

    /// Each cas of unknown outcome whose token was that of a version that is gone.
    pub(super) fn hopeless(&self, configs: &[Config]) -> Slots {
        let mut slots = Slots::default();
        for (slot, open) in self.unknown.iter().enumerate() {
            if let Some(open) = open
                && let Action::Put { when: When::Token(token), .. } = open.op.action
                && self.shown.get(token as usize).is_some_and(|shown| *shown)
                && !configs.iter().any(|config| config.state.is_token(token))
            {
                slots.add(slot);
            }
        }
        slots
    }

    /// Whether a token was the item's in a config's past.
    pub(super) fn shown(&self, config: &Config, token: TokenId) -> bool {
        self.shown.get(token as usize).is_some_and(|shown| *shown)
            || self
                .known
                .iter()
                .flatten()
                .any(|open| open.op.action.shows() == token && config.has(open.slot))
    }
}
