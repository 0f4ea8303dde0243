//! Notices a dead leader by its broken connection, before the election timer would.
//!
//! A killed process resets its connections at once. A follower that loses the leader's stream
//! tries to connect: refused means that nobody listens there any more. It then stands for
//! election the moment the lease that it granted has run out; not earlier, for a firewall can
//! refuse connections to a leader that lives and still answers reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::context::Context;
use crate::leader::{Leader, LeaderWatch, Peer};
use crate::types::{Raft, ReplicaId};

/// Watches the leader's streams for as long as the task lives.
pub(crate) async fn watch_leader(raft: Raft, context: Arc<Context>, leader: LeaderWatch) {
    loop {
        let lost = context.contact.lost().await;
        if let Leader::Peer(peer) = leader.current()
            && peer.id == lost
            && is_refused(&context, &peer).await
        {
            tracing::info!(leader = peer.member.name, "leader refuses connections");
            stand(&raft, &context, &leader, &peer).await;
        }
    }
}

/// Whether nothing listens at the peer's address. A peer that only takes long is not refused.
///
/// Asks a few times: of a process that dies, the listener may be closed after the connections.
async fn is_refused(context: &Context, peer: &Peer) -> bool {
    for _ in 0..CONNECT_TRIES {
        let connect = context.world.net.connect(&peer.member.peer);
        match timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Err(error)) => return error.kind() == std::io::ErrorKind::ConnectionRefused,
            Ok(Ok(_)) => sleep(CONNECT_PAUSE).await,
            Err(_) => return false,
        }
    }
    false
}

/// Stands for election until somebody leads who is not `dead`, or the timers have taken over.
async fn stand(raft: &Raft, context: &Context, leader: &LeaderWatch, dead: &Peer) {
    let turn = STAGGER * rank(raft, context.id, dead.id);
    let begin = context.contact.heard() + context.timing.lease + MARGIN + turn;
    sleep_until(begin).await;
    let give_up = Instant::now() + context.timing.lease * 4;
    while Instant::now() < give_up && !context.draining.load(Ordering::Acquire) {
        match leader.current() {
            Leader::Me => return,
            Leader::Peer(peer) if peer.id != dead.id => return,
            Leader::Peer(_) | Leader::Nobody => {}
        }
        if raft.trigger().elect(true).await.is_err() {
            return;
        }
        sleep(STAGGER * 2).await;
    }
}

/// This node's place among the voters that are left, so that they do not all stand at once.
fn rank(raft: &Raft, own: ReplicaId, dead: ReplicaId) -> u32 {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let ahead = metrics.membership_config.voter_ids().filter(|id| *id != dead && own < *id);
    u32::try_from(ahead.count()).unwrap_or(u32::MAX)
}

const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

const CONNECT_TRIES: u32 = 10;
const CONNECT_PAUSE: Duration = Duration::from_millis(3);

/// Others may have heard from the leader a little later than this node did.
const MARGIN: Duration = Duration::from_millis(3);

/// A round of votes takes a few milliseconds.
const STAGGER: Duration = Duration::from_millis(8);
