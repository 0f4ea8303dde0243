//! Partitions between nodes of one machine.
//!
//! ```text
//!   n1 ──connects──▶ 127.77.0.2      as group 60001, so that its source becomes 127.77.0.1
//!        ◀─answers──                 rule: -s 127.77.0.1 -d 127.77.0.2 -j DROP
//! ```
//!
//! Every node has a peer address and a group of its own. A node does not choose the source of its
//! connections, so the firewall does it, by the group. Then a packet says from whom it is, and to
//! whom: on its way in for whoever made the connection, on its way out for whoever accepted it.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// Cuts and heals the ways between nodes, in a network of the test's own, which ends with it.
#[derive(Debug)]
pub struct Partitions {
    nodes: usize,
}

/// A narrow way for all packets, as long as it lives.
#[derive(Debug)]
pub struct Narrow(());

/// Something that happens to packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(String);

impl Rule {
    /// What `from` sends to `to` is dropped; not what comes back.
    pub fn cut(from: usize, to: usize) -> Self {
        let (from, to) = (Partitions::host(from), Partitions::host(to));
        Self(format!("-s {from} -d {to} -j DROP"))
    }

    /// Of all packets, so many percent are dropped.
    pub fn lose(percent: u8) -> Self {
        Self(format!(
            "-s {NETWORK} -d {NETWORK} -m statistic --mode random --probability {:.2} -j DROP",
            f64::from(percent) / 100.0
        ))
    }

    /// Whatever clients send to `port` resets their connections, and not those of the node.
    pub fn reset_clients(port: u16) -> Self {
        Self(format!("-p tcp -d 127.0.0.1 --dport {port} -j REJECT --reject-with tcp-reset"))
    }

    /// Whatever clients send to `port`, or are sent from there, is dropped.
    pub fn cut_clients(port: u16) -> [Self; 2] {
        let way = |end| Self(format!("-p tcp -d 127.0.0.1 --{end} {port} -j DROP"));
        ["dport", "sport"].map(way)
    }

    /// Whatever `node` sends to others resets the connection.
    pub fn reset(node: usize) -> Self {
        let host = Partitions::host(node);
        Self(format!("-p tcp -s {host} -d {NETWORK} -j REJECT --reject-with tcp-reset"))
    }
}

impl Partitions {
    /// Moves the calling thread, and all that it starts from now on, to a network of its own, with
    /// loopback alone, in which `nodes` nodes can be cut off from each other.
    ///
    /// Only for files whose tests all do so, and one at a time: processes are all started from the
    /// network of the first [`Process`](crate::Process), so that there is one for all tests.
    ///
    /// # Errors
    ///
    /// What this machine does not allow, or lacks: it needs root, `ip` and `iptables`.
    pub fn prepare(nodes: usize) -> Result<Self> {
        let mut network = NETWORK_OF_ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = network.as_ref() {
            setns(network, CloneFlags::CLONE_NEWNET).context("the network of the first test")?;
            iptables(&format!("-F {CHAIN}"))?;
            iptables("-t nat -F POSTROUTING")?;
        } else {
            unshare(CloneFlags::CLONE_NEWNET).context("a network of its own")?;
            run("ip", "link set lo up")?;
            iptables(&format!("-N {CHAIN}"))?;
            iptables(&format!("-A INPUT -p tcp -j {CHAIN}"))?;
            iptables(&format!("-A OUTPUT -p tcp -j {CHAIN}"))?;
            *network = Some(File::open("/proc/thread-self/ns/net")?);
        }
        for node in 0..nodes {
            let (host, group) = (Self::host(node), Self::group(node));
            iptables(&format!(
                "-t nat -A POSTROUTING -p tcp -d {NETWORK} -m owner --gid-owner {group} \
                 -j SNAT --to-source {host}"
            ))?;
        }
        Ok(Self { nodes })
    }

    /// The peer address of a node.
    pub(crate) fn host(node: usize) -> Ipv4Addr {
        let [high, low] = u16::try_from(node + 1).unwrap_or(u16::MAX).to_be_bytes();
        Ipv4Addr::new(127, 77, high, low)
    }

    /// The group that a node runs as.
    pub(crate) fn group(node: usize) -> usize {
        60_001 + node
    }

    /// Drops what `from` sends to `to`; not what comes back.
    ///
    /// # Errors
    ///
    /// What iptables says.
    pub fn cut(&self, from: usize, to: usize) -> Result<()> {
        self.begin(&Rule::cut(from, to))
    }

    /// Makes a rule hold.
    ///
    /// # Errors
    ///
    /// What iptables says.
    pub fn begin(&self, rule: &Rule) -> Result<()> {
        iptables(&format!("-A {CHAIN} {}", rule.0))
    }

    /// Ends what [`Self::begin`] began.
    ///
    /// # Errors
    ///
    /// What iptables says: the rule may have been healed.
    pub fn end(&self, rule: &Rule) -> Result<()> {
        iptables(&format!("-D {CHAIN} {}", rule.0))
    }

    /// Drops what `node` sends to any other one.
    ///
    /// # Errors
    ///
    /// What iptables says.
    pub fn mute(&self, node: usize) -> Result<()> {
        self.others(node).try_for_each(|other| self.cut(node, other))
    }

    /// Drops what any other node sends to `node`.
    ///
    /// # Errors
    ///
    /// What iptables says.
    pub fn deafen(&self, node: usize) -> Result<()> {
        self.others(node).try_for_each(|other| self.cut(other, node))
    }

    /// Lets all packets, those of clients as well, queue up for so many kilobits a second; none if
    /// this kernel cannot.
    ///
    /// # Errors
    ///
    /// When it is narrow already.
    pub fn narrow(&self, kbit: u32) -> Result<Option<Narrow>> {
        let queue = format!("tbf rate {kbit}kbit burst 64kbit latency 100ms");
        match run("tc", &format!("qdisc add dev lo root {queue}")) {
            Ok(()) => Ok(Some(Narrow(()))),
            Err(why) if why.to_string().contains("kind is unknown") => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Ends all cuts and all rules.
    ///
    /// # Errors
    ///
    /// What iptables says.
    pub fn heal(&self) -> Result<()> {
        iptables(&format!("-F {CHAIN}"))
    }

    fn others(&self, node: usize) -> impl Iterator<Item = usize> {
        (0..self.nodes).filter(move |other| *other != node)
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        if let Err(error) = run("tc", "qdisc del dev lo root") {
            println!("{error:#}");
        }
    }
}

fn iptables(words: &str) -> Result<()> {
    // Waits for whoever else changes rules at this moment.
    run("iptables", &format!("-w {words}"))
}

fn run(program: &str, words: &str) -> Result<()> {
    let output = Command::new(program)
        .args(words.split_whitespace())
        .output()
        .with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "{program} {words}: {said}");
    Ok(())
}

/// The network of the first test, which later ones of the same file enter.
static NETWORK_OF_ALL: Mutex<Option<File>> = Mutex::new(None);

const CHAIN: &str = "CLUSTER-TESTS";
/// Peer addresses, all of them.
const NETWORK: &str = "127.77.0.0/16";
