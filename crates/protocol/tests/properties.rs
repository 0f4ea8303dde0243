//! Properties of the parser, each named after the invariant in the crate's documentation.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use protocol::{Compat, GET_LINE_LEN_MAX, Limits, Parser, ProtocolError};

proptest! {
    // A failure prints its input; a file of regressions would only repeat it.
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Invariant 1. Method: bytes of all kinds, alone and between valid requests.
    #[test]
    fn total(stream in stream(any_bytes())) {
        events(&stream, &[stream.len().max(1)])?;
    }

    /// Invariant 2. Method: a valid request, cut everywhere.
    #[test]
    fn every_strict_prefix_is_incomplete(request in valid_request()) {
        for cut in 0..request.len() {
            let (front, _) = request.split_at(cut);
            let parsed = Parser::new().parse(front, &Limits::default());
            prop_assert_eq!(parsed, Ok(None), "cut at {}", cut);
        }
        let parsed = Parser::new().parse(&request, &Limits::default());
        prop_assert_eq!(parsed.unwrap().unwrap().consumed, request.len());
    }

    /// Invariants 2, 3 and 5. Method: the same stream in one piece, byte by byte, and in random
    /// pieces. The parser lives as long as the connection, so what it remembers is tested too.
    #[test]
    fn splits_do_not_matter(stream in stream(any_bytes()), pieces in vec(1usize..40, 1..20)) {
        let whole = events(&stream, &[stream.len().max(1)])?;
        prop_assert_eq!(&events(&stream, &[1])?, &whole);
        prop_assert_eq!(&events(&stream, &pieces)?, &whole);
    }
}

/// Invariant 4, for a line without end. Method: line ends put where the parser has been already
/// must not be seen.
#[test]
fn a_long_get_line_is_scanned_once() {
    let mut parser = Parser::new();
    let mut input = b"get ".to_vec();
    while input.len() < GET_LINE_LEN_MAX - READ_LEN {
        input.resize(input.len() + READ_LEN, b'k');
        assert_eq!(parser.parse(&input, &LIMITS), Ok(None));
        assert_eq!(parser.needed(), input.len() + 1);
        let (_, keys) = input.split_at_mut(4);
        keys.fill(b'\n');
    }
    input.push(b'\n');
    let refusal = parser.parse(&input, &LIMITS).unwrap_err();
    assert_eq!(refusal.consumed, input.len(), "the line ends where the last read ended it");
}

/// Invariant 4, for a value. Method: what has been looked at turns to garbage that would close
/// the connection; as long as the request cannot be whole, nobody looks.
#[test]
fn a_partial_value_is_not_looked_at() {
    let mut binary = vec![0x80, 0x01, 0, 1, 8, 0, 0, 0, 0, 0, 3, 9 + 0xe8];
    binary.extend([0; 12 + 8]);
    binary.push(b'k');
    let text = b"set k 0 0 1000\r\n".to_vec();
    let meta = b"ms k 1000 q Oo\r\n".to_vec();
    for (front, needed) in
        [(text, 16 + 1_000 + 2), (meta, 16 + 1_000 + 2), (binary, 24 + 8 + 1 + 1_000)]
    {
        let mut parser = Parser::new();
        let limits = Limits::default();
        assert_eq!(parser.parse(&front, &limits), Ok(None));
        assert_eq!(parser.needed(), needed);
        for len in front.len()..needed {
            assert_eq!(parser.parse(&b"GET / HTTP/1.1\n".repeat(70)[..len], &limits), Ok(None));
        }
        let whole = [front, b"\r\n".repeat(501)].concat();
        let parsed = parser.parse(&whole[..needed], &limits).unwrap().unwrap();
        assert_eq!(parsed.consumed, needed);
        assert_eq!(parser.needed(), 1, "the next request starts afresh");
    }
}

