//! What goes wrong, and when, as the seed decides.

use std::collections::BTreeSet;
use std::fmt;

use replication::{MemberChange, MemberError};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::host::DiskPace;
use crate::network::{HostId, Weather};
use crate::process::poll_task;
use crate::rng::Draw;

/// Draws one fault after the other, and ends each in its time.
pub struct Faults {
    draw: Draw,
    kinds: Vec<Kind>,
    next_at_us: u64,
    ends: Vec<(u64, End)>,
    removals: Vec<(HostId, Removal)>,
    /// Whose removal may have begun, once.
    removing: BTreeSet<HostId>,
    /// Whose wall clock is wrong.
    hour_off: Option<HostId>,
    /// What was done, for people.
    pub log: Vec<(u64, String)>,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SIGKILL, and started again.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// All processes are killed at once.
    KillAll,
    /// All machines lose power at once.
    PowerLossAll,
    /// The power goes in the middle of a change to the disk.
    TornPowerLoss,
    /// The node comes back with an empty disk.
    Wipe,
    /// Some bits of files are not what was written.
    FlipBit,
    /// One node is cut off, in both directions or one.
    Isolate,
    /// Two nodes cannot hear each other, the others hear both.
    Bridge,
    /// The cluster falls apart in two.
    Split,
    /// A process is stopped and goes on.
    Pause,
    /// A wall clock jumps.
    WallJump,
    /// Syncs take long.
    SlowDisk,
    /// There is no more room.
    FullDisk,
    /// A sync fails.
    SyncFailure,
    /// Links are slow or lose packets.
    Weather,
    /// An operator moves leadership.
    MoveLeader,
    /// An operator removes a member, which ends and comes back as a new one.
    RemoveMember,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Kill,
        Self::PowerLoss,
        Self::KillAll,
        Self::PowerLossAll,
        Self::TornPowerLoss,
        Self::Wipe,
        Self::FlipBit,
        Self::Isolate,
        Self::Bridge,
        Self::Split,
        Self::Pause,
        Self::WallJump,
        Self::SlowDisk,
        Self::FullDisk,
        Self::SyncFailure,
        Self::Weather,
        Self::MoveLeader,
        Self::RemoveMember,
    ];

    fn needs_disk(self) -> bool {
        matches!(
            self,
            Self::TornPowerLoss
                | Self::Wipe
                | Self::FlipBit
                | Self::SlowDisk
                | Self::FullDisk
                | Self::SyncFailure
        )
    }
}

/// An operator's request, and its answer.
type Removal = JoinHandle<Result<Vec<String>, MemberError>>;

#[derive(Debug, Clone, Copy)]
enum End {
    Start(HostId),
    Heal,
    Resume(HostId),
    DiskPace(HostId),
    DiskRoom(HostId),
    /// The power that was to go at some change goes now at the latest.
    PowerGoes(HostId),
    AllPowerGoes,
    Weather,
}

impl Faults {
    /// Some kinds, for one seed: fewer at a time find other things than all at once.
    pub fn new(seed: u64, has_disk: bool) -> Self {
        let mut draw = Draw::new(seed, 0x6661);
        let mut kinds: Vec<_> =
            Kind::ALL.into_iter().filter(|kind| has_disk || !kind.needs_disk()).collect();
        draw.shuffle(&mut kinds);
        let count = usize::try_from(draw.between(2, 6)).unwrap_or(2);
        kinds.truncate(count);
        let next_at_us = draw.between(FIRST_US, 2 * FIRST_US);
        let (ends, removals, removing, hour_off, log) = Default::default();
        Self { draw, kinds, next_at_us, ends, removals, removing, hour_off, log }
    }

    /// The kinds that were drawn.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Does what is due.
    ///
    /// # Errors
    ///
    /// If a process cannot have a runtime.
    pub fn run(&mut self, cluster: &mut Cluster) -> std::io::Result<()> {
        self.end_due(cluster)?;
        let now = cluster.now_us;
        if self.next_at_us <= now {
            self.next_at_us = now + self.draw.between(PAUSE_US / 10, PAUSE_US);
            if let Some(kind) = self.draw.pick(&self.kinds) {
                self.begin(cluster, kind);
            }
        }
        Ok(())
    }

    /// Ends what is due, and begins nothing.
    ///
    /// # Errors
    ///
    /// If a process cannot have a runtime.
    pub fn end_due(&mut self, cluster: &mut Cluster) -> std::io::Result<()> {
        self.end_removals(cluster);
        let now = cluster.now_us;
        while let Some(due) = self.ends.iter().position(|(at, _)| *at <= now) {
            let (_, end) = self.ends.remove(due);
            self.end(cluster, end)?;
        }
        Ok(())
    }

