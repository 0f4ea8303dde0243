//! What is on its way to one follower: bounded messages and bytes, and an end to it when the log
//! cannot wait for that follower any longer.
//!
//! While there is no room nothing more is asked of raft, so that what it has meanwhile becomes one
//! large message. A follower whose disk takes long for a sync then has a few large appends to sync
//! instead of thousands of small ones, and keeps up.
//!
//! Raft keeps the log that a stream may still send: while there is one, it does not purge behind
//! what its follower has. So a follower that stands still would make the log in memory grow for as
//! long as nobody notices.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use crate::types::{LogId, ReplicaId};

/// The streams to all followers.
#[derive(Debug)]
pub(crate) struct Flights {
    /// Behind which index, as openraft counts, the log is about to end.
    cut: watch::Sender<u64>,
    targets: Mutex<BTreeMap<ReplicaId, Target>>,
}

#[derive(Debug, Default)]
struct Target {
    /// Open ones, and those being opened.
    streams: usize,
    /// One has been given up for a cut, and nothing has been answered since.
    outrun: bool,
}

impl Flights {
    /// Streams whose followers lack what goes with the entries up to `index` are given up.
    pub(crate) fn cut(&self, index: u64) {
        self.cut.send_replace(index);
    }

    /// Whether `target` may answer soon: a stream to it has not failed so far.
    pub(crate) fn expects(&self, target: ReplicaId) -> bool {
        self.targets.lock().get(&target).is_some_and(|target| 0 < target.streams && !target.outrun)
    }

    fn update(&self, target: ReplicaId, update: impl FnOnce(&mut Target)) {
        let mut targets = self.targets.lock();
        let entry = targets.entry(target).or_default();
        update(entry);
        if entry.streams == 0 && !entry.outrun {
            targets.remove(&target);
        }
    }
}

impl Default for Flights {
    fn default() -> Self {
        Self { cut: watch::Sender::new(0), targets: Mutex::default() }
    }
}

/// One stream to one follower.
pub(crate) struct Flight {
    target: ReplicaId,
    flights: Arc<Flights>,
    under_way: Arc<UnderWay>,
    cut: watch::Receiver<u64>,
    /// The last entry that the follower is known to have.
    matched: Option<u64>,
    /// What the follower lacks is gone already.
    behind: Arc<Notify>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.update(self.target, |target| target.streams -= 1);
    }
}

#[derive(Debug)]
struct UnderWay {
    /// In bytes.
    room: Semaphore,
    /// What each message without an answer takes of it, the oldest first.
    taken: Mutex<VecDeque<usize>>,
}

impl UnderWay {
    async fn take(&self, bytes: usize) -> Option<()> {
        self.room.acquire_many(u32::try_from(bytes).ok()?).await.ok()?.forget();
        Some(())
    }
}

impl Flight {
    /// A stream that begins now: earlier cuts do not concern it.
    pub(crate) fn new(flights: &Arc<Flights>, target: ReplicaId) -> Self {
        flights.update(target, |target| target.streams += 1);
        let under_way = UnderWay { room: Semaphore::new(BYTES_MAX), taken: Mutex::default() };
        Self {
            target,
            flights: Arc::clone(flights),
            under_way: Arc::new(under_way),
            cut: flights.cut.subscribe(),
            matched: None,
            behind: Arc::default(),
        }
    }

    /// Ends this stream when told; no other one.
    pub(crate) fn behind(&self) -> Arc<Notify> {
        Arc::clone(&self.behind)
    }

    /// Passes on what `input` has, each of so many bytes as `len` says, while there is room.
    pub(crate) fn bounded<S: Stream, L: Fn(&S::Item) -> usize>(
        &self,
        input: S,
        len: L,
    ) -> impl Stream<Item = S::Item> + use<S, L> {
        let state = (Box::pin(input), Arc::clone(&self.under_way), len);
        futures_util::stream::unfold(state, |(mut input, under_way, len)| async move {
            under_way.take(MESSAGE_BYTES_MIN).await?;
            let item = input.next().await?;
            let taken = len(&item).clamp(MESSAGE_BYTES_MIN, BYTES_MAX);
            under_way.take(taken - MESSAGE_BYTES_MIN).await?;
            under_way.taken.lock().push_back(taken);
            Some((item, (input, under_way, len)))
        })
    }

    /// The oldest message has been answered.
    pub(crate) fn answered(&mut self, matched: Option<&LogId>) {
        if self.matched.is_none() {
            self.flights.update(self.target, |target| target.outrun = false);
        }
        let taken = self.under_way.taken.lock().pop_front();
        self.under_way.room.add_permits(taken.unwrap_or_default());
        self.matched = self.matched.max(matched.map(|log_id| log_id.index));
    }

