//! What one key may hold, and what an operation with its reply makes of it.
//!
//! A request and its reply become one `Action`: what must have been there, and what is there
//! after. An unknown outcome becomes the action it would have had, with a window open at the end.

use std::collections::BTreeMap;

use crate::action::{Action, Op, TokenId, When, expires};
use crate::history::{Input, Operation, Output, Ttl};
use crate::values::{ABSENT, UNREAD, ValueId, Values};

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    pub(crate) value: ValueId,
    /// Known once a reply showed it, until the next change of the value.
    token: TokenId,
    /// The item may be gone for operations that return at or after this.
    lo: u64,
    /// The item may be there for operations called before this.
    hi: u64,
}

impl State {
    pub(crate) const ABSENT: Self = Self { value: ABSENT, token: 0, lo: 0, hi: 0 };

    pub(crate) fn is_token(&self, token: TokenId) -> bool {
        self.token == token
    }

    /// The item is there for `op`.
    fn alive(&self, op: &Op) -> bool {
        self.value != ABSENT && op.call < self.hi
    }

    /// The item is not there for `op`.
    fn gone(&self, op: &Op) -> bool {
        self.value == ABSENT || self.lo <= op.ret
    }
}

/// Later than every return, earlier than never.
const UNKNOWN_RETURN: u64 = u64::MAX - 1;
/// The expiry of an item that has none.
const NEVER: u64 = u64::MAX;

/// The rules for one key.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) values: Values,
    /// Some item of the key may expire.
    pub(crate) expires: bool,
    tokens: BTreeMap<u64, TokenId>,
    /// By token, what is still to come of it.
    uses: Vec<Uses>,
    /// Some cas names a token that no reply before it had shown.
    guesses: bool,
    slack: u64,
}

/// The last events that have to do with a token.
#[derive(Clone, Copy, Default)]
struct Uses {
    /// Of those that say the item has another one.
    differs: u32,
    /// Of those that say the item has this one, or may.
    owns: u32,
    /// The first return of a reply that showed it, in microseconds, plus one.
    shown: u64,
}

impl Model {
    pub(crate) fn new(clock_slack_us: u64) -> Self {
        Self { slack: clock_slack_us, ..Self::default() }
    }

    /// The operation in the model's terms; `None` if it tells nothing.
    pub(crate) fn op(&mut self, index: u32, operation: &Operation) -> Option<Op> {
        let call = operation.call_us;
        self.expires |= expires(&operation.input);
        if operation.is_unknown() {
            let action = self.effect(&operation.input)?;
            return Some(Op { index, call, ret: UNKNOWN_RETURN, unknown: true, action });
        }
        let ret = operation.return_us.unwrap_or(UNKNOWN_RETURN);
        let action = self.action(&operation.input, &operation.output);
        Some(Op { index, call, ret, unknown: false, action })
    }

    /// Takes in all operations, each with the number of its return among the events.
    pub(crate) fn note_tokens(&mut self, ops: &[(Op, u32)]) {
        self.uses = vec![Uses::default(); self.tokens.len() + 1];
        for (op, event) in ops {
            if let Action::Differs { token } = op.action
                && let Some(uses) = self.uses.get_mut(token as usize)
            {
                uses.differs = uses.differs.max(*event);
            }
            let Some(uses) = self.uses.get_mut(op.action.shows() as usize) else { continue };
            if matches!(op.action, Action::Put { .. }) {
                uses.owns = uses.owns.max(*event);
            } else if uses.shown == 0 || op.ret < uses.shown {
                uses.shown = op.ret + 1;
            }
        }
        self.guesses = ops.iter().any(|(op, _)| {
            let Action::Put { when: When::Token(token), .. } = op.action else { return false };
            let shown = self.uses(token).shown;
            shown == 0 || op.call < shown
        });
    }

    pub(crate) fn guesses(&self) -> bool {
        self.guesses
    }

    fn uses(&self, token: TokenId) -> Uses {
        self.uses.get(token as usize).copied().unwrap_or_default()
    }

    /// The state, less what makes no difference from `event` on.
    pub(crate) fn settled(&mut self, state: State, event: u32) -> State {
        let value = self.values.settled(state.value, event);
        let uses = self.uses(state.token);
        let idle = uses.differs.max(uses.owns) < event;
        let token = if value == UNREAD && idle && !self.guesses { 0 } else { state.token };
        State { value, token, ..state }
    }

