//! Stock memcached, and how to ask it and us the same thing.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cache::Cache;

/// A running memcached on a socket of its own; ends with the value.
pub(crate) struct Stock {
    child: Child,
    socket: PathBuf,
    cache: Cache,
}

impl Stock {
    /// Starts one, or says why there is nothing to compare with.
    pub(crate) fn start(name: &str) -> io::Result<Option<Self>> {
        let installed = match Command::new("memcached").arg("-V").output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        if installed != "memcached 1.6.18" {
            println!("not compared: wants memcached 1.6.18, has {installed:?}");
            return Ok(None);
        }
        let socket = format!("protocol-stock-{}-{name}.sock", std::process::id());
        let socket = std::env::temp_dir().join(socket);
        let child = Command::new("memcached")
            .args(["-u", "root", "-t", "1", "-s"])
            .arg(&socket)
            .stderr(Stdio::null())
            .spawn()?;
        let stock = Self { child, socket, cache: Cache::new(0) };
        for _ in 0..1_000 {
            if UnixStream::connect(&stock.socket).is_ok() {
                return Ok(Some(stock));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "memcached did not come up within 10 s"))
    }

    /// Sends a stream to both and compares all that comes back until the end of the connection.
    /// Both start empty, and `transcript` is told the last cas unique that was given away.
    ///
    /// # Panics
    ///
    /// If the replies differ.
    pub(crate) fn compare(&mut self, transcript: impl Fn(u64) -> Vec<u8>) -> io::Result<()> {
        let cas = self.empty()?;
        let stream = &transcript(cas)[..];
        let theirs = self.ask(stream)?;
        let ours = self.cache.serve(stream);
        let same = theirs.iter().zip(&ours).take_while(|(theirs, ours)| theirs == ours).count();
        assert!(
            theirs == ours,
            "sent:\n  {}\nboth: ...{}\nmemcached:\n  {}\nwe:\n  {}",
            shown(stream),
            shown(theirs.get(same.saturating_sub(60)..same).unwrap_or_default()),
            shown(theirs.get(same..).unwrap_or_default()),
            shown(ours.get(same..).unwrap_or_default()),
        );
        Ok(())
    }

    /// Deletes, because a flush would leave what is stored within the same second to luck.
    fn empty(&mut self) -> io::Result<u64> {
        let keys =
            ["a", "b", "c", "k", "n", "s", "x", "0", "noreply", "t\tb", "nope", "foo", "Zm9v"];
        let deletes = keys.map(|key| format!("delete {key} noreply\r\n")).concat();
        let probe = "set k 0 0 1\r\n1\r\ngets k\r\ndelete k noreply\r\n";
        let replies = self.ask(format!("{deletes}{probe}").as_bytes())?;
        let replies = String::from_utf8_lossy(&replies).into_owned();
        let cas = replies.lines().nth(1).and_then(|hit| hit.strip_prefix("VALUE k 0 1 "));
        let cas = cas.and_then(|cas| cas.parse().ok());
        let cas = cas.ok_or_else(|| io::Error::other(format!("no cas unique in {replies:?}")))?;
        self.cache = Cache::new(cas);
        Ok(cas)
    }

    fn ask(&self, stream: &[u8]) -> io::Result<Vec<u8>> {
        let mut socket = UnixStream::connect(&self.socket)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        socket.set_write_timeout(Some(Duration::from_secs(10)))?;
        // It may hang up in the middle; what it said until then is what counts.
        let _ = socket.write_all(stream);
        let _ = socket.shutdown(Shutdown::Write);
        let mut replies = Vec::new();
        match socket.read_to_end(&mut replies) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(replies),
        }
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The beginning of `bytes`, readable.
fn shown(bytes: &[u8]) -> String {
    bytes.get(..bytes.len().min(4_000)).unwrap_or_default().escape_ascii().to_string()
}
