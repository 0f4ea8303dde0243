//! Decimal counters as memcached reads them.

/// Reads a number as `strtoull` does, then asks that a blank or the end follows.
///
/// Leading blanks and one `+` are accepted, a minus sign is not; more than 64 bits is no number.
/// What stands behind the blank is ignored: `incr` pads with blanks.
///
/// Source: memcached `util.c`, `safe_strtoull`.
pub(crate) fn parse(text: &[u8]) -> Option<u64> {
    let start = text.iter().position(|byte| !is_blank(*byte))?;
    let text = text.get(start..)?;
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(len)?;
    if digits.is_empty() || rest.first().is_some_and(|byte| !is_blank(*byte)) {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// C's `isspace`, which counts the vertical tab.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases: &[(&[u8], Option<u64>)] = &[
            (b"0", Some(0)),
            (b"0007", Some(7)),
            (b"12 ", Some(12)),
            (b" \t12", Some(12)),
            (b"+12", Some(12)),
            (b"\x0b12\x0b", Some(12)),
            (b"12 abc", Some(12)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"184467440737095516150", None),
            (b"12abc", None),
            (b"-1", None),
            (b"++1", None),
            (b"+ 1", None),
            (b"", None),
            (b" ", None),
            (b"+", None),
            (b"1\0", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text), *want, "case: {}", text.escape_ascii());
        }
    }
}
