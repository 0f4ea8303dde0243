//! Items as `lru_crawler metadump` and `mgdump` show them.
//!
//! Source: `crawler_metadump_eval` in memcached's `crawler.c`, `uriencode` in `util.c`; `mgdump`
//! as memcached 1.6.45 answers it.

use bytes::BufMut;

use super::meta::put_name;
use super::text::{hex_digit, put_number};

/// What a dump shows of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpedItem<'a> {
    /// Its key; any bytes.
    pub key: &'a [u8],
    /// The key came in base64.
    pub key_is_base64: bool,
    /// When it ends, in unix seconds; `None`: never.
    pub deadline_s: Option<u64>,
    /// When it was last used, in unix seconds.
    pub used_s: u64,
    /// Its cas unique.
    pub cas: u64,
    /// It has been read since it was stored.
    pub fetched: bool,
    /// The client's opaque number.
    pub flags: u32,
    /// Bytes as memcached counts them ([`crate::item_len`]).
    pub total_len: u64,
}

/// The line of `metadump`; it ends in a line feed alone, as memcached's does.
pub(super) fn meta(item: &DumpedItem<'_>, with_flags: bool, out: &mut impl BufMut) {
    out.put_slice(b"key=");
    uri_encode(item.key, out);
    out.put_slice(b" exp=");
    match item.deadline_s {
        None => out.put_slice(b"-1"),
        Some(deadline_s) => put_number(deadline_s, out),
    }
    out.put_slice(b" la=");
    put_number(item.used_s, out);
    out.put_slice(b" cas=");
    put_number(item.cas, out);
    out.put_slice(if item.fetched { b" fetch=yes" } else { b" fetch=no" });
    out.put_slice(b" cls=1 size=");
    put_number(item.total_len, out);
    if with_flags {
        out.put_slice(b" flags=");
        put_number(item.flags.into(), out);
    }
    out.put_slice(b"\n");
}

/// The line of `mgdump`.
pub(super) fn mg(item: &DumpedItem<'_>, out: &mut impl BufMut) {
    out.put_slice(b"mg ");
    put_name(item.key, item.key_is_base64, out);
    out.put_slice(b"\r\n");
}

/// Appends a key with all but letters, digits and `-._~` as `%XX`, as memcached's dumps and logs
/// have it.
pub fn uri_encode(key: &[u8], out: &mut impl BufMut) {
    for byte in key {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.put_slice(&[*byte]);
        } else {
            out.put_slice(&[b'%', hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: DumpedItem<'_> = DumpedItem {
        key: b"a b\r\n%~",
        key_is_base64: false,
        deadline_s: None,
        used_s: 1_700_000_000,
        cas: 7,
        fetched: false,
        flags: 3,
        total_len: 66,
    };

    fn shown(item: &DumpedItem<'_>, with_flags: bool) -> (String, String) {
        let (mut long, mut short) = (Vec::new(), Vec::new());
        meta(item, with_flags, &mut long);
        mg(item, &mut short);
        (String::from_utf8(long).unwrap(), String::from_utf8(short).unwrap())
    }

    #[test]
    fn no_key_can_forge_a_line() {
        let (long, short) = shown(&ITEM, false);
        let want = "key=a%20b%0D%0A%25~ exp=-1 la=1700000000 cas=7 fetch=no cls=1 size=66\n";
        assert_eq!((long.as_str(), short.as_str()), (want, "mg YSBiDQolfg== b\r\n"));
        let item = DumpedItem { key: b"k", deadline_s: Some(9), fetched: true, ..ITEM };
        let (long, short) = shown(&item, true);
        let want = "key=k exp=9 la=1700000000 cas=7 fetch=yes cls=1 size=66 flags=3\n";
        assert_eq!((long.as_str(), short.as_str()), (want, "mg k\r\n"));
    }
}
