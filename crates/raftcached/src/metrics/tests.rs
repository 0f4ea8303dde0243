use std::collections::BTreeSet;

use frontend::{Figures, Totals};
use replication::status::{NodeStatus, ReplicaStatus, ShardStatus};

use super::*;

/// A leader with one peer that is behind and one that is down.
fn leader() -> Metrics {
    Metrics {
        name: "n1".to_owned(),
        accepting: true,
        lease_valid: true,
        clients: Figures {
            version: "1.6.27",
            uptime_s: 3600,
            threads: 4,
            connections_max: 1024,
            connections_open: 2,
            accepted_count: 9,
            rejected_count: 1,
            unaccepting_count: 6,
            totals: Totals {
                bytes_read: 1000,
                bytes_written: 2000,
                cas_badval: 3,
                cas_hits: 2,
                cas_misses: 1,
                cmd_flush: 4,
                cmd_meta: 0,
                cmd_get: 30,
                cmd_set: 50,
                cmd_touch: 11,
                conn_yields: 7,
                decr_hits: 12,
                decr_misses: 13,
                delete_hits: 14,
                delete_misses: 15,
                get_hits: 20,
                get_misses: 10,
                incr_hits: 16,
                incr_misses: 17,
                store_no_memory: 18,
                store_too_large: 19,
                touch_hits: 5,
                touch_misses: 6,
                unavailable: 8,
                ..Totals::default()
            },
            ..Figures::default()
        },
        lru_settings: exporter::lru_settings(|name| (name == "lru_crawler").then_some("yes")),
        engine: EngineStats {
            items: 40,
            total_items: 55,
            bytes: 4096,
            memory_limit: 67_108_864,
            evictions: 21,
            evicted_unexpired: 22,
            reclaimed: 23,
            flushed: 24,
            out_of_memory: 25,
            ..EngineStats::default()
        },
        cluster: ClusterStatus {
            verdict: "DEGRADED: n3 down, no more may be lost".to_owned(),
            quorum: true,
            can_lose: 0,
            nodes: vec![node("n1", "leader"), node("n2", "follower"), node("n3", "down")],
            shards: vec![ShardStatus {
                shard: 0,
                term: 7,
                leader: Some("n1".to_owned()),
                commit: 100,
                replicas: vec![replica("n1", 100), replica("n2", 95)],
            }],
        },
        process: Process { unix_s: 1_700_000_000, user_s: 1.25, system_s: 0.5 },
    }
}

fn node(name: &str, state: &str) -> NodeStatus {
    NodeStatus {
        name: name.to_owned(),
        id: "1".to_owned(),
        state: state.to_owned(),
        voter: true,
        version: String::new(),
        client: String::new(),
        peer: String::new(),
        admin: String::new(),
        items: 0,
        bytes: 0,
        serving: state != "down",
        disk_full: false,
    }
}

fn replica(node: &str, applied: u64) -> ReplicaStatus {
    let digest = "00000000000000aa".to_owned();
    ReplicaStatus { node: node.to_owned(), applied, digest, digest_at: 90 }
}

/// The lines of the family `name`, without HELP and TYPE.
fn samples(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = metrics.text().unwrap();
    let of_family = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    text.lines().filter(of_family).map(str::to_owned).collect()
}

#[test]
fn the_whole_text() {
    assert_eq!(leader().text().unwrap(), include_str!("leader.txt"));
}

#[test]
fn every_series_is_there_once_and_has_help_and_type() {
    let text = leader().text().unwrap();
    let mut seen = BTreeSet::new();
    let mut told: Option<(&str, &str)> = None;
    for line in text.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, _] => told = Some((name, "")),
            ["#", "TYPE", name, kind] => {
                assert_eq!(told, Some((*name, "")));
                assert_eq!(name.ends_with("_total"), *kind == "counter", "case: {line}");
                told = Some((name, kind));
            }
            [series, _] | [series, _, ..] => {
                let family = series.split('{').next().unwrap();
                assert_eq!(told.map(|(name, _)| name), Some(family), "case: {line}");
                let series = line.rsplit_once(' ').unwrap().0;
                assert!(seen.insert(series), "twice: {series}");
            }
            _ => panic!("{line:?}"),
        }
    }
}