    /// Whether all that can follow `b` from `event` on can follow `a` as well, if all operations
    /// still to take effect return at `now` or later.
    pub(crate) fn covers(&self, a: &State, b: &State, event: u32, now: u64) -> bool {
        if b.value == ABSENT {
            return a.value == ABSENT || a.lo <= now;
        }
        let item = (a.value, a.token) == (b.value, b.token)
            // Nobody reads b, and a counts as little.
            || (b.value, b.token) == (UNREAD, 0)
                && self.values.never_counts(a.value)
                && (a.token == 0 || self.uses(a.token).differs < event && !self.guesses);
        item && a.value != ABSENT && a.lo <= b.lo && b.hi <= a.hi
    }

    fn token(&mut self, token: Option<u64>) -> TokenId {
        let Some(token) = token else { return 0 };
        let next = TokenId::try_from(self.tokens.len() + 1).unwrap_or(TokenId::MAX);
        *self.tokens.entry(token).or_insert(next)
    }

    fn put(&mut self, value: &str, ttl: Ttl, when: When) -> Action {
        Action::Put { value: self.values.id(value), ttl, when }
    }

    /// What a request did if it took effect, as far as that can be seen.
    fn effect(&mut self, input: &Input) -> Option<Action> {
        Some(match input {
            // An item that is gone at once takes its place where nothing is.
            Input::Get | Input::Gets | Input::Add { ttl: Ttl::Past, .. } => return None,
            Input::Set { ttl: Ttl::Past, .. }
            | Input::Replace { ttl: Ttl::Past, .. }
            | Input::Gat { ttl: Ttl::Past } => Action::Remove,
            Input::Gat { ttl } => Action::Renew { ttl: *ttl },
            Input::Set { .. }
            | Input::Add { .. }
            | Input::Replace { .. }
            | Input::Append { .. }
            | Input::Prepend { .. }
            | Input::Cas { .. } => self.action(input, &Output::Stored),
            Input::Delete | Input::Touch { ttl: Ttl::Past } => Action::Remove,
            Input::Touch { ttl } => Action::Renew { ttl: *ttl },
            Input::Incr { by } => Action::Count { by: *by, up: true, number: None },
            Input::Decr { by } => Action::Count { by: *by, up: false, number: None },
        })
    }

    fn action(&mut self, input: &Input, output: &Output) -> Action {
        use {Input as I, Output as O};
        match (input, output) {
            (I::Get | I::Gets, O::Value { value, cas }) => {
                Action::Read { value: self.values.id(value), token: self.token(*cas) }
            }
            (I::Gat { ttl }, O::Value { value, cas }) => {
                let (value, token) = (self.values.id(value), self.token(*cas));
                Action::ReadRenew { value, token, ttl: *ttl }
            }
            (I::Get | I::Gets | I::Gat { .. }, O::Miss)
            | (I::Replace { .. } | I::Append { .. } | I::Prepend { .. }, O::NotStored)
            | (
                I::Cas { .. } | I::Delete | I::Touch { .. } | I::Incr { .. } | I::Decr { .. },
                O::NotFound,
            ) => Action::Gone,
            (I::Add { .. }, O::NotStored) => Action::Stays,
            (I::Set { value, ttl }, O::Stored) => self.put(value, *ttl, When::Always),
            (I::Add { value, ttl }, O::Stored) => self.put(value, *ttl, When::Gone),
            (I::Replace { value, ttl }, O::Stored) => self.put(value, *ttl, When::Alive),
            (I::Append { value }, O::Stored) => {
                Action::Extend { piece: self.values.id(value), front: false }
            }
            (I::Prepend { value }, O::Stored) => {
                Action::Extend { piece: self.values.id(value), front: true }
            }
            (I::Cas { value, ttl, token }, O::Stored) => {
                let token = self.token(Some(*token));
                self.put(value, *ttl, When::Token(token))
            }
            (I::Cas { token, .. }, O::Exists) => {
                Action::Differs { token: self.token(Some(*token)) }
            }
            (I::Delete, O::Deleted) => Action::Remove,
            (I::Touch { ttl }, O::Touched) => Action::Renew { ttl: *ttl },
            (I::Incr { by }, O::Number(number)) => {
                Action::Count { by: *by, up: true, number: Some(*number) }
            }
            (I::Decr { by }, O::Number(number)) => {
                Action::Count { by: *by, up: false, number: Some(*number) }
            }
            (I::Incr { .. } | I::Decr { .. }, O::NotANumber) => Action::NotANumber,
            _ => Action::Impossible,
        }
    }

