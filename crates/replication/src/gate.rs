//! Every call of a peer passes here, before a byte of its message is decoded.
//!
//! ```text
//!   connection ──▶ Gate ── version, envelope, name ──▶ a method of `server.rs`
//!                    └──── refused, one line in the log
//! ```
//!
//! A method need not do anything to be guarded, and cannot be forgotten: what is not listed as
//! open to nodes without a cluster needs an envelope.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::{HeaderMap, Request, Response};
use openraft::async_runtime::watch::WatchReceiver;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service;

use crate::context::Context;
use crate::pb::cluster_server::ClusterServer;
use crate::pb::raft_server::RaftServer;
use crate::peers::{Envelope, versions};
use crate::refusals::Refusal;
use crate::server::PeerServer;
use crate::stream::Caller;
use crate::types::{Raft, ReplicaId};
use crate::version::Versions;

/// Both services behind one check; cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate {
    context: Arc<Context>,
    raft: Raft,
    /// The same services twice: only streams carry items, so nothing else may be large.
    small: Routes,
    large: Routes,
}

/// What the gate found out about a call; among the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CalledBy(pub(crate) ReplicaId);

/// Why a call does not pass.
type Refused = (Refusal, Status);

impl Gate {
    pub(crate) fn new(context: Arc<Context>, raft: Raft, server: &PeerServer) -> Self {
        let routes = |len_max| {
            let raft = RaftServer::new(server.clone()).max_decoding_message_size(len_max);
            let cluster = ClusterServer::new(server.clone()).max_decoding_message_size(len_max);
            Routes::new(raft).add_service(cluster).prepare()
        };
        Self { context, raft, small: routes(SMALL_LEN_MAX), large: routes(LARGE_LEN_MAX) }
    }

    fn admit(&self, request: &mut Request<Body>) -> Result<(), Refused> {
        let headers = request.headers();
        check_version(headers)?;
        let Some(caller) = request.extensions().get::<Caller>() else {
            let why = Status::internal("connection without a caller");
            return Err((Refusal::Name, why));
        };
        if OPEN.contains(&request.uri().path()) {
            return Ok(());
        }
        let envelope = self.check_envelope(headers)?;
        self.check_name(caller, envelope.from)?;
        request.extensions_mut().insert(CalledBy(envelope.from));
        Ok(())
    }

    /// A call is for this replica in this cluster.
    fn check_envelope(&self, headers: &HeaderMap) -> Result<Envelope, Refused> {
        let refused = |status| Err((Refusal::Envelope, status));
        let Some(envelope) = Envelope::read(headers) else {
            return refused(Status::invalid_argument("call has no raftcached envelope"));
        };
        let (id, cluster) = (self.context.id, self.context.cluster());
        if envelope.to != id {
            let why = format!("replica {} is not here, this is {id}", envelope.to);
            return refused(Status::not_found(why));
        }
        if cluster == 0 || envelope.cluster != cluster {
            let theirs = envelope.cluster;
            let why = format!("call is of cluster {theirs}, this node is of {cluster}");
            return refused(Status::permission_denied(why));
        }
        Ok(envelope)
    }

    /// The caller's certificate is the one of the member whose id it uses. A member that this
    /// replica has not heard of yet has no name here; its certificate is still one of a node.
    fn check_name(&self, caller: &Caller, from: ReplicaId) -> Result<(), Refused> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let member = metrics.membership_config.get_node(&from);
        if member.is_none_or(|member| caller.may_be(&member.name)) {
            return Ok(());
        }
        let name = member.map(|member| member.name.as_str()).unwrap_or_default();
        let why = format!("replica {from} is node `{name}`, the certificate is of {caller:?}");
        Err((Refusal::Name, Status::permission_denied(why)))
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Refused> {
    let Some(theirs) = versions(headers) else {
        let why = Status::failed_precondition("call says no version of the peer protocol");
        return Err((Refusal::Version, why));
    };
    match Versions::OURS.common(theirs) {
        Ok(_) => Ok(()),
        Err(error) => Err((Refusal::Version, Status::failed_precondition(error.to_string()))),
    }
}

impl Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    /// Routes are always ready.
    fn poll_ready(&mut self, _context: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Err((kind, status)) = self.admit(&mut request) {
            let (path, why) = (request.uri().path(), status.message());
            self.context.refusals.log(kind, format_args!("{path} is refused: {why}"));
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let is_large = LARGE.contains(&request.uri().path());
        let routes = if is_large { &mut self.large } else { &mut self.small };
        Box::pin(routes.call(request))
    }
}

/// Calls of nodes that have no cluster yet, so no envelope either. With TLS, they too come from
/// nodes with a certificate: others have no connection.
const OPEN: [&str; 4] = [
    "/raftcached.peer.v1.Cluster/Form",
    "/raftcached.peer.v1.Cluster/Hello",
    "/raftcached.peer.v1.Cluster/Invite",
    "/raftcached.peer.v1.Cluster/Join",
];

/// Calls that carry items.
const LARGE: [&str; 3] = [
    "/raftcached.peer.v1.Cluster/Forward",
    "/raftcached.peer.v1.Raft/Append",
    "/raftcached.peer.v1.Raft/InstallSnapshot",
];

/// A member's addresses, a few dozen times.
const SMALL_LEN_MAX: usize = 64 * 1024;

/// The largest item, its batch and an entry around it.
const LARGE_LEN_MAX: usize = 1100 * 1024 * 1024;

#[cfg(test)]
mod tests;
