//! An operator's changes of the members: asked of any node, made by the leader.

use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{ChangeMembers, ServerState};
use tokio::time::{Instant, sleep, timeout};

use crate::context::Context;
use crate::convert;
use crate::error::MemberError;
use crate::leader::{Leader, LeaderWatch, Peer};
use crate::membership::{self, Changes, NotChanged, change_from};
use crate::pb;
use crate::pb::cluster_client::ClusterClient;
use crate::peers::{Envelope, Traffic, greeting};
use crate::plan::{Action, MemberChange, Plan, Seat, View, plan};
use crate::types::{LogId, Raft, ReplicaId};

/// What became of a change that this node was asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Begun, or with `dry_run` found possible; the steps for the operator.
    Begun(Vec<String>),
    /// Somebody else leads. What has been done towards that; empty: nothing.
    Elsewhere(String),
}

/// Finds the leader and has it make the change; from any node.
///
/// Says only that the change has begun: a new member votes once it has caught up.
pub(crate) async fn ask(
    raft: &Raft,
    context: &Context,
    leader: &LeaderWatch,
    change: &MemberChange,
    dry_run: bool,
) -> Result<Vec<String>, MemberError> {
    let deadline = Instant::now() + FIND_LEADER;
    let mut done = Vec::new();
    while Instant::now() < deadline {
        let asked = match leader.current() {
            Leader::Me => make(raft, context, change, dry_run).await?,
            Leader::Peer(peer) => ask_leader(context, &peer, change, dry_run).await?,
            Leader::Nobody => Asked::Elsewhere(String::new()),
        };
        match asked {
            Asked::Begun(steps) => {
                done.extend(steps);
                return Ok(done);
            }
            Asked::Elsewhere(step) => {
                done.extend((!step.is_empty()).then_some(step));
                sleep(LOOK_AGAIN).await;
            }
        }
    }
    Err(MemberError::NoLeader)
}

async fn ask_leader(
    context: &Context,
    leader: &Peer,
    change: &MemberChange,
    dry_run: bool,
) -> Result<Asked, MemberError> {
    use pb::change_member_reply::Result as R;
    let channel = context.peers.channel(&leader.member.peer, Traffic::Forward);
    let channel = channel.map_err(|_| MemberError::NoLeader)?;
    let envelope = Envelope { cluster: context.cluster(), from: context.id, to: leader.id };
    let request = envelope.wrap(convert::member_change_to(change, dry_run));
    let reply = timeout(CHANGE_TIMEOUT, ClusterClient::new(channel).change_member(request)).await;
    let name = &leader.member.name;
    let undecided = |why| MemberError::Undecided(format!("the leader {name} {why}"));
    let reply = reply.map_err(|_| undecided("did not answer in time".to_owned()))?;
    let reply = reply.map_err(|status| undecided(format!("says: {}", status.message())))?;
    match reply.into_inner().result {
        Some(R::Steps(begun)) => Ok(Asked::Begun(begun.steps)),
        Some(R::Refused(why)) => Err(MemberError::Refused(why)),
        Some(R::Unknown(why)) => Err(MemberError::Unknown(why)),
        Some(R::Undecided(why)) => Err(MemberError::Undecided(why)),
        Some(R::Elsewhere(step)) => Ok(Asked::Elsewhere(step)),
        None => Ok(Asked::Elsewhere(String::new())),
    }
}

/// Makes the change, if this node leads.
pub(crate) async fn make(
    raft: &Raft,
    context: &Context,
    change: &MemberChange,
    dry_run: bool,
) -> Result<Asked, MemberError> {
    let Some(_turn) = context.take_change_turn() else {
        return Err(MemberError::Refused("another change is being begun".to_owned()));
    };
    let Some((view, seen)) = view(raft, context).await else {
        return Ok(Asked::Elsewhere(String::new()));
    };
    let Plan { steps, action } = plan(&view, change)?;
    match action {
        Action::Invite { name, peer, replaces } => {
            let id = greet_blank(context, &name, &peer).await?;
            if !dry_run {
                invite(context, id, &peer, replaces).await?;
                wait_for_learner(raft, id, &name).await?;
            }
        }
        _ if dry_run => {}
        Action::MoveLeader => {
            let moved = membership::move_leader(raft, context, "").await;
            moved.map_err(|error| MemberError::Refused(error.to_string()))?;
            return Ok(Asked::Elsewhere(steps.into_iter().next().unwrap_or_default()));
        }
        Action::Forget(id) => {
            commit(raft, seen, ChangeMembers::RemoveNodes([id].into())).await?;
        }
        Action::Keep(voters) => commit(raft, seen, ChangeMembers::ReplaceAllVoters(voters)).await?,
    }
    Ok(Asked::Begun(steps))
}

