//! Tables of lines, each with what stock memcached 1.6.18 does with it, unless a comment says
//! where and why we differ.

use super::*;
use crate::{
    DumpClasses, DumpForm, Parsed, Parser, Protocol, StatsDetail, StatsTopic, WatchTopics,
};

type Want<'a> = Result<Option<Parsed<'a>>, Refusal<'a>>;

fn parse(input: &[u8]) -> Want<'_> {
    Parser::with_protocol(Protocol::Text).parse(input, &LIMITS)
}

/// Served, with everything consumed.
fn served<'a>(input: &[u8], request: Request<'a>, noreply: bool) -> Want<'a> {
    let reply_to = ReplyTo::Text(TextReply { noreply, with_cas: false });
    Ok(Some(Parsed { request, reply_to, consumed: input.len() }))
}

/// Refused out loud, dropping `consumed` bytes, with the stream going on.
fn refused<'a>(error: ProtocolError, consumed: usize) -> Want<'a> {
    Err(Refusal { error, reply_to: ReplyTo::Text(REPLY), consumed, close: false, delete: None })
}

fn hung_up<'a>(consumed: usize) -> Want<'a> {
    let reply_to = ReplyTo::Text(NOREPLY);
    let error = ProtocolError::NotMemcached;
    Err(Refusal { error, reply_to, consumed, close: true, delete: None })
}

fn set<'a>(key: &'a [u8], flags: u32, exptime: i64, value: &'a [u8]) -> Request<'a> {
    Request::Store { mode: StoreMode::Set, key, flags, exptime, value, cas: None }
}

fn delete(key: &[u8]) -> Request<'_> {
    Request::Delete { key, cas: None }
}

fn incr(key: &[u8], delta: u64) -> Request<'_> {
    let direction = Direction::Increment;
    Request::Arithmetic { direction, key, delta, initial: None, cas: None }
}

