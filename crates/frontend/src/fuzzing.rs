//! What the fuzz targets need of this crate and nobody else may have; see `fuzz/README.md`.

use engine::{Command, UnixMillis};
use protocol::Request;

use crate::lower;

/// The command that a request proposes, if it proposes one.
pub fn command<'a>(request: &Request<'a>, now: UnixMillis) -> Option<Command<'a>> {
    lower::command(request, || now)
}

/// The command that `gat` proposes for one of its keys.
pub fn get_and_touch(key: &[u8], exptime: i64) -> Command<'_> {
    lower::get_and_touch(key, exptime)
}

/// Whether the request is answered like a read.
pub fn is_existence_probe(request: &Request<'_>) -> bool {
    lower::is_existence_probe(request)
}
