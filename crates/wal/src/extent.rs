//! Which indices a shard's log has, and what may come next.

use std::ops::RangeInclusive;

use crate::Shard;
use crate::error::Error;

/// The purge point and the entries behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) purged: Option<u64>,
    /// First and last.
    pub(crate) entries: Option<(u64, u64)>,
}

impl Extent {
    /// Entry `index` comes: the one after the last, or, in an empty log, any not purged.
    pub(crate) fn append(&mut self, shard: Shard, index: u64) -> Result<(), Error> {
        let fits = match self.entries {
            Some((_, last)) => last.checked_add(1) == Some(index),
            None => self.purged.is_none_or(|purged| purged < index),
        };
        if !fits {
            return Err(Error::Order { shard, index, what: "does not follow the last entry" });
        }
        let first = self.entries.map_or(index, |(first, _)| first);
        self.entries = Some((first, index));
        Ok(())
    }

    /// Entries from `from` on go.
    pub(crate) fn truncate(&mut self, from: u64) {
        self.entries = self.entries.and_then(|(first, last)| {
            let last = last.min(from.checked_sub(1)?);
            (first <= last).then_some((first, last))
        });
    }

    /// Entries up to `through` go; it may lie beyond the last.
    pub(crate) fn purge(&mut self, shard: Shard, through: u64) -> Result<(), Error> {
        if self.purged.is_some_and(|purged| through < purged) {
            let what = "is below the purge point";
            return Err(Error::Order { shard, index: through, what });
        }
        self.purged = Some(through);
        self.entries = self.entries.and_then(|(first, last)| {
            let first = first.max(through.checked_add(1)?);
            (first <= last).then_some((first, last))
        });
        Ok(())
    }

    pub(crate) fn range(&self) -> Option<RangeInclusive<u64>> {
        self.entries.map(|(first, last)| first..=last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_follows_the_last_or_the_purge_point() {
        let (purged, entries) = (Some(4), Some((5, 8)));
        let cases: &[(&str, Extent, u64, bool)] = &[
            ("first of all", Extent::default(), 0, true),
            ("first of all, later", Extent::default(), 7, true),
            ("next", Extent { purged, entries }, 9, true),
            ("again", Extent { purged, entries }, 8, false),
            ("gap", Extent { purged, entries }, 10, false),
            ("purged", Extent { purged, entries: None }, 4, false),
            ("behind the purge point", Extent { purged, entries: None }, 5, true),
            ("after the greatest", Extent { purged, entries: Some((5, u64::MAX)) }, 0, false),
        ];
        for (name, extent, index, want) in cases {
            assert_eq!({ *extent }.append(1, *index).is_ok(), *want, "case: {name}");
        }
    }

    #[test]
    fn what_is_left() {
        let whole = Extent { purged: Some(4), entries: Some((5, 8)) };
        let truncated = |from| {
            let mut extent = whole;
            extent.truncate(from);
            extent.entries
        };
        assert_eq!(truncated(0), None);
        assert_eq!(truncated(5), None);
        assert_eq!(truncated(6), Some((5, 5)));
        assert_eq!(truncated(9), Some((5, 8)));

        let purged = |through| {
            let mut extent = whole;
            extent.purge(1, through).map(|()| (extent.purged, extent.entries)).ok()
        };
        assert_eq!(purged(3), None);
        assert_eq!(purged(4), Some((Some(4), Some((5, 8)))));
        assert_eq!(purged(7), Some((Some(7), Some((8, 8)))));
        assert_eq!(purged(8), Some((Some(8), None)));
        assert_eq!(purged(u64::MAX), Some((Some(u64::MAX), None)));
    }
}
