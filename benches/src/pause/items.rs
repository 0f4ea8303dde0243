//! The items of this part: as many as asked for, all of one length, none of them compressible.

use std::sync::Arc;

use crate::store::Random;
use crate::workload::Operation;

/// Cheap to clone; values are cut out of one pool of random bytes.
#[derive(Debug, Clone)]
pub(super) struct Items {
    count: usize,
    value_len: usize,
    pool: Arc<[u8]>,
}

impl Items {
    /// As many as `bytes` of keys and values make, at least one.
    pub(super) fn new(bytes: u64, value_len: usize) -> Self {
        let mut random = Random(1);
        let byte = |_| u8::try_from(random.below(256)).unwrap_or_default();
        let pool = (0..POOL_LEN + value_len).map(byte).collect();
        let count = bytes / (value_len + KEY_LEN) as u64;
        Self { count: usize::try_from(count).unwrap_or(usize::MAX).max(1), value_len, pool }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// About what one set takes in the log.
    pub(super) fn log_len(&self) -> usize {
        self.value_len + KEY_LEN + COMMAND_OVERHEAD
    }

    pub(super) fn append_get(&self, index: usize, request: &mut Vec<u8>) {
        request.extend_from_slice(format!("get pause:{index:010}\r\n").as_bytes());
    }

    pub(super) fn append_set(&self, index: usize, request: &mut Vec<u8>) {
        let value_len = self.value_len;
        request.extend_from_slice(format!("set pause:{index:010} 0 0 {value_len}\r\n").as_bytes());
        // Far from its neighbour's: snapshots are compressed.
        let at = index * 7_919 % POOL_LEN;
        request.extend_from_slice(self.pool.get(at..at + value_len).unwrap_or_default());
        request.extend_from_slice(b"\r\n");
    }

    /// Bytes of the right reply to one request.
    pub(super) fn reply_len(&self, operation: Operation, index: usize) -> usize {
        match operation {
            Operation::Get => {
                let head = format!("VALUE pause:{index:010} 0 {}\r\n", self.value_len);
                head.len() + self.value_len + b"\r\nEND\r\n".len()
            }
            Operation::Set => STORED.len(),
        }
    }
}

/// The right reply to every set.
pub(super) const STORED: &[u8] = b"STORED\r\n";
const KEY_LEN: usize = 16;
const COMMAND_OVERHEAD: usize = 24;
const POOL_LEN: usize = 1024 * 1024;
