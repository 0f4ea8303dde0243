//! `raftcached status`: how the cluster is, for people and for monitoring.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use replication::status::{ClusterStatus, NodeStatus, ShardStatus};

use crate::cli::{Output, StatusOptions};
use crate::http;
use crate::say;
use crate::values::HostPort;

/// Asks the nodes in turn and shows the first answer.
pub(crate) fn run(options: &StatusOptions) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, health) = match runtime.block_on(ask(&options.cluster)) {
        Ok(status) => {
            let health = Health::of(&status);
            (status, health)
        }
        Err(error) => {
            let verdict = format!("unhealthy: {error:#}");
            let nothing = ClusterStatus {
                verdict,
                quorum: false,
                can_lose: 0,
                nodes: Vec::new(),
                shards: Vec::new(),
            };
            (nothing, Health::Unhealthy)
        }
    };
    match options.output {
        Output::Json => say(format_args!("{}", serde_json::to_string(&status)?)),
        Output::Text => say(format_args!("{}", text(&status).trim_end())),
    }
    Ok(health as u8)
}

/// What the first of `cluster` that answers says.
///
/// # Errors
///
/// If none of them does: what each said instead.
pub(crate) async fn ask(cluster: &[HostPort]) -> anyhow::Result<ClusterStatus> {
    let mut refusals = Vec::new();
    for address in cluster {
        match ask_one(address).await {
            Ok(status) => return Ok(status),
            Err(error) => refusals.push(format!("{address}: {error:#}")),
        }
    }
    anyhow::bail!("no node answers ({})", refusals.join("; "))
}

/// What the node with the admin address `address` says of its cluster.
pub(crate) async fn ask_one(address: &HostPort) -> anyhow::Result<ClusterStatus> {
    let reply = http::get(address, "/v1/status", LIMIT).await?;
    anyhow::ensure!(reply.status == 200, "answers with status {}", reply.status);
    serde_json::from_slice(&reply.body).context("answers with something else than a status")
}

/// The exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Ok = 0,
    Unhealthy = 1,
    NoQuorum = 3,
}

impl Health {
    fn of(status: &ClusterStatus) -> Self {
        let serving = |node: &NodeStatus| {
            node.serving && !node.disk_full && matches!(node.state.as_str(), "leader" | "follower")
        };
        let led = |shard: &ShardStatus| shard.leader.is_some();
        if !status.quorum {
            Self::NoQuorum
        } else if status.nodes.iter().all(serving)
            && status.shards.iter().all(led)
            && status.shards.iter().all(|shard| shard.diverged().is_none())
        {
            Self::Ok
        } else {
            Self::Unhealthy
        }
    }
}

fn text(status: &ClusterStatus) -> String {
    let mut out = String::new();
    for shard in &status.shards {
        if let Some(index) = shard.diverged() {
            let shard = shard.shard;
            line(&mut out, format_args!("unhealthy: shard {shard}: digests differ at {index}"));
        }
    }
    line(&mut out, format_args!("{}", status.verdict));
    if !status.nodes.is_empty() {
        line(&mut out, format_args!(""));
        let head = ["node", "state", "serving", "client", "items", "bytes", "version", "id"];
        let rows = status.nodes.iter().map(node_row);
        table(&mut out, &[vec![head.map(str::to_owned)], rows.collect()].concat());
    }
    for shard in &status.shards {
        let ShardStatus { shard: number, term, leader, commit, .. } = shard;
        let leader = leader.as_deref().unwrap_or("nobody");
        line(&mut out, format_args!(""));
        line(
            &mut out,
            format_args!("shard {number}: leader {leader}, term {term}, commit {commit}"),
        );
        let head = ["replica", "applied", "lag", "digest", "at"];
        let rows = shard.replicas.iter().map(|replica| {
            [
                replica.node.clone(),
                replica.applied.to_string(),
                commit.saturating_sub(replica.applied).to_string(),
                replica.digest.clone(),
                replica.digest_at.to_string(),
            ]
        });
        table(&mut out, &[vec![head.map(str::to_owned)], rows.collect()].concat());
    }
    out
}

fn node_row(node: &NodeStatus) -> [String; 8] {
    [
        node.name.clone(),
        node.state.clone(),
        if node.serving { "yes" } else { "no" }.to_owned(),
        node.client.clone(),
        node.items.to_string(),
        node.bytes.to_string(),
        node.version.clone(),
        node.id.clone(),
    ]
}

/// Columns as wide as their widest cell.
pub(crate) fn table<const N: usize>(out: &mut String, rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    for row in rows {
        let mut shown = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // Formatting into a string cannot fail.
            let _ = write!(shown, "  {cell:<width$}");
        }
        line(out, format_args!("{}", shown.trim_end()));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Formatting into a string cannot fail.
    let _ = writeln!(out, "{text}");
}

/// A node asks its peers for half a second at most before it answers.
const LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use replication::status::ReplicaStatus;

    use super::*;

    fn healthy() -> ClusterStatus {
        let node = |name: &str, state: &str| NodeStatus {
            name: name.to_owned(),
            id: "7".to_owned(),
            state: state.to_owned(),
            voter: true,
            version: "0.1.0".to_owned(),
            client: "127.0.0.1:11211".to_owned(),
            peer: "127.0.0.1:21211".to_owned(),
            admin: "127.0.0.1:31211".to_owned(),
            items: 12,
            bytes: 3456,
            serving: true,
            disk_full: false,
        };
        let replica = |node: &str, applied: u64| ReplicaStatus {
            node: node.to_owned(),
            applied,
            digest: format!("{applied:016x}"),
            digest_at: applied,
        };
        ClusterStatus {
            verdict: "ok: n1 leads, 1 of 2 may be lost".to_owned(),
            quorum: true,
            can_lose: 1,
            nodes: vec![node("n1", "leader"), node("n2", "follower")],
            shards: vec![ShardStatus {
                shard: 0,
                term: 4,
                leader: Some("n1".to_owned()),
                commit: 99,
                replicas: vec![replica("n1", 99), replica("n2", 97)],
            }],
        }
    }

    #[test]
    fn people_see_the_verdict_first() {
        let want = "\
ok: n1 leads, 1 of 2 may be lost

  node  state     serving  client           items  bytes  version  id
  n1    leader    yes      127.0.0.1:11211  12     3456   0.1.0    7
  n2    follower  yes      127.0.0.1:11211  12     3456   0.1.0    7

shard 0: leader n1, term 4, commit 99
  replica  applied  lag  digest            at
  n1       99       0    0000000000000063  99
  n2       97       2    0000000000000061  97
";
        assert_eq!(text(&healthy()), want);
    }

    #[test]
    fn exit_status() {
        let check = |name: &str, change: fn(&mut ClusterStatus), want: Health| {
            let mut status = healthy();
            change(&mut status);
            assert_eq!(Health::of(&status), want, "case: {name}");
        };
        check("healthy", |_| {}, Health::Ok);
        check("no quorum", |status| status.quorum = false, Health::NoQuorum);
        check("down", |status| status.nodes[1].state = "down".to_owned(), Health::Unhealthy);
        check("joining", |status| status.nodes[1].serving = false, Health::Unhealthy);
        check("no leader", |status| status.shards[0].leader = None, Health::Unhealthy);
        let same_index = |status: &mut ClusterStatus| status.shards[0].replicas[1].digest_at = 99;
        check("diverged", same_index, Health::Unhealthy);
        let mut diverged = healthy();
        diverged.shards[0].replicas[1].digest_at = 99;
        assert!(text(&diverged).starts_with("unhealthy: shard 0: digests differ at 99\n"));
    }
}
