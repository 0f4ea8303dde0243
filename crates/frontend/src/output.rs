//! Replies on their way to one client.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

use engine::{CasUnique, Item};
use protocol::ReplyTo;
use smallvec::SmallVec;

/// Encoded replies not yet sent, in order.
///
/// ```text
///   bytes: header, value, header,   CRLF, header, value ...
///                               ^
///   large:                      a value of 16 KiB or more, sent from where it is
/// ```
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    /// Bytes of `bytes` that have been sent.
    bytes_sent: usize,
    large: VecDeque<Large>,
    /// Bytes of the first large value that have been sent.
    large_sent: usize,
    /// Bytes of all large values.
    large_len: usize,
    /// Clients are told that every cas unique is 0 (`-C`).
    hides_cas: bool,
}

/// A value that goes out before the byte at `at`. Holding the item keeps the value as it was when
/// it was read, whatever happens to the key meanwhile.
#[derive(Debug)]
struct Large {
    at: usize,
    item: Item,
}

pub(crate) type Slices<'a> = SmallVec<[IoSlice<'a>; SLICE_COUNT_MAX]>;

impl Output {
    pub(crate) fn new(hides_cas: bool) -> Self {
        Self { hides_cas, ..Self::default() }
    }

    pub(crate) fn hides_cas(&self) -> bool {
        self.hides_cas
    }

    /// Where small replies are appended.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        &mut self.bytes
    }

    /// True while nothing may be added but what has already been begun: the client must read first.
    pub(crate) fn is_full(&self) -> bool {
        OUTPUT_LEN_MAX < self.len()
    }

    /// The cas unique as clients are told it.
    pub(crate) fn cas(&self, cas: CasUnique) -> u64 {
        if self.hides_cas { 0 } else { cas.0 }
    }

    /// Appends one item of a read.
    pub(crate) fn hit(&mut self, reply_to: ReplyTo, key: &[u8], item: Item) {
        let (flags, value_len) = (item.flags(), item.value().len());
        let cas = self.cas(item.cas_unique());
        reply_to.hit_header(key, flags, cas, value_len, self.bytes());
        self.value(item, reply_to.hit_trailer());
    }

    /// Appends an item's value behind its header, and what follows it.
    pub(crate) fn value(&mut self, item: Item, trailer: &[u8]) {
        let full = self.is_full();
        let bytes = self.bytes();
        let value = item.value();
        if value.len() < COPY_LEN_MAX && !full {
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(trailer);
            return;
        }
        let at = bytes.len();
        bytes.extend_from_slice(trailer);
        self.large_len += item.value().len();
        self.large.push_back(Large { at, item });
    }

    /// Bytes to be sent.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.bytes_sent + self.large_len - self.large_sent
    }

    /// The one slice to be sent if there is no large value.
    pub(crate) fn plain(&self) -> Option<&[u8]> {
        if self.large.is_empty() { self.bytes.get(self.bytes_sent..) } else { None }
    }

    /// The first slices to be sent, none of them empty.
    pub(crate) fn slices<'a>(&'a self) -> Slices<'a> {
        let mut slices = Slices::new();
        let mut from = self.bytes_sent;
        let mut skip = self.large_sent;
        let mut push = |slice: Option<&'a [u8]>| {
            if let Some(slice) = slice.filter(|slice| !slice.is_empty()) {
                slices.push(IoSlice::new(slice));
            }
        };
        for large in self.large.iter().take(LARGE_COUNT_MAX) {
            push(self.bytes.get(from..large.at));
            push(large.item.value().get(skip..));
            from = large.at;
            skip = 0;
        }
        if self.large.len() <= LARGE_COUNT_MAX {
            push(self.bytes.get(from..));
        }
        slices
    }

    /// Drops `len` bytes that have been sent.
    pub(crate) fn sent(&mut self, mut len: usize) {
        assert!(len <= self.len(), "sent more than there was");
        while let Some(first) = self.large.front() {
            let before = len.min(first.at - self.bytes_sent);
            self.bytes_sent += before;
            len -= before;
            let value_len = first.item.value().len();
            let here = len.min(value_len - self.large_sent);
            self.large_sent += here;
            len -= here;
            if self.large_sent < value_len {
                return;
            }
            self.large_sent = 0;
            self.large_len -= value_len;
            self.large.pop_front();
        }
        self.bytes_sent += len;
        if self.len() == 0 {
            self.bytes.clear();
            self.bytes_sent = 0;
            self.release();
        } else if COMPACT_LEN < self.bytes_sent {
            self.compact();
        }
    }

    /// Forgets what has been sent, so that a slow reader does not keep its whole history here.
    fn compact(&mut self) {
        self.bytes.drain(..self.bytes_sent);
        for large in &mut self.large {
            large.at -= self.bytes_sent;
        }
        self.bytes_sent = 0;
    }

    /// Nothing is to be sent: lends the memory to the thread's other connections.
    fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.large.shrink_to(LARGE_COUNT_MAX);
        if bytes.capacity() == 0 || KEEP_LEN_MAX < bytes.capacity() {
            return;
        }
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_COUNT_MAX {
                free.push(bytes);
            }
        });
    }

    /// Bytes of memory held, with the values that would be gone if they were not to be sent.
    pub(crate) fn held(&self) -> usize {
        let large = self.large_len - self.large_sent + self.large.capacity() * size_of::<Large>();
        self.bytes.capacity() + large
    }
}

