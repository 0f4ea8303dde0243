//! `raftcached dev`: three real node processes on this machine, to try things out and kill.

mod supervisor;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser as _;
use replication::status::{ClusterStatus, NodeStatus};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::addresses;
use crate::cli::{Cli, Command, DevOptions};
use crate::config::{ADMIN_PORT_OFFSET, Config, LOOPBACK, PEER_PORT_OFFSET};
use crate::failure::Failure;
use crate::http;
use crate::say;
use crate::status;
use crate::values::HostPort;
use supervisor::{Event, Supervisor};

/// Runs three nodes until told to end.
///
/// # Errors
///
/// What keeps the nodes from starting, with the exit status.
pub(crate) fn run(options: &DevOptions) -> Result<(), Failure> {
    let started = Instant::now();
    let nodes = plan(options)?;
    check_ports(&nodes)?;
    let (dir, _removed_at_the_end) = directory(options)?;
    let program = std::env::current_exe().context("cannot find the own program")?;
    let respawn = options.respawn.0.map(Duration::from_secs_f64);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let (events, mut seen) = mpsc::channel(EVENTS_MAX);
        let (stop, stopped) = watch::channel(());
        let mut supervisors = JoinSet::new();
        for node in &nodes {
            let dir = dir.join(&node.name);
            std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
            let supervisor = Supervisor {
                node: node.clone(),
                program: program.clone(),
                dir,
                respawn,
                events: events.clone(),
                stopped: stopped.clone(),
            };
            supervisors.spawn(supervisor.run());
        }
        drop(events);
        let watched = async {
            let pids = all_ready(&nodes, &mut seen).await?;
            greet(&nodes, &pids, &dir, started).await;
            report(&nodes, &mut seen).await;
            anyhow::Ok(())
        };
        let ended = tokio::select! {
            ended = watched => ended,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        };
        // Nobody reads the events any more, and nobody may wait for that.
        drop((stop, seen));
        while supervisors.join_next().await.is_some() {}
        ended
    })?;
    Ok(())
}

/// One node as it will be started.
#[derive(Debug, Clone)]
struct NodePlan {
    name: String,
    client: HostPort,
    peer: HostPort,
    admin: HostPort,
    /// Words of its command line, without the program.
    words: Vec<String>,
}

fn plan(options: &DevOptions) -> Result<Vec<NodePlan>, Failure> {
    let port = options.port;
    if port == 0 || PORT_MAX < port {
        let error = anyhow::anyhow!(
            "--port {port}: 1 to {PORT_MAX} are possible, since peers are {PEER_PORT_OFFSET} and \
             health checks {ADMIN_PORT_OFFSET} above it"
        );
        return Err(Failure::bad_option(error));
    }
    let address = |offset: u16| HostPort::new(LOOPBACK, port.saturating_add(offset));
    let peers: Vec<_> =
        (0..NODE_COUNT).map(|at| address(PEER_PORT_OFFSET + at).to_string()).collect();
    let nodes = (0..NODE_COUNT).map(|at| {
        let name = format!("n{}", at + 1);
        let (client, peer) = (address(at), address(PEER_PORT_OFFSET + at));
        let admin = address(ADMIN_PORT_OFFSET + at);
        // All of it is said, so that nothing of it comes from the environment.
        let words = [
            "server".to_owned(),
            "--exit-on-stdin-eof".to_owned(),
            format!("--name={name}"),
            format!("--listen={LOOPBACK}"),
            format!("--port={}", client.port),
            format!("--peer-listen={peer}"),
            format!("--admin-listen={admin}"),
            format!("--advertise-client={client}"),
            format!("--advertise-peer={peer}"),
            format!("--advertise-admin={admin}"),
            format!("--join={}", peers.join(",")),
            format!("--bootstrap-expect={NODE_COUNT}"),
        ];
        let words = words.into_iter().chain(options.passed_on.words()).collect();
        let node = NodePlan { name, client, peer, admin, words };
        node.check()?;
        Ok(node)
    });
    nodes.collect()
}

