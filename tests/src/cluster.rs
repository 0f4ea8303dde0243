//! A cluster of real processes on loopback.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::poll::wait_every;
use crate::{Certificates, ClusterOptions, Process, Resources, Status, binary, free_port, http};

/// `raftcached server` processes named n1, n2, ...; nodes are numbered from 0.
///
/// Every method takes `&self`, so that one thread can kill what others talk to.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    options: ClusterOptions,
    binary: PathBuf,
    certificates: Option<Certificates>,
    finished: bool,
    /// Last, so that the processes are gone before their files.
    dir: TempDir,
}

#[derive(Debug)]
struct Node {
    name: String,
    client_port: u16,
    peer_port: u16,
    admin_port: u16,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Cluster {
    /// Starts `nodes` nodes with default options and waits until they are healthy.
    ///
    /// # Errors
    ///
    /// When the binary is missing or no cluster forms.
    pub fn start(nodes: usize) -> Result<Self> {
        Self::start_with(ClusterOptions { nodes, ..ClusterOptions::default() })
    }

    /// Starts a cluster and waits until it is healthy.
    ///
    /// # Errors
    ///
    /// When the binary is missing or no cluster forms.
    pub fn start_with(options: ClusterOptions) -> Result<Self> {
        let binary = match &options.binary {
            Some(told) => told.clone(),
            None => binary()?,
        };
        let dir = tempfile::Builder::new().prefix("cluster-tests-").tempdir()?;
        let nodes = (1..=options.nodes)
            .map(|number| {
                Ok(Node {
                    name: format!("n{number}"),
                    client_port: free_port()?,
                    peer_port: match options.peer_ports.get(number - 1) {
                        Some(told) => *told,
                        None => free_port()?,
                    },
                    admin_port: free_port()?,
                    log: dir.path().join(format!("n{number}.log")),
                    process: Mutex::new(None),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let certificates = match options.peer_tls {
            true => Some(Certificates::init(&dir.path().join("certificates"))?),
            false => None,
        };
        if let Some(certificates) = &certificates {
            nodes.iter().try_for_each(|node| certificates.issue(&node.name))?;
        }
        let cluster = Self { nodes, options, binary, certificates, finished: false, dir };
        for node in 0..cluster.nodes() {
            cluster.restart(node)?;
        }
        cluster.wait_healthy(FORMED_WITHIN)?;
        Ok(cluster)
    }

    /// How many nodes the cluster was started with.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// A directory that lives as long as the cluster.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The name of a node.
    ///
    /// # Panics
    ///
    /// Like all methods here, when there is no such node.
    pub fn name(&self, node: usize) -> &str {
        &self.node(node).name
    }

    /// The port for clients of a node.
    pub fn client_port(&self, node: usize) -> u16 {
        self.node(node).client_port
    }

    /// The port for peers of a node.
    pub fn peer_port(&self, node: usize) -> u16 {
        self.node(node).peer_port
    }

    /// The admin port of a node.
    pub fn admin_port(&self, node: usize) -> u16 {
        self.node(node).admin_port
    }

    /// The peer addresses of all nodes, as `--join` takes them.
    pub fn join(&self) -> String {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.peer_port));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The nodes' certificates, if they have any.
    ///
    /// # Errors
    ///
    /// When the cluster was started without.
    pub fn certificates(&self) -> Result<&Certificates> {
        self.certificates.as_ref().context("no peer_tls")
    }

    /// The data directory of a node, if the cluster was started with any.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        let own = || self.dir.path().join(format!("{}.data", self.name(node)));
        self.options.data_dirs.get(node).cloned().unwrap_or_else(own)
    }

    /// The command line of a node, without the program.
    pub fn args(&self, node: usize) -> Vec<OsString> {
        let Node { name, client_port, peer_port, admin_port, .. } = self.node(node);
        let own = format!(
            "server --name {name} -l 127.0.0.1 -p {client_port} \
             --peer-listen 127.0.0.1:{peer_port} --admin-listen 127.0.0.1:{admin_port} \
             --join {} --bootstrap-expect {} --operation-budget {OPERATION_BUDGET_MS}",
            self.join(),
            self.nodes(),
        );
        let mut args: Vec<_> = own.split_whitespace().map(OsString::from).collect();
        args.extend(self.certificates.iter().flat_map(|certificates| certificates.options(name)));
        args.extend(self.options.args.iter().map(OsString::from));
        if let Some(durability) = self.options.data {
            args.extend(["--durability".into(), durability.name().into()]);
            args.extend(["--data-dir".into(), self.data_dir(node).into()]);
        }
        args
    }

    /// Crashes a node with SIGKILL and returns once the process is gone.
    ///
    /// # Errors
    ///
    /// When it had ended by itself.
    pub fn kill(&self, node: usize) -> Result<()> {
        let mut process = self.process(node);
        let mut running = process.take().with_context(|| format!("{} is down", self.name(node)))?;
        if let Some(status) = running.ended()? {
            bail!("{} had ended by itself: {status}", self.name(node));
        }
        Ok(running.kill()?)
    }

    /// Crashes all nodes with SIGKILL at the same instant.
    ///
    /// # Errors
    ///
    /// When one is down or had ended by itself.
    pub fn kill_all(&self) -> Result<()> {
        // All at once, and only then is anybody waited for.
        for node in 0..self.nodes() {
            self.signal(node, Signal::SIGKILL)?;
        }
        for node in 0..self.nodes() {
            self.process(node).take().with_context(|| self.name(node).to_owned())?.kill()?;
        }
        Ok(())
    }

    /// Starts all nodes after [`Self::kill_all`].
    ///
    /// # Errors
    ///
    /// When one is up, or cannot be started.
    pub fn restart_all(&self) -> Result<()> {
        (0..self.nodes()).try_for_each(|node| self.restart(node))
    }

    /// Starts a node that is down; returns before it serves ([`Self::wait_ready`]).
    ///
    /// # Errors
    ///
    /// When it is up, or cannot be started.
    pub fn restart(&self, node: usize) -> Result<()> {
        self.restart_under(node, &[])
    }

    /// Starts a node that is down with another binary than the cluster's.
    ///
    /// # Errors
    ///
    /// When it is up, or cannot be started.
    pub fn restart_as(&self, node: usize, binary: &Path) -> Result<()> {
        self.spawn(node, binary, &[])
    }

    /// Starts a node that is down as the last words of the command `wrapper`, which must become
    /// the node without a fork: signals go to the process that is started.
    ///
    /// # Errors
    ///
    /// When it is up, or cannot be started.
    pub fn restart_under(&self, node: usize, wrapper: &[&str]) -> Result<()> {
        self.spawn(node, &self.binary, wrapper)
    }

    fn spawn(&self, node: usize, binary: &Path, wrapper: &[&str]) -> Result<()> {
        let mut process = self.process(node);
        ensure!(process.is_none(), "{} is up", self.name(node));
        let binary = binary.as_os_str().to_owned();
        let words = wrapper.iter().map(OsString::from).chain([binary]).chain(self.args(node));
        let mut words = words.collect::<Vec<_>>().into_iter();
        let program = PathBuf::from(words.next().unwrap_or_default());
        let args: Vec<_> = words.collect();
        *process = Some(Process::spawn(&program, &args, &self.node(node).log)?);
        Ok(())
    }

    /// The process id of a node.
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn pid(&self, node: usize) -> Result<u32> {
        let process = self.process(node);
        Ok(process.as_ref().with_context(|| format!("{} is down", self.name(node)))?.id())
    }

    /// Everything that a node has printed, over all its starts.
    pub fn said(&self, node: usize) -> String {
        fs::read_to_string(&self.node(node).log).unwrap_or_default()
    }

    /// Stops the clock of a node (SIGSTOP): it keeps its connections and says nothing.
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn pause(&self, node: usize) -> Result<()> {
        self.signal(node, Signal::SIGSTOP)
    }

    /// Ends a [`Self::pause`].
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn resume(&self, node: usize) -> Result<()> {
        self.signal(node, Signal::SIGCONT)
    }

    /// Sends a signal to a node.
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn signal(&self, node: usize, signal: Signal) -> Result<()> {
        let mut process = self.process(node);
        process.as_mut().with_context(|| format!("{} is down", self.name(node)))?.signal(signal)
    }

    /// Waits for a node to end by itself, after which it counts as down.
    ///
    /// # Errors
    ///
    /// When it still runs after `within`.
    pub fn wait_exit(&self, node: usize, within: Duration) -> Result<ExitStatus> {
        let mut process = self.process(node);
        let mut running = process.take().with_context(|| format!("{} is down", self.name(node)))?;
        let ended = running.wait(within);
        if ended.is_err() {
            *process = Some(running);
        }
        ended.with_context(|| self.name(node).to_owned())
    }

    /// Whether the process of a node runs.
    pub fn is_up(&self, node: usize) -> bool {
        self.process(node).as_mut().is_some_and(|process| matches!(process.ended(), Ok(None)))
    }

    /// The nodes whose processes run.
    pub fn up(&self) -> Vec<usize> {
        (0..self.nodes()).filter(|node| self.is_up(*node)).collect()
    }

    /// What the process of a node uses.
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn resources(&self, node: usize) -> Result<Resources> {
        let process = self.process(node);
        process.as_ref().with_context(|| format!("{} is down", self.name(node)))?.resources()
    }

    /// A node's view of the cluster.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not with the documented JSON.
    pub fn status(&self, node: usize) -> Result<Status> {
        let reply = http::get(self.admin_port(node), "/v1/status")?;
        Status::parse(&reply.body).with_context(|| format!("{}: {}", self.name(node), reply.code))
    }

    /// The leader on which all living nodes agree.
    ///
    /// # Errors
    ///
    /// When they do not, for five seconds.
    pub fn leader(&self) -> Result<usize> {
        wait_every(STATUS_EVERY, "an undisputed leader", Duration::from_secs(5), || {
            let named: BTreeSet<Option<usize>> = self
                .up()
                .into_iter()
                .map(|node| Ok(self.status(node)?.leader().and_then(|name| self.index(name))))
                .collect::<Result<_>>()?;
            let agreed = if named.len() == 1 { named.first().copied().flatten() } else { None };
            agreed.filter(|leader| self.is_up(*leader)).with_context(|| format!("{named:?}"))
        })
    }

    /// The number of the node called `name`.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// Moves leadership to `node`, as an operator does.
    ///
    /// # Errors
    ///
    /// When the move is refused.
    pub fn move_leader(&self, node: usize) -> Result<()> {
        let via = self.up().first().copied().context("every node is down")?;
        let path = format!("/v1/leader?to={}", self.name(node));
        let reply = http::post(self.admin_port(via), &path)?;
        ensure!(reply.code == 200, "move to {}: {} {}", self.name(node), reply.code, reply.body);
        Ok(())
    }

    /// Waits until a node says that it serves clients.
    ///
    /// # Errors
    ///
    /// When it does not within `within`, or has ended.
    pub fn wait_ready(&self, node: usize, within: Duration) -> Result<()> {
        let what = format!("{} to be ready", self.name(node));
        wait_every(STATUS_EVERY, &what, within, || {
            let reply = http::get(self.admin_port(node), "/readyz")?;
            ensure!(reply.code == 200, "{} {}", reply.code, reply.body);
            Ok(())
        })
    }

    /// Waits until every node is up, serves clients, votes, follows the log closely and says so of
    /// all the others: another node may then be lost. Returns the view of the first node.
    ///
    /// # Errors
    ///
    /// What is still not so after `within`.
    pub fn wait_healthy(&self, within: Duration) -> Result<Status> {
        self.wait_status("a healthy cluster", within, |views| {
            let names = self.names();
            views.iter().try_for_each(|view| view.check_healthy(&names, LAG_UNDER_LOAD))
        })
    }

    /// Waits, with no load, until all nodes have applied the same and their digests agree.
    ///
    /// # Errors
    ///
    /// What is still not so after `within`.
    pub fn wait_equal(&self, within: Duration) -> Result<Status> {
        self.wait_status("equal replicas", within, |views| {
            let names = self.names();
            for view in views {
                view.check_healthy(&names, 0)?;
                view.check_digests()?;
            }
            Ok(())
        })
    }

    /// Ends a test that went well. Without it, what the nodes have said is printed.
    ///
    /// # Errors
    ///
    /// When a node has ended by itself or has panicked.
    pub fn finish(mut self) -> Result<()> {
        for node in &self.nodes {
            if let Some(process) = node.process().as_mut() {
                let ended = process.ended()?;
                ensure!(ended.is_none(), "{} has ended by itself: {ended:?}", node.name);
            }
            let said = fs::read_to_string(&node.log).unwrap_or_default();
            ensure!(!said.contains("panicked at"), "{} has panicked", node.name);
        }
        self.finished = true;
        Ok(())
    }

    fn wait_status(
        &self,
        what: &str,
        within: Duration,
        check: impl Fn(&[Status]) -> Result<()>,
    ) -> Result<Status> {
        wait_every(STATUS_EVERY, what, within, || {
            let mut views = Vec::new();
            for node in 0..self.nodes() {
                ensure!(self.is_up(node), "{} is down", self.name(node));
                let ready = http::get(self.admin_port(node), "/readyz")?;
                ensure!(ready.code == 200, "{}: {}", self.name(node), ready.body);
                views.push(self.status(node)?);
            }
            check(&views)?;
            views.into_iter().next().context("no nodes")
        })
    }

    fn names(&self) -> BTreeSet<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    fn process(&self, node: usize) -> MutexGuard<'_, Option<Process>> {
        self.node(node).process()
    }

    #[expect(clippy::indexing_slicing, reason = "a wrong number is a bug of the test: panic")]
    fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        for node in &self.nodes {
            let said = fs::read_to_string(&node.log).unwrap_or_default();
            let lines: Vec<_> = said.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
            println!("--- {}, last {} of {} lines", node.name, tail.len(), lines.len());
            println!("{}", tail.join("\n"));
        }
    }
}

impl Node {
    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Three processes on two cores that find each other; far more than they should need.
const FORMED_WITHIN: Duration = Duration::from_secs(20);
/// Entries by which a replica may trail in a healthy cluster under load: the views of three nodes
/// are never of one instant.
const LAG_UNDER_LOAD: u64 = 2_000;
/// Between two looks at the status: asking must not be a load of its own.
const STATUS_EVERY: Duration = Duration::from_millis(20);
/// Lines of each node's stderr that a failed test prints.
const LINES_SHOWN: usize = 60;

/// More than the default: a machine that stands still for seconds must show as a pause, which is
/// measured, and not as an error. Less than what clients wait for a reply.
const OPERATION_BUDGET_MS: u64 = 4500;