    /// Waits until the log is cut behind what the follower has, or has been.
    pub(crate) async fn outrun(&mut self) {
        loop {
            tokio::select! {
                biased;
                () = self.behind.notified() => break,
                changed = self.cut.changed() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                    if self.matched < Some(*self.cut.borrow_and_update()) {
                        break;
                    }
                }
            }
        }
        self.flights.update(self.target, |target| target.outrun = true);
    }
}

/// What a follower that is behind costs this node's memory beside the log; one message more when it
/// is larger than that.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// A message counts for at least this, so that there are at most 32: more than a healthy follower
/// ever has on its way.
const MESSAGE_BYTES_MIN: usize = BYTES_MAX / 32;

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};

    use super::*;
    use crate::types::LeaderId;

    fn log_id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: 1 }, index)
    }

    #[tokio::test]
    async fn what_is_not_answered_holds_the_rest_back() {
        let mut flight = Flight::new(&Arc::default(), 2);
        let mut sent = Box::pin(flight.bounded(stream::iter(0..), |_| 1));
        for want in 0..32 {
            assert_eq!(sent.next().now_or_never(), Some(Some(want)));
        }
        assert_eq!(sent.next().now_or_never(), None);
        flight.answered(None);
        assert_eq!(sent.next().now_or_never(), Some(Some(32)));
        assert_eq!(sent.next().now_or_never(), None);
    }

    #[tokio::test]
    async fn large_messages_are_fewer() {
        let mut flight = Flight::new(&Arc::default(), 2);
        let third = BYTES_MAX / 3;
        let lens = [third, third, third, 9 * BYTES_MAX, 1, 2];
        let mut sent = Box::pin(flight.bounded(stream::iter(lens), |len| *len));
        for _ in 0..3 {
            assert_eq!(sent.next().now_or_never(), Some(Some(third)));
        }
        for _ in 0..3 {
            assert_eq!(sent.next().now_or_never(), None);
            flight.answered(None);
        }
        assert_eq!(sent.next().now_or_never(), Some(Some(9 * BYTES_MAX)), "larger than the room");
        assert_eq!(sent.next().now_or_never(), None);
        flight.answered(None);
        assert_eq!(sent.next().now_or_never(), Some(Some(1)));
        assert_eq!(sent.next().now_or_never(), Some(Some(2)));
    }

    #[tokio::test]
    async fn only_a_cut_behind_a_follower_outruns_it() {
        let flights = Arc::new(Flights::default());
        flights.cut(9);
        let mut flight = Flight::new(&flights, 2);
        assert!(flight.outrun().now_or_never().is_none(), "an earlier one");
        flight.answered(Some(&log_id(5)));
        flights.cut(5);
        assert!(flight.outrun().now_or_never().is_none(), "it has that");
        flights.cut(6);
        assert!(flight.outrun().now_or_never().is_some());
    }

    #[tokio::test]
    async fn an_answer_is_expected_while_there_is_a_stream() {
        let flights = Arc::new(Flights::default());
        let [one, again] = [(); 2].map(|()| Flight::new(&flights, 2));
        drop(one);
        assert!(flights.expects(2) && !flights.expects(3));
        drop(again);
        assert!(!flights.expects(2));
    }

    /// Else a follower that has died would be waited for again and again.
    #[tokio::test]
    async fn no_answer_is_expected_of_one_that_was_outrun_until_there_is_one() {
        let flights = Arc::new(Flights::default());
        let mut flight = Flight::new(&flights, 2);
        flights.cut(6);
        assert!(flight.outrun().now_or_never().is_some());
        drop(flight);
        let mut flight = Flight::new(&flights, 2);
        assert!(!flights.expects(2));
        flight.answered(Some(&log_id(7)));
        assert!(flights.expects(2));
    }

    /// One that lacks what is gone must not end the streams of others that have it: they would be
    /// ended again and again, as long as somebody is behind. Simulation, seed 104.
    #[tokio::test]
    async fn who_is_behind_ends_alone() {
        let flights = Arc::new(Flights::default());
        let [mut one, mut other] = [2, 3].map(|target| Flight::new(&flights, target));
        one.behind().notify_one();
        assert!(one.outrun().now_or_never().is_some());
        assert!(other.outrun().now_or_never().is_none());
    }

    /// Nothing is known of what the follower has.
    #[tokio::test]
    async fn a_follower_that_has_not_answered_is_outrun() {
        let flights = Arc::new(Flights::default());
        let mut flight = Flight::new(&flights, 2);
        flights.cut(0);
        assert!(flight.outrun().now_or_never().is_some());
    }
}
