//! What is in a node's data directory, by name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The replica's directory; a node has one.
///
/// # Errors
///
/// When there is none, or more than one.
pub fn replica(data_dir: &Path) -> Result<PathBuf> {
    let mut found = files(data_dir, "replica-")?;
    ensure!(found.len() == 1, "{found:?}");
    found.pop().context("no replica")
}

/// The segments of the replica's log, oldest first.
///
/// # Errors
///
/// See [`replica`].
pub fn segments(data_dir: &Path) -> Result<Vec<PathBuf>> {
    files(&replica(data_dir)?, "wal-")
}

/// The replica's newest snapshot.
///
/// # Errors
///
/// When there is none; see [`replica`].
pub fn snapshot(data_dir: &Path) -> Result<PathBuf> {
    files(&replica(data_dir)?, "snapshot-")?.pop().context("no snapshot")
}

/// The files of `dir` whose names begin with `prefix`, by name.
fn files(dir: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
