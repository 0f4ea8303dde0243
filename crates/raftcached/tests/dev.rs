//! `raftcached dev` with real processes: what scripts rely on, and that it leaves nothing behind.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running `dev`; killed when dropped, and its nodes with it.
struct Dev {
    child: Child,
    port: u16,
}

impl Dev {
    /// Starts `dev` on free ports and waits until it says that it is ready.
    fn start(dir: &Path, options: &[&str]) -> Result<Self> {
        let first = u16::try_from(std::process::id() % 1000)?;
        for _ in 0..100 {
            let step = STEP.fetch_add(1, Ordering::Relaxed);
            // Below the ports that the kernel gives to clients, twenty thousand above included.
            let port = 2_048 + (first + step * 17) % 1_000 * 10;
            let mut child = Command::new(env!("CARGO_BIN_EXE_raftcached"))
                .args(["dev", "--port", &port.to_string(), "--dir"])
                .arg(dir)
                .args(options)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let stdout = child.stdout.take().context("stdout")?;
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line)?;
            let mut dev = Self { child, port };
            if line.starts_with("raftcached: three nodes are ready") {
                return Ok(dev);
            }
            // Others on this machine may take a port between the look at it and its use.
            let mut why = String::new();
            dev.child.stderr.take().context("stderr")?.read_to_string(&mut why)?;
            ensure!(why.contains("already in use"), "dev is not ready: {why}");
        }
        bail!("no free ports")
    }

    fn pids(&self, dir: &Path) -> Result<Vec<Pid>> {
        ["n1", "n2", "n3"].into_iter().map(|node| pid(dir, node)).collect()
    }

    fn request(&self, node: u16, request: &str) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port + node))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(dir: &Path, node: &str) -> Result<Pid> {
    let text = std::fs::read_to_string(dir.join(node).join("pid"))?;
    Ok(Pid::from_raw(text.trim().parse()?))
}

fn is_gone(pid: Pid) -> bool {
    kill(pid, None) == Err(Errno::ESRCH)
}

fn wait_until(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        ensure!(Instant::now() < deadline, "not within {} s: {what}", LIMIT.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// No two tests of this file try the same port.
static STEP: AtomicU16 = AtomicU16::new(0);
/// Generous: the machine may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_killed_node_comes_back_and_sigterm_ends_all() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut dev = Dev::start(dir.path(), &["--respawn", "0.1"])?;
    let stored = dev.request(1, "set greeting 0 0 5\r\nhello\r\nquit\r\n")?;
    ensure!(stored == "STORED\r\n", "{stored}");

    let victim = pid(dir.path(), "n1")?;
    kill(victim, Signal::SIGKILL)?;
    let have = dev.request(2, "get greeting\r\nquit\r\n")?;
    ensure!(have == "VALUE greeting 0 5\r\nhello\r\nEND\r\n", "{have}");
    let is_back = || pid(dir.path(), "n1").is_ok_and(|pid| pid != victim);
    wait_until("n1 is started again", is_back)?;
    wait_until("n1 takes clients again", || dev.request(0, "quit\r\n").is_ok())?;
    let have = dev.request(0, "get greeting\r\nquit\r\n")?;
    ensure!(have == "VALUE greeting 0 5\r\nhello\r\nEND\r\n", "{have}");

    let pids = dev.pids(dir.path())?;
    kill(Pid::from_raw(i32::try_from(dev.child.id())?), Signal::SIGTERM)?;
    let status = dev.child.wait()?;
    ensure!(status.code() == Some(0), "dev ended with {status}");
    ensure!(pids.iter().all(|pid| is_gone(*pid)), "dev has left nodes behind");
    Ok(())
}

#[test]
fn the_nodes_do_not_outlive_a_dev_that_was_killed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut dev = Dev::start(dir.path(), &["--respawn", "never"])?;
    let pids = dev.pids(dir.path())?;
    ensure!(!pids.iter().any(|pid| is_gone(*pid)), "a node is gone already");
    dev.child.kill()?;
    dev.child.wait()?;
    wait_until("all nodes are gone", || pids.iter().all(|pid| is_gone(*pid)))
}

/// Method: SIGTERM each node of a cluster in turn, the leader among them.
#[test]
fn a_node_ends_in_order_at_sigterm() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dev = Dev::start(dir.path(), &["--respawn", "0"])?;
    for node in ["n1", "n2", "n3"] {
        let victim = pid(dir.path(), node)?;
        kill(victim, Signal::SIGTERM)?;
        let is_back = || pid(dir.path(), node).is_ok_and(|pid| pid != victim);
        wait_until("the node is started again", is_back)?;
        let log = std::fs::read_to_string(dir.path().join(node).join("log"))?;
        ensure!(log.contains("raftcached::server: ended"), "{node} was cut off: {log}");
        let at = node.trim_start_matches('n').parse::<u16>()? - 1;
        wait_until("it takes clients again", || dev.request(at, "quit\r\n").is_ok())?;
    }
    Ok(())
}
