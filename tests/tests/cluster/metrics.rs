//! Monitoring that was made for memcached works unchanged: prometheus/memcached_exporter and
//! memcached-tool read a node, and `/metrics` says itself what the exporter would say of it.

mod exporter;
mod scrape;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{Cluster, StockMemcached, Store, TextClient, wait_for};

use self::exporter::Exporter;
use self::scrape::Scrape;

/// Method: each node is asked for something else through one connection, then every node is
/// scraped. What clients asked for is the node's own; items are everybody's; one node leads.
#[test]
fn every_node_shows_its_clients_and_one_that_it_leads() -> Result<()> {
    let cluster = Cluster::start(3)?;
    let mut clients = Vec::new();
    for node in 0..cluster.nodes() {
        let mut client = TextClient::connect(cluster.client_port(node))?;
        ask_for_everything(&mut client, node)?;
        clients.push(client);
    }
    cluster.wait_equal(Duration::from_secs(10))?;
    let leader = cluster.leader()?;
    for (node, client) in clients.iter_mut().enumerate() {
        let stats = client.stats()?;
        let bytes = stats.get("bytes").context("no bytes")?.parse()?;
        let scrape = Scrape::of(cluster.admin_port(node))?;
        let context = || format!("{}\n{}", cluster.name(node), scrape.text);
        check_commands(&scrape, node).with_context(context)?;
        check_items(&scrape, bytes).with_context(context)?;
        check_cluster(&scrape, &cluster, node, leader).with_context(context)?;
    }

    let dead = cluster.up().into_iter().find(|node| *node != leader).context("no follower")?;
    cluster.kill(dead)?;
    let survivor = cluster.up().into_iter().find(|node| *node != leader).context("nobody")?;
    wait_for("the loss to show", Duration::from_secs(10), || {
        for node in [leader, survivor] {
            let scrape = Scrape::of(cluster.admin_port(node))?;
            let peer = format!("raftcached_peer_up{{peer=\"{}\"}}", cluster.name(dead));
            scrape.expect(&[(&peer, 0), ("raftcached_can_lose", 0), ("raftcached_quorum", 1)])?;
        }
        Ok(())
    })?;
    cluster.finish()
}

/// Method: the exporter asks each node, and what it tells Prometheus must be what the node's own
/// `/metrics` says, series by series and in both directions; and no more than it tells of a stock
/// memcached.
#[test]
fn the_exporter_says_the_same() -> Result<()> {
    let program = Exporter::build()?;
    let stock = StockMemcached::start(1)?;
    ask_for_everything(&mut TextClient::connect(stock.client_port(0))?, 0)?;
    let control = Exporter::start(&program, stock.client_port(0))?.scrape()?;

    let cluster = Cluster::start(3)?;
    for node in 0..cluster.nodes() {
        let port = cluster.client_port(node);
        let (exporter, mut client) = (Exporter::start(&program, port)?, TextClient::connect(port)?);
        // Of no item first: there is no class then.
        for _ in 0..2 {
            let said = exporter.scrape().with_context(|| cluster.name(node).to_owned())?;
            let own = Scrape::of(cluster.admin_port(node))?;
            exporter::expect_same(&said, &own)
                .with_context(|| format!("{}\n{}", cluster.name(node), own.text))?;
            let foreign = said.series().find(|series| control.kind(series).is_none());
            ensure!(foreign.is_none(), "the control does not have {foreign:?}");
            ask_for_everything(&mut client, node)?;
            cluster.wait_equal(Duration::from_secs(10))?;
        }
    }
    cluster.finish()
}

/// Every mode of it.
#[test]
fn memcached_tool_reads_a_node() -> Result<()> {
    let cluster = Cluster::start(3)?;
    let port = cluster.client_port(1);
    let mut client = TextClient::connect(port)?;
    ask_for_everything(&mut client, 1)?;
    let shown = tool(port, "stats")?;
    for name in client.stats()?.keys() {
        ensure!(
            shown.lines().any(|line| line.trim_start().starts_with(name)),
            "no {name}: {shown}"
        );
    }
    let shown = tool(port, "settings")?;
    for line in ["maxconns 1024", "maxbytes 67108864", "item_size_max 1048576"] {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        ensure!(shown.lines().any(|shown| words(shown) == words(line)), "no {line}: {shown}");
    }
    let shown = tool(port, "sizes")?;
    ensure!(shown.contains("sizes_status"), "{shown}");
    let shown = tool(port, "display")?;
    let class = shown.lines().nth(1).context("no class is shown")?;
    let words: Vec<_> = class.split_whitespace().collect();
    let items = client.stats()?.get("curr_items").cloned().context("no curr_items")?;
    // Number, size, age, pages, items.
    let wanted = words.first() == Some(&"1") && words.get(4) == Some(&items.as_str());
    ensure!(shown.lines().count() == 2 && wanted, "{shown}");
    let mut client = TextClient::connect(port)?;
    for mode in ["dump", "keys"] {
        let shown = tool(port, mode)?;
        ensure!(shown.contains("hit-1"), "{mode}: {shown}");
    }
    client.set("after", 0, 0, b"x")?;
    cluster.finish()
}

fn tool(port: u16, mode: &str) -> Result<String> {
    let address = format!("127.0.0.1:{port}");
    let output = Command::new("timeout")
        .args(["10", "/usr/share/memcached/scripts/memcached-tool", &address, mode])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "memcached-tool {mode}: {} {text}", output.status);
    Ok(text)
}

