//! Tables of lines, each with what memcached 1.6.45 does with it, unless a comment says where
//! and why we differ.

use super::*;
use crate::{Limits, MetaItem, MetaStatus, Parsed, Parser, Protocol};

fn parse(input: &[u8]) -> Result<Option<Parsed<'_>>, Refusal<'_>> {
    Parser::with_protocol(Protocol::Text).parse(input, &Limits::default())
}

/// The request, which takes the whole of `input`, and how to answer it.
fn served(input: &[u8]) -> (Request<'_>, MetaReply) {
    match parse(input) {
        Ok(Some(Parsed { request, reply_to: ReplyTo::Meta(reply), consumed })) => {
            assert_eq!(consumed, input.len(), "case: {}", input.escape_ascii());
            (request, reply)
        }
        other => panic!("case: {}: {other:?}", input.escape_ascii()),
    }
}

/// The error, said out loud even to a quiet client, and the bytes dropped for it.
fn refused(input: &[u8]) -> (ProtocolError, usize) {
    match parse(input) {
        Err(Refusal { error, reply_to, consumed, close: false, delete: None }) => {
            let mut out = Vec::new();
            reply_to.error(error, &mut out);
            assert_eq!(out, format!("{error}\r\n").into_bytes());
            (error, consumed)
        }
        other => panic!("case: {}: {other:?}", input.escape_ascii()),
    }
}

fn key(token: &str) -> MetaKey<'_> {
    MetaKey::plain(token.as_bytes())
}

