//! Faults of disks, and of what is on them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::Strace;
use nix::sys::signal::Signal;

use super::Site;
use crate::chaos::ground::{Claim, Whom};

/// What is synced is on the disk; the rest is gone.
pub(super) fn power_loss_of_one(site: &mut Site<'_>) -> Result<()> {
    let Some(claim) = site.ground.claim(Whom::Anyone, &mut site.rng) else { return site.nobody() };
    let disk = site.ground.disk(claim.node)?;
    disk.cut()?;
    site.ground.fleet.kill(claim.node)?;
    site.note(Some(claim.node), "without power");
    site.last();
    disk.power_up()?;
    site.ground.start(claim.node)?;
    site.note(Some(claim.node), "started");
    Ok(())
}

pub(super) fn power_loss_of_all(site: &mut Site<'_>) -> Result<()> {
    let _timing = site.ground.may_time();
    let claims = site.ground.claim_all()?;
    lose_all_power(site, &claims)
}

/// As long as a sync takes, much waits for it: whoever answers before it is over is found out.
pub(super) fn power_loss_in_slow_syncs(site: &mut Site<'_>) -> Result<()> {
    let _timing = site.ground.may_time();
    let claims = site.ground.claim_all()?;
    let slow = |claim: &Claim<'_>| {
        Strace::delay_syncs(site.ground.fleet.pid(claim.node)?, SLOW_SYNC, site.ground.dir())
    };
    let _straces = claims.iter().map(slow).collect::<Result<Vec<_>>>()?;
    site.note(None, "syncs are slow");
    site.last();
    lose_all_power(site, &claims)
}

/// Half of the times the disks go first, and nodes may still say what they have not on the disk.
fn lose_all_power(site: &mut Site<'_>, claims: &[Claim<'_>]) -> Result<()> {
    if site.rng.below(2) == 0 {
        site.ground.nodes().try_for_each(|node| site.ground.fleet.signal(node, Signal::SIGKILL))?;
    }
    claims.iter().try_for_each(|claim| site.ground.disk(claim.node)?.cut())?;
    claims.iter().try_for_each(|claim| site.ground.fleet.kill(claim.node))?;
    site.note(None, "without power");
    for claim in claims {
        site.ground.disk(claim.node)?.power_up()?;
        site.ground.start(claim.node)?;
    }
    site.note(None, "started");
    site.ground.wait_whole()
}

pub(super) fn one_full(site: &mut Site<'_>) -> Result<()> {
    let Some(claim) = site.ground.claim(Whom::Anyone, &mut site.rng) else { return site.nobody() };
    let disk = site.ground.disk(claim.node)?;
    disk.fill(Some(SPACE_LEFT))?;
    site.note(Some(claim.node), "full");
    site.last();
    disk.fill(None)?;
    site.note(Some(claim.node), "has space");
    Ok(())
}

pub(super) fn all_full(site: &mut Site<'_>) -> Result<()> {
    let claims = site.ground.claim_all()?;
    for claim in &claims {
        site.ground.disk(claim.node)?.fill(Some(SPACE_LEFT))?;
    }
    site.note(None, "full");
    site.last();
    for claim in &claims {
        site.ground.disk(claim.node)?.fill(None)?;
    }
    site.note(None, "space again");
    Ok(())
}

/// The node must end, and comes back on a good disk.
pub(super) fn sync_fails(site: &mut Site<'_>) -> Result<()> {
    let Some(claim) = site.ground.claim(Whom::Anyone, &mut site.rng) else { return site.nobody() };
    let fleet = &site.ground.fleet;
    let strace = Strace::fail_syncs(fleet.pid(claim.node)?, site.ground.dir())?;
    site.note(Some(claim.node), "cannot sync");
    let ended = fleet.wait_exit(claim.node, ENDS_WITHIN)?;
    drop(strace);
    site.note(Some(claim.node), &format!("ended, {ended}"));
    site.last();
    site.ground.start(claim.node)?;
    site.note(Some(claim.node), "started");
    Ok(())
}

pub(super) fn sync_slow(site: &mut Site<'_>) -> Result<()> {
    let Some(claim) = site.ground.claim(Whom::Anyone, &mut site.rng) else { return site.nobody() };
    let pid = site.ground.fleet.pid(claim.node)?;
    let strace = Strace::delay_syncs(pid, SLOW_SYNC, site.ground.dir())?;
    site.note(Some(claim.node), "syncs slowly");
    site.last();
    drop(strace);
    site.note(Some(claim.node), "syncs fast");
    Ok(())
}

/// A node comes back with nothing: as another replica, which must not vote in the old one's name.
pub(super) fn wipe(site: &mut Site<'_>) -> Result<()> {
    let _losing = site.ground.may_lose();
    let Some(claim) = site.ground.claim(Whom::Anyone, &mut site.rng) else { return site.nobody() };
    site.ground.fleet.kill(claim.node)?;
    let dir = site.ground.data_dir(claim.node);
    fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    site.note(Some(claim.node), "wiped");
    site.last();
    site.ground.start(claim.node)?;
    site.note(Some(claim.node), "started");
    // Another one may only lose what it has when this one has it again.
    site.ground.wait_whole()
}

const ENDS_WITHIN: Duration = Duration::from_secs(30);
const SPACE_LEFT: u64 = 64 * 1024;
const SLOW_SYNC: Duration = Duration::from_millis(200);
