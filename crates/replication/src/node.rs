//! One node: the raft thread with everything on it, and the handles to it.

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::{Command, EngineStats, Item, Settings, UnixMillis};
use openraft::{Config, SnapshotPolicy};
use rand::RngExt;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::applied::Applied;
use crate::barrier::BarrierKeeper;
use crate::batcher::Proposal;
use crate::clock::ClusterClock;
use crate::context::{Context, Timing};
use crate::error::{ClientError, Fatal, Full, MoveError, StartError};
use crate::formation::{self, Formation};
use crate::leader::{Leader, LeaderWatch};
use crate::memory_log::MemoryLog;
use crate::network::Network;
use crate::pb::cluster_server::ClusterServer;
use crate::pb::raft_server::RaftServer;
use crate::peers::WINDOW_LEN;
use crate::proposer::Proposer;
use crate::server::PeerServer;
use crate::state_machine::StateMachine;
use crate::status::ClusterStatus;
use crate::types::{Member, Raft};
use crate::{detector, gather, keepers, membership};

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
    /// Where peers connect, bound by the caller.
    pub peer_listener: TcpListener,
    /// What others are told.
    pub advertise: Addresses,
    /// Peer addresses of the cluster's first nodes, this one's own perhaps among them. Empty: this
    /// node forms a cluster of its own.
    pub join: Vec<String>,
    /// How many blank nodes form a new cluster.
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
        tracing::debug!(%error, "raft thread keeps the usual priority");
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

/// Lives until the node is told to stop.
async fn supervise(mut tasks: JoinSet<()>, mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
    tasks.shutdown().await;
}

