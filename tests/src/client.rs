//! Small blocking clients. One connection each; they never reconnect or try again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

pub use binary::{BinaryClient, BinaryReply};
pub use text::TextClient;

mod binary;
mod text;

/// Why a request has no good answer. After all but [`ClientError::Refused`] and
/// [`ClientError::Unexpected`] of a whole reply, the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection was closed or reset: to a living node, a broken promise.
    #[error("connection closed: {0}")]
    Closed(String),
    /// Nobody accepted the connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// An error line (`ERROR`, `CLIENT_ERROR ...`, `SERVER_ERROR ...`) or an error status.
    #[error("answered {0:?}")]
    Refused(String),
    /// No reply within the client's patience.
    #[error("no reply in time")]
    Timeout,
    /// A reply that the request does not allow.
    #[error("unexpected reply {0:?}")]
    Unexpected(String),
}

/// What a hit returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The client's opaque number.
    pub flags: u32,
    /// The stored bytes.
    pub value: Vec<u8>,
    /// The version; zero where the reply has none.
    pub cas_unique: u64,
}

/// How a storage command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `STORED`
    Stored,
    /// `NOT_STORED`: an `add` found the item, or an `append` did not.
    NotStored,
    /// `EXISTS`: the item has changed since the `gets`.
    Exists,
    /// `NOT_FOUND`: a `cas` of nothing.
    NotFound,
}

/// The two dialects that session managers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Classic text.
    Text,
    /// Binary.
    Binary,
}

/// A client of either dialect, with the four commands that session managers use.
#[derive(Debug)]
pub enum Client {
    /// Classic text.
    Text(TextClient),
    /// Binary.
    Binary(BinaryClient),
}

/// The result of asking a node.
pub(crate) type Result<T> = std::result::Result<T, ClientError>;

impl Client {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    ///
    /// [`ClientError::Connect`].
    pub fn connect(protocol: Protocol, port: u16) -> Result<Self> {
        match protocol {
            Protocol::Text => TextClient::connect(port).map(Self::Text),
            Protocol::Binary => BinaryClient::connect(port).map(Self::Binary),
        }
    }

    /// `get`; `None` is a miss.
    ///
    /// # Errors
    ///
    /// Any but [`ClientError::Connect`], as for the others.
    pub fn get(&mut self, key: &str) -> Result<Option<Item>> {
        match self {
            Self::Text(client) => client.get(key),
            Self::Binary(client) => client.get(key),
        }
    }

    /// `set`.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn set(&mut self, key: &str, flags: u32, exptime: i32, value: &[u8]) -> Result<()> {
        match self {
            Self::Text(client) => client.set(key, flags, exptime, value),
            Self::Binary(client) => client.set(key, flags, exptime, value),
        }
    }

    /// `add`.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn add(&mut self, key: &str, flags: u32, exptime: i32, value: &[u8]) -> Result<Store> {
        match self {
            Self::Text(client) => client.add(key, flags, exptime, value),
            Self::Binary(client) => client.add(key, flags, exptime, value),
        }
    }

    /// `delete`; false if there was nothing to delete.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn delete(&mut self, key: &str) -> Result<bool> {
        match self {
            Self::Text(client) => client.delete(key),
            Self::Binary(client) => client.delete(key),
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            Self::Timeout
        } else {
            Self::Closed(error.to_string())
        }
    }
}

fn connect(port: u16, patience: Duration) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, patience).map_err(ClientError::Connect)?;
    let set = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(patience)))
        .and_then(|()| stream.set_write_timeout(Some(patience)));
    set.map_err(ClientError::Connect)?;
    Ok(stream)
}

/// How long a client waits for a reply: the server's budget is two seconds, after which it owes an
/// error, so that more silence than this is a broken promise too.
const PATIENCE: Duration = Duration::from_secs(5);
