//! An operation with its reply, as a condition on the state before and what it makes of it.

use crate::history::{Input, Ttl};
use crate::values::ValueId;

/// A token's number within its key; 0 where the token is not known.
pub(crate) type TokenId = u32;

/// An operation of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    /// Its place in the history.
    pub(crate) index: u32,
    pub(crate) call: u64,
    /// `UNKNOWN_RETURN` for an unknown outcome.
    pub(crate) ret: u64,
    pub(crate) unknown: bool,
    pub(crate) action: Action,
}

/// What must be there, and what is there after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The value is there and stays.
    Read { value: ValueId, token: TokenId },
    /// The value is there and gets another expiry.
    ReadRenew { value: ValueId, token: TokenId, ttl: Ttl },
    /// Nothing is there, from now on.
    Gone,
    /// Something is there and stays.
    Stays,
    /// Something with another token is there and stays.
    Differs { token: TokenId },
    /// Something that is no number is there and stays.
    NotANumber,
    /// The item is stored.
    Put { value: ValueId, ttl: Ttl, when: When },
    /// Something is there and grows.
    Extend { piece: ValueId, front: bool },
    /// Something is there and is deleted.
    Remove,
    /// Something is there and gets another expiry.
    Renew { ttl: Ttl },
    /// A number is there and changes, to `number` if that is known.
    Count { by: u64, up: bool, number: Option<u64> },
    /// No state allows this reply.
    Impossible,
}

/// Whether a request may give an item an expiry.
pub(crate) fn expires(input: &Input) -> bool {
    match input {
        Input::Gat { ttl }
        | Input::Set { ttl, .. }
        | Input::Add { ttl, .. }
        | Input::Replace { ttl, .. }
        | Input::Cas { ttl, .. }
        | Input::Touch { ttl } => matches!(ttl, Ttl::Millis(_)),
        Input::Get
        | Input::Gets
        | Input::Append { .. }
        | Input::Prepend { .. }
        | Input::Delete
        | Input::Incr { .. }
        | Input::Decr { .. } => false,
    }
}

/// What a store depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    Gone,
    Alive,
    /// An item with this token is there.
    Token(TokenId),
}

impl Action {
    /// The token that the reply proves to be the item's.
    pub(crate) fn shows(&self) -> TokenId {
        match *self {
            Self::Read { token, .. }
            | Self::ReadRenew { token, .. }
            | Self::Put { when: When::Token(token), .. } => token,
            Self::Put { when: When::Always | When::Gone | When::Alive, .. }
            | Self::Gone
            | Self::Stays
            | Self::Differs { .. }
            | Self::NotANumber
            | Self::Extend { .. }
            | Self::Remove
            | Self::Renew { .. }
            | Self::Count { .. }
            | Self::Impossible => 0,
        }
    }

    /// When the state it leaves expires, where it decides on that.
    pub(crate) fn ttl(&self) -> Option<Ttl> {
        match *self {
            Self::ReadRenew { ttl, .. } | Self::Put { ttl, .. } | Self::Renew { ttl } => Some(ttl),
            Self::Read { .. }
            | Self::Gone
            | Self::Stays
            | Self::Differs { .. }
            | Self::NotANumber
            | Self::Extend { .. }
            | Self::Remove
            | Self::Count { .. }
            | Self::Impossible => None,
        }
    }
}