/// The members as this leader sees them, each asked whether it is there, and which membership that
/// was; `None` if it does not lead.
///
/// A heartbeat that was answered a moment ago would not do: who died since would be counted, and
/// a change that needs it could never be committed.
async fn view(raft: &Raft, context: &Context) -> Option<(View, Option<LogId>)> {
    let metrics = raft.metrics().borrow_watched().clone();
    if metrics.state != ServerState::Leader {
        return None;
    }
    let membership = metrics.membership_config.membership();
    let voters: Vec<_> = membership.voter_ids().collect();
    let last = metrics.last_log_index.unwrap_or_default();
    let lag = |id: &ReplicaId| {
        let matched = metrics.replication.as_ref()?.get(id)?.as_ref()?;
        Some(last.saturating_sub(matched.index))
    };
    let seats = membership.nodes().map(|(id, member)| {
        let (votes, lag) = (voters.contains(id), lag(id).unwrap_or(last));
        async move {
            Seat {
                id: *id,
                name: member.name.clone(),
                peer: member.peer.clone(),
                votes,
                alive: *id == context.id || membership::is_alive(context, *id, member).await,
                lag,
            }
        }
    });
    let seats = join_all(seats).await;
    let settled = membership::is_settled(&metrics) && membership.get_joint_config().len() == 1;
    let view = View { leader: context.id, seats, settled };
    Some((view, *metrics.membership_config.log_id()))
}

/// The replica that waits at `peer`, if it is the one that is meant.
async fn greet_blank(context: &Context, name: &str, peer: &str) -> Result<ReplicaId, MemberError> {
    let nobody = || MemberError::Refused(format!("no raftcached node answers at {peer}"));
    let channel = context.peers.channel(peer, Traffic::Forward).map_err(|_| nobody())?;
    let request = pb::HelloRequest { name: context.me.name.clone(), id: context.id };
    let hello = timeout(GREET_TIMEOUT, ClusterClient::new(channel).hello(greeting(request))).await;
    let hello = hello.map_err(|_| nobody())?.map_err(|_| nobody())?.into_inner();
    let refuse = |why: &str| Err(MemberError::Refused(format!("the node at {peer} {why}")));
    if hello.cluster == context.cluster() {
        return refuse(&format!("is {}, a member already", hello.name));
    }
    if hello.cluster != 0 {
        return refuse(
            "has a cluster of its own; a node that is to wait is started with \
             --bootstrap-expect 0",
        );
    }
    if hello.name != name {
        return refuse(&format!("is called {}, not {name}", hello.name));
    }
    Ok(hello.id)
}

async fn invite(
    context: &Context,
    id: ReplicaId,
    peer: &str,
    replaces: String,
) -> Result<(), MemberError> {
    let gone = |_| MemberError::Refused(format!("the node at {peer} does not answer any more"));
    let channel = context.peers.channel(peer, Traffic::Forward);
    let channel = channel.map_err(|error| MemberError::Refused(error.to_string()))?;
    let request = pb::InviteRequest { id, join: context.me.peer.clone(), replaces };
    let invited =
        timeout(GREET_TIMEOUT, ClusterClient::new(channel).invite(greeting(request))).await;
    let refused = invited.map_err(|_| gone(()))?.map_err(|_| gone(()))?.into_inner().refused;
    if refused.is_empty() { Ok(()) } else { Err(MemberError::Refused(refused)) }
}

/// From here on the membership itself says what is under way.
async fn wait_for_learner(raft: &Raft, id: ReplicaId, name: &str) -> Result<(), MemberError> {
    let mut metrics = raft.server_metrics();
    let came = async {
        while metrics.borrow_watched().membership_config.get_node(&id).is_none() {
            if metrics.changed().await.is_err() {
                return false;
            }
        }
        true
    };
    match timeout(JOIN_TIMEOUT, came).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => {
            Err(MemberError::Undecided(format!("{name} was invited and has not come yet")))
        }
    }
}

async fn commit(raft: &Raft, seen: Option<LogId>, change: Changes) -> Result<(), MemberError> {
    let changed = timeout(COMMIT_TIMEOUT, change_from(raft, seen, change)).await;
    let changed = changed.map_err(|_| {
        MemberError::Undecided("the change was not confirmed in time and may yet happen".to_owned())
    })?;
    changed.map_err(|error| match error {
        NotChanged::Stale => MemberError::Refused(
            "the members have changed while this was being looked at: ask again".to_owned(),
        ),
        NotChanged::Undecided(why) => MemberError::Undecided(why),
    })
}

const FIND_LEADER: Duration = Duration::from_millis(5000);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const GREET_TIMEOUT: Duration = Duration::from_millis(1000);
const JOIN_TIMEOUT: Duration = Duration::from_millis(5000);
const COMMIT_TIMEOUT: Duration = Duration::from_millis(5000);

/// Longer than all that the leader may take.
const CHANGE_TIMEOUT: Duration = Duration::from_millis(10_000);
