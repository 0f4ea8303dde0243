//! The search for an order, one key at a time.
//!
//! The events, calls and returns, are walked in the order of time with the set of all `Config`s
//! that are possible so far. An operation takes effect as late as can be: only when a return asks
//! for it, just before the returning one ("just-in-time linearization"). So the set stays small,
//! and an empty set names the reply that has no place.
//!
//! What keeps the set small, without losing an answer:
//!
//! 1. *Only where needed.* An unknown operation takes effect directly before a known one that has
//!    no place without it or leaves another state with it, not where it can as well follow.
//! 2. *Reads at once.* A known operation that has a place and changes nothing, in whatever state
//!    it has one, takes effect at once.
//! 3. *As much can follow.* A config is dropped for one that used a part of its unknown operations
//!    and whose state allows what its state allows (`Model::covers`).
//! 4. *Later is as good.* A config is dropped for one that leads to it by one open operation.
//! 5. *Alike is the same.* Of unknown operations with equal effects the earliest is used first.
//! 6. *Unread is unread.* Values that nothing still to come reads are one value (`Values`), and
//!    counting that leads to no number that matters is not tried (`Numbers`).
//!
//! Rules 1 and 2 hold because of the valid orders, one has the fewest unknown operations, and of
//! those one has them latest and reads earliest; this one is never excluded.
//!
//! # Source
//!
//! Wing and Gong, "Testing and Verifying Concurrent Objects"; Lowe, "Testing for Linearizability".

mod closing;
mod config;
mod pending;

use crate::action::Op;
use crate::history::{Input, Operation, Output};
use crate::model::{Model, State};
use crate::verdict::{Limits, Violation};
use closing::Closing;
use config::{Config, KNOWN_MAX, Slot, Slots, UNKNOWN_MAX};
use pending::Pending;

/// Why a search ended early.
pub(crate) enum Stop {
    Violation(Box<Violation>),
    Undecided(String),
}

/// Looks for an order of one key's operations, given in the order of their calls.
pub(crate) fn search(operations: &[&Operation], limits: Limits) -> Result<(), Stop> {
    let events = events(operations);
    let mut search = Search::new(operations, &events, limits);
    let key = operations.first().map_or("", |operation| &operation.key);
    for (number, event) in (1..).zip(&events) {
        let Some(op) = search.ops.get(event.index).copied().flatten() else { continue };
        if !event.returns {
            search
                .open(op, number)
                .map_err(|what| Stop::Undecided(format!("key {key:?}: {what}")))?;
            continue;
        }
        match search.close(op, number) {
            Ok(()) => {}
            Err(Failure::Steps) => {
                let (steps, at) = (limits.steps_max, event.at);
                let why = format!("key {key:?}: {steps} steps are used up at {at} us");
                return Err(Stop::Undecided(why));
            }
            Err(Failure::Stuck(deepest)) => {
                let violation = search.violation(operations, op, deepest);
                return Err(Stop::Violation(Box::new(violation)));
            }
        }
    }
    Ok(())
}

/// A call or return. Intervals are closed: at equal times, calls come first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: u64,
    returns: bool,
    index: usize,
}

fn events(operations: &[&Operation]) -> Vec<Event> {
    let mut events = Vec::with_capacity(operations.len() * 2);
    for (index, operation) in operations.iter().enumerate() {
        events.push(Event { at: operation.call_us, returns: false, index });
        if !operation.is_unknown()
            && let Some(at) = operation.return_us
        {
            events.push(Event { at: at.max(operation.call_us), returns: true, index });
        }
    }
    events.sort_unstable();
    events
}

/// How an event went wrong.
enum Failure {
    /// The steps ran out.
    Steps,
    /// No config has a place for the operation; the one that got furthest.
    Stuck(Config),
}

/// Operations around the point where the search got stuck that are reported.
const AROUND_MAX: usize = 40;

struct Search {
    model: Model,
    /// By index; `None` for those that tell nothing.
    ops: Vec<Option<Op>>,
    pending: Pending,
    configs: Vec<Config>,
    trail: Trail,
    steps_left: u64,
}

