//! The story that memcached's session users have filed for ten years: one node goes down, the
//! session changes, the node comes back, another goes down, and the old session is back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{Client, Cluster, Protocol, StockMemcached, alone, millis, quick};

/// What both the cluster and the control can do.
trait Nodes {
    fn client_port(&self, node: usize) -> u16;
    fn kill(&self, node: usize) -> Result<()>;
    /// Starts a node and waits until it is as good as before.
    fn bring_back(&self, node: usize) -> Result<()>;
}

impl Nodes for Cluster {
    fn client_port(&self, node: usize) -> u16 {
        self.client_port(node)
    }

    fn kill(&self, node: usize) -> Result<()> {
        self.kill(node)
    }

    fn bring_back(&self, node: usize) -> Result<()> {
        self.restart(node)?;
        self.wait_healthy(Duration::from_secs(30)).map(drop)
    }
}

impl Nodes for StockMemcached {
    fn client_port(&self, node: usize) -> u16 {
        self.client_port(node)
    }

    fn kill(&self, node: usize) -> Result<()> {
        self.kill(node)
    }

    fn bring_back(&self, node: usize) -> Result<()> {
        self.restart(node)?;
        self.wait_ready(node)
    }
}

/// A session manager's client: tries its nodes in order, as `memcachedNodes` with failover does.
struct Failover<'a> {
    nodes: &'a dyn Nodes,
    protocol: Protocol,
    order: [usize; 3],
}

impl Failover<'_> {
    fn first_alive(&self) -> Result<Client> {
        let connect = |node: &usize| Client::connect(self.protocol, self.nodes.client_port(*node));
        self.order.iter().find_map(|node| connect(node).ok()).context("no node accepts clients")
    }

    fn write(&self, keys: &[String], version: &str) -> Result<()> {
        let mut client = self.first_alive()?;
        for key in keys {
            client.set(key, FLAGS, EXPTIME, &session(key, version))?;
        }
        Ok(())
    }

    /// How many of the sessions are `version`, read through the first node alive.
    fn count(&self, keys: &[String], version: &str) -> Result<usize> {
        count(&mut self.first_alive()?, keys, version)
    }
}

/// Plays the story with `first` and `second` going down in turn and returns the failover client's
/// count of new sessions at the end, with `second` still down.
fn story(client: &Failover<'_>, keys: &[String]) -> Result<usize> {
    let [first, second, _] = client.order;
    client.write(keys, "old")?;
    ensure!(client.count(keys, "old")? == keys.len(), "not even stored");
    client.nodes.kill(first)?;
    client.write(keys, "new")?;
    client.nodes.bring_back(first)?;
    client.nodes.kill(second)?;
    client.count(keys, "new")
}

/// Method: every ordered pair of nodes in both protocols, on one cluster. At the end of each story
/// every surviving node is asked for every session, and a client that has been connected to the
/// third node all along asks too: its connection must never have noticed.
#[test]
fn the_session_is_the_new_one() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::start(3)?;
    for protocol in [Protocol::Text, Protocol::Binary] {
        for order in ORDERS {
            let started = Instant::now();
            let [_, second, third] = order;
            let mut witness = Client::connect(protocol, cluster.client_port(third))?;
            let keys = keys(protocol, order);
            let client = Failover { nodes: &cluster, protocol, order };
            let name = |node| cluster.name(node);
            let what = format!("{protocol:?} {:?}", order.map(name));

            let new = story(&client, &keys).with_context(|| what.clone())?;
            ensure!(new == keys.len(), "{what}: {new} of {} sessions are new", keys.len());
            let new = count(&mut witness, &keys, "new").with_context(|| what.clone())?;
            ensure!(new == keys.len(), "{what}: {new} are new on the old connection");
            for node in cluster.up() {
                let mut client = Client::connect(protocol, cluster.client_port(node))?;
                let new = count(&mut client, &keys, "new").with_context(|| what.clone())?;
                ensure!(new == keys.len(), "{what}: {new} are new through {}", name(node));
            }
            cluster.bring_back(second)?;
            println!("{what}: {} sessions new, {}", keys.len(), millis(started.elapsed()));
        }
    }
    cluster.finish()
}

/// The control: the same story must go wrong with stock memcached, or it proves nothing.
#[test]
fn stock_memcached_loses_the_session() -> Result<()> {
    let _alone = alone();
    let stock = StockMemcached::start(3)?;
    for protocol in [Protocol::Text, Protocol::Binary] {
        for order in ORDERS {
            let keys = keys(protocol, order);
            let client = Failover { nodes: &stock, protocol, order };
            let new = story(&client, &keys)?;
            println!("memcached {protocol:?} {order:?}: {new} of {} sessions new", keys.len());
            ensure!(new == 0, "the control kept {new} sessions: {protocol:?} {order:?}");
            stock.bring_back(client.order[1])?;
        }
    }
    Ok(())
}

fn keys(protocol: Protocol, order: [usize; 3]) -> Vec<String> {
    let [first, second, _] = order;
    let count = if quick() { 5 } else { 25 };
    (0..count).map(|key| format!("{protocol:?}-{first}{second}-{key}.jvm1")).collect()
}

fn count(client: &mut Client, keys: &[String], version: &str) -> Result<usize> {
    let mut right = 0;
    for key in keys {
        let item = client.get(key)?;
        right += usize::from(
            item.is_some_and(|item| item.flags == FLAGS && item.value == session(key, version)),
        );
    }
    Ok(right)
}

/// 20 KB, the size of a real session, different for each key and version.
fn session(key: &str, version: &str) -> Vec<u8> {
    format!("{key}={version};").into_bytes().into_iter().cycle().take(20_000).collect()
}

/// Who goes down first, who second, who stays.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
/// What memcached-session-manager 1.x stores for a serialised session.
const FLAGS: u32 = 2048;
/// Half an hour, Tomcat's default, and a minute.
const EXPTIME: i32 = 1860;
