//! The options of `raftcached server`, from the command line, the environment and a file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::listen_address::{self, ListenAddress};
use crate::values::{
    Compat, Delimiter, Dialect, Durability, ElectionTimeout, HostPort, IdleTimeout, ItemSize,
    MemoryLimit, Port, UnixMask,
};

/// What the operator said; nothing here is checked against anything else yet.
///
/// One struct serves flags, `RAFTCACHED_*` and TOML, so that the three cannot drift apart: the key
/// in a file is the long option without its dashes.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Options {
    /// TCP port for clients; 0: none, -1: any free one [default: 11211]
    #[arg(short = 'p', long, value_name = "PORT", env = "RAFTCACHED_PORT")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) port: Option<Port>,

    /// Addresses for clients; all but loopback is open to whoever can reach it [default: 127.0.0.1]
    ///
    /// HOST, HOST:PORT, an IPv6 address (in brackets before a port), or * for all addresses, each
    /// also behind notls: (no TLS here), btls: (TLS without a client's certificate), mtls: (with one),
    /// proto[ascii|binary|negotiating]: or tag_NAME_:. unix:PATH is a Unix socket beside them.
    #[arg(short = 'l', long, value_name = "ADDRESS,...", env = "RAFTCACHED_LISTEN")]
    #[arg(hide_env_values = true, value_delimiter = ',')]
    #[serde(deserialize_with = "listen_address::list")]
    pub(crate) listen: Option<Vec<ListenAddress>>,

    /// Unix socket for clients, instead of all TCP and UDP ports
    #[arg(short = 's', long, value_name = "FILE", env = "RAFTCACHED_UNIX_SOCKET")]
    #[arg(hide_env_values = true)]
    pub(crate) unix_socket: Option<PathBuf>,

    /// Who may open that socket, in octal [default: 700]
    #[arg(short = 'a', long, value_name = "MASK", env = "RAFTCACHED_UNIX_MASK")]
    #[arg(hide_env_values = true)]
    pub(crate) unix_mask: Option<UnixMask>,

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

    /// UDP port for clients; alone, also the TCP port; 0: none, -1: any free one [default: 0]
    #[arg(short = 'U', long, value_name = "PORT", env = "RAFTCACHED_UDP_PORT")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) udp_port: Option<Port>,

    /// Connections that the kernel keeps until they are accepted [default: 1024]
    #[arg(short = 'b', long, value_name = "COUNT", env = "RAFTCACHED_LISTEN_BACKLOG")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) listen_backlog: Option<u32>,

    /// Requests a client may make in a row before others have a turn [default: 1024]
    #[arg(short = 'R', long, value_name = "COUNT", env = "RAFTCACHED_MAX_REQS_PER_EVENT")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) max_reqs_per_event: Option<u32>,

    /// What clients speak [default: auto]
    #[arg(short = 'B', long, value_name = "PROTOCOL", env = "RAFTCACHED_PROTOCOL")]
    #[arg(hide_env_values = true)]
    pub(crate) protocol: Option<Dialect>,

    /// Close connections that have been silent for so long; 0: never [default: 0]
    #[arg(long, value_name = "SECONDS", env = "RAFTCACHED_IDLE_TIMEOUT")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    pub(crate) idle_timeout: Option<IdleTimeout>,

    /// Which memcached is followed where two of them answer differently [default: 1.6.18]
    #[arg(long, value_name = "VERSION", env = "RAFTCACHED_COMPAT")]
    #[arg(hide_env_values = true)]
    pub(crate) compat: Option<Compat>,

    /// Tell clients that there is no cas unique
    #[arg(short = 'C', long, value_name = "BOOL", env = "RAFTCACHED_DISABLE_CAS")]
    #[arg(hide_env_values = true, num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) disable_cas: Option<bool>,

    /// Refuse flush_all
    #[arg(short = 'F', long, value_name = "BOOL", env = "RAFTCACHED_DISABLE_FLUSH_ALL")]
    #[arg(hide_env_values = true, num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) disable_flush_all: Option<bool>,

    /// Refuse stats cachedump and lru_crawler metadump
    #[arg(short = 'X', long, value_name = "BOOL", env = "RAFTCACHED_DISABLE_DUMPING")]
    #[arg(hide_env_values = true, num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) disable_dumping: Option<bool>,

    /// Refuse watch
    #[arg(short = 'W', long, value_name = "BOOL", env = "RAFTCACHED_DISABLE_WATCH")]
    #[arg(hide_env_values = true, num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) disable_watch: Option<bool>,

    /// Let clients end the node with the command shutdown
    #[arg(short = 'A', long, value_name = "BOOL", env = "RAFTCACHED_ENABLE_SHUTDOWN")]
    #[arg(hide_env_values = true, num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) enable_shutdown: Option<bool>,

    /// What ends a key's prefix in stats detail [default: :]
    #[arg(short = 'D', long, value_name = "CHAR", env = "RAFTCACHED_PREFIX_DELIMITER")]
    #[arg(hide_env_values = true)]
    pub(crate) prefix_delimiter: Option<Delimiter>,

    /// Refuse clients over the limit at once; false: let them wait [default: true]
    #[arg(long, value_name = "BOOL", env = "RAFTCACHED_MAXCONNS_FAST")]
    #[arg(hide_env_values = true, num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) maxconns_fast: Option<bool>,

    /// Count items by size for stats sizes
    #[arg(long, value_name = "BOOL", env = "RAFTCACHED_TRACK_SIZES")]
    #[arg(hide_env_values = true, num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) track_sizes: Option<bool>,

    /// Log details and what libraries warn of; twice for all that libraries say
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Clients must prove who they are with SASL, in the binary protocol alone
    #[arg(short = 'S', long, value_name = "BOOL", env = "RAFTCACHED_ENABLE_SASL")]
    #[arg(hide_env_values = true, help_heading = "Authentication and TLS", num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) enable_sasl: Option<bool>,

    /// Users of SASL, a line user:password each [default: what MEMCACHED_SASL_PWDB names]
    #[arg(long, value_name = "FILE", env = "RAFTCACHED_SASL_PWDB")]
    #[arg(hide_env_values = true, help_heading = "Authentication and TLS")]
    pub(crate) sasl_pwdb: Option<PathBuf>,

    /// Clients must prove who they are with a first set, in the text protocol alone; users of it, a line
    /// user:password each
    #[arg(short = 'Y', long, value_name = "FILE", env = "RAFTCACHED_AUTH_FILE")]
    #[arg(hide_env_values = true, help_heading = "Authentication and TLS")]
    pub(crate) auth_file: Option<PathBuf>,

    /// Clients must speak TLS
    #[arg(short = 'Z', long, value_name = "BOOL", env = "RAFTCACHED_ENABLE_SSL")]
    #[arg(hide_env_values = true, help_heading = "Authentication and TLS", num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) enable_ssl: Option<bool>,

    /// Certificate of this node and those that lead to its CA, PEM
    #[arg(long, value_name = "FILE", env = "RAFTCACHED_SSL_CHAIN_CERT")]
    #[arg(hide_env_values = true, help_heading = "Authentication and TLS")]
    pub(crate) ssl_chain_cert: Option<PathBuf>,

    /// Key of that certificate [default: in the same file]
    #[arg(long, value_name = "FILE", env = "RAFTCACHED_SSL_KEY")]
    #[arg(hide_env_values = true, help_heading = "Authentication and TLS")]
    pub(crate) ssl_key: Option<PathBuf>,

    /// What that file is: only 1 is possible, which is PEM [default: 1]
    #[arg(long, value_name = "FORMAT", env = "RAFTCACHED_SSL_KEYFORMAT")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    #[arg(help_heading = "Authentication and TLS")]
    pub(crate) ssl_keyformat: Option<u8>,

    /// Clients' certificates: 0 are not asked for, 1 may be shown, 2 and 3 must be [default: 0]
    #[arg(long, value_name = "MODE", env = "RAFTCACHED_SSL_VERIFY_MODE")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    #[arg(help_heading = "Authentication and TLS")]
    pub(crate) ssl_verify_mode: Option<u8>,

    /// CAs that sign clients' certificates, PEM
    #[arg(long, value_name = "FILE", env = "RAFTCACHED_SSL_CA_CERT")]
    #[arg(hide_env_values = true, help_heading = "Authentication and TLS")]
    pub(crate) ssl_ca_cert: Option<PathBuf>,

    /// Cipher suites, by OpenSSL's names
    #[arg(long, value_name = "NAME:...", env = "RAFTCACHED_SSL_CIPHERS")]
    #[arg(hide_env_values = true, help_heading = "Authentication and TLS")]
    pub(crate) ssl_ciphers: Option<String>,

    /// Oldest TLS: 0 is 1.0, 1 is 1.1, 2 is 1.2, 3 is 1.3 [default: 2]
    #[arg(long, value_name = "VERSION", env = "RAFTCACHED_SSL_MIN_VERSION")]
    #[arg(hide_env_values = true, allow_negative_numbers = true)]
    #[arg(help_heading = "Authentication and TLS")]
    pub(crate) ssl_min_version: Option<u8>,

    /// Let clients resume sessions
    #[arg(long, value_name = "BOOL", env = "RAFTCACHED_SSL_SESSION_CACHE")]
    #[arg(hide_env_values = true, help_heading = "Authentication and TLS", num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) ssl_session_cache: Option<bool>,

    /// Run in the background
    #[arg(short = 'd', long, value_name = "BOOL", env = "RAFTCACHED_DAEMON")]
    #[arg(hide_env_values = true, help_heading = "Process", num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) daemon: Option<bool>,

    /// Become this user, if started as root
    #[arg(short = 'u', long, value_name = "USER", env = "RAFTCACHED_USER")]
    #[arg(hide_env_values = true, help_heading = "Process")]
    pub(crate) user: Option<String>,

    /// Write the process id into this file; it is removed at the end
    #[arg(short = 'P', long, value_name = "FILE", env = "RAFTCACHED_PIDFILE")]
    #[arg(hide_env_values = true, help_heading = "Process")]
    pub(crate) pidfile: Option<PathBuf>,

    /// Raise the limit for core files
    #[arg(short = 'r', long, value_name = "BOOL", env = "RAFTCACHED_ENABLE_COREDUMPS")]
    #[arg(hide_env_values = true, help_heading = "Process", num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) enable_coredumps: Option<bool>,

    /// Keep all memory out of swap
    #[arg(short = 'k', long, value_name = "BOOL", env = "RAFTCACHED_LOCK_MEMORY")]
    #[arg(hide_env_values = true, help_heading = "Process", num_args = 0..=1)]
    #[arg(require_equals = true, default_missing_value = "true")]
    pub(crate) lock_memory: Option<bool>,

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

    /// Started by `--daemon`, in the background.
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub(crate) in_background: bool,

    /// Begin a new cluster with the state in this file: `member recover` restarts a node with it.
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub(crate) begin_from: Option<PathBuf>,

    /// Whether the program was called as memcached is, without a command.
    #[arg(skip)]
    #[serde(skip)]
    pub(crate) as_memcached: bool,

    #[command(flatten)]
    #[serde(skip)]
    pub(crate) memcached: Memcached,
}

