//! Base64 as memcached reads and writes it.
//!
//! By hand, because memcached's decoder is its own: it skips every byte that is no digit, takes
//! `=` for a digit of value 0, ends at the first group that holds one, and ignores surplus bits.
//! What it is lenient about names the same item here as there.
//!
//! Source: memcached 1.6.18, `base64.c`.

use bytes::BufMut;

use crate::meta::KeyBuffer;

/// Decodes a key, or tells that it is none: digits that do not make whole groups, more than two
/// `=`, nothing at all.
pub(crate) fn decode<'b>(encoded: &[u8], buffer: &'b mut KeyBuffer) -> Option<&'b [u8]> {
    let digits = encoded.iter().filter_map(|byte| digit(*byte).map(|value| (*byte, value)));
    if !digits.clone().count().is_multiple_of(GROUP_LEN) {
        return None;
    }
    let (mut group, mut count, mut padding, mut len) = (0, 0, 0, 0);
    for (byte, value) in digits {
        group = group << 6 | u32::from(value);
        count += 1;
        padding += usize::from(byte == b'=');
        if count < GROUP_LEN {
            continue;
        }
        let [_, bytes @ ..] = group.to_be_bytes();
        let bytes = match padding {
            0..=2 => bytes.get(..3 - padding)?,
            _ => return None,
        };
        buffer.get_mut(len..len + bytes.len())?.copy_from_slice(bytes);
        len += bytes.len();
        if padding != 0 {
            break;
        }
        (group, count) = (0, 0);
    }
    buffer.get(..len).filter(|key| !key.is_empty())
}

/// Encodes a key.
pub(crate) fn encode(key: &[u8], out: &mut impl BufMut) {
    for bytes in key.chunks(3) {
        let mut padded = [0; 4];
        for (slot, byte) in padded.iter_mut().skip(1).zip(bytes) {
            *slot = *byte;
        }
        let group = u32::from_be_bytes(padded);
        let [a, b, c, d] = [18, 12, 6, 0].map(|shift| letter(group >> shift & 0x3f));
        match bytes {
            [_] => out.put_slice(&[a, b, b'=', b'=']),
            [_, _] => out.put_slice(&[a, b, c, b'=']),
            _ => out.put_slice(&[a, b, c, d]),
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        b'=' => Some(0),
        _ => None,
    }
}

/// The digit of a value below 64.
fn letter(value: u32) -> u8 {
    let [.., value] = value.to_be_bytes();
    match value {
        0..26 => b'A' + value,
        26..52 => b'a' + value - 26,
        52..62 => b'0' + value - 52,
        62 => b'+',
        _ => b'/',
    }
}

const GROUP_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KEY_LEN_MAX;

    /// What memcached 1.6.18's `base64_decode` makes of each, with 0 for a failure.
    #[test]
    fn decodes_what_memcached_decodes() {
        let cases: &[(&[u8], Option<&[u8]>)] = &[
            (b"Zm9v", Some(b"foo")),
            (b"Zm8=", Some(b"fo")),
            (b"Zg==", Some(b"f")),
            (b"44OG44K544OI", Some("\u{30c6}\u{30b9}\u{30c8}".as_bytes())),
            (b"/+8A", Some(b"\xff\xef\x00")),
            (b"", None),
            (b"Z", None),
            (b"Zm9", None),
            (b"Zm9vZ", None),
            (b"Z===", None),
            (b"====", None),
            (b"!-_.", None),
            // Bytes that are no digits are skipped, wherever they are.
            (b"Zm-9!v", Some(b"foo")),
            // Surplus bits are ignored, and so is what comes behind the padding.
            (b"Zm9=", Some(b"fo")),
            (b"Zg==Zm9v", Some(b"f")),
            (b"Zg==Zm9", None),
            // Padding counts as a digit of value 0 in any place.
            (b"=m9v", Some(b"\x02\x6f")),
            (b"Zm=v", Some(b"f`")),
            (b"Zm9vZ===", None),
        ];
        for (encoded, want) in cases {
            let mut buffer = [0; KEY_LEN_MAX];
            assert_eq!(decode(encoded, &mut buffer), *want, "case: {}", encoded.escape_ascii());
        }
    }

    #[test]
    fn encoded_keys_decode_to_themselves() {
        let key: Vec<u8> = (0..=u8::MAX).rev().collect();
        for len in 1..=187 {
            let mut encoded = Vec::new();
            encode(&key[..len], &mut encoded);
            assert_eq!(encoded.len(), len.div_ceil(3) * 4);
            assert_eq!(decode(&encoded, &mut [0; KEY_LEN_MAX]), Some(&key[..len]));
        }
        let mut encoded = Vec::new();
        encode(b"foo\xff\xfe~", &mut encoded);
        assert_eq!(encoded, b"Zm9v//5+");
    }
}
