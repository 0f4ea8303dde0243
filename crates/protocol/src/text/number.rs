//! Numbers as the C library reads them, because memcached does.
//!
//! Leading blanks (a tab can be part of a word) and one sign are skipped, and a blank ends the
//! number, whatever follows. Source: memcached 1.6.18, `util.c`, `safe_strto*`.

/// An unsigned number. A minus sign negates it within 64 bits, and is refused unless that gives
/// a small number, as memcached does.
pub(super) fn parse_u64(word: &[u8]) -> Option<u64> {
    let (negative, magnitude) = parse(word)?;
    let number = if negative { magnitude.wrapping_neg() } else { magnitude };
    (number <= i64::MAX.cast_unsigned() || !word.contains(&b'-')).then_some(number)
}

/// The lower 32 bits of [`parse_u64`]: memcached keeps client flags so.
pub(super) fn parse_u32(word: &[u8]) -> Option<u32> {
    let [_, _, _, _, low @ ..] = parse_u64(word)?.to_be_bytes();
    Some(u32::from_be_bytes(low))
}

/// A signed number.
pub(super) fn parse_i64(word: &[u8]) -> Option<i64> {
    let (negative, magnitude) = parse(word)?;
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// The lower 32 bits of [`parse_i64`]: an exptime of 2^31 is a negative one in memcached.
pub(super) fn parse_i32(word: &[u8]) -> Option<i32> {
    let [_, _, _, _, low @ ..] = parse_i64(word)?.to_be_bytes();
    Some(i32::from_be_bytes(low))
}

/// The sign and the magnitude.
fn parse(word: &[u8]) -> Option<(bool, u64)> {
    let blanks = word.iter().take_while(|byte| is_blank(**byte)).count();
    let (negative, digits) = match word.get(blanks..)? {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(count);
    let ends = rest.first().is_none_or(|byte| is_blank(*byte));
    if digits.is_empty() || !ends {
        return None;
    }
    let magnitude = digits.iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    Some((negative, magnitude?))
}

/// C's `isspace`. (Rust's `is_ascii_whitespace` lacks the vertical tab.)
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        // (word, u64, u32, i64, i32)
        type Want = (Option<u64>, Option<u32>, Option<i64>, Option<i32>);
        const MAX: u64 = u64::MAX;
        #[rustfmt::skip]
        let cases: &[(&[u8], Want)] = &[
            (b"0", (Some(0), Some(0), Some(0), Some(0))),
            (b"0007", (Some(7), Some(7), Some(7), Some(7))),
            (b"+7", (Some(7), Some(7), Some(7), Some(7))),
            (b"\t\x0b7\rx", (Some(7), Some(7), Some(7), Some(7))),
            (b"-1", (None, None, Some(-1), Some(-1))),
            (b"2147483648", (Some(1 << 31), Some(1 << 31), Some(1 << 31), Some(i32::MIN))),
            (b"4294967301", (Some((1 << 32) + 5), Some(5), Some((1 << 32) + 5), Some(5))),
            (b"9223372036854775807", (Some(MAX / 2), Some(u32::MAX), Some(i64::MAX), Some(-1))),
            (b"9223372036854775808", (Some(1 << 63), Some(0), None, None)),
            (b"-9223372036854775808", (None, None, Some(i64::MIN), Some(0))),
            (b"-9223372036854775809", (Some(MAX / 2), Some(u32::MAX), None, None)),
            (b"18446744073709551615", (Some(MAX), Some(u32::MAX), None, None)),
            (b"18446744073709551616", (None, None, None, None)),
            (b"-18446744073709551615", (Some(1), Some(1), None, None)),
            (b"18446744073709551615\t-", (None, None, None, None)),
            (b"", (None, None, None, None)),
            (b"-", (None, None, None, None)),
            (b"+-1", (None, None, None, None)),
            (b"1x", (None, None, None, None)),
            (b"0x1", (None, None, None, None)),
            (b"1.5", (None, None, None, None)),
            (b"\t", (None, None, None, None)),
            (b"5\0", (None, None, None, None)),
        ];
        for (word, want) in cases {
            let got = (parse_u64(word), parse_u32(word), parse_i64(word), parse_i32(word));
            assert_eq!(&got, want, "case: {}", word.escape_ascii());
        }
    }
}