/// What memcached has and we do not: taken, checked, and of no effect, but for `-o` values that are
/// options of ours and for what would be a lie.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Taken for memcached's sake")]
pub(crate) struct Memcached {
    /// memcached's further options: maxconns_fast, idle_timeout, track_sizes and ssl_* are those
    /// above, the others have no effect
    #[arg(short = 'o', long, value_name = "NAME[=VALUE],...")]
    pub(crate) extended: Vec<String>,
    /// No effect: items are not kept in slabs
    #[arg(short = 'f', long, value_name = "FACTOR", allow_negative_numbers = true)]
    pub(crate) slab_growth_factor: Option<String>,
    /// No effect: items are not kept in slabs
    #[arg(short = 'n', long, value_name = "BYTES", allow_negative_numbers = true)]
    pub(crate) slab_min_size: Option<u32>,
    /// No effect
    #[arg(short = 'L', long)]
    pub(crate) enable_largepages: bool,
    /// No effect
    #[arg(short = 'N', long, value_name = "COUNT", allow_negative_numbers = true)]
    pub(crate) napi_ids: Option<u32>,
    /// Refused: --data-dir keeps items
    #[arg(short = 'e', long, value_name = "FILE", hide = true)]
    pub(crate) memory_file: Option<String>,
    /// Print the licence and end
    #[arg(short = 'i', long)]
    pub(crate) license: bool,
}

