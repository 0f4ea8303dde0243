//! One server process, which does not outlive the test.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;
use std::{env, io};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait_for;

/// A running server, its stdout and stderr appended to a file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// What a process uses, from `/proc/PID/status`.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    /// Resident size now, in bytes.
    pub resident: u64,
    /// Largest resident size so far, in bytes.
    pub resident_max: u64,
}

impl Process {
    /// Starts `program` with `args`; what it prints is appended to `log`.
    ///
    /// The environment is the test's own without `RAFTCACHED_*`, which would be options.
    ///
    /// # Errors
    ///
    /// When the program cannot be started or the file not be opened.
    pub fn spawn(program: &Path, args: &[OsString], log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let mut command = guarded(program);
        command.args(args).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("RAFTCACHED_") {
                command.env_remove(name);
            }
        }
        let child = spawn_for_life(command).with_context(|| format!("starting {program:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`; returns once the process is gone and its sockets are closed.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    /// Sends `signal`.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("process {} has ended: {status}", self.id());
        }
        let pid = Pid::from_raw(i32::try_from(self.id())?);
        kill(pid, signal).with_context(|| format!("{signal} to process {pid}"))
    }

    /// How the process ended, or `None` while it runs.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    ///
    /// When it still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let id = self.id();
        wait_for("the process to end", within, || {
            self.child.try_wait()?.with_context(|| format!("process {id} still runs"))
        })
    }

    /// Everything it has printed.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn output(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("reading {:?}", self.log))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What it uses now.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn resources(&self) -> Result<Resources> {
        let path = format!("/proc/{}/status", self.id());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let bytes = |field: &str| -> Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            let kib = line.and_then(|rest| rest.split_whitespace().next()).context("no VmRSS")?;
            Ok(kib.parse::<u64>()? * 1024)
        };
        Ok(Resources { resident: bytes("VmRSS:")?, resident_max: bytes("VmHWM:")? })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to do about a refusal: it means that the process has ended already.
        let _ = self.kill();
    }
}

/// `program`, to be killed by the kernel when its parent thread dies, if the system can say so
/// without `unsafe`: `setpriv` (util-linux) sets the flag and becomes the program.
fn guarded(program: &Path) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let available = SETPRIV.get_or_init(|| {
        let probe = Command::new("setpriv").args(["--pdeathsig", "KILL", "--", "true"]).output();
        probe.is_ok_and(|output| output.status.success())
    });
    if !*available {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Spawns from a thread that lives as long as this process: the flag of [`guarded`] speaks of the
/// *thread* that spawned, and the thread of one test may end before its cluster does.
fn spawn_for_life(command: Command) -> Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue): (Sender<Job>, Receiver<Job>) = channel();
        thread::spawn(move || {
            for (mut command, reply) in queue {
                // Fails only if the asking thread has panicked; the child then goes down with it.
                if let Err(unclaimed) = reply.send(command.spawn()) {
                    drop(unclaimed.0.map(|mut child| child.kill()));
                }
            }
        });
        Mutex::new(jobs)
    });
    let (reply, answer) = channel();
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply))?;
    Ok(answer.recv()??)
}
