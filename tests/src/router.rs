//! A client of the whole cluster that is never in flight through a node about to be killed.

use anyhow::{Context, Result};

use crate::client::Result as Answer;
use crate::{Gates, Liveness, TextClient};

/// One connection to each node, used through [`Gates`], so that every outcome is known.
///
/// One thread each.
#[derive(Debug)]
pub struct Router<'a> {
    gates: &'a Gates,
    liveness: &'a Liveness,
    ports: &'a [u16],
    /// With the epoch in which each was made: a connection from before a kill is replaced.
    connections: Vec<Option<(u64, TextClient)>>,
}

impl<'a> Router<'a> {
    /// A client of the nodes at `ports`.
    pub fn new(gates: &'a Gates, liveness: &'a Liveness, ports: &'a [u16]) -> Self {
        Self { gates, liveness, ports, connections: ports.iter().map(|_| None).collect() }
    }

    /// Makes one request through the node `wish`, or the next one that is not about to be killed.
    ///
    /// # Errors
    ///
    /// Any failure at all: the node is alive, so there may be none.
    pub fn call<T>(
        &mut self,
        wish: usize,
        request: impl FnOnce(&mut TextClient) -> Answer<T>,
    ) -> Result<T> {
        let (node, _in_flight) = self.gates.enter(wish)?;
        let epoch = self.liveness.epoch(node);
        let port = *self.ports.get(node).context("more gates than ports")?;
        let slot = self.connections.get_mut(node).context("more gates than ports")?;
        let connection = match slot.take().filter(|(made_in, _)| *made_in == epoch) {
            Some(connection) => slot.insert(connection),
            None => {
                let client = TextClient::connect(port)
                    .with_context(|| format!("connecting to node {node}"))?;
                slot.insert((epoch, client))
            }
        };
        request(&mut connection.1).with_context(|| format!("through node {node}"))
    }
}
