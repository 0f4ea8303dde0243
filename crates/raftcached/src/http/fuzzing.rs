//! A reply, for the fuzz targets.

/// Reads the reply of somebody who may be no node at all.
///
/// # Panics
///
/// If a body is taken that is not the end of what came.
pub fn reply(bytes: &[u8]) {
    if let Ok(reply) = super::parse(bytes) {
        assert!(bytes.ends_with(&reply.body));
    }
}
