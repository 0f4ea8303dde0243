//! Faults of wall clocks. The monotonic ones go on.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use cluster_tests::Rng;

use super::Site;

/// The wall clocks of some nodes, the leader's perhaps among them, jump an hour and back.
pub(super) fn step(site: &mut Site<'_>) -> Result<()> {
    let _timing = site.ground.may_time();
    let nodes = some(site);
    let back = site.rng.below(2) == 0;
    for node in &nodes {
        site.ground.set_clock(*node, HOUR, back)?;
        site.note(Some(*node), if back { "an hour back" } else { "an hour ahead" });
    }
    site.last();
    over(site, &nodes)
}

/// The wall clocks of some nodes jump to and fro.
pub(super) fn strobe(site: &mut Site<'_>) -> Result<()> {
    let _timing = site.ground.may_time();
    let nodes = some(site);
    nodes.iter().for_each(|node| site.note(Some(*node), "to and fro"));
    let began = Instant::now();
    while began.elapsed() < site.lasts {
        for node in &nodes {
            let by = Duration::from_millis(site.rng.below(STROBE_MAX_MS));
            site.ground.set_clock(*node, by, site.rng.below(2) == 0)?;
        }
        thread::sleep(STROBE_PERIOD);
    }
    over(site, &nodes)
}

fn over(site: &Site<'_>, nodes: &[usize]) -> Result<()> {
    nodes.iter().try_for_each(|node| site.ground.set_clock(*node, Duration::ZERO, false))?;
    site.note(None, "over");
    Ok(())
}

/// One node at least.
fn some(site: &mut Site<'_>) -> Vec<usize> {
    let count = site.ground.nodes().len();
    let certain = site.rng.index(count);
    let drawn = |rng: &mut Rng, node| node == certain || rng.below(2) == 0;
    site.ground.nodes().filter(|node| drawn(&mut site.rng, *node)).collect()
}

const HOUR: Duration = Duration::from_secs(3600);
const STROBE_MAX_MS: u64 = 200;
const STROBE_PERIOD: Duration = Duration::from_millis(100);
