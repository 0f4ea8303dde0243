//! Requests about the node, and who may make any at all.

use std::io::Write as _;

use protocol::{Compat, Protocol};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::{Fixture, expect};
use crate::{Auth, Credentials, Options, Shutdown};

fn with(options: Options) -> Fixture {
    Fixture::with_options(Options { threads: 1, ..options })
}

fn passwords() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"foo:bar\nann:pass word\n").unwrap();
    file
}

#[tokio::test]
async fn nothing_is_served_before_a_text_client_has_said_who_it_is() {
    let file = passwords();
    let auth = Auth::Ascii(Credentials::ascii(file.path()).unwrap());
    let fixture = with(Options { auth, ..Options::default() });
    let input = "set k 0 0 1\r\n1\r\nget k\r\nset foo 0 0 7\r\nfoo bab\r\nset foo 0 0 7\r\n\
                 foo bar\r\nget k\r\nset k 0 0 7\r\nfoo bab\r\nget k\r\n";
    let want = "CLIENT_ERROR bad authentication token format\r\nCLIENT_ERROR unauthenticated\r\n\
                CLIENT_ERROR authentication failure\r\nSTORED\r\nEND\r\nSTORED\r\n\
                VALUE k 0 7\r\nfoo bab\r\nEND\r\n";
    for width in [1, 1024] {
        assert_eq!(fixture.talk(width, input.as_bytes()).await, want);
        fixture.talk(width, b"set a 0 0 7\r\nfoo bar\r\ndelete k\r\n").await;
    }
    let totals = fixture.shared.counters.totals();
    assert_eq!((totals.auth_cmds, totals.auth_errors), (6, 2));
    let next = fixture.talk(1, b"get k\r\n").await;
    assert_eq!(next, "CLIENT_ERROR unauthenticated\r\n", "another connection is another client");
    let binary = fixture.talk(64, &frame(0x0b, b"", b"")).await;
    assert_eq!(binary, "", "text alone is spoken, and this has no line end");
}

/// A binary request without extras.
fn frame(opcode: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    let key_len = u8::try_from(key.len()).unwrap();
    let body_len = u8::try_from(key.len() + value.len()).unwrap();
    let mut frame = vec![0x80, opcode, 0, key_len, 0, 0, 0, 0, 0, 0, 0, body_len];
    frame.extend([0; 12]);
    [&frame, key, value].concat()
}

/// The statuses of binary replies, and their values.
async fn statuses(fixture: &Fixture, frames: &[Vec<u8>]) -> Vec<(u8, String)> {
    let mut client = fixture.connect(4096);
    client.write_all(&frames.concat()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut client, &mut bytes).await.unwrap();
    let (mut rest, mut statuses) = (bytes.as_slice(), Vec::new());
    while let Some((header, body)) = rest.split_at_checked(24) {
        let (body, next) = body.split_at(usize::from(header[11]));
        statuses.push((header[7], String::from_utf8_lossy(body).into_owned()));
        rest = next;
    }
    statuses
}

#[tokio::test]
async fn sasl_plain_lets_in_who_knows_the_password() {
    let file = passwords();
    let auth = Auth::Sasl(Credentials::sasl(file.path()).unwrap());
    let fixture = with(Options { auth, ..Options::default() });
    let auth = |data: &[u8]| frame(0x21, b"PLAIN", data);
    let step = |data: &[u8]| frame(0x22, b"PLAIN", data);
    let get = || frame(0x00, b"k", b"");
    let failed = (0x20, "Auth failure.".to_owned());
    let ok = (0, "Authenticated".to_owned());
    let missed = (1, "Not found".to_owned());

    let have = statuses(&fixture, &[frame(0x20, b"", b""), auth(b"\0foo\0bar"), get()]).await;
    assert_eq!(have, [(0, "PLAIN".to_owned()), ok.clone(), missed.clone()]);
    let have = statuses(&fixture, &[auth(b""), step(b"ann\0ann\0pass word"), get()]).await;
    assert_eq!(have, [(0x21, String::new()), ok.clone(), missed]);
    // The connection ends with the first thing that is not allowed.
    let have = statuses(&fixture, &[auth(b"\0foo\0bab"), get(), get()]).await;
    assert_eq!(have, [failed.clone(), failed.clone()]);
    let refused: &[Vec<u8>] = &[
        step(b"\0foo\0bar"),
        frame(0x21, b"CRAM-MD5", b"\0foo\0bar"),
        auth(b"\0foo\0"),
        auth(b"\0\0"),
        auth(b"ann\0foo\0bar"),
        auth(b"\0foo\0bar\0"),
        auth(b"foo bar"),
        auth(b"\0foo"),
    ];
    for request in refused {
        let have = statuses(&fixture, std::slice::from_ref(request)).await;
        assert_eq!(have, std::slice::from_ref(&failed), "{}", request.escape_ascii());
    }
    let text = fixture.talk(64, b"get k\r\n").await;
    assert_eq!(text, "", "binary alone is spoken");
}

