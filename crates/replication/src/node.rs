//! One node: the raft thread with everything on it, and the handles to it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use canary::Canary;
use engine::{Command, EngineStats, Item, Missing, OnEviction, Settings, UnixMillis, Usage};
use futures_util::Stream;
use openraft::{Config, SnapshotPolicy};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tonic::transport::Server;

use crate::accept::Acceptor;
use crate::applied::Applied;
use crate::barrier::BarrierKeeper;
use crate::batcher::Proposal;
use crate::beginning::Beginning;
use crate::clock::ClusterClock;
use crate::context::{Context, Timing};
use crate::data_dir::DataDir;
use crate::error::{ClientError, Fatal, Full, MemberError, MoveError, StartError};
use crate::formation::{self, Formation};
use crate::gate::Gate;
use crate::leader::{Leader, LeaderWatch};
use crate::network::{Network, Purged};
use crate::peers::WINDOW_LEN;
use crate::plan::MemberChange;
use crate::proposer::Proposer;
use crate::server::PeerServer;
use crate::state_machine::StateMachine;
use crate::status::ClusterStatus;
use crate::storage::Storage;
use crate::stream::PeerStream;
use crate::survivor::Survivor;
use crate::tls::{self, PeerTls};
use crate::types::{Member, Raft};
use crate::view::{self, View};
use crate::world::{Listener, World};
use crate::{detector, gather, isolation, keepers, members, membership, random, space, survivor};

/// How others reach this node, each as `host:port`.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// memcached clients.
    pub client: String,
    /// Peers.
    pub peer: String,
    /// Admin HTTP.
    pub admin: String,
}

/// Everything a node must be told.
#[derive(Debug)]
pub struct NodeConfig {
    /// Unique in the cluster, stays across restarts.
    pub name: String,
    /// Where peers connect.
    pub peer_listener: Listener,
    /// This node's certificate and the CA of its peers; none: peers are believed what they say.
    pub peer_tls: Option<Arc<PeerTls>>,
    /// What others are told.
    pub advertise: Addresses,
    /// Peer addresses of the cluster's first nodes, this one's own perhaps among them. Empty: this
    /// node forms a cluster of its own.
    pub join: Vec<String>,
    /// How many blank nodes form a new cluster; 0: this node only waits to be taken into one.
    pub bootstrap_expect: usize,
    /// Milliseconds between heartbeats; less than the shortest election timeout.
    pub heartbeat_ms: u64,
    /// Shortest and longest election timeout in milliseconds; the longest is the lease.
    pub election_timeout_ms: (u64, u64),
    /// What an operation may take before its client gets an error, in milliseconds.
    pub operation_budget_ms: u64,
    /// How long without a quorum before `Client::accepting` says no, in milliseconds.
    pub isolation_close_ms: u64,
    /// Proposed to the cluster when this node leads.
    pub settings: Settings,
    /// The program's version, for `status`.
    pub version: String,
    /// Where log and snapshots are kept; none: in memory, and every start is a new replica.
    pub data_dir: Option<DataDir>,
    /// The state with which this node begins a cluster of its own, under a new cluster id.
    pub begin_from: Option<Beginning>,
    /// How long logs may grow.
    pub log_limits: LogLimits,
    /// What is around it.
    pub world: World,
}

/// When logs are cut back, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Of the log in memory, or a tenth of the items' limit where that is more; it is cut back to
    /// three quarters.
    pub memory_len_max: usize,
    /// The log on disk grows by this, or by the length of the last snapshot, before there is
    /// another one: each costs writing all items.
    pub snapshot_every: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { memory_len_max: 12 * 1024 * 1024, snapshot_every: 64 * 1024 * 1024 }
    }
}

/// A running node; cheap to clone.
#[derive(Clone)]
pub struct Node {
    context: Arc<Context>,
    raft: Raft,
    leader: LeaderWatch,
    /// The raft thread's runtime.
    runtime: Handle,
    state: watch::Receiver<State>,
    stop: Arc<watch::Sender<bool>>,
    storage: Arc<Storage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Starting,
    Serving,
    Dead(Fatal),
}

