//! One return: everything that may take effect before it, and what of that must be kept.

use std::collections::BTreeMap;

use super::config::{Config, Slot, Slots};
use super::pending::{Open, Pending};
use super::{Failure, Trail};
use crate::model::{Action, Model, Op, State, When};

/// The return of one operation with a known outcome.
pub(super) struct Closing<'a> {
    pub(super) op: Op,
    pub(super) slot: Slot,
    /// The number of the event: values that are not read from it on are alike.
    pub(super) event: u32,
    /// What else is open.
    pub(super) others: Vec<Open>,
    pub(super) pending: &'a Pending,
    pub(super) model: &'a mut Model,
    pub(super) trail: &'a mut Trail,
    pub(super) steps_left: &'a mut u64,
    /// Configs in which the operation has taken effect.
    pub(super) done: Vec<Config>,
}

impl Closing<'_> {
    /// Fills `done`.
    pub(super) fn run(&mut self, configs: &[Config]) -> Result<(), Failure> {
        let mut levels = Levels::default();
        let mut deepest: Option<Config> = None;
        for config in configs {
            let mut config = *config;
            config.state = self.settled(config.state);
            if config.has(self.slot) {
                self.done.push(config);
            } else {
                levels.push(config);
            }
        }
        let ceiling = self.ceiling();
        let mut seen = BTreeMap::<(u64, State), Vec<Slots>>::new();
        while let Some(config) = levels.pop() {
            let used = seen.entry((config.known, config.state)).or_default();
            if used.iter().any(|fewer| fewer.minus(&config.unknown).is_empty()) {
                continue;
            }
            used.push(config.unknown);
            if deepest.is_none_or(|deepest| deepest.count() < config.count()) {
                deepest = Some(config);
            }
            if let Some(state) = self.step(&config, &self.op.clone())? {
                let trail = self.trail.push(config.trail, self.op.index);
                self.done.push(Config { trail, ..config }.after(self.slot, state));
                if self.settles(&config) {
                    continue;
                }
            }
            self.expand(&config, ceiling, &mut levels)?;
        }
        match deepest {
            Some(deepest) if self.done.is_empty() => Err(Failure::Stuck(deepest)),
            _ => Ok(()),
        }
    }

    /// Lets each of the others take effect.
    fn expand(
        &mut self,
        config: &Config,
        ceiling: Option<Ceiling>,
        levels: &mut Levels,
    ) -> Result<(), Failure> {
        for index in 0..self.others.len() {
            let Some(other) = self.others.get(index).copied() else { break };
            if !other.is_next(config) {
                continue;
            }
            let Some(state) = self.step(config, &other.op)? else { continue };
            let state = self.settled(state);
            if other.op.unknown && state == config.state {
                continue;
            }
            if let Some(ceiling) = ceiling
                && matches!(other.op.action, Action::Count { .. })
                && ceiling.is_passed(self.model.values.number(state.value))
            {
                continue;
            }
            let trail = self.trail.push(config.trail, other.op.index);
            levels.push(Config { trail, ..*config }.after(other.slot, state));
        }
        Ok(())
    }

    fn step(&mut self, config: &Config, op: &Op) -> Result<Option<State>, Failure> {
        *self.steps_left = self.steps_left.checked_sub(1).ok_or(Failure::Steps)?;
        Ok(self.model.step(config.state, op, |token| self.pending.shown(config, token)))
    }

    /// Values only multiply with unknown operations, so that only then it pays to settle them.
    fn settled(&mut self, state: State) -> State {
        if self.others.iter().any(|other| other.op.unknown) {
            state.with_value(self.model.values.settled(state.value, self.event))
        } else {
            state
        }
    }

    /// Whether nothing else need take effect before the operation, which is possible in `config`.
    ///
    /// It changes nothing here nor after any of the others, so that they can as well follow it; or
    /// it leaves the same whatever was there, and only unknown ones, not needed, could precede it.
    fn settles(&self, config: &Config) -> bool {
        match self.op.action {
            Action::Stays | Action::Differs { .. } | Action::NotANumber => true,
            // A token that is known already belongs to no version that could come in between.
            Action::Read { token, .. } => token == 0 || config.state.is_token(token),
            Action::Gone | Action::Put { .. } | Action::Remove => {
                self.others.iter().all(|other| other.op.unknown || config.has(other.slot))
            }
            Action::ReadRenew { .. }
            | Action::Extend { .. }
            | Action::Renew { .. }
            | Action::Count { .. }
            | Action::Impossible => false,
        }
    }

    /// The number that must not be exceeded before the operation, if nothing open can lower one.
    fn ceiling(&self) -> Option<Ceiling> {
        let number = match self.op.action {
            Action::Count { by, up: true, number: Some(number) } => number.checked_sub(by)?,
            Action::Count { by, up: false, number: Some(number) } => number.checked_add(by)?,
            Action::Read { value, .. } | Action::ReadRenew { value, .. } => {
                self.model.values.number(value)?
            }
            Action::Gone
            | Action::Stays
            | Action::Differs { .. }
            | Action::NotANumber
            | Action::Put { .. }
            | Action::Extend { .. }
            | Action::Remove
            | Action::Renew { .. }
            | Action::Count { number: None, .. }
            | Action::Impossible => return None,
        };
        let mut rise = 0u64;
        for other in &self.others {
            if !other.op.unknown {
                return None;
            }
            match other.op.action {
                Action::Count { by, up: true, .. } => rise = rise.checked_add(by)?,
                Action::Count { up: false, .. }
                | Action::Extend { .. }
                | Action::Put { when: When::Token(_), .. } => return None,
                // Stores what it stores, or removes, without the increments before it.
                Action::Put { when: When::Always | When::Gone | When::Alive, .. }
                | Action::Remove
                | Action::Renew { .. }
                | Action::Read { .. }
                | Action::ReadRenew { .. }
                | Action::Gone
                | Action::Stays
                | Action::Differs { .. }
                | Action::NotANumber
                | Action::Impossible => {}
            }
        }
        Some(Ceiling { number, rise })
    }
}

