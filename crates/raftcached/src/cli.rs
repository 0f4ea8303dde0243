//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::options::Options;
use crate::values::{HostPort, Respawn};

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
    /// Understands memcached's own flags. Without cluster options it is a cluster of one node.
    /// Every option but -v can also come from the environment, and every one from the file that
    /// --config names, under its long name. A flag wins over the environment, and that over the
    /// file.
    Server(Options),
    /// Say how the cluster is
    ///
    /// The first line is the verdict. Exit status: 0 ok, 1 unhealthy, 2 usage, 3 no quorum.
    Status(StatusOptions),
    /// Say whether one node answers clients
    ///
    /// For the health check of a container. Exit status: 0 it does, 1 it does not, 2 usage.
    Health(HealthOptions),
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
    /// Log more; twice for everything
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
