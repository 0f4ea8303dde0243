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
use crate::peers::{Envelope, Traffic, greeting};
use crate::plan::majority;
use crate::server::own_status;
use crate::status::{ClusterStatus, NodeStatus, ReplicaStatus, ShardStatus};
use crate::types::{Member, Raft, ReplicaId};

/// A member and what it said, if it did.
struct Answer {
    id: ReplicaId,
    member: Member,
    voter: bool,
    said: Heard,
}

/// What became of the replica at a member's address.
enum Heard {
    /// Its own words.
    Words(Box<pb::StatusReply>),
    /// A newer replica of that name answers: what this one held in memory is lost.
    Gone,
    /// Nothing.
    Silence,
}

impl Answer {
    fn said(&self) -> Option<&pb::StatusReply> {
        match &self.said {
            Heard::Words(said) => Some(said),
            Heard::Gone | Heard::Silence => None,
        }
    }
}

/// The cluster as this node sees it.
pub(crate) async fn status(raft: &Raft, context: &Context) -> ClusterStatus {
    summarize(&answers(raft, context).await, context)
}

/// Who is left.
pub(crate) struct Census {
    pub(crate) voters: usize,
    /// Voters that answer.
    pub(crate) alive: usize,
    /// Whether this node is one of the voters.
    pub(crate) is_member: bool,
    /// Names of all members but this one.
    pub(crate) others: Vec<String>,
}

pub(crate) async fn census(raft: &Raft, context: &Context) -> Census {
    let answers = answers(raft, context).await;
    let voters = || answers.iter().filter(|answer| answer.voter);
    let others = answers.iter().filter(|answer| answer.id != context.id);
    Census {
        voters: voters().count(),
        alive: voters().filter(|answer| answer.said().is_some()).count(),
        is_member: voters().any(|answer| answer.id == context.id),
        others: others.map(|answer| answer.member.name.clone()).collect(),
    }
}

async fn answers(raft: &Raft, context: &Context) -> Vec<Answer> {
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
            Heard::Words(Box::new(own_status(raft, context)))
        } else {
            ask(context, id, &member).await
        };
        Answer { id, member, voter, said }
    });
    let mut answers = join_all(answers).await;
    answers.sort_by(|a, b| (&a.member.name, a.id).cmp(&(&b.member.name, b.id)));
    answers
}

async fn ask(context: &Context, id: ReplicaId, member: &Member) -> Heard {
    let Ok(channel) = context.peers.channel_to(member, Traffic::Forward) else {
        return Heard::Silence;
    };
    let mut client = ClusterClient::new(channel);
    let request = envelope(context, id).wrap(pb::StatusRequest {});
    let reply = timeout(ASK_TIMEOUT, client.status(request)).await;
    match reply {
        Ok(Ok(reply)) if reply.get_ref().id == id => Heard::Words(Box::new(reply.into_inner())),
        // Another replica is there. Of the same node: then this one has ended.
        Ok(Err(status)) if status.code() == tonic::Code::NotFound => {
            let request = pb::HelloRequest { name: context.me.name.clone(), id: context.id };
            let hello = timeout(ASK_TIMEOUT, client.hello(greeting(request))).await;
            let namesake = hello
                .is_ok_and(|hello| hello.is_ok_and(|hello| hello.get_ref().name == member.name));
            if namesake { Heard::Gone } else { Heard::Silence }
        }
        Ok(_) | Err(_) => Heard::Silence,
    }
}

fn envelope(context: &Context, to: ReplicaId) -> Envelope {
    Envelope { cluster: context.cluster(), from: context.id, to }
}

fn summarize(answers: &[Answer], context: &Context) -> ClusterStatus {
    let term = answers.iter().filter_map(Answer::said).map(|said| said.term).max();
    let term = term.unwrap_or_default();
    let newest = answers.iter().filter_map(Answer::said).filter(|said| said.term == term);
    let leader_id = newest.map(|said| said.leader).find(|leader| *leader != 0);
    let leader = answers.iter().find(|a| Some(a.id) == leader_id && a.said().is_some());
    let commit = answers.iter().filter_map(Answer::said).map(|said| said.commit).max();

    let voters = answers.iter().filter(|a| a.voter).count();
    let alive = answers.iter().filter(|a| a.voter && a.said().is_some()).count();
    let majority = majority(voters);
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
        verdict: verdict(answers, context, quorum, can_lose),
        quorum,
        can_lose,
        nodes: answers.iter().map(node_status).collect(),
        shards: vec![shard],
    }
}