#[tokio::test]
async fn one_dialect_alone_is_spoken_where_that_was_asked_for() {
    let text = with(Options { protocol: Some(Protocol::Text), ..Options::default() });
    let version = [&frame(0x0b, b"", b"")[..], b"\r\nversion\r\n"].concat();
    assert_eq!(text.talk(64, &version).await, "ERROR\r\nVERSION 1.6.27\r\n");
    let binary = with(Options { protocol: Some(Protocol::Binary), ..Options::default() });
    assert_eq!(binary.talk(64, b"version\r\n").await, "");
}

#[tokio::test]
async fn shutdown_tells_the_node_where_it_is_allowed() {
    let fixture = Fixture::new();
    let have = fixture.talk(1, b"shutdown foo\r\n").await;
    assert_eq!(have, "ERROR: shutdown not enabled\r\n");
    let newest = with(Options { compat: Compat::V1_6_45, ..Options::default() });
    let have = newest.talk(1, b"shutdown\r\n\r\nversion\r\n").await;
    let want = "SERVER_ERROR: shutdown not enabled\r\nCLIENT_ERROR bad command line format\r\n\
                VERSION 1.6.45\r\n";
    assert_eq!(have, want);

    let (sender, mut told) = mpsc::unbounded_channel();
    let fixture = with(Options { shutdown: Some(sender), ..Options::default() });
    let have = fixture.talk(64, b"shutdown foo\r\nshutdown graceful\r\nversion\r\n").await;
    assert_eq!(have, "CLIENT_ERROR invalid shutdown mode\r\n", "and the connection ends");
    assert_eq!(told.try_recv(), Ok(Shutdown::Graceful));
    assert_eq!(fixture.talk(64, b"shutdown\r\n").await, "");
    assert_eq!(told.try_recv(), Ok(Shutdown::Now));
}

#[tokio::test]
async fn the_memory_limit_is_changed_for_all() {
    let fixture = Fixture::new();
    let have = fixture.talk(1, b"cache_memlimit 100\r\ncache_memlimit 7\r\nversion\r\n").await;
    let small = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m";
    assert_eq!(have, format!("OK\r\n{small}\r\nVERSION 1.6.27\r\n"));
    assert_eq!(crate::Backend::engine_stats(&fixture.node).memory_limit, 100 << 20);
    assert_eq!(fixture.talk(1, b"cache_memlimit 64 noreply\r\n").await, "");
    assert_eq!(crate::Backend::engine_stats(&fixture.node).memory_limit, 64 << 20);
    let large = with(Options { item_len_max: 8 << 20, ..Options::default() });
    let have = large.talk(1, b"cache_memlimit 15\r\n").await;
    assert_eq!(have, "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n");
}

