//! Members change while nodes are killed and cut off from each other: nothing is lost, and the
//! cluster never gets stuck between two memberships.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Fleet, Journal, Partings, Partitions, Rng, Roamer, Said, TextClient, Violations, count, http,
    seed, wait_for,
};

/// What the operator wants.
#[derive(Debug, Clone, Copy)]
enum Change {
    Add { new: usize },
    Remove { old: usize },
    Replace { old: usize, new: usize },
}

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL; started again a little later.
    Kill,
    /// Cut off from all others in both directions.
    Cut,
    /// Cut off in one direction: it hears the others.
    Mute,
    /// Cut off in the other direction: it is heard.
    Deafen,
}

/// Whom it happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Leader,
    Follower,
    Newcomer,
}

/// A cluster under chaos.
struct Chaos<'a> {
    fleet: &'a Fleet,
    partitions: &'a Partitions,
    /// Nodes have data directories.
    disks: bool,
    members: BTreeSet<usize>,
    rng: Rng,
    /// How often each node was started blank: each time in a new directory, which stays its own.
    blanks: [usize; POOL],
}

/// Method: open-loop clients that go wherever they are served. In each round a change is asked of
/// a random node and at a random moment of it one node, the leader for the most part, is killed or
/// cut off. When that is over, the change must be done or not done in the eyes of all members,
/// another one must work, everything acknowledged must be there and all digests must be equal. Add,
/// remove and replace meet a killed leader in every run.
#[test]
fn changes_of_members_survive_kills_and_partitions() -> Result<()> {
    let partitions = match Partitions::prepare(POOL) {
        Ok(partitions) => partitions,
        Err(why) => {
            println!("\nSKIPPED, NOTHING WAS PROVED: no partitions here: {why:#}");
            return Ok(());
        }
    };
    let mut rng = Rng::new(seed());
    for disks in [false, true] {
        let fleet = Fleet::apart(POOL)?;
        let members = (0..MEMBERS).collect();
        let rng = Rng::new(rng.bits());
        let mut chaos = Chaos {
            fleet: &fleet,
            partitions: &partitions,
            disks,
            members,
            rng,
            blanks: [0; POOL],
        };
        chaos.form()?;
        let (journal, partings) = (Journal::default(), Partings::default());
        for round in 0..count("ROUNDS", 6, 3) {
            let drawn = chaos.draw(round)?;
            println!("\n==== disks {disks}, round {round}: {drawn:?}");
            chaos
                .under_load(&format!("r{round}"), &journal, &partings, drawn)
                .with_context(|| format!("disks {disks}, round {round}: {drawn:?}"))?;
        }
        println!(
            "disks {disks}: acknowledged {}, unknown {}, connections failed {}, closed {}",
            journal.acknowledged(),
            journal.unknown(),
            partings.failed(),
            partings.closed()
        );
        drop(chaos);
        fleet.finish()?;
    }
    Ok(())
}

