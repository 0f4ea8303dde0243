//! One measured process, started and stopped by the benchmark.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::unistd::Pid;

use crate::interrupt;

/// A child process. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl NodeProcess {
    /// Starts `command`, with its output in a file in `directory`.
    ///
    /// # Errors
    ///
    /// If the program does not start.
    pub(crate) fn start(
        name: &str,
        command: &mut Command,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = std::fs::File::create(&log).context("creating a log file")?;
        let error_output = output.try_clone().context("sharing a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(error_output)
            .spawn()
            .with_context(|| format!("starting {name} with {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process id, for the CPU clock.
    ///
    /// # Errors
    ///
    /// Never on Linux, where a process id is a positive i32.
    pub(crate) fn pid(&self) -> anyhow::Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id()).context("a process id")?))
    }

    /// Polls `is_ready` until it says so.
    ///
    /// # Errors
    ///
    /// If the process ends, the program is interrupted, or [`READY_WITHIN`] passes. The message
    /// carries the end of the process's output.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        mut is_ready: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        while !is_ready() {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait().context("looking after a process")? {
                bail!("{} ended before it was {what}: {status}{}", self.name, self.log_tail());
            }
            if READY_WITHIN < start.elapsed() {
                let waited = READY_WITHIN.as_secs();
                bail!("{} is not {what} after {waited} s{}", self.name, self.log_tail());
            }
            std::thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    /// The last lines of output, on lines of their own.
    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default();
        tail.iter().map(|line| format!("\n  {line}")).collect()
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody left to tell otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns `count` different loopback addresses that nobody listens on at the moment.
///
/// # Errors
///
/// If the ports have run out.
pub(crate) fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a port")?);
    }
    listeners.iter().map(|listener| listener.local_addr().context("reading a port")).collect()
}

const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(10);
const LOG_TAIL_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_early_shows_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo port in use >&2; exit 7"]);
        let mut process = NodeProcess::start("n1", &mut command, directory.path()).unwrap();
        let error = process.wait_until("ready", || false).unwrap_err().to_string();
        assert!(error.contains("n1 ended before it was ready"), "{error}");
        assert!(error.contains('7') && error.contains("\n  port in use"), "{error}");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        let process = NodeProcess::start("n1", command.arg("60"), directory.path()).unwrap();
        let pid = process.pid().unwrap();
        assert!(crate::cpu::cpu_time(&[pid]).is_ok());
        drop(process);
        assert!(crate::cpu::cpu_time(&[pid]).is_err());
    }

    #[test]
    fn free_addresses_differ() {
        let mut addresses = free_addresses(9).unwrap();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 9);
    }
}
