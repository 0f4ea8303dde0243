//! Tables of replies in both dialects.

use super::*;
use crate::opcode::*;
use crate::{Limits, Parser};

type Encode = fn(ReplyTo, &mut Vec<u8>);

fn text(noreply: bool, with_cas: bool) -> ReplyTo {
    ReplyTo::Text(TextReply { noreply, with_cas })
}

fn binary(opcode: u8) -> ReplyTo {
    ReplyTo::Binary(BinaryReply { opcode, opaque: 0x0102_0304 })
}

fn encode(reply_to: ReplyTo, encode: Encode) -> Vec<u8> {
    let mut out = b"before ".to_vec();
    encode(reply_to, &mut out);
    out.split_off(7)
}

/// A frame from its parts, by the byte table rather than by the encoder.
fn frame(opcode: u8, status: u16, cas: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let body_len = u32::try_from(extras.len() + key.len() + value.len()).unwrap();
    let mut frame = vec![0x81, opcode];
    frame.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
    frame.extend([u8::try_from(extras.len()).unwrap(), 0]);
    frame.extend(status.to_be_bytes());
    frame.extend(body_len.to_be_bytes());
    frame.extend([1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, cas]);
    [&frame, extras, key, value].concat()
}

#[test]
fn lines() {
    let cases: &[(Encode, &str)] = &[
        (|r, out| r.stored(9, out), "STORED\r\n"),
        (|r, out| r.not_stored(out), "NOT_STORED\r\n"),
        (|r, out| r.exists(out), "EXISTS\r\n"),
        (|r, out| r.not_found(out), "NOT_FOUND\r\n"),
        (|r, out| r.deleted(out), "DELETED\r\n"),
        (|r, out| r.touched(7, 9, out), "TOUCHED\r\n"),
        (|r, out| r.number(u64::MAX, 9, out), "18446744073709551615\r\n"),
        (
            |r, out| r.non_numeric(out),
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
        (|r, out| r.out_of_memory(out), "SERVER_ERROR out of memory storing object\r\n"),
        (|r, out| r.done(out), "OK\r\n"),
        (|r, out| r.server_error("no quorum", out), "SERVER_ERROR no quorum\r\n"),
        (
            |r, out| r.error(ProtocolError::TooLarge, out),
            "SERVER_ERROR object too large for cache\r\n",
        ),
    ];
    for (method, want) in cases {
        let got = encode(text(false, false), *method);
        assert_eq!(String::from_utf8_lossy(&got), *want);
        assert_eq!(encode(text(true, false), *method), b"", "noreply: {want:?}");
    }
}

#[test]
fn lines_of_reads() {
    let cases: &[(bool, Encode, &[u8])] = &[
        (false, |r, out| r.hit(b"k", 7, 9, b"hi", out), b"VALUE k 7 2\r\nhi\r\n"),
        (true, |r, out| r.hit(b"k", 7, 9, b"hi", out), b"VALUE k 7 2 9\r\nhi\r\n"),
        (
            true,
            |r, out| r.hit(b"k\xff", u32::MAX, u64::MAX, b"", out),
            b"VALUE k\xff 4294967295 0 18446744073709551615\r\n\r\n",
        ),
        (false, |r, out| r.miss(b"k", out), b""),
        (false, |r, out| r.end(out), b"END\r\n"),
        (false, |r, out| r.version("1.6.18", out), b"VERSION 1.6.18\r\n"),
        (false, |r, out| r.stat(b"pid", b"1", out), b"STAT pid 1\r\n"),
        (false, |r, out| r.stat(b"pid", b"", out), b"STAT pid\r\n"),
        (false, |r, out| r.stat(b"", b"1", out), b""),
        (false, |r, out| r.stats_end(out), b"END\r\n"),
        (false, |r, out| r.stats_reset(out), b"RESET\r\n"),
        (false, |r, out| r.dumped_item(b"k", 2, 10, out), b"ITEM k [2 b; 10 s]\r\n"),
        // A key cannot forge a line.
        (
            false,
            |r, out| r.dumped_item(b"a b\r\nEND%\x7f\xff", 0, 0, out),
            b"ITEM a%20b%0D%0AEND%25%7F\xff [0 b; 0 s]\r\n",
        ),
    ];
    for (with_cas, method, want) in cases {
        let got = encode(text(false, *with_cas), *method);
        assert_eq!(got.escape_ascii().to_string(), want.escape_ascii().to_string());
    }
}

/// What no meta command asks for is not answered, what went wrong is told to quiet ones too, and
/// without an item there is still a status.
#[test]
fn meta_lines() {
    let cases: &[(&str, Encode, &str)] = &[
        ("mn", |r, out| r.done(out), "MN\r\n"),
        ("md k q", |r, out| r.server_error("no quorum", out), "SERVER_ERROR no quorum\r\n"),
        (
            "ma k q",
            |r, out| r.non_numeric(out),
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
        ("ma k q", |r, out| r.out_of_memory(out), "SERVER_ERROR out of memory\r\n"),
        (
            "ms k 0 q\r\n",
            |r, out| r.out_of_memory(out),
            "SERVER_ERROR out of memory storing object\r\n",
        ),
        ("mg k q", |r, out| r.error(ProtocolError::BadFormat, out), BAD_FORMAT),
        ("mg k q", |r, out| r.miss(b"k", out), ""),
        ("mg k k", |r, out| r.miss(b"k", out), "EN kk\r\n"),
        ("mg k v", |r, out| r.hit(b"k", 7, 9, b"hi", out), "VA 2\r\nhi\r\n"),
        ("ms k 0\r\n", |r, out| r.stored(9, out), "HD\r\n"),
        ("ms k 0 k Oo\r\n", |r, out| r.not_stored(out), "NS Oo\r\n"),
        ("md k", |r, out| r.exists(out), "EX\r\n"),
        ("md k", |r, out| r.not_found(out), "NF\r\n"),
        ("md k q", |r, out| r.deleted(out), ""),
        ("mg k", |r, out| r.touched(7, 9, out), "HD\r\n"),
        ("ma k", |r, out| r.number(5, 9, out), "HD\r\n"),
        ("md k", |r, out| r.done(out), "HD\r\n"),
        (
            "mn",
            |r, out| {
                r.end(out);
                r.version("1.6.18", out);
                r.stat(b"pid", b"1", out);
                r.stats_end(out);
                r.stats_reset(out);
                r.dumped_item(b"k", 2, 10, out);
            },
            "",
        ),
    ];
    for (request, method, want) in cases {
        let request = format!("{request}\r\n");
        let parsed = Parser::new().parse(request.as_bytes(), &Limits::default());
        let got = encode(parsed.unwrap().unwrap().reply_to, *method);
        assert_eq!(String::from_utf8(got).unwrap(), *want, "case: {request:?}");
    }
}

/// The static lines are the `Display` of the errors.
#[test]
fn error_lines() {
    for error in ERRORS {
        let mut got = Vec::new();
        text(false, false).error(*error, &mut got);
        assert_eq!(String::from_utf8(got).unwrap(), format!("{error}\r\n"));
    }
    for reply_to in [text(false, false), binary(SET)] {
        let mut got = Vec::new();
        reply_to.error(ProtocolError::NotMemcached, &mut got);
        assert_eq!(got, b"", "closed without a word");
    }
}

#[test]
fn successful_frames() {
    type Case<'a> = (u8, Option<u8>, Encode, (u8, &'a [u8], &'a [u8], &'a [u8]));
    let number: &[u8] = &[0, 0, 0, 0, 0, 0, 1, 2];
    let cases: &[Case<'_>] = &[
        // opcode, its quiet twin, reply, (cas, extras, key, value)
        (SET, Some(SETQ), |r, out| r.stored(9, out), (9, b"", b"", b"")),
        (ADD, Some(ADDQ), |r, out| r.stored(9, out), (9, b"", b"", b"")),
        (REPLACE, Some(REPLACEQ), |r, out| r.stored(9, out), (9, b"", b"", b"")),
        (APPEND, Some(APPENDQ), |r, out| r.stored(9, out), (9, b"", b"", b"")),
        (PREPEND, Some(PREPENDQ), |r, out| r.stored(9, out), (9, b"", b"", b"")),
        (DELETE, Some(DELETEQ), |r, out| r.deleted(out), (0, b"", b"", b"")),
        (INCREMENT, Some(INCREMENTQ), |r, out| r.number(258, 9, out), (9, b"", b"", number)),
        (DECREMENT, Some(DECREMENTQ), |r, out| r.number(258, 9, out), (9, b"", b"", number)),
        (FLUSH, Some(FLUSHQ), |r, out| r.done(out), (0, b"", b"", b"")),
        (QUIT, Some(QUITQ), |r, out| r.done(out), (0, b"", b"", b"")),
        (NOOP, None, |r, out| r.done(out), (0, b"", b"", b"")),
        (TOUCH, None, |r, out| r.touched(7, 9, out), (9, &[0, 0, 0, 7], b"", b"")),
        (VERSION, None, |r, out| r.version("1.6.18", out), (0, b"", b"", b"1.6.18")),
        (STAT, None, |r, out| r.stat(b"pid", b"1", out), (0, b"", b"pid", b"1")),
        (STAT, None, |r, out| r.stats_end(out), (0, b"", b"", b"")),
        (STAT, None, |r, out| r.stats_reset(out), (0, b"", b"", b"")),
    ];
    for (opcode, quiet, method, (cas, extras, key, value)) in cases {
        let want = frame(*opcode, 0, *cas, extras, key, value);
        assert_eq!(encode(binary(*opcode), *method), want, "opcode {opcode:#x}");
        assert!(!binary(*opcode).is_quiet());
        if let Some(quiet) = quiet {
            assert_eq!(encode(binary(*quiet), *method), b"", "opcode {quiet:#x}");
            assert!(binary(*quiet).is_quiet());
        }
    }
}

