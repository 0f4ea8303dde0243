//! The real disk.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Disk, File};
use crate::error::Error;

/// A directory of the operating system, held by this process alone.
///
/// The lock is a `flock` on the file `lock` inside; it ends with the value, or with the process,
/// however that ends.
#[derive(Debug)]
pub struct OsDisk {
    dir: OwnedFd,
    path: PathBuf,
    // Held for its flock.
    _lock: fs::File,
}

impl OsDisk {
    /// Takes the directory for this process; creates it (mode 0700) if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if another process (or another `OsDisk`) has it, [`Error::Symlink`] if a
    /// file in it is a symbolic link, [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let shown = dir.display().to_string();
        let io = |action| {
            let shown = shown.clone();
            move |error: io::Error| Error::io(action, &shown, error)
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io("create"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| io("open")(e.into()))?;
        refuse_symlinks(dir).map_err(io("list"))??;

        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&fd, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| Error::io("open", LOCK, e.into()))?;
        let mut lock = fs::File::from(lock);
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::InUse { dir: shown, pid: holder(&mut lock) });
            }
            Err(error) => return Err(Error::io("lock", LOCK, error.into())),
        }
        write_pid(&mut lock).map_err(|e| Error::io("write", LOCK, e))?;
        Ok(Self { dir: fd, path: dir.to_owned(), _lock: lock })
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, plain(name)?, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(fs::File::from(fd))
    }
}

impl Disk for OsDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        let file = self.open_file(name, OFlags::CREATE | OFlags::EXCL)?;
        match reserve(&file, len) {
            Ok(()) => Ok(Box::new(file)),
            Err(error) => {
                self.remove(name)?;
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(self.open_file(name, OFlags::empty())?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.dir, plain(from)?, &self.dir, plain(to)?)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.dir, plain(name)?, AtFlags::empty())?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.dir)?)
    }
}

impl File for fs::File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, buf, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, buf, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }
}

fn reserve(file: &fs::File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        // The file system cannot reserve; the log writes its zeros ahead of time in any case.
        Err(Errno::OPNOTSUPP) => file.set_len(len),
        result => Ok(result?),
    }
}

/// Refuses names that could lead out of the directory.
fn plain(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file name"));
    }
    Ok(name)
}

fn refuse_symlinks(dir: &Path) -> io::Result<Result<(), Error>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_symlink() {
            return Ok(Err(Error::Symlink { file: entry.path().display().to_string() }));
        }
    }
    Ok(Ok(()))
}

/// The process that wrote itself into the lock file, if that can be read.
fn holder(lock: &mut fs::File) -> Option<u32> {
    let mut text = String::new();
    lock.take(PID_LEN_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(lock: &mut fs::File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.write_all(format!("{}\n", std::process::id()).as_bytes())
}

const LOCK: &str = "lock";
const PID_LEN_MAX: u64 = 16;
