//! The values of one key, by number, and which of them can still be read.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A value's number within its key.
pub(crate) type ValueId = u32;

/// No item.
pub(crate) const ABSENT: ValueId = u32::MAX;
/// Some text that is no number and that no operation still to come reads.
pub(crate) const UNREAD: ValueId = u32::MAX - 1;

/// The values of one key.
///
/// Two items that differ only in values that nobody will ever read behave alike. `settled` puts
/// `UNREAD` for such a value, which is what keeps operations with unknown outcomes from
/// multiplying the states: most of their values are never seen.
#[derive(Default)]
pub(crate) struct Values {
    texts: Vec<Text>,
    ids: BTreeMap<Rc<str>, ValueId>,
    reads: Reads,
    /// An append or prepend may have taken effect: a value may be read as part of a longer one.
    grows: bool,
    /// A prepended text with a blank can make a number of anything.
    any_may_count: bool,
}

struct Text {
    text: Rc<str>,
    number: Option<u64>,
    /// Neither a number nor made one by an append or prepend of this key.
    never_counts: bool,
    /// The last event that may read it, once asked for.
    last_read: Option<u32>,
}

/// What is read, ordered by the last event that reads it.
#[derive(Default)]
struct Reads {
    by_value: BTreeMap<Rc<str>, u32>,
    /// All of it, with a separator behind each.
    joined: String,
    /// Where each ends in `joined`, and its event.
    ends: Vec<(usize, u32)>,
}

impl Values {
    /// Takes in an append or prepend, before the first value is numbered.
    pub(crate) fn note_growth(&mut self, prepended: Option<&str>) {
        self.grows = true;
        self.any_may_count |= prepended.is_some_and(|text| text.bytes().any(is_blank));
    }

    /// Takes in that `event` reads `text`. Events ascend.
    pub(crate) fn note_read(&mut self, text: &str, event: u32) {
        match self.reads.by_value.get_mut(text) {
            Some(last) => *last = event,
            None => {
                self.reads.by_value.insert(text.into(), event);
            }
        }
    }

    /// The number of `text`, the same for the same text.
    pub(crate) fn id(&mut self, text: &str) -> ValueId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = ValueId::try_from(self.texts.len()).unwrap_or(ABSENT);
        assert!(id < UNREAD, "too many values");
        let shared: Rc<str> = text.into();
        let never_counts = !self.any_may_count && never_counts(text);
        let number = parse(text);
        self.texts.push(Text { text: Rc::clone(&shared), number, never_counts, last_read: None });
        self.ids.insert(shared, id);
        id
    }

    /// The text, if the value is one.
    pub(crate) fn text(&self, id: ValueId) -> Option<&str> {
        Some(&self.texts.get(id as usize)?.text)
    }

    /// The number a value stands for, if any.
    pub(crate) fn number(&self, id: ValueId) -> Option<u64> {
        self.texts.get(id as usize)?.number
    }

    /// Whether a value is no number, and is made none by what is put behind or before it.
    pub(crate) fn never_counts(&self, id: ValueId) -> bool {
        id == UNREAD || self.texts.get(id as usize).is_some_and(|text| text.never_counts)
    }

    /// The value with text behind or before it.
    pub(crate) fn joined(&mut self, id: ValueId, piece: ValueId, front: bool) -> ValueId {
        let (Some(old), Some(piece)) = (self.text(id), self.text(piece)) else { return id };
        let text = if front { format!("{piece}{old}") } else { format!("{old}{piece}") };
        self.id(&text)
    }

    /// The value that `number` leaves where `id` was: memcached writes in place and fills up.
    pub(crate) fn counted(&mut self, id: ValueId, number: u64) -> ValueId {
        let width = self.text(id).map_or(0, str::len);
        self.id(&format!("{number:<width$}"))
    }

    /// The value, or `UNREAD` where nothing from `event` on can read it or what grows from it.
    pub(crate) fn settled(&mut self, id: ValueId, event: u32) -> ValueId {
        let Some(text) = self.texts.get(id as usize).filter(|text| text.never_counts) else {
            return id;
        };
        let last_read = match text.last_read {
            Some(last_read) => last_read,
            None => {
                let text = Rc::clone(&text.text);
                let last_read = self.last_read(&text);
                if let Some(text) = self.texts.get_mut(id as usize) {
                    text.last_read = Some(last_read);
                }
                last_read
            }
        };
        if last_read < event { UNREAD } else { id }
    }

    /// The last event whose value contains `text`; 0 for none.
    fn last_read(&mut self, text: &str) -> u32 {
        if !self.grows || text.is_empty() {
            let all = if text.is_empty() { u32::MAX } else { 0 };
            return self.reads.by_value.get(text).copied().unwrap_or(0).max(all);
        }
        if self.reads.ends.is_empty() {
            self.reads.join();
        }
        let Some(at) = self.reads.joined.rfind(text) else { return 0 };
        let index = self.reads.ends.partition_point(|(end, _)| *end <= at);
        self.reads.ends.get(index).map_or(u32::MAX, |(_, event)| *event)
    }
}

