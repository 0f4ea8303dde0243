//! A file system of a node's own, on an image file: it can lose power and it can be full.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait_for;

/// A mounted image. Dropping it unmounts it; the image stays where it is.
///
/// Needs root, loop devices, and the file system's `mkfs`.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    mount: PathBuf,
}

/// What an image is formatted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4, in its default mode (`data=ordered`).
    Ext4,
    /// XFS.
    Xfs,
}

impl LoopDisk {
    /// Makes `dir/name.img` of `len` bytes (sparse) and mounts it at `dir/name`.
    ///
    /// # Errors
    ///
    /// What this machine does not allow, or lacks.
    pub fn create(dir: &Path, name: &str, file_system: FileSystem, len: u64) -> Result<Self> {
        let image = dir.join(format!("{name}.img"));
        let mount = dir.join(name);
        File::create(&image)?.set_len(len)?;
        fs::create_dir_all(&mount)?;
        match file_system {
            FileSystem::Ext4 => run("mkfs.ext4", &[&"-q", &"-F", &"-m", &"0", &image])?,
            FileSystem::Xfs => run("mkfs.xfs", &[&"-q", &"-f", &image])?,
        }
        let disk = Self { image, mount };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Loses whatever has not been synced, as when the power goes; returns with it mounted again.
    /// Nobody may have a file open on it but processes that are gone.
    ///
    /// # Errors
    ///
    /// What `xfs_io`, `umount` or `mount` say.
    pub fn lose_power(&self) -> Result<()> {
        self.cut()?;
        self.power_up()
    }

    /// From here on nothing reaches the image, not even the file system's own journal.
    ///
    /// # Errors
    ///
    /// What `xfs_io` (package xfsprogs) says; it knows ext4 as well.
    pub fn cut(&self) -> Result<()> {
        run("xfs_io", &[&"-x", &"-c", &"shutdown", &self.mount])
    }

    /// Mounts anew what is on the image, after [`Self::cut`].
    ///
    /// # Errors
    ///
    /// What `umount` or `mount` say.
    pub fn power_up(&self) -> Result<()> {
        run("umount", &[&self.mount])?;
        // Another mount namespace may hold on to what was cut a little longer.
        wait_for("the loop device to go", RELEASED_WITHIN, || {
            let devices = output("losetup", &[&"-n", &"-O", &"NAME", &"-j", &self.image])?;
            ensure!(devices.trim().is_empty(), "{} is still there", devices.trim());
            Ok(())
        })?;
        self.mount()
    }

    /// Takes all free space but `left` bytes, or gives it back when `left` is none.
    ///
    /// # Errors
    ///
    /// What `df` or `fallocate` say.
    pub fn fill(&self, left: Option<u64>) -> Result<()> {
        let ballast = self.mount.join("ballast");
        let Some(left) = left else { return Ok(fs::remove_file(ballast)?) };
        // What a node writes between the two makes it fail.
        wait_for("the space to be taken", FILLED_WITHIN, || {
            let free = output("df", &[&"--output=avail", &"-B1", &self.mount])?;
            let free: u64 = free.lines().last().context("df says nothing")?.trim().parse()?;
            let taken = ballast.metadata().map_or(0, |ballast| ballast.len());
            let len = (taken + free).checked_sub(left).context("less space than wanted")?;
            run("fallocate", &[&"-l", &len.to_string(), &ballast])
        })
    }

    fn mount(&self) -> Result<()> {
        run("mount", &[&"-o", &"loop", &self.image, &self.mount])
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily: a process that is about to end must not keep the mount for ever.
        if let Err(error) = run("umount", &[&"-l", &self.mount]) {
            println!("{}: {error:#}", self.mount.display());
        }
    }
}

/// Runs a tool of the system to its end.
fn run(program: &str, args: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<()> {
    output(program, args).map(drop)
}

fn output(program: &str, args: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<String> {
    let ended = Command::new(program).args(args.iter().map(AsRef::as_ref)).output();
    let ended = ended.with_context(|| format!("{program} cannot be run"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{program}: {}: {}", ended.status, said.trim());
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

const RELEASED_WITHIN: Duration = Duration::from_secs(10);
const FILLED_WITHIN: Duration = Duration::from_secs(10);
