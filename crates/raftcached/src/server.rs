//! `raftcached server`: one node from start to end.
//!
//! ```text
//!   main thread: admin HTTP, signals, accepting clients
//!   io-0..N:     client connections (frontend)
//!   raft:        log, votes, apply, peers (replication)
//! ```
//!
//! Start: all addresses are taken, the node joins and catches up, and then clients may connect.
//! End: health checks fail, leadership moves away, clients' requests are answered and their
//! connections closed over `--drain-time`, raft stops, exit status 0. A second signal ends the
//! program at once, with 128 and the signal's number.

use std::ffi::OsString;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context as _;
use frontend::{Address, Auth, ClientTls, Credentials};
use replication::tls::{PeerTls, TlsFile};
use replication::world::{Listener, World};
use replication::{Addresses, Beginning, Fatal, LogLimits, Node, NodeConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::addresses::{Advertised, ClientListener, Listeners};
use crate::admin::{self, Admin, Phase};
use crate::backend::Backend;
use crate::certificates::{Certificates, reload_on_hangup};
use crate::config::{AuthFile, Config, PeerSecurity};
use crate::drop_in;
use crate::ending::{Ending, Endings, Request};
use crate::extended::{self, Tuning};
use crate::failure::Failure;
use crate::listen_address::ListenTls;
use crate::options::Options;
use crate::process;
use crate::service;
use crate::settings::settings;
use crate::told_files::{self, Pidfile};

/// Runs one node until it is told to end, and says with which exit status.
///
/// # Errors
///
/// What keeps the node from starting or going on, with the exit status.
pub(crate) fn run(options: Options) -> Result<u8, Failure> {
    if options.memcached.license {
        drop_in::licence();
        return Ok(0);
    }
    let (config, tuning) = configure(options)?;
    crate::logging::init(config.verbosity);
    process::prepare(&config.process, config.clients.connections_max)?;
    let peer_tls = load_peer_tls(&config).map_err(Failure::bad_option)?;
    let auth = load_users(&config.clients.auth)?;
    let client_tls = load_client_tls(&config).map_err(Failure::bad_option)?;
    let listeners = Listeners::bind(&config.listen)?;
    check_peer_address(&config, listeners.peer_address).map_err(Failure::bad_option)?;
    let advertised = listeners.advertised(&config);
    describe(&config, &listeners, &advertised);

    // Up to here there is one thread, and whoever started it reads what is wrong.
    if config.process.daemon {
        drop(listeners);
        return Err(process::into_background(0 < config.verbosity).into());
    }
    if config.process.lock_memory {
        process::lock_memory();
    }
    if config.exit_on_stdin_eof {
        exit_on_stdin_eof()?;
    }
    let _pidfile = config.process.pidfile.as_deref().map(Pidfile::write).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let certificates = Certificates { peers: peer_tls.map(Arc::new), clients: client_tls.clone() };
    // Before the state is read, which can take its time: the signal must not end the program.
    let hangup = runtime.block_on(async { signal(SignalKind::hangup()) }).context("SIGHUP")?;
    let reloading = reload_on_hangup(hangup, certificates.clone(), users(&auth));
    let clients = Clients {
        options: frontend::Options {
            tls: client_tls,
            ..frontend_options(&config, auth, settings(&config, &listeners, tuning))
        },
        tcp: listeners.client_addresses(),
        udp: listeners.udp_addresses(),
        listeners: listeners.clients.into_iter().map(|client| open(&config, client)).collect(),
    };
    let node = start_node(&config, &advertised, listeners.peer, certificates.peers.clone())?;
    let serving = serve(&config, node, clients, listeners.admin, certificates);
    let both = async {
        tokio::select! {
            status = serving => status,
            () = reloading => Ok(1),
        }
    };
    Ok(runtime.block_on(both)?)
}

/// What the operator said, from everywhere, checked; and what memcached would show of it.
fn configure(mut options: Options) -> Result<(Config, Tuning), Failure> {
    let tuning = extended::take(&mut options).map_err(anyhow::Error::from)?;
    let options = options.with_memcacheds_environment().with_file();
    let config = Config::try_from(options.map_err(Failure::bad_option)?);
    let config = config.map_err(Failure::bad_option)?;
    Ok((config, tuning))
}

/// The client side, before anybody can connect.
struct Clients {
    options: frontend::Options,
    listeners: Vec<frontend::Listener>,
    tcp: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
}

async fn serve(
    config: &Config,
    node: Node,
    mut clients: Clients,
    admin: std::net::TcpListener,
    certificates: Certificates,
) -> anyhow::Result<u8> {
    let (mut endings, requests) = Endings::new()?;
    if config.clients.may_shut_down {
        clients.options.shutdown = Some(endings.for_clients());
    }
    let phase = Phase::default();
    let name = config.name.clone();
    let scratch = config.data_dir.as_ref().map_or_else(std::env::temp_dir, |dir| dir.path.clone());
    let server = frontend::Server::new(clients.options.clone());
    let handlers = Admin {
        node: node.clone(),
        phase: phase.clone(),
        clients: server.clone(),
        name,
        scratch,
        requests,
        certificates,
    };
    let (end_admin, admin_ends) = oneshot::channel::<()>();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let ends = async move { drop(admin_ends.await) };
        admin::serve(admin, handlers, ends).await.context("admin HTTP")
    });

    let ended = tokio::select! {
        ended = live(config, &node, &phase, server, clients, &mut endings) => ended?,
        Some(ended) = tasks.join_next() => return ended.context("admin HTTP")?.map(|()| 1),
        () = service::keep_watchdog(node.clone()) => return Ok(1),
    };
    let ended = match ended {
        Ended::Drained => stop(&node, &mut endings).await.map_or(Ended::Drained, Ended::AtOnce),
        Ended::AtOnce(_) | Ended::Begin(_) => ended,
    };
    // What has been asked is answered, whoever is slow is not waited for.
    drop(end_admin);
    let _ = tokio::time::timeout(ADMIN_END_LIMIT, tasks.join_next()).await;
    match ended {
        Ended::Drained => {
            tracing::info!("ended");
            Ok(0)
        }
        Ended::AtOnce(signal) => {
            tracing::warn!("another signal: ending at once");
            // As a shell shows a death by this signal.
            Ok(u8::try_from(128 + signal.as_raw_value()).unwrap_or(1))
        }
        Ended::Begin(path) => Err(begin_again(&path)),
    }
}

