//! `raftcached server`: one node from start to end.
//!
//! ```text
//!   main thread: admin HTTP, signals, accepting clients
//!   io-0..N:     client connections (frontend)
//!   raft:        log, votes, apply, peers (replication)
//! ```
//!
//! Start: all addresses are taken, the node joins and catches up, and then clients may connect.
//! End: health checks fail, leadership moves away, clients' requests are answered, raft stops.

use std::io::Read as _;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use replication::{Addresses, Node, NodeConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::addresses::{Advertised, Listeners};
use crate::admin::{self, Admin, Phase};
use crate::backend::Backend;
use crate::config::Config;
use crate::failure::Failure;
use crate::options::Options;

/// Runs one node until it is told to end.
///
/// # Errors
///
/// What keeps the node from starting or going on, with the exit status.
pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let options = options.with_file().map_err(Failure::bad_option)?;
    let config = Config::try_from(options).map_err(Failure::bad_option)?;
    crate::logging::init(config.verbosity);
    if config.exit_on_stdin_eof {
        exit_on_stdin_eof()?;
    }
    raise_descriptor_limit(config.connections_max).map_err(Failure::system)?;
    let listeners = Listeners::bind(&config)?;
    let advertised = listeners.advertised(&config);
    describe(&config, &listeners, &advertised);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let node = start_node(&config, &advertised, listeners.peer)?;
    let serving = serve(&config, node, listeners.client, listeners.admin);
    Ok(runtime.block_on(serving)?)
}

async fn serve(
    config: &Config,
    node: Node,
    client: frontend::Listener,
    admin: std::net::TcpListener,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let phase = Phase::default();
    let mut tasks = JoinSet::new();
    let handlers = Admin { node: node.clone(), phase: phase.clone() };
    tasks.spawn(async move { admin::serve(admin, handlers).await.context("admin HTTP") });

    tokio::select! {
        joined = node.serving() => joined?,
        fatal = node.stopped() => return Err(fatal.into()),
        name = signals.next() => {
            tracing::info!(signal = name, "ending before the node was ready");
            stop(&node, &mut signals).await;
            return Ok(());
        }
    }

    let (drain, drain_started) = oneshot::channel::<()>();
    let clients =
        frontend::run(vec![client], Backend(node.client()), frontend_options(config), async {
            drop(drain_started.await)
        });
    let mut clients = std::pin::pin!(clients);
    // The first poll opens the address: only then is it true that the node is ready.
    let first = std::future::poll_fn(|context| Poll::Ready(clients.as_mut().poll(context))).await;
    if let Poll::Ready(ended) = first {
        return ended.context("clients");
    }
    phase.enter(Phase::OPEN);
    tracing::info!(name = config.name, "ready for clients");
    tokio::select! {
        ended = &mut clients => return ended.context("clients"),
        fatal = node.stopped() => return Err(fatal.into()),
        Some(ended) = tasks.join_next() => return ended.context("admin HTTP")?,
        name = signals.next() => tracing::info!(signal = name, "ending"),
    }

    phase.enter(Phase::DRAINING);
    let drained = async {
        move_leader_away(config, &node).await;
        drop(drain);
        clients.await
    };
    tokio::select! {
        ended = drained => ended.context("clients")?,
        _ = signals.next() => {
            tracing::warn!("second signal: ending at once");
            return Ok(());
        }
    }
    stop(&node, &mut signals).await;
    tracing::info!("ended");
    Ok(())
}

/// Clients of this node must not find its cluster without a leader while their requests are being
/// answered, so leadership goes first.
async fn move_leader_away(config: &Config, node: &Node) {
    let leads = node
        .status()
        .await
        .shards
        .iter()
        .any(|shard| shard.leader.as_deref() == Some(config.name.as_str()));
    if !leads || config.join.len() < 2 {
        return;
    }
    match tokio::time::timeout(MOVE_LIMIT, node.move_leader(None)).await {
        Ok(Ok(())) => tracing::info!("leadership moved away"),
        Ok(Err(error)) => tracing::warn!(%error, "leadership could not be moved away"),
        Err(_) => tracing::warn!("leadership could not be moved away in time"),
    }
}