/// What a shell would see of `stream`, read in pieces of the given lengths, over and over.
fn events(stream: &[u8], pieces: &[usize]) -> Result<Vec<String>, TestCaseError> {
    let mut events = Vec::new();
    let mut parser = Parser::new();
    let (mut front, mut arrived) = (0, 0);
    for piece in pieces.iter().cycle() {
        arrived = (arrived + piece).min(stream.len());
        while let Some(input) = stream.get(front..arrived) {
            match parser.parse(input, &LIMITS) {
                Ok(None) => {
                    prop_assert!(input.len() < parser.needed(), "waits for what it has");
                    break;
                }
                Ok(Some(parsed)) => {
                    prop_assert!(0 < parsed.consumed && parsed.consumed <= input.len());
                    events.push(format!("{parsed:?}"));
                    front += parsed.consumed;
                }
                Err(refusal) if refusal.close => {
                    // How much is dropped before closing matters to nobody.
                    events.push(format!("{:?} {:?}", refusal.error, refusal.reply_to));
                    return Ok(events);
                }
                Err(refusal) => {
                    prop_assert!(0 < refusal.consumed);
                    prop_assert!(refusal.error != ProtocolError::NotMemcached);
                    events.push(format!("{refusal:?}"));
                    front += refusal.consumed;
                }
            }
        }
        if arrived == stream.len() {
            break;
        }
    }
    // What is left, so that it is compared too.
    events.push(format!("{:?}", stream.get(front..)));
    Ok(events)
}

/// Requests and noise in one dialect or the other; the first byte decides.
fn stream(noise: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let text = vec(prop_oneof![4 => text_request(), 2 => text_line(), 1 => noise.clone()], 0..8);
    let binary = vec(prop_oneof![4 => frame(), 4 => wild_frame(), 1 => noise], 0..8);
    prop_oneof![text, binary].prop_map(|parts| parts.concat()).boxed()
}

fn any_bytes() -> BoxedStrategy<Vec<u8>> {
    let seps = select(b" \r\n\t\0\x80-059noreplyset".to_vec());
    prop_oneof![vec(any::<u8>(), 0..60), vec(seps, 0..60)].boxed()
}

fn valid_request() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![text_request(), frame()].boxed()
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>().prop_filter("no separators", |byte| !b" \r\n".contains(byte)), 1..20)
        .prop_filter("not the magic byte alone", |key| key.first() != Some(&0x80))
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..30)
}

/// Requests that stock memcached serves.
fn text_request() -> BoxedStrategy<Vec<u8>> {
    let noreply = select(vec!["", " noreply"]);
    let end = select(vec!["\r\n", "\n"]);
    let store = (
        select(vec!["set", "add", "replace", "append", "prepend", "cas"]),
        (key(), any::<u32>(), any::<i32>(), value()),
        (any::<u64>(), noreply.clone(), end.clone()),
    )
        .prop_map(|(name, (key, flags, exptime, value), (cas, noreply, end))| {
            let cas = if name == "cas" { format!(" {cas}") } else { String::new() };
            let mut line = format!("{name} ").into_bytes();
            line.extend(key);
            let rest = format!(" {flags} {exptime} {}{cas}{noreply}{end}", value.len());
            [line, rest.into_bytes(), value, b"\r\n".to_vec()].concat()
        });
    let keyed = (
        select(vec![("incr", "1"), ("decr", "1"), ("touch", "-1"), ("delete", "0")]),
        (key(), noreply, end.clone()),
    )
        .prop_map(|((name, number), (key, noreply, end))| {
            let rest = format!(" {number}{noreply}{end}");
            [name.as_bytes(), b" ", &key, rest.as_bytes()].concat()
        });
    let get = (select(vec!["get", "gets", "gat 10", "gats -1"]), vec(key(), 1..40), end).prop_map(
        |(name, keys, end)| [name.as_bytes(), b" ", &keys.join(&b' '), end.as_bytes()].concat(),
    );
    let fixed = select(vec![
        "version\r\n",
        "verbosity 1\r\n",
        "quit\r\n",
        "stats\r\n",
        "stats cachedump 1 0\n",
        "flush_all\r\n",
        "flush_all 10 noreply\r\n",
    ]);
    let fixed = fixed.prop_map(|line| line.as_bytes().to_vec());
    prop_oneof![store, keyed, get, fixed, meta_request()].boxed()
}

