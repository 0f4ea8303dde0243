//! The binary protocol, as far as session managers use it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{ClientError, Item, PATIENCE, Result, Store, connect};

/// A client of the binary protocol.
#[derive(Debug)]
pub struct BinaryClient {
    stream: TcpStream,
    /// Sent with each request and asserted in its reply, as spymemcached does.
    opaque: u32,
}

/// A reply, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryReply {
    /// Zero is success.
    pub status: u16,
    /// The version of the item; zero where there is none.
    pub cas_unique: u64,
    /// Flags, before a value.
    pub extras: Vec<u8>,
    /// A value, a number, or the text of an error.
    pub value: Vec<u8>,
}

impl BinaryClient {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    ///
    /// [`ClientError::Connect`].
    pub fn connect(port: u16) -> Result<Self> {
        Self::connect_within(port, PATIENCE)
    }

    /// As [`Self::connect`], with as much patience for the connection and for each reply.
    ///
    /// # Errors
    ///
    /// [`ClientError::Connect`].
    pub fn connect_within(port: u16, patience: Duration) -> Result<Self> {
        Ok(Self { stream: connect(port, patience)?, opaque: 0 })
    }

    /// GET (0x00); `None` is a miss.
    ///
    /// # Errors
    ///
    /// Any but [`ClientError::Connect`], as for all that follow.
    pub fn get(&mut self, key: &str) -> Result<Option<Item>> {
        let reply = self.exchange(0x00, &[], key, b"")?;
        match reply.status {
            OK => {
                let flags = reply.extras.as_slice().try_into().map(u32::from_be_bytes);
                let flags = flags.map_err(|_| ClientError::Unexpected("a hit, no flags".into()))?;
                Ok(Some(Item { flags, value: reply.value, cas_unique: reply.cas_unique }))
            }
            NOT_FOUND => Ok(None),
            _ => Err(reply.refused()),
        }
    }

    /// SET (0x01).
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn set(&mut self, key: &str, flags: u32, exptime: i32, value: &[u8]) -> Result<()> {
        let reply = self.exchange(0x01, &storage(flags, exptime), key, value)?;
        if reply.status == OK { Ok(()) } else { Err(reply.refused()) }
    }

    /// ADD (0x02).
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn add(&mut self, key: &str, flags: u32, exptime: i32, value: &[u8]) -> Result<Store> {
        let reply = self.exchange(0x02, &storage(flags, exptime), key, value)?;
        match reply.status {
            OK => Ok(Store::Stored),
            EXISTS => Ok(Store::NotStored),
            _ => Err(reply.refused()),
        }
    }

    /// DELETE (0x04); false if there was nothing to delete.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn delete(&mut self, key: &str) -> Result<bool> {
        let reply = self.exchange(0x04, &[], key, b"")?;
        match reply.status {
            OK => Ok(true),
            NOT_FOUND => Ok(false),
            _ => Err(reply.refused()),
        }
    }

    /// INCREMENT (0x05) of an item that must be there; `None` if it is not.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn incr(&mut self, key: &str, delta: u64) -> Result<Option<u64>> {
        let mut extras = delta.to_be_bytes().to_vec();
        extras.extend_from_slice(&[0; 8]);
        extras.extend_from_slice(&u32::MAX.to_be_bytes());
        let reply = self.exchange(0x05, &extras, key, b"")?;
        let value = reply.value.as_slice().try_into().map(u64::from_be_bytes);
        match (reply.status, value) {
            (OK, Ok(value)) => Ok(Some(value)),
            (NOT_FOUND, _) => Ok(None),
            _ => Err(reply.refused()),
        }
    }

    /// APPEND (0x0e).
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn append(&mut self, key: &str, value: &[u8]) -> Result<Store> {
        let reply = self.exchange(0x0e, &[], key, value)?;
        match reply.status {
            OK => Ok(Store::Stored),
            NOT_STORED => Ok(Store::NotStored),
            _ => Err(reply.refused()),
        }
    }

    fn exchange(
        &mut self,
        opcode: u8,
        extras: &[u8],
        key: &str,
        value: &[u8],
    ) -> Result<BinaryReply> {
        self.ask(opcode, 0, extras, key, value)
    }

    /// Any request, `cas_unique` zero for one that names no version, and its reply, whatever the
    /// status.
    ///
    /// # Errors
    ///
    /// Any but [`ClientError::Connect`] and [`ClientError::Refused`].
    pub fn ask(
        &mut self,
        opcode: u8,
        cas_unique: u64,
        extras: &[u8],
        key: &str,
        value: &[u8],
    ) -> Result<BinaryReply> {
        self.opaque = self.opaque.wrapping_add(1);
        let too_long = |_| ClientError::Unexpected("a request too long for its header".into());
        let extras_len = u8::try_from(extras.len()).map_err(too_long)?;
        let key_len = u16::try_from(key.len()).map_err(too_long)?;
        let body_len = extras.len() + key.len() + value.len();
        let body_len = u32::try_from(body_len).map_err(too_long)?;

        let mut request = vec![0x80, opcode];
        request.extend_from_slice(&key_len.to_be_bytes());
        request.extend_from_slice(&[extras_len, 0, 0, 0]);
        request.extend_from_slice(&body_len.to_be_bytes());
        request.extend_from_slice(&self.opaque.to_be_bytes());
        request.extend_from_slice(&cas_unique.to_be_bytes());
        for part in [extras, key.as_bytes(), value] {
            request.extend_from_slice(part);
        }
        self.stream.write_all(&request)?;
        self.reply(opcode)
    }

    fn reply(&mut self, want: u8) -> Result<BinaryReply> {
        let mut header = [0; 24];
        self.stream.read_exact(&mut header)?;
        let [magic, opcode, k0, k1, extras_len, _, s0, s1, b0, b1, b2, b3, rest @ ..] = header;
        let [o0, o1, o2, o3, cas @ ..] = rest;
        let key_len = usize::from(u16::from_be_bytes([k0, k1]));
        let body_len = u32::from_be_bytes([b0, b1, b2, b3]) as usize;
        let opaque = u32::from_be_bytes([o0, o1, o2, o3]);
        let value_at = usize::from(extras_len) + key_len;
        if magic != 0x81 || opcode != want || opaque != self.opaque || body_len < value_at {
            return Err(ClientError::Unexpected(format!("header {header:02x?}")));
        }
        let mut extras = vec![0; body_len];
        self.stream.read_exact(&mut extras)?;
        let value = extras.split_off(value_at);
        extras.truncate(usize::from(extras_len));
        let status = u16::from_be_bytes([s0, s1]);
        Ok(BinaryReply { status, cas_unique: u64::from_be_bytes(cas), extras, value })
    }
}

impl BinaryReply {
    /// The reply as an error.
    pub fn refused(&self) -> ClientError {
        let text = String::from_utf8_lossy(&self.value);
        ClientError::Refused(format!("status {:#x} {text}", self.status))
    }
}

fn storage(flags: u32, exptime: i32) -> Vec<u8> {
    [flags.to_be_bytes(), exptime.to_be_bytes()].concat()
}

const OK: u16 = 0x00;
const NOT_FOUND: u16 = 0x01;
const EXISTS: u16 = 0x02;
const NOT_STORED: u16 = 0x05;
