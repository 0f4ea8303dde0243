//! The version of the program before this one, for tests of upgrades.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::under_test::{binary, target_dir, workspace};

/// The previous binary: `RAFTCACHED_PREVIOUS_BIN`, else built from the last commit whose `crates`
/// or `proto` are not this one's.
///
/// It is built in the target directory and with the profile of the binary under test, so that only
/// the workspace's crates are compiled: their dependencies are there already. A second call finds
/// all of it built.
///
/// # Errors
///
/// When there is no such commit, as in a shallow checkout, or it cannot be built.
pub fn previous_binary() -> Result<PathBuf> {
    if let Some(told) = env::var_os("RAFTCACHED_PREVIOUS_BIN") {
        let absent = || format!("RAFTCACHED_PREVIOUS_BIN is {told:?}");
        return Path::new(&told).canonicalize().with_context(absent);
    }
    let changed = git(&["rev-list", "-1", "HEAD", "--", "crates", "proto"])?;
    let commit = git(&["rev-parse", "--verify", "--quiet", &format!("{changed}^")])
        .context("the history ends here (a shallow checkout?)")?;
    println!("building the previous version, {commit}");
    let target = target_dir().canonicalize()?;
    let source = target.join("previous");
    export(&commit, &source)?;
    build(&source, &target)
}

/// Writes the files of `commit` to `source`, with another version and another name for the binary:
/// cargo tells crates of two workspaces apart by version alone, not by path, and would take what is
/// built of one for the other.
fn export(commit: &str, source: &Path) -> Result<()> {
    // The same files are left alone, times included, so that nothing is compiled twice.
    let stamp = source.join("COMMIT");
    if fs::read_to_string(&stamp).is_ok_and(|exported| exported == commit) {
        return Ok(());
    }
    if source.exists() {
        fs::remove_dir_all(source)?;
    }
    fs::create_dir_all(source)?;
    let mut archive = Command::new("git")
        .args(["archive", commit])
        .current_dir(workspace())
        .stdout(Stdio::piped())
        .spawn()?;
    let tar = archive.stdout.take().context("it is piped")?;
    let unpacked = Command::new("tar").arg("-x").current_dir(source).stdin(tar).status()?;
    ensure!(archive.wait()?.success() && unpacked.success(), "cannot export {commit}");
    let workspace = source.join("Cargo.toml");
    let text = fs::read_to_string(&workspace)?;
    let version = text.lines().find(|line| line.starts_with("version = \""));
    let version = version.context("no version of the workspace")?;
    fs::write(&workspace, text.replacen(version, "version = \"0.0.1-previous\"", 1))?;
    let mut manifest =
        File::options().append(true).open(source.join("crates/raftcached/Cargo.toml"))?;
    write!(manifest, "\n[[bin]]\nname = \"{NAME}\"\npath = \"src/main.rs\"\n")?;
    Ok(fs::write(stamp, commit)?)
}

fn build(source: &Path, target: &Path) -> Result<PathBuf> {
    let binary = binary()?;
    let profile = binary
        .strip_prefix(target)
        .ok()
        .and_then(|below| below.parent()?.to_str())
        .filter(|profile| *profile != "debug" && !profile.contains('/'))
        .unwrap_or("release");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The packages that `tests/run build` names: dependencies have the same features.
    // Not `--locked`: the lock file has the workspace's own version in it. Offline, it takes no
    // other dependencies. Called from here: from below, cargo would find two of `.cargo/config.toml`,
    // add up their flags, and compile all dependencies with them.
    let built = Command::new(cargo)
        .args(["build", "--offline", "--package", "raftcached", "--package", "cluster-benches"])
        .args(["--bin", NAME, "--profile", profile, "--manifest-path"])
        .arg(source.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", target)
        .current_dir(workspace())
        .status()?;
    ensure!(built.success(), "the previous version cannot be built");
    Ok(target.join(profile).join(NAME))
}

/// What git says, in one line.
fn git(args: &[&str]) -> Result<String> {
    let output = Command::new("git").args(args).current_dir(workspace()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !said.is_empty(), "git {}: {error}", args.join(" "));
    Ok(said)
}

const NAME: &str = "raftcached-previous";