impl Reads {
    fn join(&mut self) {
        let mut reads: Vec<_> = self.by_value.iter().map(|(text, event)| (*event, text)).collect();
        reads.sort_unstable();
        for (event, text) in reads {
            self.joined.push_str(text);
            self.joined.push('\0');
            self.ends.push((self.joined.len(), event));
        }
    }
}

/// Reads a number as memcached does: blanks, one plus, digits, then a blank or the end.
///
/// Source: memcached `util.c`, `safe_strtoull`.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(is_blank));
    let text = text.strip_prefix('+').unwrap_or(text);
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(len);
    if rest.bytes().next().is_some_and(|byte| !is_blank(byte)) { None } else { digits.parse().ok() }
}

/// Digits, if any, and then something that is neither digit nor blank. Text before or behind it
/// makes no number of it, unless that text is one itself and has a blank.
fn never_counts(text: &str) -> bool {
    let next = text.bytes().find(|byte| !byte.is_ascii_digit());
    next.is_some_and(|byte| !is_blank(byte) && byte != b'+')
}

/// C's `isspace`.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases = [
            ("0", Some(0)),
            ("0007", Some(7)),
            ("99 ", Some(99)),
            (" +12 x", Some(12)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("12abc", None),
            ("-1", None),
            ("++1", None),
            ("+", None),
            ("", None),
            (" ", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text), want, "case: {text:?}");
        }
    }

    /// Whatever is called never to count is no number, with any text before or behind it.
    #[test]
    fn what_never_counts_is_never_made_a_number() {
        let pieces = ["", "1", "12", "+", "a", "0x", " ", "1 ", " 1", "a ", "-"];
        let mut never_count = 0;
        for a in pieces {
            for b in pieces {
                let text = format!("{a}{b}");
                if !never_counts(&text) {
                    continue;
                }
                never_count += 1;
                for front in pieces.iter().filter(|piece| !piece.contains(' ')) {
                    for back in pieces {
                        let grown = format!("{front}{text}{back}");
                        assert_eq!(parse(&grown), None, "{grown:?}");
                    }
                }
            }
        }
        assert!(10 < never_count);
    }

    #[test]
    fn a_value_settles_after_its_last_read() {
        for grows in [false, true] {
            let mut values = Values { grows, ..Values::default() };
            for (event, text) in [(1, "a1"), (2, "b2"), (3, "a1"), (4, "xc3x"), (5, "7")] {
                values.note_read(text, event);
            }
            let last_part = if grows { 4 } else { 0 };
            for (text, last) in [("a1", 3), ("b2", 2), ("z", 0), ("c3", last_part)] {
                let id = values.id(text);
                assert_eq!(values.settled(id, last), id, "{text} {grows}");
                assert_eq!(values.settled(id, last + 1), UNREAD, "{text} {grows}");
            }
            for text in ["7", "8", "", " a"] {
                let id = values.id(text);
                assert_eq!(values.settled(id, 9), id, "numbers, and what may become one: {text:?}");
            }
        }
    }
}
