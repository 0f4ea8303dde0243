//! Small files by which scripts find a node: its process id, its ports.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The file of `-P`, there for as long as this is.
#[derive(Debug)]
pub(crate) struct Pidfile {
    path: PathBuf,
    text: String,
}

impl Pidfile {
    /// Writes the id of this process; nobody sees the file half written.
    ///
    /// # Errors
    ///
    /// What the system refuses, with the file's name.
    pub(crate) fn write(path: &Path) -> anyhow::Result<Self> {
        let text = format!("{}\n", std::process::id());
        let new = with_suffix(path, ".tmp");
        let what = || format!("-P (--pidfile) {}", path.display());
        std::fs::write(&new, &text).with_context(what)?;
        std::fs::rename(&new, path).with_context(what)?;
        Ok(Self { path: path.to_owned(), text })
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // A successor may have written its own by now.
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes the ports that clients can connect to into the file that `MEMCACHED_PORT_FILENAME` names,
/// if it names one.
///
/// # Errors
///
/// What the system refuses, with the file's name.
pub(crate) fn tell_ports(tcp: &[SocketAddr], udp: &[SocketAddr]) -> anyhow::Result<()> {
    let Some(path) = std::env::var_os("MEMCACHED_PORT_FILENAME") else { return Ok(()) };
    let path = PathBuf::from(path);
    let new = with_suffix(&path, ".lck");
    let what = || format!("MEMCACHED_PORT_FILENAME {}", path.display());
    std::fs::write(&new, ports(tcp, udp)).with_context(what)?;
    std::fs::rename(&new, &path).with_context(what)
}

fn ports(tcp: &[SocketAddr], udp: &[SocketAddr]) -> String {
    let mut text = String::new();
    for (transport, addresses) in [("TCP", tcp), ("UDP", udp)] {
        for address in addresses {
            let family = if address.is_ipv4() { "INET" } else { "INET6" };
            // A string grows.
            let _ = writeln!(text, "{transport} {family}: {}", address.port());
        }
    }
    text
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pidfile_is_removed_by_its_own_process_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let pidfile = Pidfile::write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        assert!(!dir.path().join("pid.tmp").exists());
        drop(pidfile);
        assert!(!path.exists());

        let pidfile = Pidfile::write(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        drop(pidfile);
        assert!(path.exists(), "another process's");
    }

    #[test]
    fn ports_are_listed_as_memcached_does() {
        let tcp = ["127.0.0.1:11211", "[::1]:11211"].map(|address| address.parse().unwrap());
        let udp = ["127.0.0.1:7"].map(|address| address.parse().unwrap());
        let want = "TCP INET: 11211\nTCP INET6: 11211\nUDP INET: 7\n";
        assert_eq!(ports(&tcp, &udp), want);
    }
}