thread_local! {
    /// Output buffers that a thread's connections take turns with.
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A client that pipelines without reading may hold this much of our memory, and one reply more.
pub(crate) const OUTPUT_LEN_MAX: usize = 256 * 1024;
/// A value of this length or more is sent from where it is: copying 16 KiB costs about as much as
/// sending one more slice.
const COPY_LEN_MAX: usize = 16 * 1024;
/// Large values in one system call.
const LARGE_COUNT_MAX: usize = 15;
/// Each large value, what goes before it, and what goes behind the last: 31, and one to spare.
const SLICE_COUNT_MAX: usize = 32;
/// Sent bytes that are worth moving the others for.
const COMPACT_LEN: usize = 64 * 1024;
/// Largest buffer that is kept for the next reply.
const KEEP_LEN_MAX: usize = 64 * 1024;
/// Spare buffers that one thread keeps: 4 MiB at the most.
const FREE_COUNT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// Large and small values in every order come out whole and in order, however few bytes the
    /// client takes at a time.
    #[test]
    fn every_split_sends_the_same_bytes() {
        let reply_to = testing::text_get();
        for step in [1_usize, 7, 4_096, 16_383, 16_384, 65_537, 1 << 20] {
            let mut output = Output::default();
            let mut want = Vec::new();
            for (count, len) in [10_usize, 16_384, 3, 20_000, 16_384, 0, 50_000].iter().enumerate()
            {
                let value = vec![b'a' + u8::try_from(count).unwrap(); *len];
                let item = testing::item(b"k", &value);
                reply_to.hit(b"k", 0, item.cas_unique().0, &value, &mut want);
                output.hit(reply_to, b"k", item);
            }
            reply_to.end(output.bytes());
            reply_to.end(&mut want);
            assert_eq!(output.len(), want.len());

            let mut sent = Vec::new();
            while output.len() != 0 {
                let before = sent.len();
                let mut take = |slice: &[u8]| {
                    let room = before + step - sent.len();
                    sent.extend_from_slice(&slice[..room.min(slice.len())]);
                };
                match output.plain() {
                    Some(plain) => take(plain),
                    None => output.slices().iter().for_each(|slice| take(slice)),
                }
                assert_ne!(sent.len(), before);
                output.sent(sent.len() - before);
            }
            assert!(sent == want, "step {step}");
            assert!(output.held() < 4_096, "an idle output holds {} bytes", output.held());
        }
    }

    /// A reader that always leaves something unsent does not make the sent part pile up.
    #[test]
    fn what_has_been_sent_is_forgotten() {
        let mut output = Output::default();
        for _ in 0..10_000 {
            output.bytes().extend_from_slice(&[b'x'; 1_000]);
            output.sent(output.len() - 1);
        }
        assert!(output.held() < 256 * 1024, "holds {} bytes", output.held());
    }

    #[test]
    fn many_large_values_go_out_in_several_calls() {
        let reply_to = testing::text_get();
        let item = testing::item(b"k", &vec![b'v'; COPY_LEN_MAX]);
        let mut output = Output::default();
        for _ in 0..40 {
            output.hit(reply_to, b"k", item.clone());
        }
        let total = output.len();
        let mut sent = 0;
        while output.len() != 0 {
            let slices = output.slices();
            assert!(!slices.spilled(), "{} slices", slices.len());
            let len = slices.iter().map(|slice| slice.len()).sum();
            drop(slices);
            output.sent(len);
            sent += len;
        }
        assert_eq!(sent, total);
    }
}