    /// A node has ended because of a fault: it is started again like any other that died.
    pub fn restart_soon(&mut self, cluster: &Cluster, host: HostId) {
        let at = cluster.now_us + self.draw.between(DOWN_US / 20, DOWN_US);
        self.ends.push((at, End::Start(host)));
    }

    /// Ends everything.
    ///
    /// # Errors
    ///
    /// If a process cannot have a runtime.
    pub fn heal(&mut self, cluster: &mut Cluster) -> std::io::Result<()> {
        self.note(cluster, format_args!("heal"));
        for (_, end) in std::mem::take(&mut self.ends) {
            if matches!(end, End::PowerGoes(_)) {
                self.end(cluster, end)?;
            }
        }
        self.ends.clear();
        cluster.network.heal();
        cluster.network.set_weather(CALM);
        for host in 0..cluster.hosts.len() {
            self.end(cluster, End::Resume(host))?;
            self.end(cluster, End::DiskPace(host))?;
            self.end(cluster, End::DiskRoom(host))?;
            cluster.start_host(host)?;
        }
        Ok(())
    }

    fn note(&mut self, cluster: &Cluster, what: fmt::Arguments<'_>) {
        self.log.push((cluster.now_us, what.to_string()));
    }

    fn any_up(&mut self, cluster: &Cluster) -> Option<HostId> {
        let up: Vec<_> =
            cluster.hosts.iter().filter(|host| host.is_up()).map(|host| host.id).collect();
        let leader = cluster.leader().filter(|_| self.draw.once_in(2));
        leader.or_else(|| self.draw.pick(&up))
    }

    fn begin(&mut self, cluster: &mut Cluster, kind: Kind) {
        let Some(host) = self.any_up(cluster) else { return };
        match kind {
            Kind::Kill => self.crash(cluster, &[host], false),
            Kind::PowerLoss => self.crash(cluster, &[host], true),
            Kind::KillAll => self.crash_all(cluster, false),
            Kind::PowerLossAll if self.draw.once_in(2) => self.crash_all(cluster, true),
            Kind::PowerLossAll => self.fail_power(cluster),
            Kind::TornPowerLoss => self.tear(cluster, host),
            Kind::Wipe | Kind::FlipBit => self.damage(cluster, host, kind),
            Kind::Isolate => self.isolate(cluster, host),
            Kind::Bridge => self.bridge(cluster, host),
            Kind::Split => self.split(cluster),
            Kind::Pause => self.pause(cluster, host),
            Kind::WallJump => self.jump(cluster, host),
            Kind::SlowDisk | Kind::FullDisk | Kind::SyncFailure => {
                self.hamper(cluster, host, kind);
            }
            Kind::Weather => self.weather(cluster),
            Kind::MoveLeader => self.move_leader(cluster, host),
            Kind::RemoveMember => self.remove_member(cluster, host),
        }
    }

    fn crash_all(&mut self, cluster: &mut Cluster, power: bool) {
        let all: Vec<_> = (0..cluster.hosts.len()).collect();
        self.crash(cluster, &all, power);
    }

    /// Syncs take long everywhere, and so the power goes in the middle of many.
    fn fail_power(&mut self, cluster: &mut Cluster) {
        self.note(cluster, format_args!("slow disks, and soon a power loss of all"));
        for host in &mut cluster.hosts {
            host.disk = SLOW;
        }
        let at = cluster.now_us + self.draw.between(SLOW.most_us, 3 * SLOW.most_us);
        self.ends.push((at, End::AllPowerGoes));
    }

    fn crash(&mut self, cluster: &mut Cluster, hosts: &[HostId], power: bool) {
        if cluster.forgets(power) && !cluster.may_forget(hosts) {
            return;
        }
        let what = if power { "power loss" } else { "kill" };
        self.note(cluster, format_args!("{what} of {hosts:?}"));
        for id in hosts {
            self.ends.retain(|(_, end)| !matches!(end, End::Start(host) if host == id));
            if cluster.forgets(power) {
                cluster.forget(*id);
                cluster.lose(*id);
            }
            if let Some(host) = cluster.hosts.get_mut(*id) {
                host.crash(power);
            }
            self.restart_soon(cluster, *id);
        }
    }

    fn tear(&mut self, cluster: &mut Cluster, id: HostId) {
        if cluster.forgets(true) && !cluster.may_forget(&[id]) {
            return;
        }
        let changes = self.draw.between(0, 30);
        self.note(cluster, format_args!("power loss of {id} at change {changes}"));
        if cluster.forgets(true) {
            cluster.doom(id);
        }
        cluster.excuse(id, TORN_WITHIN_US + EXCUSE_US);
        if let Some(host) = cluster.hosts.get_mut(id) {
            host.files.lose_power_after(changes);
        }
        self.ends.push((cluster.now_us + TORN_WITHIN_US, End::PowerGoes(id)));
    }

