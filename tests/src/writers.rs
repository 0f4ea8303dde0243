//! Paced writers at every node, and what they were promised.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{
    Cluster, Journal, Liveness, PacedWriter, TextClient, Undisturbed, Violations, wait_for,
};

/// A load of several connections through all nodes; everything acknowledged is remembered.
#[derive(Debug)]
pub struct Writers {
    /// What was written.
    pub journal: Journal,
    /// Which nodes may fail their clients.
    pub liveness: Liveness,
    violations: Violations,
    nodes: usize,
}

impl Writers {
    /// For a cluster of `nodes` nodes, all of them up.
    pub fn new(nodes: usize) -> Self {
        let (journal, violations) = Default::default();
        Self { journal, liveness: Liveness::new(nodes), violations, nodes }
    }

    /// Does `work` while two connections to each node write, 960 sets a second in all as long as
    /// no node is down. No two calls may have the same `prefix`.
    ///
    /// # Errors
    ///
    /// A broken promise, before the failure of `work`: it may be the reason.
    pub fn during<T>(
        &self,
        cluster: &Cluster,
        prefix: &str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let stop = AtomicBool::new(false);
        let prefixes = ["a", "b"].map(|connection| format!("{prefix}-{connection}"));
        let worked = thread::scope(|scope| {
            for (prefix, node) in
                prefixes.iter().flat_map(|prefix| (0..self.nodes).map(move |node| (prefix, node)))
            {
                let writer = PacedWriter {
                    prefix,
                    node,
                    port: cluster.client_port(node),
                    period: PERIOD,
                    journal: &self.journal,
                    liveness: &self.liveness,
                    violations: &self.violations,
                };
                let stop = &stop;
                scope.spawn(move || writer.run(stop));
            }
            let worked = work();
            stop.store(true, Ordering::SeqCst);
            worked
        });
        self.violations.check()?;
        worked
    }

    /// Waits until `more` writes have been acknowledged from now on, at `rate_min` a second or
    /// more, unless the machine stood still.
    ///
    /// # Errors
    ///
    /// When they are too few, or a promise was broken.
    pub fn wait_more(&self, more: u64, rate_min: f64) -> Result<()> {
        let (began, steady) = (Instant::now(), Undisturbed::now());
        let wanted = self.journal.acknowledged() + more;
        wait_for("acknowledged writes", Duration::from_secs(30), || {
            let have = self.journal.acknowledged();
            // A broken promise ends the writers: nothing more to wait for.
            ensure!(wanted <= have || !self.violations.none(), "{have} of {wanted}");
            Ok(())
        })?;
        self.violations.check()?;
        let rate = more as f64 / began.elapsed().as_secs_f64();
        ensure!(rate_min <= rate || !steady.holds(), "only {rate:.0} writes/s");
        Ok(())
    }

    /// Says that all nodes are about to go down.
    pub fn all_down(&self) {
        (0..self.nodes).for_each(|node| self.liveness.down(node));
    }

    /// Says that all nodes serve again.
    pub fn all_up(&self) {
        (0..self.nodes).for_each(|node| self.liveness.up(node));
    }

    /// Reads everything through every node, while nobody writes: the acknowledged values or later
    /// ones must be there. Returns the number of keys.
    ///
    /// # Errors
    ///
    /// What is lost, and through which node.
    pub fn verify(&self, cluster: &Cluster) -> Result<usize> {
        let mut keys = 0;
        for node in 0..self.nodes {
            let mut client = TextClient::connect(cluster.client_port(node))?;
            let verified = self.journal.verify(&mut client);
            keys = verified.with_context(|| cluster.name(node).to_owned())?;
        }
        Ok(keys)
    }
}

/// Of one connection: six of them make 960 writes a second.
const PERIOD: Duration = Duration::from_micros(6250);
