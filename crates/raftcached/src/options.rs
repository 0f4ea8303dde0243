//! The options of `raftcached server`, from the command line, the environment and a file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::values::{Durability, ElectionTimeout, Host, HostPort, ItemSize, MemoryLimit};

/// What the operator said; nothing here is checked against anything else yet.
///
/// One struct serves flags, `RAFTCACHED_*` and TOML, so that the three cannot drift apart: the key
/// in a file is the long option without its dashes.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Options {
    /// TCP port for clients [default: 11211]
    #[arg(short = 'p', long, value_name = "PORT", env = "RAFTCACHED_PORT")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) port: Option<u16>,

    /// Address for clients; all but loopback is open to whoever can reach it [default: 127.0.0.1]
    #[arg(short = 'l', long, value_name = "ADDRESS", env = "RAFTCACHED_LISTEN")]
    #[arg(hide_env_values = true)]
    pub(crate) listen: Option<Host>,

    /// Item memory, in MiB unless it ends in k, m or g [default: 64]
    #[arg(short = 'm', long, value_name = "SIZE", env = "RAFTCACHED_MEMORY_LIMIT")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) memory_limit: Option<MemoryLimit>,

    /// When memory is full, refuse new items instead of evicting old ones
    #[arg(short = 'M', long, value_name = "BOOL", env = "RAFTCACHED_DISABLE_EVICTIONS")]
    #[arg(hide_env_values = true, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub(crate) disable_evictions: Option<bool>,

    /// Most client connections at the same time [default: 1024]
    #[arg(short = 'c', long, value_name = "COUNT", env = "RAFTCACHED_CONN_LIMIT")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) conn_limit: Option<u32>,

    /// Threads that serve clients [default: 4]
    #[arg(short = 't', long, value_name = "COUNT", env = "RAFTCACHED_THREADS")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) threads: Option<u32>,

    /// Largest item, in bytes unless it ends in k or m [default: 1m]
    #[arg(short = 'I', long, value_name = "SIZE", env = "RAFTCACHED_MAX_ITEM_SIZE")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) max_item_size: Option<ItemSize>,

    /// UDP port: only 0, which is off
    #[arg(short = 'U', long, value_name = "PORT", env = "RAFTCACHED_UDP_PORT")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) udp_port: Option<u16>,

    /// Log details and what libraries warn of; twice for all that libraries say
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Name of this node; it stays when the node is started again [default: n1 without --join]
    #[arg(long, value_name = "NAME", env = "RAFTCACHED_NAME", hide_env_values = true)]
    #[arg(help_heading = "Cluster")]
    pub(crate) name: Option<String>,

    /// Address for the other nodes [default: 127.0.0.1, client port + 10000]
    #[arg(long, value_name = "HOST:PORT", env = "RAFTCACHED_PEER_LISTEN")]
    #[arg(hide_env_values = true, help_heading = "Cluster")]
    pub(crate) peer_listen: Option<HostPort>,

    /// Address for health checks and the operator's tools [default: 127.0.0.1, client port + 20000]
    #[arg(long, value_name = "HOST:PORT", env = "RAFTCACHED_ADMIN_LISTEN")]
    #[arg(hide_env_values = true, help_heading = "Cluster")]
    pub(crate) admin_listen: Option<HostPort>,

    /// Peer addresses of the nodes of the cluster, with or without this one
    #[arg(long, value_name = "HOST:PORT,...", env = "RAFTCACHED_JOIN", value_delimiter = ',')]
    #[arg(hide_env_values = true, help_heading = "Cluster")]
    pub(crate) join: Option<Vec<HostPort>>,

    /// How many empty nodes must see each other before they form a new cluster; 0: never, only wait
    /// to be taken into one [default: all of --join]
    #[arg(long, value_name = "COUNT", env = "RAFTCACHED_BOOTSTRAP_EXPECT")]
    #[arg(hide_env_values = true, help_heading = "Cluster", allow_negative_numbers = true)]
    pub(crate) bootstrap_expect: Option<usize>,

    /// Client address as others reach it [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", env = "RAFTCACHED_ADVERTISE_CLIENT")]
    #[arg(hide_env_values = true, help_heading = "Cluster")]
    pub(crate) advertise_client: Option<HostPort>,

    /// Peer address as others reach it [default: own entry of --join, or where it listens]
    #[arg(long, value_name = "HOST:PORT", env = "RAFTCACHED_ADVERTISE_PEER")]
    #[arg(hide_env_values = true, help_heading = "Cluster")]
    pub(crate) advertise_peer: Option<HostPort>,

    /// Admin address as others reach it [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", env = "RAFTCACHED_ADVERTISE_ADMIN")]
    #[arg(hide_env_values = true, help_heading = "Cluster")]
    pub(crate) advertise_admin: Option<HostPort>,

    /// Where log and snapshots are kept [default: in memory only]
    ///
    /// With a directory, a node that is started again is the same replica with everything it had
    /// acknowledged. Without, it comes back empty and is filled by the others.
    #[arg(long, value_name = "DIR", env = "RAFTCACHED_DATA_DIR")]
    #[arg(hide_env_values = true, help_heading = "Durability")]
    pub(crate) data_dir: Option<PathBuf>,

    /// When a write is safe on this node [default: fsync]
    #[arg(long, value_name = "MODE", env = "RAFTCACHED_DURABILITY")]
    #[arg(hide_env_values = true, help_heading = "Durability")]
    pub(crate) durability: Option<Durability>,
    /// Certificate of the CA that signs the nodes' certificates: with it, peers must have one
    #[arg(long, value_name = "FILE", env = "RAFTCACHED_PEER_CA")]
    #[arg(hide_env_values = true, help_heading = "Cluster")]
    pub(crate) peer_ca: Option<PathBuf>,

    /// Certificate of this node, as `raftcached cert issue` makes it
    #[arg(long, value_name = "FILE", env = "RAFTCACHED_PEER_CERT")]
    #[arg(hide_env_values = true, help_heading = "Cluster")]
    pub(crate) peer_cert: Option<PathBuf>,

    /// Key of that certificate, readable by nobody else
    #[arg(long, value_name = "FILE", env = "RAFTCACHED_PEER_KEY")]
    #[arg(hide_env_values = true, help_heading = "Cluster")]
    pub(crate) peer_key: Option<PathBuf>,

    /// Without certificates, listen for other nodes on more than loopback all the same: whoever can
    /// reach that address can read and change everything
    #[arg(long, value_name = "BOOL", env = "RAFTCACHED_INSECURE_PEERS")]
    #[arg(hide_env_values = true, help_heading = "Cluster", num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) insecure_peers: Option<bool>,

    /// Time between a leader's heartbeats [default: 20]
    #[arg(long, value_name = "MS", env = "RAFTCACHED_HEARTBEAT")]
    #[arg(hide_env_values = true, help_heading = "Timing", allow_negative_numbers = true)]
    pub(crate) heartbeat: Option<u64>,

    /// How long a follower waits for its leader, drawn anew each time [default: 50..75]
    #[arg(long, value_name = "MIN..MAX", env = "RAFTCACHED_ELECTION_TIMEOUT")]
    #[arg(hide_env_values = true, help_heading = "Timing")]
    pub(crate) election_timeout: Option<ElectionTimeout>,

    /// How long a request may wait for the cluster before it fails with an error [default: 2000]
    #[arg(long, value_name = "MS", env = "RAFTCACHED_OPERATION_BUDGET")]
    #[arg(hide_env_values = true, help_heading = "Timing", allow_negative_numbers = true)]
    pub(crate) operation_budget: Option<u64>,

    /// After how long without a majority new clients are turned away [default: 3000]
    #[arg(long, value_name = "MS", env = "RAFTCACHED_ISOLATION_CLOSE")]
    #[arg(hide_env_values = true, help_heading = "Timing", allow_negative_numbers = true)]
    pub(crate) isolation_close: Option<u64>,

    /// Over how long clients are sent away when the node ends and has many [default: 1000]
    #[arg(long, value_name = "MS", env = "RAFTCACHED_DRAIN_TIME")]
    #[arg(hide_env_values = true, help_heading = "Timing", allow_negative_numbers = true)]
    pub(crate) drain_time: Option<u64>,

    /// TOML file with the same options; flags and environment win over it
    #[arg(long, value_name = "FILE", env = "RAFTCACHED_CONFIG", hide_env_values = true)]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,

    /// End when standard input ends: `dev` must not leave its nodes behind, however it dies.
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub(crate) exit_on_stdin_eof: bool,

    /// Begin a new cluster with the state in this file: `member recover` restarts a node with it.
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub(crate) begin_from: Option<PathBuf>,

    #[command(flatten)]
    #[serde(skip)]
    pub(crate) later: Later,
}