#[test]
fn stores() {
    let store =
        |mode, cas| Request::Store { mode, key: b"k", flags: 7, exptime: 60, value: b"hi", cas };
    let cases: &[(&[u8], Request<'_>, bool)] = &[
        (b"set k 7 60 2\r\nhi\r\n", store(StoreMode::Set, None), false),
        (b"add k 7 60 2\r\nhi\r\n", store(StoreMode::Add, None), false),
        (b"replace k 7 60 2\r\nhi\r\n", store(StoreMode::Replace, None), false),
        (b"append k 7 60 2\r\nhi\r\n", store(StoreMode::Append, None), false),
        (b"prepend k 7 60 2\r\nhi\r\n", store(StoreMode::Prepend, None), false),
        (b"cas k 7 60 2 9\r\nhi\r\n", store(StoreMode::Set, Some(9)), false),
        // A cas unique of 0 never matches; it is not the absence of one.
        (b"cas k 7 60 2 0\r\nhi\r\n", store(StoreMode::Set, Some(0)), false),
        (b"cas k 7 60 2 9 noreply\r\nhi\r\n", store(StoreMode::Set, Some(9)), true),
        (b"set k 7 60 2 noreply\r\nhi\r\n", store(StoreMode::Set, None), true),
        // Any other word in its place is ignored, and it is lower case or nothing.
        (b"set k 7 60 2 NOREPLY\r\nhi\r\n", store(StoreMode::Set, None), false),
        // Only command lines may end in a bare line feed.
        (b"set k 7 60 2\nhi\r\n", store(StoreMode::Set, None), false),
        (b"  set  k  7  60  2  \r\nhi\r\n", store(StoreMode::Set, None), false),
        (b"set k 4294967303 60 2\r\nhi\r\n", store(StoreMode::Set, None), false),
        (b"set k 7 4294967356 2\r\nhi\r\n", store(StoreMode::Set, None), false),
        (b"set k 0 -1 0\r\n\r\n", set(b"k", 0, -1, b""), false),
        (b"set k 0 2147483648 0\r\n\r\n", set(b"k", 0, i32::MIN.into(), b""), false),
        (b"set k 0 0 4\r\n\r\n\0\n\r\n", set(b"k", 0, 0, b"\r\n\0\n"), false),
        (b"set k\t\r\xff 0 0 0\r\n\r\n", set(b"k\t\r\xff", 0, 0, b""), false),
        // memcached ends the line at the NUL and would store under "k".
        (b"set k\0x 0 0 0\r\n\r\n", set(b"k\0x", 0, 0, b""), false),
        (b"set noreply 0 0 0\r\n\r\n", set(b"noreply", 0, 0, b""), false),
    ];
    for (input, request, noreply) in cases {
        let want = served(input, request.clone(), *noreply);
        assert_eq!(parse(input), want, "case: {}", input.escape_ascii());
    }
}

#[test]
fn other_commands() {
    let decr = Request::Arithmetic {
        direction: Direction::Decrement,
        key: b"k",
        delta: u64::MAX,
        initial: None,
        cas: None,
    };
    let touch = |exptime| Request::Touch { key: b"k", exptime };
    let flush = |exptime| Request::FlushAll { exptime };
    #[rustfmt::skip]
    let both = WatchTopics::MUTATIONS.with(WatchTopics::EVICTIONS);
    let cases: &[(&[u8], Request<'_>, bool)] = &[
        (b"incr k 5\r\n", incr(b"k", 5), false),
        (b"incr k +5 noreply\r\n", incr(b"k", 5), true),
        (b"incr k 5 whatever\r\n", incr(b"k", 5), false),
        (b"decr k 18446744073709551615\r\n", decr, false),
        (b"touch k 10\r\n", touch(10), false),
        (b"touch k -1 noreply\r\n", touch(-1), true),
        (b"delete k\r\n", delete(b"k"), false),
        (b"delete k 0\r\n", delete(b"k"), false),
        (b"delete k noreply\r\n", delete(b"k"), true),
        (b"delete k 0 noreply\r\n", delete(b"k"), true),
        // The only word is the key; 1.6.45 is silent here.
        (b"delete noreply\r\n", delete(b"noreply"), false),
        (b"delete k\n", delete(b"k"), false),
        (b" delete k \r\n", delete(b"k"), false),
        (b"flush_all\r\n", flush(0), false),
        (b"flush_all noreply\r\n", flush(0), true),
        (b"flush_all 10\r\n", flush(10), false),
        (b"flush_all -10\r\n", flush(-10), false),
        (b"flush_all 10 noreply\r\n", flush(10), true),
        (b"flush_all 0 0\r\n", flush(0), false),
        (b"version\r\n", Request::Version, false),
        (b"version foo noreply\r\n", Request::Version, false),
        (b"slabs automove 1\r\n", Request::Accepted, false),
        (b"slabs automove 2 noreply\r\n", Request::Accepted, true),
        (b"slabs automove ratio 0.8\r\n", Request::Accepted, false),
        (b"slabs reassign 1 -4\r\n", Request::Accepted, false),
        (b"lru mode flat\r\n", Request::Accepted, false),
        (b"lru temp_ttl -1\r\n", Request::Accepted, false),
        (b"lru tune 10 25 0.1 2.0\r\n", Request::Accepted, false),
        (b"lru_crawler enable\r\n", Request::Accepted, false),
        (b"lru_crawler disable\r\n", Request::Accepted, false),
        (b"lru_crawler crawl 1,2,63\r\n", Request::Accepted, false),
        (b"lru_crawler sleep 1000000\r\n", Request::Accepted, false),
        (b"lru_crawler tocrawl 0\r\n", Request::Accepted, false),
        (b"lru_crawler metadump all\r\n", dump(DumpForm::Metadump, DumpClasses::All), false),
        (b"lru_crawler metadump hash\r\n", dump(DumpForm::Metadump, DumpClasses::All), false),
        (b"lru_crawler metadump 5\r\n", dump(DumpForm::Metadump, DumpClasses::Empty), false),
        (b"lru_crawler mgdump 2,1\r\n", dump(DumpForm::Mgdump, DumpClasses::All), false),
        (b"cache_memlimit 8\r\n", Request::CacheMemlimit { megabytes: 8 }, false),
        (b"cache_memlimit 64 noreply\r\n", Request::CacheMemlimit { megabytes: 64 }, true),
        (b"refresh_certs\r\n", Request::RefreshCerts, false),
        (b"shutdown\r\n", Request::Shutdown { graceful: Some(false) }, false),
        (b"shutdown graceful\r\n", Request::Shutdown { graceful: Some(true) }, false),
        (b"shutdown foo\r\n", Request::Shutdown { graceful: None }, false),
        (b"shutdown graceful 1\r\n", Request::Shutdown { graceful: None }, false),
        (b"watch\r\n", Request::Watch { topics: Some(WatchTopics::FETCHERS) }, false),
        (b"watch mutations evictions\r\n", Request::Watch { topics: Some(both) }, false),
        (b"watch sysevents\r\n", Request::Watch { topics: Some(WatchTopics::NONE) }, false),
        (b"watch mutations foo\r\n", Request::Watch { topics: None }, false),
        (b"verbosity 1\r\n", Request::Verbosity { level: 1 }, false),
        (b"verbosity 1 noreply\r\n", Request::Verbosity { level: 1 }, true),
        (b"verbosity 1 2\r\n", Request::Verbosity { level: 1 }, false),
        (b"quit\r\n", Request::Quit, true),
        (b"quit foo\r\n", Request::Quit, true),
    ];
    for (input, request, noreply) in cases {
        let want = served(input, request.clone(), *noreply);
        assert_eq!(parse(input), want, "case: {}", input.escape_ascii());
    }
}

#[test]
fn the_newest_is_answered_as_it_answers() {
    let limits = Limits { compat: Compat::V1_6_45, ..LIMITS };
    let parse = |input| Parser::with_protocol(Protocol::Text).parse(input, &limits);
    let cases: &[(&[u8], ProtocolError, usize)] = &[
        (b"\r\nversion\r\n", ProtocolError::BadFormat, 2),
        (b" \r\nversion\r\n", ProtocolError::BadFormat, 3),
        (b"\nversion\r\n", ProtocolError::BadFormat, 1),
        (b"cas k 0 0 6 \r\nfoobar\r\nversion\r\n", ProtocolError::BadFormat, 22),
        (b"cas k 0 0 -1\r\nversion\r\n", ProtocolError::BadFormat, 14),
    ];
    for (input, error, consumed) in cases {
        assert_eq!(parse(input), refused(*error, *consumed), "case: {}", input.escape_ascii());
    }
}

fn dump(form: DumpForm, classes: DumpClasses) -> Request<'static> {
    Request::Dump { form, classes }
}

#[test]
fn stats() {
    use StatsTopic::*;
    let cases: &[(&[u8], StatsTopic<'_>)] = &[
        (b"stats\r\n", General),
        (b"stats cachedump 3 100\r\n", CacheDump { class: 3, limit: 100 }),
        (b"stats cachedump 63 0 x\r\n", CacheDump { class: 63, limit: 0 }),
        (b"stats conns\r\n", Conns),
        (b"stats detail dump\r\n", Detail(StatsDetail::Dump)),
        (b"stats detail off\r\n", Detail(StatsDetail::Off)),
        (b"stats detail on x\r\n", Detail(StatsDetail::On)),
        (b"stats items\r\n", Items),
        (b"stats reset\r\n", Reset),
        (b"stats settings x\r\n", Settings),
        (b"stats sizes\r\n", Sizes),
        (b"stats slabs\r\n", Slabs),
        (b"stats cluster\r\n", Other(b"cluster")),
        (b"stats noreply\r\n", Other(b"noreply")),
    ];
    for (input, topic) in cases {
        let want = served(input, Request::Stats { topic: *topic }, false);
        assert_eq!(parse(input), want, "case: {}", input.escape_ascii());
    }
}

#[test]
fn gets() {
    type Case<'a> = (&'a [u8], &'a [&'a [u8]], bool);
    let longest: &[u8] = &[b'x'; 250];
    let line = [b"get ", longest, b"\r\n"].concat();
    let cases: &[Case<'_>] = &[
        (b"get k\r\n", &[b"k"], false),
        (b"get a b a\r\n", &[b"a", b"b", b"a"], false),
        (b"gets  a   b \r\n", &[b"a", b"b"], true),
        (b"bget a\n", &[b"a"], false),
        (b"get a\tb\r\r\n", &[b"a\tb\r"], false),
        (&line, &[longest], false),
    ];
    for (input, keys, with_cas) in cases {
        let Ok(Some(Parsed { request: Request::Get { keys: got }, reply_to, consumed })) =
            parse(input)
        else {
            panic!("case: {}", input.escape_ascii());
        };
        assert_eq!(got.collect::<Vec<_>>(), *keys, "case: {}", input.escape_ascii());
        let want = TextReply { noreply: false, with_cas: *with_cas };
        assert_eq!((reply_to, consumed), (ReplyTo::Text(want), input.len()));
    }
}

