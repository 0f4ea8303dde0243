//! The replicated cache as client connections want to see it.

use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use engine::{Command, EngineStats, Item, Missing, OnEviction, Outcome, UnixMillis, Usage};
use frontend::{Full, Unavailable};

/// Joins the two crates that do not know each other; does nothing by itself.
#[derive(Clone)]
pub(crate) struct Backend(pub(crate) replication::Client);

impl frontend::Backend for Backend {
    type Proposal = Proposal;

    fn read_now(&self) -> Option<UnixMillis> {
        self.0.read_now()
    }

    async fn read_barrier(&self) -> Result<UnixMillis, Unavailable> {
        self.0.read_barrier().await.map_err(unavailable)
    }

    fn get(&self, key: &[u8], at: UnixMillis) -> Result<Item, Missing> {
        self.0.get(key, at)
    }

    fn look(&self, key: &[u8], at: UnixMillis, fetch: bool) -> Result<(Item, Usage), Missing> {
        self.0.look(key, at, fetch)
    }

    fn propose(&self, command: &Command<'_>) -> Result<Proposal, Full> {
        self.0.propose(command).map(Proposal).map_err(|replication::Full| Full)
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        self.0.ready().await.map_err(unavailable)
    }

    fn accepting(&self) -> bool {
        self.0.accepting()
    }

    fn engine_stats(&self) -> EngineStats {
        self.0.engine_stats()
    }

    fn part(&self, part: usize) -> Option<Vec<(Item, Usage)>> {
        self.0.part(part)
    }

    fn on_eviction(&self, show: OnEviction) {
        self.0.on_eviction(show);
    }

    fn cluster_stats(&self, stat: &mut dyn FnMut(&str, &dyn Display)) {
        self.0.cluster_stats(stat);
    }
}

/// One command's outcome, to come.
pub(crate) struct Proposal(replication::Proposal);

impl Future for Proposal {
    type Output = Result<Outcome, Unavailable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(outcome.map_err(unavailable))
    }
}

fn unavailable(error: replication::ClientError) -> Unavailable {
    match error {
        replication::ClientError::Draining => Unavailable::Draining,
        replication::ClientError::NoQuorum => Unavailable::NoQuorum,
        replication::ClientError::NoSpace => Unavailable::NoSpace,
        // Whatever else may go wrong one day: nobody may believe that nothing was done.
        replication::ClientError::OutcomeUnknown | _ => Unavailable::OutcomeUnknown,
    }
}
