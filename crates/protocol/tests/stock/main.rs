//! The same bytes to us and to stock memcached 1.6.18: the replies must be equal, byte for byte.
//!
//! "We" is the parser and the encoders around a cache of a few lines (`cache.rs`). The stock
//! server is the one installed here; where there is none, or another version, there is nothing
//! to compare with, and the test says so.

mod cache;
mod generator;
mod meta;
mod server;

use std::io;

use generator::{frame, header, version};
use server::Stock;

/// Method: one connection per transcript, to both; both caches are emptied before it.
#[test]
fn transcripts_get_the_same_replies() -> io::Result<()> {
    let Some(mut stock) = Stock::start("transcripts")? else { return Ok(()) };
    for transcript in text_transcripts().iter().chain(&binary_transcripts()) {
        stock.compare(transcript)?;
    }
    Ok(())
}

/// Method: streams made of the words and frames of the protocol, from one seed each. Replay one
/// with `SEED=<n> cargo test -p protocol --test stock`.
#[test]
fn random_streams_get_the_same_replies() -> io::Result<()> {
    let Some(mut stock) = Stock::start("random")? else { return Ok(()) };
    let seeds = match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..300,
    };
    for seed in seeds {
        println!("SEED={seed}");
        stock.compare(|cas| generator::stream(seed, cas))?;
    }
    Ok(())
}

/// Method: as above, with meta commands and the classic ones that see the same items.
#[test]
fn random_meta_streams_get_the_same_replies() -> io::Result<()> {
    let Some(mut stock) = Stock::start("meta")? else { return Ok(()) };
    let seeds = match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..1_000,
    };
    for seed in seeds {
        println!("SEED={seed}");
        stock.compare(|cas| generator::meta_stream(seed, cas))?;
    }
    Ok(())
}

fn text_transcripts() -> Vec<Transcript> {
    let long = "x".repeat(251);
    let keys = "k ".repeat(100);
    let fits = "v".repeat(1_048_500);
    let over = "v".repeat(1_048_576);
    let mut transcripts = vec![
        // A key too long drops the replies before it in stock memcached, so it comes first.
        format!("get a {long} b\r\nversion\r\n"),
        format!("set {long} 0 0 1\r\n1\r\nversion\r\n"),
        format!("delete {long}\r\nincr {long} 1\r\ntouch {long} 0\r\nversion\r\n"),
        format!("set {long} 0 0 1 noreply\r\nversion\r\n"),
        format!("set k 5 0 1\r\n1\r\nget {keys}\r\ngats 0 {keys}\r\nversion\r\n"),
        format!("set k 0 0 1048500\r\n{fits}\r\nget k\r\nversion\r\n"),
        format!("set k 0 0 1\r\n1\r\nset k 0 0 1048576\r\n{over}\r\nget k\r\nversion\r\n"),
        format!("set k 0 0 1\r\n1\r\nadd k 0 0 1048576\r\n{over}\r\nget k\r\nversion\r\n"),
        format!("set k 0 0 1\r\n1\r\nset k 0 0 1048576 noreply\r\n{over}\r\nget k\r\nversion\r\n"),
        // The block is longer than it says, and what is behind it is commands.
        format!("set k 0 0 1048576\r\n{over}xx\r\nget k\r\n"),
        " ".repeat(2_100),
        format!("set {}", "x".repeat(3_000)),
        format!("verbosity 0 x {}HTTP/1 y\r\nversion\r\n", "a ".repeat(20)),
        format!("start {}HTTP/1.0\r\nversion\r\n", "a ".repeat(20)),
        format!("GET {}HTTP/1.0\r\nversion\r\n", "a ".repeat(21)),
        format!("GET {}HTTP/1.0\r\nversion\r\n", "a ".repeat(22)),
    ];
    let long_opaque = "x".repeat(32);
    for command in ["mg k", "mg k q", "md k", "ma k N0", "ms k 2"] {
        let block = if command.starts_with("ms") { "hi\r\n" } else { "" };
        transcripts.push(format!("{command} O{long_opaque}\r\n{block}mn\r\n"));
        transcripts.push(format!("{command} k O{}\r\n{block}mn\r\n", &long_opaque[1..]));
    }
    for flags in ["", " q", " ME", " MA", " C1"] {
        let too_large = format!("ms k 1048576{flags}\r\n{over}\r\n");
        transcripts.push(format!("ms k 1\r\n1\r\n{too_large}mg k v\r\nmn\r\n"));
    }
    transcripts.push(format!("mg {long}\r\nma {long}\r\nmd {long}\r\nme {long}\r\nmn\r\n"));
    transcripts.extend(TEXT.iter().map(|transcript| (*transcript).to_owned()));
    let fixed = transcripts
        .into_iter()
        .map(|transcript| -> Transcript { Box::new(move |_| transcript.clone().into_bytes()) });
    let cas: Transcript = Box::new(|cas| {
        let cas = cas + 1;
        format!(
            "set k 0 0 1\r\n1\r\ngets k\r\ncas k 0 0 1 {cas}\r\n2\r\ncas k 0 0 1 {cas}\r\n3\r\n\
             gets k\r\ncas k 0 0 1 {} noreply\r\n4\r\nget k\r\n",
            cas + 1
        )
        .into_bytes()
    });
    fixed.chain([cas]).collect()
}

