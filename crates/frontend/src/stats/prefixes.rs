//! What is asked per prefix of keys, for `stats detail`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Counters per prefix: what stands before the first delimiter (`-D`) of a key.
///
/// Off until a client says `stats detail on`, and then one lock for all threads: it is for looking
/// at a server for a while. memcached's table grows without bound; this one stops taking new
/// prefixes at [`PREFIX_COUNT_MAX`].
#[derive(Debug)]
pub(crate) struct Prefixes {
    delimiter: u8,
    on: AtomicBool,
    counts: Mutex<HashMap<Box<[u8]>, Counts>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// What was asked of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Delete,
    Hit,
    Miss,
    Set,
}

impl Prefixes {
    pub(crate) fn new(delimiter: u8, on: bool) -> Self {
        Self { delimiter, on: AtomicBool::new(on), counts: Mutex::default() }
    }

    /// Whether anything is counted.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Begins to count, or stops; what has been counted stays.
    pub(crate) fn turn(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Forgets what has been counted.
    pub(crate) fn clear(&self) {
        self.counts.lock().clear();
    }

    /// Counts one request, if anything is counted.
    pub(crate) fn count(&self, key: &[u8], asked: Asked) {
        if !self.is_on() {
            return;
        }
        let Some(len) = key.iter().position(|byte| *byte == self.delimiter) else { return };
        let prefix = key.get(..len).unwrap_or_default();
        let mut counts = self.counts.lock();
        let is_full = PREFIX_COUNT_MAX <= counts.len();
        let count = match counts.get_mut(prefix) {
            Some(count) => count,
            None if is_full => return,
            None => counts.entry(prefix.into()).or_default(),
        };
        match asked {
            Asked::Delete => count.deletes += 1,
            Asked::Hit => (count.gets, count.hits) = (count.gets + 1, count.hits + 1),
            Asked::Miss => count.gets += 1,
            Asked::Set => count.sets += 1,
        }
    }

    /// The lines of `stats detail dump`, without the end.
    ///
    /// A prefix that came by binary may hold line ends, with which its owner could forge lines;
    /// what is not printed is sent as `%XX`.
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        for (prefix, count) in &*self.counts.lock() {
            let Counts { gets, hits, sets, deletes } = count;
            text.push_str("PREFIX ");
            for byte in prefix {
                // Writing to a string does not fail.
                let _ = if byte.is_ascii_graphic() && *byte != b'%' {
                    write!(text, "{}", char::from(*byte))
                } else {
                    write!(text, "%{byte:02X}")
                };
            }
            let _ = write!(text, " get {gets} hit {hits} set {sets} del {deletes}\r\n");
        }
        text
    }
}

/// About half a megabyte of them.
const PREFIX_COUNT_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_prefix_while_it_is_on() {
        let prefixes = Prefixes::new(b':', false);
        prefixes.count(b"foo:1", Asked::Set);
        assert_eq!(prefixes.dump(), "");
        prefixes.turn(true);
        prefixes.count(b"foo:1", Asked::Set);
        prefixes.count(b"foo:1", Asked::Hit);
        prefixes.count(b"foo:2", Asked::Miss);
        prefixes.count(b"foo:2:3", Asked::Delete);
        prefixes.count(b"foo", Asked::Set);
        assert_eq!(prefixes.dump(), "PREFIX foo get 2 hit 1 set 1 del 1\r\n");
        prefixes.turn(false);
        prefixes.count(b"foo:1", Asked::Set);
        assert_eq!(prefixes.dump(), "PREFIX foo get 2 hit 1 set 1 del 1\r\n");
        prefixes.clear();
        assert_eq!(prefixes.dump(), "");
    }

    #[test]
    fn no_prefix_can_forge_a_line_and_there_are_not_too_many() {
        let prefixes = Prefixes::new(b'|', true);
        prefixes.count(b"a\r\nb %|x", Asked::Miss);
        assert_eq!(prefixes.dump(), "PREFIX a%0D%0Ab%20%25 get 1 hit 0 set 0 del 0\r\n");
        for number in 0..2 * PREFIX_COUNT_MAX {
            prefixes.count(format!("{number}|").as_bytes(), Asked::Set);
        }
        assert_eq!(prefixes.dump().lines().count(), PREFIX_COUNT_MAX);
    }
}
