//! Cluster time: what the leader stamps, and what followers follow.
//!
//! It starts from the first leader's wall clock and then runs on monotonic clocks alone, so that a
//! wall clock that jumps neither expires nor resurrects anything. The leader lets it drift towards
//! its wall clock by at most `SLEW_MS_PER_S`.
//!
//! A node that starts knows only its wall clock, which may be wrong, and what it has applied. It
//! takes a leader's word for the time as soon as it hears one. A leader that never heard one sets the
//! time by the earliest clock of those who voted, leaving out those that show a time before what was
//! applied: so one clock that is wrong neither expires nor resurrects anything.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};

use engine::UnixMillis;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::world::WallClock;

/// One node's idea of cluster time.
pub(crate) struct ClusterClock {
    started: Instant,
    wall: WallClock,
    /// Cluster time minus the time since `started`, in milliseconds; `UNSET` before anybody said.
    offset_ms: AtomicI64,
    /// When the clock last went backwards, in milliseconds since `started`.
    back_at_ms: AtomicI64,
    /// Cluster time that has been applied before anybody said.
    applied_ms: AtomicI64,
    /// The voters' clocks, minus the time since `started`; the latest heard last.
    voters_ms: Mutex<VecDeque<i64>>,
}

impl ClusterClock {
    /// A clock that nobody has set yet.
    pub(crate) fn new(wall: WallClock) -> Self {
        Self {
            started: Instant::now(),
            wall,
            offset_ms: AtomicI64::new(UNSET),
            back_at_ms: AtomicI64::new(-BACK_EVERY_MS),
            applied_ms: AtomicI64::new(0),
            voters_ms: Mutex::default(),
        }
    }

    /// Cluster time now; while nobody has set it that of the earliest clock, or what was applied if
    /// that is later.
    pub(crate) fn now(&self) -> UnixMillis {
        self.known().unwrap_or_else(|| unix(self.guess_ms()))
    }

    /// Cluster time now for others to follow; 0, which says nothing, while it is a guess.
    pub(crate) fn say(&self) -> UnixMillis {
        self.known().unwrap_or(UnixMillis(0))
    }

    /// For a candidate: cluster time, or the wall clock's while that is a guess.
    pub(crate) fn as_voter(&self) -> UnixMillis {
        self.known().unwrap_or_else(|| unix(self.wall_ms()))
    }

    /// Cluster time now, unless nobody has set it.
    fn known(&self) -> Option<UnixMillis> {
        let offset = self.offset_ms.load(Ordering::Relaxed);
        (offset != UNSET).then(|| unix(self.elapsed_ms() + offset))
    }

    /// Takes over the time that the leader has just said, forwards at once and backwards by a
    /// millisecond now and then: a message may have been long on its way, and many at once.
    pub(crate) fn follow(&self, leader: UnixMillis) {
        if leader.0 == 0 {
            return;
        }
        let (offset, elapsed) = (self.offset_ms.load(Ordering::Relaxed), self.elapsed_ms());
        let said = ms(leader) - elapsed;
        if offset <= said {
            self.offset_ms.store(said, Ordering::Relaxed);
        } else if self.back_at_ms.load(Ordering::Relaxed) + BACK_EVERY_MS <= elapsed {
            self.offset_ms.store(offset - BACK_MS, Ordering::Relaxed);
            self.back_at_ms.store(elapsed, Ordering::Relaxed);
        }
    }

    /// Takes note of the clock of a voter, which counts until a leader speaks.
    pub(crate) fn hear_voter(&self, voter: UnixMillis) {
        if voter.0 != 0 {
            let mut voters = self.voters_ms.lock();
            if voters.len() == VOTERS_HEARD {
                voters.pop_front();
            }
            voters.push_back(ms(voter) - self.elapsed_ms());
        }
    }

    /// The earliest clock that can be right; what was applied if none can.
    fn guess_ms(&self) -> i64 {
        let (applied, elapsed) = (self.applied_ms.load(Ordering::Relaxed), self.elapsed_ms());
        let voters = self.voters_ms.lock();
        let clocks = voters.iter().map(|voter| voter.saturating_add(elapsed));
        let clocks = clocks.chain([self.wall_ms()]).filter(|clock| applied <= *clock);
        clocks.min().unwrap_or(applied)
    }

    /// Never behind an entry that was applied.
    pub(crate) fn at_least(&self, applied: UnixMillis) {
        match self.known() {
            None => {
                self.applied_ms.fetch_max(ms(applied), Ordering::Relaxed);
            }
            Some(now) if now < applied => self.follow(applied),
            Some(_) => {}
        }
    }