/// What the one said, else what the other did, option by option.
macro_rules! first_said {
    ($flags:ident, $file:ident: $($option:ident),*) => {
        Options {
            $($option: $flags.$option.or($file.$option),)*
            verbose: if $flags.verbose == 0 { $file.verbose } else { $flags.verbose },
            begin_from: $flags.begin_from,
            config: $flags.config,
            exit_on_stdin_eof: $flags.exit_on_stdin_eof,
            in_background: $flags.in_background,
            as_memcached: $flags.as_memcached,
            memcached: $flags.memcached,
        }
    };
}

impl Options {
    /// Fills what was not said from where memcached looks.
    pub(crate) fn with_memcacheds_environment(mut self) -> Self {
        let sasl_pwdb = || std::env::var_os("MEMCACHED_SASL_PWDB").map(PathBuf::from);
        self.sasl_pwdb = self.sasl_pwdb.or_else(sasl_pwdb);
        self
    }

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
        first_said!(
            self,
            file:
            port,
            listen,
            unix_socket,
            unix_mask,
            memory_limit,
            disable_evictions,
            conn_limit,
            threads,
            max_item_size,
            udp_port,
            listen_backlog,
            max_reqs_per_event,
            protocol,
            idle_timeout,
            compat,
            disable_cas,
            disable_flush_all,
            disable_dumping,
            disable_watch,
            enable_shutdown,
            prefix_delimiter,
            maxconns_fast,
            track_sizes,
            enable_sasl,
            sasl_pwdb,
            auth_file,
            enable_ssl,
            ssl_chain_cert,
            ssl_key,
            ssl_keyformat,
            ssl_verify_mode,
            ssl_ca_cert,
            ssl_ciphers,
            ssl_min_version,
            ssl_session_cache,
            daemon,
            user,
            pidfile,
            enable_coredumps,
            lock_memory,
            name,
            peer_listen,
            admin_listen,
            join,
            bootstrap_expect,
            advertise_client,
            advertise_peer,
            advertise_admin,
            data_dir,
            durability,
            peer_ca,
            peer_cert,
            peer_key,
            insecure_peers,
            heartbeat,
            election_timeout,
            operation_budget,
            isolation_close,
            drain_time
        )
    }
}

#[cfg(test)]
mod tests;
