//! A node's data directory: who it is, and where its log and snapshots are.
//!
//! ```text
//!   DIR/lock                   held while a process uses the directory
//!   DIR/identity               who this is; the text below
//!   DIR/replica-<id, hex>/     log segments (crate `wal`) and snapshots of that replica
//!
//!   raftcached data directory, version 1
//!   name n1
//!   replica 1234567890123456789
//!   boots 3                                 0: promised, but never run
//!   durability os
//!   boot-id 6f1a…                           the machine's, when the node was last started
//!   state running                           or: clean, after an orderly end
//!   checksum 89abcdef                       crc32 of all lines above
//! ```
//!
//! A replica id is never used again once its memory may have been lost (DESIGN 5.2). That is so
//! when `--durability os` met a crash of the operating system: the machine's boot id has changed,
//! and the node had not ended in order. Such a directory gets a new replica id; the old replica's
//! files stay until the new one serves, because they may be the last copy of something.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use canary::Canary;
use wal::{Disk, Recovered, Wal};

use crate::types::ReplicaId;
use crate::world::Files;

/// Where a node keeps what must survive it, and how carefully.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    /// Created when it is not there.
    pub path: PathBuf,
    /// When a write counts as safe on this node.
    pub durability: Durability,
    /// The length of the log's segments in bytes.
    pub segment_len: u64,
}

/// When a write counts as safe on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: survives a power cut.
    Fsync,
    /// With the operating system, on the disk within a second: survives the process.
    Os,
}

impl Durability {
    fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
        }
    }
}

/// Why a data directory cannot be used. Nothing in it has been changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// The directory is another node's, or not one of ours, or damaged.
    #[error("{path}: {why}")]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The log or its lock.
    #[error("{path}")]
    Wal {
        /// The directory.
        path: PathBuf,
        /// Names the file and the offset.
        source: wal::Error,
    },
    /// The system said no.
    #[error("{path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// A data directory in use by this process.
pub(crate) struct OpenDir {
    root: Root,
    identity: Identity,
    /// The current replica's files.
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) wal: Wal,
    /// None for a replica that has never run.
    pub(crate) recovered: Option<Recovered>,
}

/// `DIR` itself, locked.
struct Root {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    files: Arc<dyn Files>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    name: String,
    replica: ReplicaId,
    boots: u64,
    durability: Durability,
    boot_id: String,
    clean: bool,
}

impl OpenDir {
    /// Opens or creates the directory for the node called `name`; `fresh` is the replica id to
    /// use if it needs one, and `renew` says that it does: the old replica's state begins a new
    /// cluster.
    pub(crate) fn open(
        config: &DataDir,
        files: &Arc<dyn Files>,
        name: &str,
        fresh: ReplicaId,
        renew: bool,
    ) -> Result<Self, DataDirError> {
        let path = config.path.clone();
        let disk =
            files.open(&path).map_err(|source| DataDirError::Wal { path: path.clone(), source })?;
        let root = Root { path, disk, files: Arc::clone(files) };
        let fresh = if Canary::ReplicaIdReused.is_planted() {
            u64::from(crc32fast::hash(name.as_bytes())) | 1
        } else {
            fresh
        };
        let boot_id = files
            .boot_id()
            .map_err(|source| DataDirError::Io { path: "boot id".into(), source })?;
        let found = root.read_identity()?;
        let identity = match found {
            None => {
                root.expect_no_replica()?;
                Identity::new(name, fresh)
            }
            Some(found) if found.name != name => {
                let why = format!(
                    "this is the data directory of node `{}`, not of `{name}`: give this node a \
                     directory of its own",
                    found.name
                );
                return Err(DataDirError::Unusable { path: root.path.clone(), why });
            }
            Some(found) if found.may_have_lost(&boot_id) => {
                tracing::warn!(
                    replica = found.replica,
                    "the operating system went down under --durability os: what this node had \
                     acknowledged may be gone, so it comes back as a new replica"
                );
                Identity::new(name, fresh)
            }
            Some(_) if renew => Identity::new(name, fresh),
            Some(found) => found,
        };
        let durability = config.durability;
        let mut identity = Identity { durability, boot_id, clean: false, ..identity };
        let replica_path = root.path.join(identity.dir_name());
        let first = identity.boots == 0;
        if first {
            // Said before there is a log, so that a log that is missing later was taken away.
            root.write_identity(&identity)?;
            root.remove(&replica_path)?;
        } else if !files.is_dir(&replica_path) {
            let why = "the log is missing: a vote may have been given and forgotten. Remove the \
                       whole data directory to come back as a new replica";
            return Err(DataDirError::Unusable { path: replica_path, why: why.to_owned() });
        }
        let broken = |source| DataDirError::Wal { path: replica_path.clone(), source };
        let disk = files.open(&replica_path).map_err(broken)?;
        let config = identity.wal_config(&**files, config.segment_len);
        let (wal, recovered) = if first {
            (Wal::create(Arc::clone(&disk), config).map_err(broken)?, None)
        } else {
            let (wal, recovered) = Wal::open(Arc::clone(&disk), config).map_err(broken)?;
            (wal, Some(recovered))
        };
        identity.boots += 1;
        root.write_identity(&identity)?;
        Ok(Self { root, identity, disk, wal, recovered })
    }

