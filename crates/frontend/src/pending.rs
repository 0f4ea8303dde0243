//! Writes that have been proposed and not yet answered, in request order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use engine::{Command, Direction, Item, Outcome};
use protocol::{ProtocolError, ReplyTo};

use crate::backend::Unavailable;
use crate::counters::Counters;
use crate::output::Output;
use crate::server::Shared;
use crate::watch::Store;

pub(crate) mod meta;

/// The proposals of one connection whose replies are still owed.
#[derive(Debug)]
pub(crate) struct Pending<P> {
    queue: VecDeque<(P, Answer)>,
    /// What `gat` has read so far, for keys whose proposals are no longer queued.
    touched: Vec<Item>,
    /// Why the `gat` under way cannot be answered with items.
    touch_error: Option<Unavailable>,
}

/// What to do with an outcome.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Tell the client.
    Tell { reply_to: ReplyTo, kind: Kind },
    /// Somebody watches: shown, and then answered.
    Watched(Box<Watched>, Box<Self>),
    /// A meta command: its own way to tell.
    Meta(meta::Answer),
    /// The old item under a key whose new value was refused is gone: now say why it was refused.
    Refuse { reply_to: ReplyTo, error: ProtocolError },
    /// One key of a `gat`. The reply is begun with the last one, when no error can follow.
    Touch {
        reply_to: ReplyTo,
        /// For a miss in binary, which names the key; otherwise empty.
        key: Box<[u8]>,
        last: bool,
    },
}

/// A store that is shown to those who watch.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
}

impl Answer {
    /// The answer, once `watched` has been shown.
    pub(crate) fn watched(self, watched: Option<Box<Watched>>) -> Self {
        match watched {
            None => self,
            Some(watched) => Self::Watched(watched, Box::new(self)),
        }
    }
}

/// What is to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Cas,
    Decrement,
    Delete,
    Flush,
    Increment,
    Other,
    Store,
    /// A `cas` that is carried out as a `replace` (`-C`).
    Swap,
    Touch,
}

impl Kind {
    /// The kind of a write.
    pub(crate) fn of(command: &Command<'_>) -> Self {
        match command {
            Command::Arithmetic { direction: Direction::Decrement, .. } => Self::Decrement,
            Command::Arithmetic { direction: Direction::Increment, .. } => Self::Increment,
            Command::Delete { .. } => Self::Delete,
            Command::FlushAll { .. } => Self::Flush,
            Command::Store { cas: Some(_), .. } => Self::Cas,
            Command::Store { .. } => Self::Store,
            Command::Touch { .. } => Self::Touch,
            Command::MetaStore(engine::MetaStore { cas: Some(_), .. }) => Self::Cas,
            Command::MetaStore(_) => Self::Store,
            Command::MetaDelete(_) => Self::Delete,
            Command::MetaArithmetic(arithmetic) => match arithmetic.direction {
                Direction::Decrement => Self::Decrement,
                Direction::Increment => Self::Increment,
            },
            Command::Configure(_)
            | Command::GetAndTouch { .. }
            | Command::MetaGet(_)
            | Command::Tick
            | _ => Self::Other,
        }
    }
}

impl<P> Default for Pending<P> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), touched: Vec::new(), touch_error: None }
    }
}

impl<P> Pending<P>
where
    P: Future<Output = Result<Outcome, Unavailable>> + Unpin,
{
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// True while no further write may be proposed.
    pub(crate) fn is_full(&self) -> bool {
        PENDING_COUNT_MAX <= self.queue.len()
    }

    pub(crate) fn push(&mut self, proposal: P, answer: Answer) {
        self.queue.push_back((proposal, answer));
    }

    /// Answers as many requests as have their outcome, in order, as far as the output takes it;
    /// returns whether any was answered. If not, the task is woken when one can be.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut Output,
        counters: &Counters,
    ) -> bool {
        let mut answered = false;
        while !output.is_full() {
            let Some((proposal, _)) = self.queue.front_mut() else { break };
            let Poll::Ready(result) = Pin::new(proposal).poll(cx) else { break };
            let Some((_, answer)) = self.queue.pop_front() else { break };
            self.answer(answer, result, output, counters);
            answered = true;
        }
        if self.queue.is_empty() && KEEP_COUNT_MAX < self.queue.capacity() {
            self.queue = VecDeque::new();
        }
        answered
    }

    /// The rest of the `gat` under way will not be proposed: answers it with an error.
    pub(crate) fn abandon_touch(
        &mut self,
        reply_to: ReplyTo,
        error: Unavailable,
        output: &mut Output,
        counters: &Counters,
    ) {
        self.touched.clear();
        self.touch_error = None;
        unavailable(error, reply_to, output, counters);
    }

    fn answer(
        &mut self,
        answer: Answer,
        result: Result<Outcome, Unavailable>,
        output: &mut Output,
        counters: &Counters,
    ) {
        match (answer, result) {
            (Answer::Watched(watched, answer), result) => {
                if let Ok(outcome) = &result {
                    watched.shared.watchers.stored(&watched.store, outcome);
                }
                self.answer(*answer, result, output, counters);
            }
            (Answer::Tell { reply_to, kind }, Ok(outcome)) => {
                // A `cas` that became a `replace` (`-C`) has not found its item.
                let outcome = match (kind, outcome) {
                    (Kind::Swap, Outcome::NotStored) => Outcome::NotFound,
                    (_, outcome) => outcome,
                };
                count(kind, &outcome, counters);
                tell(reply_to, outcome, output);
            }
            (Answer::Refuse { reply_to, error }, Ok(_)) => {
                counters.store_too_large.add(1);
                reply_to.error(error, output.bytes());
            }
            (Answer::Meta(answer), Ok(outcome)) => answer.tell(outcome, output, counters),
            (Answer::Meta(answer), Err(error)) => {
                unavailable(error, ReplyTo::Meta(answer.reply), output, counters);
            }
            (Answer::Tell { reply_to, .. } | Answer::Refuse { reply_to, .. }, Err(error)) => {
                unavailable(error, reply_to, output, counters);
            }
            (Answer::Touch { reply_to, key, last }, result) => {
                self.touched(result, reply_to, &key, output, counters);
                if last {
                    self.end_touch(reply_to, output, counters);
                }
            }
        }
    }

    fn touched(
        &mut self,
        result: Result<Outcome, Unavailable>,
        reply_to: ReplyTo,
        key: &[u8],
        output: &mut Output,
        counters: &Counters,
    ) {
        counters.cmd_get.add(1);
        counters.cmd_touch.add(1);
        match result {
            Ok(Outcome::Value(item)) => {
                counters.get_hits.add(1);
                counters.touch_hits.add(1);
                self.touched.push(item);
            }
            Ok(_) => {
                counters.get_misses.add(1);
                counters.touch_misses.add(1);
                reply_to.miss(key, output.bytes());
            }
            Err(error) => self.touch_error = Some(error),
        }
    }

    fn end_touch(&mut self, reply_to: ReplyTo, output: &mut Output, counters: &Counters) {
        let items = std::mem::take(&mut self.touched);
        if let Some(error) = self.touch_error.take() {
            unavailable(error, reply_to, output, counters);
            return;
        }
        for item in items {
            let hit = item.clone();
            output.hit(reply_to, hit.key(), item);
        }
        reply_to.end(output.bytes());
    }
}

