//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::options::Options;
use crate::values::{Host, HostPort, Respawn};

/// memcached that does not forget when a machine dies.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program is to do.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it lives as long as the program")]
pub(crate) enum Command {
    /// Run three nodes on this machine, to try things out
    ///
    /// Clients connect to PORT, PORT+1 and PORT+2 (nodes n1, n2 and n3); the nodes talk to each
    /// other on PORT+10000 and so on, and answer health checks and `raftcached status` on
    /// PORT+20000 and so on. Ctrl-C or SIGTERM ends all of them.
    Dev(DevOptions),
    /// Run one node
    ///
    /// Understands memcached's own flags, also when this word is left out. Without cluster options
    /// it is a cluster of one node.
    /// Every option but -v can also come from the environment, and every one from the file that
    /// --config names, under its long name. A flag wins over the environment, and that over the
    /// file.
    #[command(args_override_self = true)]
    Server(Options),
    /// Say how the cluster is
    ///
    /// The first line is the verdict. Exit status: 0 ok, 1 unhealthy, 2 usage, 3 no quorum.
    Status(StatusOptions),
    /// Show and change who is in the cluster
    ///
    /// Any node can be asked. Exit status: 0 done, 1 not done yet or unknown, 2 usage, 3 no quorum,
    /// 4 refused as unsafe, with the reason.
    Member(MemberOptions),
    /// Send a node's clients away and end it
    ///
    /// The same as SIGTERM: health checks fail, leadership moves away, clients get their answers
    /// and are closed, the node ends. Exit status: 0 it has ended, 1 it has not, 2 usage.
    Drain(DrainOptions),
    /// Say whether one node answers clients
    ///
    /// For the health check of a container. Exit status: 0 it does, 1 it does not, 2 usage.
    Health(HealthOptions),
    /// Make certificates for the nodes of a cluster
    #[command(subcommand)]
    Cert(CertCommand),
    /// Work with files of options
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// What `config` is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say what memcached's option file would be as one for --config
    ///
    /// Prints it. Exit status: 0 done, 2 if the file has what is unknown, each with its line.
    Convert {
        /// As Debian has it: /etc/memcached.conf
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// What `cert` is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Make the CA of one cluster, once
    ///
    /// DIR/ca.crt goes to every node, DIR/ca.key to none. Valid for ten years.
    Init(CertInitOptions),
    /// Make a certificate for one node
    ///
    /// DIR/NODE.crt and DIR/NODE.key go to that node alone.
    Issue(CertIssueOptions),
}

/// Options of `cert init`.
#[derive(Debug, clap::Args)]
pub(crate) struct CertInitOptions {
    /// Where ca.crt and ca.key go; nothing in there is overwritten
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Name of the cluster, for those who look into the certificate
    #[arg(long, value_name = "NAME", default_value = "raftcached")]
    pub(crate) cluster: String,
}

/// Options of `cert issue`.
#[derive(Debug, clap::Args)]
pub(crate) struct CertIssueOptions {
    /// Name of the node, as in its --name
    #[arg(value_name = "NODE")]
    pub(crate) node: String,

    /// Where ca.crt and ca.key are, and NODE.crt and NODE.key go; nothing is overwritten
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Host names and addresses under which the node is reached
    #[arg(long, value_name = "HOST,...", value_delimiter = ',', required = true)]
    pub(crate) host: Vec<Host>,

    /// How long the certificate is good for
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

/// Options of `dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct DevOptions {
    /// Client port of n1; n2 and n3 have the next two
    #[arg(short = 'p', long, value_name = "PORT", default_value_t = 11211)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) port: u16,

    /// Where logs and process ids go [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Start a node that died again after this many seconds, or never
    #[arg(long, value_name = "SECONDS|never", default_value = "5")]
    #[arg(allow_negative_numbers = true)]
    pub(crate) respawn: Respawn,

