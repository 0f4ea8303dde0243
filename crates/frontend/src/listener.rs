//! Addresses that clients connect to.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::registry::Endpoint;

/// One address, reserved at start and opened when the node is ready.
///
/// ```text
///   bind ──▶ reserved ──listen──▶ open ──suspend──▶ reserved
///            (connections are refused)
/// ```
///
/// A node that cannot answer yet, or cannot answer any more, is thereby refused by the kernel and
/// clients go elsewhere at once.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    /// Whether clients speak TLS.
    tls: bool,
}

/// Where a [`Listener`] is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A UDP port.
    Udp(SocketAddr),
    /// A Unix domain socket's file.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another process has it.
    #[error("cannot listen on {address}: address in use by another process")]
    AddressInUse {
        /// The address asked for.
        address: Address,
    },
    /// The system refuses it.
    #[error("cannot listen on {address}")]
    Refused {
        /// The address asked for.
        address: Address,
        /// The system's reason.
        source: io::Error,
    },
}

impl Listener {
    /// Reserves a TCP address; port 0 takes a free port. Nobody can connect yet.
    ///
    /// Linux lets two processes reserve the same address as long as none of them is open, so a
    /// second one may fail only in [`Listener::listen`].
    ///
    /// # Errors
    ///
    /// [`ListenError`], which names the address.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let mut socket =
            bind_tcp(address).map_err(|error| error_at(error, Address::Tcp(address)))?;
        let bound = local_address(&socket).unwrap_or(address);
        if address.port() == 0 {
            // A port that the kernel chose is given up by `suspend`; one that was asked for is not.
            drop(socket);
            socket = bind_tcp(bound).map_err(|error| error_at(error, Address::Tcp(bound)))?;
        }
        Ok(Self { socket, address: Address::Tcp(bound), tls: false })
    }

    /// Takes a UDP address (`-U`); port 0 takes a free port. What clients send waits in the kernel
    /// until the node is ready.
    ///
    /// # Errors
    ///
    /// [`ListenError`], which names the address.
    pub fn bind_udp(address: SocketAddr) -> Result<Self, ListenError> {
        let bind = || {
            let socket =
                Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            if address.ip().is_ipv6() {
                socket.set_only_v6(true)?;
            }
            // A reply of many datagrams leaves at once. As much as the system allows.
            let _ = socket.set_send_buffer_size(UDP_SEND_BUFFER_LEN);
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            Ok(socket)
        };
        let socket = bind().map_err(|error| error_at(error, Address::Udp(address)))?;
        let bound = local_address(&socket).unwrap_or(address);
        Ok(Self { socket, address: Address::Udp(bound), tls: false })
    }

    /// Reserves a Unix domain socket at `path` with the access bits `mode` (`-a`), in the place of
    /// a socket that is already there, as memcached does.
    ///
    /// # Errors
    ///
    /// [`ListenError`], which names the path.
    pub fn bind_unix(path: &Path, mode: u32) -> Result<Self, ListenError> {
        let address = Address::Unix(path.to_owned());
        let bind = || {
            if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
                std::fs::remove_file(path)?;
            }
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(path)?)?;
            // Before anybody can connect, so there is no moment with wider access.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        match bind() {
            Ok(socket) => Ok(Self { socket, address, tls: false }),
            Err(error) => Err(error_at(error, address)),
        }
    }

    /// Has clients speak TLS here, with [`crate::Options::tls`].
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Whether clients speak TLS here.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Where clients connect, with the port that was really taken.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Opens the address: from now on the kernel accepts up to `backlog` connections ahead of us.
    ///
    /// # Errors
    ///
    /// [`ListenError`], which names the address.
    pub fn listen(&self, backlog: i32) -> Result<(), ListenError> {
        if let Address::Udp(_) = self.address {
            return Ok(());
        }
        self.socket.listen(backlog).map_err(|error| error_at(error, self.address.clone()))
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether [`Listener::suspend`] can work here.
    pub(crate) fn can_suspend(&self) -> bool {
        matches!(self.address, Address::Tcp(_))
    }

    /// Closes the address again but keeps it reserved; says whether it could.
    ///
    /// Linux leaves a listening TCP socket that is shut down bound, and able to listen again.
    pub(crate) fn suspend(&self) -> bool {
        self.can_suspend() && self.socket.shutdown(Shutdown::Read).is_ok()
    }

    /// The socket of a UDP address; `None` for others.
    pub(crate) fn datagrams(&self) -> Result<Option<std::net::UdpSocket>, ListenError> {
        match self.address {
            Address::Udp(_) => match self.socket.try_clone() {
                Ok(socket) => Ok(Some(socket.into())),
                Err(error) => Err(error_at(error, self.address.clone())),
            },
            Address::Tcp(_) | Address::Unix(_) => Ok(None),
        }
    }

    /// The open address as tokio sees it; an error for UDP, where nobody connects. To be dropped before [`Listener::suspend`].
    pub(crate) fn incoming(&self) -> io::Result<Incoming> {
        let socket = self.socket.try_clone()?;
        match self.address {
            Address::Tcp(_) => tokio::net::TcpListener::from_std(socket.into()).map(Incoming::Tcp),
            Address::Udp(_) => Err(io::ErrorKind::Unsupported.into()),
            Address::Unix(_) => {
                tokio::net::UnixListener::from_std(socket.into()).map(Incoming::Unix)
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// An open [`Listener`], within a runtime.
#[derive(Debug)]
pub(crate) enum Incoming {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Incoming {
    /// The next connection, free of this runtime.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                // Fails only on a connection that is already gone, which the first read notices.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream.into_std()?, client))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.into_std().map(Accepted::Unix)
            }
        }
    }
}

/// A connection on its way to the thread that will serve it.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

impl Accepted {
    /// Its descriptor, and where the client is.
    pub(crate) fn endpoint(&self) -> (RawFd, Endpoint) {
        match self {
            Self::Tcp(stream, client) => (stream.as_raw_fd(), Endpoint::Tcp(*client)),
            Self::Unix(stream) => (stream.as_raw_fd(), Endpoint::UnixClient),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a predecessor that was killed may linger for a minute.
    socket.set_reuse_address(true)?;
    if address.ip().is_ipv6() {
        // So that `0.0.0.0` and `::` can both be listened on.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_address(socket: &Socket) -> Option<SocketAddr> {
    socket.local_addr().ok()?.as_socket()
}

fn error_at(error: io::Error, address: Address) -> ListenError {
    if error.kind() == io::ErrorKind::AddrInUse {
        ListenError::AddressInUse { address }
    } else {
        ListenError::Refused { address, source: error }
    }
}

/// Half of the longest reply.
const UDP_SEND_BUFFER_LEN: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    fn any() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    fn tcp(listener: &Listener) -> SocketAddr {
        match listener.address() {
            Address::Tcp(address) => *address,
            Address::Udp(_) | Address::Unix(_) => panic!("not a TCP listener"),
        }
    }

    #[test]
    fn refuses_connections_until_it_listens_and_again_while_suspended() {
        let listener = Listener::bind(any()).unwrap();
        let address = tcp(&listener);
        let refused = |when: &str| {
            let error = TcpStream::connect(address).expect_err(when);
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{when}");
        };
        refused("before listen");
        for _ in 0..3 {
            listener.listen(16).unwrap();
            TcpStream::connect(address).unwrap();
            assert!(listener.suspend());
            refused("while suspended");
        }
    }

    #[test]
    fn a_port_in_use_is_named() {
        let listener = Listener::bind(any()).unwrap();
        listener.listen(1).unwrap();
        let error = Listener::bind(tcp(&listener)).expect_err("in use");
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {}: address in use by another process", tcp(&listener)),
        );
    }

    /// Two processes that start at the same moment: both may reserve, one may listen.
    #[test]
    fn the_second_of_two_reservations_fails_when_it_listens() {
        let first = Listener::bind(any()).unwrap();
        let Ok(second) = Listener::bind(tcp(&first)) else { return };
        first.listen(1).unwrap();
        let error = second.listen(1).expect_err("in use");
        assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
    }

    #[test]
    fn a_unix_socket_takes_the_place_of_a_stale_one_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind_unix(&path, 0o600).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        listener.listen(1).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }
}
