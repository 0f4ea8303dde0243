//! Looks after one node process of `dev`.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::{NodePlan, POLL, is_ready};

/// Starts one node, and starts it again when it has died, until told to stop.
///
/// The node's standard input is a pipe that this process holds: it ends the node when this process
/// goes away, even by `kill -9`.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) node: NodePlan,
    pub(super) program: PathBuf,
    /// Where the node's `pid` and `log` go.
    pub(super) dir: PathBuf,
    /// How long after its death the node is started again, if at all.
    pub(super) respawn: Option<Duration>,
    pub(super) events: mpsc::Sender<Event>,
    /// Its sender's end is the word to stop.
    pub(super) stopped: watch::Receiver<()>,
}

/// What became of a node.
#[derive(Debug)]
pub(super) enum Event {
    /// The process runs.
    Started { node: String, pid: u32 },
    /// The process could not be started.
    NotStarted { node: String, why: String },
    /// It answers clients.
    Ready { node: String, pid: u32 },
    /// The process is gone.
    Ended { node: String, pid: u32, how: String, log: PathBuf, again: Option<Duration> },
}

impl Supervisor {
    /// Ends when the node has, and is not to be started again. Leaves no process behind.
    pub(super) async fn run(self) {
        let mut stopped = self.stopped.clone();
        loop {
            match self.start() {
                Ok((mut child, pid)) => tokio::select! {
                    () = self.follow(&mut child, pid) => {}
                    _ = stopped.changed() => {
                        // Fails only if it has died at this very moment.
                        let _ = child.kill().await;
                        return;
                    }
                },
                Err(error) => {
                    let why = format!("{error:#}");
                    self.tell(Event::NotStarted { node: self.node.name.clone(), why }).await;
                }
            }
            let Some(after) = self.respawn else { return };
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                _ = stopped.changed() => return,
            }
        }
    }

    fn start(&self) -> anyhow::Result<(Child, u32)> {
        let path = self.log();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| path.display().to_string())?;
        let mut command = Command::new(&self.program);
        for option in NOT_FOR_THREE {
            command.env_remove(format!("RAFTCACHED_{option}"));
        }
        let child = command
            .args(&self.node.words)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("log")?)
            .stderr(log)
            // Ctrl-C on the terminal is for us alone: one end, not four at the same time.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let pid = child.id().context("no process id")?;
        self.write_pid(pid)?;
        Ok((child, pid))
    }

    async fn follow(&self, child: &mut Child, pid: u32) {
        let node = || self.node.name.clone();
        // `Child::wait` would close this pipe first, and so end the node.
        let _pipe = child.stdin.take();
        self.tell(Event::Started { node: node(), pid }).await;
        let ready = async {
            while !is_ready(&self.node.admin).await {
                tokio::time::sleep(POLL).await;
            }
        };
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = ready => {
                self.tell(Event::Ready { node: node(), pid }).await;
                child.wait().await
            }
        };
        let how = ended.map_or_else(|error| error.to_string(), how);
        let event = Event::Ended { node: node(), pid, how, log: self.log(), again: self.respawn };
        self.tell(event).await;
    }

    /// Scripts read the file at any moment, so it is never half written.
    fn write_pid(&self, pid: u32) -> anyhow::Result<()> {
        let (file, new) = (self.dir.join("pid"), self.dir.join("pid.new"));
        std::fs::write(&new, format!("{pid}\n")).with_context(|| new.display().to_string())?;
        std::fs::rename(&new, &file).with_context(|| file.display().to_string())
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    async fn tell(&self, event: Event) {
        // Fails only when the program is ending.
        let _ = self.events.send(event).await;
    }
}

/// Options that name one thing, which three nodes would fight for, or that hide a node from us.
const NOT_FOR_THREE: [&str; 4] = ["DAEMON", "PIDFILE", "UDP_PORT", "UNIX_SOCKET"];

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
