//! Saves messages that only say "committed up to here": the next entries say it as well.
//!
//! openraft sends one as soon as an entry is committed. Under load the next entry follows within
//! the same millisecond, and a follower needs the commit only when somebody reads from it. So a
//! message without entries waits for a moment, for entries to follow, or for a read barrier.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::Fuse;
use futures_util::{Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use tokio::sync::Notify;

use crate::context::Context;
use crate::types::{TypeConfig, log_index};

type Request = AppendEntriesRequest<TypeConfig>;

/// The index that a reader on some follower waits for.
#[derive(Debug, Default)]
pub(crate) struct Urgent {
    index: AtomicU64,
    raised: Notify,
}

impl Urgent {
    /// A follower's reader has been promised `index`: it must learn that it is committed.
    pub(crate) fn raise(&self, index: u64) {
        if self.index.fetch_max(index, Ordering::AcqRel) < index {
            self.raised.notify_waiters();
        }
    }
}

struct Holder<S: Stream> {
    input: Fuse<S>,
    context: Arc<Context>,
    held: Option<Request>,
    /// The commit index that the follower has been told.
    told: u64,
}

/// Passes requests on, but for those that the next one makes superfluous.
pub(crate) fn hold_commits<S>(input: S, context: Arc<Context>) -> impl Stream<Item = Request> + Send
where
    S: Stream<Item = Request> + Send + Unpin,
{
    let holder = Holder { input: input.fuse(), context, held: None, told: 0 };
    futures_util::stream::unfold(holder, |mut holder| async move {
        let request = holder.next().await?;
        holder.told = commit(&request).max(holder.told);
        Some((request, holder))
    })
}

fn commit(request: &Request) -> u64 {
    request.leader_commit.as_ref().map_or(0, |log_id| log_index(log_id).0)
}

impl<S: Stream<Item = Request> + Unpin> Holder<S> {
    async fn next(&mut self) -> Option<Request> {
        loop {
            let request = match self.held.take() {
                None => self.input.next().await?,
                Some(held) => match self.hold().await {
                    Some(next) => next,
                    None => return Some(held),
                },
            };
            // Only news of a commit can wait: a probe is answered before anything follows it.
            if !request.entries.is_empty() || commit(&request) <= self.told {
                return Some(request);
            }
            self.held = Some(request);
        }
    }

    /// What follows the held request, or nothing when it has waited long enough.
    async fn hold(&mut self) -> Option<Request> {
        let (urgent, told) = (&self.context.urgent, self.told);
        let raised = urgent.raised.notified();
        tokio::pin!(raised);
        raised.as_mut().enable();
        if told < urgent.index.load(Ordering::Acquire) {
            return None;
        }
        tokio::select! {
            biased;
            next = self.input.next() => next,
            () = raised => None,
            () = tokio::time::sleep(HOLD) => None,
        }
    }
}

/// One step of tokio's timer.
const HOLD: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    use openraft::Vote;
    use openraft::entry::RaftEntry;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use crate::types::{Entry, LeaderId, LogId};

    fn log_id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: 1 }, index)
    }

    /// A request behind `prev` with `entries` entries that says `commit` is committed.
    fn request(prev: u64, entries: u64, commit: u64) -> Request {
        let indices = prev + 1..=prev + entries;
        Request {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(log_id(prev)),
            entries: indices.map(|index| Entry::new_blank(log_id(index))).collect(),
            leader_commit: Some(log_id(commit)),
        }
    }

    fn passed(request: Option<Request>) -> Option<(usize, u64)> {
        request.map(|request| (request.entries.len(), commit(&request)))
    }

    /// openraft polls nothing after the end, and neither may we.
    #[tokio::test(start_paused = true)]
    async fn what_is_held_goes_out_before_the_end() {
        let (sender, input) = mpsc::channel(8);
        let held = hold_commits(ReceiverStream::new(input), Arc::new(Context::for_tests()));
        tokio::pin!(held);
        sender.send(request(3, 0, 3)).await.unwrap();
        drop(sender);
        assert_eq!(passed(held.next().await), Some((0, 4)));
        assert_eq!(passed(held.next().await), None);
    }

    #[tokio::test(start_paused = true)]
    async fn entries_take_the_place_of_news() {
        let (sender, input) = mpsc::channel(8);
        let held = hold_commits(ReceiverStream::new(input), Arc::new(Context::for_tests()));
        tokio::pin!(held);
        sender.send(request(3, 0, 3)).await.unwrap();
        sender.send(request(3, 1, 3)).await.unwrap();
        sender.send(request(4, 0, 4)).await.unwrap();
        assert_eq!(passed(held.next().await), Some((1, 4)));
        assert_eq!(passed(held.next().await), Some((0, 5)));
    }

    /// A message without news is a probe: openraft waits for its answer.
    #[tokio::test(start_paused = true)]
    async fn a_probe_is_not_held() {
        let (sender, input) = mpsc::channel(8);
        let held = hold_commits(ReceiverStream::new(input), Arc::new(Context::for_tests()));
        tokio::pin!(held);
        sender.send(request(3, 1, 4)).await.unwrap();
        assert_eq!(passed(held.next().await), Some((1, 5)));
        let begun = tokio::time::Instant::now();
        sender.send(request(3, 0, 4)).await.unwrap();
        assert_eq!(passed(held.next().await), Some((0, 5)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_reader_makes_it_urgent() {
        let context = Arc::new(Context::for_tests());
        let (sender, input) = mpsc::channel(8);
        let held = hold_commits(ReceiverStream::new(input), Arc::clone(&context));
        tokio::pin!(held);
        let begun = tokio::time::Instant::now();
        sender.send(request(3, 0, 3)).await.unwrap();
        assert!(futures_util::poll!(held.next()).is_pending());
        context.urgent.raise(4);
        assert_eq!(passed(held.next().await), Some((0, 4)));
        sender.send(request(3, 0, 4)).await.unwrap();
        context.urgent.raise(5);
        assert_eq!(passed(held.next().await), Some((0, 5)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