/// Starts the raft thread.
///
/// # Errors
///
/// [`StartError`] for timing that openraft refuses, or when no thread can be had.
pub fn start(config: NodeConfig) -> Result<Node, StartError> {
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("raft".to_owned());
    thread.spawn(move || run_thread(config, &ready)).map_err(StartError::Thread)?;
    let gone = |_| StartError::Config("raft thread ended at its start".to_owned());
    started.recv().map_err(gone)?
}

/// The raft thread: one runtime, ahead of clients' threads where the system allows it.
fn run_thread(config: NodeConfig, ready: &std::sync::mpsc::SyncSender<Result<Node, StartError>>) {
    if let Err(error) =
        rustix::process::setpriority_process(Some(rustix::thread::gettid()), RAFT_NICE)
    {
        tracing::info!(target: "details", %error, "raft thread keeps the usual priority");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(StartError::Thread(error)));
            return;
        }
    };
    runtime.block_on(async {
        match build(config).await {
            Ok((node, tasks)) => {
                let stopped = node.stop.subscribe();
                let _ = ready.send(Ok(node));
                supervise(tasks, stopped).await;
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    });
}

/// Starts a node on the runtime of the caller. The future is the node's life: it ends when the node
/// is told to stop, and dropping it ends the node's tasks as a crash does, but for those of raft,
/// which end with the runtime.
///
/// # Errors
///
/// As [`start`].
pub async fn start_here(
    config: NodeConfig,
) -> Result<(Node, impl Future<Output = ()>), StartError> {
    let (node, tasks) = build(config).await?;
    let stopped = node.stop.subscribe();
    Ok((node, supervise(tasks, stopped)))
}

/// Lives until the node is told to stop.
async fn supervise(mut tasks: JoinSet<()>, mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
    tasks.shutdown().await;
}

async fn build(config: NodeConfig) -> Result<(Node, JoinSet<()>), StartError> {
    let (raft_config, timing) = (raft_config(&config)?, timing(&config));
    let (fresh, world) = (random::id(), config.world);
    let renew = config.begin_from.is_some();
    let (storage, found) =
        Storage::open(config.data_dir.as_ref(), &world, &config.name, fresh, renew)?;
    let id = storage.replica().unwrap_or(fresh);
    let applied = Arc::new(Applied::default());
    let clock = Arc::new(ClusterClock::new(Arc::clone(&world.wall)));
    let peer_tls = config.peer_tls;
    let me = member(config.name, config.advertise);
    let cluster = if renew { random::id() } else { 0 };
    let founder = Member { cluster, ..me.clone() };
    let begun = config.begin_from.map(|beginning| beginning.into_parts(id, founder));
    let begun = begun.transpose().map_err(|error| StartError::Config(error.to_string()))?;
    let (engine, begun) = match begun {
        Some((engine, last, membership)) => (engine, Some((last, membership))),
        None => (engine::StateMachine::new(), None),
    };
    let mut context = Context::new(
        id,
        me,
        config.version,
        config.settings,
        engine.reader(),
        timing,
        Arc::clone(&applied),
        Arc::clone(&clock),
        peer_tls.clone(),
        world,
    );
    context.log_limits = config.log_limits;
    context.boots = storage.boots();
    context.has_predecessor = storage.has_predecessor();
    let context = Arc::new(context);
    let (snapshots, labour) = (storage.snapshots(), context.world.labour);
    let mut state_machine = match begun {
        Some((last, membership)) => {
            tracing::warn!(cluster, "a new cluster begins with what this node holds");
            context.enter(cluster);
            StateMachine::begin(engine, last, membership, applied, clock, snapshots, labour)
                .map_err(|error| storage.start_error(&error))?
        }
        None => StateMachine::new(engine, applied, clock, snapshots, labour),
    };
    if let Some(found) = found {
        state_machine.install(&found.meta, found.restored);
    }
    let raft = start_raft(&context, raft_config, &storage, state_machine).await?;
    // A replica that comes back with its log belongs to its cluster before anybody calls it.
    if let Some(cluster) = formation::known_cluster(&raft, &context) {
        context.enter(cluster);
    }

    let (state_sender, state) = watch::channel(State::Starting);
    let (stop, _) = watch::channel(false);
    let leader = LeaderWatch::new(context.id, &raft);
    let runtime = Handle::current();
    let (stop, storage) = (Arc::new(stop), Arc::new(storage));
    let node = Node { context, raft, leader, runtime, state, stop, storage };
    let mut tasks = JoinSet::new();
    node.spawn_tasks(&mut tasks);
    node.spawn_peers(&mut tasks, config.peer_listener, peer_tls)?;
    let formation = Formation { join: config.join, expect: config.bootstrap_expect };
    tasks.spawn(watch_life(node.clone(), formation, state_sender));
    Ok((node, tasks))
}

/// This node, in no cluster yet.
fn member(name: String, advertise: Addresses) -> Member {
    let Addresses { client, peer, admin } = advertise;
    Member { name, client, peer, admin, cluster: 0, replaces: String::new() }
}

async fn start_raft(
    context: &Arc<Context>,
    config: Arc<Config>,
    storage: &Storage,
    state_machine: StateMachine,
) -> Result<Raft, StartError> {
    let raft = match storage {
        Storage::Memory(log) => {
            let network = Network::new(Arc::clone(context), Purged::Memory(log.clone()));
            Raft::new(context.id, config, network, log.clone(), state_machine).await
        }
        Storage::Disk(disk) => {
            if disk.log.has_past() {
                // The lease that this replica may have granted is forgotten (DESIGN 5.3).
                tokio::time::sleep(context.timing.lease).await;
            }
            let network = Network::new(Arc::clone(context), Purged::Disk(disk.log.clone()));
            Raft::new(context.id, config, network, disk.log.clone(), state_machine).await
        }
    };
    raft.map_err(|error| storage.start_error(&error))
}

fn timing(config: &NodeConfig) -> Timing {
    Timing {
        heartbeat: Duration::from_millis(config.heartbeat_ms),
        lease: Duration::from_millis(config.election_timeout_ms.1),
        budget: Duration::from_millis(config.operation_budget_ms),
        isolation_close: Duration::from_millis(config.isolation_close_ms),
    }
}

fn raft_config(config: &NodeConfig) -> Result<Arc<Config>, StartError> {
    let (election_timeout_min, election_timeout_max) = config.election_timeout_ms;
    let raft_config = Config {
        cluster_name: "raftcached".to_owned(),
        heartbeat_interval: config.heartbeat_ms,
        election_timeout_min,
        election_timeout_max,
        enable_pre_vote: Some(true),
        // A restarted leader without its log must not lead by its old vote.
        enable_leader_restore: Some(false),
        // A follower whose disk has lost a tail that it had acknowledged gets it again. Else the
        // leader would die of it, and each one after it. Simulation, seed 167.
        allow_log_reversion: Some(true),
        // A healed follower is sought at once (the default waits 200 ms), a dead one ever slower.
        backoff: "10ms 20ms 40ms ...200ms".to_owned(),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: u64::MAX,
        max_payload_entries: 1024,
        ..Config::default()
    };
    let valid = raft_config.validate();
    Ok(Arc::new(valid.map_err(|error| StartError::Config(error.to_string()))?))
}

async fn serve_peers(
    gate: Gate,
    streams: impl Stream<Item = Result<PeerStream, Infallible>> + Send,
) {
    let served = Server::builder()
        .initial_stream_window_size(WINDOW_LEN)
        .initial_connection_window_size(WINDOW_LEN)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_INTERVAL))
        .http2_max_header_list_size(HEADERS_LEN_MAX)
        .serve_with_incoming(gate, streams)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "peer server has stopped");
    }
}

