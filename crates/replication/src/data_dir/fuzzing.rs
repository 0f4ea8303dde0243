//! The identity file, for the fuzz targets.

use super::Identity;

/// Reads an identity; with `vouch`, behind a checksum that is right. Whether it was taken.
///
/// # Panics
///
/// If what was taken is something else after it has been written.
pub fn identity(text: &[u8], vouch: bool) -> bool {
    let mut text = text.to_vec();
    if vouch {
        let checksum = crc32fast::hash(&text);
        text.extend_from_slice(format!("checksum {checksum:08x}\n").as_bytes());
    }
    match Identity::parse(&text) {
        Ok(identity) => {
            assert_eq!(Identity::parse(identity.to_text().as_bytes()).as_ref(), Ok(&identity));
            assert!(identity.dir_name().starts_with("replica-"));
            true
        }
        Err(why) => {
            assert!(!why.is_empty());
            false
        }
    }
}
