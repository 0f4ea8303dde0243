//! Judges recorded histories of a memcached-like store: is there an order that explains them?
//!
//! ```text
//!   clients ──record──▶ [Operation] ──per key──▶ model + search ──▶ Verdict
//!                            └──write_jsonl──▶ porcupine (Go) ──▶ the judge of record
//! ```
//!
//! A history is linearizable if every operation can be given a moment between its call and its
//! return at which it took effect, so that the replies are those of one memcached. Keys are
//! independent, so that each is judged by itself.
//!
//! # Invariants
//!
//! 1. *Sound.* A violation is one: no order of the recorded operations, with any choice of which
//!    unknown ones took effect and when, and any clock within the slack, gives the replies.
//! 2. *Complete.* What is called linearizable has an order under the model's rules (below).
//! 3. *Never silent.* Where steps run out the verdict is `Undecided`.
//! 4. *Second opinion.* `porcupine` holds the same rules, written anew in Go, over a checker that
//!    others wrote; the two agree on every history.
//!
//! # The rules for one key
//!
//! - An unknown operation may take effect at any time after its call, or never. If it deletes, it
//!   finds an item that has expired as well.
//! - An item stored with a ttl by an operation called at `c` that returned at `r` may be seen by
//!   operations called before `r + ttl + slack`, and be found missing by those that return at or
//!   after `c + ttl - slack`. Once found missing it stays missing.
//! - append, prepend, incr and decr keep the expiry; gat and touch replace it, set, add, replace
//!   and cas set it. A negative exptime is at once.
//! - A token belongs to one version of the item, for ever. gat and touch make no new version.
//! - incr wraps at 2^64, decr stops at 0; a number shorter than the text it replaces is filled up
//!   with blanks.
//!
//! Not here: running clients; eviction and `flush_all`, which the histories must not have. A token
//! that was never shown by a reply, but guessed by a cas with an unknown outcome, is forgotten.
//! The bounds of an expiry are not narrowed by what was seen of the item.
//!
//! # Source
//!
//! Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent Objects"; memcached
//! `doc/protocol.txt`; <https://github.com/anishathalye/porcupine>.

mod action;
mod durability;
mod history;
mod jsonl;
mod model;
pub mod porcupine;
mod search;
pub mod testing;
mod values;
mod verdict;

use std::collections::BTreeMap;

pub use durability::{FINAL_CLIENT, final_reads, survived};
pub use history::{Input, Operation, Output, Ttl};
pub use jsonl::{HistoryError, read_jsonl, write_jsonl};
pub use verdict::{Limits, Verdict, Violation};

use search::Stop;

/// Looks for an order that explains every reply, key by key.
///
/// The operations may come in any order; the times count. The first key by name with a violation
/// is reported; a key that is undecided hides no violation of another.
pub fn check(operations: &[Operation], limits: Limits) -> Verdict {
    check_all(operations, limits)
}

fn check_all<'a>(operations: impl IntoIterator<Item = &'a Operation>, limits: Limits) -> Verdict {
    let mut by_key = BTreeMap::<&str, Vec<&Operation>>::new();
    for operation in operations {
        by_key.entry(&operation.key).or_default().push(operation);
    }
    let mut verdict = Verdict::Linearizable;
    for operations in by_key.values_mut() {
        operations.sort_by_key(|operation| operation.call_us);
        match search::search(operations, limits) {
            Ok(()) => {}
            Err(Stop::Violation(violation)) => return Verdict::Violation(violation),
            Err(Stop::Undecided(why)) => verdict = Verdict::Undecided(why),
        }
    }
    verdict
}
