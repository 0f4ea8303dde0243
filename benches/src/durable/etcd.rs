//! A cluster of etcd, and the load on it: `KV.Put` over gRPC, as etcd's own benchmark does it.
//!
//! Field numbers are those of etcd's `api/etcdserverpb/rpc.proto` and `api/mvccpb/kv.proto`; what
//! is not needed here is left out, and prost skips it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use nix::unistd::Pid;
use tokio::runtime::Runtime;
use tokio::task::{JoinSet, LocalSet};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::interrupt;
use crate::load::Phase;
use crate::node_process::{NodeProcess, free_addresses};
use crate::store::{ITEM_COUNT, Random};

use super::VALUE_LEN;

/// Three members, and the runtime of one thread that asks them.
#[derive(Debug)]
pub(super) struct Etcd {
    members: Vec<Member>,
    runtime: Runtime,
}

#[derive(Debug)]
struct Member {
    process: NodeProcess,
    client: SocketAddr,
}

/// The open connections of one case to the leader.
#[derive(Debug)]
pub(super) struct EtcdLoad {
    connections: Vec<Connection>,
}

/// An HTTP/2 connection of its own, with one request on the way.
#[derive(Debug, Clone)]
struct Connection {
    rpc: Grpc<Channel>,
    /// Keys are `index`, `index + stride`, ...: no two connections share one.
    index: usize,
    stride: usize,
    random: Random,
    /// Makes every value differ from the one before.
    version: u64,
    /// What the last answered put wrote.
    last: Option<(Vec<u8>, Vec<u8>)>,
}

impl Etcd {
    /// Whether `program` can be started.
    pub(super) fn is_installed(program: &Path) -> bool {
        let mut command = Command::new(program);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Starts three members with etcd's default timers, and waits until all know one leader.
    ///
    /// # Errors
    ///
    /// If they do not form a cluster in time.
    pub(super) fn start(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        let addresses = free_addresses(2 * MEMBER_COUNT)?;
        let (clients, peers) = addresses.split_at(MEMBER_COUNT);
        let cluster: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(index, peer)| format!("e{}=http://{peer}", index + 1))
            .collect();
        let mut members = Vec::new();
        for (index, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let name = format!("e{}", index + 1);
            let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
            let mut command = Command::new(program);
            command.arg("--data-dir").arg(directory.join(&name)).args(["--name", &name]);
            command.args(["--listen-client-urls", &client_url]);
            command.args(["--advertise-client-urls", &client_url]);
            command.args(["--listen-peer-urls", &peer_url]);
            command.args(["--initial-advertise-peer-urls", &peer_url]);
            command.args(["--initial-cluster", &cluster.join(",")]);
            command.args(["--logger", "zap", "--log-level", "error"]);
            command.args(["--quota-backend-bytes", BACKEND_LEN_MAX]);
            let process = NodeProcess::start(&name, &mut command, directory)?;
            members.push(Member { process, client: *client });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut etcd = Self { members, runtime: runtime.context("starting a runtime")? };
        for member in &mut etcd.members {
            let (client, runtime) = (member.client, &etcd.runtime);
            let led = || runtime.block_on(status(client)).is_ok_and(|status| status.leader != 0);
            member.process.wait_until("led", led)?;
        }
        Ok(etcd)
    }

    /// All processes, for their CPU clocks.
    ///
    /// # Errors
    ///
    /// Never on Linux.
    pub(super) fn pids(&self) -> anyhow::Result<Vec<Pid>> {
        self.members.iter().map(|member| member.process.pid()).collect()
    }

    /// Opens connections to the member that leads now.
    ///
    /// # Errors
    ///
    /// If none leads, or it does not accept them.
    pub(super) fn connect(&self, connection_count: usize) -> anyhow::Result<EtcdLoad> {
        self.runtime.block_on(async {
            let leader = self.leader().await?;
            let mut connections = Vec::new();
            for index in 0..connection_count {
                connections.push(Connection {
                    rpc: connect(leader).await?,
                    index,
                    stride: connection_count,
                    random: Random(index as u64),
                    version: 0,
                    last: None,
                });
            }
            Ok(EtcdLoad { connections })
        })
    }

    /// Keeps every connection busy for `duration`, then waits for the last answers.
    ///
    /// # Errors
    ///
    /// If a put fails, or has no answer for [`STALL`].
    pub(super) fn put(&self, load: &mut EtcdLoad, duration: Duration) -> anyhow::Result<Phase> {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).context("histogram")?;
        let latency_ns = Rc::new(RefCell::new(latency_ns));
        let start = Instant::now();
        let run = async {
            let mut tasks = JoinSet::new();
            for mut connection in load.connections.drain(..) {
                let latency_ns = Rc::clone(&latency_ns);
                tasks.spawn_local(async move {
                    while start.elapsed() < duration {
                        let took = connection.put().await?;
                        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                        latency_ns.borrow_mut().saturating_record(took);
                    }
                    anyhow::Ok(connection)
                });
            }
            while let Some(connection) = tasks.join_next().await {
                load.connections.push(connection.context("a connection's task")??);
            }
            anyhow::Ok(())
        };
        LocalSet::new().block_on(&self.runtime, run)?;
        interrupt::check()?;
        let latency_ns = latency_ns.borrow().clone();
        Ok(Phase { reply_count: latency_ns.len(), elapsed: start.elapsed(), latency_ns })
    }