    /// Makes a guess the cluster's time; a leader calls it that has applied all that was committed
    /// before it came to lead.
    pub(crate) fn settle(&self) {
        if self.known().is_none() {
            self.follow(self.now());
        }
    }

    /// One step towards the wall clock; the leader calls it once a second.
    pub(crate) fn slew(&self) {
        if let Some(now) = self.known().map(ms) {
            let step = (self.wall_ms() - now).clamp(-SLEW_MS_PER_S, SLEW_MS_PER_S);
            self.follow(unix(now + step));
        }
    }

    fn wall_ms(&self) -> i64 {
        i64::try_from((self.wall)()).unwrap_or(i64::MAX)
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

fn ms(time: UnixMillis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn unix(ms: i64) -> UnixMillis {
    UnixMillis(u64::try_from(ms).unwrap_or(0))
}

const UNSET: i64 = i64::MIN;
/// More than vote in a cluster.
const VOTERS_HEARD: usize = 16;

/// A tenth of a percent: an hour of error takes six weeks, and no deadline moves visibly.
const SLEW_MS_PER_S: i64 = 1;

/// How a follower's clock that is ahead comes back.
const BACK_MS: i64 = 1;
/// Enough for a clock that is two percent fast, which none is.
const BACK_EVERY_MS: i64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_leader_and_not_the_wall() {
        let clock = ClusterClock::new(crate::world::system_wall());
        clock.follow(UnixMillis(1_000_000));
        let now = clock.now().0;
        assert!((1_000_000..1_010_000).contains(&now), "{now}");
        clock.at_least(UnixMillis(5_000_000));
        assert!(clock.now().0 >= 5_000_000);
        clock.at_least(UnixMillis(6_000));
        assert!(clock.now().0 >= 5_000_000);
    }

    /// All that a leader had said to a node that was cut off arrived when it was deposed.
    /// Simulation, seed 2687.
    #[tokio::test(start_paused = true)]
    async fn goes_back_by_a_millisecond_however_many_old_messages_arrive() {
        let clock = ClusterClock::new(crate::world::system_wall());
        clock.follow(UnixMillis(1_000_000));
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        (1..=90).for_each(|old| clock.follow(UnixMillis(1_000_000 + old * 20)));
        assert_eq!(clock.now().0, 1_001_999);
        clock.follow(UnixMillis(1_002_000));
        assert_eq!(clock.now().0, 1_002_000);
        tokio::time::advance(std::time::Duration::from_millis(50)).await;
        clock.follow(UnixMillis(1_002_010));
        assert_eq!(clock.now().0, 1_002_049, "one that is fast comes back");
    }

    /// A node with a wrong clock that starts would move time for all when it comes to lead.
    /// Simulation, seed 469.
    #[test]
    fn a_wrong_wall_clock_is_forgotten_when_a_leader_speaks() {
        let clock = ClusterClock::new(std::sync::Arc::new(|| 9_000_000));
        clock.at_least(UnixMillis(1_000_000));
        assert_eq!(clock.now().0, 9_000_000, "nothing else is known");
        clock.follow(UnixMillis(1_000_500));
        let now = clock.now().0;
        assert!((1_000_500..1_010_000).contains(&now), "{now}");
    }

    /// Simulation, seed 94: all power lost, and the node whose clock was wrong came to lead.
    #[test]
    fn a_wrong_wall_clock_does_not_count_beside_a_voters() {
        let clock = ClusterClock::new(std::sync::Arc::new(|| 9_000_000));
        clock.at_least(UnixMillis(1_000_000));
        clock.hear_voter(UnixMillis(0));
        clock.hear_voter(UnixMillis(1_000_500));
        let now = clock.now().0;
        assert!((1_000_500..1_010_000).contains(&now), "{now}");
        clock.hear_voter(UnixMillis(5_000));
        let now = clock.now().0;
        assert!((1_000_500..1_010_000).contains(&now), "that one cannot be right: {now}");
    }

    #[test]
    fn a_leader_that_never_heard_of_the_time_sets_it() {
        let clock = ClusterClock::new(std::sync::Arc::new(|| 1_000_000));
        clock.at_least(UnixMillis(9_000_000));
        assert_eq!(clock.now().0, 9_000_000, "what was applied is not in the future");
        clock.slew();
        assert_eq!(clock.say().0, 0, "it is a guess");
        clock.settle();
        let now = clock.say().0;
        assert!((9_000_000..9_010_000).contains(&now), "{now}");
    }

    #[test]
    fn slews_by_a_millisecond() {
        let clock = ClusterClock::new(crate::world::system_wall());
        clock.follow(UnixMillis(1_000_000));
        let before = clock.now().0;
        clock.slew();
        let after = clock.now().0;
        assert!(after > before && after < before + 1_000, "{before} {after}");
    }
}
