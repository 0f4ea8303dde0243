//! The flags of a meta command: words behind the key, each a letter and its argument.
//!
//! All commands share one alphabet, in which each letter may come once. A letter that means
//! nothing to a command is checked and ignored.

use super::super::number::{parse_i32, parse_u64};
use crate::reply::{Returned, Returns};
use crate::words::Words;
use crate::{MetaKey, ProtocolError};

/// What the flags of one line say, and the key, which one of them may turn into base64.
#[derive(Debug)]
pub(super) struct Flags<'a> {
    pub(super) key: MetaKey<'a>,
    /// `C`.
    pub(super) cas: Option<u64>,
    /// `F`.
    pub(super) client_flags: Option<u32>,
    /// `D`.
    pub(super) delta: Option<u64>,
    /// `x`.
    pub(super) drop_value: bool,
    /// `J`.
    pub(super) initial: Option<u64>,
    /// `I`.
    pub(super) invalidate: bool,
    /// `M`: the first byte of its argument, if it has one.
    pub(super) mode: Option<Option<u8>>,
    /// `E`.
    pub(super) new_cas: Option<u64>,
    /// `u`.
    pub(super) no_bump: bool,
    /// `O`.
    pub(super) opaque: &'a [u8],
    /// `q`.
    pub(super) quiet: bool,
    /// `R`.
    pub(super) recache: Option<i64>,
    /// What of the item is to be shown, in the order of the line.
    pub(super) returns: Returns,
    /// `T`.
    pub(super) touch: Option<i64>,
    /// `t` stands in front of what sets the exptime.
    pub(super) ttl_before: bool,
    /// `v`.
    pub(super) value: bool,
    /// `N`.
    pub(super) vivify: Option<i64>,
}

impl<'a> Flags<'a> {
    /// Reads the flags behind `key`.
    ///
    /// # Errors
    ///
    /// As memcached names them: a letter that cannot be here, or else the last of the arguments
    /// that cannot be read.
    pub(super) fn parse(key: &'a [u8], words: Words<'a>) -> Result<Self, ProtocolError> {
        let mut flags = Self::none(MetaKey::plain(key));
        let mut letters = Letters::default();
        let mut before_ttl = letters;
        let mut bad = None;
        for word in words {
            let Some((letter, argument)) = word.split_first() else { continue };
            if *letter == b't' {
                before_ttl = letters;
            }
            if !letters.insert(*letter) {
                return Err(ProtocolError::DuplicateMetaFlag);
            }
            flags.read(*letter, argument, &mut bad)?;
        }
        let setter = if letters.has(b'T') { b'T' } else { b'N' };
        flags.ttl_before = letters.has(b't') && letters.has(setter) && !before_ttl.has(setter);
        bad.map_or(Ok(flags), Err)
    }

    /// A line without flags.
    fn none(key: MetaKey<'a>) -> Self {
        Self {
            key,
            cas: None,
            client_flags: None,
            delta: None,
            drop_value: false,
            initial: None,
            invalidate: false,
            mode: None,
            new_cas: None,
            no_bump: false,
            opaque: &[],
            quiet: false,
            recache: None,
            returns: Returns::default(),
            touch: None,
            ttl_before: false,
            value: false,
            vivify: None,
        }
    }

    /// Reads one flag. What is wrong with its argument goes to `bad`: a later flag may be wrong
    /// in a way that is told instead.
    fn read(
        &mut self,
        letter: u8,
        argument: &'a [u8],
        bad: &mut Option<ProtocolError>,
    ) -> Result<(), ProtocolError> {
        let exptime = || parse_i32(argument).map(i64::from).ok_or(ProtocolError::BadMetaToken);
        let cas = || parse_u64(argument).ok_or(ProtocolError::BadMetaToken);
        match letter {
            b'b' => match MetaKey::from_base64(self.key) {
                None => *bad = Some(ProtocolError::BadBase64),
                Some(key) => self.key = key,
            },
            b'C' => self.cas = note(cas(), bad),
            b'D' => self.delta = note(parse_u64(argument).ok_or(ProtocolError::BadMetaDelta), bad),
            b'E' => self.new_cas = note(cas(), bad),
            b'F' => {
                self.client_flags = parse_u64(argument).and_then(|number| number.try_into().ok());
                // memcached has no text for it, and says what it says of a line at large.
                if self.client_flags.is_none() {
                    bad.get_or_insert(ProtocolError::BadFormat);
                }
            }
            b'I' => self.invalidate = true,
            b'J' => {
                let initial = parse_u64(argument).ok_or(ProtocolError::BadMetaInitial);
                self.initial = note(initial, bad);
            }
            // Advice to a proxy.
            b'L' | b'P' => {}
            b'M' => self.mode = Some(argument.first().copied()),
            b'N' => self.vivify = note(exptime(), bad),
            b'O' => {
                self.opaque = argument;
                self.returns.push(Returned::Opaque);
            }
            b'R' => self.recache = note(exptime(), bad),
            b'T' => self.touch = note(exptime(), bad),
            b'c' => self.returns.push(Returned::Cas),
            b'f' => self.returns.push(Returned::Flags),
            b'h' => self.returns.push(Returned::Fetched),
            b'k' => self.returns.push(Returned::Key),
            b'l' => self.returns.push(Returned::Idle),
            b'q' => self.quiet = true,
            b's' => self.returns.push(Returned::Size),
            b't' => self.returns.push(Returned::Ttl),
            b'u' => self.no_bump = true,
            b'v' => self.value = true,
            b'x' => self.drop_value = true,
            _ => return Err(ProtocolError::BadMetaFlag),
        }
        Ok(())
    }
}

/// The value, or none and its error in `bad`.
fn note<T>(value: Result<T, ProtocolError>, bad: &mut Option<ProtocolError>) -> Option<T> {
    value.map_err(|error| *bad = Some(error)).ok()
}

/// Which letters have been there.
#[derive(Clone, Copy, Default)]
struct Letters(u128);

impl Letters {
    fn has(self, letter: u8) -> bool {
        self.0 & 1 << (letter & 0x7f) != 0
    }

    /// False if it has been there before, or is no letter: memcached says the same of both.
    fn insert(&mut self, letter: u8) -> bool {
        let fresh = letter < 0x7f && !self.has(letter);
        self.0 |= 1 << (letter & 0x7f);
        fresh
    }
}
