//! Small changes of a history that may make it wrong.

use super::rng::Rng;
use crate::history::{Operation, Output};

/// Exchanges a reply or an operation for another one of the history, forgets a reply, or moves an
/// operation in time. The history may stay right: what it is then is for judges to agree on.
pub fn disturb(history: &mut [Operation], rng: &mut Rng) {
    let (from, to) = (rng.index(history.len()), rng.index(history.len()));
    let Some(other) = history.get(from).cloned() else { return };
    let Some(operation) = history.get_mut(to) else { return };
    let Operation { call_us, return_us, .. } = *operation;
    match rng.below(4) {
        0 => operation.output = other.output,
        1 => *operation = Operation { call_us, return_us, ..other },
        2 => operation.output = Output::Unknown,
        _ => {
            let later = rng.below(5000);
            operation.call_us += later;
            operation.return_us = return_us.map(|at| at + later);
        }
    }
}
