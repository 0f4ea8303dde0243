//! A node's configuration after validation: every value in here can be used as it is.

mod clients;
#[cfg(fuzzing)]
pub mod fuzzing;
mod listen;

use std::fmt;
use std::path::PathBuf;

use replication::{DataDir, SEGMENT_LEN_DEFAULT};

use replication::tls::PeerTlsFiles;

pub(crate) use clients::{AuthFile, Clients};
pub(crate) use listen::{
    ADMIN_PORT_OFFSET, ClientAddress, HostAddress, LOOPBACK, Listen, NodeAddress, PEER_PORT_OFFSET,
};

use crate::options::Options;
use crate::values::{Durability, ElectionTimeout, HostPort};

/// What one node was told, checked once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// 1 to 64 letters, digits and `.-_`.
    pub(crate) name: String,
    pub(crate) listen: Listen,
    pub(crate) clients: Clients,
    pub(crate) process: Process,
    pub(crate) advertise_client: Option<HostPort>,
    pub(crate) advertise_peer: Option<HostPort>,
    pub(crate) advertise_admin: Option<HostPort>,
    /// Peer addresses, each once; empty for a node on its own.
    pub(crate) join: Vec<HostPort>,
    /// A majority of `join`, and at most all of it; 1 for a node on its own; 0: never form one.
    pub(crate) bootstrap_expect: usize,
    pub(crate) data_dir: Option<DataDir>,
    pub(crate) peer_security: PeerSecurity,
    pub(crate) heartbeat_ms: u64,
    /// `heartbeat_ms < min < max`.
    pub(crate) election_timeout_ms: (u64, u64),
    /// More than the longest election timeout.
    pub(crate) operation_budget_ms: u64,
    pub(crate) isolation_close_ms: u64,
    pub(crate) drain_time_ms: u64,
    pub(crate) begin_from: Option<PathBuf>,
    pub(crate) memory_limit: u64,
    pub(crate) evict: bool,
    /// 1 KiB to 1 GiB, and at most half of `memory_limit`.
    pub(crate) item_len_max: u64,
    pub(crate) verbosity: u8,
    pub(crate) exit_on_stdin_eof: bool,
}

impl TryFrom<Options> for Config {
    type Error = Refusal;

    fn try_from(options: Options) -> Result<Self, Refusal> {
        let (memory_limit, item_len_max) = memory(&options)?;
        let timing = Timing::new(&options)?;
        let join = join(&options)?;
        let (listen, clients) = (Listen::new(&options)?, Clients::new(&options)?);
        for address in &listen.clients {
            if let (ClientAddress::Tcp(_, listener), Some(tls)) = (address, &clients.tls) {
                clients::check_listener(*listener, tls)?;
            }
        }
        Ok(Self {
            name: name(&options)?,
            listen,
            clients,
            process: Process::new(&options)?,
            bootstrap_expect: bootstrap_expect(&options, join.len())?,
            join,
            data_dir: data_dir(options.data_dir.clone(), options.durability)?,
            peer_security: PeerSecurity::new(&options)?,
            heartbeat_ms: timing.heartbeat_ms,
            election_timeout_ms: timing.election_timeout_ms,
            operation_budget_ms: timing.operation_budget_ms,
            isolation_close_ms: timing.isolation_close_ms,
            drain_time_ms: drain_time(&options)?,
            begin_from: options.begin_from,
            memory_limit,
            evict: !options.disable_evictions.unwrap_or(false),
            item_len_max,
            verbosity: options.verbose,
            exit_on_stdin_eof: options.exit_on_stdin_eof,
            advertise_client: advertise("--advertise-client", options.advertise_client)?,
            advertise_peer: advertise("--advertise-peer", options.advertise_peer)?,
            advertise_admin: advertise("--advertise-admin", options.advertise_admin)?,
        })
    }
}

/// What keeps strangers away from the peer address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerSecurity {
    /// The operator says that something else does.
    Elsewhere,
    /// It has to be a loopback address.
    Loopback,
    /// Certificates, on both sides.
    Tls(PeerTlsFiles),
}

