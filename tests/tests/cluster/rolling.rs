//! Nodes are ended and started again one after the other, as for an upgrade: clients that connect
//! elsewhere when their connection is closed see no error and a short pause.

use std::iter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Cluster, ClusterOptions, Durability, Figures, Journal, Partings, Roamer, TextClient,
    Undisturbed, Violations, alone, binary, count, previous_binary, wait_for,
};
use nix::sys::signal::Signal;

#[test]
fn a_rolling_restart_goes_unnoticed_with_disks() -> Result<()> {
    let same = binary()?;
    roll(Some(Durability::Fsync), &same, &rounds(|_| same.clone()))
}

/// Each restart is then a new replica, which takes its predecessor's vote before it is ready.
#[test]
fn a_rolling_restart_goes_unnoticed_in_memory() -> Result<()> {
    let same = binary()?;
    roll(None, &same, &rounds(|_| same.clone()))
}

/// Method: the previous version of the program begins; it is replaced node by node by this one,
/// then this one by the previous one. Data directories stay.
#[test]
fn a_rolling_upgrade_and_downgrade_goes_unnoticed() -> Result<()> {
    let old = match previous_binary() {
        Ok(old) => old,
        Err(why) => {
            println!("\nSKIPPED, NOTHING WAS PROVED: no previous version here: {why:#}");
            return Ok(());
        }
    };
    let new = binary()?;
    let both_ways = [new, old.clone()];
    roll(Some(Durability::Fsync), &old, &both_ways)
}

fn rounds(binary: impl Fn(u64) -> PathBuf) -> Vec<PathBuf> {
    (0..count("ROUNDS", 3, 1)).map(binary).collect()
}

/// Method: two clients at home on each node, with open-loop sets and gets. In each round every
/// node in turn is told to end (SIGTERM) and started as the round's binary; the next one follows
/// as soon as it says that it is ready and some requests have been answered. Everything that is
/// not a good answer in good order fails the test; at the end every write is read everywhere.
fn roll(data: Option<Durability>, first: &PathBuf, rounds: &[PathBuf]) -> Result<()> {
    let _alone = alone();
    let tested = &binary()?;
    let binary = Some(first.to_owned());
    let cluster = Cluster::start_with(ClusterOptions { data, binary, ..Default::default() })?;
    let (journal, partings) = (Journal::default(), Partings::default());
    let violations = Violations::default();
    let ports: Vec<_> = (0..cluster.nodes()).map(|node| cluster.client_port(node)).collect();
    let names: Vec<_> = (0..CLIENTS).map(|client| format!("c{client}")).collect();
    let (stop, forgiving) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut pauses = Figures::default();
    // While no time was stolen.
    let (mut closed, mut crossed) = (0, 0);
    let rolled = thread::scope(|scope| {
        for (client, name) in names.iter().enumerate() {
            let roamer = Roamer {
                name,
                home: client % ports.len(),
                ports: &ports,
                period: PERIOD,
                forgiving: &forgiving,
                journal: &journal,
                partings: &partings,
                violations: &violations,
            };
            let stop = &stop;
            scope.spawn(move || roamer.run(stop));
        }
        let rolled = wait_more(&journal, &violations).and_then(|()| {
            let runs = iter::once(first).chain(rounds);
            runs.zip(rounds).try_for_each(|(runs, binary)| {
                (0..cluster.nodes()).try_for_each(|node| {
                    let steady = Undisturbed::now();
                    let before = (partings.closed(), partings.crossed());
                    journal.take_longest();
                    // How the previous version ends is not this one's doing.
                    forgiving.store(*runs != *tested, Ordering::SeqCst);
                    replace(&cluster, node, binary)?;
                    wait_more(&journal, &violations)?;
                    forgiving.store(false, Ordering::SeqCst);
                    pauses.push_undisturbed(journal.take_longest(), steady);
                    // A client whose processor is taken asks long after it has looked.
                    if steady.holds() {
                        closed += partings.closed() - before.0;
                        crossed += partings.crossed() - before.1;
                    }
                    Ok(())
                })
            })
        });
        stop.store(true, Ordering::SeqCst);
        rolled
    });
    violations.check()?;
    rolled?;
    cluster.wait_equal(SOON)?;
    for port in &ports {
        journal.verify(&mut TextClient::connect(*port)?)?;
    }
    println!("{data:?}: longest pause of each restart: {pauses}");
    println!(
        "acknowledged: {}, {} closes, {} crossed, {crossed} of {closed} in calm",
        journal.acknowledged(),
        partings.closed(),
        partings.crossed(),
    );
    println!("not in good order: {} ends of the previous version", partings.failed());
    let ended = partings.closed() + partings.failed();
    ensure!(pauses.attempts() as u64 <= ended, "clients were not at every node");
    ensure!(crossed <= 2.max(closed / 10), "{crossed} of {closed} closes crossed a request");
    pauses.judge(100, PAUSE_MAX)?;
    cluster.finish()
}

fn replace(cluster: &Cluster, node: usize, binary: &Path) -> Result<()> {
    cluster.signal(node, Signal::SIGTERM)?;
    let ended = cluster.wait_exit(node, SOON)?;
    ensure!(ended.code() == Some(0), "{}: {ended}", cluster.name(node));
    cluster.restart_as(node, binary)?;
    cluster.wait_ready(node, SOON)
}

/// Some requests through every node, or a broken promise.
fn wait_more(journal: &Journal, violations: &Violations) -> Result<()> {
    let wanted = journal.acknowledged() + 200;
    wait_for("acknowledged writes", SOON, || {
        let have = journal.acknowledged();
        ensure!(wanted <= have || !violations.none(), "{have} of {wanted}");
        Ok(())
    })?;
    violations.check().context("while a node was replaced")
}

/// Two for each node.
const CLIENTS: usize = 6;
/// Of one client.
const PERIOD: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(30);