#[test]
fn gets() {
    let get = MetaGet {
        key: key("k"),
        touch: None,
        vivify: None,
        recache: None,
        new_cas: None,
        unless_cas: None,
        no_bump: false,
    };
    let foo = MetaKey::from_base64(key("Zm9v")).unwrap();
    #[rustfmt::skip]
    let cases: &[(&str, MetaGet<'_>)] = &[
        ("mg k\r\n", get),
        ("mg k\n", get),
        ("  mg  k  \r\n", get),
        ("mg k s v c f l h t k q Oopaque L5 Px\r\n", get),
        ("mg k T30\r\n", MetaGet { touch: Some(30), ..get }),
        ("mg k T-1\r\n", MetaGet { touch: Some(-1), ..get }),
        // An i32, as everywhere in memcached.
        ("mg k T2147483648\r\n", MetaGet { touch: Some(i32::MIN.into()), ..get }),
        ("mg k N30 R60 E7 C9 u\r\n", MetaGet {
            vivify: Some(30), recache: Some(60), new_cas: Some(7), unless_cas: Some(9),
            no_bump: true, ..get
        }),
        ("mg Zm9v b\r\n", MetaGet { key: foo, ..get }),
        ("mg Zm9v\r\n", MetaGet { key: key("Zm9v"), ..get }),
        // Flags of other commands are read and mean nothing.
        ("mg k F5 D3 J4 MZ I x\r\n", get),
    ];
    for (line, want) in cases {
        assert_eq!(served(line.as_bytes()).0, Request::MetaGet(*want), "case: {line:?}");
    }
    assert_eq!(foo.bytes(&mut [0; KEY_LEN_MAX]), b"foo");
}

#[test]
fn stores() {
    let store = MetaStore {
        mode: StoreMode::Set,
        key: key("k"),
        flags: 0,
        exptime: 0,
        value: b"hi",
        cas: None,
        new_cas: None,
        invalidate: false,
        vivify: None,
    };
    let with_cas = MetaStore { cas: Some(9), ..store };
    let mode = |mode| MetaStore { mode, ..store };
    let foo = MetaKey::from_base64(key("Zm9v")).unwrap();
    #[rustfmt::skip]
    let cases: &[(&str, MetaStore<'_>)] = &[
        ("ms k 2\r\nhi\r\n", store),
        ("ms k 2\nhi\r\n", store),
        ("ms k 2 T60 F7 E5 q k c s Ox\r\nhi\r\n",
            MetaStore { exptime: 60, flags: 7, new_cas: Some(5), ..store }),
        ("ms k 2 F4294967295\r\nhi\r\n", MetaStore { flags: u32::MAX, ..store }),
        ("ms k 2 MS\r\nhi\r\n", store),
        ("ms k 2 ME\r\nhi\r\n", mode(StoreMode::Add)),
        ("ms k 2 MA\r\nhi\r\n", mode(StoreMode::Append)),
        ("ms k 2 MP\r\nhi\r\n", mode(StoreMode::Prepend)),
        ("ms k 2 MR\r\nhi\r\n", mode(StoreMode::Replace)),
        ("ms k 2 MRx\r\nhi\r\n", mode(StoreMode::Replace)),
        ("ms k 2 C9\r\nhi\r\n", with_cas),
        ("ms k 2 MR C9\r\nhi\r\n", with_cas),
        ("ms k 2 ME C9\r\nhi\r\n", mode(StoreMode::Add)),
        ("ms k 2 MA C9\r\nhi\r\n", MetaStore { mode: StoreMode::Append, ..with_cas }),
        ("ms k 2 MA C0\r\nhi\r\n", mode(StoreMode::Append)),
        // Never a plain set.
        ("ms k 2 C0\r\nhi\r\n", MetaStore { cas: Some(0), ..store }),
        ("ms k 2 I C9\r\nhi\r\n", MetaStore { invalidate: true, ..with_cas }),
        ("ms k 2 I\r\nhi\r\n", store),
        ("ms k 2 MP N30\r\nhi\r\n", MetaStore { vivify: Some(30), ..mode(StoreMode::Prepend) }),
        ("ms k 2 N30\r\nhi\r\n", store),
        ("ms Zm9v 2 b\r\nhi\r\n", MetaStore { key: foo, ..store }),
        ("ms k 0\r\n\r\n", MetaStore { value: b"", ..store }),
        ("ms k 4\r\n\r\n\0\n\r\n", MetaStore { value: b"\r\n\0\n", ..store }),
    ];
    for (input, want) in cases {
        assert_eq!(served(input.as_bytes()).0, Request::MetaStore(*want), "case: {input:?}");
    }
}

#[test]
fn deletes() {
    let delete = MetaDelete {
        key: key("k"),
        cas: None,
        new_cas: None,
        mark_stale: false,
        touch: None,
        drop_value: false,
    };
    #[rustfmt::skip]
    let cases: &[(&str, MetaDelete<'_>)] = &[
        ("md k\r\n", delete),
        ("md k q k Ox\r\n", delete),
        ("md k C0 E5\r\n", MetaDelete { cas: Some(0), new_cas: Some(5), ..delete }),
        ("md k I T30\r\n", MetaDelete { mark_stale: true, touch: Some(30), ..delete }),
        ("md k T30 x\r\n", MetaDelete { drop_value: true, touch: Some(30), ..delete }),
        ("md k T30\r\n", delete),
    ];
    for (line, want) in cases {
        assert_eq!(served(line.as_bytes()).0, Request::MetaDelete(*want), "case: {line:?}");
    }
}

#[test]
fn arithmetic() {
    let incr = MetaArithmetic {
        direction: Direction::Increment,
        key: key("n"),
        delta: 1,
        initial: None,
        touch: None,
        cas: None,
        new_cas: None,
    };
    let decr = MetaArithmetic { direction: Direction::Decrement, ..incr };
    let initial = |value, exptime| Some(Initial { value, exptime });
    #[rustfmt::skip]
    let cases: &[(&str, MetaArithmetic<'_>)] = &[
        ("ma n\r\n", incr),
        ("ma n MI\r\n", incr),
        ("ma n M+ t c v k q\r\n", incr),
        ("ma n MD\r\n", decr),
        ("ma n M- D18446744073709551615\r\n", MetaArithmetic { delta: u64::MAX, ..decr }),
        ("ma n N0\r\n", MetaArithmetic { initial: initial(0, 0), ..incr }),
        ("ma n J13 N90\r\n", MetaArithmetic { initial: initial(13, 90), ..incr }),
        ("ma n J13\r\n", incr),
        ("ma n T300 C9 E8\r\n",
            MetaArithmetic { touch: Some(300), cas: Some(9), new_cas: Some(8), ..incr }),
        ("ma n C0\r\n", incr),
    ];
    for (line, want) in cases {
        assert_eq!(served(line.as_bytes()).0, Request::MetaArithmetic(*want), "case: {line:?}");
    }
}

#[test]
fn no_operation_and_debug() {
    assert_eq!(served(b"mn\r\n").0, Request::MetaNoop);
    assert_eq!(served(b"mn k v\r\n").0, Request::MetaNoop);
    let me = |key| Request::MetaDebug { key };
    assert_eq!(served(b"me k\r\n").0, me(key("k")));
    assert_eq!(served(b"me k v b\r\n").0, me(key("k")));
    assert_eq!(served(b"me Zm9v b\r\n").0, me(MetaKey::from_base64(key("Zm9v")).unwrap()));
}

/// Refusals that drop the line alone.
#[test]
fn refused_lines() {
    use ProtocolError::*;
    let long = "x".repeat(KEY_LEN_MAX + 1);
    let flags = "b N1 T1 R1 l Oo P L k s t c f v h u q x";
    let [mg, ma, md, me] = ["mg", "ma", "md", "me"].map(|name| format!("{name} {long}\r\n"));
    let encoded = format!("mg {long} b\r\n");
    let ms = format!("ms {long} x\r\n");
    let many = format!("mg Zm9v {flags} F1\r\n");
    let many_wrong = format!("ma k {}\r\n", "o ".repeat(19));
    let opaque = format!("md k O{}\r\n", "x".repeat(32));
    #[rustfmt::skip]
    let cases: &[(&str, ProtocolError)] = &[
        ("mg\r\n", BadFormat), ("md \r\n", BadFormat), ("ma\r\n", BadFormat),
        ("ms\r\n", BadFormat), ("me\r\n", BadFormat), ("ms k\r\n", BadFormat),
        (&mg, BadFormat), (&ma, BadFormat), (&md, BadFormat), (&me, BadFormat), (&ms, BadFormat),
        (&encoded, BadFormat),
        ("ms k x\r\n", BadFormat), ("ms k S2\r\n", BadFormat), ("ms k -1 q\r\n", BadFormat),
        ("ms k 2147483646\r\n", BadFormat), ("ms k 4294967298\r\n", BadFormat),
        ("mz k\r\n", UnknownCommand),
        ("m k\r\n", UnknownCommand),
        ("mg k v v\r\n", DuplicateMetaFlag), ("md k q q\r\n", DuplicateMetaFlag),
        ("mg k \x7f\r\n", DuplicateMetaFlag), ("mg k \u{e9}\r\n", DuplicateMetaFlag),
        ("mg foo m o o o o o o o o o\r\n", BadMetaFlag),
        ("mg k S\r\n", BadMetaFlag), ("md k 0\r\n", BadMetaFlag), ("mg k b64\r\n", BadBase64),
        ("mg k T\r\n", BadMetaToken), ("mg k Tx\r\n", BadMetaToken), ("mg k N\r\n", BadMetaToken),
        ("mg k R1.5\r\n", BadMetaToken), ("md k C\r\n", BadMetaToken),
        ("md k C-1\r\n", BadMetaToken), ("mg k E18446744073709551616\r\n", BadMetaToken),
        ("mg k Fx\r\n", BadFormat), ("mg k F4294967296\r\n", BadFormat),
        ("mg k D-1\r\n", BadMetaDelta), ("mg k J\r\n", BadMetaInitial),
        ("mg Zm9 b\r\n", BadBase64), ("mg ==== b\r\n", BadBase64), ("md ! b\r\n", BadBase64),
        // Of several, the last is named, but not if it is F's; an unknown flag goes first.
        ("mg k Tx Jx\r\n", BadMetaInitial), ("mg k Jx Tx\r\n", BadMetaToken),
        ("mg k Jx Fx\r\n", BadMetaInitial), ("mg k Fx Jx\r\n", BadMetaInitial),
        ("mg k Tx m\r\n", BadMetaFlag), ("mg k Tx v v\r\n", DuplicateMetaFlag),
        ("ma k v v\r\n", BadMetaArithmeticFlag), ("ma k Dx\r\n", BadMetaArithmeticFlag),
        ("ma k o q\r\n", BadMetaArithmeticFlag), ("ma k b\r\n", BadMetaArithmeticFlag),
        ("ma k MZ q\r\n", BadMetaArithmeticMode), ("ma k M\r\n", BadMetaArithmeticMode),
        ("me Zm9 b\r\n", BadFormat),
        (&many, TooManyMetaFlags), (&many_wrong, TooManyMetaFlags), (&opaque, OpaqueTooLong),
    ];
    for (line, error) in cases {
        let stream = format!("{line}version\r\n");
        assert_eq!(refused(stream.as_bytes()), (*error, line.len()), "case: {line:?}");
    }
    // One word fewer is served, and so is the longest opaque.
    served(format!("mg Zm9v {flags}\r\n").as_bytes());
    served(format!("md k O{}\r\n", "x".repeat(31)).as_bytes());
    served(format!("mg {}\r\n", "x".repeat(KEY_LEN_MAX)).as_bytes());
}

/// Once the length of the block is known, the block is dropped too, whatever else is wrong, and
/// before any of it has arrived.
#[test]
fn a_refused_store_drops_its_block() {
    use ProtocolError::*;
    let long = "x".repeat(KEY_LEN_MAX + 1);
    #[rustfmt::skip]
    let cases = [
        ("ms k 2 MZ".into(), BadMetaStoreMode),
        ("ms k 2 M q".into(), BadMetaStoreMode),
        ("ms k 2 v v".into(), DuplicateMetaFlag),
        ("ms k 2 o".into(), BadMetaFlag),
        ("ms k 2 Tx q".into(), BadMetaToken),
        ("ms k 2 F4294967301".into(), BadFormat),
        ("ms k 2 b".into(), BadBase64),
        (format!("ms k 2 {}", "o ".repeat(18)), TooManyMetaFlags),
        (format!("ms k 2 O{}", "x".repeat(32)), OpaqueTooLong),
        (format!("ms {long} 2"), BadFormat),
    ];
    for (line, error) in cases {
        let line = format!("{line}\r\n");
        for stream in [line.clone(), format!("{line}hi\r\nversion\r\n")] {
            assert_eq!(refused(stream.as_bytes()), (error, line.len() + 4), "case: {stream:?}");
        }
    }
}

/// Exactly the length and 2 bytes are dropped, and a quiet client is told.
#[test]
fn a_bad_data_chunk_ends_where_its_length_says() {
    let stream = b"ms k 5 q\r\nhelloxxversion\r\n";
    assert_eq!(refused(stream), (ProtocolError::BadDataChunk, 17));
    for cut in 0..17 {
        assert_eq!(parse(&stream[..cut]), Ok(None), "cut at {cut}");
    }
}

/// Unlike `set`, in every mode; the key to delete may be base64.
#[test]
fn a_value_too_large_deletes_the_old_one() {
    for flags in ["", " q", " ME", " MA", " C5", " b"] {
        let line = format!("ms Zm9v 1048576{flags}\r\n");
        let refusal = parse(line.as_bytes()).unwrap_err();
        assert_eq!(refusal.error, ProtocolError::TooLarge);
        assert_eq!(refusal.consumed, line.len() + 1_048_578);
        let want: &[u8] = if flags == " b" { b"foo" } else { b"Zm9v" };
        assert_eq!(refusal.delete.unwrap().bytes(&mut [0; KEY_LEN_MAX]), want);
        let mut out = Vec::new();
        refusal.reply_to.error(refusal.error, &mut out);
        assert_eq!(out, b"SERVER_ERROR object too large for cache\r\n", "case: {flags}");
    }
    // The key counts as it is stored, not as it is sent.
    let fits = 1024 * 1024 - 59 - 3;
    let [plain, encoded] = ["", " b"].map(|b| format!("ms Zm9v {fits}{b}\r\n"));
    assert!(parse(plain.as_bytes()).is_err());
    assert_eq!(parse(encoded.as_bytes()), Ok(None));
}

/// Request and reply, byte for byte: from memcached's `t/metaget.t` and `doc/protocol.txt`.
#[test]
fn exchanges() {
    use MetaStatus::*;
    let item = ITEM;
    let won = MetaItem { won: true, ..item };
    let stale = MetaItem { stale: true, won: true, ..item };
    let lost = MetaItem { stale: true, token_sent: true, ..item };
    let immortal = MetaItem { ttl_s: None, fetched: false, ..item };
    let coded = MetaItem { key_is_base64: true, ..item };
    let split = MetaItem { key: b"a\r\nEN b", ..item };
    #[rustfmt::skip]
    let with_item: &[(&str, MetaStatus, &MetaItem<'_>, &str)] = &[
        ("mg foo s v\r\n", Va, &item, "VA 2 s2\r\n"),
        ("mg foo\r\n", Hd, &item, "HD\r\n"),
        ("mg foo t s c f l h k\r\n", Hd, &item, "HD t90 s2 c9 f7 l5 h1 kfoo\r\n"),
        ("mg foo k v Oabc t c q\r\n", Va, &item, "VA 2 kfoo Oabc t90 c9\r\n"),
        ("mg foo O t h\r\n", Hd, &immortal, "HD O t-1 h0\r\n"),
        ("mg foo s c v N30 t\r\n", Va, &won, "VA 2 s2 c9 t90 W\r\n"),
        ("mg foo q\r\n", Hd, &stale, "HD X W\r\n"),
        ("mg foo v\r\n", Va, &lost, "VA 2 Z X\r\n"),
        // The item says whether its key is shown in base64, not the request.
        ("mg foo k\r\n", Hd, &coded, "HD kZm9v b\r\n"),
        ("mg Zm9v b k\r\n", Hd, &item, "HD kfoo\r\n"),
        // A key that no line can hold does not forge one.
        ("mg YQ0KRU4gYg== b k\r\n", Hd, &split, "HD kYQ0KRU4gYg== b\r\n"),
        ("ms foo 2 c k O1 s t f\r\nhi\r\n", Hd, &item, "HD c9 kfoo O1 s2\r\n"),
        ("ms Zm9v 2 b k\r\nhi\r\n", Hd, &item, "HD kZm9v b\r\n"),
        ("ms foo 2 q c\r\nhi\r\n", Hd, &item, ""),
        ("ms foo 2\r\nhi\r\n", Hd, &lost, "HD\r\n"),
        ("md foo k O1 c\r\n", Hd, &item, "HD kfoo O1\r\n"),
        ("ma foo t c k N0 s\r\n", Hd, &item, "HD t90 c9 kfoo\r\n"),
        ("ma foo q\r\n", Hd, &item, ""),
    ];
    for (request, status, item, want) in with_item {
        let mut out = Vec::new();
        served(request.as_bytes()).1.item(*status, item.size, item, &mut out);
        assert_eq!(out.escape_ascii().to_string(), want.escape_default().to_string(), "{request}");
    }
}

/// As above, where there is no item to show.
#[test]
fn exchanges_without_an_item() {
    use MetaStatus::*;
    #[rustfmt::skip]
    let without: &[(&str, MetaStatus, &str)] = &[
        ("mg foo s v\r\n", En, "EN\r\n"),
        ("mg foo k Oabc t\r\n", En, "EN kfoo Oabc\r\n"),
        ("mg Zm9v Oabc b k\r\n", En, "EN Oabc kZm9v b\r\n"),
        ("mg foo q k\r\n", En, ""),
        ("md foo\r\n", Nf, "NF\r\n"),
        ("md foo q\r\n", Hd, ""),
        ("md foo q k\r\n", Nf, "NF kfoo\r\n"),
        ("md foo C5 q\r\n", Ex, "EX\r\n"),
        ("ms foo 2 q ME\r\nhi\r\n", Ns, "NS\r\n"),
        ("ms foo 2 MA k\r\nhi\r\n", Ns, "NS kfoo\r\n"),
        // In full, of what was not stored.
        ("ms foo 2 c C5\r\nhi\r\n", Ex, "EX c0\r\n"),
        ("ms foo 2 s O1 C5\r\nhi\r\n", Nf, "NF s2 O1\r\n"),
        ("ma foo q t c Oo k\r\n", Nf, "NF Oo kfoo\r\n"),
        ("ma foo C5 v\r\n", Ex, "EX\r\n"),
        ("me foo\r\n", En, "EN\r\n"),
    ];
    for (request, status, want) in without {
        let mut out = Vec::new();
        served(request.as_bytes()).1.status(*status, b"foo", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), *want, "{request}");
    }
}

/// As above, where the reply is more than a status.
#[test]
fn exchanges_of_numbers_and_details() {
    for (request, want) in [
        ("ma foo\r\n", "HD\r\n"),
        ("ma foo v\r\n", "VA 2\r\n44\r\n"),
        ("ma foo v t c\r\n", "VA 2 t90 c9\r\n44\r\n"),
        ("ma foo v q\r\n", ""),
    ] {
        let mut out = Vec::new();
        served(request.as_bytes()).1.number(44, &ITEM, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), want, "{request}");
    }

    let mut out = Vec::new();
    let me = served(b"me foo\r\n").1;
    me.debug_item(&ITEM, 1, 68, &mut out);
    let coded = MetaItem { key_is_base64: true, fetched: false, ttl_s: None, ..ITEM };
    me.debug_item(&coded, 0, 70, &mut out);
    let want = "ME foo exp=90 la=5 cas=9 fetch=yes cls=1 size=68\r\n\
                ME Zm9v exp=-1 la=5 cas=9 fetch=no cls=0 size=70\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), want);
}

/// `t` before `T` shows what was left before it, `T` before `t` what is left now.
#[test]
fn the_order_of_ttl_and_touch_counts() {
    for (flags, before) in [
        ("t", false),
        ("T9", false),
        ("t T9", true),
        ("T9 t", false),
        ("t v N9", true),
        ("N9 t", false),
        // N does nothing to an item that is there.
        ("T9 t N9", false),
        ("N9 t T9", true),
    ] {
        let line = format!("mg k {flags}\r\n");
        assert_eq!(served(line.as_bytes()).1.wants_ttl_before(), before, "case: {flags}");
    }
}

#[test]
fn replies_know_what_is_wanted() {
    let wants = |line: &str| {
        let reply = served(line.as_bytes()).1;
        (reply.wants_value(), reply.wants_key(), reply.is_quiet())
    };
    assert_eq!(wants("mg k\r\n"), (false, false, false));
    assert_eq!(wants("mg k v\r\n"), (true, false, false));
    assert_eq!(wants("mg k s t c f l h O k\r\n"), (false, true, false));
    assert_eq!(wants("md k q\r\n"), (false, false, true));
}

/// A reply waits in a queue for its turn, so its size is that of every one that waits.
#[test]
fn a_reply_is_small() {
    assert!(size_of::<MetaReply>() <= 48 && size_of::<ReplyTo>() <= 48);
}

const ITEM: MetaItem<'_> = MetaItem {
    key: b"foo",
    key_is_base64: false,
    flags: 7,
    cas: 9,
    size: 2,
    ttl_s: Some(90),
    idle_s: 5,
    fetched: true,
    won: false,
    stale: false,
    token_sent: false,
};
