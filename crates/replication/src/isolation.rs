//! A member that hears nothing: finds out whether it was removed, and tells the operator when a
//! majority is gone.
//!
//! A removed replica may never get the entry that removes it (Raft dissertation 4.2.2), so it asks.
//! A peer's word counts if the membership that the peer knows to be committed is not older than the
//! one this replica has, committed or not, and this replica is not in it: an id that was removed
//! never comes back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{sleep, timeout};

use crate::context::Context;
use crate::gather;
use crate::pb;
use crate::pb::cluster_client::ClusterClient;
use crate::peers::{Traffic, greeting};
use crate::types::{Raft, StoredMembership, log_index};

/// Resolves once an operator has removed this replica.
pub(crate) async fn removed(raft: &Raft, context: &Context) {
    loop {
        sleep(ASK_EVERY).await;
        let silent = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.current_leader != Some(context.id)
                && SILENCE < context.contact.heard().elapsed()
        };
        if silent && is_removed(raft, context).await {
            return;
        }
    }
}

async fn is_removed(raft: &Raft, context: &Context) -> bool {
    let (known, addresses) = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.nodes();
        let others = members.filter(|(id, _)| **id != context.id);
        let addresses: Vec<_> = others.map(|(_, member)| member.peer.clone()).collect();
        (membership_index(&metrics.membership_config), addresses)
    };
    let replies = join_all(addresses.iter().map(|address| hello(context, address))).await;
    let cluster = context.cluster();
    replies.into_iter().flatten().any(|reply| says_removed(&reply, cluster, known))
}

/// Whether a peer's word proves that this replica of `cluster`, whose last membership is at index
/// `known`, was removed.
///
/// At the same index too: either this replica has got the entry that removes it, or its own entry
/// there is void.
fn says_removed(reply: &pb::HelloReply, cluster: u64, known: u64) -> bool {
    reply.cluster == cluster && known <= reply.membership && !reply.knows_you
}

async fn hello(context: &Context, address: &str) -> Option<pb::HelloReply> {
    let channel = context.peers.channel(address, Traffic::Forward).ok()?;
    let request = pb::HelloRequest { name: context.me.name.clone(), id: context.id };
    let reply = timeout(HELLO_TIMEOUT, ClusterClient::new(channel).hello(greeting(request))).await;
    Some(reply.ok()?.ok()?.into_inner())
}

/// Log index of a membership, from 1; 0: there is none.
pub(crate) fn membership_index(membership: &StoredMembership) -> u64 {
    membership.log_id().as_ref().map_or(0, |log_id| log_index(log_id).0)
}

/// Logs the verdict each time it changes while there is no quorum, and when there is one again.
pub(crate) async fn report_isolation(raft: Raft, context: Arc<Context>) {
    let mut said = String::new();
    loop {
        sleep(REPORT_EVERY).await;
        if !context.is_isolated() {
            if !said.is_empty() {
                tracing::info!("a majority is there again");
                said.clear();
            }
            continue;
        }
        // A node without a cluster says what it waits for by itself.
        let status = gather::status(&raft, &context).await;
        let verdict = status.verdict;
        if !status.quorum && verdict != said && context.waiting.reason().is_empty() {
            tracing::error!("{verdict}");
            said = verdict;
        }
    }
}

const ASK_EVERY: Duration = Duration::from_millis(100);
const SILENCE: Duration = Duration::from_millis(300);
const HELLO_TIMEOUT: Duration = Duration::from_millis(300);
const REPORT_EVERY: Duration = Duration::from_millis(1000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proves_a_removal() {
        let reply = |cluster, membership, knows_you| pb::HelloReply {
            cluster,
            membership,
            knows_you,
            ..pb::HelloReply::default()
        };
        let cases = [
            ("newer, without us", reply(7, 6, false), true),
            ("the entry that removes us has arrived here", reply(7, 5, false), true),
            ("the peer is behind", reply(7, 4, false), false),
            ("we are in it", reply(7, 6, true), false),
            ("another cluster", reply(8, 6, false), false),
            ("a blank node", reply(0, 0, false), false),
        ];
        for (name, reply, want) in cases {
            assert_eq!(says_removed(&reply, 7, 5), want, "case: {name}");
        }
    }
}
