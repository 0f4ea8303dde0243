//! The newest entries of a log, in memory.

use std::collections::VecDeque;
use std::ops::Range;

use crate::types::{Entry, LogId, entry_len};

/// Consecutive entries up to the log's last one.
#[derive(Debug, Default)]
pub(super) struct Tail {
    entries: VecDeque<Entry>,
    /// Sum of `entry_len` over `entries`.
    bytes: usize,
}

impl Tail {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id)
    }

    pub(super) fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry_len(&entry);
        self.entries.push_back(entry);
    }

    /// What is here of `range`: at least one entry if there is one, then up to `bytes_max`.
    pub(super) fn read(&self, range: Range<u64>, bytes_max: usize) -> Vec<Entry> {
        let (from, to) = (self.offset(range.start), self.offset(range.end));
        let mut bytes = 0;
        let range = self.entries.range(from.min(to)..to);
        let fits = range.take_while(|entry| {
            let first = bytes == 0;
            bytes += entry_len(entry);
            first || bytes <= bytes_max
        });
        fits.cloned().collect()
    }

    /// Drops the entries behind `last`, all of them for none.
    pub(super) fn truncate_after(&mut self, last: Option<u64>) {
        let keep = last.map_or(0, |last| self.offset(last.saturating_add(1)));
        let dropped: usize = self.entries.drain(keep..).map(|entry| entry_len(&entry)).sum();
        self.bytes -= dropped;
    }

    /// Drops the entries up to and with `through`.
    pub(super) fn drop_through(&mut self, through: u64) {
        let count = self.offset(through.saturating_add(1));
        let dropped: usize = self.entries.drain(..count).map(|entry| entry_len(&entry)).sum();
        self.bytes -= dropped;
    }

    /// The index up to which entries must go so that at most `bytes_max` remain, none if they fit.
    pub(super) fn drop_point(&self, bytes_max: usize) -> Option<u64> {
        let mut excess = self.bytes.checked_sub(bytes_max).filter(|excess| *excess > 0)?;
        for entry in &self.entries {
            excess = excess.saturating_sub(entry_len(entry));
            if excess == 0 {
                return Some(entry.log_id.index);
            }
        }
        None
    }

    /// Offset of `index` in `entries`, kept within `0..=entries.len()`.
    fn offset(&self, index: u64) -> usize {
        let first = self.first_index().unwrap_or(index);
        let offset = usize::try_from(index.saturating_sub(first));
        offset.unwrap_or(usize::MAX).min(self.entries.len())
    }
}