/// Options that scripts may already pass and that must not be ignored in silence.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Later {
    #[arg(short = 'd', long, hide = true)]
    daemon: bool,
    #[arg(short = 'P', long, hide = true)]
    pidfile: Option<String>,
    #[arg(short = 'u', long, hide = true)]
    user: Option<String>,
    #[arg(short = 's', long, hide = true)]
    unix_socket: Option<String>,
}

impl Later {
    /// What to say about the first of these options that was given.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        let Self { daemon, pidfile, user, unix_socket } = self;
        let given = [
            (*daemon, "-d (--daemon) is not supported yet: let a service manager run the node"),
            (pidfile.is_some(), "-P (--pidfile) is not supported yet"),
            (user.is_some(), "-u (--user) is not supported yet: start the node as that user"),
            (unix_socket.is_some(), "-s (--unix-socket) is not supported yet: use -l and -p"),
        ];
        given.into_iter().find_map(|(given, refusal)| given.then_some(refusal))
    }
}

impl Options {
    /// Fills what neither flag nor environment said from the file that `--config` names.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or that says what no option means: file, line and key are named.
    pub(crate) fn with_file(self) -> anyhow::Result<Self> {
        let Some(path) = self.config.clone() else { return Ok(self) };
        let file = Self::from_file(&path)?;
        Ok(self.or(file))
    }