fn verdict(answers: &[Answer], context: &Context, quorum: bool, can_lose: usize) -> String {
    let voters = answers.iter().filter(|answer| answer.voter).count();
    let names = |wanted: &dyn Fn(&Answer) -> bool| {
        let names = answers.iter().filter(|answer| wanted(answer));
        names.map(|answer| answer.member.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let down = names(&|answer| answer.said().is_none());
    let waiting = context.waiting.reason();
    let gone = names(&|answer| answer.voter && matches!(answer.said, Heard::Gone));
    let gone_count = answers.iter().filter(|a| a.voter && matches!(a.said, Heard::Gone)).count();
    // A learner that was being taken in when the majority went holds nothing to go on with.
    let left = || answers.iter().filter(|answer| answer.voter && answer.said().is_some());
    let survivor = left().max_by_key(|answer| answer.id == context.id);
    let recover = survivor.map_or_else(String::new, |answer| {
        let Member { name, admin, .. } = &answer.member;
        format!("raftcached member recover --from {name} --cluster {admin}")
    });
    let is_full = |answer: &Answer| answer.said().is_some_and(|said| said.short_of_space);
    let full = names(&is_full);
    let full_voters = answers.iter().filter(|answer| answer.voter && is_full(answer)).count();
    // The leader's word, or what will be it in a moment.
    let closed = context.space.is_closed() || voters - full_voters < majority(voters);
    match (quorum, down.is_empty()) {
        (true, _) if closed => {
            format!("READ ONLY: no space on the disks of {full}, writes are refused")
        }
        (true, true) if !full.is_empty() => format!("DEGRADED: no space on the disk of {full}"),
        (false, _) if !waiting.is_empty() => {
            format!("NO QUORUM: {} waits: {waiting}", context.me.name)
        }
        (false, true) => "NO QUORUM: no leader yet".to_owned(),
        (false, false) if survivor.is_none() => {
            format!("NO QUORUM: {down} down, nothing can be read or written")
        }
        (false, false) if voters - gone_count < majority(voters) => {
            let left = names(&|answer| answer.voter && answer.said().is_some());
            format!(
                "NO QUORUM: {gone} came back with empty memory, only {left} holds something; to \
                 go on with that: {recover}"
            )
        }
        (false, false) => format!(
            "NO QUORUM: {down} down, nothing can be read or written; if they never come back: \
             {recover}"
        ),
        (true, false) if can_lose == 0 => format!("DEGRADED: {down} down, no more may be lost"),
        (true, false) => format!("DEGRADED: {down} down, {can_lose} more may be lost"),
        (true, true) if voters == 1 => "OK: one node, which must not be lost".to_owned(),
        (true, true) if can_lose == 0 => format!("OK: {voters} voters, none may be lost"),
        (true, true) => format!("OK: {voters} voters, any {can_lose} may be lost"),
    }
}

fn node_status(answer: &Answer) -> NodeStatus {
    let said = answer.said().cloned().unwrap_or_default();
    let state = if answer.said().is_none() { "down".to_owned() } else { said.state };
    NodeStatus {
        name: answer.member.name.clone(),
        id: answer.id.to_string(),
        state,
        voter: answer.voter,
        version: said.version,
        client: answer.member.client.clone(),
        peer: answer.member.peer.clone(),
        admin: answer.member.admin.clone(),
        items: said.items,
        bytes: said.bytes,
        serving: said.serving,
        disk_full: said.short_of_space,
    }
}

/// Digests at the newest index that everybody has one for, so that they can be compared.
fn replicas(answers: &[Answer]) -> Vec<ReplicaStatus> {
    let said: Vec<_> = answers.iter().filter_map(|a| Some((&a.member.name, a.said()?))).collect();
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
    let channel = context.peers.channel_to(&leader.member, Traffic::Forward);
    let mut client = ClusterClient::new(channel.map_err(|_| MoveError::NoLeader)?);
    let request = envelope(context, leader.id).wrap(pb::MoveLeaderRequest { to });
    let reply = timeout(MOVE_TIMEOUT, client.move_leader(request)).await;
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