#[test]
fn gets_that_touch() {
    type Case<'a> = (&'a [u8], i64, &'a [&'a [u8]], bool);
    let cases: &[Case<'_>] = &[
        (b"gat 10 a b\r\n", 10, &[b"a", b"b"], false),
        (b"gats -1 a\r\n", -1, &[b"a"], true),
        // Served, by an END alone.
        (b"gat 10\r\n", 10, &[], false),
    ];
    for (input, want_exptime, want_keys, with_cas) in cases {
        let Ok(Some(parsed)) = parse(input) else {
            panic!("case: {}", input.escape_ascii());
        };
        let Request::GetAndTouch { exptime, keys } = parsed.request else {
            panic!("case: {}", input.escape_ascii());
        };
        assert_eq!(keys.collect::<Vec<_>>(), *want_keys, "case: {}", input.escape_ascii());
        assert_eq!(exptime, *want_exptime);
        let want = TextReply { noreply: false, with_cas: *with_cas };
        assert_eq!((parsed.reply_to, parsed.consumed), (ReplyTo::Text(want), input.len()));
    }
}

/// Refusals of the line alone: the next line is a command, whatever the client meant it to be.
#[test]
fn refused_lines() {
    use ProtocolError::*;
    let cases: &[(&[u8], ProtocolError)] = &[
        (b"\r\n", UnknownCommand),
        (b"\n", UnknownCommand),
        (b" \r\n", UnknownCommand),
        (b"x\r\n", UnknownCommand),
        (b"get\r\n", UnknownCommand),
        (b"get \r\n", UnknownCommand),
        (b"get\ta\r\n", UnknownCommand),
        (b"GET a\r\n", UnknownCommand),
        (b"gets\r\n", UnknownCommand),
        (b"gat\r\n", UnknownCommand),
        (b"gat x a\r\n", BadExptime),
        (b"getq a\r\n", UnknownCommand),
        (b"set k 0 0\r\n", UnknownCommand),
        (b"set k 0 0 1 2 3\r\n", UnknownCommand),
        (b"cas k 0 0 6 \r\n", UnknownCommand),
        (b"cas k 0 0 6 1 noreply x\r\n", UnknownCommand),
        (b"cas k 0 0 6 x\r\n", BadFormat),
        (b"cas k 0 0 6 -1\r\n", BadFormat),
        (b"set k x 0 2\r\n", BadFormat),
        (b"set k -1 0 2\r\n", BadFormat),
        (b"set k 0 x 2\r\n", BadFormat),
        (b"set k 0 0 x\r\n", BadFormat),
        (b"set k 0 0 -1\r\n", BadFormat),
        (b"set k 0 0 2147483646\r\n", BadFormat),
        (b"set k 0 0 2147483647\r\n", BadFormat),
        (b"set k 0 0 4294967295\r\n", BadFormat),
        // memcached would take this for a length of 5.
        (b"set k 0 0 4294967301\r\n", BadFormat),
        (b"set k 0 0 9223372036854775808\r\n", BadFormat),
        (b"incr k\r\n", UnknownCommand),
        (b"incr k 1 2 3\r\n", UnknownCommand),
        (b"incr k x\r\n", BadDelta),
        (b"incr k -1\r\n", BadDelta),
        (b"decr k 18446744073709551616\r\n", BadDelta),
        (b"touch k\r\n", UnknownCommand),
        (b"touch k x\r\n", BadExptime),
        (b"touch k 1 2 3\r\n", UnknownCommand),
        (b"delete\r\n", UnknownCommand),
        (b"delete k 10\r\n", BadDelete),
        (b"delete k x noreplyx\r\n", BadDelete),
        (b"delete k 0 0\r\n", BadDelete),
        (b"delete a b c d e\r\n", UnknownCommand),
        (b"flush_all x\r\n", BadExptime),
        (b"flush_all 1 2 3\r\n", UnknownCommand),
        (b"mx k v\r\n", UnknownCommand),
        (b"start HTTP/1.0\r\n", UnknownCommand),
    ];
    check_refused(cases);
}