    /// Reads the last put of every connection from every member.
    ///
    /// # Errors
    ///
    /// If one has another value.
    pub(super) fn check(&self, load: &EtcdLoad) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            for member in &self.members {
                let mut rpc = connect(member.client).await?;
                for (key, value) in load.connections.iter().filter_map(|one| one.last.as_ref()) {
                    let range = RangeRequest { key: key.clone() };
                    let reply: RangeResponse = unary(&mut rpc, "KV/Range", range).await?;
                    let have = reply.kvs.first().map(|item| &item.value);
                    let key = key.escape_ascii();
                    ensure!(have == Some(value), "{} has another value of {key}", member.client);
                }
            }
            Ok(())
        })
    }

    async fn leader(&self) -> anyhow::Result<SocketAddr> {
        for member in &self.members {
            let status = status(member.client).await?;
            if status.header.is_some_and(|header| header.member_id == status.leader) {
                return Ok(member.client);
            }
        }
        anyhow::bail!("no member of etcd leads")
    }
}

impl Connection {
    /// Writes the next version of one of its keys; says how long the answer took.
    async fn put(&mut self) -> anyhow::Result<Duration> {
        let own_count = ITEM_COUNT.saturating_sub(self.index).div_ceil(self.stride);
        let key = self.index + self.stride * self.random.below(own_count);
        self.version += 1;
        let key = format!("bench:{key:06}").into_bytes();
        let version = self.version.to_be_bytes();
        let index = self.index.to_be_bytes();
        let value: Vec<u8> =
            version.iter().chain(&index).copied().cycle().take(VALUE_LEN).collect();
        let put = PutRequest { key: key.clone(), value: value.clone() };
        let begun = Instant::now();
        let _: PutResponse = unary(&mut self.rpc, "KV/Put", put).await?;
        let took = begun.elapsed();
        self.last = Some((key, value));
        Ok(took)
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<Grpc<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).context("an address")?;
    let endpoint = endpoint.connect_timeout(STALL).timeout(STALL).tcp_nodelay(true);
    let channel = endpoint.connect().await;
    Ok(Grpc::new(channel.with_context(|| format!("connecting to {address}"))?))
}

async fn status(member: SocketAddr) -> anyhow::Result<StatusResponse> {
    let mut rpc = connect(member).await?;
    unary(&mut rpc, "Maintenance/Status", StatusRequest {}).await
}

async fn unary<Q, A>(rpc: &mut Grpc<Channel>, method: &str, message: Q) -> anyhow::Result<A>
where
    Q: prost::Message + Default + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let path = PathAndQuery::try_from(format!("/etcdserverpb.{method}")).context("a method")?;
    rpc.ready().await.context("etcd's connection")?;
    let codec = ProstCodec::<Q, A>::default();
    let reply = rpc.unary(tonic::Request::new(message), path, codec).await;
    Ok(reply.with_context(|| method.to_owned())?.into_inner())
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// Without more fields: one key, linearizable.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

const MEMBER_COUNT: usize = 3;
/// History is kept until etcd is told to compact it, and the default of 2 GiB ends a long run.
const BACKEND_LEN_MAX: &str = "8589934592";
/// No answer for this long ends the run.
const STALL: Duration = Duration::from_secs(10);
const LATENCY_NS_MAX: u64 = 60_000_000_000;
