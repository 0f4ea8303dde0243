//! What writes are answered, above all when they cannot be carried out.

use tokio::io::AsyncWriteExt;

use super::{Fixture, expect, expect_silence};
use crate::{Options, Unavailable};

fn small_items() -> Fixture {
    Fixture::with_options(Options { threads: 1, item_len_max: 1024, ..Options::default() })
}

/// A pipe one byte wide, so that every read ends in the middle of something.
#[tokio::test]
async fn stays_in_step_after_a_value_that_is_too_large() {
    let fixture = small_items();
    let large = "x".repeat(5_000);
    for width in [1, 100_000] {
        let input = format!(
            "set k 0 0 1\r\n1\r\nadd k 0 0 5000\r\n{large}\r\nget k\r\n\
             set k 0 0 5000\r\n{large}\r\nget k\r\nset j 0 0 1\r\n2\r\nget j\r\n"
        );
        let replies = fixture.talk(width, input.as_bytes()).await;
        let want = "STORED\r\nSERVER_ERROR object too large for cache\r\n\
                    VALUE k 0 1\r\n1\r\nEND\r\n\
                    SERVER_ERROR object too large for cache\r\nEND\r\n\
                    STORED\r\nVALUE j 0 1\r\n2\r\nEND\r\n";
        assert_eq!(replies, want, "width {width}");
    }
}

/// The value is dropped as it arrives; the old one is deleted through the log, and the error
/// follows the deletion.
#[tokio::test]
async fn a_set_that_is_too_large_deletes_before_it_refuses() {
    let fixture = small_items();
    fixture.talk(1, b"set k 0 0 1\r\n1\r\n").await;
    fixture.node.hold();
    let mut client = fixture.connect(1024);
    client.write_all(b"set k 0 0 2147483645\r\n").await.unwrap();
    fixture.until("the deletion is proposed", |fixture| fixture.node.held_count() == 1).await;
    expect_silence(&fixture, &mut client).await;
    fixture.node.release(1);
    expect(&mut client, "SERVER_ERROR object too large for cache\r\n").await;
    for _ in 0..100 {
        client.write_all(&[b'x'; 10_000]).await.unwrap();
    }
    expect_silence(&fixture, &mut client).await;
    assert_eq!(fixture.talk(1, b"get k\r\n").await, "END\r\n");
}

#[tokio::test]
async fn a_write_that_is_unavailable_is_an_error_and_the_connection_goes_on() {
    for error in [Unavailable::NoQuorum, Unavailable::OutcomeUnknown] {
        let fixture = Fixture::new();
        fixture.node.set_unavailable(Some(error));
        let mut client = fixture.connect(1);
        client.write_all(b"set k 0 0 1\r\n1\r\nincr k 1\r\n").await.unwrap();
        expect(&mut client, &format!("SERVER_ERROR {error}\r\nSERVER_ERROR {error}\r\n")).await;
        fixture.node.set_unavailable(None);
        client.write_all(b"set k 0 0 1\r\n1\r\nincr k 1\r\n").await.unwrap();
        expect(&mut client, "STORED\r\n2\r\n").await;
    }
}

/// Status 0x84: the Java client takes 0x82, 0x85 and 0x86 for success.
#[tokio::test]
async fn unavailable_is_internal_error_in_binary() {
    let fixture = Fixture::new();
    fixture.node.set_unavailable(Some(Unavailable::NoQuorum));
    let mut client = fixture.connect(1);
    let mut request = vec![0x80, 0x01, 0, 1, 8, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 7];
    request.extend_from_slice(&[0; 16]);
    request.extend_from_slice(b"kv");
    client.write_all(&request).await.unwrap();
    let mut reply = [0; 33];
    tokio::io::AsyncReadExt::read_exact(&mut client, &mut reply).await.unwrap();
    assert_eq!(reply[..8], [0x81, 0x01, 0, 0, 0, 0, 0, 0x84]);
    assert_eq!(reply[8..16], [0, 0, 0, 9, 0, 0, 0, 7], "the length of the text, and the opaque");
    assert_eq!(&reply[24..], b"no quorum");
}

