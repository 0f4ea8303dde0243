//! `raftcached member`: who is in the cluster, and changes of it.

mod list;
mod recover;

use std::time::{Duration, Instant};

use replication::status::{ClusterStatus, NodeStatus};
use serde_json::{Value, json};

use crate::cli::{How, MemberCommand, MemberOptions, Output};
use crate::values::HostPort;
use crate::{complain, http, say, status};

/// The exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    NotDone = 1,
    Usage = 2,
    NoQuorum = 3,
    Unsafe = 4,
}

/// Does what was asked, and waits for its end.
pub(crate) fn run(options: &MemberOptions) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tool = Tool { cluster: &options.cluster, output: options.output };
    let done = async {
        match &options.command {
            MemberCommand::List => list::show(&tool).await,
            MemberCommand::Add { name, peer, how } => {
                let request = json!({ "name": name, "peer": peer.to_string() });
                let change = Change { path: "add", joins: Some(name), leaves: None };
                tool.change(&change, request, *how).await
            }
            MemberCommand::Remove { name, how } => {
                let request = json!({ "name": name });
                let change = Change { path: "remove", joins: None, leaves: Some(name) };
                tool.change(&change, request, *how).await
            }
            MemberCommand::Replace { old, new, peer, how } => {
                let request = json!({ "old": old, "new": new, "peer": peer.to_string() });
                let change = Change { path: "replace", joins: Some(new), leaves: Some(old) };
                tool.change(&change, request, *how).await
            }
            MemberCommand::Recover { from, yes_some_writes_may_be_lost: yes, dry_run } => {
                recover::recover(&tool, from, *yes, *dry_run).await
            }
        }
    };
    runtime.block_on(done).map(|exit| exit as u8)
}

/// Whom to ask, and how to answer.
#[derive(Debug, Clone, Copy)]
struct Tool<'a> {
    cluster: &'a [HostPort],
    output: Output,
}

/// A change and what shows that it has ended.
#[derive(Debug, Clone, Copy)]
struct Change<'a> {
    /// Behind `/v1/members/`.
    path: &'a str,
    joins: Option<&'a str>,
    leaves: Option<&'a str>,
}