    fn damage(&mut self, cluster: &mut Cluster, id: HostId, kind: Kind) {
        if !cluster.may_forget(&[id]) {
            return;
        }
        cluster.forget(id);
        cluster.excuse(id, 10 * DOWN_US);
        let pick = self.draw.bits();
        let mut damaged = None;
        if let Some(host) = cluster.hosts.get_mut(id) {
            host.crash(false);
            if kind == Kind::Wipe {
                host.files.wipe();
            } else {
                let picks = [pick, pick.rotate_left(21), pick.rotate_left(42)];
                let files: Vec<_> =
                    picks.iter().filter_map(|pick| host.files.flip_bit(*pick)).collect();
                damaged = Some(files.join(", "));
            }
        }
        if kind == Kind::Wipe {
            cluster.lose(id);
        }
        self.note(cluster, format_args!("{kind:?} of {id} {}", damaged.unwrap_or_default()));
        self.restart_soon(cluster, id);
    }

    fn isolate(&mut self, cluster: &Cluster, id: HostId) {
        let (out, heard) = match self.draw.between(0, 2) {
            0 => (true, true),
            1 => (true, false),
            _ => (false, true),
        };
        self.note(cluster, format_args!("cut of {id}, out: {out}, in: {heard}"));
        for other in (0..cluster.hosts.len()).filter(|other| *other != id) {
            if out {
                cluster.network.cut(id, other);
            }
            if heard {
                cluster.network.cut(other, id);
            }
        }
        self.heal_later(cluster);
    }

    fn bridge(&mut self, cluster: &Cluster, id: HostId) {
        let others: Vec<_> = (0..cluster.hosts.len()).filter(|other| *other != id).collect();
        let Some(other) = self.draw.pick(&others) else { return };
        self.note(cluster, format_args!("cut between {id} and {other}"));
        cluster.network.cut(id, other);
        cluster.network.cut(other, id);
        self.heal_later(cluster);
    }

    fn split(&mut self, cluster: &Cluster) {
        let mut all: Vec<_> = (0..cluster.hosts.len()).collect();
        self.draw.shuffle(&mut all);
        let (left, right) = all.split_at(all.len() / 2);
        self.note(cluster, format_args!("split: {left:?} and {right:?}"));
        for one in left {
            for other in right {
                cluster.network.cut(*one, *other);
                cluster.network.cut(*other, *one);
            }
        }
        self.heal_later(cluster);
    }

    fn heal_later(&mut self, cluster: &Cluster) {
        let lasts = self.draw.between(50_000, 3_000_000);
        self.ends.push((cluster.now_us + lasts, End::Heal));
    }

    fn pause(&mut self, cluster: &mut Cluster, id: HostId) {
        let lasts = self.draw.between(20_000, 3_000_000);
        self.note(cluster, format_args!("pause of {id} for {} ms", lasts / 1000));
        if let Some(host) = cluster.hosts.get_mut(id) {
            host.paused = true;
        }
        self.ends.push((cluster.now_us + lasts, End::Resume(id)));
    }

    fn jump(&mut self, cluster: &Cluster, id: HostId) {
        let hour: i64 = 3_600_000;
        let mut by = self.draw.pick(&[-hour, -200, 200, hour]).unwrap_or(hour);
        // One clock that is wrong is borne, not two.
        if hour == by.abs() && *self.hour_off.get_or_insert(id) != id {
            by = by.signum() * 200;
        }
        self.note(cluster, format_args!("wall clock of {id} jumps by {by} ms"));
        if let Some(host) = cluster.hosts.get(id) {
            host.jump_wall(by);
        }
    }

    fn hamper(&mut self, cluster: &mut Cluster, id: HostId, kind: Kind) {
        let until = cluster.now_us + self.draw.between(100_000, 3_000_000);
        self.note(cluster, format_args!("{kind:?} of {id}"));
        if kind != Kind::SlowDisk {
            cluster.excuse(id, 10 * DOWN_US);
        }
        let Some(host) = cluster.hosts.get_mut(id) else { return };
        if kind == Kind::SlowDisk {
            host.disk = SLOW;
            self.ends.push((until, End::DiskPace(id)));
        } else if kind == Kind::FullDisk {
            let room = host.files.largest_dir_len();
            host.files.set_capacity(Some(room));
            self.ends.push((until, End::DiskRoom(id)));
        } else {
            host.files.fail_sync();
        }
    }

