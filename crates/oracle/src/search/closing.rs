//! One return: everything that may take effect before it, and what of that must be kept.

use std::collections::BTreeMap;

use super::config::{Config, Slot, Slots};
use super::pending::{Open, Pending};
use super::{Failure, Trail};
use crate::action::{Action, Op, When};
use crate::model::{Model, State};

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
    /// Fills `done` with what must be kept.
    pub(super) fn run(&mut self, configs: &[Config]) -> Result<(), Failure> {
        let mut levels = Levels::default();
        for config in configs {
            self.arrive(*config, &mut levels)?;
        }
        let mut deepest: Option<Config> = None;
        let mut seen = self.seen();
        while let Some(config) = levels.pop() {
            if !seen.add(&config, self.model) {
                continue;
            }
            if deepest.is_none_or(|deepest| deepest.count() < config.count()) {
                deepest = Some(config);
            }
            self.expand(&config, &mut levels)?;
        }
        match deepest {
            Some(deepest) if self.done.is_empty() => Err(Failure::Stuck(deepest)),
            _ => self.reduce(),
        }
    }

    /// Takes a config in, after what has a place there and changes nothing took effect.
    fn arrive(&mut self, config: Config, levels: &mut Levels) -> Result<(), Failure> {
        let config = self.absorbing(config)?;
        if config.has(self.slot) {
            self.done.push(config);
        } else {
            levels.push(config);
        }
        Ok(())
    }

    /// The config after all known operations that have a place in it and change nothing in any.
    fn absorbing(&mut self, config: Config) -> Result<Config, Failure> {
        let mut config = config;
        config.state = self.settled(config.state, self.event);
        for open in self.known() {
            if !config.has(open.slot)
                && is_read(&open.op.action, &config.state)
                && self.step(&config, &open.op)?.is_some()
            {
                config = self.after(&config, &open, config.state);
            }
        }
        Ok(config)
    }

    /// Lets each known operation take effect, and each behind unknown ones that it needs.
    fn expand(&mut self, config: &Config, levels: &mut Levels) -> Result<(), Failure> {
        let mut next = self.known();
        next.retain(|open| !config.has(open.slot));
        let mut wanting = Vec::new();
        for open in next {
            let state = self.step(config, &open.op)?;
            if let Some(state) = state {
                let after = self.after(config, &open, state);
                self.arrive(after, levels)?;
            }
            // What leaves the same whatever was there needs nothing before it but to be possible.
            if state.is_none() || !leaves_the_same(&open.op.action) {
                wanting.push(open);
            }
        }
        if wanting.is_empty() || !self.others.iter().any(|other| other.op.unknown) {
            return Ok(());
        }
        let numbers = self.numbers(&wanting);
        let mut seen = self.seen();
        seen.add(config, self.model);
        let mut chains = vec![*config];
        while !chains.is_empty() {
            let mut longer = Vec::new();
            for chain in chains {
                for index in 0..self.others.len() {
                    let Some(last) = self.others.get(index).copied() else { break };
                    if !last.op.unknown || !last.is_next(&chain) {
                        continue;
                    }
                    let Some(state) = self.step(&chain, &last.op)? else { continue };
                    let state = self.settled(state, self.event);
                    let counts = matches!(last.op.action, Action::Count { .. });
                    let number = self.model.values.number(state.value);
                    if let (true, Some(numbers), Some(number)) = (counts, numbers, number)
                        && numbers.exclude(number)
                    {
                        continue;
                    }
                    let link = self.after(&chain, &last, state);
                    if seen.add(&link, self.model) {
                        self.behind(&chain, &last, &link, &wanting, levels)?;
                        longer.push(link);
                    }
                }
            }
            chains = longer;
        }
        Ok(())
    }

    /// Lets each of `wanting` take effect behind `link`, which is `chain` and one more unknown
    /// operation, `last`; not where `last` can as well take effect after it.
    fn behind(
        &mut self,
        chain: &Config,
        last: &Open,
        link: &Config,
        wanting: &[Open],
        levels: &mut Levels,
    ) -> Result<(), Failure> {
        for open in wanting {
            let Some(state) = self.step(link, &open.op)? else { continue };
            let state = self.settled(state, self.event);
            if let Some(without) = self.step(chain, &open.op)? {
                let later = self.after(chain, open, without);
                let later = self.step(&later, &last.op)?;
                let later = later.map(|later| self.settled(later, self.event));
                let without = Some(self.settled(without, self.event));
                let covers = |instead: Option<State>| {
                    instead.is_some_and(|instead| {
                        self.model.covers(&instead, &state, self.event, self.op.ret)
                    })
                };
                if covers(later) || covers(without) {
                    continue;
                }
            }
            let after = self.after(link, open, state);
            self.arrive(after, levels)?;
        }
        Ok(())
    }

    /// Drops of `done` what follows from the rest: by fewer unknown operations, or by letting one
    /// of the open ones take effect later.
    fn reduce(&mut self) -> Result<(), Failure> {
        if self.done.len() < 2 {
            return Ok(());
        }
        let mut configs = std::mem::take(&mut self.done);
        for config in &mut configs {
            config.state = self.settled(config.state, self.event + 1);
        }
        configs.sort_by_key(Config::count);
        let mut seen = self.seen();
        configs.sort_by_key(|config| config.unknown.count());
        configs.retain(|config| seen.add(config, self.model));
        if REDUCED_MAX < configs.len() {
            self.done = configs;
            return Ok(());
        }
        let mut led = self.seen();
        for config in &configs {
            for index in 0..self.others.len() {
                let Some(open) = self.others.get(index).copied() else { break };
                if !open.is_next(config) {
                    continue;
                }
                if let Some(state) = self.step(config, &open.op)? {
                    let after = self.after(config, &open, state);
                    let mut after = self.absorbing(after)?;
                    after.state = self.settled(after.state, self.event + 1);
                    led.add(&after, self.model);
                }
            }
        }
        configs.retain(|config| !led.covers(config, self.model));
        self.done = configs;
        Ok(())
    }

    /// The operations that are open with known outcomes, the returning one first.
    fn known(&self) -> Vec<Open> {
        let returning = self.pending.get(self.slot);
        let others = self.others.iter().filter(|other| !other.op.unknown);
        returning.into_iter().chain(others).copied().collect()
    }

    fn seen(&self) -> Seen {
        Seen { configs: BTreeMap::new(), event: self.event, now: self.op.ret }
    }

    fn after(&mut self, config: &Config, open: &Open, state: State) -> Config {
        let trail = self.trail.push(config.trail, open.op.index);
        Config { trail, ..*config }.after(open.slot, state)
    }

    fn step(&mut self, config: &Config, op: &Op) -> Result<Option<State>, Failure> {
        *self.steps_left = self.steps_left.checked_sub(1).ok_or(Failure::Steps)?;
        Ok(self.model.step(config.state, op, |token| self.pending.shown(config, token)))
    }

    /// Values only multiply with unknown operations, so that only then it pays to settle them.
    fn settled(&mut self, state: State, event: u32) -> State {
        if self.others.iter().any(|other| other.op.unknown) {
            self.model.settled(state, event)
        } else {
            state
        }
    }

    /// The numbers that can matter before one of `wanting`; `None` if any may.
    fn numbers(&self, wanting: &[Open]) -> Option<Numbers> {
        let mut numbers = Numbers { min: u64::MAX, max: 0, up: 0, down: 0 };
        let mut texts = false;
        for open in wanting {
            let number = match open.op.action {
                Action::Count { by, up: true, number } => number?.wrapping_sub(by),
                // From anything up to `by` to 0.
                Action::Count { by, up: false, number: Some(0) } => {
                    numbers.min = 0;
                    by
                }
                Action::Count { by, up: false, number } => number?.checked_add(by)?,
                Action::Read { value, .. } | Action::ReadRenew { value, .. } => {
                    let Some(number) = self.model.values.number(value) else {
                        texts = true;
                        continue;
                    };
                    number
                }
                Action::NotANumber => {
                    texts = true;
                    continue;
                }
                // A number or another: all the same to them.
                Action::Gone
                | Action::Stays
                | Action::Remove
                | Action::Renew { .. }
                | Action::Put { when: When::Always | When::Gone | When::Alive, .. } => continue,
                Action::Differs { .. }
                | Action::Put { when: When::Token(_), .. }
                | Action::Extend { .. }
                | Action::Impossible => return None,
            };
            numbers.min = numbers.min.min(number);
            numbers.max = numbers.max.max(number);
        }
        for other in self.others.iter().filter(|other| other.op.unknown) {
            match other.op.action {
                Action::Count { by, up: true, .. } => numbers.up = numbers.up.checked_add(by)?,
                Action::Count { by, .. } => numbers.down = numbers.down.checked_add(by)?,
                Action::Put { when: When::Token(_), .. } if self.model.guesses() => return None,
                Action::Extend { piece, .. } => {
                    if texts || !self.model.values.never_counts(piece) {
                        return None;
                    }
                }
                // Others store what they store, without what was counted before.
                Action::Put { .. }
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
        Some(numbers)
    }
}

/// Numbers that can matter, and what all open unknown operations can make of one.
#[derive(Clone, Copy)]
struct Numbers {
    min: u64,
    max: u64,
    up: u64,
    down: u64,
}

impl Numbers {
    /// Whether no counting leads from a number to one that matters.
    fn exclude(&self, number: u64) -> bool {
        let wraps = number.checked_add(self.up).is_none();
        let reach = number.saturating_sub(self.down)..=number.saturating_add(self.up);
        !wraps && (*reach.end() < self.min || self.max < *reach.start())
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

/// Configs, by the known operations that took effect.
struct Seen {
    configs: BTreeMap<u64, Vec<(State, Slots)>>,
    event: u32,
    now: u64,
}

impl Seen {
    /// Adds a config unless one is there from which as much can follow.
    fn add(&mut self, config: &Config, model: &Model) -> bool {
        let covered = self.covers(config, model);
        if !covered {
            self.configs.entry(config.known).or_default().push((config.state, config.unknown));
        }
        !covered
    }

    fn covers(&self, config: &Config, model: &Model) -> bool {
        self.configs.get(&config.known).into_iter().flatten().any(|(state, unknown)| {
            unknown.minus(&config.unknown).is_empty()
                && model.covers(state, &config.state, self.event, self.now)
        })
    }
}

/// Whether the operation, if it has a place in this state, changes no state where it has one. Then
/// it can take effect at once, whatever else is open.
fn is_read(action: &Action, state: &State) -> bool {
    match *action {
        Action::Stays | Action::Differs { .. } | Action::NotANumber => true,
        // A token that is known already belongs to no version that could come in between.
        Action::Read { token, .. } => token == 0 || state.is_token(token),
        Action::ReadRenew { .. }
        | Action::Gone
        | Action::Put { .. }
        | Action::Extend { .. }
        | Action::Remove
        | Action::Renew { .. }
        | Action::Count { .. }
        | Action::Impossible => false,
    }
}

/// Whether the operation, where it has a place, leaves a state that depends on itself alone.
fn leaves_the_same(action: &Action) -> bool {
    match action {
        Action::Gone | Action::Put { .. } | Action::Remove => true,
        Action::Read { .. }
        | Action::ReadRenew { .. }
        | Action::Stays
        | Action::Differs { .. }
        | Action::NotANumber
        | Action::Extend { .. }
        | Action::Renew { .. }
        | Action::Count { .. }
        | Action::Impossible => false,
    }
}

/// Above this many configs, comparing each with each costs more than it saves.
const REDUCED_MAX: usize = 4096;
