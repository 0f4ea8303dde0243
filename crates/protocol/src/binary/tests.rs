//! Tables of frames, each with what stock memcached 1.6.18 does with it, unless a comment says
//! where and why we differ.

use super::opcode::*;
use super::*;
use crate::{Compat, Parsed, Parser, Protocol};

type Want<'a> = Result<Option<Parsed<'a>>, Refusal<'a>>;

fn parse(input: &[u8]) -> Want<'_> {
    Parser::with_protocol(Protocol::Binary).parse(input, &LIMITS)
}

/// A well-formed frame.
fn frame(opcode: u8, cas: u64, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let body_len = u32::try_from(extras.len() + key.len() + value.len()).unwrap();
    let key_len = u16::try_from(key.len()).unwrap();
    let extras_len = u8::try_from(extras.len()).unwrap();
    let header = header(opcode, cas, key_len, extras_len, body_len);
    [&header, extras, key, value].concat()
}

fn header(opcode: u8, cas: u64, key_len: u16, extras_len: u8, body_len: u32) -> Vec<u8> {
    let mut header = vec![0x80, opcode];
    header.extend(key_len.to_be_bytes());
    // Data type and reserved bytes are not looked at.
    header.extend([extras_len, 0xff, 0xff, 0xff]);
    header.extend(body_len.to_be_bytes());
    header.extend(OPAQUE.to_be_bytes());
    header.extend(cas.to_be_bytes());
    header
}

fn reply_to(opcode: u8) -> ReplyTo {
    ReplyTo::Binary(BinaryReply { opcode, opaque: OPAQUE })
}

fn refused<'a>(opcode: u8, error: ProtocolError, consumed: usize, close: bool) -> Want<'a> {
    Err(Refusal { error, reply_to: reply_to(opcode), consumed, close, delete: None })
}

#[test]
fn requests() {
    use Direction::{Decrement, Increment};
    use StoreMode::*;
    let key: &[u8] = b"a key\r\n";
    let store =
        |mode, flags, exptime, cas| Request::Store { mode, key, flags, exptime, value: b"hi", cas };
    let arithmetic =
        |direction, initial, cas| Request::Arithmetic { direction, key, delta: 5, initial, cas };
    let get = || Request::Get { keys: Keys::one(key) };
    let touch = || Request::GetAndTouch { exptime: 60, keys: Keys::one(key) };
    let initial = |exptime| Some(Initial { value: 9, exptime });
    let flags: &[u8] = &[0, 0, 0, 7, 0, 0, 0, 60];
    // In binary there is no negative exptime.
    let far: &[u8] = &[0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff];
    let sixty: &[u8] = &[0, 0, 0, 60];
    let delta: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 60];
    let delta_only: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 255, 255, 255, 255];
    /// Opcodes, cas unique, extras, key, value, and what is wanted.
    type Case<'a> = (&'a [u8], u64, &'a [u8], &'a [u8], &'a [u8], Request<'a>);
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        (&[GET, GETQ, GETK, GETKQ], 0, b"", key, b"", get()),
        (&[GET], 1, b"", key, b"", get()),
        (&[GAT, GATQ, GATK, GATKQ], 0, sixty, key, b"", touch()),
        (&[TOUCH], 0, sixty, key, b"", Request::Touch { key, exptime: 60 }),
        (&[SET, SETQ], 0, flags, key, b"hi", store(Set, 7, 60, None)),
        (&[SET, SETQ], 1, far, key, b"hi", store(Set, 7, 0xffff_ffff, Some(1))),
        (&[ADD, ADDQ], 0, flags, key, b"hi", store(Add, 7, 60, None)),
        (&[REPLACE, REPLACEQ], 0, flags, key, b"hi", store(Replace, 7, 60, None)),
        // With a cas unique all three are the same to memcached.
        (&[ADD, ADDQ, REPLACE, REPLACEQ], 1, flags, key, b"hi", store(Set, 7, 60, Some(1))),
        (&[APPEND, APPENDQ], 0, b"", key, b"hi", store(Append, 0, 0, None)),
        (&[PREPEND, PREPENDQ], 1, b"", key, b"hi", store(Prepend, 0, 0, Some(1))),
        (&[DELETE, DELETEQ], 0, b"", key, b"", Request::Delete { key, cas: None }),
        (&[DELETE, DELETEQ], 1, b"", key, b"", Request::Delete { key, cas: Some(1) }),
        (&[INCREMENT, INCREMENTQ], 0, delta, key, b"", arithmetic(Increment, initial(60), None)),
        (&[DECREMENT, DECREMENTQ], 1, delta, key, b"", arithmetic(Decrement, initial(60), Some(1))),
        (&[INCREMENT], 0, delta_only, key, b"", arithmetic(Increment, None, None)),
        (&[FLUSH, FLUSHQ], 0, b"", b"", b"", Request::FlushAll { exptime: 0 }),
        (&[FLUSH, FLUSHQ], 0, sixty, b"", b"", Request::FlushAll { exptime: 60 }),
        (&[NOOP], 0, b"", b"", b"", Request::Noop),
        (&[QUIT, QUITQ], 0, b"", b"", b"", Request::Quit),
        (&[VERSION], 0, b"", b"", b"", Request::Version),
        (&[STAT], 0, b"", b"", b"", Request::Stats { topic: StatsTopic::General }),
        (&[STAT], 0, b"", b"items", b"", Request::Stats { topic: StatsTopic::Items }),
    ];
    for (opcodes, cas, extras, key, value, want) in cases {
        for opcode in *opcodes {
            let input = frame(*opcode, *cas, extras, key, value);
            let (reply_to, consumed) = (reply_to(*opcode), input.len());
            let want = Parsed { request: want.clone(), reply_to, consumed };
            assert_eq!(parse(&input), Ok(Some(want.clone())), "opcode {opcode:#x}");
            for cut in 0..input.len() {
                assert_eq!(parse(&input[..cut]), Ok(None), "opcode {opcode:#x} at {cut}");
            }
            let pipelined = [&input[..], &input[..]].concat();
            assert_eq!(parse(&pipelined), Ok(Some(want)), "opcode {opcode:#x}, twice");
        }
    }
}