    fn weather(&mut self, cluster: &Cluster) {
        let least = self.draw.between(100, 5000);
        let most = least + self.draw.between(0, 30_000);
        let loss_per_mille = self.draw.pick(&[0, 10, 50, 200]).unwrap_or(0);
        self.note(
            cluster,
            format_args!("latency {least}-{most} us, loss {loss_per_mille} per mille"),
        );
        cluster.network.set_weather(Weather { latency_us: (least, most), loss_per_mille });
        let lasts = self.draw.between(500_000, 4_000_000);
        self.ends.push((cluster.now_us + lasts, End::Weather));
    }

    fn move_leader(&mut self, cluster: &Cluster, id: HostId) {
        let Some(host) = cluster.hosts.get(id) else { return };
        if let (Some(process), Some(node)) = (host.process(), host.node()) {
            self.note(cluster, format_args!("{id} is asked to move leadership"));
            let moving = process.spawn(async move { node.move_leader(None).await.is_ok() });
            // Whether it works is not asked: what must hold is asked of everything else.
            drop(moving);
        }
    }

    /// Asks the node of host `asked`.
    fn remove_member(&mut self, cluster: &mut Cluster, asked: HostId) {
        let all: Vec<_> = (0..cluster.hosts.len()).collect();
        let Some(id) = self.draw.pick(&all).filter(|id| cluster.may_forget(&[*id])) else { return };
        let Some(host) = cluster.hosts.get(asked) else { return };
        let (Some(process), Some(node)) = (host.process(), host.node()) else { return };
        let name = format!("n{}", id + 1);
        self.note(cluster, format_args!("{asked} is asked to remove {name}"));
        let change = MemberChange::Remove { name };
        let removal = process.spawn(async move { node.change_members(change, false).await });
        self.removals.extend(removal.map(|removal| (id, removal)));
        cluster.doom(id);
        cluster.may_be_removed(id);
    }

    /// Sees what became of removals.
    fn end_removals(&mut self, cluster: &mut Cluster) {
        let mut log = Vec::new();
        self.removals.retain_mut(|(id, removal)| {
            let Some(result) = poll_task(removal) else { return true };
            log.push((cluster.now_us, format!("removal of n{}: {result:?}", *id + 1)));
            let may_happen = match result {
                // The node that was asked has died.
                None => true,
                Some(result) => matches!(result, Ok(_) | Err(MemberError::Undecided(_))),
            };
            // A second request is refused because the first was not.
            if may_happen {
                self.removing.insert(*id);
            } else if !self.removing.contains(id) {
                cluster.spare(*id);
            }
            false
        });
        self.log.extend(log);
    }

    fn end(&mut self, cluster: &mut Cluster, end: End) -> std::io::Result<()> {
        let now = cluster.now_us;
        match end {
            End::Start(host) => {
                self.note(cluster, format_args!("start of {host}"));
                cluster.start_host(host)?;
            }
            End::Heal => {
                self.note(cluster, format_args!("links healed"));
                cluster.network.heal();
            }
            End::AllPowerGoes => {
                self.crash_all(cluster, true);
                for host in &mut cluster.hosts {
                    host.disk = DiskPace::default();
                }
            }
            End::Weather => cluster.network.set_weather(CALM),
            End::Resume(host) => {
                if let Some(host) = cluster.hosts.get_mut(host).filter(|host| host.paused) {
                    host.resume(now);
                }
            }
            End::DiskPace(host) => {
                if let Some(host) = cluster.hosts.get_mut(host) {
                    host.disk = DiskPace::default();
                }
            }
            End::DiskRoom(host) => {
                if let Some(host) = cluster.hosts.get(host) {
                    host.files.set_capacity(None);
                }
            }
            End::PowerGoes(id) => {
                self.note(cluster, format_args!("the power of {id} is gone"));
                if let Some(host) = cluster.hosts.get_mut(id) {
                    host.crash(true);
                }
                if cluster.forgets(true) {
                    cluster.lose(id);
                }
                self.restart_soon(cluster, id);
            }
        }
        Ok(())
    }
}

/// Of a cluster on one switch.
pub const CALM: Weather = Weather { latency_us: (200, 1500), loss_per_mille: 0 };
/// Of a disk that is about to die, or whose host has many.
const SLOW: DiskPace = DiskPace { least_us: 100_000, most_us: 300_000 };
/// The cluster has formed by then.
const FIRST_US: u64 = 1_000_000;
/// Between two faults, at most.
const PAUSE_US: u64 = 1_500_000;
/// How long a node is down, at most.
const DOWN_US: u64 = 2_000_000;
/// A power loss in the middle of a change is one at this time at the latest.
const TORN_WITHIN_US: u64 = 300_000;
/// After the end of a fault its node may still fall over it.
const EXCUSE_US: u64 = 3_000_000;