/// Quiet reads hide misses, and send hits with their own opcode.
#[test]
fn frames_of_reads() {
    let miss = |opcode, key: &[u8], text: &[u8]| frame(opcode, 1, 0, b"", key, text);
    for (opcode, quiet, key, text) in [
        (GET, GETQ, &b""[..], &b"Not found"[..]),
        (GAT, GATQ, b"", b"Not found"),
        (GETK, GETKQ, b"k", b""),
        (GATK, GATKQ, b"k", b""),
    ] {
        let hit = |opcode| frame(opcode, 0, 9, &[0, 0, 0, 7], key, b"hi");
        for opcode in [opcode, quiet] {
            let got = encode(binary(opcode), |r, out| r.hit(b"k", 7, 9, b"hi", out));
            assert_eq!(got, hit(opcode), "opcode {opcode:#x}");
        }
        let got = encode(binary(opcode), |r, out| r.miss(b"k", out));
        assert_eq!(got, miss(opcode, key, text), "opcode {opcode:#x}");
        assert_eq!(encode(binary(quiet), |r, out| r.miss(b"k", out)), b"", "opcode {quiet:#x}");
    }
    assert_eq!(encode(binary(GET), |r, out| r.end(out)), b"");
    let got = encode(binary(TOUCH), |r, out| r.not_found(out));
    assert_eq!(got, frame(TOUCH, 1, 0, b"", b"", b"Not found"));
}

