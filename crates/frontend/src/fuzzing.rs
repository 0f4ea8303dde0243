//! What the fuzz targets need of this crate and nobody else may have; see `fuzz/README.md`.

use engine::{Command, UnixMillis};
use protocol::{KeyBuffer, Request};

use crate::lower;

/// The command that a request proposes, if it proposes one.
pub fn command<'a>(request: &Request<'a>, now: UnixMillis) -> Option<Command<'a>> {
    lower::command(request, || now)
}

/// The command of a meta request that may change something; its key may be in `buffer`.
pub fn meta<'b>(request: &Request<'b>, buffer: &'b mut KeyBuffer) -> Option<Command<'b>> {
    match request {
        Request::MetaArithmetic(arithmetic) => {
            Some(lower::meta_arithmetic(arithmetic, arithmetic.key.bytes(buffer)))
        }
        Request::MetaDelete(delete) => Some(lower::meta_delete(delete, delete.key.bytes(buffer))),
        Request::MetaGet(get) => {
            Some(Command::MetaGet(lower::meta_get(get, get.key.bytes(buffer))))
        }
        Request::MetaStore(store) => Some(lower::meta_store(store, store.key.bytes(buffer))),
        _ => None,
    }
}

/// The command that `gat` proposes for one of its keys.
pub fn get_and_touch(key: &[u8], exptime: i64) -> Command<'_> {
    lower::get_and_touch(key, exptime)
}

/// Whether the request is answered like a read.
pub fn is_existence_probe(request: &Request<'_>) -> bool {
    lower::is_existence_probe(request)
}

pub use crate::auth::lets_in;
