//! Meta commands through a connection. What each reply looks like is the protocol crate's to test.

use tokio::io::AsyncWriteExt;

use super::{Fixture, expect, expect_silence};

/// Transcripts of one client: what it says, and what it is told.
const CASES: &[(&str, &str, &str)] = &[
    ("a miss", "mg k v\r\nmg k k O1\r\nmg k v q\r\nmn\r\n", "EN\r\nEN kk O1\r\nMN\r\n"),
    (
        "store and read",
        "ms k 5 F7 T90 c\r\nvalue\r\nmg k s v f t O9\r\nmg k\r\n",
        "HD cCAS\r\nVA 5 s5 f7 t90 O9\r\nvalue\r\nHD\r\n",
    ),
    (
        "quiet successes, loud failures",
        "ms k 1 q\r\n1\r\nms k 1 ME q\r\n2\r\nma k q\r\nmd k q\r\nmd k q\r\nmn\r\n",
        "NS\r\nNF\r\nMN\r\n",
    ),
    (
        "modes",
        "ms k 1 ME\r\nb\r\nms k 1 MA s\r\nc\r\nms k 1 MP\r\na\r\nmg k v\r\nms x 1 MR\r\n1\r\n\
             ms y 2 MA N0\r\nyy\r\nmg y v t\r\n",
        "HD\r\nHD s2\r\nHD\r\nVA 3\r\nabc\r\nNS\r\nHD\r\nVA 2 t-1\r\nyy\r\n",
    ),
    (
        "compare and swap, with a number of one's own",
        "ms k 1 E50\r\n1\r\nms k 1 C49\r\n2\r\nms k 1 C50 E60\r\n3\r\nms z 1 C1\r\n1\r\n\
             mg k c v\r\nmg k v C60\r\nmd k C50\r\nmd k C60\r\n",
        "HD\r\nEX\r\nHD\r\nNF\r\nVA 1 c60\r\n3\r\nHD\r\nEX\r\nHD\r\n",
    ),
    (
        "counting",
        "ma n\r\nma n N0 J13 v\r\nma n v D30\r\nma n MD D3 v t\r\nma n T90 v t\r\nget n\r\n\
             ms n 1 S\r\nx\r\nms n 1\r\nx\r\nma n\r\n",
        "NF\r\nVA 2\r\n13\r\nVA 2\r\n43\r\nVA 2 t-1\r\n40\r\nVA 2 t90\r\n41\r\n\
             VALUE n 0 2\r\n41\r\nEND\r\nCLIENT_ERROR invalid flag\r\nHD\r\n\
             CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
    ),
    (
        "touch: before and after",
        "ms k 1 T90\r\n1\r\nmg k t T30\r\nmg k T60 t\r\n",
        "HD\r\nHD t90\r\nHD t60\r\n",
    ),
    (
        "a key that no line can hold",
        "ms YSBrZXk= 1 b\r\n1\r\nmg YSBrZXk= b k v\r\nmd YSBrZXk= b k\r\nmg YSBrZXk= b\r\n",
        "HD\r\nVA 1 kYSBrZXk= b\r\n1\r\nHD kYSBrZXk= b\r\nEN\r\n",
    ),
    (
        "one fills in",
        "mg k N30 v t\r\nmg k N30 v t\r\nget k\r\nms k 1 T60\r\n1\r\nmg k v\r\n",
        "VA 0 t30 W\r\n\r\nVA 0 t30 Z\r\n\r\nVALUE k 0 0\r\n\r\nEND\r\nHD\r\nVA 1\r\n1\r\n",
    ),
    (
        "one renews what is stale",
        "ms k 1 T90\r\n1\r\nmd k I T30\r\nmg k t v\r\nmg k v\r\nget k\r\nms k 1\r\n2\r\nmg k v\r\n",
        "HD\r\nHD\r\nVA 1 t30 X W\r\n1\r\nVA 1 Z X\r\n1\r\nVALUE k 0 1\r\n1\r\nEND\r\nHD\r\n\
             VA 1\r\n2\r\n",
    ),
    (
        "one renews what ends soon",
        "ms k 1 T90\r\n1\r\nmg k R30\r\nmg k R100\r\nmg k R100\r\nmg k R30\r\n",
        "HD\r\nHD\r\nHD W\r\nHD Z\r\nHD Z\r\n",
    ),
    (
        "a value dropped",
        "ms k 5 F7 T90\r\nvalue\r\nmd k x\r\nmg k s v f t\r\n",
        "HD\r\nHD\r\nVA 0 s0 f0 t-1\r\n\r\n",
    ),
    (
        "seen before, or not",
        "ms k 1\r\n1\r\nmg k h u\r\nmg k h l\r\nmg k h\r\n",
        "HD\r\nHD h0\r\nHD h0 l0\r\nHD h1\r\n",
    ),
    (
        "debug",
        "me k\r\nms k 1\r\n1\r\nme k\r\n",
        "EN\r\nHD\r\nME k exp=-1 la=0 cas=CAS fetch=no cls=1 size=61\r\n",
    ),
];

#[tokio::test]
async fn transcripts() {
    for &(name, said, want) in CASES {
        for width in [1, 1024] {
            let fixture = Fixture::new();
            let told = fixture.talk(width, said.as_bytes()).await;
            assert_eq!(without_cas(&told, want), want, "case: {name}, {width} bytes at a time");
        }
    }
}

/// Puts `CAS` for a number where that is wanted: it is a log position.
fn without_cas(told: &str, want: &str) -> String {
    let Some(at) = want.find("CAS") else { return told.to_owned() };
    let Some((before, number)) = told.split_at_checked(at) else { return told.to_owned() };
    format!("{before}CAS{}", number.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

/// An `mg` that only reads is answered at once, one that may win is decided by the log.
#[tokio::test]
async fn only_what_may_change_something_is_proposed() {
    let fixture = Fixture::new();
    fixture.talk(1024, b"ms k 1 T90\r\n1\r\n").await;
    fixture.node.hold();
    let mut client = fixture.connect(1024);
    client.write_all(b"mg k v R30\r\nmg none\r\nmd none\r\nma none\r\nme k\r\n").await.unwrap();
    expect(&mut client, "VA 1\r\n1\r\nEN\r\nNF\r\nNF\r\nME k exp=90 la=0 cas=").await;
    fixture.until("all is answered", |fixture| fixture.node.held_count() == 0).await;
    for (count, ask) in ["mg k R100\r\n", "mg none N5\r\n", "mg k T100\r\n"].iter().enumerate() {
        let mut client = fixture.connect(1024);
        client.write_all(ask.as_bytes()).await.unwrap();
        fixture.until("it is proposed", |fixture| fixture.node.held_count() == count + 1).await;
        expect_silence(&fixture, &mut client).await;
    }
}
