//! What stands behind a command's name.

use crate::TextReply;
use crate::words::Words;

/// The words behind a command's name.
pub(super) struct Arguments<'a> {
    words: [&'a [u8]; COUNT_MAX],
    count: usize,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(words: &Words<'a>) -> Self {
        let mut arguments = Self { words: [&[]; COUNT_MAX], count: 0 };
        for (slot, word) in arguments.words.iter_mut().zip(words.clone()) {
            *slot = word;
            arguments.count += 1;
        }
        arguments
    }

    /// How many there are; of more than a command can take, `COUNT_MAX`.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// One of them, empty if there is none: a word is never empty.
    pub(super) fn get(&self, index: usize) -> &'a [u8] {
        self.words.get(index).copied().unwrap_or_default()
    }

    /// The last one says whether an answer is wanted.
    pub(super) fn reply(&self) -> TextReply {
        let last = self.count.checked_sub(1).map(|last| self.get(last));
        TextReply { noreply: last == Some(b"noreply"), with_cas: false }
    }
}

/// One more than `cas`, which takes most, so that too many can be told.
const COUNT_MAX: usize = 7;