    #[command(flatten)]
    pub(crate) passed_on: PassedOn,
}

/// Options of `server` that `dev` hands to all three nodes as they are.
#[derive(Debug, clap::Args)]
pub(crate) struct PassedOn {
    /// Item memory of each node, as for `server`
    #[arg(short = 'm', long, value_name = "SIZE", allow_negative_numbers = true)]
    memory_limit: Option<String>,
    /// When memory is full, refuse new items instead of evicting old ones
    #[arg(short = 'M', long)]
    disable_evictions: bool,
    /// Most client connections of each node, as for `server`
    #[arg(short = 'c', long, value_name = "COUNT", allow_negative_numbers = true)]
    conn_limit: Option<String>,
    /// Threads of each node that serve clients, as for `server`
    #[arg(short = 't', long, value_name = "COUNT", allow_negative_numbers = true)]
    threads: Option<String>,
    /// Largest item, as for `server`
    #[arg(short = 'I', long, value_name = "SIZE", allow_negative_numbers = true)]
    max_item_size: Option<String>,
    /// Time between a leader's heartbeats, as for `server`
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    heartbeat: Option<String>,
    /// How long a follower waits for its leader, as for `server`
    #[arg(long, value_name = "MIN..MAX")]
    election_timeout: Option<String>,
    /// Log details and what libraries warn of; twice for all that libraries say
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl PassedOn {
    /// The same options as words of a command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let values = [
            ("--memory-limit", &self.memory_limit),
            ("--conn-limit", &self.conn_limit),
            ("--threads", &self.threads),
            ("--max-item-size", &self.max_item_size),
            ("--heartbeat", &self.heartbeat),
            ("--election-timeout", &self.election_timeout),
        ];
        let given = values
            .into_iter()
            .filter_map(|(option, value)| value.as_ref().map(|value| format!("{option}={value}")));
        let evictions = self.disable_evictions.then(|| "--disable-evictions".to_owned());
        let verbose = std::iter::repeat_n("-v".to_owned(), usize::from(self.verbose));
        given.chain(evictions).chain(verbose).collect()
    }
}

/// Options of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusOptions {
    /// Admin addresses of nodes; the first one that answers is believed
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    #[arg(default_value = "127.0.0.1:31211", env = "RAFTCACHED_CLUSTER", hide_env_values = true)]
    pub(crate) cluster: Vec<HostPort>,

    /// For people, or for programs
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
}

/// How `status` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A verdict and tables
    Text,
    /// What /v1/status says
    Json,
}

/// Options of `health`.
#[derive(Debug, clap::Args)]
pub(crate) struct HealthOptions {
    /// Admin address of the node
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:31211")]
    #[arg(env = "RAFTCACHED_ADMIN", hide_env_values = true)]
    pub(crate) admin: HostPort,

    /// Whether it answers clients, which is what is asked by default
    #[arg(long, conflicts_with = "live")]
    pub(crate) ready: bool,

    /// Only whether its process is alive
    #[arg(long)]
    pub(crate) live: bool,
}

/// Options of `drain`.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainOptions {
    /// Admin address of the node
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:31211")]
    #[arg(env = "RAFTCACHED_ADMIN", hide_env_values = true)]
    pub(crate) admin: HostPort,
}

/// Options of `member`.
#[derive(Debug, clap::Args)]
pub(crate) struct MemberOptions {
    #[command(subcommand)]
    pub(crate) command: MemberCommand,

    /// Admin addresses of nodes; the first one that answers is asked
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', global = true)]
    #[arg(default_value = "127.0.0.1:31211", env = "RAFTCACHED_CLUSTER", hide_env_values = true)]
    pub(crate) cluster: Vec<HostPort>,

    /// For people, or for programs
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text", global = true)]
    pub(crate) output: Output,
}

/// What `member` is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Show the members
    List,
    /// Take in a node that waits
    ///
    /// The node was started with `--bootstrap-expect 0`. It gets what the others hold, and then a
    /// vote. (A node that is started with --join and an address of the cluster needs no word.)
    Add {
        /// Name that the node was started with
        name: String,
        /// Where it listens for peers
        #[arg(long, value_name = "HOST:PORT")]
        peer: HostPort,
        #[command(flatten)]
        how: How,
    },
    /// Remove a node, dead or alive
    Remove {
        /// Name of the node
        name: String,
        #[command(flatten)]
        how: How,
    },
    /// Give a node's vote to one that waits, in one change
    Replace {
        /// Name of the node that leaves, dead or alive
        old: String,
        /// Name that the new node was started with
        new: String,
        /// Where the new node listens for peers
        #[arg(long, value_name = "HOST:PORT")]
        peer: HostPort,
        #[command(flatten)]
        how: How,
    },
    /// After the loss of a majority: begin a new cluster with what one node holds
    ///
    /// Writes that were answered may be lost: those that this node has not got.
    Recover {
        /// Name of the node; --cluster has its admin address
        #[arg(long, value_name = "NAME")]
        from: String,
        /// Do it without asking on the terminal
        #[arg(long)]
        yes_some_writes_may_be_lost: bool,
        /// Only say what is there
        #[arg(long)]
        dry_run: bool,
    },
}

/// How a change is made.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct How {
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long to wait for the end of the change; it goes on without us
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn dev_passes_options_on() {
        let words = "raftcached dev -m 128 -M -I 2m -vv --election-timeout 100..150";
        let cli = Cli::try_parse_from(words.split(' ')).unwrap();
        let Command::Dev(dev) = cli.command else { panic!("not dev") };
        let want = [
            "--memory-limit=128",
            "--max-item-size=2m",
            "--election-timeout=100..150",
            "--disable-evictions",
            "-v",
            "-v",
        ];
        assert_eq!(dev.passed_on.words(), want);
    }
}