/// The greatest number that can still lead to a reply.
#[derive(Clone, Copy)]
struct Ceiling {
    number: u64,
    /// What all open increments add together.
    rise: u64,
}

impl Ceiling {
    /// Whether a number is above it and can only rise, without wrapping round.
    fn is_passed(&self, number: Option<u64>) -> bool {
        number.is_some_and(|now| self.number < now && now.checked_add(self.rise).is_some())
    }
}

/// Configs to be looked at, those that used fewest unknown operations first.
#[derive(Default)]
struct Levels(BTreeMap<u32, Vec<Config>>);

impl Levels {
    fn push(&mut self, config: Config) {
        self.0.entry(config.unknown.count()).or_default().push(config);
    }

    fn pop(&mut self) -> Option<Config> {
        let mut level = self.0.first_entry()?;
        let config = level.get_mut().pop();
        if level.get().is_empty() {
            level.remove();
        }
        config
    }
}

/// Drops what follows from the rest: by fewer unknown operations, or by letting one of the open
/// ones take effect later. Values that are read from `event` on count as different.
pub(super) fn reduce(configs: &mut Vec<Config>, pending: &Pending, model: &mut Model, event: u32) {
    if configs.len() < 2 {
        return;
    }
    for config in &mut *configs {
        config.state.value = model.values.settled(config.state.value, event);
    }
    configs.sort_unstable_by(Config::order);
    let mut kept: Vec<Config> = Vec::new();
    for config in configs.drain(..) {
        let same = |other: &&Config| (other.known, other.state) == (config.known, config.state);
        let mut same = kept.iter().rev().take_while(same);
        if !same.any(|fewer| fewer.unknown.minus(&config.unknown).is_empty()) {
            kept.push(config);
        }
    }
    let mut leads = |from: &Config, to: &Config| {
        let Some(open) = one_more(from, to).and_then(|slot| pending.get(slot)) else {
            return false;
        };
        let next = model.step(from.state, &open.op, |token| pending.shown(from, token));
        next.is_some_and(|next| {
            next.with_value(model.values.settled(next.value, event)) == to.state
        })
    };
    if REDUCED_MAX < kept.len() {
        *configs = kept;
        return;
    }
    let led = |to: &&Config| !kept.iter().any(|from| leads(from, to));
    configs.extend(kept.iter().filter(led));
}

/// Above this many configs, comparing each with each costs more than it saves.
const REDUCED_MAX: usize = 512;

/// The one operation that took effect in `to` and not in `from`, if that is all the difference.
fn one_more(from: &Config, to: &Config) -> Option<Slot> {
    let (known, unknown) = (to.known & !from.known, to.unknown.minus(&from.unknown));
    let lost = from.known & !to.known != 0 || !from.unknown.minus(&to.unknown).is_empty();
    match (lost, known.count_ones(), unknown.count()) {
        (false, 1, 0) => Some(Slot::Known(known.trailing_zeros() as usize)),
        (false, 0, 1) => unknown.first().map(Slot::Unknown),
        _ => None,
    }
}
