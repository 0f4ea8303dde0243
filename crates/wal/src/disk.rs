//! What the log needs of a disk: plain files in one directory.

mod os;

use std::io;

pub use os::OsDisk;

/// One directory. Names are plain file names; all calls block.
///
/// Changes of names are durable only after [`Disk::sync_dir`], changes of contents only after
/// [`File::sync_data`]; until then a power loss may undo any subset of them.
pub trait Disk: Send + Sync + 'static {
    /// The names of all files.
    ///
    /// # Errors
    ///
    /// What the operating system returns.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `len` zeros (bytes) whose space is reserved; `len` 0 reserves nothing.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`; `StorageFull`, in which case there is no file.
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    ///
    /// `NotFound`, and what the operating system returns.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Renames a file; one that has the name `to` already is replaced.
    ///
    /// # Errors
    ///
    /// What the operating system returns.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Whoever has it open goes on reading.
    ///
    /// # Errors
    ///
    /// What the operating system returns.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    ///
    /// # Errors
    ///
    /// What the operating system returns.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file.
pub trait File: Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    ///
    /// What the operating system returns.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes at all.
    ///
    /// # Errors
    ///
    /// As [`File::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at offset `at`; returns how many bytes, 0 only at the end or for an empty `buf`.
    ///
    /// # Errors
    ///
    /// What the operating system returns.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of `buf` at offset `at`, extending the file where needed.
    ///
    /// # Errors
    ///
    /// What the operating system returns; how much was written is then unknown.
    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros, to `len` bytes.
    ///
    /// # Errors
    ///
    /// What the operating system returns.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the contents durable.
    ///
    /// # Errors
    ///
    /// What the operating system returns. What was written since the last success is then in
    /// doubt for good: a second call may succeed without having written it.
    fn sync_data(&self) -> io::Result<()>;
}
