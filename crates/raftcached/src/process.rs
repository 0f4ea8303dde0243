//! What a node asks of its system before it serves anybody: limits, a user, the background.
//!
//! # Source
//!
//! memcached's `main`, whose order this is: limits as the user that started it, then the user that
//! `-u` names, then all files and addresses, so that a directory that this user cannot write is
//! noticed now and not later.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::{User, geteuid, getuid, setgid, setgroups, setuid};

use crate::config::Process;
use crate::failure::Failure;

/// Raises the limits and becomes another user, as far as was asked for.
///
/// # Errors
///
/// What was asked for and the system refuses; root that was not told whom to become (64), and a user
/// that there is not (67).
pub(crate) fn prepare(process: &Process, connections_max: usize) -> Result<(), Failure> {
    if process.core_files {
        raise_core_limit().map_err(Failure::system)?;
    }
    raise_descriptor_limit(connections_max).map_err(Failure::system)?;
    if !getuid().is_root() && !geteuid().is_root() {
        return Ok(());
    }
    match &process.user {
        Some(user) => become_user(user),
        None if process.root_needs_user => Err(Failure::bad_option(anyhow::anyhow!(
            "can't run as root without the -u switch (-u root stays root; so does `raftcached \
             server`)"
        ))),
        None => Ok(()),
    }
}

/// Begins again in a child, in a session of its own, while the parent ends with 0. Returns only why
/// not. Only for a program of one thread: others would not be in the child.
///
/// The child executes the program anew, since the allocator's thread is not in it either.
pub(crate) fn into_background(stderr_stays: bool) -> anyhow::Error {
    // Stays in its directory: paths on the command line may be relative.
    if let Err(error) = nix::unistd::daemon(true, stderr_stays) {
        return anyhow::Error::new(error).context("-d (--daemon)");
    }
    execute_again(std::env::args_os().skip(1).chain([IN_BACKGROUND.into()]))
}

/// Becomes the same program, also if its file has been replaced meanwhile, with these words; returns
/// only why not.
pub(crate) fn execute_again(words: impl IntoIterator<Item = OsString>) -> anyhow::Error {
    let own_name = std::env::args_os().next().unwrap_or_else(|| "raftcached".into());
    let error = Command::new("/proc/self/exe").arg0(own_name).args(words).exec();
    anyhow::Error::new(error).context("cannot start again")
}

/// Locks all memory of now and later; memcached, too, goes on without.
pub(crate) fn lock_memory() {
    if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        tracing::warn!("-k (--lock-memory) has no effect: {error}");
    }
}

fn become_user(name: &str) -> Result<(), Failure> {
    let user = User::from_name(name).map_err(Failure::system)?;
    let user = user.ok_or_else(|| Failure::no_user(name))?;
    // A container may have been left without the right to do so, and then there are none.
    match setgroups(&[]) {
        Ok(()) | Err(Errno::EPERM) => {}
        Err(error) => {
            let error = anyhow::Error::new(error).context("cannot leave the groups of root");
            return Err(Failure::system(error));
        }
    }
    let became = setgid(user.gid).and_then(|()| setuid(user.uid));
    became.with_context(|| format!("cannot become user {name}")).map_err(Failure::system)
}

fn raise_core_limit() -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).context("-r (--enable-coredumps)")?;
    let unlimited = setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY);
    if unlimited.is_err() {
        setrlimit(Resource::RLIMIT_CORE, hard, hard).context("-r (--enable-coredumps)")?;
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_CORE).context("-r (--enable-coredumps)")?;
    anyhow::ensure!(soft != 0, "-r (--enable-coredumps): the limit is 0 and cannot be raised");
    Ok(())
}

/// Every connection is a file descriptor, and running out of them in service is worse than not
/// starting; memcached does the same.
fn raise_descriptor_limit(connections_max: usize) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("open files limit")?;
    let needed = connections_max as u64 + DESCRIPTORS_BESIDE_CLIENTS;
    // Root may raise the hard one.
    let raised = || setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed));
    if needed <= soft || (hard < needed && raised().is_ok()) {
        return Ok(());
    }
    let wanted = needed.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).context("open files limit")?;
    anyhow::ensure!(
        connections_max as u64 + DESCRIPTORS_AT_LEAST <= hard,
        "-c {connections_max} needs more open files than the limit of {hard}: raise it (ulimit -n) \
         or lower -c",
    );
    Ok(())
}

const IN_BACKGROUND: &str = "--in-background";
/// Peers, admin connections, listeners, and a reserve.
const DESCRIPTORS_BESIDE_CLIENTS: u64 = 1024;
const DESCRIPTORS_AT_LEAST: u64 = 64;
