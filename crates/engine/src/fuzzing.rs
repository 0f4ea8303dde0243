//! What the fuzz targets need of this crate and nobody else may have; see `fuzz/README.md`.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::model::{Model, ModelApplied};
use crate::{
    Applied, BatchBuilder, Command, LogIndex, Origin, Outcome, Reader, Restored, Restorer,
    StateMachine, UnixMillis,
};

/// One entry of the log.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Above the last one's.
    pub index: u64,
    /// The leader's time, in milliseconds.
    pub stamp: u64,
    /// Who sends the batch.
    pub origin: Origin,
    /// Its number.
    pub seq: u64,
    /// What it acknowledges; less than `seq`.
    pub acked: u64,
    /// What it does.
    pub commands: &'a [Command<'a>],
}

/// The plain model, a replica that never stops, and one that is now and then replaced by its own
/// snapshot: all three must agree.
#[derive(Debug)]
pub struct Oracle {
    model: Model,
    steady: StateMachine,
    restarted: StateMachine,
    reader: Reader,
    /// Accounted, after the last entry.
    bytes: u64,
}

impl Oracle {
    /// Three empty caches.
    #[expect(clippy::new_without_default, reason = "as `StateMachine`")]
    pub fn new() -> Self {
        let steady = StateMachine::new();
        let (reader, restarted) = (steady.reader(), StateMachine::new());
        Self { model: Model::default(), steady, restarted, reader, bytes: 0 }
    }

    /// Cluster time in milliseconds.
    pub fn now(&self) -> u64 {
        self.model.now
    }

    /// Applies an entry to all three and returns what they agree on.
    ///
    /// # Panics
    ///
    /// If they do not agree, or memory is not what it is said to be.
    pub fn apply(&mut self, entry: &Entry<'_>) -> Applied {
        let &Entry { index, stamp, origin, seq, acked, commands } = entry;
        let want = self.model.apply(index, stamp, (origin, seq, acked), commands);
        let mut batch = BatchBuilder::new();
        for command in commands {
            batch.push(command);
        }
        let bytes = batch.finish(origin, seq, acked);
        let (index, stamp) = (LogIndex(index), UnixMillis(stamp));
        let have = self.steady.apply(index, stamp, &bytes).expect("a batch that was just built");
        let again = self.restarted.apply(index, stamp, &bytes);
        assert_eq!(Ok(&have), again.as_ref(), "after a restart: {entry:?}");
        let found = match &have {
            Applied::Outcomes(outcomes) => ModelApplied::Outcomes(outcomes.as_slice().to_vec()),
            Applied::Gap { next_seq } => ModelApplied::Gap(*next_seq),
            Applied::Forgotten => ModelApplied::Forgotten,
        };
        assert_eq!(found, want, "{entry:?}");
        assert_eq!(self.steady.digest(), self.restarted.digest(), "{entry:?}");
        self.check_memory(commands);
        have
    }

    /// Reads from the engine and the model; the value, if there is one.
    ///
    /// # Panics
    ///
    /// If they do not agree.
    pub fn get(&self, key: &[u8], at: u64) -> Option<Vec<u8>> {
        let (have, want) = (self.reader.get(key, UnixMillis(at)), self.model.get(key, at));
        assert_eq!(have, want, "{}", key.escape_ascii());
        have.map(|item| item.value().to_vec())
    }

    /// Refuses what is no batch, without any change.
    ///
    /// # Panics
    ///
    /// If it changes something.
    pub fn refuse(&mut self, index: u64, bytes: &[u8]) {
        if crate::BatchHeader::check(bytes).is_ok() {
            return;
        }
        let before = (self.steady.digest(), self.steady.applied());
        assert!(self.steady.apply(LogIndex(index), UnixMillis(u64::MAX), bytes).is_err());
        assert_eq!(before, (self.steady.digest(), self.steady.applied()));
    }

