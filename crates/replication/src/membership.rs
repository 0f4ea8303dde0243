//! What the leader does about members: takes new replicas in, replaces dead predecessors, moves
//! leadership.
//!
//! A node without a data directory comes back under its old name and a new id. It is added as a
//! learner, catches up, and takes its predecessor's vote in one membership change.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, PreconditionFailed};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, Instant as _, ServerState};
use tokio::time::{Instant, sleep, timeout};

use crate::context::Context;
use crate::error::MoveError;
use crate::pb;
use crate::peers::{Traffic, greeting};
use crate::types::{LogId, Member, Membership, Metrics, Raft, ReplicaId};

/// Why a replica was not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// Ask again.
    Later,
    /// Asking again will not help; says why.
    Never(String),
}

/// A change, as openraft takes it.
pub(crate) type Changes = ChangeMembers<ReplicaId, Member>;

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotChanged {
    /// Others came first: nothing was done, and the change is to be decided anew.
    #[error("the members have changed meanwhile")]
    Stale,
    /// It may happen yet; says what is known.
    #[error("{0}")]
    Undecided(String),
}

/// Makes `change` if the membership is still the one at `seen`, on which it was decided.
///
/// Sets of voters replace each other whole: one that was drawn up before another change would
/// take that change back, and remove who has just been given a vote.
pub(crate) async fn change_from(
    raft: &Raft,
    seen: Option<LogId>,
    change: Changes,
) -> Result<(), NotChanged> {
    let unchanged = Precondition::LastMembershipLogId { last_membership_log_id: seen };
    let changed = raft.change_membership_if(change, false, [unchanged]).await;
    changed.map(|_| ()).map_err(|error| match error.api_error() {
        // The joint step of a change has a guard of its own, with another expectation.
        Some(ClientWriteError::PreconditionFailed(
            PreconditionFailed::LastMembershipLogIdMismatch { expected, .. },
        )) if *expected == seen => NotChanged::Stale,
        _ => NotChanged::Undecided(error.to_string()),
    })
}

/// Adds a replica as a learner, on the leader. Doing it twice is fine.
pub(crate) async fn admit(
    raft: &Raft,
    context: &Context,
    id: ReplicaId,
    member: Member,
) -> Result<u64, NotAdmitted> {
    let cluster = context.cluster();
    if !context.lease.is_valid() {
        // Without a quorum it could only be begun.
        return Err(NotAdmitted::Later);
    }
    let stored = Arc::clone(&raft.metrics().borrow_watched().membership_config);
    let membership = stored.membership();
    if membership.get_node(&id).is_some() {
        return Ok(cluster);
    }
    let replaced = |id| is_named(membership, id, &member.replaces);
    if !member.replaces.is_empty() && !membership.voter_ids().any(replaced) {
        return Err(NotAdmitted::Never(format!("there is no voter `{}`", member.replaces)));
    }
    let namesakes: Vec<_> =
        membership.nodes().filter(|(_, other)| other.name == member.name).collect();
    for (old, other) in &namesakes {
        if other.peer != member.peer && is_alive(context, **old, other).await {
            return Err(NotAdmitted::Never(format!(
                "name `{}` is in use by a live node at {}",
                other.name, other.peer
            )));
        }
    }
    // Learners of that name never got to vote; only voters must be replaced, not removed.
    let voters: BTreeSet<_> = membership.voter_ids().collect();
    let stale = namesakes.iter().map(|(old, _)| **old).filter(|old| !voters.contains(old));
    let stale: BTreeSet<_> = stale.collect();
    if !stale.is_empty() {
        let change = ChangeMembers::RemoveNodes(stale);
        change_from(raft, *stored.log_id(), change).await.map_err(|_| NotAdmitted::Later)?;
    }
    tracing::info!(name = member.name, id, "taking a new replica in as a learner");
    let member = Member { cluster, ..member };
    raft.add_learner(id, member, false).await.map_err(|_| NotAdmitted::Later)?;
    Ok(cluster)
}

