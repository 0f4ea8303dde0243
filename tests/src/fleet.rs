//! Nodes that are started one by one, each in its own way, and the operator's tools.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::poll::wait_every;
use crate::{Partitions, Process, Status, binary, free_port, http};

/// Names and ports n1, n2, ... for `raftcached server` processes; nodes are numbered from 0.
#[derive(Debug)]
pub struct Fleet {
    nodes: Vec<Berth>,
    binary: PathBuf,
    finished: bool,
    /// Last, so that the processes are gone before their files.
    dir: TempDir,
}

#[derive(Debug)]
struct Berth {
    name: String,
    client_port: u16,
    peer: SocketAddrV4,
    admin_port: u16,
    /// Command before the binary, which becomes it without a fork.
    wrapper: String,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

/// How a tool ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its exit status.
    pub code: Option<i32>,
    /// Standard output, then standard error.
    pub text: String,
}

impl Fleet {
    /// Takes names and ports for `count` nodes; starts none.
    ///
    /// # Errors
    ///
    /// When the binary is missing.
    pub fn new(count: usize) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("cluster-tests-").tempdir()?;
        let nodes = (1..=count).map(|number| {
            Ok(Berth {
                name: format!("n{number}"),
                client_port: free_port()?,
                peer: SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()?),
                admin_port: free_port()?,
                wrapper: String::new(),
                log: dir.path().join(format!("n{number}.log")),
                process: Mutex::new(None),
            })
        });
        let nodes = nodes.collect::<Result<_>>()?;
        Ok(Self { nodes, binary: binary()?, finished: false, dir })
    }

    /// As [`Self::new`], for nodes that can be cut off from each other, in the network of
    /// [`Partitions::prepare`].
    ///
    /// # Errors
    ///
    /// When the binary is missing.
    pub fn apart(count: usize) -> Result<Self> {
        let mut fleet = Self::new(count)?;
        for (number, node) in fleet.nodes.iter_mut().enumerate() {
            node.peer.set_ip(Partitions::host(number));
            // Another group takes away the signal at its parent's death, so it is asked for again.
            let group = Partitions::group(number);
            node.wrapper = format!("setpriv --regid {group} --clear-groups --pdeathsig KILL --");
        }
        Ok(fleet)
    }

    /// Starts a node from now on as the last words of one more command, which must become the node
    /// without a fork.
    pub fn wrap(&mut self, node: usize, words: &str) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.wrapper = format!("{} {words}", node.wrapper);
        }
    }

    /// Starts a node with its name, its addresses and the words of `options`.
    ///
    /// # Errors
    ///
    /// When it is up, or cannot be started.
    pub fn start(&self, node: usize, options: &str) -> Result<()> {
        let Berth { name, client_port, peer, admin_port, wrapper, log, .. } = self.node(node);
        let own = format!(
            "server --name {name} -l 127.0.0.1 -p {client_port} \
             --peer-listen {peer} --admin-listen 127.0.0.1:{admin_port} {options}"
        );
        let words = wrapper.split_whitespace().map(OsString::from);
        let words = words.chain([self.binary.clone().into_os_string()]);
        let mut words = words.chain(own.split_whitespace().map(OsString::from));
        let program = PathBuf::from(words.next().unwrap_or_default());
        let mut process = self.process(node);
        // One that has ended by itself, as a removed node does, is down.
        let runs = matches!(process.as_mut().map(Process::ended), Some(Ok(None)));
        ensure!(!runs, "{name} is up");
        *process = Some(Process::spawn(&program, &words.collect::<Vec<_>>(), log)?);
        Ok(())
    }

    /// A directory that lives as long as the fleet.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The port for clients of a node.
    pub fn client_port(&self, node: usize) -> u16 {
        self.node(node).client_port
    }

    /// The admin port of a node.
    pub fn admin_port(&self, node: usize) -> u16 {
        self.node(node).admin_port
    }

    /// The peer address of a node.
    pub fn peer(&self, node: usize) -> String {
        self.node(node).peer.to_string()
    }

    /// `--join` with the peer addresses of the first `count` nodes.
    pub fn join(&self, count: usize) -> String {
        let addresses: Vec<_> = (0..count).map(|node| self.peer(node)).collect();
        format!("--join {}", addresses.join(","))
    }

    /// Crashes a node with SIGKILL.
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn kill(&self, node: usize) -> Result<()> {
        Ok(self.process(node).take().context("it is down")?.kill()?)
    }

    /// Sends a signal to a node.
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn signal(&self, node: usize, signal: Signal) -> Result<()> {
        self.process(node).as_mut().context("it is down")?.signal(signal)
    }

    /// The process id of a node.
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn pid(&self, node: usize) -> Result<u32> {
        Ok(self.process(node).as_ref().context("it is down")?.id())
    }

    /// Waits for a node to end by itself, after which it counts as down.
    ///
    /// # Errors
    ///
    /// When it still runs after `within`.
    pub fn wait_exit(&self, node: usize, within: Duration) -> Result<ExitStatus> {
        let mut process = self.process(node);
        let ended = process.as_mut().context("it is down")?.wait(within)?;
        *process = None;
        Ok(ended)
    }

    /// What a node has logged.
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(&self.node(node).log).unwrap_or_default()
    }

    /// A node's view of the cluster.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn status(&self, node: usize) -> Result<Status> {
        Status::parse(&http::get(self.admin_port(node), "/v1/status")?.body)
    }

    /// The number of the node that leads, as `via` knows it.
    ///
    /// # Errors
    ///
    /// When it knows of none for five seconds.
    pub fn leader(&self, via: usize) -> Result<usize> {
        wait_every(LOOK_EVERY, "a leader", Duration::from_secs(5), || {
            let status = self.status(via)?;
            let name = status.leader().context("nobody leads")?;
            self.nodes.iter().position(|node| node.name == name).context("a stranger leads")
        })
    }

    /// Waits until the members are `nodes`, in the eyes of all of them, and all of them vote, serve
    /// and follow closely.
    ///
    /// # Errors
    ///
    /// What is still not so after `within`.
    pub fn wait_members(&self, nodes: &[usize], within: Duration) -> Result<()> {
        let names: BTreeSet<_> = nodes.iter().map(|node| self.node(*node).name.clone()).collect();
        wait_every(LOOK_EVERY, &format!("members {names:?}"), within, || {
            for node in nodes {
                let ready = http::get(self.admin_port(*node), "/readyz")?;
                ensure!(ready.code == 200, "{}: {}", self.node(*node).name, ready.body);
                self.status(*node)?.check_healthy(&names, LAG_UNDER_LOAD)?;
            }
            Ok(())
        })
    }

    /// Waits, with no load, until [`Self::wait_members`] holds of `nodes`, and they have applied the
    /// same and have equal digests.
    ///
    /// # Errors
    ///
    /// What is still not so after `within`.
    pub fn wait_equal(&self, nodes: &[usize], within: Duration) -> Result<()> {
        let names: BTreeSet<_> = nodes.iter().map(|node| self.node(*node).name.clone()).collect();
        wait_every(LOOK_EVERY, "equal replicas", within, || {
            for node in nodes {
                let status = self.status(*node)?;
                status.check_healthy(&names, 0)?;
                status.check_digests()?;
            }
            Ok(())
        })
    }

    /// Moves leadership to `node`, as an operator does who asks `via`.
    ///
    /// # Errors
    ///
    /// When the move is refused.
    pub fn move_leader(&self, via: usize, node: usize) -> Result<()> {
        let path = format!("/v1/leader?to={}", self.name(node));
        let reply = http::post(self.admin_port(via), &path)?;
        ensure!(reply.code == 200, "move to {}: {} {}", self.name(node), reply.code, reply.body);
        Ok(())
    }

    /// The numbers of the members, as `via` knows them.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn members(&self, via: usize) -> Result<BTreeSet<usize>> {
        let status = self.status(via)?;
        let number = |name: &str| self.nodes.iter().position(|node| node.name == name);
        let numbers = status.nodes.iter().map(|node| number(&node.name).context("a stranger"));
        numbers.collect()
    }

    /// Whether the process of a node runs.
    pub fn is_up(&self, node: usize) -> bool {
        self.process(node).as_mut().is_some_and(|process| matches!(process.ended(), Ok(None)))
    }

    /// The name of a node.
    pub fn name(&self, node: usize) -> &str {
        &self.node(node).name
    }

    /// Runs `raftcached member` with the admin address of `via`.
    ///
    /// # Errors
    ///
    /// When the binary cannot be run.
    pub fn member(&self, via: usize, words: &str) -> Result<Said> {
        let admin = self.admin_port(via);
        self.run(&format!("member {words} --cluster 127.0.0.1:{admin}"))
    }

    /// Runs the binary to its end, without a terminal and without options in the environment.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn run(&self, words: &str) -> Result<Said> {
        let output = Command::new(&self.binary)
            .args(words.split_whitespace())
            .env_clear()
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8([output.stdout, output.stderr].concat())?;
        println!("$ raftcached {words}\n{text}");
        Ok(Said { code: output.status.code(), text })
    }

    /// Ends a test that went well. Without it, what the nodes have said is printed.
    ///
    /// # Errors
    ///
    /// When a node has panicked.
    pub fn finish(mut self) -> Result<()> {
        for node in 0..self.nodes.len() {
            ensure!(!self.log(node).contains("panicked at"), "n{} has panicked", node + 1);
        }
        self.finished = true;
        Ok(())
    }

    fn process(&self, node: usize) -> MutexGuard<'_, Option<Process>> {
        self.node(node).process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::indexing_slicing, reason = "a wrong number is a bug of the test: panic")]
    fn node(&self, node: usize) -> &Berth {
        &self.nodes[node]
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let said = self.log(number);
            let lines: Vec<_> = said.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
            println!("--- {}\n{}", node.name, tail.join("\n"));
        }
    }
}

impl Said {
    /// Checks the exit status, and that the text has `part` in it.
    ///
    /// # Errors
    ///
    /// What is not so.
    pub fn check(&self, code: i32, part: &str) -> Result<()> {
        ensure!(self.code == Some(code), "status {:?} instead of {code}: {}", self.code, self.text);
        ensure!(self.text.contains(part), "no {part:?} in: {}", self.text);
        Ok(())
    }
}

/// Entries by which a member may trail under load.
const LAG_UNDER_LOAD: u64 = 2_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LINES_SHOWN: usize = 40;