    pub(crate) fn replica(&self) -> ReplicaId {
        self.identity.replica
    }

    /// How often this replica has been started, this time included.
    pub(crate) fn boots(&self) -> u64 {
        self.identity.boots
    }

    /// Where the replica's files are, for messages.
    pub(crate) fn replica_path(&self) -> PathBuf {
        self.root.path.join(self.identity.dir_name())
    }

    /// Whether files of an earlier replica are here that may be the last copy of something.
    pub(crate) fn has_predecessor(&self) -> bool {
        let own = self.identity.dir_name();
        self.root.replica_names().is_ok_and(|names| names.iter().any(|name| *name != own))
    }

    /// Removes the files of earlier replicas: this one has everything.
    pub(crate) fn forget_predecessors(&self) -> io::Result<()> {
        let own = self.identity.dir_name();
        for name in self.root.replica_names().map_err(io::Error::other)? {
            if name != own {
                self.root.files.remove(&self.root.path.join(&name))?;
                tracing::info!(name, "files of an earlier replica removed");
            }
        }
        Ok(())
    }

    /// Notes that everything was made durable before the node ended.
    pub(crate) fn mark_clean(&mut self) -> Result<(), DataDirError> {
        self.identity.clean = true;
        self.root.write_identity(&self.identity)
    }
}

impl Root {
    fn io(&self, source: io::Error) -> DataDirError {
        DataDirError::Io { path: self.path.clone(), source }
    }

    fn read_identity(&self) -> Result<Option<Identity>, DataDirError> {
        let path = self.path.join(IDENTITY);
        let text = match self.read(IDENTITY) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DataDirError::Io { path, source }),
        };
        match Identity::parse(&text) {
            Ok(identity) => Ok(Some(identity)),
            Err(why) => Err(DataDirError::Unusable { path, why }),
        }
    }

    fn write_identity(&self, identity: &Identity) -> Result<(), DataDirError> {
        let write = || {
            let text = identity.to_text();
            if self.disk.list()?.iter().any(|name| name == IDENTITY_TMP) {
                self.disk.remove(IDENTITY_TMP)?;
            }
            let file = self.disk.create(IDENTITY_TMP, 0)?;
            file.write_all_at(text.as_bytes(), 0)?;
            file.sync_data()?;
            self.disk.rename(IDENTITY_TMP, IDENTITY)?;
            self.disk.sync_dir()
        };
        let path = self.path.join(IDENTITY);
        write().map_err(|source| DataDirError::Io { path, source })
    }

    fn replica_names(&self) -> Result<Vec<String>, DataDirError> {
        let mut names = self.files.names(&self.path).map_err(|source| self.io(source))?;
        names.retain(|name| name.starts_with("replica-"));
        Ok(names)
    }

    /// A whole file, as long as an identity may be.
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.disk.open(name)?;
        let mut text = vec![0; IDENTITY_LEN_MAX];
        let mut len = 0;
        while let Some(rest) = text.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, len as u64)? {
                0 => break,
                read => len += read,
            }
        }
        text.truncate(len);
        Ok(text)
    }

    fn remove(&self, path: &Path) -> Result<(), DataDirError> {
        let path = path.to_owned();
        self.files.remove(&path).map_err(|source| DataDirError::Io { path, source })
    }

    /// A log without an identity is a log whose replica id is unknown.
    fn expect_no_replica(&self) -> Result<(), DataDirError> {
        let names = self.replica_names()?;
        let Some(name) = names.first() else { return Ok(()) };
        let why = format!(
            "is missing, but {name} is there. Put it back, or remove the whole data directory to \
             come back as a new replica"
        );
        Err(DataDirError::Unusable { path: self.path.join(IDENTITY), why })
    }
}

