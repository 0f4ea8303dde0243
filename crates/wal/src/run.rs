//! Where the entries of a shard lie: stretches of consecutive entries, each within one segment.

use std::sync::Arc;

use crate::segment::Segment;

/// Entries `first..=last` of one shard, in ascending order of offset, with no other entries of the
/// shard between them that count.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) segment: Arc<Segment>,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Where some of the entries are, ascending, the run's original first among them.
    points: Vec<Point>,
    /// Bytes of the entries since the last point.
    since_point: u64,
    /// Whether more may follow: what was truncated still lies behind `last`, so that what takes
    /// its place begins a run of its own.
    pub(crate) open: bool,
}

#[derive(Clone, Copy)]
struct Point {
    index: u64,
    offset: u64,
}

impl Run {
    pub(crate) fn new(segment: Arc<Segment>, index: u64, offset: u64, span: u64) -> Self {
        let points = vec![Point { index, offset }];
        Self { segment, first: index, last: index, points, since_point: span, open: true }
    }

    /// Entry `last + 1` is at `offset` and takes `span` bytes.
    pub(crate) fn extend(&mut self, offset: u64, span: u64) {
        self.last += 1;
        if POINT_DISTANCE <= self.since_point {
            self.points.push(Point { index: self.last, offset });
            self.since_point = 0;
        }
        self.since_point += span;
    }

    /// Entries behind `last` are gone.
    pub(crate) fn end_at(&mut self, last: u64) {
        if last < self.last {
            self.last = last;
            self.open = false;
        }
    }

    /// The nearest place known at or before entry `index`: an index and its offset.
    pub(crate) fn seek(&self, index: u64) -> Option<(u64, u64)> {
        let behind = self.points.partition_point(|point| point.index <= index);
        let point = self.points.get(behind.checked_sub(1)?)?;
        Some((point.index, point.offset))
    }
}

/// One place is kept for so many bytes of a shard's entries: 10 GiB of log take 2.5 MiB, and a
/// read finds any entry within one or two looks at the disk.
const POINT_DISTANCE: u64 = 64 * 1024;