/// Whether this very replica answers at its address, now.
pub(crate) async fn is_alive(context: &Context, id: ReplicaId, member: &Member) -> bool {
    let Ok(channel) = context.peers.channel_to(member, Traffic::Forward) else { return false };
    let mut client = pb::cluster_client::ClusterClient::new(channel);
    let request = greeting(pb::HelloRequest { name: context.me.name.clone(), id: context.id });
    let hello = timeout(HELLO_TIMEOUT, client.hello(request)).await;
    hello.is_ok_and(|reply| reply.is_ok_and(|reply| reply.into_inner().id == id))
}

/// The voters that are due, if others than now: a caught-up learner takes the vote of its dead
/// namesake, or gets one of its own; a change that was cut off in its joint phase is completed.
fn due_change(metrics: &Metrics) -> Option<BTreeSet<ReplicaId>> {
    if !is_settled(metrics) {
        return None;
    }
    let membership = metrics.membership_config.membership();
    if let [_, .., target] = membership.get_joint_config().as_slice() {
        return Some(target.clone());
    }
    let replication = metrics.replication.as_ref()?;
    let last = metrics.last_log_index?;
    let mut voters: BTreeSet<_> = membership.voter_ids().collect();
    let caught_up = membership.learner_ids().find(|id| {
        let matched = replication.get(id).copied().flatten();
        matched.is_some_and(|matched| last.saturating_sub(matched.index) <= CAUGHT_UP_ENTRIES)
    })?;
    let member = membership.get_node(&caught_up)?;
    let name = if member.replaces.is_empty() { &member.name } else { &member.replaces };
    let predecessor = voters.iter().find(|id| is_named(membership, **id, name)).copied();
    if let Some(predecessor) = predecessor {
        voters.remove(&predecessor);
    }
    voters.insert(caught_up);
    Some(voters)
}

/// Whether the last membership entry is committed: only then may another follow.
pub(crate) fn is_settled(metrics: &Metrics) -> bool {
    metrics.membership_config == metrics.committed_membership_config
}

/// Whether something is left to do or to wait for.
pub(crate) fn is_changing(metrics: &Metrics) -> bool {
    let membership = metrics.membership_config.membership();
    !is_settled(metrics)
        || 1 < membership.get_joint_config().len()
        || 0 < membership.learner_ids().count()
}

fn is_named(membership: &Membership, id: ReplicaId, name: &str) -> bool {
    membership.get_node(&id).is_some_and(|member| member.name == name)
}

/// Gives caught-up learners their vote, for as long as this node leads. Runs on every node.
pub(crate) async fn promote_learners(raft: Raft, context: Arc<Context>) {
    let mut server_metrics = raft.server_metrics();
    loop {
        let (change, busy, seen) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            let leads = metrics.state == ServerState::Leader;
            let change = leads.then(|| due_change(&metrics)).flatten();
            (change, leads && is_changing(&metrics), *metrics.membership_config.log_id())
        };
        if let Some(voters) = change {
            tracing::info!(?voters, "changing the voters");
            if !voters.contains(&context.id) {
                // The next leader ends what is under way.
                if let Err(error) = move_leader(&raft, &context, "").await {
                    tracing::warn!(%error, "leadership stays with a node that is replaced");
                    sleep(PROMOTE_EVERY).await;
                }
                continue;
            }
            let change = ChangeMembers::ReplaceAllVoters(voters);
            if let Err(error) = change_from(&raft, seen, change).await {
                tracing::warn!(%error, "membership change failed, trying again");
                sleep(PROMOTE_EVERY).await;
            }
        } else if busy {
            sleep(PROMOTE_EVERY).await;
        } else if server_metrics.changed().await.is_err() {
            return;
        }
    }
}