impl Identity {
    /// A replica that has never run.
    fn new(name: &str, replica: ReplicaId) -> Self {
        let (durability, boot_id) = (Durability::Fsync, String::new());
        Self { name: name.to_owned(), replica, boots: 0, durability, boot_id, clean: false }
    }

    /// What the page cache held is gone, and nobody had written it out in order.
    fn may_have_lost(&self, boot_id: &str) -> bool {
        self.durability == Durability::Os && !self.clean && self.boot_id != boot_id
    }

    fn dir_name(&self) -> String {
        format!("replica-{:016x}", self.replica)
    }

    fn wal_config(&self, files: &dyn Files, segment_len: u64) -> wal::Config {
        let durability = match self.durability {
            Durability::Fsync => wal::Durability::Fsync,
            Durability::Os => wal::Durability::Os { sync_every: SYNC_EVERY },
        };
        wal::Config { owner: self.replica, segment_len, durability, work: files.log_work() }
    }

    fn to_text(&self) -> String {
        let Self { name, replica, boots, durability, boot_id, clean } = self;
        let durability = durability.name();
        let state = if *clean { "clean" } else { "running" };
        let mut text = format!(
            "{TITLE}\nname {name}\nreplica {replica}\nboots {boots}\ndurability {durability}\n\
             boot-id {boot_id}\nstate {state}\n"
        );
        let checksum = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "checksum {checksum:08x}");
        text
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let damaged = |what: &str| {
            format!(
                "{what}: the file is damaged, this node cannot know who \
            it is. Remove the whole data directory to come back as a new replica"
            )
        };
        let text = str::from_utf8(text).map_err(|_| damaged("not text"))?;
        let first = text.lines().next().unwrap_or_default();
        if first != TITLE {
            return Err(match first.strip_prefix(TITLE_PREFIX) {
                Some(version) => format!("version {version} is newer than this program's 1"),
                None => damaged("first line"),
            });
        }
        let body_len = text.rfind("checksum ").ok_or_else(|| damaged("no checksum"))?;
        let (body, checksum) = text.split_at(body_len);
        if checksum != format!("checksum {:08x}\n", crc32fast::hash(body.as_bytes())) {
            return Err(damaged("the checksum differs"));
        }
        let value = |key: &str| {
            let mut values =
                body.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            values.next().map(str::to_owned).ok_or_else(|| damaged(&format!("no `{key}`")))
        };
        let number = |key: &str| {
            value(key)?.parse::<u64>().map_err(|_| damaged(&format!("`{key}` is no number")))
        };
        Ok(Self {
            name: value("name")?,
            replica: number("replica")?,
            boots: number("boots")?,
            durability: match value("durability")?.as_str() {
                "fsync" => Durability::Fsync,
                "os" => Durability::Os,
                other => return Err(damaged(&format!("unknown durability `{other}`"))),
            },
            boot_id: value("boot-id")?,
            clean: value("state")? == "clean",
        })
    }
}

