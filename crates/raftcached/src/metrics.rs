//! `/metrics`: what Prometheus scrapes, in its text format 0.0.4.
//!
//! ```text
//!   frontend::Server, replication::Client, Node::status ──gather──▶ Metrics ──text──▶ the answer
//! ```
//!
//! Nothing is kept between two scrapes: whoever counts already does so for `stats` and `/v1/status`,
//! and is asked. `memcached_*` is what memcached's exporter would say of this node (`exporter.rs`),
//! `raftcached_*` what memcached does not have (`cluster.rs`).

mod cluster;
mod exporter;
mod families;

use std::fmt;
use std::time::SystemTime;

use engine::EngineStats;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;
use replication::Node;
use replication::status::ClusterStatus;

use families::Families;

pub(crate) use prometheus_text::CONTENT_TYPE;

/// All that is shown, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// This node's.
    name: String,
    /// Whether clients can connect.
    accepting: bool,
    /// Whether reads are answered at once.
    lease_valid: bool,
    clients: frontend::Figures,
    /// Settings without effect, by the names of their gauges.
    lru_settings: Vec<(&'static str, f64)>,
    engine: EngineStats,
    cluster: ClusterStatus,
    process: Process,
}

/// What the system knows of this process.
#[derive(Debug, Clone, Copy)]
struct Process {
    /// Since 1970, by this machine's clock.
    unix_s: u64,
    user_s: f64,
    system_s: f64,
}

impl Metrics {
    /// Asks everybody, the peers too: 500 ms at most. `is_open` is false before clients may connect
    /// and while they are sent away.
    pub(crate) async fn gather(
        name: String,
        node: &Node,
        clients: &frontend::Server,
        is_open: bool,
    ) -> Self {
        let cluster = node.status().await;
        let client = node.client();
        Self {
            name,
            accepting: is_open && client.accepting(),
            lease_valid: client.read_now().is_some(),
            clients: clients.figures(),
            lru_settings: exporter::lru_settings(|name| clients.idle_setting(name)),
            engine: client.engine_stats(),
            cluster,
            process: Process::now(),
        }
    }

    /// The body of the answer.
    ///
    /// # Errors
    ///
    /// None that is known: formatting into a string does not fail.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        exporter::encode(self, &mut families)?;
        cluster::encode(self, &mut families)
    }
}

impl Process {
    fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // Fails for nobody who asks about himself; zero is what a new process has used.
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        Self {
            unix_s: since_1970.map_or(0, |time| time.as_secs()),
            user_s: usage.map_or(0.0, |usage| seconds(usage.user_time())),
            system_s: usage.map_or(0.0, |usage| seconds(usage.system_time())),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact for the first 285 million years")]
fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

#[cfg(test)]
mod tests;
