//! How to start a cluster.

use std::path::PathBuf;

/// How to start a cluster: three nodes with default options, unless said otherwise.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many nodes.
    pub nodes: usize,
    /// What the nodes run; none: the binary under test.
    pub binary: Option<PathBuf>,
    /// Options for every node beyond names and addresses.
    pub args: Vec<String>,
    /// Whether the nodes have certificates and speak TLS to each other.
    pub peer_tls: bool,
    /// Ports for peers of the first nodes; the others get free ones.
    pub peer_ports: Vec<u16>,
    /// Gives every node a data directory, with that `--durability`; none: all in memory.
    pub data: Option<Durability>,
    /// Data directories of the first nodes; the others get one in the cluster's own directory.
    pub data_dirs: Vec<PathBuf>,
}

/// `--durability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged when it is on the disk.
    Fsync,
    /// Acknowledged when the operating system has it.
    Os,
}

impl Durability {
    /// The option's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
        }
    }
}

impl Default for ClusterOptions {
    fn default() -> Self {
        let (args, peer_ports, data_dirs) = Default::default();
        Self { nodes: 3, binary: None, args, peer_tls: false, peer_ports, data: None, data_dirs }
    }
}
