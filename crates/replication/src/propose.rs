//! The leader's side of a batch: stamp it, propose it, say what became of it.

use bytes::Bytes;
use engine::Applied as EngineApplied;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::raft::ClientWriteResult;
use tokio::sync::oneshot;

use crate::context::Context;
use crate::stamps::StampedResponder;
use crate::types::{Answer, Proposal, Raft, SharedOutcomes, TypeConfig};

/// What became of a batch, as far as the one who sent it must know.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// Applied, now or when it came before: these are its outcomes.
    Done(SharedOutcomes),
    /// Applied and acknowledged so long ago that the outcomes are gone.
    Forgotten,
    /// Not applied, because its predecessor was not: send again from this number.
    Gap { next_seq: u64 },
    /// Not known here: send it again, perhaps to another leader. It is never applied twice.
    Retry,
}

/// A batch that was handed to raft.
pub(crate) type Proposed = oneshot::Receiver<ClientWriteResult<TypeConfig>>;

/// Stamps a batch with cluster time and hands it to raft; batches keep the order of these calls.
pub(crate) async fn propose(
    raft: &Raft,
    context: &Context,
    body: Bytes,
) -> Result<Proposed, Fatal<TypeConfig>> {
    let stamp = context.stamps.stamp();
    let proposal = Proposal { stamped_at: stamp.at(), body };
    let (responder, proposed) = StampedResponder::new(stamp);
    raft.client_write_ff(proposal, Some(responder)).await?;
    Ok(proposed)
}

/// Waits for a proposed batch, and for room for the next one.
pub(crate) async fn verdict(proposed: Proposed, context: &Context) -> Verdict {
    let result = proposed.await;
    context.backpressure.passed().await;
    match result {
        Ok(Ok(response)) => match response.data {
            Answer::Applied(EngineApplied::Outcomes(outcomes)) => Verdict::Done(outcomes),
            Answer::Applied(EngineApplied::Gap { next_seq }) => Verdict::Gap { next_seq },
            Answer::Applied(EngineApplied::Forgotten) | Answer::Nothing => Verdict::Forgotten,
        },
        // Not appended, or appended and lost from view: the exactly-once table makes both safe.
        Ok(Err(
            ClientWriteError::ForwardToLeader(_)
            | ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_),
        ))
        | Err(_) => Verdict::Retry,
    }
}
