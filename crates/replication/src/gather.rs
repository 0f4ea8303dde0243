//! Gathers what the members say into one status.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::timeout;

use crate::context::Context;
use crate::error::MoveError;
use crate::leader::Peer;
use crate::pb;
use crate::pb::cluster_client::ClusterClient;
use crate::peers::Traffic;
use crate::server::own_status;
use crate::status::{ClusterStatus, NodeStatus, ReplicaStatus, ShardStatus};
use crate::types::{Member, Raft, ReplicaId};

/// A member and what it said, if it did.
struct Answer {
    id: ReplicaId,
    member: Member,
    voter: bool,
    said: Option<pb::StatusReply>,
}

/// The cluster as this node sees it.
pub(crate) async fn status(raft: &Raft, context: &Context) -> ClusterStatus {
    let mut members: BTreeMap<ReplicaId, (Member, bool)> = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: Vec<_> = membership.voter_ids().collect();
        let nodes = membership.nodes();
        nodes.map(|(id, member)| (*id, (member.clone(), voters.contains(id)))).collect()
    };
    members.entry(context.id).or_insert_with(|| (context.member(), false));
    let answers = members.into_iter().map(|(id, (member, voter))| async move {
        let said = if id == context.id {
            Some(own_status(raft, context))
        } else {
            ask(context, id, &member).await
        };
        Answer { id, member, voter, said }
    });
    let mut answers = join_all(answers).await;
    answers.sort_by(|a, b| (&a.member.name, a.id).cmp(&(&b.member.name, b.id)));
    summarize(&answers)
}

async fn ask(context: &Context, id: ReplicaId, member: &Member) -> Option<pb::StatusReply> {
    let channel = context.peers.channel(&member.peer, Traffic::Forward).ok()?;
    let mut client = ClusterClient::new(channel);
    let reply = timeout(ASK_TIMEOUT, client.status(pb::StatusRequest {})).await;
    let reply = reply.ok()?.ok()?.into_inner();
    // Somebody else at the same address says nothing about this replica.
    (reply.id == id).then_some(reply)
}

fn summarize(answers: &[Answer]) -> ClusterStatus {
    let term = answers.iter().filter_map(|a| a.said.as_ref()).map(|said| said.term).max();
    let term = term.unwrap_or_default();
    let newest = answers.iter().filter_map(|a| a.said.as_ref()).filter(|said| said.term == term);
    let leader_id = newest.map(|said| said.leader).find(|leader| *leader != 0);
    let leader = answers.iter().find(|a| Some(a.id) == leader_id && a.said.is_some());
    let commit = answers.iter().filter_map(|a| a.said.as_ref()).map(|said| said.commit).max();

    let voters = answers.iter().filter(|a| a.voter).count();
    let alive = answers.iter().filter(|a| a.voter && a.said.is_some()).count();
    let majority = voters / 2 + 1;
    let quorum = leader.is_some() && majority <= alive;
    let can_lose = if quorum { alive - majority } else { 0 };
    let shard = ShardStatus {
        shard: 0,
        term,
        leader: leader.map(|leader| leader.member.name.clone()),
        commit: commit.unwrap_or_default(),
        replicas: replicas(answers),
    };
    ClusterStatus {
        verdict: verdict(answers, quorum, can_lose, voters),
        quorum,
        can_lose,
        nodes: answers.iter().map(node_status).collect(),
        shards: vec![shard],
    }
}

fn verdict(answers: &[Answer], quorum: bool, can_lose: usize, voters: usize) -> String {
    let down: Vec<_> = answers.iter().filter(|a| a.said.is_none()).collect();
    let down: Vec<_> = down.iter().map(|a| a.member.name.as_str()).collect();
    let down = down.join(", ");
    match (quorum, down.is_empty()) {
        (false, true) => "NO QUORUM: no leader yet".to_owned(),
        (false, false) => format!("NO QUORUM: {down} down, nothing can be read or written"),
        (true, false) => format!("DEGRADED: {down} down, {can_lose} more may be lost"),
        (true, true) if voters == 1 => "OK: one node, which must not be lost".to_owned(),
        (true, true) => format!("OK: {voters} voters, any {can_lose} may be lost"),
    }
}

