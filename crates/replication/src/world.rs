//! What a node has around it: the network, the wall clock, files, threads for long work.
//!
//! [`World::real`] is the machine. A simulation has one of its own for each node, all of them on
//! one thread; monotonic time is tokio's in both, which a simulation stops and advances.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::background;

/// Everything outside of the process that a node needs. A clone is the same.
#[derive(Clone)]
pub struct World {
    /// Connections to peers.
    pub net: Arc<dyn Net>,
    /// The wall clock.
    pub wall: WallClock,
    /// Where data directories are.
    pub files: Arc<dyn Files>,
    /// Who does what takes long.
    pub labour: Labour,
}

/// Milliseconds since 1970, as a wall clock shows them: it may jump, in both directions.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Who does what takes long: writing a snapshot, reading the log from the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labour {
    /// Threads beside the raft thread.
    Threads,
    /// The raft thread itself, at once. For simulations: there is one thread for everything.
    Inline,
}

/// Makes connections to peers.
pub trait Net: Send + Sync {
    /// Connects to `host:port`; whoever asks limits the time.
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Wire>>;
}

/// Takes connections of peers at one address.
pub trait Listen: Send {
    /// The next connection, and where it comes from. Cancelling it loses none.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Wire, SocketAddr)>>;
}

/// Where peers connect.
pub enum Listener {
    /// A socket, bound by the caller.
    Tcp(std::net::TcpListener),
    /// Somebody else's.
    Other(Box<dyn Listen>),
}

/// What a connection's bytes go through.
pub enum Wire {
    /// A socket.
    Tcp(TcpStream),
    /// Somebody else's.
    Other(Box<dyn Duplex>),
}

/// A stream of bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Directories, each a [`wal::Disk`].
pub trait Files: Send + Sync {
    /// Takes a directory for this process; creates it if there is none.
    ///
    /// # Errors
    ///
    /// [`wal::Error::InUse`] if another process has it, and what the system says.
    fn open(&self, path: &Path) -> Result<Arc<dyn wal::Disk>, wal::Error>;

    /// Whether there is a directory.
    fn is_dir(&self, path: &Path) -> bool;

    /// The names in a directory.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn names(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Removes a directory and all in it; there may be none.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// A text that changes whenever the operating system is started.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn boot_id(&self) -> io::Result<String>;

    /// Who writes and syncs the log.
    fn log_work(&self) -> wal::Work;
}

impl World {
    /// The machine that this program runs on.
    pub fn real() -> Self {
        Self {
            net: Arc::new(RealNet),
            wall: system_wall(),
            files: Arc::new(RealFiles),
            labour: Labour::Threads,
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("labour", &self.labour).finish_non_exhaustive()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => listener.fmt(f),
            Self::Other(_) => f.write_str("a listener"),
        }
    }
}

impl Labour {
    /// Does `work` where it delays nobody, at a low priority.
    ///
    /// # Errors
    ///
    /// If no thread can be had, or it panicked.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Threads => background::run(name, work).await,
            Self::Inline => Ok(work()),
        }
    }

    /// Does `work` that is short but may wait for a disk.
    ///
    /// # Errors
    ///
    /// If it panicked.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            Self::Inline => Ok(work()),
        }
    }
}

/// The wall clock of this machine.
pub(crate) fn system_wall() -> WallClock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

struct RealNet;

impl Net for RealNet {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Wire>> {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Wire::Tcp(stream))
        })
    }
}

struct RealFiles;

impl Files for RealFiles {
    fn open(&self, path: &Path) -> Result<Arc<dyn wal::Disk>, wal::Error> {
        Ok(Arc::new(wal::OsDisk::open(path)?))
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn boot_id(&self) -> io::Result<String> {
        Ok(std::fs::read_to_string(BOOT_ID)?.trim().to_owned())
    }

    fn log_work(&self) -> wal::Work {
        wal::Work::Threads
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Other(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Other(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Other(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Other(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
