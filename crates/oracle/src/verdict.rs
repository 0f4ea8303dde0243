//! What the checker was allowed, and what it found.

use std::fmt;

use crate::history::Operation;

/// What a check may assume about clocks and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far an expiry may be from the time asked for, either way, in microseconds: the
    /// granularity of the store's clock and the skew between two clocks together.
    pub clock_slack_us: u64,
    /// Transitions tried for one key before the check gives up.
    pub steps_max: u64,
}

impl Default for Limits {
    /// A second of granularity and half a second of skew; steps for some seconds.
    fn default() -> Self {
        Self { clock_slack_us: 1_500_000, steps_max: 10_000_000 }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every key's operations took effect in some order that real time and the replies allow.
    Linearizable,
    /// No order explains the replies for one key.
    Violation(Box<Violation>),
    /// The check gave up: neither of the two. Says where and why.
    Undecided(String),
}

impl Verdict {
    /// Whether an order was found.
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable)
    }

    /// Whether it was shown that there is no order.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => write!(f, "linearizable"),
            Self::Violation(violation) => violation.fmt(f),
            Self::Undecided(why) => write!(f, "undecided: {why}"),
        }
    }
}

/// One key's operations that no order explains. `Display` is an excerpt for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: String,
    /// How many operations of the key were recorded.
    pub operation_count: usize,
    /// The longest run of operations that replies and real time allow, in the order they would
    /// have taken effect. Unknown ones are in it only where they are needed.
    pub prefix: Vec<Operation>,
    /// What the key would hold after the prefix.
    pub item: String,
    /// The operation whose reply came without there being a place for it.
    pub stuck: Operation,
    /// Operations around that point that are not in the prefix, by call time, `stuck` among them.
    pub around: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operation_count, prefix, item, stuck, around } = self;
        writeln!(f, "not linearizable: key {key:?}")?;
        let (taken, shown) = (prefix.len(), prefix.len().min(PREFIX_SHOWN));
        writeln!(f, "explained: {taken} of {operation_count} operations; the last {shown}:")?;
        for operation in prefix.iter().skip(taken - shown) {
            writeln!(f, "    {}", Line(operation))?;
        }
        writeln!(f, "then the key holds {item}")?;
        write!(f, "no place for the one marked, whatever else took effect:")?;
        for operation in around {
            let mark = if operation == stuck { '>' } else { ' ' };
            write!(f, "\n  {mark} {}", Line(operation))?;
        }
        Ok(())
    }
}

/// Operations of the prefix that an excerpt shows.
const PREFIX_SHOWN: usize = 12;

/// One operation on one line, times in milliseconds.
struct Line<'a>(&'a Operation);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { client, call_us, return_us, input, output, .. } = self.0;
        write!(f, "[{:>12}, ", Millis(*call_us))?;
        match return_us {
            Some(at) => write!(f, "{:>12}]", Millis(*at))?,
            None => write!(f, "{:>12}]", "unknown")?,
        }
        write!(f, " client {client:<3} {input:?}")?;
        if self.0.is_unknown() { write!(f, " -> ?") } else { write!(f, " -> {output:?}") }
    }
}

struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}