#[tokio::test]
async fn dumps_show_every_item_once() {
    let fixture = Fixture::new();
    let mut want = Vec::new();
    let mut client = fixture.connect(4096);
    for number in 0..300 {
        client.write_all(format!("set k{number} 7 0 1\r\nx\r\n").as_bytes()).await.unwrap();
        expect(&mut client, "STORED\r\n").await;
        want.push(format!("mg k{number}"));
    }
    client.write_all(b"ms YSBi 1 b\r\nx\r\nget k1\r\n").await.unwrap();
    expect(&mut client, "HD\r\nVALUE k1 7 1\r\nx\r\nEND\r\n").await;
    want.push("mg YSBi b".to_owned());
    want.sort();
    // A client that takes nothing makes the dump wait, and not fill the memory.
    for width in [1, 64, 100_000] {
        let short = fixture.talk(width, b"lru_crawler mgdump all\r\nversion\r\n").await;
        let (dump, rest) = short.split_once("EN\r\n").unwrap();
        let mut have: Vec<_> = dump.lines().map(str::to_owned).collect();
        have.sort();
        assert_eq!(have, want, "width {width}");
        assert_eq!(rest, "VERSION 1.6.27\r\n");
    }
    let long = fixture.talk(1, b"lru_crawler metadump hash\r\n").await;
    assert_eq!(long.lines().count(), 302);
    let line = long.lines().find(|line| line.starts_with("key=k1 ")).unwrap();
    assert!(line.starts_with("key=k1 exp=-1 la="), "{line}");
    assert!(line.ends_with(" fetch=yes cls=1 size=66"), "{line}");
    assert!(long.contains("key=a%20b exp=-1 la="), "{long}");
    assert_eq!(fixture.talk(1, b"lru_crawler metadump 5\r\n").await, "END\r\n");

    let newest = with(Options { compat: Compat::V1_6_45, ..Options::default() });
    newest.talk(1, b"set k 7 0 1\r\nx\r\n").await;
    let long = newest.talk(1, b"lru_crawler metadump all\r\n").await;
    assert!(long.starts_with("OK\r\nkey=k ") && long.ends_with(" flags=7\nEND\r\n"), "{long}");
    let closed = with(Options { dump_refused: true, ..Options::default() });
    let have = closed.talk(1, b"lru_crawler metadump all\r\nstats cachedump 1 0\r\n").await;
    let want = "ERROR metadump not allowed\r\nCLIENT_ERROR stats cachedump not allowed\r\n";
    assert_eq!(have, want);
}

/// As memcached does it, where no item has a cas unique.
#[tokio::test]
async fn without_cas_all_versions_are_equal() {
    let fixture = with(Options { cas_disabled: true, ..Options::default() });
    let input = "cas k 0 0 1 0\r\n1\r\nset k 0 0 1\r\n1\r\ngets k\r\ncas k 0 0 1 0\r\n2\r\n\
                 cas k 0 0 1 99\r\n3\r\ngets k\r\n";
    let want = "NOT_FOUND\r\nSTORED\r\nVALUE k 0 1 0\r\n1\r\nEND\r\nSTORED\r\nSTORED\r\n\
                VALUE k 0 1 0\r\n3\r\nEND\r\n";
    assert_eq!(fixture.talk(64, input.as_bytes()).await, want);
    let totals = fixture.shared.counters.totals();
    assert_eq!((totals.cas_hits, totals.cas_misses, totals.cas_badval), (2, 1, 0));
    // APPEND of nothing with a cas unique, as it is with and without `-C`.
    let mut append = frame(0x0e, b"none", b"x");
    append[23] = 9;
    for fixture in [fixture, Fixture::new()] {
        let have = statuses(&fixture, std::slice::from_ref(&append)).await;
        assert_eq!(have, [(5, "Not stored.".to_owned())]);
    }
}

/// The names that monitoring looks for, and the number of them that memcached's own test counts.
#[tokio::test]
async fn stats_have_memcacheds_names() {
    let fixture = Fixture::new();
    fixture.talk(64, b"set k 0 0 1\r\n1\r\n").await;
    for (topic, count) in [("", 92), (" settings", 66), (" items", 28), (" slabs", 17)] {
        let have = fixture.talk(64, format!("stats{topic}\r\n").as_bytes()).await;
        let names = have.lines().filter_map(|line| line.split(' ').nth(1));
        let names: std::collections::BTreeSet<_> = names.collect();
        assert_eq!(names.len(), count, "stats{topic}: {have}");
    }
    let shown = Options {
        lru_crawler_shown: false,
        lru_maintainer_shown: false,
        settings: vec![("tcpport".to_owned(), "7".to_owned()), ("mine".to_owned(), "8".to_owned())],
        ..Options::default()
    };
    let fixture = with(shown);
    let have = fixture.talk(64, b"stats\r\n").await;
    assert_eq!(have.lines().count(), 84, "with its end: {have}");
    let have = fixture.talk(64, b"stats settings\r\n").await;
    assert!(have.contains("STAT tcpport 7\r\n") && have.contains("STAT mine 8\r\n"), "{have}");
    assert!(have.contains("STAT stat_key_prefix :\r\n"), "{have}");

    let fixture = with(Options { compat: Compat::V1_6_45, ..Options::default() });
    let have = fixture.talk(64, b"stats\r\n").await;
    assert_eq!(have.lines().count(), 94, "with its end: {have}");
    let moved = "STAT slab_reassign_busy_nomem 0\r\nSTAT slab_reassign_last_busy_status none\r\n";
    assert!(have.contains(moved) && !have.contains("evictions_nomem"), "{have}");
}

