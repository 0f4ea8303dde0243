//! Input buffers that a thread's connections take turns with.

use std::cell::RefCell;

/// Bytes received and not yet consumed.
///
/// ```text
///   0 ........ start ........ end ........ bytes.len()
///     consumed       filled        spare
/// ```
///
/// It gives back the memory that it does not need ([`InputBuffer::release`]), so that an idle
/// connection holds none, and one that waits for the rest of a request at most four times what has
/// come of it: connections of one thread read one after the other, into the same few buffers, which
/// are warm in the processor's cache.
#[derive(Debug, Default)]
pub(crate) struct InputBuffer {
    /// Initialised to its whole length once, because a read needs initialised memory.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl InputBuffer {
    /// The bytes received and not yet consumed.
    pub(crate) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes are filled.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Drops up to `len` filled bytes from the front and returns how many were dropped.
    pub(crate) fn consume(&mut self, len: usize) -> usize {
        let here = len.min(self.len());
        self.start += here;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        here
    }

    /// Room for the next read: never empty, so that a read of 0 bytes means end of stream.
    ///
    /// `want` is how many bytes in all the request under way needs. The buffer grows towards it
    /// as bytes arrive, to twice of what is there, because a client that announces much need not
    /// send it.
    pub(crate) fn spare(&mut self, want: usize) -> &mut [u8] {
        if self.bytes.len() < READ_LEN {
            let small = std::mem::replace(&mut self.bytes, take());
            let kept = small.get(self.start..self.end).unwrap_or_default();
            if let Some(front) = self.bytes.get_mut(..kept.len()) {
                front.copy_from_slice(kept);
            }
            (self.start, self.end) = (0, kept.len());
        }
        let room_len = self.bytes.len() - self.end;
        if self.start != 0 && (room_len < READ_LEN / 2 || self.bytes.len() - self.start < want) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            let len = self.next_len(want);
            self.bytes.reserve_exact(len - self.end);
            self.bytes.resize(len, 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// How long the buffer will be after [`InputBuffer::spare`].
    pub(crate) fn next_len(&self, want: usize) -> usize {
        let len = self.bytes.len();
        if len < READ_LEN {
            return READ_LEN;
        }
        if self.len() < len {
            return len;
        }
        if len + READ_LEN <= want { want.min(len * 2) } else { len * 2 }
    }

    /// Marks `len` bytes of [`InputBuffer::spare`] as received.
    pub(crate) fn fill(&mut self, len: usize) {
        assert!(len <= self.bytes.len() - self.end, "a read overran its buffer");
        self.end += len;
    }

    /// Gives the memory back to the thread's other connections, but for what is filled, if that is
    /// much less.
    pub(crate) fn release(&mut self) {
        if self.bytes.len() < 4 * self.len() || self.bytes.is_empty() {
            return;
        }
        let kept = self.filled().to_vec();
        (self.start, self.end) = (0, kept.len());
        put(std::mem::replace(&mut self.bytes, kept));
    }

    /// Bytes of memory held.
    pub(crate) fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Drop for InputBuffer {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            put(std::mem::take(&mut self.bytes));
        }
    }
}

fn take() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_LEN])
}

/// A buffer that has grown for one large value goes back to the allocator, not to the others.
fn put(buffer: Vec<u8>) {
    if buffer.len() != READ_LEN {
        return;
    }
    // At the end of a thread there may be no list any more: then the buffer is simply freed.
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < FREE_COUNT_MAX {
            free.push(buffer);
        }
    });
}

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What one read asks the kernel for, as memcached does.
pub(crate) const READ_LEN: usize = 16 * 1024;
/// Spare buffers that one thread keeps: 1 MiB.
const FREE_COUNT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 5: whoever sends a byte at a time makes us hold what has come, and not what was
    /// announced.
    #[test]
    fn holds_four_times_what_has_arrived_at_most() {
        let mut buffer = InputBuffer::default();
        for arrived in 1..200_000_usize {
            let next = buffer.next_len(1 << 20);
            let spare = buffer.spare(1 << 20);
            assert!(!spare.is_empty());
            spare[0] = pattern(arrived);
            buffer.fill(1);
            assert!(buffer.held() <= next, "{} bytes, {next} foretold", buffer.held());
            buffer.release();
            assert!(buffer.held() <= 4 * arrived, "{} bytes for {arrived}", buffer.held());
        }
        let mut sent = 1..200_000_usize;
        assert!(buffer.filled().iter().all(|byte| Some(*byte) == sent.next().map(pattern)));
    }

    /// A buffer that is read dry and filled again gives every byte once, and in order.
    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buffer = InputBuffer::default();
        let (mut sent, mut received) = (0_usize, Vec::new());
        for round in 1..2_000_usize {
            let spare = buffer.spare(round);
            assert!(!spare.is_empty());
            let len = spare.len().min(round % 700);
            for byte in &mut spare[..len] {
                *byte = pattern(sent);
                sent += 1;
            }
            buffer.fill(len);
            let take = buffer.len() * (round % 4) / 3;
            received.extend_from_slice(&buffer.filled()[..take.min(buffer.len())]);
            buffer.consume(take);
            buffer.release();
        }
        received.extend_from_slice(buffer.filled());
        assert_eq!(received.len(), sent);
        assert!(received.iter().enumerate().all(|(at, byte)| *byte == pattern(at)));
    }

    fn pattern(at: usize) -> u8 {
        u8::try_from(at % 251).unwrap()
    }

    #[test]
    fn an_idle_buffer_holds_nothing() {
        let mut buffer = InputBuffer::default();
        assert_eq!(buffer.spare(0).len(), READ_LEN);
        buffer.fill(3);
        buffer.release();
        assert_eq!(buffer.filled(), [0, 0, 0], "filled bytes are never given away");
        assert_eq!(buffer.held(), 3);
        assert_eq!(buffer.spare(0).len(), READ_LEN - 3);
        buffer.release();
        buffer.consume(3);
        buffer.release();
        assert_eq!(buffer.held(), 0);
    }

    #[test]
    fn grows_to_what_the_request_needs_as_it_arrives() {
        let mut buffer = InputBuffer::default();
        let mut lens = Vec::new();
        while buffer.len() < 100_000 {
            let len = buffer.spare(100_000).len();
            buffer.fill(len);
            lens.push(buffer.held());
        }
        assert_eq!(lens, [READ_LEN, 2 * READ_LEN, 4 * READ_LEN, 100_000]);
        buffer.consume(100_000);
        buffer.release();
        assert_eq!(buffer.held(), 0);
        assert_eq!(buffer.spare(0).len(), READ_LEN, "the grown one was not passed on");
    }
}
