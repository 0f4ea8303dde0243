//! A segment file and its header.
//!
//! The name is `wal-%016x.seg` with the segment's number; numbers are consecutive from 1. The
//! file has its full length from the start, so that an append never changes it. It begins with
//! (little-endian):
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `RCWL` |
//! | 4 | 2 | format version, 1 |
//! | 6 | 2 | 0 |
//! | 8 | 8 | segment number |
//! | 16 | 8 | owner: the replica id |
//! | 24 | 8 | length of the file in bytes |
//! | 32 | 28 | 0 |
//! | 60 | 4 | CRC-32 of bytes 0 to 59 |
//!
//! Behind it lie frames (`frame.rs`), the first of which is the head; behind them, zeros.

use std::io;

use bytes::{Buf, BufMut};
use canary::Canary;

use crate::disk::{Disk, File};
use crate::error::Error;

/// The header's length in bytes: where the first frame is.
pub(crate) const HEADER_LEN: u64 = HEADER_SIZE as u64;

/// An open segment.
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Bytes that may be used, header included.
    pub(crate) len: u64,
    /// The CRC of the header, from which the frames' start.
    pub(crate) seed: u32,
    pub(crate) file: Box<dyn File>,
}

impl Segment {
    /// Makes segment `number`, durable under its name, all zeros behind the header.
    pub(crate) fn create(
        disk: &dyn Disk,
        number: u64,
        owner: u64,
        len: u64,
    ) -> Result<Self, Error> {
        let (temporary, name) = (temporary_name(number), segment_name(number));
        match disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &temporary, error));
            }
            Ok(()) | Err(_) => {}
        }
        let file = disk.create(&temporary, len).map_err(|e| Error::io("create", &temporary, e))?;
        let header = encode_header(number, owner, len);
        let seed = crc32fast::hash(header.split_at(CRC_AT).0);
        let write = || {
            write_zeros(&*file, len)?;
            file.write_all_at(&header, 0)?;
            file.sync_data()
        };
        if let Err(error) = write() {
            let error = Error::io("write", &temporary, error);
            if error.is_storage_full() {
                // Give back what it took, or the space may never return.
                disk.remove(&temporary).map_err(|e| Error::io("remove", &temporary, e))?;
            }
            return Err(error);
        }
        // Only now has it the name of a segment: a segment without a valid header is damaged.
        disk.rename(&temporary, &name).map_err(|e| Error::io("rename", &temporary, e))?;
        if !Canary::NoDirectorySync.is_planted() {
            disk.sync_dir().map_err(|e| Error::io("sync the directory of", &name, e))?;
        }
        Ok(Self { number, len, seed, file })
    }

    /// Opens segment `number` of `owner` and checks its header.
    pub(crate) fn open(disk: &dyn Disk, number: u64, owner: u64) -> Result<Self, Error> {
        let name = segment_name(number);
        let file = disk.open(&name).map_err(|e| Error::io("open", &name, e))?;
        let file_len = file.len().map_err(|e| Error::io("read the length of", &name, e))?;
        let corrupt = |offset, what| Error::Corrupt { file: name.clone(), offset, what };
        if file_len < HEADER_LEN {
            return Err(corrupt(file_len, "the file ends before its header does"));
        }
        let mut bytes = [0; HEADER_SIZE];
        read_exact_at(&*file, &mut bytes, 0).map_err(|e| Error::io("read", &name, e))?;

        let (fields, mut crc) = bytes.split_at(CRC_AT);
        let seed = crc32fast::hash(fields);
        let mut fields = fields;
        if fields.get_u32() != MAGIC {
            return Err(corrupt(0, "not a segment of a log"));
        }
        let version = fields.get_u16_le();
        if VERSION < version {
            return Err(Error::Version { file: name, found: version, known: VERSION });
        }
        if seed != crc.get_u32_le() {
            return Err(corrupt(0, "the header is damaged"));
        }
        fields.advance(2);
        if fields.get_u64_le() != number {
            return Err(corrupt(8, "the header is that of another segment: files were swapped"));
        }
        let found = fields.get_u64_le();
        if found != owner {
            return Err(Error::Foreign { file: name, found, owner });
        }
        let len = fields.get_u64_le();
        if file_len < len {
            return Err(corrupt(file_len, "the file has lost its end"));
        }
        Ok(Self { number, len, seed, file })
    }

    pub(crate) fn name(&self) -> String {
        segment_name(self.number)
    }

    pub(crate) fn corrupt(&self, offset: u64, what: &'static str) -> Error {
        Error::Corrupt { file: self.name(), offset, what }
    }

    pub(crate) fn io(&self, action: &'static str, error: io::Error) -> Error {
        Error::io(action, &self.name(), error)
    }
}

pub(crate) fn segment_name(number: u64) -> String {
    format!("{PREFIX}{number:016x}{SUFFIX}")
}

/// The number of a segment's file name; `None` for any other name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    // One spelling only: no sign, no capitals, no short form. And there is always a next one.
    (number < u64::MAX && segment_name(number) == name).then_some(number)
}

/// Whether a segment that was never finished has this name.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(TEMPORARY)
}

/// Reads all of `buf`, or fails with `UnexpectedEof`.
pub(crate) fn read_exact_at(file: &dyn File, buf: &mut [u8], at: u64) -> io::Result<()> {
    let mut left = buf;
    let mut at = at;
    while !left.is_empty() {
        let count = file.read_at(left, at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += count as u64;
        left = left.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}

/// Writes zeros over `[from, to)`.
pub(crate) fn zero(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZERO_CHUNK_LEN];
    let mut at = from;
    while at < to {
        let left = usize::try_from(to - at).unwrap_or(usize::MAX);
        let chunk = zeros.get(..left).unwrap_or(&zeros);
        file.write_all_at(chunk, at)?;
        at += chunk.len() as u64;
    }
    Ok(())
}

/// Writes the whole file once. A sync over blocks that were only reserved must also change the
/// file system's map of the file; over blocks once written it does not.
fn write_zeros(file: &dyn File, len: u64) -> io::Result<()> {
    let mut at = 0;
    while at < len {
        let to = len.min(at + ZERO_SYNC_LEN);
        zero(file, at, to)?;
        // In small steps, or a writer's sync waits behind all of it.
        file.sync_data()?;
        at = to;
    }
    Ok(())
}

fn encode_header(number: u64, owner: u64, len: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_SIZE);
    bytes.put_u32(MAGIC);
    bytes.put_u16_le(VERSION);
    bytes.put_u16_le(0);
    bytes.put_u64_le(number);
    bytes.put_u64_le(owner);
    bytes.put_u64_le(len);
    bytes.resize(CRC_AT, 0);
    bytes.put_u32_le(crc32fast::hash(&bytes));
    bytes
}

fn temporary_name(number: u64) -> String {
    format!("{PREFIX}{number:016x}{TEMPORARY}")
}

const MAGIC: u32 = u32::from_be_bytes(*b"RCWL");
const VERSION: u16 = 1;
const CRC_AT: usize = HEADER_SIZE - 4;
const HEADER_SIZE: usize = 64;
const PREFIX: &str = "wal-";
const SUFFIX: &str = ".seg";
const TEMPORARY: &str = ".tmp";
const ZERO_CHUNK_LEN: usize = 64 * 1024;
const ZERO_SYNC_LEN: u64 = 1024 * 1024;