#[test]
fn refused_lines_about_the_server() {
    use ProtocolError::*;
    let cases: &[(&[u8], ProtocolError)] = &[
        (b"slabs\r\n", UnknownCommand),
        (b"slabs automove invalid\r\n", BadFormat),
        (b"slabs automove 3\r\n", UnknownCommand),
        (b"slabs reassign 1 x\r\n", BadFormat),
        (b"slabs reassign 1\r\n", UnknownCommand),
        (b"lru\r\n", UnknownCommand),
        (b"lru mode\r\n", UnknownCommand),
        (b"lru temp_ttl\r\n", UnknownCommand),
        (b"lru mode round\r\n", UnknownCommand),
        (b"lru tune 10 25 0.1 x\r\n", UnknownCommand),
        (b"lru tune 10 25 0.1 NaN\r\n", UnknownCommand),
        (b"lru tune 50 31 0.1 2.0\r\n", BadLruShares),
        (b"lru tune 4294967295 1 0.1 2.0\r\n", BadLruShares),
        (b"lru tune 10 25 0 2.0\r\n", BadLruAges),
        (b"lru_crawler\r\n", UnknownCommand),
        (b"lru_crawler crawl 0\r\n", CrawlerClass),
        (b"lru_crawler crawl x\r\n", CrawlerClass),
        (b"lru_crawler metadump 64\r\n", CrawlerClass),
        (b"lru_crawler metadump 1,\r\n", CrawlerClass),
        (b"lru_crawler metadump\r\n", UnknownCommand),
        (b"lru_crawler sleep 1000001\r\n", BadCrawlerSleep),
        (b"lru_crawler sleep x\r\n", BadFormat),
        (b"lru_crawler tocrawl x\r\n", BadFormat),
        (b"cache_memlimit\r\n", UnknownCommand),
        (b"cache_memlimit x\r\n", UnknownCommand),
        (b"cache_memlimit 7\r\n", MemlimitTooSmall),
        (b"cache_memlimit 1000000001\r\n", MemlimitNotMegabytes),
        (b"verbosity\r\n", UnknownCommand),
        (b"verbosity x\r\n", BadFormat),
        (b"verbosity foo bar my\r\n", UnknownCommand),
        (b"stats detail\r\n", BadStatsDetail),
        (b"stats detail foo\r\n", BadStatsDetail),
        (b"stats cachedump\r\n", BadCommandLine),
        (b"stats cachedump 1\r\n", BadCommandLine),
        (b"stats cachedump 1 x\r\n", BadFormat),
        (b"stats cachedump 64 1\r\n", BadSlabClass),
    ];
    check_refused(cases);
}

