//! What is tested, and that one test at a time does it.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

/// The binary under test: `RAFTCACHED_BIN`, else the release build in the target directory.
///
/// # Errors
///
/// Says where it was looked for.
pub fn binary() -> Result<PathBuf> {
    let path = match env::var_os("RAFTCACHED_BIN") {
        Some(told) => PathBuf::from(told),
        None => target_dir().join("release").join("raftcached"),
    };
    let absent = || format!("no binary at {path:?}: build --release, or set RAFTCACHED_BIN");
    path.canonicalize().with_context(absent)
}

/// Keeps the other tests of the same file waiting while the guard lives: two clusters on the same
/// cores would measure each other.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that has panicked has had its turn.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directory of this workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where cargo puts what it builds for this workspace.
pub fn target_dir() -> PathBuf {
    let workspace = workspace();
    // Relative to where cargo was called, which is taken to be the workspace.
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |told| workspace.join(told))
}
