//! The control: memcached itself, which forgets.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{Process, free_port, wait_for};

/// Stock memcached processes that know nothing of each other.
#[derive(Debug)]
pub struct StockMemcached {
    nodes: Vec<(u16, Mutex<Option<Process>>)>,
    options: Vec<OsString>,
    dir: TempDir,
}

impl StockMemcached {
    /// Starts `nodes` processes and waits until they accept clients.
    ///
    /// # Errors
    ///
    /// When memcached is not installed.
    pub fn start(nodes: usize) -> Result<Self> {
        Self::start_with(nodes, &[])
    }

    /// [`Self::start`] with more command line options.
    ///
    /// # Errors
    ///
    /// When memcached is not installed.
    pub fn start_with(nodes: usize, options: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("stock-memcached-").tempdir()?;
        let nodes =
            (0..nodes).map(|_| Ok((free_port()?, Mutex::new(None)))).collect::<Result<Vec<_>>>()?;
        let options = options.iter().map(OsString::from).collect();
        let stock = Self { nodes, options, dir };
        for node in 0..stock.nodes() {
            stock.restart(node)?;
            stock.wait_ready(node)?;
        }
        Ok(stock)
    }

    /// How many processes were started.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The port for clients of a node.
    pub fn client_port(&self, node: usize) -> u16 {
        self.node(node).0
    }

    /// Crashes a node with SIGKILL.
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn kill(&self, node: usize) -> Result<()> {
        Ok(self.process(node).take().context("memcached is down")?.kill()?)
    }

    /// Starts a node that is down.
    ///
    /// # Errors
    ///
    /// When it is up, or memcached is not installed.
    pub fn restart(&self, node: usize) -> Result<()> {
        let mut process = self.process(node);
        ensure!(process.is_none(), "memcached is up");
        // As root, memcached wants to be told whom to become.
        let port = self.client_port(node).to_string();
        let args = ["-l", "127.0.0.1", "-p", &port, "-U", "0", "-u", "nobody"];
        let args: Vec<_> =
            args.into_iter().map(OsString::from).chain(self.options.iter().cloned()).collect();
        let log = self.dir.path().join(format!("memcached-{node}.log"));
        *process = Some(Process::spawn(Path::new("memcached"), &args, &log)?);
        Ok(())
    }

    /// Waits until a node accepts clients.
    ///
    /// # Errors
    ///
    /// When it does not within five seconds.
    pub fn wait_ready(&self, node: usize) -> Result<()> {
        let address = (Ipv4Addr::LOCALHOST, self.client_port(node));
        wait_for("memcached (is it installed?)", Duration::from_secs(5), || {
            Ok(TcpStream::connect(address).map(drop)?)
        })
    }

    fn process(&self, node: usize) -> MutexGuard<'_, Option<Process>> {
        self.node(node).1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::indexing_slicing, reason = "a wrong number is a bug of the test: panic")]
    fn node(&self, node: usize) -> &(u16, Mutex<Option<Process>>) {
        &self.nodes[node]
    }
}