/// How the node came to its end.
enum Ended {
    /// Clients are gone; replication is still to be stopped.
    Drained,
    /// A second signal.
    AtOnce(SignalKind),
    /// The program is to start again with the state in this file.
    Begin(PathBuf),
}

/// From the first moment to the last client.
async fn live(
    config: &Config,
    node: &Node,
    phase: &Phase,
    server: frontend::Server,
    clients: Clients,
    endings: &mut Endings,
) -> anyhow::Result<Ended> {
    service::status("is joining its cluster");
    tokio::select! {
        joined = node.serving() => match joined {
            Err(Fatal::Removed) => {
                removed(config);
                return Ok(Ended::Drained);
            }
            joined => joined?,
        },
        ending = endings.next() => {
            tracing::info!("ending before the node was ready");
            return Ok(match ending {
                Ending::Request(Request::BeginFrom(path)) => Ended::Begin(path),
                Ending::Signal(_) | Ending::Client(_) | Ending::Request(Request::Drain) => {
                    Ended::Drained
                }
            });
        }
    }
    forget_beginning(config);

    let (drain, drain_started) = oneshot::channel::<()>();
    let drain_started = async { drop(drain_started.await) };
    let Clients { listeners, tcp, udp, .. } = clients;
    let clients = server.run(listeners, Backend(node.client()), drain_started);
    let mut clients = std::pin::pin!(clients);
    // The first poll opens the address: only then is it true that the node is ready.
    let first = std::future::poll_fn(|context| Poll::Ready(clients.as_mut().poll(context))).await;
    if let Poll::Ready(ended) = first {
        return ended.context("clients").map(|()| Ended::Drained);
    }
    told_files::tell_ports(&tcp, &udp)?;
    phase.enter(Phase::OPEN);
    service::ready();
    tracing::info!(name = config.name, "ready for clients");
    tokio::select! {
        ended = &mut clients => return ended.context("clients").map(|()| Ended::Drained),
        fatal = node.stopped() => {
            if fatal != Fatal::Removed {
                return Err(fatal.into());
            }
            removed(config);
        }
        ending = endings.next() => match ending {
            Ending::Request(Request::BeginFrom(path)) => return Ok(Ended::Begin(path)),
            Ending::Request(Request::Drain) => tracing::info!("ending as an operator asked"),
            Ending::Client(how) => tracing::info!(?how, "ending as a client asked"),
            Ending::Signal(signal) => {
                tracing::info!(signal = signal.as_raw_value(), "ending");
            }
        },
    }

    phase.enter(Phase::DRAINING);
    service::stopping("sends its clients away");
    let drained = async {
        // First, so that clients' last requests find a leader.
        move_leader_away(node).await;
        drop(drain);
        clients.await
    };
    tokio::select! {
        ended = drained => ended.context("clients")?,
        signal = endings.signal() => return Ok(Ended::AtOnce(signal)),
    }
    Ok(Ended::Drained)
}

