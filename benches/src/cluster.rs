//! The endpoints side by side: one memcached, and three nodes.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use nix::unistd::Pid;

use crate::node_process::{NodeProcess, free_addresses};
use crate::status;

/// Processes that are measured together, and the addresses that clients use.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    kind: Kind,
}

#[derive(Debug)]
struct Node {
    name: String,
    process: NodeProcess,
    client: SocketAddr,
    /// Only a node of raftcached has one.
    admin: Option<SocketAddr>,
}

/// Which node is which, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Leads every shard.
    pub(crate) leader: usize,
    /// The first of the others.
    pub(crate) follower: usize,
}

/// Whether the nodes hold the same items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nodes of one raftcached cluster.
    Replicated,
    /// Memcacheds that do not know of each other.
    Unrelated,
}

impl Cluster {
    /// Starts `count` stock memcacheds that do not know of each other.
    ///
    /// # Errors
    ///
    /// If one does not accept connections in time.
    pub(crate) fn start_memcached(
        program: &Path,
        name: &str,
        count: usize,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        for (index, client) in free_addresses(count)?.into_iter().enumerate() {
            let name = format!("{name}{}", index + 1);
            let mut command = Command::new(program);
            command.args(["-u", "nobody", "-l", "127.0.0.1", "-t", "1", "-m", MEMORY_MIB]);
            command.arg("-p").arg(client.port().to_string());
            let mut process = NodeProcess::start(&name, &mut command, directory)?;
            process.wait_until("listening", || TcpStream::connect(client).is_ok())?;
            nodes.push(Node { name, process, client, admin: None });
        }
        Ok(Self { nodes, kind: Kind::Unrelated })
    }

    /// Starts three nodes of raftcached, and waits until all three serve and know one leader.
    ///
    /// # Errors
    ///
    /// If they do not form a cluster in time.
    pub(crate) fn start_raftcached(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        let clients = free_addresses(3 * NODE_COUNT)?;
        let (clients, others) = clients.split_at(NODE_COUNT);
        let (peers, admins) = others.split_at(NODE_COUNT);
        let join: Vec<String> = peers.iter().map(SocketAddr::to_string).collect();
        let mut nodes = Vec::new();
        for (index, ((client, peer), admin)) in clients.iter().zip(peers).zip(admins).enumerate() {
            let name = format!("n{}", index + 1);
            let mut command = Command::new(program);
            command.args(["server", "--name", &name, "-l", "127.0.0.1", "-t", "1"]);
            command.args(["-m", MEMORY_MIB, "-p", &client.port().to_string()]);
            command.args(["--peer-listen", &peer.to_string()]);
            command.args(["--admin-listen", &admin.to_string()]);
            command.args(["--join", &join.join(","), "--bootstrap-expect", "3"]);
            let process = NodeProcess::start(&name, &mut command, directory)?;
            nodes.push(Node { name, process, client: *client, admin: Some(*admin) });
        }
        let mut cluster = Self { nodes, kind: Kind::Replicated };
        cluster.wait_until_settled()?;
        Ok(cluster)
    }

    /// Waits until every node serves, and all of them name the same leader.
    ///
    /// # Errors
    ///
    /// If a node ends, or it takes too long.
    pub(crate) fn wait_until_settled(&mut self) -> anyhow::Result<()> {
        let admins: Vec<SocketAddr> = self.nodes.iter().filter_map(|node| node.admin).collect();
        let settled_leader = |admin: &SocketAddr| {
            let status = status::read(*admin).ok()?;
            status.settled_leader().map(str::to_owned)
        };
        for node in &mut self.nodes {
            let Some(admin) = node.admin else { continue };
            node.process.wait_until("ready", || status::is_ready(admin))?;
            node.process.wait_until("one of a settled cluster", || {
                let leader = settled_leader(&admin);
                leader.is_some() && admins.iter().all(|other| settled_leader(other) == leader)
            })?;
        }
        Ok(())
    }

    /// Says who leads. For unrelated memcacheds the first two stand in.
    ///
    /// # Errors
    ///
    /// If the first node does not know a leader of all shards.
    pub(crate) fn roles(&self) -> anyhow::Result<Roles> {
        let first = self.nodes.first().context("a cluster without nodes")?;
        let leader = match first.admin {
            None => 0,
            Some(admin) => {
                let status = status::read(admin)?;
                let name = status.settled_leader().context("no node leads every shard")?;
                let leader = self.nodes.iter().position(|node| node.name == name);
                leader.with_context(|| format!("the leader \"{name}\" is none of our nodes"))?
            }
        };
        Ok(Roles { leader, follower: usize::from(leader == 0) })
    }

    /// The client address of the node at `index`.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub(crate) fn client(&self, index: usize) -> anyhow::Result<SocketAddr> {
        let node = self.nodes.get(index).with_context(|| format!("no node {index}"))?;
        Ok(node.client)
    }

    /// The client addresses of all nodes that must hold what was written to the node at `index`.
    pub(crate) fn holders(&self, index: usize) -> Vec<SocketAddr> {
        let nodes = self.nodes.iter().enumerate();
        let holds = |at: usize| self.kind == Kind::Replicated || at == index;
        nodes.filter(|(at, _)| holds(*at)).map(|(_, node)| node.client).collect()
    }

    /// How many different sets of items the nodes hold together.
    pub(crate) fn store_count(&self) -> usize {
        match self.kind {
            Kind::Replicated => 1,
            Kind::Unrelated => self.nodes.len(),
        }
    }

    /// Which of them is the one of the node at `index`.
    pub(crate) fn store_index(&self, index: usize) -> usize {
        match self.kind {
            Kind::Replicated => 0,
            Kind::Unrelated => index,
        }
    }

    /// Claims that nodes hold the same items although they do not.
    #[cfg(test)]
    pub(crate) fn pretend_replicated(&mut self) {
        self.kind = Kind::Replicated;
    }

    /// All processes, for their CPU clocks.
    ///
    /// # Errors
    ///
    /// Never on Linux.
    pub(crate) fn pids(&self) -> anyhow::Result<Vec<Pid>> {
        self.nodes.iter().map(|node| node.process.pid()).collect()
    }
}

/// As many as can lose one.
pub(crate) const NODE_COUNT: usize = 3;
const MEMORY_MIB: &str = "1024";