/// A stream, given the last cas unique before it.
type Transcript = Box<dyn Fn(u64) -> Vec<u8>>;

const TEXT: &[&str] = &[
    "set k 5 0 2\r\nhi\r\nget k\r\ngets k\r\nget k k nope k\r\n",
    "add k 0 0 1\r\n1\r\nadd k 0 0 1\r\n2\r\nreplace k 0 0 1\r\n3\r\nreplace x 0 0 1\r\n4\r\n",
    "append k 0 0 1\r\n1\r\nset k 9 0 1\r\n2\r\nappend k 1 -1 1\r\n3\r\nprepend k 0 0 1\r\n1\r\n\
     gets k\r\n",
    "cas k 0 0 1 1\r\n1\r\nset k 0 0 1\r\n1\r\ngets k\r\ncas k 0 0 1 0\r\n2\r\ncas k 0 0 1 -1\r\n\
     2\r\n",
    "cas k 0 0 6 \r\nfoobar\r\ncas k 0 0 6\r\nfoobar\r\ncas k 0 0 6 x noreply\r\n",
    "set n 0 0 2\r\n10\r\nincr n 5\r\ndecr n 20\r\nget n\r\nincr n 18446744073709551615\r\n\
     incr n 2\r\nget n\r\n",
    "incr n 1\r\nincr n x\r\nincr n -1\r\nincr n\r\nincr n +1\r\nincr n 1 noreply\r\n\
     incr n 1 x\r\ndecr n 1 2 3\r\n",
    "set s 0 0 3\r\nabc\r\nincr s 1\r\nset s 0 0 0\r\n\r\nincr s 1\r\n",
    "set k 0 0 1\r\n1\r\ndelete k 0\r\ndelete k 0 noreply\r\ndelete k 10\r\n\
     delete k 10 noreply\r\ndelete noreply\r\n",
    "delete\r\ndelete a b c d e\r\ndelete k noreply x\r\ndelete k 0 x\r\n",
    "touch k 10\r\nset k 0 0 1\r\n1\r\ntouch k 10\r\ntouch k x\r\ntouch k\r\n\
     touch k 10 noreply\r\ntouch k -1\r\nget k\r\n",
    "set k 3 0 1\r\n1\r\ngat 10 k x k\r\ngats 10 k\r\ngat 10\r\ngat\r\ngat x k\r\ngat -1 k\r\n\
     get k\r\n",
    "set k 0 -1 1\r\n1\r\nget k\r\nadd k 0 0 1\r\n2\r\nget k\r\nset k 0 -1 1\r\n3\r\n\
     cas k 0 0 1 5\r\n4\r\n",
    "set k 0 2147483648 1\r\n1\r\nget k\r\nset k 0 4294967296 1\r\n1\r\nget k\r\n",
    "set k 4294967301 0 1\r\n1\r\nget k\r\nset k -1 0 1\r\n1\r\n\
     set k -18446744073709551615 0 1\r\n1\r\nget k\r\n",
    "set k 0 0 5\r\nhelloxxget k\r\nset k 0 0 5 noreply\r\nhelloxxversion\r\n",
    "set k 0 0 5\r\nhello\r\nset k 0 0 2\r\nhello\r\nget k\r\n",
    "set k 0 0 -1\r\nset k 0 0 2147483647\r\nset k 0 0 2147483646\r\nset k 0 0 4294967295\r\n\
     get k\r\n",
    "set k 0 0 x noreply\r\nget k\r\nset k 0 0\r\nset\r\nset k 0 0 1 2 3\r\nset k 0 0 noreply\r\n",
    "set  k  0  0  1 \r\n1\r\n  get   k \r\nget\tk\r\nset t\tb 0 0 1\r\n1\r\nget t\tb\r\n",
    "\r\n\n \r\nx\r\nget\r\ngets \r\ngetq k\r\nGET k\r\nmq k\r\nmget k\r\nincrement\r\n",
    "version foo\nversion\r\r\nversion noreply\r\n",
    "verbosity\r\nverbosity 0\r\nverbosity 0 1\r\nverbosity 0 1 2\r\nverbosity x\r\n\
     verbosity noreply\r\nverbosity 0 noreply\r\n",
    "verbosity foo bar my\r\nshutdown\r\nshutdown graceful now\r\nboguscommand slkdsldkfjsd\r\n",
    "set k 0 0 1\r\n1\r\nflush_all\r\nget k\r\nflush_all noreply\r\nflush_all 0 0\r\n\
     flush_all x\r\nflush_all x noreply\r\nflush_all 1 2 3\r\nflush_all -5\r\n",
    "stats foo\r\nstats noreply\r\nstats detail\r\nstats detail foo\r\nstats detail on\r\n\
     stats detail off\r\nstats reset\r\n",
    "stats cachedump\r\nstats cachedump 1\r\nstats cachedump x 1\r\nstats cachedump 64 0\r\n\
     stats cachedump 63 0\r\n",
    // Hanging up, stock memcached forgets the replies before it too.
    "GET / HTTP/1.0\r\nversion\r\n",
    "DELETE HTTP/1.1\r\nversion\r\n",
    "xx HTTP/1\r\nversion\r\n",
    "delete HTTP/1.1\r\nstart HTTP/1.1\r\nmq HTTP/1 x\r\nx HTTP/1\r\nversion\r\n",
    "version\r\nquit\r\nversion\r\n",
    "version\r\nquit x noreply\r\nversion\r\n",
    "bget k\r\nset k 0 0 1\r\n1\r\nbget k\r\nbget\r\n",
    "get k\r\nset k 0 0 10\r\nhello",
    "mg k\r\nmg k q\r\nmg k s v k Oo t q\r\nme k\r\nmd k\r\nmd k q k\r\nmn\r\nma k Oo k t\r\n",
    "ms k 2 F5 c\r\nhi\r\nmg k s v f t c k Oabc h\r\nmg k h u\r\nmg k h\r\nget k\r\nmn x\r\n",
    "ms k 2 ME k\r\nhi\r\nms k 2 ME Ox k\r\nho\r\nms k 1 MA\r\nx\r\nms k 1 MP\r\ny\r\nmg k v s\r\n\
     ms k 1 MR q\r\nz\r\nms n 1 MR\r\nz\r\nms n 1 MA\r\nz\r\nmg k v\r\n",
    "ms k 2 c C5\r\nhi\r\nms k 2\r\nhi\r\nms k 2 c C0\r\nho\r\nms k 2 MA C0\r\nho\r\nmg k v\r\n",
    "ms Zm9v 2 b k\r\nhi\r\nmg Zm9v v\r\nmg Zm9v b k\r\nmg foo k v\r\nmd Zm9v b k\r\nmg Zm-9v k b Oo\r\n",
    "mg Zm9 b\r\nmg ==== b\r\nme ! b\r\nma Zm9 b\r\nms Zm9 2 b\r\nhi\r\nmg Zm=v b k\r\n",
    "mg k N30 c v\r\nmg k N30\r\nget k\r\nms k 1\r\n1\r\nmg k\r\nmd k I\r\nmg k v\r\nmg k v\r\nget k\r\n",
    "ma n N0 J13 v t c\r\nma n v\r\nma n MD D22 v k Oo\r\nma n v M+ D18446744073709551615\r\n\
     ma n C1 v\r\nma n q\r\nma n MZ\r\nma n Dx\r\nma n v v\r\n",
    "ms s 1\r\nq\r\nma s q\r\nma s v\r\nms s 0\r\n\r\nma s\r\n",
    "mg k v v\r\nmg k m o o\r\nmg k \x7f\r\nmg k Tx\r\nmg k Tx Jx\r\nmg k Jx Cx\r\nmg k Dx\r\nmg k Fx\r\n\
     mg k Jx Fx\r\nmg k Rx q\r\nme\r\nmg k F5 D3 J4 MZ I L5 P\r\n",
    "ms k\r\nms k x\r\nms k -1\r\nms k 2 MZ\r\nhi\r\nms k 2 Tx q\r\nhi\r\nms k 2 v v\r\nhi\r\n\
     ms k 2 o\r\nhi\r\nms k 2147483646\r\nms k 5 q\r\nhelloxxmn\r\n",
    "ms k 2 T-1\r\nhi\r\n",
];

