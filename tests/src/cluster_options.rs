//! How to start a cluster.

/// How to start a cluster: three nodes with default options, unless said otherwise.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many nodes.
    pub nodes: usize,
    /// Options for every node beyond names and addresses.
    pub args: Vec<String>,
    /// Ports for peers of the first nodes; the others get free ones.
    pub peer_ports: Vec<u16>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { nodes: 3, args: Vec::new(), peer_ports: Vec::new() }
    }
}