impl PeerSecurity {
    fn new(options: &Options) -> Result<Self, Refusal> {
        let Options { peer_ca, peer_cert, peer_key, insecure_peers, .. } = options;
        let insecure = insecure_peers.unwrap_or(false);
        let tls = match (peer_ca, peer_cert, peer_key) {
            (None, None, None) if insecure => return Ok(Self::Elsewhere),
            (None, None, None) => return Ok(Self::Loopback),
            (Some(ca), Some(certificate), Some(key)) => {
                for (option, file) in
                    [("--peer-ca", ca), ("--peer-cert", certificate), ("--peer-key", key)]
                {
                    if file.as_os_str().is_empty() {
                        return Err(Refusal(format!("{option} is empty: a file is expected")));
                    }
                }
                PeerTlsFiles { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() }
            }
            _ => {
                let given = [
                    ("--peer-ca", peer_ca.is_some()),
                    ("--peer-cert", peer_cert.is_some()),
                    ("--peer-key", peer_key.is_some()),
                ];
                let missing = given.iter().filter(|(_, given)| !given).map(|(option, _)| *option);
                let missing = missing.collect::<Vec<_>>().join(" and ");
                return Err(Refusal(format!(
                    "{missing} missing: TLS between nodes needs --peer-ca, --peer-cert and \
                     --peer-key, all three"
                )));
            }
        };
        if insecure {
            return Err(Refusal(
                "--insecure-peers contradicts --peer-ca: peers either need certificates or not"
                    .to_owned(),
            ));
        }
        Ok(Self::Tls(tls))
    }
}

/// What the node does as a process of its system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Whether it has to go into the background first.
    pub(crate) daemon: bool,
    /// Whom to become, if started as root.
    pub(crate) user: Option<String>,
    /// Whether root without a user is refused.
    pub(crate) root_needs_user: bool,
    pub(crate) pidfile: Option<PathBuf>,
    pub(crate) core_files: bool,
    pub(crate) lock_memory: bool,
}

impl Process {
    fn new(options: &Options) -> Result<Self, Refusal> {
        if options.pidfile.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(Refusal("-P (--pidfile) is empty: a file is expected".to_owned()));
        }
        Ok(Self {
            daemon: options.daemon.unwrap_or(false) && !options.in_background,
            user: options.user.clone().filter(|user| !user.is_empty()),
            root_needs_user: options.as_memcached,
            pidfile: options.pidfile.clone(),
            core_files: options.enable_coredumps.unwrap_or(false),
            lock_memory: options.lock_memory.unwrap_or(false),
        })
    }
}

/// Which option cannot be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(String);

fn refuse<T>(option: &str, value: impl fmt::Display, why: &str) -> Result<T, Refusal> {
    Err(Refusal(format!("{option} {value}: {why}")))
}

fn name(options: &Options) -> Result<String, Refusal> {
    let Some(name) = &options.name else {
        return match &options.join {
            None => Ok("n1".to_owned()),
            Some(_) => Err(Refusal("--name is needed with --join: names tell nodes apart".into())),
        };
    };
    if name.is_empty() {
        Err(Refusal("--name is empty".to_owned()))
    } else if is_node_name(name) {
        Ok(name.clone())
    } else {
        refuse("--name", format_args!("{name:?}"), "1 to 64 letters, digits or .-_ are allowed")
    }
}

fn data_dir(
    path: Option<PathBuf>,
    durability: Option<Durability>,
) -> Result<Option<DataDir>, Refusal> {
    let durability = match (&path, durability) {
        (None, Some(_)) => {
            return Err(Refusal("--durability is of no use without --data-dir".to_owned()));
        }
        (_, None | Some(Durability::Fsync)) => replication::Durability::Fsync,
        (_, Some(Durability::Os)) => replication::Durability::Os,
    };
    match path {
        Some(path) if path.as_os_str().is_empty() => {
            Err(Refusal("--data-dir is empty: a directory is expected".to_owned()))
        }
        path => Ok(path.map(|path| DataDir { path, durability, segment_len: SEGMENT_LEN_DEFAULT })),
    }
}

/// Whether a node can be called so: 1 to 64 letters, digits or `.-_`.
pub(crate) fn is_node_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

fn memory(options: &Options) -> Result<(u64, u64), Refusal> {
    let memory_limit = options.memory_limit.map_or(64 * MIB, |limit| limit.0);
    let item_len_max = options.max_item_size.map_or(MIB, |size| size.0);
    let shown = |bytes: u64| format!("({bytes} bytes)");
    if memory_limit < MIB {
        return refuse("-m (--memory-limit)", shown(memory_limit), "at least 1 MiB is needed");
    }
    let why = if item_len_max < ITEM_LEN_MIN {
        "an item is at least 1 KiB"
    } else if ITEM_LEN_LIMIT < item_len_max {
        "an item is at most 1 GiB"
    } else if memory_limit / 2 < item_len_max {
        "an item may take at most half of -m"
    } else {
        return Ok((memory_limit, item_len_max));
    };
    // The default -I does not fit into a tiny -m; whoever gave no -I gets what fits.
    if options.max_item_size.is_none() {
        return Ok((memory_limit, memory_limit / 2));
    }
    refuse("-I (--max-item-size)", shown(item_len_max), why)
}

