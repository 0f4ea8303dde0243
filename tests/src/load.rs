//! Full load on one connection: as fast as the node answers, every answer checked.

use crate::client::Result;
use crate::{ClientError, Rng, TextClient};

/// A pipelined mix of sets and gets on keys of its own.
///
/// The replies to one connection are in request order, so each get has exactly one right answer:
/// the last set before it in the pipeline.
#[derive(Debug)]
pub struct Mixed {
    client: TextClient,
    prefix: String,
    rng: Rng,
    /// The last version set, by number of the key; 0 where there is none.
    versions: Vec<u64>,
    version: u64,
}

impl Mixed {
    /// Connects to a port. `prefix` must be this load's alone.
    ///
    /// # Errors
    ///
    /// [`ClientError::Connect`].
    pub fn connect(port: u16, prefix: impl Into<String>, seed: u64) -> Result<Self> {
        Ok(Self {
            client: TextClient::connect(port)?,
            prefix: prefix.into(),
            rng: Rng::new(seed),
            versions: vec![0; KEYS],
            version: 0,
        })
    }

    /// Sends one pipeline and checks its replies. Returns the number of operations.
    ///
    /// # Errors
    ///
    /// Any but [`ClientError::Connect`]; a wrong value or a false miss is
    /// [`ClientError::Unexpected`].
    pub fn round(&mut self) -> Result<u64> {
        let mut request = String::new();
        let mut wanted = Vec::with_capacity(DEPTH);
        for step in 0..DEPTH {
            let key = self.rng.index(KEYS);
            let name = format!("{}-{key}", self.prefix);
            let Some(last) = self.versions.get_mut(key) else { continue };
            if step % 2 == 0 {
                self.version += 1;
                *last = self.version;
                let value = value(self.version);
                request += &format!("set {name} 0 0 {}\r\n{value}\r\n", value.len());
                wanted.push(None);
            } else {
                request += &format!("get {name}\r\n");
                wanted.push(Some((name, *last)));
            }
        }
        self.client.send(request.as_bytes())?;
        for want in &wanted {
            match want {
                None => self.client.all_stored(1)?,
                Some((name, version)) => self.check(name, *version)?,
            }
        }
        Ok(wanted.len() as u64)
    }

    fn check(&mut self, name: &str, version: u64) -> Result<()> {
        let have = self.client.items()?.remove(name).map(|item| item.value);
        let want = (version != 0).then(|| value(version).into_bytes());
        if have == want {
            return Ok(());
        }
        let have = have.map(|value| String::from_utf8_lossy(&value).replace(FILLER, ""));
        Err(ClientError::Unexpected(format!("{name}: {have:?} instead of version {version}")))
    }
}

/// 100 bytes that name the version, as small sessions are.
fn value(version: u64) -> String {
    format!("{version:020}{FILLER}")
}

const FILLER: &str =
    "--------------------------------------------------------------------------------";
/// Requests in one pipeline.
const DEPTH: usize = 32;
/// Keys of one connection.
const KEYS: usize = 1000;
