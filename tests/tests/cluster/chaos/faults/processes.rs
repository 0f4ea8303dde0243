//! Faults of processes: killed, ended, paused, and short of something.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::Site;
use crate::chaos::ground::{Shape, Whom};

pub(super) fn kill_leader(site: &mut Site<'_>) -> Result<()> {
    kill(site, Whom::Leader)
}

pub(super) fn kill_follower(site: &mut Site<'_>) -> Result<()> {
    kill(site, Whom::Follower)
}

/// In memory a node loses what it had, and may not be missed before it has it again.
fn kill(site: &mut Site<'_>, whom: Whom) -> Result<()> {
    let in_memory = site.ground.shape == Shape::Memory;
    let losing = in_memory.then(|| site.ground.may_lose());
    let Some(claim) = site.ground.claim(whom, &mut site.rng) else { return site.nobody() };
    site.ground.fleet.kill(claim.node)?;
    site.note(Some(claim.node), "killed");
    site.last();
    site.ground.start(claim.node)?;
    site.note(Some(claim.node), "started");
    if in_memory {
        site.ground.wait_whole()?;
    }
    drop(losing);
    Ok(())
}

pub(super) fn kill_all(site: &mut Site<'_>) -> Result<()> {
    let _timing = site.ground.may_time();
    let _claims = site.ground.claim_all()?;
    // All at once, and only then is anybody waited for.
    site.ground.nodes().try_for_each(|node| site.ground.fleet.signal(node, Signal::SIGKILL))?;
    site.ground.nodes().try_for_each(|node| site.ground.fleet.kill(node))?;
    site.note(None, "killed");
    site.ground.nodes().try_for_each(|node| site.ground.start(node))?;
    site.note(None, "started");
    // Whoever leads first says what time it is.
    site.ground.wait_whole()
}

pub(super) fn rolling_restart(site: &mut Site<'_>) -> Result<()> {
    let in_memory = site.ground.shape == Shape::Memory;
    let _losing = in_memory.then(|| site.ground.may_lose());
    for node in site.ground.nodes() {
        let _claim = site.ground.claim_one(node)?;
        // As an operator does before the next one. A node that has just been started may not know
        // the signal yet, and dies of it.
        site.ground.wait_whole()?;
        site.ground.fleet.signal(node, Signal::SIGTERM)?;
        let ended = site.ground.fleet.wait_exit(node, ENDS_WITHIN)?;
        ensure!(ended.code() == Some(0), "{}: {ended}", site.ground.fleet.name(node));
        site.note(Some(node), "ended");
        site.ground.start(node)?;
        site.note(Some(node), "started");
    }
    site.ground.wait_whole()
}

/// May be refused: then nothing moves.
pub(super) fn move_leader(site: &mut Site<'_>) -> Result<()> {
    for _ in 0..3 {
        let (via, to) =
            (site.rng.index(site.ground.nodes().len()), site.rng.index(site.ground.nodes().len()));
        let said = match site.ground.fleet.move_leader(via, to) {
            Ok(()) => "leads".to_owned(),
            Err(why) => format!("does not: {why:#}"),
        };
        site.note(Some(to), &said);
        thread::sleep(site.lasts / 3);
    }
    Ok(())
}

pub(super) fn pause_leader(site: &mut Site<'_>) -> Result<()> {
    let Some(claim) = site.ground.claim(Whom::Leader, &mut site.rng) else { return site.nobody() };
    site.ground.fleet.signal(claim.node, Signal::SIGSTOP)?;
    site.note(Some(claim.node), "paused");
    site.last();
    site.ground.fleet.signal(claim.node, Signal::SIGCONT)?;
    site.note(Some(claim.node), "goes on");
    Ok(())
}

/// One after the other goes on: for a while there are old leader and new majority.
pub(super) fn pause_followers(site: &mut Site<'_>) -> Result<()> {
    let mut claims = Vec::new();
    while let Some(claim) = site.ground.claim(Whom::Follower, &mut site.rng) {
        site.ground.fleet.signal(claim.node, Signal::SIGSTOP)?;
        site.note(Some(claim.node), "paused");
        claims.push(claim);
        if claims.len() + 1 == site.ground.shape.nodes() {
            break;
        }
    }
    site.last();
    for claim in claims {
        site.ground.fleet.signal(claim.node, Signal::SIGCONT)?;
        site.note(Some(claim.node), "goes on");
        thread::sleep(Duration::from_millis(site.rng.below(200)));
    }
    Ok(())
}

/// Runs for a tenth of the time, as under a quota.
pub(super) fn starve(site: &mut Site<'_>) -> Result<()> {
    let Some(claim) = site.ground.claim(Whom::Anyone, &mut site.rng) else { return site.nobody() };
    site.note(Some(claim.node), "starves");
    let began = Instant::now();
    while began.elapsed() < site.lasts {
        site.ground.fleet.signal(claim.node, Signal::SIGSTOP)?;
        thread::sleep(QUOTA_PERIOD * 9 / 10);
        site.ground.fleet.signal(claim.node, Signal::SIGCONT)?;
        thread::sleep(QUOTA_PERIOD / 10);
    }
    site.note(Some(claim.node), "has enough");
    Ok(())
}

/// No descriptor is left for a new connection, of a client or of a node.
pub(super) fn no_descriptors(site: &mut Site<'_>) -> Result<()> {
    let Some(claim) = site.ground.claim(Whom::Anyone, &mut site.rng) else { return site.nobody() };
    let pid = site.ground.fleet.pid(claim.node)?;
    let before = limit_of(pid)?;
    let in_use = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    prlimit(pid, &format!("{in_use}:"))?;
    site.note(Some(claim.node), &format!("has {in_use} descriptors and no more"));
    site.last();
    prlimit(pid, &format!("{before}:"))?;
    site.note(Some(claim.node), "has as many as before");
    Ok(())
}

/// The soft limit.
fn limit_of(pid: u32) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    Ok(line.and_then(|line| line.split_whitespace().next()).context("no limit")?.to_owned())
}

/// As the node's own group: the limits of another one's processes are for the privileged.
fn prlimit(pid: u32, nofile: &str) -> Result<()> {
    let group = std::fs::metadata(format!("/proc/{pid}"))?.gid();
    let words =
        format!("setpriv --regid {group} --clear-groups prlimit --pid={pid} --nofile={nofile}");
    let mut words = words.split_whitespace();
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    let output = output.context("setpriv")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "prlimit: {said}");
    Ok(())
}

const ENDS_WITHIN: Duration = Duration::from_secs(30);
const QUOTA_PERIOD: Duration = Duration::from_millis(100);