/// Each kind of command and how it can end, each kind another number of times; some once more for
/// each number of a node.
fn ask_for_everything(client: &mut TextClient, node: usize) -> Result<()> {
    let key = |name: &str| format!("{name}-{node}");
    let (hit, number, gone) = (key("hit"), key("number"), key("gone"));
    for _ in 0..2 + node {
        client.set(&hit, 0, 0, b"some value")?;
    }
    client.set(&number, 0, 0, b"5")?;
    for _ in 0..4 + node {
        ensure!(client.get(&hit)?.is_some(), "lost");
    }
    for _ in 0..3 {
        ensure!(client.get(&gone)?.is_none(), "found");
    }
    let cas_unique = client.gets(&hit)?.context("lost")?.cas_unique;
    ensure!(client.cas(&hit, b"other", cas_unique)? == Store::Stored, "not stored");
    for _ in 0..2 {
        ensure!(client.cas(&hit, b"late", cas_unique)? == Store::Exists, "stored");
    }
    for _ in 0..3 {
        ensure!(client.cas(&gone, b"none", cas_unique)? == Store::NotFound, "found");
    }
    for _ in 0..2 {
        client.set(&gone, 0, 0, b"for a moment")?;
        ensure!(client.delete(&gone)?, "lost");
    }
    for _ in 0..4 {
        ensure!(!client.delete(&gone)?, "found");
    }
    let lines = [
        (3, format!("incr {number} 1"), ""),
        (2, format!("incr {gone} 1"), "NOT_FOUND"),
        (1, format!("decr {number} 1"), ""),
        (5, format!("decr {gone} 1"), "NOT_FOUND"),
        (2, format!("touch {hit} 0"), "TOUCHED"),
        (1, format!("touch {gone} 0"), "NOT_FOUND"),
    ];
    for (times, line, want) in lines {
        for _ in 0..times {
            client.send(format!("{line}\r\n").as_bytes())?;
            let reply = client.line()?;
            let number = want.is_empty() && reply.parse::<u64>().is_ok();
            ensure!(number || reply == want, "{line}: {reply}");
        }
    }
    Ok(())
}

/// What [`ask_for_everything`] makes of the counters.
fn check_commands(scrape: &Scrape, node: usize) -> Result<()> {
    let node = node as u64;
    let wanted = [
        ("get", "hit", 5 + node),
        ("get", "miss", 3),
        ("set", "hit", 5 + node),
        ("cas", "hit", 1),
        ("cas", "miss", 3),
        ("cas", "badval", 2),
        ("delete", "hit", 2),
        ("delete", "miss", 4),
        ("incr", "hit", 3),
        ("incr", "miss", 2),
        ("decr", "hit", 1),
        ("decr", "miss", 5),
        ("touch", "hit", 2),
        ("touch", "miss", 1),
        ("flush", "hit", 0),
    ];
    for (command, status, times) in wanted {
        let labels = format!("{{command=\"{command}\",status=\"{status}\"}}");
        scrape.expect(&[(&format!("memcached_commands_total{labels}"), times)])?;
    }
    scrape.expect(&[
        ("memcached_up", 1),
        ("memcached_accepting_connections", 1),
        ("memcached_current_connections", 1),
        ("memcached_connections_total", 1),
        ("memcached_connections_rejected_total", 0),
        ("memcached_max_connections", 1024),
        ("raftcached_unavailable_total", 0),
    ])?;
    for moving in ["read_bytes_total", "written_bytes_total", "time_seconds"] {
        ensure!(scrape.value(&format!("memcached_{moving}"))? > 100.0, "{moving}");
    }
    let used = scrape.value("memcached_process_user_cpu_seconds_total")?
        + scrape.value("memcached_process_system_cpu_seconds_total")?;
    ensure!(0.0 < used && used < 600.0, "{used} s of processor time");
    Ok(())
}

/// Two items of each client are left, and stay two whoever asks.
fn check_items(scrape: &Scrape, bytes: u64) -> Result<()> {
    ensure!(0 < bytes, "no bytes");
    scrape.expect(&[
        ("memcached_current_items", 6),
        ("memcached_slab_current_items{slab=\"1\"}", 6),
        ("memcached_current_bytes", bytes),
        ("memcached_limit_bytes", 64 * 1024 * 1024),
        ("memcached_items_evicted_total", 0),
        ("raftcached_evicted_unexpired_total", 0),
    ])
}

fn check_cluster(scrape: &Scrape, cluster: &Cluster, node: usize, leader: usize) -> Result<()> {
    let leads = node == leader;
    scrape.expect(&[
        ("raftcached_is_leader{shard=\"0\"}", u64::from(leads)),
        ("raftcached_serving", 1),
        ("raftcached_quorum", 1),
        ("raftcached_can_lose", 1),
        ("raftcached_voters", 3),
        ("raftcached_diverged{shard=\"0\"}", 0),
        ("raftcached_disk_full", 0),
    ])?;
    let commit = scrape.value("raftcached_commit_index{shard=\"0\"}")?;
    let applied = scrape.value("raftcached_applied_index{shard=\"0\"}")?;
    #[expect(clippy::float_cmp, reason = "whole numbers")]
    let equal = commit == applied;
    ensure!(equal && 50.0 < commit, "committed {commit}, applied {applied}");
    ensure!(1.0 <= scrape.value("raftcached_term{shard=\"0\"}")?, "no term");
    for peer in (0..cluster.nodes()).filter(|peer| *peer != node) {
        let name = cluster.name(peer);
        scrape.expect(&[(&format!("raftcached_peer_up{{peer=\"{name}\"}}"), 1)])?;
        let lag = format!("raftcached_peer_lag_entries{{peer=\"{name}\",shard=\"0\"}}");
        match leads {
            true => scrape.expect(&[(&lag, 0)])?,
            false => ensure!(scrape.value(&lag).is_err(), "a follower knows {lag}"),
        }
    }
    Ok(())
}