impl Tool<'_> {
    async fn change(&self, change: &Change<'_>, request: Value, how: How) -> anyhow::Result<Exit> {
        let mut request = request;
        if let Some(fields) = request.as_object_mut() {
            fields.insert("dry_run".to_owned(), how.dry_run.into());
        }
        let Some(address) = self.living().await else {
            return Ok(self.end(Exit::NotDone, &json!({ "error": "no node answers" })));
        };
        let witnesses = self.witnesses(change).await;
        let path = format!("/v1/members/{}", change.path);
        let reply = http::post(address, &path, &request.to_string(), CHANGE_LIMIT).await;
        let (exit, answer) = match reply {
            Ok(reply) => read(&reply),
            Err(error) => (Exit::NotDone, json!({ "error": format!("{address}: {error:#}") })),
        };
        if exit != Exit::Done {
            return Ok(self.end(exit, &answer));
        }
        let steps = answer.get("steps").and_then(Value::as_array).into_iter().flatten();
        let steps: Vec<_> = steps.filter_map(Value::as_str).collect();
        for step in &steps {
            self.tell(step);
        }
        if how.dry_run {
            let answer = json!({ "steps": steps, "done": false });
            self.tell("nothing was changed: this was only asked for");
            return Ok(self.end(Exit::Done, &answer));
        }
        let (exit, verdict) = self.follow(change, &witnesses, how).await;
        self.tell(&verdict);
        let answer = json!({ "steps": steps, "done": exit == Exit::Done, "verdict": verdict });
        Ok(self.end(exit, &answer))
    }

    /// Shows how the change goes on until it has ended.
    async fn follow(
        &self,
        change: &Change<'_>,
        witnesses: &[HostPort],
        how: How,
    ) -> (Exit, String) {
        let deadline = Instant::now() + Duration::from_secs(how.timeout);
        let mut shown = String::new();
        let mut came = false;
        while Instant::now() < deadline {
            if let Ok(status) = status::ask(witnesses).await {
                let seen = progress(&status, change);
                came |= seen.is_member;
                if seen.ended {
                    return (Exit::Done, status.verdict);
                }
                if came && !seen.is_member && status.quorum {
                    let name = change.joins.unwrap_or_default();
                    return (Exit::NotDone, format!("{name} is no member any more"));
                }
                if seen.shown != shown {
                    shown = seen.shown;
                    self.tell(&shown);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let seconds = how.timeout;
        let why = format!("not done within {seconds} s; it goes on: raftcached member list");
        (Exit::NotDone, why)
    }

    /// Who can be asked how the change goes on: behind those that were named, the other members. The
    /// node that leaves may be the only one that was.
    async fn witnesses(&self, change: &Change<'_>) -> Vec<HostPort> {
        let mut witnesses = self.cluster.to_vec();
        if let Ok(status) = status::ask(self.cluster).await {
            let stays = |node: &&NodeStatus| change.leaves != Some(node.name.as_str());
            let others = status.nodes.iter().filter(stays);
            witnesses.extend(others.filter_map(|node| node.admin.parse().ok()));
        }
        witnesses
    }

    /// The first address at which a node answers: what is posted is posted once.
    async fn living(&self) -> Option<&HostPort> {
        for address in self.cluster {
            if http::get(address, "/livez", LOOK_LIMIT).await.is_ok() {
                return Some(address);
            }
        }
        None
    }

    fn tell(&self, line: &str) {
        if self.output == Output::Text {
            say(format_args!("{line}"));
        }
    }

    /// The last word: JSON for programs, the error for people.
    fn end(&self, exit: Exit, answer: &Value) -> Exit {
        match (self.output, answer.get("error").and_then(Value::as_str)) {
            (Output::Json, _) => say(format_args!("{answer}")),
            (Output::Text, Some(error)) => complain(format_args!("raftcached: {error}")),
            (Output::Text, None) => {}
        }
        exit
    }
}

/// What a reply means, and its JSON.
fn read(reply: &http::Reply) -> (Exit, Value) {
    let exit = match reply.status {
        200 => Exit::Done,
        400 | 413 => Exit::Usage,
        403 | 404 | 409 | 421 => Exit::Unsafe,
        503 => Exit::NoQuorum,
        _ => Exit::NotDone,
    };
    let unreadable = |_| json!({ "error": format!("answers with status {}", reply.status) });
    (exit, serde_json::from_slice(&reply.body).unwrap_or_else(unreadable))
}

/// How far a change is.
#[derive(Debug, PartialEq, Eq)]
struct Progress {
    ended: bool,
    /// Whether the node that joins is in the membership.
    is_member: bool,
    shown: String,
}

fn progress(status: &ClusterStatus, change: &Change<'_>) -> Progress {
    let named = |name: &str| {
        let alive = |node: &&NodeStatus| node.name == name && node.state != "down";
        status.nodes.iter().find(alive)
    };
    let left = change.leaves.is_none_or(|name| status.nodes.iter().all(|node| node.name != name));
    let Some(name) = change.joins else {
        return Progress { ended: left, is_member: false, shown: String::new() };
    };
    match named(name) {
        None => Progress { ended: false, is_member: false, shown: format!("{name}: on its way") },
        Some(node) => Progress {
            ended: left && node.voter && node.serving,
            is_member: true,
            shown: match (node.voter, lag(status, name)) {
                (false, None) => format!("{name}: learner"),
                (false, Some(lag)) => format!("{name}: learner, {lag} entries behind"),
                (true, _) => format!("{name}: votes"),
            },
        },
    }
}

/// Entries that the node has yet to apply.
fn lag(status: &ClusterStatus, name: &str) -> Option<u64> {
    let shard = status.shards.first()?;
    let replica = shard.replicas.iter().find(|replica| replica.node == name)?;
    Some(shard.commit.saturating_sub(replica.applied))
}

const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// The nodes give up before.
const CHANGE_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: &str, voter: bool) -> NodeStatus {
        NodeStatus {
            name: name.to_owned(),
            id: "7".to_owned(),
            state: state.to_owned(),
            voter,
            version: String::new(),
            client: String::new(),
            peer: String::new(),
            admin: String::new(),
            items: 0,
            bytes: 0,
            serving: voter,
            disk_full: false,
        }
    }

    #[test]
    fn a_change_ends_when_the_membership_says_so() {
        let nodes = |nodes: Vec<NodeStatus>| ClusterStatus {
            verdict: String::new(),
            quorum: true,
            can_lose: 0,
            nodes,
            shards: Vec::new(),
        };
        let replace = Change { path: "", joins: Some("n4"), leaves: Some("n1") };
        let (n1, n4) = (|| node("n1", "follower", true), |voter| node("n4", "learner", voter));
        let cases = [
            ("invited", vec![n1()], false, false),
            ("learner", vec![n1(), n4(false)], false, true),
            ("joint", vec![n1(), n4(true)], false, true),
            ("done", vec![n4(true)], true, true),
            ("dead namesake", vec![node("n4", "down", true)], false, false),
        ];
        for (name, seen, ended, is_member) in cases {
            let have = progress(&nodes(seen), &replace);
            assert_eq!((have.ended, have.is_member), (ended, is_member), "case: {name}");
        }
        let remove = Change { path: "", joins: None, leaves: Some("n1") };
        assert!(!progress(&nodes(vec![n1()]), &remove).ended);
        assert!(progress(&nodes(vec![n4(true)]), &remove).ended);
    }

    #[test]
    fn exit_status() {
        let exit = |status| read(&http::Reply { status, body: b"{}".to_vec() }).0 as u8;
        let cases = [(200, 0), (400, 2), (404, 4), (409, 4), (503, 3), (504, 1), (500, 1)];
        for (status, want) in cases {
            assert_eq!(exit(status), want, "case: {status}");
        }
    }
}
