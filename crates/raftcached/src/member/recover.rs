//! `raftcached member recover`: a new cluster begins with what one node holds.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Exit, LOOK_EVERY, Tool, read};
use crate::values::HostPort;
use crate::{complain, http, status};

/// What the node says it holds.
#[derive(Debug, Deserialize)]
struct Survivor {
    name: String,
    last_index: u64,
    last_term: u64,
    applied: u64,
    items: u64,
    others: Vec<String>,
}

/// Asks the node called `from` what it holds, shows it, and has it begin again if that is wanted.
pub(super) async fn recover(
    tool: &Tool<'_>,
    from: &str,
    yes: bool,
    dry_run: bool,
) -> anyhow::Result<Exit> {
    let (address, exit, answer) = ask(tool, from, false).await;
    let survivor = answer.get("survivor").cloned().map(serde_json::from_value::<Survivor>);
    let (Some(address), Some(Ok(survivor))) = (address, survivor) else {
        let exit = if exit == Exit::Done { Exit::NotDone } else { exit };
        return Ok(tool.end(exit, &answer));
    };
    warn(tool, &survivor);
    if dry_run {
        tool.tell("nothing was changed: this was only asked for");
        return Ok(tool.end(Exit::Done, &answer));
    }
    if !yes && !confirmed(from) {
        let why = "not confirmed: nothing was done (--yes-some-writes-may-be-lost)";
        return Ok(tool.end(Exit::Unsafe, &json!({ "error": why })));
    }
    let (_, exit, answer) = ask(tool, from, true).await;
    if exit != Exit::Done {
        return Ok(tool.end(exit, &answer));
    }
    let (exit, verdict) = wait_for_leader(address, from).await;
    tool.tell(&verdict);
    if exit == Exit::Done && !survivor.others.is_empty() {
        let others = survivor.others.join(", ");
        tool.tell(&format!(
            "start the others again ({others}), also those that still run: they join empty and \
             catch up"
        ));
    }
    let begun = json!({
        "survivor": answer.get("survivor"),
        "begun": exit == Exit::Done,
        "verdict": verdict,
    });
    Ok(tool.end(exit, &begun))
}

/// Posts to each address until the one that has the name answers.
async fn ask<'a>(
    tool: &Tool<'a>,
    from: &str,
    lose_writes: bool,
) -> (Option<&'a HostPort>, Exit, Value) {
    let request = json!({ "from": from, "lose_writes": lose_writes }).to_string();
    let mut why_not = Vec::new();
    for address in tool.cluster {
        match http::post(address, "/v1/members/recover", &request, SAVE_LIMIT).await {
            Ok(reply) if reply.status != MISDIRECTED => {
                let (exit, answer) = read(&reply);
                return (Some(address), exit, answer);
            }
            Ok(reply) => {
                let (_, answer) = read(&reply);
                let why = answer.get("error").and_then(Value::as_str).unwrap_or_default();
                why_not.push(format!("{address}: {why}"));
            }
            Err(error) => why_not.push(format!("{address}: {error:#}")),
        }
    }
    let error = format!("{from} does not answer ({})", why_not.join("; "));
    (None, Exit::NotDone, json!({ "error": error }))
}

fn warn(tool: &Tool<'_>, survivor: &Survivor) {
    let Survivor { name, last_index, last_term, applied, items, .. } = survivor;
    tool.tell(&format!(
        "{name} holds {items} items; its log ends at {last_index} (term {last_term}), applied \
         {applied}.\n\
         Whatever the cluster answered after that IS LOST, if you go on: {name} begins a new cluster\n\
         with this. If nodes of the old cluster can be brought back with their memory or disk, do\n\
         that instead: nothing is lost then."
    ));
}

/// Whether somebody at a terminal has typed the name.
fn confirmed(name: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    complain(format_args!("To go on, type the name of the node ({name}):"));
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).is_ok() && typed.trim() == name
}

async fn wait_for_leader(address: &HostPort, name: &str) -> (Exit, String) {
    let deadline = Instant::now() + BEGIN_LIMIT;
    while Instant::now() < deadline {
        if let Ok(status) = status::ask_one(address).await
            && status.quorum
        {
            let own = status.nodes.iter().find(|node| node.name == name);
            let items = own.map_or(0, |node| node.items);
            return (Exit::Done, format!("{name} leads a new cluster and holds {items} items"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let seconds = BEGIN_LIMIT.as_secs();
    (Exit::NotDone, format!("{name} does not lead after {seconds} s: its log says why"))
}

const MISDIRECTED: u16 = 421;
/// The node gives up before.
const SAVE_LIMIT: Duration = Duration::from_secs(130);
const BEGIN_LIMIT: Duration = Duration::from_secs(600);