/// Stops raft; a second signal, or taking too long, ends the program all the same.
async fn stop(node: &Node, signals: &mut Signals) {
    tokio::select! {
        () = node.shutdown() => {}
        () = tokio::time::sleep(STOP_LIMIT) => tracing::warn!("replication did not stop in time"),
        _ = signals.next() => tracing::warn!("second signal: ending at once"),
    }
}

fn start_node(
    config: &Config,
    advertised: &Advertised,
    peer_listener: std::net::TcpListener,
) -> anyhow::Result<Node> {
    let node = replication::start(NodeConfig {
        name: config.name.clone(),
        peer_listener,
        advertise: Addresses {
            client: advertised.client.to_string(),
            peer: advertised.peer.to_string(),
            admin: advertised.admin.to_string(),
        },
        join: config.join.iter().map(ToString::to_string).collect(),
        bootstrap_expect: config.bootstrap_expect,
        heartbeat_ms: config.heartbeat_ms,
        election_timeout_ms: config.election_timeout_ms,
        operation_budget_ms: config.operation_budget_ms,
        isolation_close_ms: config.isolation_close_ms,
        settings: engine::Settings {
            memory_limit: config.memory_limit,
            evict: config.evict,
            item_len_max: config.item_len_max,
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    node.context("cannot start replication")
}

fn frontend_options(config: &Config) -> frontend::Options {
    frontend::Options {
        threads: config.threads,
        connections_max: config.connections_max,
        item_len_max: usize::try_from(config.item_len_max).unwrap_or(usize::MAX),
        drain_timeout: DRAIN_LIMIT,
        ..frontend::Options::default()
    }
}

fn describe(config: &Config, listeners: &Listeners, advertised: &Advertised) {
    tracing::info!(
        name = config.name,
        client = %listeners.client_address,
        peer = %listeners.peer_address,
        admin = %listeners.admin_address,
        join = config.join.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        memory_limit = config.memory_limit,
        version = env!("CARGO_PKG_VERSION"),
        "starting",
    );
    tracing::debug!(?config, ?advertised, "configuration");
    let open = [
        ("client", listeners.client_address),
        ("peer", listeners.peer_address),
        ("admin", listeners.admin_address),
    ];
    for (purpose, address) in open {
        if !address.ip().is_loopback() {
            tracing::warn!(
                "the {purpose} address {address} is open to whoever can reach it: there is no \
                 authentication and no TLS yet, so a firewall must keep strangers out",
            );
        }
    }
}

/// Every connection is a file descriptor, and running out of them in service is worse than not
/// starting; memcached does the same.
fn raise_descriptor_limit(connections_max: usize) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("open files limit")?;
    let needed = connections_max as u64 + DESCRIPTORS_BESIDE_CLIENTS;
    if needed <= soft {
        return Ok(());
    }
    let wanted = needed.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).context("open files limit")?;
    anyhow::ensure!(
        connections_max as u64 + DESCRIPTORS_AT_LEAST <= hard,
        "-c {connections_max} needs more open files than the limit of {hard}: raise it (ulimit -n) \
         or lower -c",
    );
    Ok(())
}

/// Ends the process when whoever holds the other end of standard input is gone.
fn exit_on_stdin_eof() -> anyhow::Result<()> {
    let watch = || {
        let mut bytes = [0; 64];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut bytes).is_ok_and(|len| 0 < len) {}
        std::process::exit(0);
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(watch)
        .context("cannot start a thread")?;
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        Ok(Self { interrupt, terminate })
    }

    /// The next request to end.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

const MOVE_LIMIT: Duration = Duration::from_secs(1);
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Peers, admin connections, listeners, and a reserve.
const DESCRIPTORS_BESIDE_CLIENTS: u64 = 512;
const DESCRIPTORS_AT_LEAST: u64 = 64;