#[tokio::test]
async fn misses_of_what_had_been_there_are_counted() {
    let fixture = Fixture::new();
    let input = b"set a 0 1 1\r\n1\r\nset b 0 0 1\r\n1\r\nget a b c\r\n";
    fixture.talk(64, input).await;
    fixture.node.set_now(engine::UnixMillis(1_800_000_002_000));
    fixture.talk(64, b"get a c\r\nflush_all\r\nget b\r\n").await;
    let totals = fixture.shared.counters.totals();
    assert_eq!((totals.get_misses, totals.get_expired, totals.get_flushed), (4, 1, 1));
}

#[tokio::test]
async fn details_are_counted_by_prefix() {
    let fixture = Fixture::new();
    let input = "stats detail on\r\nset a:1 0 0 1\r\n1\r\nms a:2 1\r\n1\r\nget a:1 a:3 b:1\r\n\
                 mg a:1\r\ndelete a:1\r\nmd a:9\r\nstats detail off\r\nget a:1\r\n";
    fixture.talk(64, input.as_bytes()).await;
    let have = fixture.talk(64, b"stats detail dump\r\n").await;
    let mut lines: Vec<_> = have.lines().collect();
    lines.sort_unstable();
    let want = ["END", "PREFIX a get 3 hit 2 set 2 del 2", "PREFIX b get 1 hit 0 set 0 del 0"];
    assert_eq!(lines, want);
    let have = fixture.talk(64, b"stats reset\r\nstats detail dump\r\n").await;
    assert_eq!(have, "RESET\r\nEND\r\n");
}

#[tokio::test]
async fn sizes_are_counted_where_that_was_asked_for() {
    let fixture = Fixture::new();
    let have = fixture.talk(64, b"stats sizes\r\n").await;
    assert_eq!(have, "STAT sizes_status disabled\r\nEND\r\n");
    let fixture = with(Options { sizes_tracked: true, ..Options::default() });
    let input = "set a 0 0 1\r\n1\r\nset b 0 0 1\r\n1\r\nset c 0 0 40\r\n\
                 0123456789012345678901234567890123456789\r\nstats sizes\r\n";
    let have = fixture.talk(64, input.as_bytes()).await;
    let want = "STORED\r\nSTORED\r\nSTORED\r\nSTAT sizes_status enabled\r\nSTAT 64 2\r\n\
                STAT 128 1\r\nEND\r\n";
    assert_eq!(have, want);
}

/// A line without its time.
fn event(line: &str) -> String {
    let (time, rest) = line.split_once(" gid=").unwrap();
    assert!(time.starts_with("ts="), "{line}");
    rest.split_once(' ').unwrap().1.to_owned()
}

#[tokio::test]
async fn a_watcher_sees_reads_and_stores_of_others() {
    let fixture = Fixture::new();
    let mut watcher = fixture.connect(64);
    watcher.write_all(b"watch fetchers mutations\r\n").await.unwrap();
    expect(&mut watcher, "OK\r\n").await;
    // What it sends now is dropped.
    watcher.write_all(b"version\r\n").await.unwrap();
    fixture.talk(64, b"get a%\r\nset a% 0 0 4\r\nvbar\r\ncas b 0 0 1 9\r\nx\r\n").await;
    fixture.talk(64, b"mg a% v\r\nms c 2 MA\r\nxy\r\nset a% 0 0 1 noreply\r\nx\r\n").await;
    let mut lines = Vec::new();
    let mut reader = tokio::io::BufReader::new(watcher);
    for _ in 0..6 {
        let mut line = String::new();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut line);
        tokio::time::timeout(super::DEADLINE, read).await.unwrap().unwrap();
        lines.push(event(line.trim_end()));
    }
    let store = |key, status, name, class, len| {
        format!(
            "type=item_store key={key} status={status} cmd={name} ttl=0 clsid={class} cfd=-1 \
             size={len}"
        )
    };
    let want = [
        "type=item_get key=a%25 status=not_found clsid=0 cfd=-1 size=0".to_owned(),
        store("a%25", "stored", "set", 1, 4),
        store("b", "not_found", "cas", 0, 1),
        "type=item_get key=a%25 status=found clsid=1 cfd=-1 size=4".to_owned(),
        store("c", "not_stored", "append", 0, 2),
        store("a%25", "stored", "set", 1, 1),
    ];
    assert_eq!(lines, want);
    let stats = fixture.talk(64, b"stats\r\n").await;
    assert!(stats.contains("STAT log_watchers 1\r\n"), "{stats}");
    drop(reader);
    fixture.until("it is gone", |fixture| fixture.shared.watchers.figures().0 == 0).await;
    fixture.talk(64, b"get a%\r\n").await;
    let all = protocol::WatchTopics::FETCHERS.with(protocol::WatchTopics::MUTATIONS);
    assert!(!fixture.shared.watchers.wants(all), "nobody is left who wants to know");
}

