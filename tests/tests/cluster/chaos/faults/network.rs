//! Faults of the network between nodes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use cluster_tests::Rule;

use super::Site;

/// With one node out of reach, or half of the others: fewer than a majority beside the leader.
pub(super) fn leader_in_minority(site: &mut Site<'_>) -> Result<()> {
    let (leader, others) = leader_first(site);
    let with = (others.len() - 1) / 2;
    let (beside, beyond) = others.split_at(with);
    let beside: Vec<_> = beside.iter().copied().chain([leader]).collect();
    apart(site, &beside, beyond)
}

pub(super) fn leader_in_majority(site: &mut Site<'_>) -> Result<()> {
    let (leader, others) = leader_first(site);
    let with = others.len() / 2;
    let (beside, beyond) = others.split_at(with);
    let beside: Vec<_> = beside.iter().copied().chain([leader]).collect();
    apart(site, &beside, beyond)
}

pub(super) fn mute_leader(site: &mut Site<'_>) -> Result<()> {
    let (leader, others) = leader_first(site);
    let rules = others.iter().map(|other| Rule::cut(leader, *other)).collect::<Vec<_>>();
    under(site, &rules, &format!("n{} is not heard", leader + 1))
}

pub(super) fn deafen_leader(site: &mut Site<'_>) -> Result<()> {
    let (leader, others) = leader_first(site);
    let rules = others.iter().map(|other| Rule::cut(*other, leader)).collect::<Vec<_>>();
    under(site, &rules, &format!("n{} hears nobody", leader + 1))
}

/// Two nodes, the leader mostly one of them, do not see each other, and the others see both.
pub(super) fn bridge(site: &mut Site<'_>) -> Result<()> {
    let (leader, others) = leader_first(site);
    let Some(other) = others.first() else { return site.nobody() };
    apart(site, &[leader], &[*other])
}

/// Two and two, and one that sees all.
pub(super) fn bridge_of_halves(site: &mut Site<'_>) -> Result<()> {
    let (leader, others) = leader_first(site);
    let [second, third, fourth, ..] = others.as_slice() else { return site.nobody() };
    apart(site, &[leader, *second], &[*third, *fourth])
}

pub(super) fn some_loss(site: &mut Site<'_>) -> Result<()> {
    under(site, &[Rule::lose(5)], "begins")
}

pub(super) fn much_loss(site: &mut Site<'_>) -> Result<()> {
    under(site, &[Rule::lose(20)], "begins")
}

/// Every 200 ms all connections of a node break, or can be made again.
pub(super) fn resets(site: &mut Site<'_>) -> Result<()> {
    let node = site.rng.index(site.ground.nodes().len());
    let rule = Rule::reset(node);
    site.note(Some(node), "is reset");
    let began = Instant::now();
    while began.elapsed() < site.lasts {
        site.ground.partitions.begin(&rule)?;
        thread::sleep(FLAP);
        site.ground.partitions.end(&rule)?;
        thread::sleep(FLAP);
    }
    site.note(Some(node), "is left alone");
    Ok(())
}

/// Whatever clients send to a node resets their connections; the node does not know.
pub(super) fn reset_clients(site: &mut Site<'_>) -> Result<()> {
    let node = site.rng.index(site.ground.nodes().len());
    let rule = Rule::reset_clients(site.ground.fleet.client_port(node));
    under(site, &[rule], &format!("of n{}", node + 1))
}

/// Whatever clients send to a node, or it to them, is dropped.
pub(super) fn cut_clients(site: &mut Site<'_>) -> Result<()> {
    let node = site.rng.index(site.ground.nodes().len());
    let rules = Rule::cut_clients(site.ground.fleet.client_port(node));
    under(site, &rules, &format!("of n{}", node + 1))
}

/// All packets queue up for a narrow way, and some find no room.
pub(super) fn slow(site: &mut Site<'_>) -> Result<()> {
    let Some(_narrow) = site.ground.partitions.narrow(NARROW_KBIT)? else {
        site.note(None, "not with this kernel");
        return Ok(());
    };
    site.note(None, "begins");
    site.last();
    site.note(None, "over");
    Ok(())
}

/// The leader, or anybody if none is known, and the others in some order.
fn leader_first(site: &mut Site<'_>) -> (usize, Vec<usize>) {
    let count = site.ground.nodes().len();
    let leader = site.ground.leader().unwrap_or_else(|| site.rng.index(count));
    let turn = site.rng.index(count);
    let others = (0..count).map(|node| (node + turn) % count).filter(|node| *node != leader);
    (leader, others.collect())
}

/// No node of the one side hears one of the other.
fn apart(site: &Site<'_>, one: &[usize], other: &[usize]) -> Result<()> {
    let pairs = one.iter().flat_map(|from| other.iter().map(move |to| (*from, *to)));
    let rules: Vec<_> =
        pairs.flat_map(|(from, to)| [Rule::cut(from, to), Rule::cut(to, from)]).collect();
    let names = |nodes: &[usize]| {
        let names: Vec<_> = nodes.iter().map(|node| format!("n{}", node + 1)).collect();
        names.join(",")
    };
    under(site, &rules, &format!("{} | {}", names(one), names(other)))
}

fn under(site: &Site<'_>, rules: &[Rule], what: &str) -> Result<()> {
    rules.iter().try_for_each(|rule| site.ground.partitions.begin(rule))?;
    site.note(None, what);
    site.last();
    rules.iter().try_for_each(|rule| site.ground.partitions.end(rule))?;
    site.note(None, "over");
    Ok(())
}

/// Less than the load needs.
const NARROW_KBIT: u32 = 3000;
const FLAP: Duration = Duration::from_millis(200);