/// Errors are sent whatever the opcode.
#[test]
fn failed_frames() {
    let cases: &[(&[u8], Encode, u16, &[u8])] = &[
        (&[ADD, ADDQ], |r, out| r.not_stored(out), 2, b"Data exists for key."),
        (&[REPLACE, REPLACEQ], |r, out| r.not_stored(out), 1, b"Not found"),
        (&[APPEND, PREPENDQ], |r, out| r.not_stored(out), 5, b"Not stored."),
        (&[SET, DELETEQ], |r, out| r.exists(out), 2, b"Data exists for key."),
        (&[SET, DELETEQ, INCREMENT], |r, out| r.not_found(out), 1, b"Not found"),
        (
            &[INCREMENT, DECREMENTQ],
            |r, out| r.non_numeric(out),
            6,
            b"Non-numeric server-side value for incr or decr",
        ),
        (&[SET, APPENDQ], |r, out| r.out_of_memory(out), 0x82, b"Out of memory allocating item"),
        (
            &[INCREMENTQ, DECREMENT],
            |r, out| r.out_of_memory(out),
            0x82,
            b"Out of memory incrementing value",
        ),
        (&[GET, GETQ, SETQ], |r, out| r.server_error("no quorum", out), 0x84, b"no quorum"),
        (&[SET], |r, out| r.error(ProtocolError::TooLarge, out), 3, b"Too large."),
        (&[0xff], |r, out| r.error(ProtocolError::UnknownCommand, out), 0x81, b"Unknown command"),
        (&[SETQ], |r, out| r.error(ProtocolError::BadFormat, out), 4, b"Invalid arguments"),
        (&[FLUSHQ], |r, out| r.error(ProtocolError::FlushNotAllowed, out), 0x20, b"Auth failure."),
        (&[STAT], |r, out| r.error(ProtocolError::UnknownStats, out), 1, b"Not found"),
        (&[STAT], |r, out| r.error(ProtocolError::BadStatsDetail, out), 1, b"Not found"),
    ];
    for (opcodes, method, status, text) in cases {
        for opcode in *opcodes {
            let want = frame(*opcode, *status, 0, b"", b"", text);
            assert_eq!(encode(binary(*opcode), *method), want, "opcode {opcode:#x}");
        }
    }
}

const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format\r\n";

const ERRORS: &[ProtocolError] = &[
    ProtocolError::BadBase64,
    ProtocolError::BadCommandLine,
    ProtocolError::BadDataChunk,
    ProtocolError::BadDelete,
    ProtocolError::BadDelta,
    ProtocolError::BadExptime,
    ProtocolError::BadFormat,
    ProtocolError::BadMetaArithmeticFlag,
    ProtocolError::BadMetaArithmeticMode,
    ProtocolError::BadMetaDelta,
    ProtocolError::BadMetaFlag,
    ProtocolError::BadMetaInitial,
    ProtocolError::BadMetaStoreMode,
    ProtocolError::BadMetaToken,
    ProtocolError::BadSlabClass,
    ProtocolError::BadStatsDetail,
    ProtocolError::DuplicateMetaFlag,
    ProtocolError::FlushNotAllowed,
    ProtocolError::OpaqueTooLong,
    ProtocolError::ShutdownNotEnabled,
    ProtocolError::TooLarge,
    ProtocolError::TooManyMetaFlags,
    ProtocolError::UnknownCommand,
    ProtocolError::UnknownStats,
];
