//! `raftcached cert`: what it writes, and what it does not write over.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};

#[test]
fn certificates_are_made_once_and_keys_are_private() -> Result<()> {
    let home = tempfile::tempdir()?;
    let dir = home.path().join("new/certs");
    let run = |words: &[&str]| -> Result<(bool, String)> {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_raftcached"))
            .arg("cert")
            .args(words)
            .arg("--dir")
            .arg(&dir)
            .output()?;
        Ok((status.success(), String::from_utf8([stdout, stderr].concat())?))
    };
    let (made, said) = run(&["init", "--cluster", "shop"])?;
    ensure!(made && said.contains("raftcached cert issue NODE"), "{said}");
    let (made, said) = run(&["issue", "n_1", "--host", "n1.example,10.0.0.1,::1", "--days", "30"])?;
    ensure!(made, "{said}");
    for line in ["peer-ca = ", "peer-cert = ", "peer-key = "] {
        ensure!(said.contains(line), "{line}: {said}");
    }

    let mut files = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        let mode = entry.metadata()?.permissions().mode() & 0o777;
        let name = entry.file_name().into_string().ok().context("a name")?;
        let want = if name.ends_with(".key") { 0o600 } else { 0o644 };
        ensure!(mode & !want == 0, "{name}: {mode:o}");
        files.push((name, fs::read(entry.path())?));
    }
    files.sort();
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(names == ["ca.crt", "ca.key", "n_1.crt", "n_1.key"], "{names:?}");

    let again: [&[&str]; 3] =
        [&["init"], &["issue", "n_1", "--host", "h"], &["issue", "ca", "--host", "h"]];
    for words in again {
        let (made, said) = run(words)?;
        ensure!(!made, "{words:?}: {said}");
    }
    fs::remove_file(dir.join("n_1.key"))?;
    let (made, said) = run(&["issue", "n_1", "--host", "h"])?;
    ensure!(!made && said.contains("n_1.crt"), "{said}");
    ensure!(!dir.join("n_1.key").exists(), "a key without its certificate is left behind");
    for (name, bytes) in files.iter().filter(|(name, _)| name != "n_1.key") {
        ensure!(fs::read(dir.join(name))? == *bytes, "{name} has changed");
    }
    Ok(())
}