async fn build(config: NodeConfig) -> Result<(Node, JoinSet<()>), StartError> {
    let raft_config = raft_config(&config)?;
    let engine = engine::StateMachine::new();
    let applied = Arc::new(Applied::default());
    let clock = Arc::new(ClusterClock::new());
    let me = Member {
        name: config.name,
        client: config.advertise.client,
        peer: config.advertise.peer,
        admin: config.advertise.admin,
        cluster: 0,
    };
    let timing = Timing {
        heartbeat: Duration::from_millis(config.heartbeat_ms),
        lease: Duration::from_millis(config.election_timeout_ms.1),
        budget: Duration::from_millis(config.operation_budget_ms),
        isolation_close: Duration::from_millis(config.isolation_close_ms),
    };
    let context = Arc::new(Context::new(
        rand::rng().random_range(1..=u64::MAX),
        me,
        config.version,
        config.settings,
        engine.reader(),
        timing,
        Arc::clone(&applied),
        Arc::clone(&clock),
    ));
    let log = MemoryLog::default();
    let network = Network::new(Arc::clone(&context));
    let state_machine = StateMachine::new(engine, applied, clock);
    let raft = Raft::new(context.id, raft_config, network, log.clone(), state_machine).await;
    let raft = raft.map_err(|error| StartError::Config(error.to_string()))?;

    let (state_sender, state) = watch::channel(State::Starting);
    let (stop, _) = watch::channel(false);
    let leader = LeaderWatch::new(context.id, &raft);
    let runtime = Handle::current();
    let node = Node { context, raft, leader, runtime, state, stop: Arc::new(stop) };
    let mut tasks = JoinSet::new();
    node.spawn_tasks(&mut tasks, log);
    tasks.spawn(serve_peers(node.peer_server(), config.peer_listener));
    let formation = Formation { join: config.join, expect: config.bootstrap_expect };
    tasks.spawn(watch_life(node.clone(), formation, state_sender));
    Ok((node, tasks))
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

async fn serve_peers(server: PeerServer, listener: TcpListener) {
    let listener =
        listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "peer listener");
            return;
        }
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let raft = RaftServer::new(server.clone())
        .max_decoding_message_size(MESSAGE_LEN_MAX)
        .max_encoding_message_size(usize::MAX);
    let cluster = ClusterServer::new(server)
        .max_decoding_message_size(MESSAGE_LEN_MAX)
        .max_encoding_message_size(usize::MAX);
    let served = Server::builder()
        .initial_stream_window_size(WINDOW_LEN)
        .initial_connection_window_size(WINDOW_LEN)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_INTERVAL))
        .add_service(raft)
        .add_service(cluster)
        .serve_with_incoming(incoming)
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
    match begun.await {
        Ok(()) => {
            node.context.serving.store(true, Ordering::Release);
            let _ = state.send(State::Serving);
        }
        Err(fatal) => {
            let _ = state.send(State::Dead(fatal));
            return;
        }
    }
    let fatal = gather::raft_died(&node.raft).await;
    let _ = state.send(State::Dead(Fatal::Raft(fatal)));
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

    /// Whether `serving` has resolved well.
    pub fn is_serving(&self) -> bool {
        self.context.serving.load(Ordering::Acquire)
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
        self.on_raft_thread(async move {
            let _ = raft.shutdown().await;
            let _ = stop.send(true);
        })
        .await;
    }

    /// The handle for client connections.
    pub fn client(&self) -> Client {
        Client { context: Arc::clone(&self.context), raft: self.raft.clone() }
    }

    fn peer_server(&self) -> PeerServer {
        let (context, raft) = (Arc::clone(&self.context), self.raft.clone());
        PeerServer::new(context, raft, self.leader.clone())
    }

    fn spawn_tasks(&self, tasks: &mut JoinSet<()>, log: MemoryLog) {
        let context = || Arc::clone(&self.context);
        let raft = || self.raft.clone();
        let leader = || self.leader.clone();
        tasks.spawn(Proposer::new(context(), raft(), leader()).run());
        tasks.spawn(BarrierKeeper::new(context(), raft(), leader()).run());
        tasks.spawn(detector::watch_leader(raft(), context(), leader()));
        tasks.spawn(keepers::keep_lease(raft(), context()));
        tasks.spawn(keepers::keep_log_short(raft(), log));
        tasks.spawn(keepers::keep_cluster(raft(), context()));
        tasks.spawn(membership::promote_learners(raft()));
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
        self.context.lease.is_valid().then(|| self.context.clock.now())
    }

    /// Waits until this node's copy may answer a linearizable read that starts now.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoQuorum`] after the operation budget.
    pub async fn read_barrier(&self) -> Result<UnixMillis, ClientError> {
        self.context.barrier.pass().await
    }

    /// The item under `key`, if it is live at `at` or at cluster time where that is later.
    pub fn get(&self, key: &[u8], at: UnixMillis) -> Option<Item> {
        self.context.reader.get(key, at)
    }

    /// Hands a command to the log; calls of one task are applied in their order.
    ///
    /// # Errors
    ///
    /// [`Full`]: wait for [`Client::ready`], then try again.
    pub fn propose(&self, command: &Command<'_>) -> Result<Proposal, Full> {
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
        self.context.contact.without_quorum() < self.context.timing.isolation_close
    }

    /// Counters of the state.
    pub fn engine_stats(&self) -> EngineStats {
        self.context.reader.stats()
    }

    /// Shows `visit` the live items of this node's copy until it breaks, in no particular order.
    pub fn for_each_item(&self, visit: &mut dyn FnMut(&Item) -> ControlFlow<()>) {
        self.context.reader.for_each_key(self.context.clock.now(), visit);
    }

    /// Names and values for `stats cluster`.
    pub fn cluster_stats(&self, each: &mut dyn FnMut(&str, &dyn std::fmt::Display)) {
        gather::cluster_stats(&self.raft, &self.context, each);
    }
}

/// A flood of clients must not delay a heartbeat.
const RAFT_NICE: i32 = -10;

/// The largest item, its batch and an entry around it.
const MESSAGE_LEN_MAX: usize = 1100 * 1024 * 1024;
const STREAMS_MAX: u32 = 256;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(1000);
const CATCH_UP_EVERY: Duration = Duration::from_millis(5);
