//! `raftcached member list`.

use replication::status::{ClusterStatus, NodeStatus};
use serde_json::{Value, json};

use super::{Exit, Tool, lag};
use crate::cli::Output;
use crate::{say, status};

/// The verdict, and a line for each member.
pub(super) async fn show(tool: &Tool<'_>) -> anyhow::Result<Exit> {
    let status = match status::ask(tool.cluster).await {
        Ok(status) => status,
        Err(error) => {
            return Ok(tool.end(Exit::NotDone, &json!({ "error": format!("{error:#}") })));
        }
    };
    let exit = if status.quorum { Exit::Done } else { Exit::NoQuorum };
    match tool.output {
        Output::Json => Ok(tool.end(exit, &members(&status))),
        Output::Text => {
            say(format_args!("{}", text(&status).trim_end()));
            Ok(exit)
        }
    }
}

fn role(node: &NodeStatus) -> &'static str {
    if node.voter { "voter" } else { "learner" }
}

fn state(node: &NodeStatus) -> &'static str {
    if node.state == "down" { "dead" } else { "live" }
}

/// Entries behind; of the dead nothing is known.
fn behind(status: &ClusterStatus, node: &NodeStatus) -> Option<u64> {
    if node.state == "down" { None } else { lag(status, &node.name) }
}

fn members(status: &ClusterStatus) -> Value {
    let member = |node: &NodeStatus| {
        json!({
            "name": node.name,
            "id": node.id,
            "role": role(node),
            "state": state(node),
            "lag": behind(status, node),
            "client": node.client,
            "peer": node.peer,
            "admin": node.admin,
        })
    };
    let members: Vec<_> = status.nodes.iter().map(member).collect();
    let ClusterStatus { verdict, quorum, can_lose, .. } = status;
    json!({ "verdict": verdict, "quorum": quorum, "can_lose": can_lose, "members": members })
}

fn text(status: &ClusterStatus) -> String {
    let head = ["member", "role", "state", "lag", "client", "peer", "admin", "id"];
    let row = |node: &NodeStatus| {
        let lag = behind(status, node).map_or_else(|| "-".to_owned(), |lag| lag.to_string());
        let [role, state] = [role(node), state(node)].map(str::to_owned);
        let NodeStatus { name, client, peer, admin, id, .. } = node.clone();
        [name, role, state, lag, client, peer, admin, id]
    };
    let mut out = format!("{}\n\n", status.verdict);
    let rows = status.nodes.iter().map(row).collect();
    status::table(&mut out, &[vec![head.map(str::to_owned)], rows].concat());
    out
}