#[tokio::test]
async fn a_watcher_sees_what_is_evicted() {
    let fixture = Fixture::new();
    fixture.shared.show_evictions(&fixture.node);
    let mut watcher = fixture.connect(64);
    watcher.write_all(b"watch evictions\r\n").await.unwrap();
    expect(&mut watcher, "OK\r\n").await;
    fixture.talk(64, b"cache_memlimit 8\r\n").await;
    let value = "x".repeat(1_000_000);
    for (key, expiry) in [("read", 0), ("ends", 1000), ("c", 0), ("d", 0), ("e", 0), ("f", 0)] {
        let store = format!("set {key} 0 {expiry} 1000000\r\n{value}\r\n");
        assert_eq!(fixture.talk(100_000, store.as_bytes()).await, "STORED\r\n");
    }
    fixture.talk(100_000, b"get read\r\n").await;
    for key in ["g", "h", "i"] {
        let store = format!("set {key} 0 0 1000000\r\n{value}\r\n");
        assert_eq!(fixture.talk(100_000, store.as_bytes()).await, "STORED\r\n");
    }
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(watcher));
    for (key, fetch, ttls) in [("read", "yes", -1..0), ("ends", "no", 900..1001)] {
        let line = tokio::time::timeout(super::DEADLINE, lines.next_line()).await.unwrap();
        let have = event(&line.unwrap().unwrap());
        let shown = have.strip_prefix(&format!("type=eviction key={key} fetch={fetch} ttl="));
        let (ttl, rest) = shown.expect(&have).split_once(" la=").unwrap();
        assert!(ttls.contains(&ttl.parse().unwrap()), "{have}");
        assert!(rest.ends_with(" clsid=1 size=1000000"), "{have}");
    }
}

/// Nobody waits for a watcher that does not read, and it is told what it has missed.
#[tokio::test]
async fn a_slow_watcher_skips() {
    let fixture = Fixture::new();
    let mut watcher = fixture.connect(64);
    watcher.write_all(b"watch\r\n").await.unwrap();
    expect(&mut watcher, "OK\r\n").await;
    let key = "x".repeat(200);
    for _ in 0..100 {
        fixture.talk(100_000, format!("get {key}\r\n").repeat(100).as_bytes()).await;
    }
    let (_, sent_len, skipped_count) = fixture.shared.watchers.figures();
    assert!(sent_len < 1024 * 1024 && 5_000 < skipped_count, "{sent_len} {skipped_count}");
    let mut reader = tokio::io::BufReader::new(watcher);
    let told = async {
        loop {
            let mut line = String::new();
            tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut line).await.unwrap();
            if line.starts_with("skipped=") {
                return line;
            }
            fixture.talk(64, b"get a\r\n").await;
        }
    };
    tokio::time::timeout(super::DEADLINE, told).await.unwrap();
}

#[tokio::test]
async fn watching_can_be_refused_and_is_bounded() {
    let fixture = with(Options { watch_refused: true, ..Options::default() });
    let have = fixture.talk(64, b"watch foo\r\nversion\r\n").await;
    assert_eq!(have, "CLIENT_ERROR watch commands not allowed\r\nVERSION 1.6.27\r\n");
    let fixture = Fixture::new();
    assert_eq!(fixture.talk(64, b"watch foo\r\n").await, "ERROR\r\n");
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = fixture.connect(64);
        client.write_all(b"watch connevents\r\n").await.unwrap();
        expect(&mut client, "OK\r\n").await;
        clients.push(client);
    }
    let have = fixture.talk(64, b"watch\r\nversion\r\n").await;
    assert_eq!(have, "WATCHER_TOO_MANY log watcher limit reached\r\nVERSION 1.6.27\r\n");
}

#[tokio::test]
async fn certificates_are_read_again_where_there_are_any() {
    let fixture = Fixture::new();
    assert_eq!(fixture.talk(64, b"refresh_certs\r\n").await, "ERROR\r\n");
}