fn check_refused(cases: &[(&[u8], ProtocolError)]) {
    for (input, error) in cases {
        let stream = [input, &b"version\r\n"[..]].concat();
        let want = refused(*error, input.len());
        assert_eq!(parse(&stream), want, "case: {}", input.escape_ascii());
    }
}

#[test]
fn a_key_too_long_is_refused_everywhere() {
    let key = "x".repeat(KEY_LEN_MAX + 1);
    #[rustfmt::skip]
    let cases = [
        format!("get {key}\r\n"), format!("gets a {key} b\r\n"), format!("gat 0 a {key}\r\n"),
        format!("set {key} 0 0 1\r\n"), format!("cas {key} 0 0 1 1\r\n"),
        format!("incr {key} 1\r\n"), format!("delete {key}\r\n"), format!("touch {key} 1\r\n"),
    ];
    for input in &cases {
        let want = refused(ProtocolError::BadFormat, input.len());
        assert_eq!(parse(input.as_bytes()), want, "case: {input}");
    }
}

/// Once the line has been split, `noreply` silences its errors too.
#[test]
fn noreply_silences_errors() {
    use ProtocolError::*;
    let cases: &[(&[u8], ProtocolError)] = &[
        (b"set k x 0 2 noreply\r\n", BadFormat),
        (b"set k 0 0 noreply\r\n", BadFormat),
        (b"set k 0 0 2 noreply\r\nhixx", BadDataChunk),
        (b"incr k x noreply\r\n", BadDelta),
        (b"touch k x noreply\r\n", BadExptime),
        (b"delete k 10 noreply\r\n", BadDelete),
        (b"flush_all x noreply\r\n", BadExptime),
        (b"verbosity noreply\r\n", BadFormat),
    ];
    for (input, error) in cases {
        let refusal = parse(input).unwrap_err();
        assert_eq!(refusal.error, *error, "case: {}", input.escape_ascii());
        assert_eq!(refusal.reply_to, ReplyTo::Text(NOREPLY), "case: {}", input.escape_ascii());
        assert_eq!(refusal.consumed, input.len(), "case: {}", input.escape_ascii());
    }
}