    fn from_file(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read(path).with_context(|| format!("--config: cannot read {shown}"))?;
        Self::from_text(&text).with_context(|| format!("--config: {shown}"))
    }

    /// The options in the bytes of a file.
    ///
    /// # Errors
    ///
    /// What is no text, or says what no option means.
    pub(crate) fn from_text(text: &[u8]) -> anyhow::Result<Self> {
        // A byte order mark is what an editor left behind; UTF-16 is refused by name.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let text = str::from_utf8(text).context("is not UTF-8 text")?;
        Ok(toml::from_str(text)?)
    }

    fn or(self, file: Self) -> Self {
        Self {
            port: self.port.or(file.port),
            listen: self.listen.or(file.listen),
            memory_limit: self.memory_limit.or(file.memory_limit),
            disable_evictions: self.disable_evictions.or(file.disable_evictions),
            conn_limit: self.conn_limit.or(file.conn_limit),
            threads: self.threads.or(file.threads),
            max_item_size: self.max_item_size.or(file.max_item_size),
            udp_port: self.udp_port.or(file.udp_port),
            verbose: if self.verbose == 0 { file.verbose } else { self.verbose },
            name: self.name.or(file.name),
            peer_listen: self.peer_listen.or(file.peer_listen),
            admin_listen: self.admin_listen.or(file.admin_listen),
            join: self.join.or(file.join),
            bootstrap_expect: self.bootstrap_expect.or(file.bootstrap_expect),
            advertise_client: self.advertise_client.or(file.advertise_client),
            advertise_peer: self.advertise_peer.or(file.advertise_peer),
            advertise_admin: self.advertise_admin.or(file.advertise_admin),
            data_dir: self.data_dir.or(file.data_dir),
            durability: self.durability.or(file.durability),
            peer_ca: self.peer_ca.or(file.peer_ca),
            peer_cert: self.peer_cert.or(file.peer_cert),
            peer_key: self.peer_key.or(file.peer_key),
            insecure_peers: self.insecure_peers.or(file.insecure_peers),
            heartbeat: self.heartbeat.or(file.heartbeat),
            election_timeout: self.election_timeout.or(file.election_timeout),
            operation_budget: self.operation_budget.or(file.operation_budget),
            isolation_close: self.isolation_close.or(file.isolation_close),
            drain_time: self.drain_time.or(file.drain_time),
            begin_from: self.begin_from,
            config: self.config,
            exit_on_stdin_eof: self.exit_on_stdin_eof,
            later: self.later,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn with_file(text: &[u8], flags: Options) -> anyhow::Result<Options> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(text)?;
        Options { config: Some(file.path().to_owned()), ..flags }.with_file()
    }

    #[test]
    fn flags_win_over_the_file() {
        let text = b"name = \"n1\"\nmemory-limit = 128\nmax-item-size = \"2m\"\nverbose = 2\n\
            join = [\"n1:21211\", \"n2:21211\"]\nelection-timeout = \"100..150\"\n\
            disable-evictions = true\n";
        let flags = Options { memory_limit: Some(MemoryLimit(1 << 20)), ..Options::default() };
        let have = with_file(text, flags).unwrap();
        assert_eq!(have.memory_limit, Some(MemoryLimit(1 << 20)));
        assert_eq!(have.max_item_size, Some(ItemSize(2 << 20)));
        assert_eq!(have.name.as_deref(), Some("n1"));
        assert_eq!(have.verbose, 2);
        assert_eq!(have.join.unwrap().len(), 2);
        assert_eq!(have.election_timeout, Some(ElectionTimeout { min_ms: 100, max_ms: 150 }));
        assert_eq!(have.disable_evictions, Some(true));
    }

    #[test]
    fn a_bad_file_is_refused_by_line_and_key() {
        let cases: &[(&str, &[u8], &[&str])] = &[
            ("unknown key", b"port = 1\nprot = 2\n", &["line 2", "prot"]),
            ("wrong type", b"\nport = \"x\"\n", &["line 2", "port"]),
            ("out of range", b"port = 65536\n", &["line 1", "port"]),
            ("negative size", b"memory-limit = -1\n", &["line 1", "memory-limit"]),
            ("twice", b"port = 1\nport = 2\n", &["line 2", "port"]),
            ("not TOML", b"port 1\n", &["line 1"]),
            ("hidden option", b"exit-on-stdin-eof = true\n", &["exit-on-stdin-eof"]),
            ("unknown mode", b"durability = \"never\"\n", &["line 1", "durability", "fsync"]),
            ("UTF-16", b"\xff\xfep\0o\0", &["not UTF-8"]),
        ];
        for (name, text, wants) in cases {
            let error = with_file(text, Options::default()).expect_err(name);
            let shown = format!("{error:#}");
            assert!(wants.iter().all(|want| shown.contains(want)), "case: {name}: {shown}");
        }
        let missing = Options { config: Some("no/such.toml".into()), ..Options::default() };
        let shown = format!("{:#}", missing.with_file().unwrap_err());
        assert!(shown.contains("--config: cannot read no/such.toml"), "{shown}");
    }

    #[test]
    fn a_byte_order_mark_and_an_empty_file_are_fine() {
        let have = with_file(b"\xef\xbb\xbfport = 7\n", Options::default()).unwrap();
        assert_eq!(have.port, Some(7));
        assert_eq!(with_file(b"", Options::default()).unwrap().port, None);
    }
}