/// Meta requests that memcached serves.
fn meta_request() -> BoxedStrategy<Vec<u8>> {
    let end = select(vec!["\r\n", "\n"]);
    let flags = subsequence(
        vec![
            "s", "v", "c", "f", "h", "l", "t", "k", "Oopaque", "q", "u", "T60", "N-1", "R30", "E7",
            "C9", "F5", "D3", "J4", "I", "x", "L", "Pp",
        ],
        0..=16,
    )
    .prop_shuffle();
    let key = prop_oneof![
        key().prop_map(|key| (key, "")),
        select(vec!["Zm9v", "Zm8=", "Zg==", "44OG44K544OI"])
            .prop_map(|key| (key.as_bytes().to_vec(), " b")),
    ];
    let name = select(vec!["mg", "ms", "md", "ma", "me", "mn"]);
    (name, key, flags, value(), end)
        .prop_map(|(name, (key, b), flags, value, end)| {
            let (len, block) = if name == "ms" {
                (format!(" {}", value.len()), [value, b"\r\n".to_vec()].concat())
            } else {
                (String::new(), Vec::new())
            };
            let flags: String = flags.iter().map(|flag| format!(" {flag}")).collect();
            let rest = format!("{len}{b}{flags}{end}");
            [name.as_bytes(), b" ", &key, rest.as_bytes(), &block].concat()
        })
        .boxed()
}

/// Lines of the right words in no order.
fn text_line() -> BoxedStrategy<Vec<u8>> {
    let words = select(vec![
        "set",
        "add",
        "cas",
        "get",
        "gets",
        "gat",
        "incr",
        "delete",
        "touch",
        "flush_all",
        "stats",
        "cachedump",
        "k",
        "0",
        "1",
        "5",
        "60",
        "-1",
        "4294967301",
        "noreply",
        "",
        "HTTP/1.1",
        "mg",
        "ms",
        "md",
        "ma",
        "me",
        "mn",
        "b",
        "q",
        "v",
        "T5",
        "MA",
        "MZ",
        "Cx",
        "Zm9v",
        "Oo",
    ]);
    let end = select(vec!["\r\n", "\n", "\r\r\n", "\r\nhi\r\n", "\r\nhello\r\n", ""]);
    (vec(words, 0..8), end)
        .prop_map(|(words, end)| format!("{}{end}", words.join(" ")).into_bytes())
        .boxed()
}

/// Frames that stock memcached serves.
fn frame() -> BoxedStrategy<Vec<u8>> {
    let shapes = select(vec![
        // opcodes, extras, with key, with value
        (0x00, 0, true, false),
        (0x0d, 0, true, false),
        (0x01, 8, true, true),
        (0x12, 8, true, true),
        (0x04, 0, true, false),
        (0x05, 20, true, false),
        (0x19, 0, true, true),
        (0x1c, 4, true, false),
        (0x23, 4, true, false),
        (0x08, 4, false, false),
        (0x18, 0, false, false),
        (0x0a, 0, false, false),
        (0x07, 0, false, false),
        (0x0b, 0, false, false),
    ]);
    (shapes, key(), value(), any::<[u8; 20]>())
        .prop_map(|((opcode, extras_len, has_key, has_value), key, value, bytes)| {
            let key = if has_key { key } else { Vec::new() };
            let value = if has_value { value } else { Vec::new() };
            let lens = (key.len(), extras_len, usize::from(extras_len) + key.len() + value.len());
            let extras = bytes.get(..extras_len.into()).unwrap_or_default().to_vec();
            [header(opcode, lens), extras, key, value].concat()
        })
        .boxed()
}

/// Frames whose lengths are anything.
fn wild_frame() -> BoxedStrategy<Vec<u8>> {
    let key_len = select(vec![0, 1, 2, 250, 251, 0xffff]);
    let extras_len = select(vec![0, 4, 8, 20, 0xff]);
    let body_len = select(vec![0, 1, 5, 9, 12, 21, 60, 300, 1 << 30, 0xffff_ffe8]);
    (any::<u8>(), key_len, extras_len, body_len, any_bytes())
        .prop_map(|(opcode, key_len, extras_len, body_len, rest)| {
            [header(opcode & 0x27, (key_len, extras_len, body_len)), rest].concat()
        })
        .boxed()
}

fn header(opcode: u8, (key_len, extras_len, body_len): (usize, u8, usize)) -> Vec<u8> {
    let [.., k1, k0] = key_len.to_be_bytes();
    let [.., b3, b2, b1, b0] = body_len.to_be_bytes();
    let mut header = vec![0x80, opcode, k1, k0, extras_len, 0, 0, 0, b3, b2, b1, b0];
    header.extend([7; 12]);
    header
}

const READ_LEN: usize = 16 * 1024;

/// So small that some of the values do not fit.
const LIMITS: Limits = Limits { item_len_max: 95, compat: Compat::V1_6_18 };
