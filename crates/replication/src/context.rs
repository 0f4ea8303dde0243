//! What all tasks of one node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::acks::Acks;
use crate::applied::Applied;
use crate::backpressure::Backpressure;
use crate::barrier::Barrier;
use crate::batcher::Batcher;
use crate::clock::ClusterClock;
use crate::commits::Urgent;
use crate::contact::Contact;
use crate::fault::Fault;
use crate::flight::Flights;
use crate::lease::Lease;
use crate::node::LogLimits;
use crate::peers::Peers;
use crate::refusals::Refusals;
use crate::space::Space;
use crate::stamps::Stamps;
use crate::tls::PeerTls;
use crate::types::{Member, ReplicaId};
use crate::waiting::Waiting;
use crate::world::World;

/// Shared by reference; every field has its own synchronisation.
pub(crate) struct Context {
    /// This replica.
    pub(crate) id: ReplicaId,
    /// How often this replica has been started, from 1.
    pub(crate) boots: u64,
    /// Whether files of an earlier replica may be the last copy of something: then no new cluster
    /// is formed here.
    pub(crate) has_predecessor: bool,
    /// This node's name and addresses; its `cluster` is 0, see `cluster()`.
    pub(crate) me: Member,
    /// The program's version, for `status`.
    pub(crate) version: String,
    /// Wanted by this node's operator; the leader's are the cluster's.
    pub(crate) settings: engine::Settings,
    /// How this node reads its own copy.
    pub(crate) reader: engine::Reader,
    pub(crate) timing: Timing,
    pub(crate) log_limits: LogLimits,
    pub(crate) applied: Arc<Applied>,
    pub(crate) barrier: Barrier,
    pub(crate) batcher: Batcher,
    pub(crate) clock: Arc<ClusterClock>,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) contact: Contact,
    pub(crate) urgent: Urgent,
    pub(crate) flights: Arc<Flights>,
    pub(crate) backpressure: Backpressure,
    pub(crate) acks: Acks,
    pub(crate) lease: Lease,
    pub(crate) peers: Peers,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) fault: Fault,
    pub(crate) space: Space,
    /// Whether this replica has caught up and answers clients.
    pub(crate) serving: AtomicBool,
    /// Whether this node is about to end: it neither stands for election nor takes leadership.
    pub(crate) draining: AtomicBool,
    pub(crate) waiting: Waiting,
    pub(crate) world: World,
    changing: AtomicBool,
    cluster: AtomicU64,
}

/// The right to begin a change of the members, given back when dropped.
pub(crate) struct ChangeTurn<'a>(&'a AtomicBool);

impl Drop for ChangeTurn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Periods, all on monotonic clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) heartbeat: Duration,
    /// What a follower grants its leader: no vote before it has passed.
    pub(crate) lease: Duration,
    /// What an operation may take before its client gets an error.
    pub(crate) budget: Duration,
    /// How long without a quorum before new clients are turned away.
    pub(crate) isolation_close: Duration,
}

impl Timing {
    /// How long the leader itself trusts a confirmation: shorter than what was granted, so that
    /// clocks may drift apart by two fifths within one lease.
    pub(crate) fn read_lease(&self) -> Duration {
        self.lease * 3 / 5
    }
}

impl Context {
    #[expect(clippy::too_many_arguments, reason = "called once, each argument is a different type")]
    pub(crate) fn new(
        id: ReplicaId,
        me: Member,
        version: String,
        settings: engine::Settings,
        reader: engine::Reader,
        timing: Timing,
        applied: Arc<Applied>,
        clock: Arc<ClusterClock>,
        tls: Option<Arc<PeerTls>>,
        world: World,
    ) -> Self {
        let refusals = Arc::new(Refusals::default());
        Self {
            id,
            boots: 1,
            has_predecessor: false,
            me,
            version,
            settings,
            reader,
            timing,
            log_limits: LogLimits::default(),
            applied,
            barrier: Barrier::default(),
            batcher: Batcher::default(),
            stamps: Arc::new(Stamps::new(Arc::clone(&clock))),
            clock,
            contact: Contact::new(),
            urgent: Urgent::default(),
            flights: Arc::default(),
            backpressure: Backpressure::default(),
            acks: Acks::default(),
            lease: Lease::new(),
            peers: Peers::new(Arc::clone(&world.net), tls, Arc::clone(&refusals)),
            refusals,
            fault: Fault::new(),
            space: Space::default(),
            serving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            waiting: Waiting::default(),
            world,
            changing: AtomicBool::new(false),
            cluster: AtomicU64::new(0),
        }
    }

    /// The cluster this node belongs to or waits for; 0: none.
    pub(crate) fn cluster(&self) -> u64 {
        self.cluster.load(Ordering::Acquire)
    }

    /// Enters `cluster` if this node is free, and says whether it is in it now.
    pub(crate) fn enter(&self, cluster: u64) -> bool {
        let entered =
            self.cluster.compare_exchange(0, cluster, Ordering::AcqRel, Ordering::Acquire);
        entered.is_ok() || entered == Err(cluster)
    }

    /// Whether there has been no quorum for so long that new clients are turned away.
    pub(crate) fn is_isolated(&self) -> bool {
        self.timing.isolation_close <= self.contact.without_quorum()
    }

    /// Leaves a cluster that never came to be.
    pub(crate) fn leave(&self, cluster: u64) {
        let _ = self.cluster.compare_exchange(cluster, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The right to begin a change of the members, unless somebody has it.
    pub(crate) fn take_change_turn(&self) -> Option<ChangeTurn<'_>> {
        (!self.changing.swap(true, Ordering::AcqRel)).then_some(ChangeTurn(&self.changing))
    }

    /// This node as a member of its cluster.
    pub(crate) fn member(&self) -> Member {
        Member { cluster: self.cluster(), ..self.me.clone() }
    }
}

#[cfg(test)]
impl Context {
    /// A node that is alone and blank.
    pub(crate) fn for_tests() -> Self {
        let engine = engine::StateMachine::new();
        let timing = Timing {
            heartbeat: Duration::from_millis(20),
            lease: Duration::from_millis(75),
            budget: Duration::from_millis(2000),
            isolation_close: Duration::from_millis(3000),
        };
        let me = Member { name: "n1".to_owned(), ..Member::default() };
        let world = World::real();
        let clock = Arc::new(ClusterClock::new(Arc::clone(&world.wall)));
        let version = "test".to_owned();
        Self::new(
            1,
            me,
            version,
            engine::Settings::default(),
            engine.reader(),
            timing,
            Arc::default(),
            clock,
            None,
            world,
        )
    }
}
