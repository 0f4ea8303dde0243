//! How a blank node finds its cluster: forms the first one, or asks to be taken into the one
//! there is.
//!
//! ```text
//!             all blank, N of us, my name is lowest
//!   blank ───────────────────────────────────────────▶ forming ──initialize──▶ member
//!     │                                                                          ▲
//!     └──── somebody has a cluster ──▶ joining ──learner, then voter─────────────┘
//! ```
//!
//! Nothing is recovered here: where a majority of memories is gone, its cluster still has an id,
//! and no second one is formed beside it (DESIGN 5.4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use rand::RngExt;
use tokio::time::{sleep, timeout};

use crate::context::Context;
use crate::convert;
use crate::error::Fatal;
use crate::pb;
use crate::pb::cluster_client::ClusterClient;
use crate::peers::Traffic;
use crate::types::{Member, Raft, ReplicaId};

/// What an operator said about the cluster's beginning.
#[derive(Debug, Clone)]
pub(crate) struct Formation {
    /// Peer addresses; this node's own may be among them.
    pub(crate) join: Vec<String>,
    /// How many blank nodes make a new cluster.
    pub(crate) expect: usize,
}

/// Who answered at an address.
#[derive(Debug, Clone)]
struct Seen {
    id: ReplicaId,
    member: Member,
}

/// Resolves once this replica is a member of a cluster.
pub(crate) async fn enter_cluster(
    raft: &Raft,
    context: &Arc<Context>,
    formation: &Formation,
) -> Result<(), Fatal> {
    let mut promised = None;
    loop {
        if is_member(raft, context) {
            return Ok(());
        }
        let seen = greet_all(context, &formation.join).await;
        if let Some(address) = join_address(context, &seen)? {
            join(context, address).await?;
        } else if context.cluster() == 0 {
            form(raft, context, formation, &seen).await?;
        } else {
            forget_promise(context, &mut promised);
        }
        sleep(ROUND_EVERY).await;
    }
}

/// Whether this replica is part of a cluster that exists.
pub(crate) fn is_member(raft: &Raft, context: &Context) -> bool {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    metrics.membership_config.get_node(&context.id).is_some()
}

async fn greet_all(context: &Context, addresses: &[String]) -> Vec<Seen> {
    let seen = join_all(addresses.iter().map(|address| greet(context, address))).await;
    seen.into_iter().flatten().filter(|seen| seen.id != context.id).collect()
}

async fn greet(context: &Context, address: &str) -> Option<Seen> {
    let channel = context.peers.channel(address, Traffic::Forward).ok()?;
    let request = pb::HelloRequest { name: context.me.name.clone(), id: context.id };
    let reply = timeout(GREET_TIMEOUT, ClusterClient::new(channel).hello(request)).await;
    let reply = reply.ok()?.ok()?.into_inner();
    let member = convert::member_from(reply.member).ok()?;
    Some(Seen { id: reply.id, member })
}

/// The address of a node that has a cluster, if one was seen that this node can be part of.
///
/// A node that has only promised to form one counts as blank.
fn join_address(context: &Context, seen: &[Seen]) -> Result<Option<String>, Fatal> {
    let own = context.cluster();
    let members = seen.iter().filter(|seen| seen.member.cluster != 0);
    let fellows: Vec<_> = members.filter(|seen| own == 0 || seen.member.cluster == own).collect();
    let Some(first) = fellows.first() else { return Ok(None) };
    match fellows.iter().find(|seen| seen.member.cluster != first.member.cluster) {
        None => Ok(Some(first.member.peer.clone())),
        Some(other) => Err(Fatal::Formation(format!(
            "{} and {} belong to different clusters",
            first.member.peer, other.member.peer
        ))),
    }
}

/// Asks the leader to take this replica in, following the trail to it.
async fn join(context: &Context, mut address: String) -> Result<(), Fatal> {
    use pb::join_reply::Result as R;
    for _ in 0..JOIN_HOPS_MAX {
        let Ok(channel) = context.peers.channel(&address, Traffic::Forward) else { return Ok(()) };
        let member = Some(convert::member_to(&context.me));
        let request = pb::JoinRequest { id: context.id, member };
        let reply = timeout(JOIN_TIMEOUT, ClusterClient::new(channel).join(request)).await;
        let Ok(Ok(reply)) = reply else { return Ok(()) };
        match reply.into_inner().result {
            Some(R::Cluster(cluster)) => {
                if !context.enter(cluster) {
                    tracing::warn!(cluster, "already promised to another cluster");
                }
                return Ok(());
            }
            Some(R::Refused(why)) => return Err(Fatal::Refused(why)),
            Some(R::Leader(leader)) if !leader.is_empty() => address = leader,
            Some(R::Leader(_)) | None => return Ok(()),
        }
    }
    Ok(())
}

/// Forms the cluster if this node is the one to do it.
async fn form(
    raft: &Raft,
    context: &Arc<Context>,
    formation: &Formation,
    seen: &[Seen],
) -> Result<(), Fatal> {
    if let Some(namesake) = seen.iter().find(|seen| seen.member.name == context.me.name) {
        return Err(Fatal::Formation(format!(
            "two nodes are named `{}`: this one and the one at {}",
            context.me.name, namesake.member.peer
        )));
    }
    if seen.len() + 1 < formation.expect {
        return Ok(());
    }
    if seen.iter().any(|seen| seen.member.name < context.me.name) {
        return Ok(());
    }
    let cluster = rand::rng().random_range(1..=u64::MAX);
    let mut members = BTreeMap::from([(context.id, context.me.clone())]);
    members.extend(seen.iter().map(|seen| (seen.id, seen.member.clone())));
    members.values_mut().for_each(|member| member.cluster = cluster);
    if !context.enter(cluster) {
        return Ok(());
    }
    let accepted = join_all(seen.iter().map(|seen| ask_to_form(context, seen, cluster, &members)));
    if !accepted.await.into_iter().all(|accepted| accepted) {
        context.leave(cluster);
        return Ok(());
    }
    tracing::info!(cluster, members = members.len(), "forming a new cluster");
    let formed = raft.initialize(members).await;
    formed.map_err(|error| Fatal::Formation(error.to_string()))
}

async fn ask_to_form(
    context: &Context,
    seen: &Seen,
    cluster: u64,
    members: &BTreeMap<ReplicaId, Member>,
) -> bool {
    let Ok(channel) = context.peers.channel(&seen.member.peer, Traffic::Forward) else {
        return false;
    };
    let request = pb::FormRequest { cluster, members: convert::members_to(members.iter()) };
    let reply = timeout(GREET_TIMEOUT, ClusterClient::new(channel).form(request)).await;
    reply.is_ok_and(|reply| reply.is_ok_and(|reply| reply.into_inner().refused.is_empty()))
}

/// A node that agreed to a cluster which never came to be is free again after a while.
fn forget_promise(context: &Context, promised: &mut Option<(u64, Instant)>) {
    let cluster = context.cluster();
    match promised {
        Some((to, since)) if *to == cluster => {
            if PROMISE_HOLDS < since.elapsed() {
                context.leave(cluster);
                *promised = None;
            }
        }
        Some(_) | None => *promised = Some((cluster, Instant::now())),
    }
}

const ROUND_EVERY: Duration = Duration::from_millis(50);
const GREET_TIMEOUT: Duration = Duration::from_millis(300);
const JOIN_TIMEOUT: Duration = Duration::from_millis(2000);
const PROMISE_HOLDS: Duration = Duration::from_millis(3000);
const JOIN_HOPS_MAX: usize = 4;