/// Brings the replica into the cluster, says when it serves, and notices when raft dies.
async fn watch_life(node: Node, formation: Formation, state: watch::Sender<State>) {
    let begun = async {
        formation::enter_cluster(&node.raft, &node.context, &formation).await?;
        node.catch_up().await;
        Ok::<(), Fatal>(())
    };
    let removed = async {
        // A learner that was given up has to notice as well.
        formation::entered(&node.raft, &node.context).await;
        isolation::removed(&node.raft, &node.context).await;
    };
    let broken = async {
        tokio::select! {
            biased;
            failed = node.storage.failed() => Fatal::Disk(failed),
            fatal = node.context.fault.raised() => fatal,
            died = gather::raft_died(&node.raft) => node.storage.reason(died).await,
        }
    };
    let (mut removed, mut broken) = (std::pin::pin!(removed), std::pin::pin!(broken));
    let begun = tokio::select! {
        biased;
        fatal = &mut broken => Err(fatal),
        () = &mut removed => Err(Fatal::Removed),
        begun = begun => begun,
    };
    match begun {
        Ok(()) => {
            node.context.serving.store(true, Ordering::Release);
            let _ = state.send(State::Serving);
            node.storage.forget_predecessors();
        }
        Err(fatal) => {
            let _ = state.send(State::Dead(fatal));
            return;
        }
    }
    let fatal = tokio::select! {
        biased;
        fatal = broken => fatal,
        () = removed => {
            node.context.serving.store(false, Ordering::Release);
            node.raft.runtime_config().elect(false);
            Fatal::Removed
        }
    };
    let _ = state.send(State::Dead(fatal));
}

