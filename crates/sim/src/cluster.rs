//! All hosts, and what may be done to them without breaking the promise by design.

use std::collections::BTreeSet;

use replication::{Durability, View};

use crate::host::{Host, HostConfig};
use crate::network::{HostId, Network};
use crate::rng::Draw;

/// The hosts of a cluster and the network between them.
pub struct Cluster {
    /// By number.
    pub hosts: Vec<Host>,
    /// Between them.
    pub network: Network,
    /// What nodes are told.
    pub config: HostConfig,
    /// Microseconds since the run began.
    pub now_us: u64,
    /// Hosts whose replica has lost what it had acknowledged and is not yet replaced.
    forgotten: BTreeSet<HostId>,
    /// Hosts that are about to forget.
    doomed: BTreeSet<HostId>,
    /// Of them, those that nobody has been told of.
    lost: Vec<HostId>,
    /// Hosts whose node an operator may have removed.
    removed: BTreeSet<HostId>,
    /// Hosts whose node may end by itself, and until when.
    excused: Vec<Option<u64>>,
    draw: Draw,
}

impl Cluster {
    /// Switches all hosts on.
    ///
    /// # Errors
    ///
    /// If a process cannot have a runtime.
    pub fn start(seed: u64, config: HostConfig) -> std::io::Result<Self> {
        let network = Network::new(seed ^ 0x006e_6574, config.founders);
        let mut draw = Draw::new(seed, 0x636c);
        let mut hosts: Vec<_> =
            (0..config.founders).map(|id| Host::new(id, draw.bits(), &network)).collect();
        for host in &mut hosts {
            host.start(&config, 0, false)?;
        }
        let excused = vec![None; hosts.len()];
        let (forgotten, doomed, removed) = Default::default();
        let (now_us, lost) = (0, Vec::new());
        Ok(Self { hosts, network, config, now_us, forgotten, doomed, lost, removed, excused, draw })
    }

    /// One step of time for everybody, in an order that is drawn.
    pub fn tick(&mut self) {
        self.now_us += TICK_US;
        self.network.advance(self.now_us);
        let mut order: Vec<_> = (0..self.hosts.len()).collect();
        self.draw.shuffle(&mut order);
        for host in order {
            if let Some(host) = self.hosts.get_mut(host) {
                host.run(self.now_us, TICK_US);
            }
        }
    }

    /// What each node believes that runs.
    pub fn views(&self) -> Vec<(HostId, View)> {
        let view = |host: &Host| Some((host.id, host.node()?.view()));
        self.hosts.iter().filter_map(view).collect()
    }

    /// Notes which replicas have been replaced or have come back whole.
    pub fn remember(&mut self) {
        let (hosts, doomed) = (&self.hosts, &self.doomed);
        self.forgotten.retain(|host| {
            if doomed.contains(host) {
                return true;
            }
            let view = hosts.get(*host).and_then(Host::node).map(|node| node.view());
            !view.is_some_and(|view| {
                view.serving && view.settled && view.voters.contains(&view.replica)
            })
        });
    }

    /// Whether `hosts` may lose what they hold: a minority at most has then.
    pub fn may_forget(&self, hosts: &[HostId]) -> bool {
        let lost: BTreeSet<_> = self.forgotten.iter().chain(hosts).collect();
        lost.len() * 2 < self.config.founders
    }

    /// Notes that a host may have lost what its replica held, or is about to.
    pub fn forget(&mut self, host: HostId) {
        self.forgotten.insert(host);
    }

    /// Notes that a host will lose what its replica holds, until it does.
    pub fn doom(&mut self, host: HostId) {
        self.forgotten.insert(host);
        self.doomed.insert(host);
    }

    /// Notes that what the host's replica held is gone: its id must not come back.
    pub fn lose(&mut self, host: HostId) {
        self.doomed.remove(&host);
        self.lost.push(host);
    }

    /// What a host was doomed to will not happen.
    pub fn spare(&mut self, host: HostId) {
        self.doomed.remove(&host);
    }

    /// From now on the node of `host` may end as one that was removed.
    pub fn may_be_removed(&mut self, host: HostId) {
        self.removed.insert(host);
    }

    /// Whether the node of `host` may have ended as one that was removed, once.
    pub fn take_removed(&mut self, host: HostId) -> bool {
        self.removed.remove(&host)
    }

    /// Whether a host has lost what its replica held, and that is not replaced.
    pub fn is_forgotten(&self, host: HostId) -> bool {
        self.forgotten.contains(&host)
    }

    /// Hosts that have lost what they held since the last call.
    pub fn take_lost(&mut self) -> Vec<HostId> {
        std::mem::take(&mut self.lost)
    }

    /// Whether a crash of that kind makes a replica forget.
    pub fn forgets(&self, power: bool) -> bool {
        match self.config.durability {
            None => true,
            Some(Durability::Os) => power,
            Some(Durability::Fsync) => false,
        }
    }

    /// From now on and for `us` the node of `host` may end by itself.
    pub fn excuse(&mut self, host: HostId, us: u64) {
        if let Some(excused) = self.excused.get_mut(host) {
            *excused = Some(excused.unwrap_or(0).max(self.now_us + us));
        }
    }

    /// Whether the node of `host` may have ended by itself.
    pub fn is_excused(&self, host: HostId) -> bool {
        self.excused.get(host).copied().flatten().is_some_and(|until| self.now_us <= until)
    }

    /// The host whose node leads, in its own eyes and the newest term.
    pub fn leader(&self) -> Option<HostId> {
        let leaders = self.views().into_iter().filter(|(_, view)| view.leads);
        leaders.max_by_key(|(_, view)| view.term).map(|(host, _)| host)
    }

    /// Starts the node of a host that is down.
    ///
    /// # Errors
    ///
    /// If the process cannot have a runtime.
    pub fn start_host(&mut self, host: HostId) -> std::io::Result<()> {
        match self.hosts.get_mut(host) {
            Some(host) if !host.is_up() => host.start(&self.config, self.now_us, false),
            Some(_) | None => Ok(()),
        }
    }
}

/// The step of the simulation.
pub const TICK_US: u64 = 1000;