fn node_status(answer: &Answer) -> NodeStatus {
    let said = answer.said.clone().unwrap_or_default();
    let state = if answer.said.is_none() { "down".to_owned() } else { said.state };
    NodeStatus {
        name: answer.member.name.clone(),
        id: answer.id.to_string(),
        state,
        version: said.version,
        client: answer.member.client.clone(),
        peer: answer.member.peer.clone(),
        admin: answer.member.admin.clone(),
        items: said.items,
        bytes: said.bytes,
        serving: said.serving,
    }
}

/// Digests at the newest index that everybody has one for, so that they can be compared.
fn replicas(answers: &[Answer]) -> Vec<ReplicaStatus> {
    let said: Vec<_> =
        answers.iter().filter_map(|a| Some((&a.member.name, a.said.as_ref()?))).collect();
    let has = |said: &pb::StatusReply, index| said.digests.iter().any(|at| at.index == index);
    let first = said.first().map(|(_, said)| said.digests.as_slice()).unwrap_or_default();
    let common = first.iter().rev().map(|at| at.index);
    let common = common.into_iter().find(|index| said.iter().all(|(_, said)| has(said, *index)));
    let replica = |(name, said): &(&String, &pb::StatusReply)| {
        let at = said.digests.iter().rev().find(|at| common.is_none_or(|index| at.index == index));
        let at = at.copied().unwrap_or_default();
        ReplicaStatus {
            node: (*name).clone(),
            applied: said.applied,
            digest: format!("{:016x}", at.digest),
            digest_at: at.index,
        }
    };
    said.iter().map(replica).collect()
}

/// A status for when even this node's raft thread is gone.
pub(crate) fn no_status() -> ClusterStatus {
    ClusterStatus {
        verdict: "NO QUORUM: this node has stopped".to_owned(),
        quorum: false,
        can_lose: 0,
        nodes: Vec::new(),
        shards: Vec::new(),
    }
}

/// Asks the leader to hand leadership over.
pub(crate) async fn ask_to_move(
    context: &Context,
    leader: &Peer,
    to: String,
) -> Result<String, MoveError> {
    use pb::move_leader_reply::Result as R;
    let channel = context.peers.channel(&leader.member.peer, Traffic::Forward);
    let mut client = ClusterClient::new(channel.map_err(|_| MoveError::NoLeader)?);
    let reply = timeout(MOVE_TIMEOUT, client.move_leader(pb::MoveLeaderRequest { to })).await;
    let reply = reply.map_err(|_| MoveError::TimedOut)?.map_err(|_| MoveError::NoLeader)?;
    match reply.into_inner().result {
        Some(R::Moved(name)) => Ok(name),
        Some(R::Refused(why)) => Err(MoveError::Refused(why)),
        Some(R::Leader(_)) | None => Err(MoveError::NoLeader),
    }
}

/// Waits until raft reports a fatal error, and says which.
pub(crate) async fn raft_died(raft: &Raft) -> String {
    let mut server_metrics = raft.server_metrics();
    loop {
        if let Err(fatal) = &raft.metrics().borrow_watched().running_state {
            return fatal.to_string();
        }
        if server_metrics.changed().await.is_err() {
            return "its task has ended".to_owned();
        }
    }
}

/// What this node knows without asking anybody.
pub(crate) fn cluster_stats(
    raft: &Raft,
    context: &Context,
    each: &mut dyn FnMut(&str, &dyn std::fmt::Display),
) {
    let own = own_status(raft, context);
    each("cluster_id", &context.cluster());
    each("node_name", &context.me.name);
    each("replica_id", &context.id);
    each("state", &own.state);
    each("term", &own.term);
    each("leader_id", &own.leader);
    each("commit_index", &own.commit);
    each("applied_index", &own.applied);
    each("lease_valid", &u8::from(context.lease.is_valid()));
    each("read_policy", &"lease");
    let digest = own.digests.last().copied().unwrap_or_default();
    each("digest", &format_args!("{:016x}", digest.digest));
    each("digest_at", &digest.index);
}

/// Kept below the caller's 500 ms.
const ASK_TIMEOUT: Duration = Duration::from_millis(400);
const MOVE_TIMEOUT: Duration = Duration::from_millis(2000);