/// Method: room for one proposal at a time, and many writes at once.
#[tokio::test]
async fn a_full_queue_delays_writes_and_loses_none() {
    let fixture = Fixture::new();
    fixture.node.hold();
    fixture.node.set_capacity(1);
    let mut client = fixture.connect(100_000);
    for number in 0..50 {
        let set = format!("set k 0 0 2\r\n{number:02}\r\nappend k 0 0 1\r\n!\r\n");
        client.write_all(set.as_bytes()).await.unwrap();
    }
    client.write_all(b"get k\r\n").await.unwrap();
    for _ in 0..100 {
        fixture.until("the next is proposed", |fixture| fixture.node.held_count() == 1).await;
        fixture.node.release(1);
        expect(&mut client, "STORED\r\n").await;
    }
    expect(&mut client, "VALUE k 0 3\r\n49!\r\nEND\r\n").await;
}

/// Somebody else's proposals fill the queue, and room never comes.
#[tokio::test]
async fn without_room_a_write_is_unavailable() {
    let fixture = Fixture::new();
    fixture.node.set_capacity(0);
    let mut client = fixture.connect(1024);
    client.write_all(b"set k 0 0 1\r\n1\r\ngat 5 a b\r\nversion\r\n").await.unwrap();
    expect_silence(&fixture, &mut client).await;
    fixture.node.set_unavailable(Some(Unavailable::NoQuorum));
    expect(&mut client, "SERVER_ERROR no quorum\r\nSERVER_ERROR no quorum\r\nVERSION").await;
}

#[tokio::test]
async fn gat_of_many_keys_is_one_answer() {
    for capacity in [1, usize::MAX] {
        let fixture = Fixture::new();
        fixture.talk(1, b"set a 1 0 1\r\n1\r\nset b 2 0 1\r\n2\r\n").await;
        fixture.node.hold();
        fixture.node.set_capacity(capacity);
        let mut client = fixture.connect(1024);
        client.write_all(b"gat 100 a none b a\r\ngat 100\r\n").await.unwrap();
        for _ in 0..4 {
            fixture.until("a key is proposed", |fixture| fixture.node.held_count() != 0).await;
            expect_silence(&fixture, &mut client).await;
            fixture.node.release(1);
        }
        let items = "VALUE a 1 1\r\n1\r\nVALUE b 2 1\r\n2\r\nVALUE a 1 1\r\n1\r\nEND\r\n";
        expect(&mut client, items).await;
    }
}

/// One key of three has no outcome: the answer is an error, not items and an error.
#[tokio::test]
async fn gat_never_mixes_items_and_errors() {
    let fixture = Fixture::new();
    fixture.talk(1, b"set a 1 0 1\r\n1\r\n").await;
    fixture.node.hold();
    fixture.node.set_capacity(2);
    let mut client = fixture.connect(1024);
    client.write_all(b"gat 100 a a a\r\nversion\r\n").await.unwrap();
    fixture.until("two are proposed", |fixture| fixture.node.held_count() == 2).await;
    fixture.node.set_unavailable(Some(Unavailable::OutcomeUnknown));
    fixture.node.release(2);
    expect(&mut client, "SERVER_ERROR timed out, outcome unknown\r\nVERSION").await;
}

#[tokio::test]
async fn flush_all_goes_through_the_log_unless_it_is_refused() {
    let fixture = Fixture::new();
    let replies = fixture.talk(1, b"set k 0 0 1\r\n1\r\nflush_all\r\nget k\r\n").await;
    assert_eq!(replies, "STORED\r\nOK\r\nEND\r\n");
    assert_eq!(fixture.node.proposed_count(), 2);

    let options = Options { threads: 1, flush_all_refused: true, ..Options::default() };
    let fixture = Fixture::with_options(options);
    let replies = fixture.talk(1, b"set k 0 0 1\r\n1\r\nflush_all\r\nget k\r\n").await;
    let want = "STORED\r\nCLIENT_ERROR flush_all not allowed\r\nVALUE k 0 1\r\n1\r\nEND\r\n";
    assert_eq!(replies, want);
}
