//! The certificates of a cluster, made as an operator makes them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::binary;

/// A CA and what it has signed, in one directory.
#[derive(Debug)]
pub struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// Makes a CA in `dir`.
    ///
    /// # Errors
    ///
    /// When `raftcached cert init` fails.
    pub fn init(dir: &Path) -> Result<Self> {
        let certificates = Self { dir: dir.to_owned() };
        certificates.run(&["init"])?;
        Ok(certificates)
    }

    /// Makes the certificate of a node.
    ///
    /// # Errors
    ///
    /// When `raftcached cert issue` fails.
    pub fn issue(&self, node: &str) -> Result<()> {
        self.run(&["issue", node, "--host", "localhost,127.0.0.1"])
    }

    /// One of the files; the CA's are those of `ca`.
    pub fn path(&self, node: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{node}.{extension}"))
    }

    /// The options that give them to a node.
    pub fn options(&self, node: &str) -> Vec<OsString> {
        let files = [
            ("--peer-ca", self.path("ca", "crt")),
            ("--peer-cert", self.path(node, "crt")),
            ("--peer-key", self.path(node, "key")),
        ];
        let words = files.map(|(option, path)| [OsString::from(option), path.into_os_string()]);
        words.into_iter().flatten().collect()
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let output = Command::new(binary()?)
            .arg("cert")
            .args(words)
            .arg("--dir")
            .arg(&self.dir)
            .output()
            .with_context(|| format!("cert {words:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cert {words:?}: {}: {said}", output.status);
        Ok(())
    }
}
