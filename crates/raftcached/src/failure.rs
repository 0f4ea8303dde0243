//! How the program ends when it cannot do what it was asked to.

use std::fmt;

/// An error with the exit status that scripts are promised.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: u8,
    error: anyhow::Error,
}

impl Failure {
    /// An option that cannot be taken; memcached and `sysexits.h` have the same number.
    pub(crate) fn bad_option(error: impl Into<anyhow::Error>) -> Self {
        Self { status: EX_USAGE, error: error.into() }
    }

    /// The system refuses something the node cannot do without: an address, file descriptors.
    pub(crate) fn system(error: impl Into<anyhow::Error>) -> Self {
        Self { status: EX_OSERR, error: error.into() }
    }

    /// A user that this system does not know.
    pub(crate) fn no_user(name: &str) -> Self {
        Self {
            status: EX_NOUSER,
            error: anyhow::anyhow!("can't find the user {name} to switch to"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { status: 1, error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole chain of causes on one line, as far as a cause is one line.
        write!(f, "{:#}", self.error)
    }
}

/// Command line used wrongly, for commands that run a node.
pub(crate) const EX_USAGE: u8 = 64;
const EX_NOUSER: u8 = 67;
const EX_OSERR: u8 = 71;
