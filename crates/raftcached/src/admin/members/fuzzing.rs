//! An operator's requests, as far as they get without a node, for the fuzz targets.

use axum::body::Bytes;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::super::target;
use super::{Add, Body, Recover, Refusal, Remove, Replace, checked, parse, reachable};
use crate::config::is_node_name;

/// Reads the body of a request, or, of kind 4, the query of a move.
///
/// # Panics
///
/// If what is taken names no node, or what is refused is not the client's fault.
pub fn request(kind: u8, bytes: &[u8]) {
    let refused = match kind {
        0 => taken(bytes, |Add { name, peer, .. }| {
            reachable(&peer)?;
            Ok(vec![checked(name)?])
        }),
        1 => taken(bytes, |Remove { name, .. }| Ok(vec![checked(name)?])),
        2 => taken(bytes, |Replace { old, new, peer, .. }| {
            reachable(&peer)?;
            Ok(vec![checked(old)?, checked(new)?])
        }),
        3 => taken(bytes, |Recover { .. }| Ok(Vec::new())),
        _ => {
            let to = target(str::from_utf8(bytes).ok()).ok().flatten();
            return assert!(to.is_none_or(|to| !to.is_empty() && !to.contains('&')));
        }
    };
    if let Some(Refusal(status, why)) = refused {
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(!why.is_empty());
    }
}

fn taken<T: DeserializeOwned>(
    bytes: &[u8],
    names: impl FnOnce(T) -> Result<Vec<String>, Refusal>,
) -> Option<Refusal> {
    let body: Body = Ok(Bytes::copy_from_slice(bytes));
    match parse::<T>(body).and_then(names) {
        Ok(names) => assert!(names.iter().all(|name| is_node_name(name))),
        Err(refusal) => return Some(refusal),
    }
    None
}