/// Answers that there is no answer.
pub(crate) fn unavailable(
    error: Unavailable,
    reply_to: ReplyTo,
    output: &mut Output,
    counters: &Counters,
) {
    counters.unavailable.add(1);
    let text = match error {
        Unavailable::Draining => "node is shutting down",
        Unavailable::NoQuorum => "no quorum",
        Unavailable::NoSpace => "no space on the disks of a majority",
        Unavailable::OutcomeUnknown => "timed out, outcome unknown",
    };
    reply_to.server_error(text, output.bytes());
}

fn tell(reply_to: ReplyTo, outcome: Outcome, output: &mut Output) {
    match outcome {
        Outcome::Stored(cas) => reply_to.stored(output.cas(cas), output.bytes()),
        Outcome::NotStored => reply_to.not_stored(output.bytes()),
        Outcome::Exists => reply_to.exists(output.bytes()),
        Outcome::NotFound => reply_to.not_found(output.bytes()),
        Outcome::Deleted => reply_to.deleted(output.bytes()),
        Outcome::Touched { flags, cas } => {
            reply_to.touched(flags, output.cas(cas), output.bytes());
        }
        Outcome::Number { value, cas } => {
            reply_to.number(value, output.cas(cas), output.bytes());
        }
        Outcome::NonNumeric => reply_to.non_numeric(output.bytes()),
        Outcome::TooLarge => reply_to.error(ProtocolError::TooLarge, output.bytes()),
        Outcome::OutOfMemory => reply_to.out_of_memory(output.bytes()),
        Outcome::Done => reply_to.done(output.bytes()),
        Outcome::Value(_) | _ => reply_to.server_error("unexpected outcome", output.bytes()),
    }
}

pub(crate) fn count(kind: Kind, outcome: &Outcome, counters: &Counters) {
    let missed = matches!(outcome, Outcome::NotFound);
    let either = |hits: &crate::counters::Counter, misses: &crate::counters::Counter| {
        if missed { misses.add(1) } else { hits.add(1) }
    };
    match kind {
        Kind::Cas if *outcome == Outcome::Exists => counters.cas_badval.add(1),
        Kind::Cas | Kind::Swap => either(&counters.cas_hits, &counters.cas_misses),
        Kind::Decrement => either(&counters.decr_hits, &counters.decr_misses),
        Kind::Delete => either(&counters.delete_hits, &counters.delete_misses),
        Kind::Increment => either(&counters.incr_hits, &counters.incr_misses),
        Kind::Touch => either(&counters.touch_hits, &counters.touch_misses),
        Kind::Flush | Kind::Other | Kind::Store => {}
    }
    if *outcome == Outcome::TooLarge {
        counters.store_too_large.add(1);
    } else if *outcome == Outcome::OutOfMemory {
        counters.store_no_memory.add(1);
    }
}

/// Writes of one connection that may be under way at the same time.
pub(crate) const PENDING_COUNT_MAX: usize = 1024;
/// A longer queue gives its memory back when it is empty.
const KEEP_COUNT_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// The text is spelled out where it is sent, so that sending it does not allocate.
    #[test]
    fn errors_are_sent_as_they_are_displayed() {
        for error in [
            Unavailable::Draining,
            Unavailable::NoQuorum,
            Unavailable::NoSpace,
            Unavailable::OutcomeUnknown,
        ] {
            let mut output = Output::default();
            let reply_to = crate::testing::text_get();
            unavailable(error, reply_to, &mut output, &Counters::default());
            let want = format!("SERVER_ERROR {error}\r\n");
            assert_eq!(output.plain(), Some(want.as_bytes()));
        }
    }
}