/// Exactly `<bytes>` + 2 bytes are dropped, and not one is judged before they have all arrived.
#[test]
fn a_bad_data_chunk_ends_where_its_length_says() {
    let line = "set k 0 0 5\r\n";
    for block in ["hello!\r", "hello\r\r", "hello\nx", "helloxx", "\r\nget\r "] {
        let stream = format!("{line}{block}rest");
        let want = refused(ProtocolError::BadDataChunk, line.len() + 7);
        assert_eq!(parse(stream.as_bytes()), want, "case: {block:?}");
        for cut in 0..line.len() + 7 {
            assert_eq!(parse(&stream.as_bytes()[..cut]), Ok(None), "case: {block:?} at {cut}");
        }
    }
}

/// A value that could not be stored is dropped as it comes, however little of it is here.
#[test]
fn a_value_too_large_is_dropped_unread() {
    let fits = LIMITS.item_len_max - 59 - 1;
    let too_large = |line: String, len: u64, delete, reply| {
        let consumed = line.len() + usize::try_from(len).unwrap() + 2;
        let error = ProtocolError::TooLarge;
        let reply_to = ReplyTo::Text(reply);
        let refusal = Refusal { error, reply_to, consumed, close: false, delete };
        assert_eq!(parse(line.as_bytes()), Err(refusal), "case: {line:?}");
        assert_eq!(parse(format!("{line}hello").as_bytes()), Err(refusal), "case: {line:?}");
    };
    let k = Some(MetaKey::plain(b"k"));
    let len = fits + 1;
    assert_eq!(parse(format!("set k 0 0 {fits}\r\n").as_bytes()), Ok(None));
    too_large(format!("set k 0 0 {len}\r\n"), len, k, REPLY);
    too_large(format!("set k 0 0 {len} noreply\r\n"), len, k, NOREPLY);
    // Flags take 4 bytes, but 0 takes none.
    too_large(format!("set k 1 0 {fits}\r\n"), fits, k, REPLY);
    // Only a `set` may not leave the old value behind.
    too_large(format!("add k 0 0 {len}\r\n"), len, None, REPLY);
    too_large(format!("append k 0 0 {len}\r\n"), len, None, REPLY);
    too_large(format!("cas k 0 0 {len} 1\r\n"), len, None, REPLY);
    too_large("set k 0 0 2147483645\r\n".into(), 2_147_483_645, k, REPLY);
}

#[test]
fn browsers_are_hung_up_on() {
    for input in [
        &b"GET / HTTP/1.0\r\n"[..],
        b"PUT /asdf/asd/fasdfasdf/sadf HTTP/1.1\r\n",
        b"DELETE HTTP/1.1\r\n",
        b"post / HTTP/1.1\n",
    ] {
        assert_eq!(parse(input), hung_up(input.len()), "case: {}", input.escape_ascii());
    }
}

/// Method: a line of `len` bytes with its end still to come, and what becomes of it.
#[test]
fn long_lines() {
    let start = |start: &str, len: usize| format!("{start}{}", "x ".repeat(len)[..len].to_owned());
    let long = LINE_LEN_MAX + 1;
    for (name, line, waits) in [
        ("longest line", start("", LINE_LEN_MAX), true),
        ("too long", start("", long), false),
        ("set too long", start("set ", long), false),
        ("get", start("get ", long), true),
        ("gets after spaces", start(&format!("{}gets ", " ".repeat(100)), long), true),
        ("gets after many", start(&format!("{}gets ", " ".repeat(101)), long), false),
        ("gat", start("gat 10 ", long), true),
        ("all spaces", " ".repeat(14_000), false),
        ("get, longest", start("get ", GET_LINE_LEN_MAX - 4), true),
        ("get, too long", start("get ", GET_LINE_LEN_MAX - 3), false),
    ] {
        let want = if waits { Ok(None) } else { hung_up(line.len()) };
        assert_eq!(parse(line.as_bytes()), want, "case: {name}");
    }
    // With its end in sight even a long line is answered.
    let line = format!("set {} 0 0 0\r\n", "x".repeat(3_000));
    assert_eq!(parse(line.as_bytes()), refused(ProtocolError::BadFormat, line.len()));
    let line = format!("get {}\r\n", "x ".repeat(GET_LINE_LEN_MAX / 2));
    assert_eq!(parse(line.as_bytes()), hung_up(line.len()));
}

const LIMITS: Limits = Limits { item_len_max: 1024 * 1024, compat: Compat::V1_6_18 };
