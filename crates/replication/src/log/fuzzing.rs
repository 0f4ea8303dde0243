//! Records of the log on disk, for the fuzz targets. Each says whether it was taken.
//!
//! # Panics
//!
//! If what was taken is something else after it has been written.

use bytes::Bytes;

use super::record;

/// An entry.
pub fn entry(index: u64, bytes: &[u8]) -> bool {
    let Ok(entry) = record::decode_entry(index, Bytes::copy_from_slice(bytes)) else {
        return false;
    };
    let (mut head, body) = record::encode_entry(&entry);
    head.extend_from_slice(&body);
    assert_eq!(record::decode_entry(index, head.into()).ok(), Some(entry));
    true
}

/// A vote.
pub fn vote(bytes: &[u8]) -> bool {
    let Ok(vote) = record::decode_vote(Bytes::copy_from_slice(bytes)) else { return false };
    assert_eq!(record::encode_vote(&vote), bytes);
    true
}

/// The index known to be committed.
pub fn log_id(bytes: &[u8]) -> bool {
    let Ok(log_id) = record::decode_log_id(Bytes::copy_from_slice(bytes)) else { return false };
    assert_eq!(record::encode_log_id(&log_id), bytes);
    true
}

/// The value of a purge point.
pub fn leader(bytes: &[u8]) -> bool {
    let Ok(leader) = record::decode_leader(Bytes::copy_from_slice(bytes)) else { return false };
    assert_eq!(record::encode_leader(&leader), bytes);
    true
}