impl NodePlan {
    /// Refuses options here that the node would refuse, before anything is started.
    fn check(&self) -> Result<(), Failure> {
        let words = ["raftcached".to_owned()].into_iter().chain(self.words.iter().cloned());
        let cli = Cli::try_parse_from(words).map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            Failure::bad_option(anyhow::anyhow!("{first}"))
        })?;
        if let Command::Server(options) = cli.command {
            let options = options.with_file().map_err(Failure::bad_option)?;
            Config::try_from(options).map_err(Failure::bad_option)?;
        }
        Ok(())
    }
}

fn check_ports(nodes: &[NodePlan]) -> Result<(), Failure> {
    let wanted: Vec<_> = nodes
        .iter()
        .flat_map(|node| [("client", &node.client), ("peer", &node.peer), ("admin", &node.admin)])
        .map(|(purpose, address)| (purpose, address.clone()))
        .collect();
    let refusals = addresses::in_use(&wanted);
    if refusals.is_empty() {
        return Ok(());
    }
    let refusals = refusals.join("; ");
    Err(Failure::system(anyhow::anyhow!("nothing was started: {refusals} (see --port)")))
}

fn directory(options: &DevOptions) -> anyhow::Result<(PathBuf, Option<tempfile::TempDir>)> {
    if let Some(dir) = &options.dir {
        std::fs::create_dir_all(dir).with_context(|| format!("--dir {}", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("--dir {}", dir.display()))?;
        return Ok((dir, None));
    }
    let dir = tempfile::Builder::new().prefix("raftcached-dev-").tempdir();
    let dir = dir.context("cannot make a temporary directory")?;
    Ok((dir.path().to_owned(), Some(dir)))
}

/// Waits until every node answers clients; says their process ids.
async fn all_ready(
    nodes: &[NodePlan],
    seen: &mut mpsc::Receiver<Event>,
) -> anyhow::Result<Vec<u32>> {
    let ready = async {
        let mut pids = vec![None; nodes.len()];
        while let Some(event) = seen.recv().await {
            match event {
                Event::Ready { node, pid } => {
                    let at = nodes.iter().position(|known| known.name == node);
                    if let Some(known) = at.and_then(|at| pids.get_mut(at)) {
                        *known = Some(pid);
                    }
                }
                Event::Started { .. } => {}
                Event::Ended { node, how, log, .. } => {
                    let (shown, words) = (log.display(), last_words(&log));
                    anyhow::bail!("{node} ended before it was ready ({how}); {shown}:\n{words}");
                }
                Event::NotStarted { node, why } => anyhow::bail!("cannot start {node}: {why}"),
            }
            if let Some(pids) = pids.iter().copied().collect::<Option<Vec<u32>>>() {
                return Ok(pids);
            }
        }
        anyhow::bail!("the nodes ended")
    };
    match tokio::time::timeout(READY_LIMIT, ready).await {
        Ok(ready) => ready,
        Err(_) => anyhow::bail!("the nodes were not ready within {} s", READY_LIMIT.as_secs()),
    }
}

/// Prints who is where, and lines to paste.
async fn greet(nodes: &[NodePlan], pids: &[u32], dir: &Path, started: Instant) {
    let admins: Vec<_> = nodes.iter().map(|node| node.admin.clone()).collect();
    let status = status::ask(&admins).await.ok();
    let leader = status.as_ref().and_then(leader_of);
    let head = ["node", "clients", "pid", "role"].map(str::to_owned);
    let rows = nodes.iter().zip(pids).map(|(node, pid)| {
        let role = if leader == Some(node.name.as_str()) { "leader" } else { "follower" };
        [node.name.clone(), node.client.to_string(), pid.to_string(), role.to_owned()]
    });
    let mut table = String::new();
    status::table(&mut table, &[vec![head], rows.collect()].concat());

    let led = |node: &&NodePlan| leader.is_none_or(|leader| leader == node.name);
    let Some(victim) = nodes.iter().find(led) else { return };
    let others: Vec<_> = nodes.iter().filter(|node| node.name != victim.name).collect();
    let [one, other, ..] = others.as_slice() else { return };
    let seconds = started.elapsed().as_secs_f32();
    let write = paste(r"set greeting 0 0 5\r\nhello\r\nquit\r\n", &one.client);
    let read = paste(r"get greeting\r\nquit\r\n", &other.client);
    let (dir, victim, admin) = (dir.display(), &victim.name, &one.admin);
    say(format_args!(
        "raftcached: three nodes are ready ({seconds:.1} s)\n\n\
         {table}\n\
         Store through {one}, kill the leader, read through {other}:\n\n  \
         {write}\n  \
         kill -9 $(cat {dir}/{victim}/pid)\n  \
         {read}\n  \
         raftcached status --cluster {admin}\n\n\
         Logs are in {dir}/n1/log and so on. Ctrl-C ends all three.\n",
        one = one.name,
        other = other.name,
    ));
}

/// A line that sends `request` and shows the reply.
fn paste(request: &str, to: &HostPort) -> String {
    let HostPort { host, port } = to;
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join("nc").is_file()) {
        format!("printf '{request}' | nc {host} {port}")
    } else {
        format!("bash -c 'exec 3<>/dev/tcp/{host}/{port}; printf \"{request}\" >&3; cat <&3'")
    }
}

