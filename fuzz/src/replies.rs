//! Replies decoded by somebody who has not read the encoder: from `doc/protocol.txt` and
//! `doc/protocol-binary.xml` of memcached alone.

use crate::input::Input;

/// One reply of either dialect, as a client sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    Frame(Frame<'a>),
    /// A line that is nothing else.
    Line(&'a [u8]),
    Value {
        key: &'a [u8],
        flags: u32,
        cas: Option<u64>,
        value: &'a [u8],
    },
}

/// A binary reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub opcode: u8,
    pub status: u16,
    pub opaque: u32,
    pub cas: u64,
    pub extras: &'a [u8],
    pub key: &'a [u8],
    pub value: &'a [u8],
}

/// The first reply in `bytes` and what lies behind it.
///
/// # Panics
///
/// If it is none.
pub fn decode(bytes: &[u8], binary: bool) -> (Reply<'_>, &[u8]) {
    if binary {
        let (frame, rest) = frame(bytes);
        return (Reply::Frame(frame), rest);
    }
    let (line, rest) = line(bytes);
    let Some(words) = line.strip_prefix(b"VALUE ") else { return (Reply::Line(line), rest) };
    let words: Vec<_> = words.split(|byte| *byte == b' ').collect();
    let number =
        |word: &[u8]| str::from_utf8(word).expect("digits").parse::<u64>().expect("digits");
    let (key, flags, len, cas) = match words[..] {
        [key, flags, len] => (key, flags, len, None),
        [key, flags, len, cas] => (key, flags, len, Some(number(cas))),
        _ => panic!("VALUE with {} words", words.len()),
    };
    let (value, rest) = rest.split_at(usize::try_from(number(len)).expect("a length"));
    let rest = rest.strip_prefix(b"\r\n").expect("CRLF behind a value");
    let flags = u32::try_from(number(flags)).expect("32 bits of flags");
    (Reply::Value { key, flags, cas, value }, rest)
}

fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("the end of a line");
    (&bytes[..end], &bytes[end + 2..])
}

fn frame(bytes: &[u8]) -> (Frame<'_>, &[u8]) {
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let len = |from, to| usize::try_from(number(from, to)).expect("64 bits");
    assert_eq!(number(0, 1), 0x81, "magic");
    assert_eq!(number(5, 6), 0, "data type");
    let (key_len, extras_len, body_len) = (len(2, 4), len(4, 5), len(8, 12));
    let (body, rest) = bytes[24..].split_at(body_len);
    let (extras, body) = body.split_at(extras_len);
    let (key, value) = body.split_at(key_len);
    let frame = Frame {
        opcode: bytes[1],
        status: u16::try_from(number(6, 8)).expect("two bytes"),
        opaque: u32::try_from(number(12, 16)).expect("four bytes"),
        cas: number(16, 24),
        extras,
        key,
        value,
    };
    (frame, rest)
}

/// A request whose reply is to be encoded: its bytes, and what the protocol says of the answer.
#[derive(Debug)]
pub struct Asked {
    pub bytes: Vec<u8>,
    pub binary: bool,
    pub opcode: u8,
    pub opaque: u32,
    /// Success is not answered.
    pub quiet: bool,
    /// Failure is not answered either.
    pub mute: bool,
    /// Hits carry the key; in text all do.
    pub with_key: bool,
    /// Text hits carry the cas unique.
    pub with_cas: bool,
}

impl Asked {
    /// Any request that can be parsed.
    pub fn new(input: &mut Input<'_>) -> Self {
        const TEXT: [(&[u8], bool, bool); 6] = [
            (b"get k\r\n", false, false),
            (b"gets k\r\n", false, true),
            (b"gats 5 k\r\n", false, true),
            (b"delete k\r\n", false, false),
            (b"delete k noreply\r\n", true, false),
            (b"touch k 1 noreply\r\n", true, false),
        ];
        // Opcode, length of the extras, of the key, of the value; quiet; with the key.
        const BINARY: [(u8, u8, u8, u8, bool, bool); 12] = [
            (0x00, 0, 1, 0, false, false),
            (0x09, 0, 1, 0, true, false),
            (0x0c, 0, 1, 0, false, true),
            (0x0d, 0, 1, 0, true, true),
            (0x01, 8, 1, 1, false, false),
            (0x11, 8, 1, 1, true, false),
            (0x05, 20, 1, 0, false, false),
            (0x15, 20, 1, 0, true, false),
            (0x14, 0, 1, 0, true, false),
            (0x1d, 4, 1, 0, false, false),
            (0x1e, 4, 1, 0, true, false),
            (0x24, 4, 1, 0, true, true),
        ];
        if input.flag() {
            let (bytes, mute, with_cas) = input.pick(&TEXT);
            let (bytes, with_key, quiet) = (bytes.to_vec(), true, mute);
            return Self {
                bytes,
                binary: false,
                opcode: 0,
                opaque: 0,
                quiet,
                mute,
                with_key,
                with_cas,
            };
        }
        let (opcode, extras, key, value, quiet, with_key) = input.pick(&BINARY);
        let (opaque, body) = (input.u32(), extras + key + value);
        let mut bytes = vec![0x80, opcode, 0, key, extras, 0, 0, 0, 0, 0, 0, body];
        bytes.extend(opaque.to_be_bytes());
        bytes.extend(vec![0; 8 + usize::from(extras)]);
        bytes.extend(b"kv".iter().take(usize::from(key + value)));
        let (mute, with_cas) = (false, false);
        Self { bytes, binary: true, opcode, opaque, quiet, mute, with_key, with_cas }
    }
}