#[test]
fn a_node_that_does_not_take_clients_is_not_up() {
    let metrics = Metrics { accepting: false, ..leader() };
    assert_eq!(samples(&metrics, "memcached_up"), ["memcached_up 0"]);
    let accepting = samples(&metrics, "memcached_accepting_connections");
    assert_eq!(accepting, ["memcached_accepting_connections 0"]);
}

#[test]
fn an_empty_node_has_no_class() {
    let engine = EngineStats { items: 0, ..leader().engine };
    let text = Metrics { engine, ..leader() }.text().unwrap();
    assert!(!text.contains("memcached_slab"), "{text}");
}

#[test]
fn the_lag_is_known_on_the_leader_alone() {
    let lag = "raftcached_peer_lag_entries";
    let mut metrics = leader();
    assert_eq!(samples(&metrics, lag), [format!("{lag}{{shard=\"0\",peer=\"n2\"}} 5")]);
    metrics.name = "n2".to_owned();
    assert_eq!(samples(&metrics, lag), [""; 0]);
    assert_eq!(samples(&metrics, "raftcached_is_leader"), ["raftcached_is_leader{shard=\"0\"} 0"]);
    let applied = samples(&metrics, "raftcached_applied_index");
    assert_eq!(applied, ["raftcached_applied_index{shard=\"0\"} 95"]);
}

/// Prometheus refuses a whole scrape for one series that is in it twice.
#[test]
fn a_node_that_came_back_is_one_peer() {
    let mut metrics = leader();
    metrics.cluster.nodes.push(node("n3", "learner"));
    metrics.cluster.shards[0].replicas.extend([replica("n3", 60), replica("n3", 80)]);
    let up = "raftcached_peer_up";
    let want = [format!("{up}{{peer=\"n2\"}} 1"), format!("{up}{{peer=\"n3\"}} 1")];
    assert_eq!(samples(&metrics, up), want);
    let lag = "raftcached_peer_lag_entries";
    let want = [
        format!("{lag}{{shard=\"0\",peer=\"n2\"}} 5"),
        format!("{lag}{{shard=\"0\",peer=\"n3\"}} 20"),
    ];
    assert_eq!(samples(&metrics, lag), want);
}

#[test]
fn replicas_that_differ_are_shown() {
    let mut metrics = leader();
    metrics.cluster.shards[0].replicas[1].digest = "00000000000000bb".to_owned();
    assert_eq!(samples(&metrics, "raftcached_diverged"), ["raftcached_diverged{shard=\"0\"} 1"]);
}

/// A `cas` is counted as a set before it is counted as a cas.
#[test]
fn sets_never_go_below_zero() {
    let mut metrics = leader();
    metrics.clients.totals = Totals { cas_hits: 3, cmd_set: 2, ..Totals::default() };
    let commands = samples(&metrics, "memcached_commands_total");
    assert!(commands.iter().any(|line| line.ends_with("command=\"set\",status=\"hit\"} 0")));
}

/// A node whose raft thread has ended knows of nobody.
#[test]
fn a_stopped_node_still_answers() {
    let mut metrics = leader();
    metrics.cluster.nodes.clear();
    metrics.cluster.shards.clear();
    metrics.cluster.quorum = false;
    assert_eq!(samples(&metrics, "raftcached_quorum"), ["raftcached_quorum 0"]);
    assert_eq!(samples(&metrics, "raftcached_serving"), ["raftcached_serving 0"]);
    assert_eq!(samples(&metrics, "raftcached_is_leader"), [""; 0]);
}
