//! lz4 for chunks of snapshots, where it pays.

use bytes::Bytes;

/// A chunk as it is sent and stored: shorter than `raw_len` means lz4 block format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) raw_len: u32,
    pub(crate) bytes: Bytes,
}

/// What was packed is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PackError {
    /// Longer than any chunk can be.
    #[error("{0} bytes are more than a chunk can have")]
    TooLong(u64),
    /// Not lz4, or of another length than promised.
    #[error("does not unpack to {raw_len} bytes")]
    Corrupt { raw_len: u32 },
}

/// Packs `raw` if that saves an eighth.
pub(crate) fn pack(raw: &[u8]) -> Result<Packed, PackError> {
    let too_long = PackError::TooLong(raw.len() as u64);
    let raw_len =
        u32::try_from(raw.len()).ok().filter(|len| *len <= RAW_LEN_MAX).ok_or(too_long)?;
    let packed = lz4_flex::block::compress(raw);
    let pays = packed.len() < raw.len() - raw.len() / 8;
    let bytes = if pays { Bytes::from(packed) } else { Bytes::copy_from_slice(raw) };
    Ok(Packed { raw_len, bytes })
}

impl Packed {
    /// The bytes that were packed.
    pub(crate) fn unpack(self) -> Result<Vec<u8>, PackError> {
        let Self { raw_len, bytes } = self;
        let corrupt = PackError::Corrupt { raw_len };
        if RAW_LEN_MAX < raw_len {
            return Err(PackError::TooLong(u64::from(raw_len)));
        }
        if bytes.len() == raw_len as usize {
            return Ok(bytes.into());
        }
        // lz4 gains at most 255-fold: a small message cannot ask for a large buffer.
        if bytes.len().saturating_mul(255) < raw_len as usize {
            return Err(corrupt);
        }
        let raw = lz4_flex::block::decompress(&bytes, raw_len as usize);
        raw.ok().filter(|raw| raw.len() == raw_len as usize).ok_or(corrupt)
    }
}

/// The longest chunk: one record more than `engine`'s 256 KiB, and that has a value of 1 GiB at most.
const RAW_LEN_MAX: u32 = 1100 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_gets_shorter_and_what_does_not_stays() {
        let text = b"session".repeat(1000);
        let packed = pack(&text).unwrap();
        assert!(packed.bytes.len() < text.len() / 8, "{}", packed.bytes.len());
        assert_eq!(packed.unpack().unwrap(), text);

        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(4096)
        .collect();
        let packed = pack(&noise).unwrap();
        assert_eq!(packed.bytes, noise);
        assert_eq!(packed.unpack().unwrap(), noise);
        assert_eq!(pack(&[]).unwrap().unpack().unwrap(), b"");
    }

    #[test]
    fn what_lies_about_its_length_is_refused() {
        let packed = pack(&b"session".repeat(1000)).unwrap();
        for raw_len in [packed.raw_len - 1, packed.raw_len + 1, 1 << 30, u32::MAX] {
            let lying = Packed { raw_len, bytes: packed.bytes.clone() };
            assert!(lying.unpack().is_err(), "{raw_len}");
        }
    }
}