impl Search {
    fn new(operations: &[&Operation], events: &[Event], limits: Limits) -> Self {
        let mut model = Model::new(limits.clock_slack_us);
        for operation in operations {
            match &operation.input {
                Input::Append { .. } => model.values.note_growth(None),
                Input::Prepend { value } => model.values.note_growth(Some(value)),
                Input::Get
                | Input::Gets
                | Input::Gat { .. }
                | Input::Set { .. }
                | Input::Add { .. }
                | Input::Replace { .. }
                | Input::Cas { .. }
                | Input::Delete
                | Input::Touch { .. }
                | Input::Incr { .. }
                | Input::Decr { .. } => {}
            }
        }
        for (number, event) in (1..).zip(events).filter(|(_, event)| event.returns) {
            if let Some(Operation { output: Output::Value { value, .. }, .. }) =
                operations.get(event.index)
            {
                model.values.note_read(value, number);
            }
        }
        let ops = (0..).zip(operations).map(|(index, operation)| model.op(index, operation));
        let ops: Vec<_> = ops.collect();
        let mut returns = vec![u32::MAX; ops.len()];
        for (number, event) in (1..).zip(events).filter(|(_, event)| event.returns) {
            returns.iter_mut().skip(event.index).take(1).for_each(|at| *at = number);
        }
        let returning = ops.iter().zip(returns).filter_map(|(op, at)| Some(((*op)?, at)));
        model.note_tokens(&returning.collect::<Vec<_>>());
        let first = Config {
            known: 0,
            unknown: Slots::default(),
            state: State::ABSENT,
            trail: Trail::NONE,
        };
        Self {
            model,
            ops,
            pending: Pending::default(),
            configs: vec![first],
            trail: Trail::default(),
            steps_left: limits.steps_max,
        }
    }

    fn open(&mut self, op: Op, event: u32) -> Result<(), String> {
        match self.pending.open(op, event, &mut self.model) {
            Some(_) => Ok(()),
            None if op.unknown => Err(format!("more than {UNKNOWN_MAX} unknown outcomes")),
            None => Err(format!("more than {KNOWN_MAX} operations at a time")),
        }
    }

    /// Lets `op` take effect in every config where it has not, and drops those where it cannot.
    fn close(&mut self, op: Op, event: u32) -> Result<(), Failure> {
        let Some(slot) = self.pending.slot_of(&op) else { return Ok(()) };
        let mut closing = Closing {
            op,
            slot,
            event,
            others: self.pending.others(slot),
            pending: &self.pending,
            model: &mut self.model,
            trail: &mut self.trail,
            steps_left: &mut self.steps_left,
            done: Vec::new(),
        };
        closing.run(&self.configs)?;
        let mut done = closing.done;
        self.pending.close(slot, op.action.shows());
        if let Slot::Known(slot) = slot {
            done.iter_mut().for_each(|config| config.known &= !(1 << slot));
        }
        let everywhere = done.iter().fold(Slots::ALL, |all, config| all.and(&config.unknown));
        for over in [everywhere, self.pending.hopeless(&done)] {
            if !over.is_empty() {
                self.pending.close_unknown(&over);
                done.iter_mut().for_each(|config| config.unknown = config.unknown.minus(&over));
            }
        }
        self.configs = done;
        Ok(())
    }

    fn violation(&self, operations: &[&Operation], op: Op, deepest: Config) -> Violation {
        let taken = self.trail.walk(deepest.trail);
        let get = |index: &u32| operations.get(*index as usize).map(|found| (*found).clone());
        let stuck = operations.get(op.index as usize).copied();
        let stuck = stuck.cloned().expect("the operation is one of those searched");
        // Known ones that overlap with the stuck one, and unknown ones called before it returned.
        let mut around = Vec::new();
        for other in self.ops.iter().flatten() {
            let near = other.call <= op.ret && op.call <= other.ret;
            if near && !taken.contains(&other.index) || other.index == op.index {
                around.extend(get(&other.index));
            }
        }
        around.drain(..around.len().saturating_sub(AROUND_MAX));
        if !around.contains(&stuck) {
            around.insert(0, stuck.clone());
        }
        Violation {
            key: stuck.key.clone(),
            operation_count: operations.len(),
            prefix: taken.iter().filter_map(get).collect(),
            item: self.model.describe(deepest.state),
            stuck,
            around,
        }
    }
}

/// What took effect, as a forest of paths towards the start.
#[derive(Default)]
struct Trail(Vec<(u32, u32)>);

impl Trail {
    const NONE: u32 = u32::MAX;

    /// One more operation behind a path.
    fn push(&mut self, path: u32, index: u32) -> u32 {
        let at = u32::try_from(self.0.len()).unwrap_or(Self::NONE);
        self.0.push((path, index));
        at
    }

    /// The operations of a path, first to last.
    fn walk(&self, mut path: u32) -> Vec<u32> {
        let mut indices = Vec::new();
        while let Some((parent, index)) = self.0.get(path as usize) {
            indices.push(*index);
            path = *parent;
        }
        indices.reverse();
        indices
    }
}
