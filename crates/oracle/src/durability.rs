//! What must still be there when everything has healed.

use std::collections::BTreeMap;

use crate::history::{Input, Operation, Output};
use crate::verdict::{Limits, Verdict};

/// The client that `final_reads` reads as.
pub const FINAL_CLIENT: u32 = u32::MAX;

/// The last read of each key as an operation: value or miss, asked and answered at `at_us`.
///
/// `at_us` is when they were read, in microseconds since the history began. Where it is before a
/// return in the history, the two overlap, and the read proves less.
pub fn final_reads(final_values: &BTreeMap<String, Option<String>>, at_us: u64) -> Vec<Operation> {
    let read = |(key, value): (&String, &Option<String>)| Operation {
        client: FINAL_CLIENT,
        key: key.clone(),
        call_us: at_us,
        return_us: Some(at_us),
        input: Input::Get,
        output: match value {
            Some(value) => Output::Value { value: value.clone(), cas: None },
            None => Output::Miss,
        },
    };
    final_values.iter().map(read).collect()
}

/// Checks that each key's final value follows from the history: what was acknowledged is there or
/// was overwritten, deleted or expired, and nothing came back.
///
/// Call it once all faults are healed and all clients have stopped, with one read per key.
pub fn survived(
    operations: &[Operation],
    final_values: &BTreeMap<String, Option<String>>,
    at_us: u64,
    limits: Limits,
) -> Verdict {
    let reads = final_reads(final_values, at_us);
    crate::check_all(operations.iter().chain(&reads), limits)
}