/// Every opcode in every state of an item, and every shape of a header that closes.
fn binary_transcripts() -> Vec<Transcript> {
    let mut transcripts = Vec::new();
    for opcode in 0..=0x25 {
        for cas_ahead in [None, Some(1u64), Some(1_000)] {
            for before in [None, Some(&b"7"[..]), Some(b"seven")] {
                transcripts.push(Box::new(move |cas| {
                    let cas = cas_ahead.map_or(0, |ahead| cas + ahead);
                    let before = before.map(|value| set(b"k", value)).unwrap_or_default();
                    let get = frame(0x0c, 0, b"", b"k", b"");
                    [before, whole(opcode, cas), get, version()].concat()
                }) as Transcript);
            }
        }
        for (key_len, extras_len, body_len) in
            [(0, 0, 0), (1, 0, 0), (1, 4, 4), (250, 0xff, 0xff), (251, 0, 251), (0, 9, 9)]
        {
            // Bare statistics are full of numbers that differ, and an unknown opcode's extras and
            // key are dropped twice by stock memcached.
            let unknown = matches!(opcode, 0x1b | 0x1f | 0x25) && body_len == 9;
            if (opcode, body_len) != (0x10, 0) && !unknown {
                transcripts.push(Box::new(move |_| {
                    let header = header(opcode, 0, key_len, extras_len, body_len);
                    // Stock memcached waits for extras and key before it judges.
                    let rest = vec![0; usize::from(key_len) + usize::from(extras_len)];
                    [version(), header, rest].concat()
                }) as Transcript);
            }
        }
    }
    for topic in ["detail", "detail on", "detail off", "foo", "resetx"] {
        transcripts
            .push(Box::new(|_| [frame(0x10, 0, b"", topic.as_bytes(), b""), version()].concat()));
    }
    // A missing item is not created, or is.
    for exptime in [0xff, 0] {
        for opcode in [0x05, 0x06, 0x15, 0x16] {
            transcripts.push(Box::new(move |_| {
                let extras = [&[0; 7][..], &[5], &[0; 7], &[9], &[exptime; 4]].concat();
                let arithmetic = frame(opcode, 0, &extras, b"n", b"");
                [&arithmetic[..], &arithmetic, &version()].concat()
            }));
        }
    }
    for opcode in [0x01, 0x02, 0x0e, 0x11, 0x13, 0x1a] {
        transcripts.push(Box::new(move |_| {
            let extras = vec![0; extras_len(opcode)];
            let large = frame(opcode, 0, &extras, b"k", &[b'v'; 1_048_576]);
            [set(b"k", b"1"), large, frame(0x00, 0, b"", b"k", b""), version()].concat()
        }));
    }
    transcripts
}

fn set(key: &[u8], value: &[u8]) -> Vec<u8> {
    frame(0x01, 0, &[0, 0, 0, 3, 0, 0, 0, 0], key, value)
}

/// A well-formed request of any opcode.
fn whole(opcode: u8, cas: u64) -> Vec<u8> {
    let extras = vec![0; extras_len(opcode)];
    match opcode {
        0x10 => frame(opcode, cas, &extras, b"reset", b""),
        0x07 | 0x08 | 0x0a | 0x0b | 0x17 | 0x18 | 0x1b | 0x1f | 0x20 | 0x25 => {
            frame(opcode, cas, &extras, b"", b"")
        }
        0x01..=0x03 | 0x0e | 0x0f | 0x11..=0x13 | 0x19 | 0x1a => {
            frame(opcode, cas, &extras, b"k", b"42")
        }
        _ => frame(opcode, cas, &extras, b"k", b""),
    }
}

fn extras_len(opcode: u8) -> usize {
    match opcode {
        0x01..=0x03 | 0x11..=0x13 => 8,
        0x05 | 0x06 | 0x15 | 0x16 => 20,
        0x1c..=0x1e | 0x23 | 0x24 => 4,
        _ => 0,
    }
}
