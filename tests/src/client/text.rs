//! The classic text protocol.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{ClientError, Item, PATIENCE, Result, Store, connect};

/// A client of the text protocol.
#[derive(Debug)]
pub struct TextClient {
    stream: BufReader<TcpStream>,
}

impl TextClient {
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
        Ok(Self { stream: BufReader::with_capacity(64 * 1024, connect(port, patience)?) })
    }

    /// `get` of one key; `None` is a miss.
    ///
    /// # Errors
    ///
    /// Any but [`ClientError::Connect`], as for all that follow.
    pub fn get(&mut self, key: &str) -> Result<Option<Item>> {
        self.send(format!("get {key}\r\n").as_bytes())?;
        Ok(self.items()?.remove(key))
    }

    /// `gets` of one key: with the version.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn gets(&mut self, key: &str) -> Result<Option<Item>> {
        self.send(format!("gets {key}\r\n").as_bytes())?;
        Ok(self.items()?.remove(key))
    }

    /// `get` of many keys: the hits.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn get_many(&mut self, keys: &[&str]) -> Result<BTreeMap<String, Item>> {
        self.send(format!("get {}\r\n", keys.join(" ")).as_bytes())?;
        self.items()
    }

    /// `set`.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn set(&mut self, key: &str, flags: u32, exptime: i32, value: &[u8]) -> Result<()> {
        let line = format!("set {key} {flags} {exptime} {}", value.len());
        match self.store(&line, value)? {
            Store::Stored => Ok(()),
            other @ (Store::NotStored | Store::Exists | Store::NotFound) => {
                Err(ClientError::Unexpected(format!("{other:?} to a set")))
            }
        }
    }

    /// `add`.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn add(&mut self, key: &str, flags: u32, exptime: i32, value: &[u8]) -> Result<Store> {
        self.store(&format!("add {key} {flags} {exptime} {}", value.len()), value)
    }

    /// `append`.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn append(&mut self, key: &str, value: &[u8]) -> Result<Store> {
        self.store(&format!("append {key} 0 0 {}", value.len()), value)
    }

    /// `cas` with flags 0 and no exptime.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn cas(&mut self, key: &str, value: &[u8], cas_unique: u64) -> Result<Store> {
        self.store(&format!("cas {key} 0 0 {} {cas_unique}", value.len()), value)
    }

    /// `incr`; `None` if there is no item.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn incr(&mut self, key: &str, delta: u64) -> Result<Option<u64>> {
        self.send(format!("incr {key} {delta}\r\n").as_bytes())?;
        let line = self.line()?;
        match line.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) if line == "NOT_FOUND" => Ok(None),
            Err(_) => Err(refused(line)),
        }
    }

    /// `delete`; false if there was nothing to delete.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn delete(&mut self, key: &str) -> Result<bool> {
        self.send(format!("delete {key}\r\n").as_bytes())?;
        match self.line()? {
            line if line == "DELETED" => Ok(true),
            line if line == "NOT_FOUND" => Ok(false),
            line => Err(refused(line)),
        }
    }

    /// `version`: the whole line. Proves that the node talks, not that it serves.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn version(&mut self) -> Result<String> {
        self.send(b"version\r\n")?;
        let line = self.line()?;
        if line.starts_with("VERSION ") { Ok(line) } else { Err(refused(line)) }
    }

    /// `stats`: every line as name and value.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn stats(&mut self) -> Result<BTreeMap<String, String>> {
        self.send(b"stats\r\n")?;
        let mut stats = BTreeMap::new();
        loop {
            let line = self.line()?;
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("END"), None, None) => return Ok(stats),
                (Some("STAT"), Some(name), value) => {
                    stats.insert(name.to_owned(), value.unwrap_or_default().to_owned());
                }
                _ => return Err(refused(line)),
            }
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// [`ClientError::Closed`] or [`ClientError::Timeout`].
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Reads one line of a reply, without its end.
    ///
    /// # Errors
    ///
    /// [`ClientError::Closed`] or [`ClientError::Timeout`].
    pub fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(whole) => Ok(String::from_utf8_lossy(whole).into_owned()),
            None if line.ends_with(b"\n") => {
                Err(ClientError::Unexpected(String::from_utf8_lossy(&line).into_owned()))
            }
            None => Err(ClientError::Closed(format!("after {} bytes of a line", line.len()))),
        }
    }

    /// Reads the `VALUE` blocks of a retrieval up to its `END`.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn items(&mut self) -> Result<BTreeMap<String, Item>> {
        let mut items = BTreeMap::new();
        loop {
            let line = self.line()?;
            if line == "END" {
                return Ok(items);
            }
            let words: Vec<_> = line.split(' ').collect();
            let (key, flags, len, cas) = match words.as_slice() {
                ["VALUE", key, flags, len] => (key, flags, len, "0"),
                ["VALUE", key, flags, len, cas] => (key, flags, len, *cas),
                _ => return Err(refused(line)),
            };
            let (Ok(flags), Ok(len), Ok(cas_unique)) =
                (flags.parse(), len.parse::<usize>(), cas.parse())
            else {
                return Err(ClientError::Unexpected(line));
            };
            let mut value = vec![0; len + 2];
            self.stream.read_exact(&mut value)?;
            if value.split_off(len) != b"\r\n" {
                return Err(ClientError::Unexpected(format!("no end of value after {line}")));
            }
            items.insert((*key).to_owned(), Item { flags, value, cas_unique });
        }
    }

    /// Reads `count` replies that must all be `STORED`. Cheap, for floods.
    ///
    /// # Errors
    ///
    /// See [`Self::get`].
    pub fn all_stored(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let mut line = [0; 8];
            self.stream.read_exact(&mut line)?;
            if line != *b"STORED\r\n" {
                let rest = self.line().unwrap_or_default();
                return Err(refused(String::from_utf8_lossy(&line).into_owned() + &rest));
            }
        }
        Ok(())
    }

    fn store(&mut self, line: &str, value: &[u8]) -> Result<Store> {
        let mut request = Vec::with_capacity(line.len() + value.len() + 4);
        for part in [line.as_bytes(), b"\r\n", value, b"\r\n"] {
            request.extend_from_slice(part);
        }
        self.send(&request)?;
        let line = self.line()?;
        match line.as_str() {
            "STORED" => Ok(Store::Stored),
            "NOT_STORED" => Ok(Store::NotStored),
            "EXISTS" => Ok(Store::Exists),
            "NOT_FOUND" => Ok(Store::NotFound),
            _ => Err(refused(line)),
        }
    }
}

/// An error line is the server's word; anything else is out of step.
fn refused(line: String) -> ClientError {
    let error = line == "ERROR" || line.contains("_ERROR ") || line.starts_with("ERROR ");
    if error { ClientError::Refused(line) } else { ClientError::Unexpected(line) }
}