fn count(option: &str, given: Option<u32>, default: usize, max: u32) -> Result<usize, Refusal> {
    match given {
        None => Ok(default),
        Some(0) => refuse(option, 0, "at least 1 is needed"),
        Some(count) if max < count => refuse(option, count, &format!("at most {max} are allowed")),
        Some(count) => usize::try_from(count).map_err(|_| Refusal(format!("{option} {count}"))),
    }
}

fn advertise(option: &str, given: Option<HostPort>) -> Result<Option<HostPort>, Refusal> {
    match given {
        Some(address) if address.port == 0 => refuse(option, address, "port 0 reaches nobody"),
        given => Ok(given),
    }
}

fn join(options: &Options) -> Result<Vec<HostPort>, Refusal> {
    let join = options.join.clone().unwrap_or_default();
    for (at, address) in join.iter().enumerate() {
        if address.port == 0 {
            return refuse("--join", address, "port 0 reaches nobody");
        }
        if join.iter().take(at).any(|earlier| earlier == address) {
            return refuse("--join", address, "is there twice");
        }
    }
    Ok(join)
}

fn drain_time(options: &Options) -> Result<u64, Refusal> {
    match options.drain_time.unwrap_or(1000) {
        time if time <= TIMING_MAX_MS => Ok(time),
        time => refuse("--drain-time", time, "at most 60000 ms are allowed"),
    }
}

fn bootstrap_expect(options: &Options, join_count: usize) -> Result<usize, Refusal> {
    const OPTION: &str = "--bootstrap-expect";
    let node_count = join_count.max(1);
    let expect = options.bootstrap_expect.unwrap_or(node_count);
    if expect == 0 {
        return Ok(0);
    }
    if node_count < expect {
        let why = format!("--join names only {join_count} nodes");
        return refuse(OPTION, expect, &why);
    }
    if expect <= node_count / 2 {
        let why = format!("with {node_count} nodes in --join two parts could each form a cluster");
        return refuse(OPTION, expect, &why);
    }
    Ok(expect)
}

struct Timing {
    heartbeat_ms: u64,
    election_timeout_ms: (u64, u64),
    operation_budget_ms: u64,
    isolation_close_ms: u64,
}

impl Timing {
    fn new(options: &Options) -> Result<Self, Refusal> {
        let heartbeat_ms = options.heartbeat.unwrap_or(20);
        let default = ElectionTimeout { min_ms: 50, max_ms: 75 };
        let ElectionTimeout { min_ms, max_ms } = options.election_timeout.unwrap_or(default);
        let operation_budget_ms = options.operation_budget.unwrap_or(2000);
        let isolation_close_ms = options.isolation_close.unwrap_or(3000);
        let range = format!("{min_ms}..{max_ms}");
        if heartbeat_ms == 0 {
            return refuse("--heartbeat", heartbeat_ms, "at least 1 ms is needed");
        }
        if min_ms <= heartbeat_ms {
            let why = format!("must be less than the shortest election timeout, {min_ms} ms");
            return refuse("--heartbeat", heartbeat_ms, &why);
        }
        if max_ms <= min_ms {
            return refuse("--election-timeout", range, "MIN must be less than MAX");
        }
        if TIMING_MAX_MS < max_ms {
            return refuse("--election-timeout", range, "at most 60000 ms are allowed");
        }
        if operation_budget_ms <= max_ms || TIMING_MAX_MS < operation_budget_ms {
            let why = format!("more than the election timeout ({max_ms}) and at most 60000 ms");
            return refuse("--operation-budget", operation_budget_ms, &why);
        }
        if !(100..=3_600_000).contains(&isolation_close_ms) {
            let why = "100 to 3600000 ms are allowed";
            return refuse("--isolation-close", isolation_close_ms, why);
        }
        let election_timeout_ms = (min_ms, max_ms);
        Ok(Self { heartbeat_ms, election_timeout_ms, operation_budget_ms, isolation_close_ms })
    }
}

const MIB: u64 = 1024 * 1024;
const ITEM_LEN_MIN: u64 = 1024;
const ITEM_LEN_LIMIT: u64 = 1024 * MIB;
const TIMING_MAX_MS: u64 = 60_000;

#[cfg(test)]
mod tests;