#[test]
fn stats_topics() {
    let cases: &[(&[u8], Result<StatsTopic<'_>, ProtocolError>)] = &[
        (b"", Ok(StatsTopic::General)),
        (b"settings", Ok(StatsTopic::Settings)),
        (b"settingsx", Ok(StatsTopic::Settings)),
        (b"reset", Ok(StatsTopic::Reset)),
        (b"detail on", Ok(StatsTopic::Detail(StatsDetail::On))),
        (b"detail off", Ok(StatsTopic::Detail(StatsDetail::Off))),
        (b"detail dump", Ok(StatsTopic::Detail(StatsDetail::Dump))),
        (b"detail", Err(ProtocolError::BadStatsDetail)),
        (b"slabs", Ok(StatsTopic::Slabs)),
        (b"sizes", Ok(StatsTopic::Sizes)),
        (b"slabsx", Ok(StatsTopic::Other(b"slabsx"))),
        (b"cluster", Ok(StatsTopic::Other(b"cluster"))),
    ];
    for (key, want) in cases {
        let input = frame(STAT, 0, b"", key, b"");
        let want = match want {
            Ok(topic) => Ok(Some(Parsed {
                request: Request::Stats { topic: *topic },
                reply_to: reply_to(STAT),
                consumed: input.len(),
            })),
            Err(error) => refused(STAT, *error, input.len(), false),
        };
        assert_eq!(parse(&input), want, "case: {}", key.escape_ascii());
    }
}

/// What a header may not say: answered and closed by the header alone, before any of the body
/// has come. Several of these were remote crashes of memcached, named in the comments.
#[test]
fn malformed_headers() {
    use ProtocolError::{BadFormat, UnknownCommand};
    let gib = BINARY_BODY_LEN_MAX;
    #[rustfmt::skip]
    let cases: &[(&str, u8, u16, u8, u32, ProtocolError)] = &[
        // name, opcode, key length, extras length, body length, want
        ("key alone overruns the body", GET, 2, 0, 1, UnknownCommand),
        ("key and extras overrun the body", SET, 1, 8, 8, UnknownCommand),
        ("65535 + 255 does not wrap", SET, 0xffff, 0xff, 0xff, UnknownCommand),
        ("unknown opcode, lying body", 0xff, 1, 0, 0, UnknownCommand),
        ("CVE-2011-4971: ADDQ", ADDQ, 1, 8, 0xffff_ffe8, BadFormat),
        ("CVE-2011-4971: APPEND", APPEND, 1, 0, 0xffff_ffe8, BadFormat),
        ("CVE-2016-8704: APPEND, key longer than body", APPENDQ, 0xfa, 0, 0, UnknownCommand),
        ("CVE-2016-8705: SET, body - key - extras below 0", SET, 0xfa, 8, 0xfa, UnknownCommand),
        ("CVE-2016-8706: SASL, key longer than body", SASL_AUTH, 0x20, 0, 1, UnknownCommand),
        ("CVE-2017-9951: GET of all the body there can be", GET, 0xfa, 0, 0xffff_ffff, BadFormat),
        ("CVE-2020-10931: extras beyond all that is known", GAT, 1, 0xff, 0x100, BadFormat),
        ("body of 1 GiB and a byte", SET, 1, 8, gib + 1, BadFormat),
        ("unknown opcode, body of 1 GiB and a byte", 0x1b, 1, 0, gib + 1, BadFormat),
        ("key of 251", GET, 251, 0, 251, BadFormat),
        ("unknown opcode, key of 251", 0x1b, 251, 0, 251, BadFormat),
        ("GET without a key", GET, 0, 0, 0, BadFormat),
        ("GET with extras", GETQ, 1, 4, 5, BadFormat),
        ("GET with a value", GETK, 1, 0, 2, BadFormat),
        ("SET without extras", SET, 1, 0, 1, BadFormat),
        ("SET without a key", SETQ, 0, 8, 8, BadFormat),
        ("ADD, extras too long", ADD, 1, 9, 10, BadFormat),
        ("APPEND with extras", APPEND, 1, 8, 9, BadFormat),
        ("PREPEND without a key", PREPEND, 0, 0, 2, BadFormat),
        ("DELETE with extras", DELETE, 1, 4, 5, BadFormat),
        ("DELETE with a value", DELETEQ, 1, 0, 2, BadFormat),
        ("INCREMENT, extras too short", INCREMENT, 1, 16, 17, BadFormat),
        ("DECREMENT with a value", DECREMENTQ, 1, 20, 22, BadFormat),
        ("DECREMENT without a key", DECREMENT, 0, 20, 20, BadFormat),
        ("TOUCH without extras", TOUCH, 1, 0, 1, BadFormat),
        ("GAT without a key", GAT, 0, 4, 4, BadFormat),
        // memcached answers, and takes the value for the next header.
        ("GAT with a value", GATKQ, 1, 4, 6, BadFormat),
        ("STAT with a value", STAT, 1, 0, 2, BadFormat),
        ("STAT with extras", STAT, 0, 4, 4, BadFormat),
        ("FLUSH with a key", FLUSH, 1, 4, 5, BadFormat),
        ("FLUSH, extras too long", FLUSHQ, 0, 8, 8, BadFormat),
        ("NOOP with a body", NOOP, 0, 0, 1, BadFormat),
        ("VERSION with a key", VERSION, 1, 0, 1, BadFormat),
        ("QUIT with extras", QUITQ, 0, 4, 4, BadFormat),
        ("SASL_LIST with a key", SASL_LIST, 1, 0, 1, BadFormat),
        ("SASL_AUTH without a key", SASL_AUTH, 0, 0, 4, BadFormat),
        ("SASL_STEP with extras", SASL_STEP, 1, 4, 5, BadFormat),
    ];
    for (name, opcode, key_len, extras_len, body_len, error) in cases {
        let input = header(*opcode, 0, *key_len, *extras_len, *body_len);
        let want = refused(*opcode, *error, 24, true);
        assert_eq!(parse(&input), want, "case: {name}");
        assert_eq!(parse(&input[..23]), Ok(None), "case: {name}");
    }
}

/// An opcode that is not served does not end the connection, and its body is dropped unread.
#[test]
fn unknown_opcodes() {
    let known = (GET..=PREPENDQ).chain(TOUCH..=GATQ).chain([GATK, GATKQ]).chain([SASL_LIST]);
    let known: Vec<u8> = known.collect();
    for opcode in (0..=u8::MAX).filter(|opcode| !known.contains(opcode)) {
        let input = header(opcode, 0, 5, 0, 1_000);
        let want = refused(opcode, ProtocolError::UnknownCommand, 1_024, false);
        assert_eq!(parse(&input), want, "opcode {opcode:#x}");
    }
    let want = refused(SASL_LIST, ProtocolError::UnknownCommand, 24, false);
    assert_eq!(parse(&header(SASL_LIST, 0, 0, 0, 0)), want);
}

/// CVE-2013-7239 and its like: what is not asked for by SASL is not looked at before it.
#[test]
fn only_sasl_and_the_version_pass_before_authentication() {
    let open = [SASL_LIST, SASL_AUTH, SASL_STEP, VERSION];
    for opcode in 0..=u8::MAX {
        let mut parser = Parser::with_sasl();
        let is_conversation = matches!(opcode, SASL_AUTH | SASL_STEP);
        let (key, value): (&[u8], &[u8]) =
            if is_conversation { (b"PLAIN", b"x") } else { (b"", b"") };
        let input = frame(opcode, 0, b"", key, value);
        let have = parser.parse(&input, &LIMITS);
        if open.contains(&opcode) {
            assert!(matches!(have, Ok(Some(_))), "opcode {opcode}: {have:?}");
        } else {
            let want = refused(opcode, ProtocolError::AuthRequired, HEADER_LEN, true);
            assert_eq!(have, want, "opcode {opcode}");
        }
    }
    let mut parser = Parser::with_sasl();
    parser.let_in();
    let get = frame(GET, 0, b"", b"k", b"");
    assert!(matches!(parser.parse(&get, &LIMITS), Ok(Some(_))));
    let auth = frame(SASL_AUTH, 0, b"", b"PLAIN", b"\0u\0p");
    let want = Request::SaslAuth { mechanism: b"PLAIN", data: b"\0u\0p" };
    assert_eq!(parser.parse(&auth, &LIMITS).unwrap().unwrap().request, want);
    let unknown = refused(SASL_AUTH, ProtocolError::UnknownCommand, auth.len(), false);
    assert_eq!(parse(&auth), unknown, "without -S");
}

/// A name or a secret of any length is dropped as it arrives.
#[test]
fn sasl_is_bounded() {
    let cases = [(33, 4), (250, 4), (5, 16 * 1024 + 1), (5, 0x4000_0000 - 5)];
    for (key_len, value_len) in cases {
        let body_len = u32::from(key_len) + value_len;
        let mut input = header(SASL_AUTH, 0, key_len, 0, body_len);
        input.extend(vec![b'x'; key_len.into()]);
        let have = Parser::with_sasl().parse(&input, &LIMITS);
        let consumed = HEADER_LEN + body_len as usize;
        assert_eq!(have, refused(SASL_AUTH, ProtocolError::BadFormat, consumed, false));
    }
}

#[test]
fn a_bad_magic_byte_is_hung_up_on() {
    for magic in [0x00, 0x81, b's', 0x16] {
        let mut input = frame(NOOP, 0, b"", b"", b"");
        input[0] = magic;
        let refusal = parse(&input).unwrap_err();
        assert_eq!((refusal.error, refusal.close), (ProtocolError::NotMemcached, true));
        assert_eq!(parse(&input[..1]).unwrap_err().error, ProtocolError::NotMemcached);
    }
}

/// A value that could not be stored is dropped as it comes; the key has to be here, though, as
/// a SET deletes what it could not replace.
#[test]
fn a_value_too_large_is_dropped_unread() {
    let fits = u32::try_from(LIMITS.item_len_max).unwrap() - 59 - 1;
    let extras = |opcode| if matches!(opcode, APPEND | PREPENDQ) { 0 } else { 8 };
    for (opcode, delete) in [
        (SET, Some(&b"k"[..])),
        (SETQ, Some(b"k")),
        (ADD, None),
        (REPLACEQ, None),
        (APPEND, None),
        (PREPENDQ, None),
    ] {
        let extras_len: u8 = extras(opcode);
        let body_len = u32::from(extras_len) + 1 + fits;
        let start = |body_len| {
            let mut start = header(opcode, 1, 1, extras_len, body_len);
            start.extend(vec![0; extras_len.into()]);
            start.push(b'k');
            start
        };
        assert_eq!(parse(&start(body_len)), Ok(None), "opcode {opcode:#x}");

        let input = start(body_len + 1);
        let consumed = 24 + body_len as usize + 1;
        let (error, reply_to) = (ProtocolError::TooLarge, reply_to(opcode));
        let want =
            Refusal { error, reply_to, consumed, close: false, delete: delete.map(MetaKey::plain) };
        assert_eq!(parse(&input), Err(want), "opcode {opcode:#x}");
        assert_eq!(parse(&input[..input.len() - 1]), Ok(None), "opcode {opcode:#x}");
    }
}

const LIMITS: Limits = Limits { item_len_max: 1024 * 1024, compat: Compat::V1_6_18 };
const OPAQUE: u32 = 0xdead_beef;