/// Moves leadership to the voter called `to`, or to the one that is closest; on the leader.
pub(crate) async fn move_leader(
    raft: &Raft,
    context: &Context,
    to: &str,
) -> Result<String, MoveError> {
    let (target, name) = move_target(raft, context, to)?;
    if target == context.id {
        return Ok(name);
    }
    // No read may be answered here once the other one can be elected.
    context.lease.withdraw();
    let moved = wait_for_move(raft, context, target).await;
    context.lease.restore();
    moved.map(|()| name)
}

async fn wait_for_move(raft: &Raft, context: &Context, target: ReplicaId) -> Result<(), MoveError> {
    let deadline = Instant::now() + MOVE_TIMEOUT;
    let stopped = |_| MoveError::NoLeader;
    raft.trigger().transfer_leader(target).await.map_err(stopped)?;
    let mut metrics = raft.server_metrics();
    while Instant::now() < deadline {
        let leader = metrics.borrow_watched().current_leader;
        if leader.is_some_and(|leader| leader != context.id) {
            return Ok(());
        }
        if matches!(timeout(MOVE_TIMEOUT, metrics.changed()).await, Ok(Err(_))) {
            return Err(MoveError::NoLeader);
        }
    }
    Err(MoveError::TimedOut)
}

fn move_target(raft: &Raft, context: &Context, to: &str) -> Result<(ReplicaId, String), MoveError> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    if metrics.state != ServerState::Leader {
        return Err(MoveError::NoLeader);
    }
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<_> = membership.voter_ids().collect();
    if to.is_empty() {
        let replication = metrics.replication.as_ref().ok_or(MoveError::NoLeader)?;
        let others = voters.iter().filter(|id| **id != context.id);
        let best = others.max_by_key(|id| {
            // A dead one must not be chosen because its log was long.
            (answered_within(&metrics, **id, ALIVE_WITHIN), replication.get(*id))
        });
        let best = best.ok_or_else(|| MoveError::Refused("there is no other voter".to_owned()))?;
        let name = membership.get_node(best).map(|member| member.name.clone());
        return Ok((*best, name.unwrap_or_default()));
    }
    let named = voters.iter().find(|id| is_named(membership, **id, to));
    match named {
        Some(id) => Ok((*id, to.to_owned())),
        None => Err(MoveError::Refused(format!("`{to}` is not a voter of this cluster"))),
    }
}

/// Whether a member has answered this leader's heartbeats lately.
pub(crate) fn answered_within(metrics: &Metrics, id: ReplicaId, limit: Duration) -> bool {
    let last = metrics.heartbeat.as_ref().and_then(|last| last.get(&id));
    last.and_then(Option::as_ref).is_some_and(|last| last.elapsed() < limit)
}