impl Chaos<'_> {
    fn form(&mut self) -> Result<()> {
        for node in self.members.clone() {
            let options = self.options(node);
            self.fleet.start(node, &format!("{} {options}", self.fleet.join(MEMBERS)))?;
        }
        self.fleet.wait_members(&self.listed(), SOON)
    }

    /// The change and the fault of a round.
    fn draw(&mut self, round: u64) -> Result<(Change, Victim, Fault)> {
        let kind = if round < 3 { round } else { self.rng.below(3) };
        let old = self.pick_member();
        let new = (0..POOL).find(|node| !self.members.contains(node));
        let change = match (kind, new) {
            (0, Some(new)) => Change::Add { new },
            (2, Some(new)) => Change::Replace { old, new },
            _ => Change::Remove { old },
        };
        if round < 3 {
            return Ok((change, Victim::Leader, Fault::Kill));
        }
        let newcomer = !matches!(change, Change::Remove { .. });
        let victim = match self.rng.below(if newcomer { 6 } else { 5 }) {
            0..3 => Victim::Leader,
            3..5 => Victim::Follower,
            _ => Victim::Newcomer,
        };
        let fault = match self.rng.below(5) {
            0 | 1 => Fault::Kill,
            2 => Fault::Cut,
            3 => Fault::Mute,
            _ => Fault::Deafen,
        };
        Ok((change, victim, fault))
    }

    fn under_load(
        &mut self,
        prefix: &str,
        journal: &Journal,
        partings: &Partings,
        drawn: (Change, Victim, Fault),
    ) -> Result<()> {
        let violations = Violations::default();
        let ports: Vec<_> = (0..POOL).map(|node| self.fleet.client_port(node)).collect();
        let names: Vec<_> = (0..POOL).map(|client| format!("{prefix}-c{client}")).collect();
        let (stop, forgiving) = (AtomicBool::new(false), AtomicBool::new(true));
        let done = thread::scope(|scope| {
            for (home, name) in names.iter().enumerate() {
                let (ports, stop, violations) = (&ports, &stop, &violations);
                let forgiving = &forgiving;
                let period = PERIOD;
                let roamer =
                    Roamer { name, home, ports, period, forgiving, journal, partings, violations };
                scope.spawn(move || roamer.run(stop));
            }
            let done = wait_more(journal).and_then(|()| self.round(drawn, journal));
            stop.store(true, Ordering::SeqCst);
            done
        });
        violations.check()?;
        done?;
        self.fleet.wait_equal(&self.listed(), SOON)?;
        for node in &self.members {
            let mut client = TextClient::connect(self.fleet.client_port(*node))?;
            journal.verify(&mut client).with_context(|| self.fleet.name(*node).to_owned())?;
        }
        Ok(())
    }

    fn round(&mut self, drawn: (Change, Victim, Fault), journal: &Journal) -> Result<()> {
        let (change, victim, fault) = drawn;
        let before = self.members.clone();
        let (words, after) = self.prepare(change)?;
        let via = self.pick_member();
        let moment = Duration::from_millis(self.rng.below(MOMENT_MAX_MS));
        let lasts = Duration::from_millis(1000 + self.rng.below(2000));
        let fleet = self.fleet;
        let (victim, said) = thread::scope(|scope| {
            let tool = scope.spawn(move || fleet.member(via, &format!("{words} --timeout 8")));
            // No condition to wait for: the fault is to meet the change anywhere on its way.
            thread::sleep(moment);
            let victim = self.inflict(change, victim, fault, lasts);
            (victim, tool.join())
        });
        let victim = victim?;
        let said: Said = said.ok().context("the tool's thread")??;
        println!("{} after {moment:?}, for {lasts:?}", self.fleet.name(victim));

        let mut outcomes = vec![before.clone(), after];
        if fault == Fault::Kill {
            self.start_again(victim, change)?;
            if !self.disks {
                // A node that has lost its memory asks to be taken in, whatever was decided.
                outcomes.push(outcomes.iter().flatten().copied().collect());
            }
        }
        self.settle(&outcomes, victim).with_context(|| format!("the tool said {}", said.text))?;
        self.give_up_newcomer(change, &outcomes, victim)?;
        self.clear_away()?;
        wait_more(journal)?;
        self.change_once_more()
    }

    /// Starts a node that is to come and says what the operator types, and who the members are then.
    fn prepare(&mut self, change: Change) -> Result<(String, BTreeSet<usize>)> {
        let mut after = self.members.clone();
        let name = |node| self.fleet.name(node);
        let words = match change {
            Change::Add { new } => format!("add {} --peer {}", name(new), self.fleet.peer(new)),
            Change::Remove { old } => format!("remove {}", name(old)),
            Change::Replace { old, new } => {
                format!("replace {} {} --peer {}", name(old), name(new), self.fleet.peer(new))
            }
        };
        if let Change::Remove { old } | Change::Replace { old, .. } = change {
            after.remove(&old);
        }
        if let Change::Add { new } | Change::Replace { new, .. } = change {
            after.insert(new);
            if let Some(blanks) = self.blanks.get_mut(new) {
                *blanks += 1;
            }
            let options = self.options(new);
            self.fleet.start(new, &format!("--bootstrap-expect 0 {options}"))?;
            wait_for("the node that waits", SOON, || {
                let live = http::get(self.fleet.admin_port(new), "/livez")?;
                ensure!(live.code == 200, "{}", live.code);
                Ok(())
            })?;
        }
        Ok((words, after))
    }

    /// Lets a fault happen from the beginning to the end, but for the start of a killed node.
    fn inflict(
        &mut self,
        change: Change,
        victim: Victim,
        fault: Fault,
        lasts: Duration,
    ) -> Result<usize> {
        let leader = self.fleet.leader(self.pick_member())?;
        let victim = match (victim, change) {
            (Victim::Newcomer, Change::Add { new } | Change::Replace { new, .. }) => new,
            (Victim::Follower, _) => {
                let others: Vec<_> = self.members.iter().filter(|node| **node != leader).collect();
                **others.get(self.rng.index(others.len())).context("a follower")?
            }
            (Victim::Leader | Victim::Newcomer, _) => leader,
        };
        match fault {
            Fault::Kill => {
                // It may have been removed by now, and have ended.
                let _ = self.fleet.kill(victim);
                return Ok(victim);
            }
            Fault::Cut => {
                self.partitions.mute(victim)?;
                self.partitions.deafen(victim)?;
            }
            Fault::Mute => self.partitions.mute(victim)?,
            Fault::Deafen => self.partitions.deafen(victim)?,
        }
        thread::sleep(lasts);
        self.partitions.heal()?;
        Ok(victim)
    }

    /// Starts a killed node as its operator would: unless it was to go, and has gone.
    fn start_again(&mut self, victim: usize, change: Change) -> Result<()> {
        let to_go = match change {
            Change::Remove { old } | Change::Replace { old, .. } => old == victim,
            Change::Add { .. } => false,
        };
        if to_go && !self.disks && !self.seen_members(victim)?.contains(&victim) {
            return Ok(());
        }
        let options = self.options(victim);
        let join = self.fleet.join(POOL);
        self.fleet.start(victim, &format!("--bootstrap-expect 0 {join} {options}"))
    }

    /// The members in the eyes of a node that leads or follows.
    fn seen_members(&self, not: usize) -> Result<BTreeSet<usize>> {
        wait_for("a node that knows the members", SOON, || {
            let mut up = (0..POOL).filter(|node| *node != not && self.fleet.is_up(*node));
            let seen = up.find_map(|node| {
                self.fleet.leader(node).ok()?;
                self.fleet.members(node).ok()
            });
            seen.context("nobody")
        })
    }

    /// Waits until the members are one of `outcomes` in the eyes of all of them.
    fn settle(&mut self, outcomes: &[BTreeSet<usize>], victim: usize) -> Result<()> {
        self.members = wait_for("done or not done", SOON, || {
            let mut refused = String::new();
            for outcome in outcomes {
                let nodes: Vec<_> = outcome.iter().copied().collect();
                match self.fleet.wait_members(&nodes, Duration::ZERO) {
                    Ok(()) => return Ok(outcome.clone()),
                    Err(why) => refused += &format!("\n{outcome:?}: {why:#}"),
                }
            }
            anyhow::bail!("{} was the victim{refused}", self.fleet.name(victim))
        })?;
        println!("the members are {:?}", self.members);
        Ok(())
    }

    /// A newcomer that was not taken in may still be asking for it: the operator ends it, and has
    /// the members forget it if they have just taken it in.
    fn give_up_newcomer(
        &mut self,
        change: Change,
        outcomes: &[BTreeSet<usize>],
        victim: usize,
    ) -> Result<()> {
        let (Change::Add { new } | Change::Replace { new, .. }) = change else { return Ok(()) };
        if self.members.contains(&new) {
            return Ok(());
        }
        self.fleet.kill(new)?;
        let via = self.pick_member();
        let name = self.fleet.name(new);
        let said = self.fleet.member(via, &format!("remove {name} --timeout 30"))?;
        said.check(0, "OK: ").or_else(|_| said.check(4, "there is no voter called"))?;
        let without = |outcome: &BTreeSet<usize>| {
            outcome.iter().copied().filter(|node| *node != new).collect::<BTreeSet<_>>()
        };
        self.settle(&outcomes.iter().map(without).collect::<Vec<_>>(), victim)
    }

    /// Whoever was removed ends by itself.
    fn clear_away(&self) -> Result<()> {
        for node in (0..POOL).filter(|node| !self.members.contains(node)) {
            if self.fleet.is_up(node) {
                let ended = self.fleet.wait_exit(node, SOON)?;
                ensure!(ended.code() == Some(0), "{}: {ended}", self.fleet.name(node));
            }
        }
        Ok(())
    }

    /// Back to as many members as there were: one more, one less, or another one.
    fn change_once_more(&mut self) -> Result<()> {
        let old = self.pick_member();
        let new = (0..POOL).find(|node| !self.members.contains(node));
        let change = match (new, self.members.len()) {
            (Some(new), 0..MEMBERS) => Change::Add { new },
            (Some(new), MEMBERS) => Change::Replace { old, new },
            _ => Change::Remove { old },
        };
        let (words, after) = self.prepare(change)?;
        // A node that is removed ends, and could not tell how it went on.
        let via = *self.members.intersection(&after).next().context("somebody stays")?;
        // Refused while the newcomer is not up yet, or the leader's connection to its address is
        // one that a cut has left half made; then nothing was done.
        let change = || {
            let said = self.fleet.member(via, &format!("{words} --timeout 30"))?;
            said.check(0, "OK: ").context("nothing is wrong any more")
        };
        wait_for("a change", SOON, change)?;
        self.members = after;
        self.fleet.wait_members(&self.listed(), SOON)?;
        self.clear_away()
    }

    fn options(&self, node: usize) -> String {
        if !self.disks {
            return String::new();
        }
        let blanks = self.blanks.get(node).copied().unwrap_or_default();
        let dir = self.fleet.dir().join(format!("{}-{blanks}", self.fleet.name(node)));
        format!("--data-dir {} --durability os", dir.display())
    }

    fn listed(&self) -> Vec<usize> {
        self.members.iter().copied().collect()
    }

    fn pick_member(&mut self) -> usize {
        let members = self.listed();
        members.get(self.rng.index(members.len())).copied().unwrap_or_default()
    }
}

fn wait_more(journal: &Journal) -> Result<()> {
    let wanted = journal.acknowledged() + 100;
    wait_for("acknowledged writes", SOON, || {
        let have = journal.acknowledged();
        ensure!(wanted <= have, "{have} of {wanted}");
        Ok(())
    })
}

/// At the beginning of a round: three are left when one is removed, so that one may be killed.
const MEMBERS: usize = 4;
/// Nodes in all, members or not; as many clients.
const POOL: usize = 5;
/// Of one client.
const PERIOD: Duration = Duration::from_millis(10);
/// A change is done well before this long.
const MOMENT_MAX_MS: u64 = 150;
const SOON: Duration = Duration::from_secs(30);
