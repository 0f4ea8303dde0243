//! Replies of both dialects, several in a row, read back by an independent decoder.
//!
//! Input: for each reply a request, what became of it, and the fields of the answer.
#![no_main]

use harness::allocations::{LIMIT, bounded};
use harness::input::Input;
use harness::replies::{Asked, Frame, Reply, decode};
use protocol::{Limits, Parser, ReplyTo};

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded(LIMIT, || {
    let mut input = Input(data);
    while !input.is_empty() {
        let asked = Asked::new(&mut input);
        let parsed = Parser::new().parse(&asked.bytes, &Limits::default());
        let reply_to = parsed.expect("a good request").expect("a whole one").reply_to;
        assert_eq!(reply_to.is_quiet(), asked.quiet);
        one(&mut input, &asked, reply_to);
    }
}));

/// The fields of a reply.
struct Fields<'a> {
    flags: u32,
    cas: u64,
    key: &'a [u8],
    value: &'a [u8],
}

fn one(input: &mut Input<'_>, asked: &Asked, reply_to: ReplyTo) {
    let (flags, cas, value_len) = (input.u32(), input.u64(), input.u16());
    let key_len = input.below(250);
    let key = input.bytes(key_len + 1);
    let fits = |byte: &u8| asked.binary || b' ' < *byte;
    let key = if key.is_empty() || !key.iter().all(fits) { b"key" } else { key };
    let value = input.bytes(usize::from(value_len));
    let fields = Fields { flags, cas, key, value };
    let mut out = Vec::new();
    let kind = input.below(12);
    encode(kind, reply_to, &fields, &mut out);
    let want = expected(kind, asked, &fields);
    // Two in a row: a reply ends where the next begins.
    let len = out.len();
    reply_to.server_error("next", &mut out);
    let mut rest = out.as_slice();
    if let Some(want) = want {
        let (have, behind) = decode(rest, asked.binary);
        compare(&have, &want, asked, &fields);
        rest = behind;
    }
    assert_eq!(out.len() - rest.len(), len, "bytes nobody expects");
    if asked.mute {
        assert!(rest.is_empty(), "answers noreply");
        return;
    }
    let (next, behind) = decode(rest, asked.binary);
    assert!(behind.is_empty());
    match next {
        Reply::Line(line) => assert_eq!(line, b"SERVER_ERROR next"),
        Reply::Frame(frame) => assert_eq!((frame.status, frame.value), (0x84, &b"next"[..])),
        Reply::Value { .. } => panic!("{next:?}"),
    }
}

fn encode(kind: usize, reply_to: ReplyTo, fields: &Fields<'_>, out: &mut Vec<u8>) {
    let &Fields { flags, cas, key, value } = fields;
    match kind {
        0 => reply_to.stored(cas, out),
        1 => reply_to.exists(out),
        2 => reply_to.not_found(out),
        3 => reply_to.deleted(out),
        4 => reply_to.touched(flags, cas, out),
        5 => reply_to.number(cas, cas, out),
        6 => reply_to.non_numeric(out),
        7 => reply_to.out_of_memory(out),
        8 => reply_to.done(out),
        9 => reply_to.miss(key, out),
        _ => reply_to.hit(key, flags, cas, value, out),
    }
}

/// What the answer says.
enum Want {
    /// In binary only the status and the body's parts; in text the line.
    Success {
        line: String,
        flags: bool,
        cas: bool,
        number: bool,
    },
    Failure {
        line: &'static str,
        status: u16,
    },
    Miss,
    Hit,
}

/// What has to come, which may be nothing.
fn expected(kind: usize, asked: &Asked, fields: &Fields<'_>) -> Option<Want> {
    let success = |line: &str, flags, cas, number| {
        let line = line.to_owned();
        (!asked.quiet).then_some(Want::Success { line, flags, cas, number })
    };
    let failure = |line, status| (!asked.mute).then_some(Want::Failure { line, status });
    match kind {
        0 => success("STORED", false, true, false),
        1 => failure("EXISTS", 0x02),
        2 => failure("NOT_FOUND", 0x01),
        3 => success("DELETED", false, false, false),
        4 => success("TOUCHED", true, true, false),
        5 => success(&fields.cas.to_string(), false, true, true),
        6 => {
            let line = "CLIENT_ERROR cannot increment or decrement non-numeric value";
            failure(line, 0x06)
        }
        7 => failure("SERVER_ERROR out of memory storing object", 0x82),
        8 => success("OK", false, false, false),
        9 => (asked.binary && !asked.quiet).then_some(Want::Miss),
        _ => Some(Want::Hit),
    }
}

fn compare(have: &Reply<'_>, want: &Want, asked: &Asked, fields: &Fields<'_>) {
    let &Fields { flags, cas, key, value } = fields;
    let frame = match have {
        Reply::Frame(frame) => frame,
        Reply::Line(line) => {
            let want = match want {
                Want::Success { line, .. } => line,
                Want::Failure { line, .. } => *line,
                Want::Miss | Want::Hit => panic!("{have:?}"),
            };
            return assert_eq!(*line, want.as_bytes());
        }
        Reply::Value { .. } => {
            let cas = asked.with_cas.then_some(cas);
            assert!(matches!(want, Want::Hit));
            return assert_eq!(*have, Reply::Value { key, flags, cas, value });
        }
    };
    assert_eq!((frame.opcode, frame.opaque), (asked.opcode, asked.opaque));
    let (flags, number) = (flags.to_be_bytes(), cas.to_be_bytes());
    let shown = if asked.with_key { key } else { b"" };
    let Frame { status, cas: have_cas, extras, key, value: body, .. } = *frame;
    match want {
        Want::Success { flags: with_flags, cas: with_cas, number: with_number, .. } => {
            let extras_want = if *with_flags { &flags[..] } else { b"" };
            let body_want = if *with_number { &number[..] } else { b"" };
            let cas_want = if *with_cas { cas } else { 0 };
            assert_eq!((status, have_cas), (0, cas_want));
            assert_eq!((extras, key, body), (extras_want, &b""[..], body_want));
        }
        Want::Failure { status: want, .. } => {
            assert_eq!((status, have_cas, extras, key), (*want, 0, &b""[..], &b""[..]));
            assert!(!body.is_empty(), "a failure says why");
        }
        Want::Miss => assert_eq!((status, have_cas, key), (1, 0, shown)),
        Want::Hit => {
            assert_eq!((status, have_cas), (0, cas));
            assert_eq!((extras, key, body), (&flags[..], shown, value));
        }
    }
}