/// A learner this close to the leader's log needs no snapshot and no patience.
const CAUGHT_UP_ENTRIES: u64 = 64;
const PROMOTE_EVERY: Duration = Duration::from_millis(10);
const HELLO_TIMEOUT: Duration = Duration::from_millis(300);
const MOVE_TIMEOUT: Duration = Duration::from_millis(1000);
const ALIVE_WITHIN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    use crate::types::{LeaderId, StoredMembership};

    const LAST: u64 = 1000;

    fn log_id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: 1 }, index)
    }

    /// A leader's metrics: voters `configs`, and everybody's name and how far it has got.
    fn metrics(configs: &[&[ReplicaId]], members: &[(ReplicaId, &str, u64)]) -> Metrics {
        let nodes = members.iter().map(|(id, name, _)| {
            let member = Member { name: (*name).to_owned(), ..Member::default() };
            (*id, member)
        });
        let nodes: std::collections::BTreeMap<_, _> = nodes.collect();
        let configs = configs.iter().map(|ids| ids.iter().copied().collect()).collect();
        let membership = Membership::new(configs, nodes).unwrap();
        let stored = Arc::new(StoredMembership::new(Some(log_id(9)), membership));
        let mut metrics = Metrics::new_initial(1);
        metrics.state = ServerState::Leader;
        metrics.last_log_index = Some(LAST);
        metrics.membership_config = Arc::clone(&stored);
        metrics.committed_membership_config = stored;
        let matched = members.iter().map(|(id, _, matched)| (*id, Some(log_id(*matched))));
        metrics.replication = Some(matched.collect());
        metrics
    }

    fn due(metrics: &Metrics) -> Option<Vec<ReplicaId>> {
        due_change(metrics).map(|voters| voters.into_iter().collect())
    }

    #[test]
    fn a_caught_up_learner_takes_its_namesakes_vote() {
        let members = [(1, "n1", LAST), (2, "n2", LAST), (3, "n3", 5), (4, "n3", LAST)];
        assert_eq!(due(&metrics(&[&[1, 2, 3]], &members)), Some(vec![1, 2, 4]));
        let members = [(1, "n1", LAST), (2, "n2", LAST), (3, "n3", 5), (4, "n3", 5)];
        let metrics = metrics(&[&[1, 2, 3]], &members);
        assert_eq!(due(&metrics), None, "it has to catch up first");
        assert!(is_changing(&metrics));
    }

    /// Whoever leads when it has caught up: the intent is in the membership.
    #[test]
    fn a_learner_takes_the_vote_it_was_invited_to_take() {
        let members = [(1, "n1", LAST), (2, "n2", LAST), (3, "n3", LAST), (4, "n4", LAST)];
        let mut metrics = metrics(&[&[1, 2, 3]], &members);
        assert_eq!(due(&metrics), Some(vec![1, 2, 3, 4]));
        let stored = &metrics.membership_config;
        let nodes = stored.nodes().map(|(id, member)| {
            let replaces = if *id == 4 { "n2" } else { "" }.to_owned();
            (*id, Member { replaces, ..member.clone() })
        });
        let nodes: std::collections::BTreeMap<_, _> = nodes.collect();
        let membership = Membership::new(vec![[1, 2, 3].into()], nodes).unwrap();
        let stored = Arc::new(StoredMembership::new(Some(log_id(10)), membership));
        metrics.membership_config = Arc::clone(&stored);
        metrics.committed_membership_config = stored;
        assert_eq!(due(&metrics), Some(vec![1, 3, 4]));
    }

    #[test]
    fn a_learner_of_a_new_name_gets_a_vote_of_its_own() {
        let members = [(1, "n1", LAST), (2, "n2", LAST)];
        assert_eq!(due(&metrics(&[&[1]], &members)), Some(vec![1, 2]));
    }

    /// A leader that lost its lease between the two steps left the cluster in its joint phase,
    /// and nobody ever ended it: no dead node could be replaced any more.
    #[test]
    fn a_change_cut_off_in_its_joint_phase_is_completed() {
        let members = [(1, "n1", LAST), (2, "n2", LAST), (3, "n3", 5), (4, "n3", LAST)];
        let metrics = metrics(&[&[1, 2, 3], &[1, 2, 4]], &members);
        assert_eq!(due(&metrics), Some(vec![1, 2, 4]));
        assert!(is_changing(&metrics));
    }

    #[test]
    fn one_change_waits_for_the_other() {
        let members = [(1, "n1", LAST), (2, "n2", LAST), (3, "n3", 5), (4, "n3", LAST)];
        let mut metrics = metrics(&[&[1, 2, 3]], &members);
        metrics.committed_membership_config = Arc::default();
        assert_eq!(due(&metrics), None);
        assert!(is_changing(&metrics));
    }

    #[test]
    fn a_whole_cluster_is_left_alone() {
        let members = [(1, "n1", LAST), (2, "n2", LAST), (3, "n3", LAST)];
        let metrics = metrics(&[&[1, 2, 3]], &members);
        assert_eq!(due(&metrics), None);
        assert!(!is_changing(&metrics));
    }
}