fn removed(config: &Config) {
    let name = &config.name;
    tracing::warn!("{name} was removed from its cluster: it ends, and is not to be started again");
}

/// The file of `member recover` is not needed once a node serves what was in it.
fn forget_beginning(config: &Config) {
    if let Some(path) = &config.begin_from
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::warn!(%error, "cannot remove {}", path.display());
    }
}

/// Becomes the same program with the same options and the state in `path`; returns only why not.
fn begin_again(path: &Path) -> anyhow::Error {
    tracing::warn!("a new cluster begins with what this node holds: {}", path.display());
    let words = without_beginning(std::env::args_os().skip(1));
    let words = words.into_iter().chain([BEGIN_FROM.into(), path.into()]);
    let path = path.display();
    process::execute_again(words).context(format!("the state is safe: add {BEGIN_FROM} {path}"))
}

/// The words of a command line but for an earlier beginning.
fn without_beginning(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = words;
    while let Some(word) = words.next() {
        if word == BEGIN_FROM {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept
}

async fn move_leader_away(node: &Node) {
    match tokio::time::timeout(MOVE_LIMIT, node.step_aside()).await {
        Ok(Ok(())) => tracing::info!("another node leads"),
        Ok(Err(error)) => tracing::warn!(%error, "leadership could not be moved away"),
        Err(_) => tracing::warn!("leadership could not be moved away in time"),
    }
}

/// Stops raft; says which signal ended the wait for it, if one did.
async fn stop(node: &Node, endings: &mut Endings) -> Option<SignalKind> {
    tokio::select! {
        () = node.shutdown() => {}
        () = tokio::time::sleep(STOP_LIMIT) => tracing::warn!("replication did not stop in time"),
        signal = endings.signal() => return Some(signal),
    }
    None
}

/// The node's certificate, if it is to have one; checked as its peers will.
fn load_peer_tls(config: &Config) -> anyhow::Result<Option<PeerTls>> {
    let PeerSecurity::Tls(files) = &config.peer_security else { return Ok(None) };
    let loaded = PeerTls::load(files.clone(), &config.name);
    Ok(Some(loaded.map_err(|error| {
        let option = match error.file {
            TlsFile::Ca => "--peer-ca",
            TlsFile::Certificate => "--peer-cert",
            TlsFile::Key => "--peer-key",
        };
        anyhow::anyhow!("{option} {error}")
    })?))
}

/// Whoever reaches a peer address without certificates can read and change everything.
fn check_peer_address(config: &Config, address: SocketAddr) -> anyhow::Result<()> {
    anyhow::ensure!(
        config.peer_security != PeerSecurity::Loopback || address.ip().is_loopback(),
        "--peer-listen {}: whoever can reach {address} could read and change everything: make \
         certificates (raftcached cert init, raftcached cert issue) and give --peer-ca, --peer-cert \
         and --peer-key, or say --insecure-peers where a private network keeps strangers out",
        config.listen.peer.address,
    );
    Ok(())
}

fn start_node(
    config: &Config,
    advertised: &Advertised,
    peer_listener: std::net::TcpListener,
    peer_tls: Option<Arc<PeerTls>>,
) -> anyhow::Result<Node> {
    let begin_from = config.begin_from.as_deref().map(|path| {
        Beginning::read(path).with_context(|| format!("{BEGIN_FROM} {}", path.display()))
    });
    let node = replication::start(NodeConfig {
        name: config.name.clone(),
        peer_listener: Listener::Tcp(peer_listener),
        peer_tls,
        advertise: Addresses {
            client: advertised.client.clone(),
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
        data_dir: config.data_dir.clone(),
        begin_from: begin_from.transpose()?,
        log_limits: LogLimits::default(),
        world: World::real(),
    });
    node.context("cannot start replication")
}

/// Reads what clients are shown.
fn load_client_tls(config: &Config) -> anyhow::Result<Option<Arc<ClientTls>>> {
    let loaded = config.clients.tls.clone().map(ClientTls::load).transpose();
    loaded.context("-Z (--enable-ssl)")
}

/// The listener with TLS on it, if it is to have that.
fn open(config: &Config, client: ClientListener) -> frontend::Listener {
    let ClientListener { listener, tls } = client;
    let is_tcp = matches!(listener.address(), Address::Tcp(_));
    if is_tcp && config.clients.tls.is_some() && tls != ListenTls::Off {
        listener.with_tls()
    } else {
        listener
    }
}

/// Reads the file of those who may come in.
fn load_users(auth: &AuthFile) -> anyhow::Result<Auth> {
    Ok(match auth {
        AuthFile::None => Auth::None,
        AuthFile::Sasl(path) => {
            Auth::Sasl(Credentials::sasl(path).context("users of -S (--enable-sasl)")?)
        }
        AuthFile::Ascii(path) => Auth::Ascii(Credentials::ascii(path).context("-Y (--auth-file)")?),
    })
}

fn users(auth: &Auth) -> Option<Arc<Credentials>> {
    match auth {
        Auth::None => None,
        Auth::Sasl(users) | Auth::Ascii(users) => Some(Arc::clone(users)),
    }
}

fn frontend_options(
    config: &Config,
    auth: Auth,
    settings: Vec<(String, String)>,
) -> frontend::Options {
    let default = frontend::Options::default();
    let clients = &config.clients;
    let is_on = |name| !settings.iter().any(|(known, value)| known == name && value == "no");
    frontend::Options {
        threads: clients.threads,
        connections_max: clients.connections_max,
        backlog: clients.backlog,
        item_len_max: usize::try_from(config.item_len_max).unwrap_or(usize::MAX),
        requests_per_turn: clients.requests_per_turn.unwrap_or(default.requests_per_turn),
        idle_timeout: clients.idle_timeout,
        protocol: clients.protocol,
        auth,
        cas_disabled: clients.cas_disabled,
        flush_all_refused: clients.flush_all_refused,
        dump_refused: clients.dump_refused,
        watch_refused: clients.watch_refused,
        maxconns_fast: clients.refused_at_once,
        sizes_tracked: clients.track_sizes,
        lru_crawler_shown: is_on("lru_crawler"),
        lru_maintainer_shown: is_on("lru_maintainer_thread"),
        detail_enabled: clients.prefix_delimiter.is_some(),
        prefix_delimiter: clients.prefix_delimiter.unwrap_or(default.prefix_delimiter),
        compat: clients.compat,
        drain_timeout: DRAIN_LIMIT,
        drain_time: Duration::from_millis(config.drain_time_ms),
        settings,
        ..default
    }
}

fn describe(config: &Config, listeners: &Listeners, advertised: &Advertised) {
    let clients = listeners.clients.iter().map(|client| client.listener.address().to_string());
    tracing::info!(
        name = config.name,
        clients = clients.collect::<Vec<_>>().join(","),
        peer = %listeners.peer_address,
        admin = %listeners.admin_address,
        join = config.join.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        memory_limit = config.memory_limit,
        version = env!("CARGO_PKG_VERSION"),
        "starting",
    );
    tracing::info!(target: "details", ?config, ?advertised, "configuration");
    for (purpose, address) in open_to_strangers(config, listeners) {
        tracing::warn!(
            "the {purpose} address {address} is open to whoever can reach it: there is no \
             authentication and no TLS on it, so a firewall must keep strangers out",
        );
    }
}

/// Addresses that others than this machine reach, and nothing keeps them out.
fn open_to_strangers(config: &Config, listeners: &Listeners) -> Vec<(&'static str, SocketAddr)> {
    let mut open = Vec::new();
    for client in &listeners.clients {
        let has_tls = config.clients.tls.is_some() && client.tls != ListenTls::Off;
        if let Address::Tcp(address) = client.listener.address()
            && !has_tls
            && config.clients.auth == AuthFile::None
        {
            open.push(("client", *address));
        }
    }
    open.extend(listeners.udp_addresses().into_iter().map(|address| ("UDP", address)));
    if !matches!(config.peer_security, PeerSecurity::Tls(_)) {
        open.push(("peer", listeners.peer_address));
    }
    open.push(("admin", listeners.admin_address));
    open.retain(|(_, address)| !address.ip().is_loopback());
    open
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

const MOVE_LIMIT: Duration = Duration::from_secs(1);
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
const STOP_LIMIT: Duration = Duration::from_secs(2);
const ADMIN_END_LIMIT: Duration = Duration::from_millis(500);
const BEGIN_FROM: &str = "--begin-from";
