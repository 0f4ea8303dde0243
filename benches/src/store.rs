//! What an endpoint must be holding: the load generator's own copy of every item.

use anyhow::Context;

use crate::workload::Operation;

/// The items of one endpoint, as bytes that are ready to be sent or compared.
///
/// A `set` changes the copy when the request is built. Each key belongs to one connection, whose
/// requests are executed in order, so after the last reply the copy is the acknowledged state.
#[derive(Debug)]
pub(crate) struct Store {
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    get_request: Vec<u8>,
    set_head: Vec<u8>,
    reply_head: Vec<u8>,
    value: Vec<u8>,
    version: u64,
}

impl Store {
    /// Makes [`ITEM_COUNT`] items of `value_len` bytes (at least 8) at version 0. No endpoint knows
    /// them yet.
    pub(crate) fn new(value_len: usize) -> Self {
        Self { items: (0..ITEM_COUNT).map(|index| Item::new(index, value_len)).collect() }
    }

    /// Appends one request to `request` and the only right reply to it to `reply`.
    ///
    /// A `set` moves the item to its next version.
    ///
    /// # Errors
    ///
    /// If there is no item `index`.
    pub(crate) fn append_request(
        &mut self,
        operation: Operation,
        index: usize,
        request: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        let item = self.items.get_mut(index).with_context(|| format!("no item {index}"))?;
        match operation {
            Operation::Get => {
                request.extend_from_slice(&item.get_request);
                reply.extend_from_slice(&item.reply_head);
                reply.extend_from_slice(&item.value);
                reply.extend_from_slice(b"\r\nEND\r\n");
            }
            Operation::Set => {
                item.next_version();
                request.extend_from_slice(&item.set_head);
                request.extend_from_slice(&item.value);
                request.extend_from_slice(b"\r\n");
                reply.extend_from_slice(b"STORED\r\n");
            }
        }
        Ok(())
    }
}

impl Item {
    fn new(index: usize, value_len: usize) -> Self {
        let key = format!("bench:{index:06}");
        // Flags differ from key to key, so that one item's answer cannot pass for another's.
        let flags = index;
        let mut random = Random(u64::try_from(index).unwrap_or_default());
        // Any byte may be in a value, CR and LF too: a node that scans for them is found out.
        let byte = |_| u8::try_from(random.below(256)).unwrap_or_default();
        let mut value: Vec<u8> = (0..value_len).map(byte).collect();
        stamp(&mut value, 0);
        Self {
            get_request: format!("get {key}\r\n").into_bytes(),
            set_head: format!("set {key} {flags} 0 {value_len}\r\n").into_bytes(),
            reply_head: format!("VALUE {key} {flags} {value_len}\r\n").into_bytes(),
            value,
            version: 0,
        }
    }

    fn next_version(&mut self) {
        self.version += 1;
        stamp(&mut self.value, self.version);
    }
}

/// Writes `version` over the first bytes, so that an older value never equals a newer one.
fn stamp(value: &mut [u8], version: u64) {
    for (byte, stamp) in value.iter_mut().zip(version.to_be_bytes()) {
        *byte = stamp;
    }
}

/// SplitMix64: same seed, same sequence, on every machine and in every release.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Returns the next number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The bound is far below 2^32, so neither the bias nor the narrowing matters.
        usize::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default() % bound
    }
}

/// Keys in the endpoint; all of them fit in memory many times over.
pub(crate) const ITEM_COUNT: usize = 10_000;
/// Bytes of every value in the part `cache`.
pub(crate) const VALUE_LEN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes on the wire, for one item, are those of protocol.txt.
    #[test]
    fn requests_and_replies() {
        let mut store = Store::new(VALUE_LEN);
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        store.append_request(Operation::Get, 42, &mut request, &mut reply).unwrap();
        assert_eq!(request, b"get bench:000042\r\n");
        assert!(reply.starts_with(b"VALUE bench:000042 42 100\r\n"));
        assert!(reply.ends_with(b"\r\nEND\r\n"));
        assert_eq!(reply.len(), 27 + VALUE_LEN + 7);

        let (mut request, mut reply) = (Vec::new(), Vec::new());
        store.append_request(Operation::Set, 42, &mut request, &mut reply).unwrap();
        assert!(request.starts_with(b"set bench:000042 42 0 100\r\n"));
        assert!(request.ends_with(b"\r\n"));
        assert_eq!(request.len(), 27 + VALUE_LEN + 2);
        assert_eq!(reply, b"STORED\r\n");
    }

    /// Otherwise a node that loses a `set` would pass.
    #[test]
    fn a_set_changes_what_a_get_must_return() {
        let mut store = Store::new(VALUE_LEN);
        let mut replies = Vec::new();
        for operation in [Operation::Get, Operation::Set, Operation::Get] {
            let (mut request, mut reply) = (Vec::new(), Vec::new());
            store.append_request(operation, 0, &mut request, &mut reply).unwrap();
            replies.push(reply);
        }
        assert_ne!(replies.first(), replies.last());
    }
}
