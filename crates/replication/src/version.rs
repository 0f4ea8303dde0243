//! Which versions of the peer protocol a node speaks.

use std::fmt;
use std::str::FromStr;

/// A range of versions, written `MIN..MAX`, both of them included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Versions {
    /// What this program speaks.
    pub(crate) const OURS: Self = Self { min: 1, max: 1 };

    /// The newest version that both sides speak.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn common(self, theirs: Self) -> Result<u32, NoCommonVersion> {
        let (oldest, newest) = (self.min.max(theirs.min), self.max.min(theirs.max));
        if oldest <= newest { Ok(newest) } else { Err(NoCommonVersion { ours: self, theirs }) }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

impl FromStr for Versions {
    type Err = NotVersions;

    fn from_str(text: &str) -> Result<Self, NotVersions> {
        let parts = text.split_once("..").ok_or(NotVersions)?;
        let number = |text: &str| text.parse().map_err(|_| NotVersions);
        let (min, max) = (number(parts.0)?, number(parts.1)?);
        if min <= max { Ok(Self { min, max }) } else { Err(NotVersions) }
    }
}

/// Not `MIN..MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("versions are written MIN..MAX")]
pub(crate) struct NotVersions;

/// Two programs that are too far apart to work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node speaks versions {ours} of the peer protocol and the other one {theirs}: no version \
     is common to both"
)]
pub(crate) struct NoCommonVersion {
    ours: Versions,
    theirs: Versions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_both_speak() {
        let range = |min, max| Versions { min, max };
        let cases = [
            (range(1, 1), range(1, 1), Some(1)),
            (range(1, 3), range(2, 5), Some(3)),
            (range(2, 5), range(1, 3), Some(3)),
            (range(1, 9), range(4, 5), Some(5)),
            (range(1, 1), range(2, 3), None),
            (range(4, 4), range(2, 3), None),
        ];
        for (ours, theirs, want) in cases {
            assert_eq!(ours.common(theirs).ok(), want, "case: {ours} and {theirs}");
        }
        let message = range(1, 1).common(range(2, 3)).unwrap_err().to_string();
        assert!(message.contains("1..1") && message.contains("2..3"), "{message}");
    }

    #[test]
    fn versions_survive_the_wire() {
        assert_eq!("1..7".parse(), Ok(Versions { min: 1, max: 7 }));
        assert_eq!(Versions::OURS.to_string().parse(), Ok(Versions::OURS));
        for bad in ["", "1", "..", "1..", "2..1", "-1..1", "1..4294967296", "a..b", "1..2..3"] {
            assert_eq!(bad.parse::<Versions>(), Err(NotVersions), "case: {bad:?}");
        }
    }
}
