//! The table for exactly-once: what each origin has sent, and was told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use canary::Canary;

use crate::batch::BatchHeader;
use crate::outcome::mix;
use crate::{Origin, Outcomes, UnixMillis};

/// Every origin that was heard of lately.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    table: BTreeMap<Origin, OriginState>,
    /// Wrapping sum of the origins' digests.
    digest: u64,
}

/// One origin's batches.
///
/// ```text
///   applied and acknowledged | applied, outcomes kept | never seen
///   1 .............. (front) | ............. last_seq | next .....
/// ```
#[derive(Debug, Default)]
pub(crate) struct OriginState {
    pub(crate) last_seq: u64,
    /// Cluster time of its last entry.
    pub(crate) seen: UnixMillis,
    pub(crate) kept: VecDeque<Arc<Outcomes>>,
    /// Of the kept outcomes, in the same order: hashing a value once is enough.
    digests: VecDeque<u64>,
    /// Their wrapping sum.
    kept_digest: u64,
    /// Bytes of the items in the kept outcomes.
    kept_bytes: u64,
}

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is the next one: execute it, then [`Origins::record`] it.
    Fresh,
    /// It has been applied, and this was the answer.
    Known(Arc<Outcomes>),
    /// It has been applied, and the answer is gone.
    Forgotten,
    /// One before it is missing.
    Gap { next_seq: u64 },
}

impl Origins {
    /// Notes that the batch's origin is there, drops what it has acknowledged and the origins that
    /// have gone, and says what to do with the batch.
    pub(crate) fn admit(
        &mut self,
        header: &BatchHeader,
        before: UnixMillis,
        now: UnixMillis,
    ) -> Admission {
        self.change(header.origin, |state| {
            state.seen = now;
            state.acknowledge(header.acked);
        });
        // Once per minute of cluster time: a look at every origin is not for every entry.
        if before.0 / SWEEP_MS != now.0 / SWEEP_MS {
            self.sweep(now);
        }
        let state = self.table.get(&header.origin);
        let last_seq = state.map_or(0, |state| state.last_seq);
        if header.seq - 1 == last_seq {
            return Admission::Fresh;
        }
        if last_seq < header.seq {
            return Admission::Gap { next_seq: last_seq + 1 };
        }
        if Canary::BlindRetry.is_planted() {
            return Admission::Fresh;
        }
        let known = state.and_then(|state| state.find(header.seq));
        known.map_or(Admission::Forgotten, |outcomes| Admission::Known(Arc::clone(outcomes)))
    }

    /// Keeps the outcomes of a batch that [`Origins::admit`] called fresh.
    pub(crate) fn record(&mut self, origin: Origin, outcomes: Arc<Outcomes>, now: UnixMillis) {
        self.table.entry(origin).or_insert_with(|| {
            let fresh = OriginState { seen: now, ..OriginState::default() };
            self.digest = self.digest.wrapping_add(fresh.digest(origin));
            fresh
        });
        self.change(origin, |state| state.push(outcomes));
    }

    /// Puts a restored origin in place; false if it is there already.
    pub(crate) fn restore(&mut self, origin: Origin, state: OriginState) -> bool {
        self.digest = self.digest.wrapping_add(state.digest(origin));
        self.table.insert(origin, state).is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Origin, &OriginState)> {
        self.table.iter()
    }

    pub(crate) fn count(&self) -> u64 {
        self.table.len() as u64
    }

    pub(crate) fn digest(&self) -> u64 {
        mix([self.digest, self.count()])
    }

    fn change(&mut self, origin: Origin, change: impl FnOnce(&mut OriginState)) {
        if let Some(state) = self.table.get_mut(&origin) {
            let old = state.digest(origin);
            change(state);
            self.digest = self.digest.wrapping_sub(old).wrapping_add(state.digest(origin));
        }
    }

    fn sweep(&mut self, now: UnixMillis) {
        let digest = &mut self.digest;
        self.table.retain(|origin, state| {
            let stays = now.0.saturating_sub(state.seen.0) < ORIGIN_UNSEEN_MS;
            if !stays {
                *digest = digest.wrapping_sub(state.digest(*origin));
            }
            stays
        });
    }
}

impl OriginState {
    /// An origin without its outcomes, which are to be pushed.
    pub(crate) fn restored(last_seq: u64, seen: UnixMillis) -> Self {
        Self { last_seq, seen, ..Self::default() }
    }

    /// Keeps outcomes already counted in `last_seq`; false if they are not the next ones.
    pub(crate) fn restore(&mut self, outcomes: Arc<Outcomes>) -> bool {
        let next_seq = |last: &Arc<Outcomes>| last.seq().checked_add(1);
        let follows = self.kept.back().is_none_or(|last| next_seq(last) == Some(outcomes.seq()));
        if !follows || self.last_seq < outcomes.seq() || ORIGIN_WINDOW_MAX <= self.kept.len() {
            return false;
        }
        self.keep(outcomes);
        true
    }

    fn push(&mut self, outcomes: Arc<Outcomes>) {
        self.last_seq = outcomes.seq();
        self.keep(outcomes);
        while ORIGIN_WINDOW_MAX < self.kept.len()
            || (1 < self.kept.len() && KEPT_BYTES_MAX < self.kept_bytes)
        {
            self.pop();
        }
    }

    fn keep(&mut self, outcomes: Arc<Outcomes>) {
        let digest = outcomes.digest();
        self.digests.push_back(digest);
        self.kept_digest = self.kept_digest.wrapping_add(digest);
        self.kept_bytes += outcomes.item_bytes();
        self.kept.push_back(outcomes);
    }

    fn pop(&mut self) {
        if let (Some(outcomes), Some(digest)) = (self.kept.pop_front(), self.digests.pop_front()) {
            self.kept_digest = self.kept_digest.wrapping_sub(digest);
            self.kept_bytes -= outcomes.item_bytes();
        }
    }

    fn acknowledge(&mut self, acked: u64) {
        while self.kept.front().is_some_and(|outcomes| outcomes.seq() <= acked) {
            self.pop();
        }
    }

    fn find(&self, seq: u64) -> Option<&Arc<Outcomes>> {
        let first = self.kept.front()?.seq();
        self.kept.get(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    fn digest(&self, origin: Origin) -> u64 {
        let kept_count = self.kept.len() as u64;
        let Origin { node, epoch } = origin;
        mix([node, epoch, self.last_seq, self.seen.0, self.kept_digest, kept_count])
    }
}

/// Outcomes kept per origin. One that runs further ahead of its acknowledgements is not refused,
/// which would stop it for good: it loses the oldest answer, and a retry of that is `Forgotten`.
const ORIGIN_WINDOW_MAX: usize = 256;

/// Item bytes in the kept outcomes of one origin; the newest batch is kept whatever it holds.
const KEPT_BYTES_MAX: u64 = 16 << 20;

/// An origin that was not heard of for this long has gone.
const ORIGIN_UNSEEN_MS: u64 = 10 * 60 * 1000;
const SWEEP_MS: u64 = 60 * 1000;
