//! What a client wants to be shown, and in which order.

/// What a client may want to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returned {
    Cas = 1,
    Fetched,
    Flags,
    Idle,
    Key,
    Opaque,
    Size,
    Ttl,
}

/// Things to show, in order: 4 bits each from the lowest, 0 for the end. Each comes once, so
/// that there is room for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Returns(u32);

impl Returns {
    /// Appends one that is not there yet.
    pub(crate) fn push(&mut self, returned: Returned) {
        let used = u32::BITS - self.0.leading_zeros();
        self.0 |= (returned as u32).checked_shl(used.next_multiple_of(4)).unwrap_or(0);
    }

    /// From the first to the last.
    pub(super) fn iter(self) -> impl Iterator<Item = Returned> {
        use Returned::*;
        const ALL: [Returned; 8] = [Cas, Fetched, Flags, Idle, Key, Opaque, Size, Ttl];
        (0..u32::BITS).step_by(4).map_while(move |shift| {
            let code = self.0 >> shift & 0xf;
            ALL.into_iter().find(|returned| *returned as u32 == code)
        })
    }
}