const IDENTITY: &str = "identity";
const IDENTITY_TMP: &str = "identity.tmp";
const TITLE_PREFIX: &str = "raftcached data directory, version ";
const TITLE: &str = "raftcached data directory, version 1";
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// A name of 255 bytes and all else fit well.
const IDENTITY_LEN_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    fn config(path: &Path, durability: Durability) -> DataDir {
        DataDir { path: path.to_owned(), durability, segment_len: 1024 * 1024 }
    }

    fn open(path: &Path, durability: Durability, fresh: ReplicaId) -> Result<OpenDir, String> {
        OpenDir::open(&config(path, durability), &World::real().files, "n1", fresh, false)
            .map_err(|error| error.to_string())
    }

    fn edit_identity(path: &Path, edit: impl FnOnce(&mut Identity)) {
        let mut identity = Identity::parse(&std::fs::read(path.join(IDENTITY)).unwrap()).unwrap();
        edit(&mut identity);
        std::fs::write(path.join(IDENTITY), identity.to_text()).unwrap();
    }

    #[test]
    fn a_replica_keeps_its_id_and_counts_its_starts() {
        let dir = tempfile::tempdir().unwrap();
        for (fresh, boots) in [(7, 1), (8, 2), (9, 3)] {
            let open = open(dir.path(), Durability::Fsync, fresh).unwrap();
            assert_eq!((open.replica(), open.boots()), (7, boots));
            assert_eq!(open.recovered.is_some(), boots != 1);
            open.wal.close().unwrap();
        }
    }

    #[test]
    fn a_crashed_system_makes_a_new_replica_of_an_os_node_only() {
        for (durability, clean, want) in
            [(Durability::Os, false, 2), (Durability::Os, true, 1), (Durability::Fsync, false, 1)]
        {
            let dir = tempfile::tempdir().unwrap();
            open(dir.path(), durability, 1).unwrap().wal.close().unwrap();
            edit_identity(dir.path(), |identity| {
                identity.boot_id = "another".to_owned();
                identity.clean = clean;
            });
            let open = open(dir.path(), durability, 2).unwrap();
            assert_eq!(open.replica(), want, "{durability:?}, clean: {clean}");
            assert_eq!(open.has_predecessor(), want == 2);
            open.forget_predecessors().unwrap();
            assert!(!open.has_predecessor());
        }
    }

    #[test]
    fn a_first_start_that_was_cut_off_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), Durability::Fsync, 1).unwrap().wal.close().unwrap();
        edit_identity(dir.path(), |identity| identity.boots = 0);
        let open = open(dir.path(), Durability::Fsync, 2).unwrap();
        assert_eq!((open.replica(), open.boots(), open.recovered.is_some()), (1, 1, false));
    }

    #[test]
    fn what_is_missing_or_foreign_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), Durability::Fsync, 1).unwrap().wal.close().unwrap();
        let other = config(dir.path(), Durability::Fsync);
        let other = OpenDir::open(&other, &World::real().files, "n2", 1, false);
        let error = other.err().unwrap().to_string();
        assert!(error.contains("node `n1`, not of `n2`"), "{error}");

        let held = open(dir.path(), Durability::Fsync, 1).unwrap();
        assert!(open(dir.path(), Durability::Fsync, 1).is_err(), "a second process");
        held.wal.close().unwrap();
        drop(held);

        let kept = std::fs::read(dir.path().join(IDENTITY)).unwrap();
        std::fs::remove_file(dir.path().join(IDENTITY)).unwrap();
        let error = open(dir.path(), Durability::Fsync, 1).err().unwrap();
        assert!(error.contains("identity: is missing"), "{error}");

        std::fs::write(dir.path().join(IDENTITY), kept).unwrap();
        std::fs::remove_dir_all(dir.path().join("replica-0000000000000001")).unwrap();
        let error = open(dir.path(), Durability::Fsync, 1).err().unwrap();
        assert!(error.contains("the log is missing"), "{error}");
    }

    /// Every byte, every bit: an identity is itself or refused.
    #[test]
    fn a_flipped_bit_is_seen() {
        let identity = Identity { boots: 3, ..Identity::new("n1", u64::MAX) };
        let text = identity.to_text();
        assert_eq!(Identity::parse(text.as_bytes()), Ok(identity));
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut flipped = text.clone().into_bytes();
                flipped[at] ^= 1 << bit;
                assert!(Identity::parse(&flipped).is_err(), "byte {at}, bit {bit}");
            }
            assert!(Identity::parse(&text.as_bytes()[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let error = Identity::parse(b"raftcached data directory, version 2\n").unwrap_err();
        assert!(error.contains("version 2 is newer"), "{error}");
    }
}