    /// Replaces the one replica by its own snapshot.
    ///
    /// # Panics
    ///
    /// If something is lost on the way.
    pub fn restart(&mut self) {
        self.restarted = restored(&self.restarted.freeze());
        assert_eq!(self.steady.digest(), self.restarted.digest());
    }

    /// A view of the state as it is now, to be compared by [`Held::check`] after any writes.
    pub fn hold(&self) -> Held {
        Held { frozen: self.steady.freeze(), digest: self.steady.digest() }
    }

    /// The books are right: recounts everything, and compares the bytes of both snapshots.
    ///
    /// # Panics
    ///
    /// If they are not.
    pub fn check(&self) {
        self.steady.cache.store.check();
        self.restarted.cache.store.check();
        let bytes = |state: &StateMachine| state.freeze().encode().collect::<Vec<_>>();
        assert!(bytes(&self.steady) == bytes(&self.restarted), "the snapshots differ");
    }

    /// Invariant 5, with its exception: a limit lowered while eviction is forbidden.
    fn check_memory(&mut self, commands: &[Command<'_>]) {
        let stats = self.reader.stats();
        assert_eq!(stats.evictions, self.model.evicted);
        assert!(self.model.bytes() <= stats.bytes, "{stats:?}");
        if stats.memory_limit < stats.bytes {
            let lowers = |command: &Command<'_>| {
                matches!(command, Command::Configure(_) | Command::LimitMemory { .. })
            };
            let lowered = commands.iter().any(lowers);
            assert!(!self.model.settings.evict, "{stats:?}");
            assert!(lowered || stats.bytes <= self.bytes, "{} bytes, then {stats:?}", self.bytes);
        }
        self.bytes = stats.bytes;
    }
}

/// A frozen view, and the digest that the state had.
#[derive(Debug)]
pub struct Held {
    frozen: crate::Frozen,
    digest: u64,
}

impl Held {
    /// Writes beside the view have not changed it.
    ///
    /// # Panics
    ///
    /// If they have.
    pub fn check(self) {
        assert_eq!(restored(&self.frozen).digest(), self.digest);
    }
}

fn restored(frozen: &crate::Frozen) -> StateMachine {
    let mut restorer = Restorer::new();
    for chunk in frozen.clone().encode() {
        restorer.push(&chunk).expect("a chunk that was just encoded");
    }
    let mut fresh = StateMachine::new();
    fresh.install(restorer.finish().expect("a snapshot that was just encoded"));
    fresh
}

/// Gives a chunk the header and the checksum that its payload needs to be looked at.
pub fn mend_chunk(chunk: &mut [u8], number: u32) {
    let Some((header, rest)) = chunk.split_first_chunk_mut::<14>() else { return };
    let Some((checksum, payload)) = rest.split_first_chunk_mut::<8>() else { return };
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let fields = [&b"RCSN"[..], &[1, 0], &number.to_le_bytes(), &len.to_le_bytes()].concat();
    header.copy_from_slice(&fields);
    *checksum = xxh3_64_with_seed(payload, xxh3_64(header)).to_le_bytes();
}

/// What the chunks restore, whatever digest the last one promises, if they are a snapshot else.
///
/// # Panics
///
/// If what was taken is not the same after it has been written and read once more.
pub fn restore(chunks: &[&[u8]], vouch: bool) -> Option<Restored> {
    let mut restorer = Restorer::new();
    for chunk in chunks {
        restorer.push(chunk).ok()?;
    }
    if vouch {
        restorer.vouch();
    }
    let restored = restorer.finish().ok()?;
    restored.state.cache.store.check();
    let again = self::restored(&restored.state.freeze());
    assert_eq!(again.digest(), restored.digest());
    again.cache.store.check();
    Some(restored)
}

/// Whether the commands were executed, and with which outcomes.
pub fn outcomes(applied: &Applied) -> &[Outcome] {
    match applied {
        Applied::Outcomes(outcomes) => outcomes.as_slice(),
        Applied::Gap { .. } | Applied::Forgotten => &[],
    }
}