/// Says what becomes of the nodes, for as long as any of them is looked after.
async fn report(nodes: &[NodePlan], seen: &mut mpsc::Receiver<Event>) {
    while let Some(event) = seen.recv().await {
        match event {
            Event::Started { node, pid } => say(format_args!("{node} is started again, pid {pid}")),
            Event::Ready { node, .. } => say(format_args!("{node} has caught up and answers")),
            Event::NotStarted { node, why } => say(format_args!("{node} cannot start: {why}")),
            Event::Ended { node, pid, how, again, .. } => {
                let again = match again {
                    Some(after) => format!("starts again in {} s", after.as_secs_f32()),
                    None => "is not started again".to_owned(),
                };
                say(format_args!("{node} (pid {pid}) has ended ({how}) and {again}"));
                let leader = who_leads(nodes, &node).await;
                say(format_args!("{leader}"));
            }
        }
    }
}

/// Who leads now that `dead` is gone.
async fn who_leads(nodes: &[NodePlan], dead: &str) -> String {
    let admins: Vec<_> =
        nodes.iter().filter(|node| node.name != dead).map(|node| node.admin.clone()).collect();
    let deadline = tokio::time::Instant::now() + LEADER_LIMIT;
    while tokio::time::Instant::now() < deadline {
        let status = status::ask(&admins).await.ok();
        if let Some(leader) = status.as_ref().and_then(leader_of)
            && leader != dead
        {
            return format!("{leader} leads");
        }
        tokio::time::sleep(POLL).await;
    }
    "nobody leads: a majority of the nodes is gone".to_owned()
}

/// The node that leads and knows it; a node that others have just voted for may yet fail.
fn leader_of(status: &ClusterStatus) -> Option<&str> {
    let leader = status.shards.first()?.leader.as_deref()?;
    let leads = |node: &NodeStatus| node.name == leader && node.state == "leader";
    (status.quorum && status.nodes.iter().any(leads)).then_some(leader)
}

/// Whether the node at `admin` answers clients.
async fn is_ready(admin: &HostPort) -> bool {
    let reply = http::get(admin, "/readyz", Duration::from_secs(1)).await;
    reply.is_ok_and(|reply| reply.status == 200)
}

/// What a node said before it ended: the last lines of its log, or those of a panic without the
/// trace below it.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let panic = lines.iter().rposition(|line| line.contains("panicked at"));
    let first = panic.unwrap_or(lines.len().saturating_sub(LAST_WORDS));
    let words = lines.get(first..).unwrap_or_default();
    words.iter().take(LAST_WORDS).map(|line| format!("  {line}\n")).collect()
}

const NODE_COUNT: u16 = 3;
const PORT_MAX: u16 = u16::MAX - ADMIN_PORT_OFFSET - NODE_COUNT + 1;
const EVENTS_MAX: usize = 16;
const READY_LIMIT: Duration = Duration::from_secs(30);
const LEADER_LIMIT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);
const LAST_WORDS: usize = 5;
