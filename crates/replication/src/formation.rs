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
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use crate::context::Context;
use crate::convert;
use crate::dial::tls_cause;
use crate::error::Fatal;
use crate::pb;
use crate::pb::cluster_client::ClusterClient;
use crate::peers::{Traffic, greeting};
use crate::random;
use crate::refusals::Refusal;
use crate::tls::reason;
use crate::types::{Member, Raft, ReplicaId};
use crate::version::Versions;

/// What an operator said about the cluster's beginning.
#[derive(Debug, Clone)]
pub(crate) struct Formation {
    /// Peer addresses; this node's own may be among them.
    pub(crate) join: Vec<String>,
    /// How many blank nodes make a new cluster; 0: this node never forms one.
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
        if let Some(cluster) = known_cluster(raft, context) {
            context.enter(cluster);
            context.waiting.explain(String::new());
            return Ok(());
        }
        let invited = context.waiting.invitation().map(|invitation| invitation.join);
        let addresses = formation.join.iter().chain(&invited);
        let seen = greet_all(context, addresses).await;
        if let Some(host) = fellow(context, &seen)? {
            join(context, host).await?;
        } else if context.cluster() == 0 && invited.is_none() {
            form(raft, context, formation, &seen).await?;
        } else if context.cluster() != 0 {
            forget_promise(context, &mut promised);
        }
        sleep(ROUND_EVERY).await;
    }
}

/// Whether this replica is part of a cluster that exists.
pub(crate) fn is_member(raft: &Raft, context: &Context) -> bool {
    known_cluster(raft, context).is_some()
}

/// The cluster that this replica is part of, by its log.
pub(crate) fn known_cluster(raft: &Raft, context: &Context) -> Option<u64> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    metrics.membership_config.get_node(&context.id).map(|me| me.cluster)
}

/// Resolves once this replica is part of a cluster that exists.
pub(crate) async fn entered(raft: &Raft, context: &Context) {
    let mut metrics = raft.server_metrics();
    while !is_member(raft, context) {
        if metrics.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn greet_all(context: &Context, addresses: impl Iterator<Item = &String>) -> Vec<Seen> {
    let seen = join_all(addresses.map(|address| greet(context, address))).await;
    seen.into_iter().flatten().filter(|seen| seen.id != context.id).collect()
}

async fn greet(context: &Context, address: &str) -> Option<Seen> {
    let channel = context.peers.channel(address, Traffic::Forward).ok()?;
    let request = greeting(pb::HelloRequest { name: context.me.name.clone(), id: context.id });
    let reply = timeout(GREET_TIMEOUT, ClusterClient::new(channel).hello(request)).await.ok()?;
    let reply = reply.inspect_err(|status| tell_unwelcome(context, address, status)).ok()?;
    let reply = reply.into_inner();
    let theirs = Versions { min: reply.version_min, max: reply.version_max };
    if let Err(error) = Versions::OURS.common(theirs) {
        context.refusals.log(Refusal::Version, format_args!("peer {address}: {error}"));
        return None;
    }
    let member = convert::member_from(reply.member).ok()?;
    Some(Seen { id: reply.id, member })
}

/// A peer that is not there yet is no news; one that will not talk to this node is.
fn tell_unwelcome(context: &Context, address: &str, status: &Status) {
    let why = match tls_cause(status) {
        Some(error) => reason(error),
        None if status.code() == Code::Unavailable => return,
        None => status.message().to_owned(),
    };
    context.refusals.log(Refusal::Unwelcome, format_args!("peer {address} refuses: {why}"));
}

/// A node that has a cluster, if one was seen that this node can be part of.
///
/// A node that has only promised to form one counts as blank.
fn fellow<'a>(context: &Context, seen: &'a [Seen]) -> Result<Option<&'a Member>, Fatal> {
    let own = context.cluster();
    let members = seen.iter().filter(|seen| seen.member.cluster != 0);
    let fellows: Vec<_> = members.filter(|seen| own == 0 || seen.member.cluster == own).collect();
    let Some(first) = fellows.first() else { return Ok(None) };
    match fellows.iter().find(|seen| seen.member.cluster != first.member.cluster) {
        None => Ok(Some(&first.member)),
        Some(other) => Err(Fatal::Formation(format!(
            "{} and {} belong to different clusters",
            first.member.peer, other.member.peer
        ))),
    }
}

/// Asks the leader to take this replica in, following the trail to it.
async fn join(context: &Context, host: &Member) -> Result<(), Fatal> {
    use pb::join_reply::Result as R;
    let replaces = context.waiting.invitation().map(|invitation| invitation.replaces);
    let me = Member { replaces: replaces.unwrap_or_default(), ..context.me.clone() };
    let mut address = host.peer.clone();
    for _ in 0..JOIN_HOPS_MAX {
        let Ok(channel) = context.peers.channel(&address, Traffic::Forward) else { return Ok(()) };
        let member = Some(convert::member_to(&me));
        let request = greeting(pb::JoinRequest { id: context.id, member });
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
            Some(R::Leader(_)) | None => {
                context.waiting.explain(no_leader(host));
                return Ok(());
            }
        }
    }
    Ok(())
}

fn no_leader(host: &Member) -> String {
    let Member { name, peer, admin, .. } = host;
    format!(
        "{name} ({peer}) has a cluster without a leader, which takes nobody in; if the memory of \
         its other nodes is lost: raftcached member recover --from {name} --cluster {admin}"
    )
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
    if formation.expect == 0 {
        context.waiting.explain("to be taken into a cluster".to_owned());
        return Ok(());
    }
    if context.has_predecessor {
        context.waiting.explain(
            "to be taken into a cluster: what an earlier replica left in the data directory may be \
             the last copy; to begin an empty cluster instead, remove the data directories"
                .to_owned(),
        );
        return Ok(());
    }
    if seen.len() + 1 < formation.expect {
        let (expect, here) = (formation.expect, seen.len() + 1);
        context.waiting.explain(format!(
            "for {expect} empty nodes to form a cluster, or for one that has; {here} of them here"
        ));
        return Ok(());
    }
    if seen.iter().any(|seen| seen.member.name < context.me.name) {
        return Ok(());
    }
    let cluster = random::id();
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
    let Ok(channel) = context.peers.channel_to(&seen.member, Traffic::Forward) else {
        return false;
    };
    let members = convert::members_to(members.iter());
    let request = greeting(pb::FormRequest { cluster, members });
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
