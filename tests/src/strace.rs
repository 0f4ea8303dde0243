//! Faults in system calls, made by `strace`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Process, wait_for};

/// A tracer attached to a node. It ends with the node.
#[derive(Debug)]
pub struct Strace {
    // Held: dropping it detaches.
    _tracer: Process,
    log: PathBuf,
}

impl Strace {
    /// Lets every later `fsync` and `fdatasync` of process `pid` fail with EIO; returns once that
    /// is so. `dir` takes the tracer's files.
    ///
    /// # Errors
    ///
    /// When strace is not installed, or may not attach.
    pub fn fail_syncs(pid: u32, dir: &Path) -> Result<Self> {
        Self::attach(pid, dir, "error=EIO")
    }

    /// Lets every later `fsync` and `fdatasync` of process `pid` take `delay` longer, until the
    /// tracer is dropped; returns once that is so. `dir` takes the tracer's files.
    ///
    /// # Errors
    ///
    /// When strace is not installed, or may not attach.
    pub fn delay_syncs(pid: u32, delay: Duration, dir: &Path) -> Result<Self> {
        Self::attach(pid, dir, &format!("delay_enter={}", delay.as_micros()))
    }

    fn attach(pid: u32, dir: &Path, injected: &str) -> Result<Self> {
        let log = dir.join(format!("strace-{pid}"));
        let mut args: Vec<OsString> =
            ["-f", "-ttt", "-e", "trace=fsync,fdatasync"].map(OsString::from).into();
        let inject = format!("inject=fsync,fdatasync:{injected}");
        args.extend(["-e", &inject, "-p"].map(OsString::from));
        args.extend([pid.to_string().into(), "-o".into(), log.clone().into()]);
        let said = dir.join(format!("strace-{pid}.said"));
        let tracer = Process::spawn(Path::new("strace"), &args, &said)?;
        wait_for("strace to attach", ATTACHED_WITHIN, || {
            let said = tracer.output()?;
            ensure!(said.contains("attached"), "{said}");
            Ok(())
        })?;
        Ok(Self { _tracer: tracer, log })
    }

    /// When the first call failed, as time since 1970.
    ///
    /// # Errors
    ///
    /// When none has failed.
    pub fn first_failure(&self) -> Result<Duration> {
        let log = std::fs::read_to_string(&self.log)?;
        let line = log.lines().find(|line| line.contains("(INJECTED)"));
        let stamp = line.context("no call has failed")?.split_whitespace().nth(1);
        Ok(Duration::from_secs_f64(stamp.context("a line without a time")?.parse()?))
    }

    /// The words of a command that runs a program whose syncs each take `delay` longer. Only these
    /// calls are stopped at; the process that is started is the program itself.
    pub fn slow_syncs(delay: Duration) -> Vec<String> {
        let inject = format!("inject=fsync,fdatasync:delay_enter={}", delay.as_micros());
        let words = ["strace", "-D", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e"];
        let words = words.into_iter().chain(["trace=fsync,fdatasync", "-e", &inject]);
        words.map(str::to_owned).collect()
    }
}

const ATTACHED_WITHIN: Duration = Duration::from_secs(10);
