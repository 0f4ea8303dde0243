//! What a test records: one request of one client and its reply.

use serde::{Deserialize, Serialize};

/// One request of one client and its reply.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked. Only shown: two operations of one client may overlap.
    pub client: u32,
    /// The key asked for.
    pub key: String,
    /// When the request was sent, in microseconds since the history began.
    pub call_us: u64,
    /// When the reply came, on the same clock. `None` where the outcome is unknown: the operation
    /// may take effect at any time after the call, or never, and `output` is not looked at.
    pub return_us: Option<u64>,
    /// What was asked.
    pub input: Input,
    /// What was answered.
    pub output: Output,
}

impl Operation {
    /// Whether nobody can tell if it took effect: it never returned or its output is unknown.
    pub fn is_unknown(&self) -> bool {
        self.return_us.is_none() || self.output == Output::Unknown
    }
}

/// When an item is to expire, as the request says it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Ttl {
    /// An exptime of 0.
    Never,
    /// A negative exptime: gone at once.
    Past,
    /// So many milliseconds after the operation takes effect.
    Millis(u64),
}

/// What a client asked of one key. Source: memcached `protocol.txt`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the protocol's own: value, ttl, token, delta")]
pub enum Input {
    /// Reads the value.
    Get,
    /// Reads the value and its token.
    Gets,
    /// Reads the value and sets when it expires.
    Gat { ttl: Ttl },
    /// Stores, whatever is there.
    Set { value: String, ttl: Ttl },
    /// Stores if nothing is there.
    Add { value: String, ttl: Ttl },
    /// Stores if something is there.
    Replace { value: String, ttl: Ttl },
    /// Puts text behind the value.
    Append { value: String },
    /// Puts text before the value.
    Prepend { value: String },
    /// Stores if the item still has this token.
    Cas { value: String, ttl: Ttl, token: u64 },
    /// Deletes the item.
    Delete,
    /// Sets when the item expires.
    Touch { ttl: Ttl },
    /// Adds to a number, modulo 2^64.
    Incr { by: u64 },
    /// Subtracts from a number, down to 0.
    Decr { by: u64 },
}

/// What a client was answered. A reply that does not fit the request is a violation.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// No reply, or one that leaves open whether the request took effect.
    Unknown,
    /// A hit.
    Value {
        /// The value as it came, blanks behind a number included.
        value: String,
        /// The item's token where the reply showed one.
        cas: Option<u64>,
    },
    /// A get, gets or gat found nothing.
    Miss,
    /// Stored.
    Stored,
    /// The condition of an add, replace, append or prepend did not hold.
    NotStored,
    /// A cas found an item with another token.
    Exists,
    /// A cas, delete, touch, incr or decr found nothing.
    NotFound,
    /// Deleted.
    Deleted,
    /// Touched.
    Touched,
    /// What an incr or decr made of the number.
    Number(u64),
    /// An incr or decr found something that is no number.
    NotANumber,
}