impl Node {
    /// Resolves once this replica has caught up and may answer clients.
    ///
    /// # Errors
    ///
    /// [`Fatal`] if it never will.
    pub async fn serving(&self) -> Result<(), Fatal> {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| *state != State::Starting).await;
        match state.as_deref() {
            Ok(State::Dead(fatal)) => Err(fatal.clone()),
            Ok(State::Serving | State::Starting) => Ok(()),
            Err(_) => Err(Fatal::Raft("raft thread has ended".to_owned())),
        }
    }

    /// Whether this node answers clients and is not cut off from a quorum.
    pub fn is_serving(&self) -> bool {
        self.context.serving.load(Ordering::Acquire) && !self.context.is_isolated()
    }

    /// Resolves if the raft side dies, which it never does in health.
    pub async fn stopped(&self) -> Fatal {
        let mut state = self.state.clone();
        match state.wait_for(|state| matches!(state, State::Dead(_))).await.as_deref() {
            Ok(State::Dead(fatal)) => fatal.clone(),
            Ok(State::Serving | State::Starting) | Err(_) => {
                Fatal::Raft("raft thread has ended".to_owned())
            }
        }
    }

    /// The cluster as this node sees it; asks the peers, 500 ms at most.
    pub async fn status(&self) -> ClusterStatus {
        let (raft, context) = (self.raft.clone(), Arc::clone(&self.context));
        self.on_raft_thread(async move { gather::status(&raft, &context).await })
            .await
            .unwrap_or_else(gather::no_status)
    }

    /// What this replica believes now.
    pub fn view(&self) -> View {
        view::view(&self.raft, &self.context)
    }

    /// Moves leadership to the node called `to`, or to the best other voter; from any node.
    ///
    /// # Errors
    ///
    /// [`MoveError`] when there is no leader, or the target cannot take over.
    pub async fn move_leader(&self, to: Option<String>) -> Result<(), MoveError> {
        let node = self.clone();
        let to = to.unwrap_or_default();
        let moved = self.on_raft_thread(async move {
            match node.leader.current() {
                Leader::Me => membership::move_leader(&node.raft, &node.context, &to).await,
                Leader::Peer(leader) => gather::ask_to_move(&node.context, &leader, to).await,
                Leader::Nobody => Err(MoveError::NoLeader),
            }
        });
        moved.await.unwrap_or(Err(MoveError::NoLeader)).map(|_name| ())
    }

    /// Changes the members as an operator asked; from any node. Returns the steps, in order; with
    /// `dry_run`, those that would be taken.
    ///
    /// Says only that the change has begun: a new member votes once it has caught up.
    ///
    /// # Errors
    ///
    /// [`MemberError`]; only after `Undecided` may something have happened.
    pub async fn change_members(
        &self,
        change: MemberChange,
        dry_run: bool,
    ) -> Result<Vec<String>, MemberError> {
        let node = self.clone();
        let changed = self.on_raft_thread(async move {
            members::ask(&node.raft, &node.context, &node.leader, &change, dry_run).await
        });
        changed.await.unwrap_or(Err(MemberError::NoLeader))
    }

    /// What this node holds of a cluster whose majority is gone.
    ///
    /// # Errors
    ///
    /// [`MemberError::Refused`] while a majority of the voters answers.
    pub async fn survivor(&self) -> Result<Survivor, MemberError> {
        let (raft, context) = (self.raft.clone(), Arc::clone(&self.context));
        self.on_raft_thread(async move { survivor::survivor(&raft, &context).await })
            .await
            .unwrap_or(Err(MemberError::NoLeader))
    }

    /// Saves what a new cluster can begin with ([`Beginning::read`]), if a majority is gone.
    ///
    /// # Errors
    ///
    /// [`MemberError::Refused`] while a majority answers, or if the file cannot be written.
    pub async fn save_survivor(&self, file: std::fs::File) -> Result<(), MemberError> {
        let node = self.clone();
        self.on_raft_thread(async move {
            let (raft, context) = (&node.raft, &node.context);
            match &*node.storage {
                Storage::Memory(log) => survivor::save(raft, context, log.clone(), file).await,
                Storage::Disk(disk) => survivor::save(raft, context, disk.log.clone(), file).await,
            }
        })
        .await
        .unwrap_or(Err(MemberError::NoLeader))
    }

    /// Moves leadership away if it is here, and takes none any more: to be called before the end.
    /// Votes and copies go on.
    ///
    /// # Errors
    ///
    /// [`MoveError`] if leadership stays here, as it does on a single node.
    pub async fn step_aside(&self) -> Result<(), MoveError> {
        self.context.draining.store(true, Ordering::Release);
        self.raft.runtime_config().elect(false);
        if self.leader.current() == Leader::Me { self.move_leader(None).await } else { Ok(()) }
    }

    /// Resolves once the raft thread has answered: it does not hang.
    pub async fn pulse(&self) {
        let _ = self.on_raft_thread(async {}).await;
    }

    /// Moves leadership away if it is here, then stops raft.
    pub async fn shutdown(&self) {
        if self.leader.current() == Leader::Me
            && let Err(error) = self.move_leader(None).await
        {
            tracing::info!(%error, "leadership was not handed over");
        }
        self.context.batcher.drain();
        let raft = self.raft.clone();
        let stop = Arc::clone(&self.stop);
        let storage = Arc::clone(&self.storage);
        let labour = self.context.world.labour;
        self.on_raft_thread(async move {
            let _ = raft.shutdown().await;
            storage.close(labour).await;
            let _ = stop.send(true);
        })
        .await;
    }

    /// The handle for client connections.
    pub fn client(&self) -> Client {
        Client { context: Arc::clone(&self.context), raft: self.raft.clone() }
    }

    fn gate(&self) -> Gate {
        let parts = || (Arc::clone(&self.context), self.raft.clone());
        let (context, raft) = parts();
        let server = PeerServer::new(context, raft, self.leader.clone());
        let (context, raft) = parts();
        Gate::new(context, raft, &server)
    }

    fn spawn_peers(
        &self,
        tasks: &mut JoinSet<()>,
        listener: Listener,
        peer_tls: Option<Arc<PeerTls>>,
    ) -> Result<(), StartError> {
        let refusals = Arc::clone(&self.context.refusals);
        let accepting = Acceptor::new(listener, peer_tls.clone(), refusals);
        let (acceptor, streams) = accepting.map_err(StartError::PeerListener)?;
        tasks.spawn(acceptor.run());
        tasks.spawn(serve_peers(self.gate(), streams));
        if let Some(peer_tls) = peer_tls {
            tasks.spawn(tls::keep_fresh(peer_tls));
        }
        Ok(())
    }

    fn spawn_tasks(&self, tasks: &mut JoinSet<()>) {
        let context = || Arc::clone(&self.context);
        let raft = || self.raft.clone();
        let leader = || self.leader.clone();
        tasks.spawn(Proposer::new(context(), raft(), leader()).run());
        tasks.spawn(BarrierKeeper::new(context(), raft(), leader()).run());
        tasks.spawn(detector::watch_leader(raft(), context(), leader()));
        tasks.spawn(keepers::keep_lease(raft(), context()));
        match &*self.storage {
            Storage::Memory(log) => {
                tasks.spawn(keepers::keep_memory_log_short(raft(), log.clone(), context()));
                tasks.spawn(space::keep_space(raft(), context(), None));
            }
            Storage::Disk(disk) => {
                let (log, snapshots) = (disk.log.clone(), Arc::clone(&disk.snapshots));
                tasks.spawn(space::keep_space(raft(), context(), Some(log.clone())));
                tasks.spawn(keepers::keep_disk_log_short(raft(), log, snapshots, context()));
            }
        }
        tasks.spawn(keepers::keep_cluster(raft(), context()));
        tasks.spawn(isolation::report_isolation(raft(), context()));
        tasks.spawn(membership::promote_learners(raft(), context()));
    }

    /// Waits until a read barrier has passed; a leader also until its settings are the cluster's.
    async fn catch_up(&self) {
        let settled = || {
            let leads = self.leader.current() == Leader::Me;
            !leads || self.context.reader.settings() == self.context.settings
        };
        while self.context.barrier.pass().await.is_err() || !settled() {
            tokio::time::sleep(CATCH_UP_EVERY).await;
        }
    }

    /// Runs on the raft thread's runtime, whatever the caller's is; `None` when it has ended.
    async fn on_raft_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        // Ends with its own answer; nobody else waits for it.
        self.runtime.spawn(async move {
            let _ = sender.send(work.await);
        });
        receiver.await.ok()
    }
}

