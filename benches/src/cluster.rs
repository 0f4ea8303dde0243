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

/// How nodes of raftcached are started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// 1 to 3.
    pub(crate) node_count: usize,
    /// `-m` of each.
    pub(crate) memory_mib: u64,
    /// Whether each has a data directory, called like itself, and answers after an fsync.
    pub(crate) is_durable: bool,
}

impl Setup {
    /// Three nodes in memory.
    pub(crate) const CACHE: Self =
        Self { node_count: NODE_COUNT, memory_mib: MEMORY_MIB, is_durable: false };
    /// Three nodes that write to the disk before they answer.
    pub(crate) const DURABLE: Self = Self { is_durable: true, ..Self::CACHE };
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
            command.args(["-u", "nobody", "-l", "127.0.0.1", "-t", "1"]);
            command.args(["-m", &MEMORY_MIB.to_string()]);
            command.arg("-p").arg(client.port().to_string());
            let mut process = NodeProcess::start(&name, &mut command, directory)?;
            process.wait_until("listening", || TcpStream::connect(client).is_ok())?;
            nodes.push(Node { name, process, client, admin: None });
        }
        Ok(Self { nodes, kind: Kind::Unrelated })
    }

    /// Starts nodes of raftcached, and waits until all of them serve and know one leader.
    ///
    /// # Errors
    ///
    /// If they do not form a cluster in time.
    pub(crate) fn start_raftcached(
        program: &Path,
        directory: &Path,
        setup: Setup,
    ) -> anyhow::Result<Self> {
        let node_count = setup.node_count;
        let clients = free_addresses(3 * node_count)?;
        let (clients, others) = clients.split_at(node_count);
        let (peers, admins) = others.split_at(node_count);
        let join: Vec<String> = peers.iter().map(SocketAddr::to_string).collect();
        let mut nodes = Vec::new();
        for (index, ((client, peer), admin)) in clients.iter().zip(peers).zip(admins).enumerate() {
            let name = format!("n{}", index + 1);
            let mut command = Command::new(program);
            command.args(["server", "--name", &name, "-l", "127.0.0.1", "-t", "1"]);
            command.args(["-m", &setup.memory_mib.to_string()]);
            command.args(["-p", &client.port().to_string()]);
            command.args(["--peer-listen", &peer.to_string()]);
            command.args(["--admin-listen", &admin.to_string()]);
            command.args(["--join", &join.join(",")]);
            command.args(["--bootstrap-expect", &node_count.to_string()]);
            if setup.is_durable {
                command.arg("--data-dir").arg(directory.join(&name));
                command.args(["--durability", "fsync"]);
            }
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
        let can_lose = self.can_lose();
        let settled_leader = |admin: &SocketAddr| {
            let status = status::read(*admin).ok()?;
            status.settled_leader(can_lose).map(str::to_owned)
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
                let name =
                    status.settled_leader(self.can_lose()).context("no node leads every shard")?;
                let leader = self.nodes.iter().position(|node| node.name == name);
                leader.with_context(|| format!("the leader \"{name}\" is none of our nodes"))?
            }
        };
        Ok(Roles { leader, follower: usize::from(leader == 0) })
    }

    /// How many nodes may be lost while all of them run.
    fn can_lose(&self) -> usize {
        self.nodes.len().saturating_sub(1) / 2
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
const MEMORY_MIB: u64 = 1024;