    /// The state after `op`, if the state before allows it.
    ///
    /// `shown` says whether a token was the item's at some earlier time, so that a new version
    /// cannot have it.
    pub(crate) fn step(
        &mut self,
        state: State,
        op: &Op,
        shown: impl Fn(TokenId) -> bool,
    ) -> Option<State> {
        // A token proves to be the item's: as known, or new.
        let owns = |token| token == 0 || state.is_token(token) || state.token == 0 && !shown(token);
        let alive = state.alive(op);
        match op.action {
            Action::Read { value, token } => {
                let token_after = if token == 0 { state.token } else { token };
                (alive && state.value == value && owns(token))
                    .then_some(State { token: token_after, ..state })
            }
            Action::ReadRenew { value, token, ttl } => {
                let token_after = if token == 0 { state.token } else { token };
                (alive && state.value == value && owns(token))
                    .then(|| self.expiring(State { token: token_after, ..state }, op, ttl))
            }
            Action::Gone => state.gone(op).then_some(State::ABSENT),
            Action::Stays => alive.then_some(state),
            Action::Differs { token } => (alive && !state.is_token(token)).then_some(state),
            Action::NotANumber => {
                (alive && self.values.number(state.value).is_none()).then_some(state)
            }
            Action::Put { value, ttl, when } => {
                let legal = match when {
                    When::Always => true,
                    When::Gone => state.gone(op),
                    When::Alive => alive,
                    When::Token(token) => alive && owns(token),
                };
                legal.then(|| self.expiring(State { value, token: 0, ..state }, op, ttl))
            }
            Action::Extend { piece, front } => alive.then(|| {
                let value = self.values.joined(state.value, piece, front);
                State { value, token: 0, ..state }
            }),
            // If one of unknown outcome comes after the expiry, the item is gone as well.
            Action::Remove => {
                (alive || op.unknown && state.value != ABSENT).then_some(State::ABSENT)
            }
            Action::Renew { ttl } => alive.then(|| self.expiring(state, op, ttl)),
            Action::Count { by, up, number } => {
                let old = if alive { self.values.number(state.value)? } else { return None };
                let new = if up { old.wrapping_add(by) } else { old.saturating_sub(by) };
                number.is_none_or(|number| number == new).then(|| State {
                    value: self.values.counted(state.value, new),
                    token: 0,
                    ..state
                })
            }
            Action::Impossible => None,
        }
    }

    /// The item with the expiry that `ttl` gives it between the call and the return of `op`.
    fn expiring(&self, item: State, op: &Op, ttl: Ttl) -> State {
        match ttl {
            Ttl::Never => State { lo: NEVER, hi: NEVER, ..item },
            Ttl::Past => State::ABSENT,
            Ttl::Millis(ms) => {
                let ttl = ms.saturating_mul(1000);
                let lo = op.call.saturating_add(ttl).saturating_sub(self.slack);
                let hi = op.ret.saturating_add(ttl).saturating_add(self.slack);
                // An item that expires has a deadline before the end of time.
                State { lo: lo.min(UNKNOWN_RETURN), hi, ..item }
            }
        }
    }

    /// What the key holds, in words.
    pub(crate) fn describe(&self, state: State) -> String {
        let value = match state.value {
            ABSENT => return "nothing".to_owned(),
            UNREAD => "a value that is never read".to_owned(),
            id => format!("{:?}", self.values.text(id).unwrap_or_default()),
        };
        let shown = self.tokens.iter().find(|(_, id)| state.is_token(**id));
        let token = shown.map_or("a token not seen yet".to_owned(), |(t, _)| format!("token {t}"));
        let ms = |us: u64| if us < UNKNOWN_RETURN { (us / 1000).to_string() } else { "..".into() };
        match state.lo {
            NEVER => format!("{value} with {token}, for ever"),
            lo => format!("{value} with {token}, till {} to {} ms", ms(lo), ms(state.hi)),
        }
    }
}