/// What client connections need of a node; cheap to clone, for any thread.
#[derive(Clone)]
pub struct Client {
    context: Arc<Context>,
    raft: Raft,
}

impl Client {
    /// The time at which expiry is judged, if reads may be answered at once; else see
    /// [`Client::read_barrier`].
    pub fn read_now(&self) -> Option<UnixMillis> {
        let at = self.context.stamps.read_time()?;
        self.context.lease.is_valid().then_some(at)
    }

    /// Waits until this node's copy may answer a linearizable read that starts now.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoQuorum`] after the operation budget.
    pub async fn read_barrier(&self) -> Result<UnixMillis, ClientError> {
        if Canary::LocalRead.is_planted() {
            return Ok(self.context.clock.now());
        }
        self.context.barrier.pass().await
    }

    /// The item under `key`, if it is live at `at` or at cluster time where that is later.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn get(&self, key: &[u8], at: UnixMillis) -> Result<Item, Missing> {
        self.context.reader.find(key, at)
    }

    /// As [`Client::get`], with how the item has been used on this node; this is a use only if
    /// `fetch` says so.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub fn look(&self, key: &[u8], at: UnixMillis, fetch: bool) -> Result<(Item, Usage), Missing> {
        self.context.reader.look(key, at, fetch)
    }

    /// Hands a command to the log; calls of one task are applied in their order.
    ///
    /// # Errors
    ///
    /// [`Full`]: wait for [`Client::ready`], then try again.
    pub fn propose(&self, command: &Command<'_>) -> Result<Proposal, Full> {
        if self.context.space.is_closed() {
            return Ok(Proposal::refused(ClientError::NoSpace));
        }
        self.context.batcher.propose(command)
    }

    /// Waits until [`Client::propose`] may succeed again.
    ///
    /// # Errors
    ///
    /// None at present: a queue that is stuck empties itself after the operation budget.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.context.batcher.ready().await;
        Ok(())
    }

    /// Whether the node should take new clients: not while it is cut off.
    pub fn accepting(&self) -> bool {
        !self.context.is_isolated()
    }

    /// Counters of the state.
    pub fn engine_stats(&self) -> EngineStats {
        self.context.reader.stats()
    }

    /// The live items of one part of this node's copy, from 0; `None` behind the last part.
    pub fn part(&self, part: usize) -> Option<Vec<(Item, Usage)>> {
        self.context.reader.part(part, self.context.clock.now())
    }

    /// Shows what is evicted from this node's copy: [`engine::Reader::on_eviction`].
    pub fn on_eviction(&self, show: OnEviction) {
        self.context.reader.on_eviction(show);
    }

    /// Names and values for `stats cluster`.
    pub fn cluster_stats(&self, each: &mut dyn FnMut(&str, &dyn std::fmt::Display)) {
        gather::cluster_stats(&self.raft, &self.context, each);
    }
}

/// A flood of clients must not delay a heartbeat.
const RAFT_NICE: i32 = -10;

const STREAMS_MAX: u32 = 256;
/// An envelope and what HTTP adds.
const HEADERS_LEN_MAX: u32 = 8 * 1024;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(1000);
const CATCH_UP_EVERY: Duration = Duration::from_millis(5);
