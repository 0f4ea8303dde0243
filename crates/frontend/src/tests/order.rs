//! Invariants 1 and 2: replies in request order, and a client reads its own writes.

use tokio::io::AsyncWriteExt;

use super::{Fixture, expect, expect_silence};

/// Method: hold the log, so that writes are under way for as long as we like.
#[tokio::test]
async fn replies_keep_the_order_of_requests_when_writes_are_slow() {
    let fixture = Fixture::new();
    fixture.node.hold();
    let mut client = fixture.connect(1024);
    let pipeline =
        "set a 0 0 1\r\n1\r\nset b 0 0 1\r\n2\r\nget a b\r\nset c 0 0 1\r\n3\r\nversion\r\n";
    client.write_all(pipeline.as_bytes()).await.unwrap();

    fixture.until("both writes are proposed", |fixture| fixture.node.held_count() == 2).await;
    expect_silence(&fixture, &mut client).await;
    fixture.node.release(1);
    expect(&mut client, "STORED\r\n").await;
    expect_silence(&fixture, &mut client).await;
    fixture.node.release(1);
    expect(&mut client, "STORED\r\nVALUE a 0 1\r\n1\r\nVALUE b 0 1\r\n2\r\nEND\r\n").await;
    expect_silence(&fixture, &mut client).await;
    fixture.node.release(1);
    expect(&mut client, "STORED\r\nVERSION 1.6.27\r\n").await;
}

/// Flask's session interface with pymemcache sends both in one segment.
#[tokio::test]
async fn a_get_behind_a_noreply_set_waits_for_it() {
    for lease in [true, false] {
        let fixture = Fixture::new();
        fixture.node.set_lease(lease);
        fixture.node.hold();
        let mut client = fixture.connect(1024);
        client.write_all(b"set k 0 0 3 noreply\r\nnew\r\nget k\r\n").await.unwrap();
        fixture.until("the set is proposed", |fixture| fixture.node.held_count() == 1).await;
        expect_silence(&fixture, &mut client).await;
        fixture.node.release(1);
        expect(&mut client, "VALUE k 0 3\r\nnew\r\nEND\r\n").await;
    }
}

/// Errors are replies too.
#[tokio::test]
async fn an_error_waits_for_the_writes_before_it() {
    let fixture = Fixture::new();
    fixture.node.hold();
    let mut client = fixture.connect(1024);
    client.write_all(b"set k 0 0 1\r\n1\r\nbogus\r\n").await.unwrap();
    fixture.until("the set is proposed", |fixture| fixture.node.held_count() == 1).await;
    expect_silence(&fixture, &mut client).await;
    fixture.node.release(1);
    expect(&mut client, "STORED\r\nERROR\r\n").await;
}

/// A write that arrives while others are under way does not wait for them.
#[tokio::test]
async fn later_writes_overlap_earlier_ones() {
    let fixture = Fixture::new();
    fixture.node.hold();
    let mut client = fixture.connect(1024);
    for count in 1..=3 {
        client.write_all(b"incr n 1\r\n").await.unwrap();
        fixture.until("it is proposed", |fixture| fixture.node.held_count() == count).await;
    }
    fixture.node.release(3);
    expect(&mut client, "NOT_FOUND\r\nNOT_FOUND\r\nNOT_FOUND\r\n").await;
}

#[tokio::test]
async fn quit_answers_what_came_before_and_nothing_after() {
    for width in [1, 1024] {
        let fixture = Fixture::new();
        let replies = fixture.talk(width, b"set k 0 0 1\r\n1\r\nget k\r\nquit\r\nget k\r\n").await;
        assert_eq!(replies, "STORED\r\nVALUE k 0 1\r\n1\r\nEND\r\n");
    }
}

/// A client may end its sending side and still wait for its answers.
#[tokio::test]
async fn the_end_of_input_answers_what_came_before() {
    let fixture = Fixture::new();
    fixture.node.hold();
    let mut client = fixture.connect(1024);
    client.write_all(b"set k 0 0 1\r\n1\r\nget k\r\nget unfinished").await.unwrap();
    client.shutdown().await.unwrap();
    fixture.until("the set is proposed", |fixture| fixture.node.held_count() == 1).await;
    fixture.node.release(1);
    expect(&mut client, "STORED\r\nVALUE k 0 1\r\n1\r\nEND\r\n").await;
}

#[tokio::test]
async fn ten_thousand_pipelined_requests_are_answered_in_order() {
    let fixture = Fixture::new();
    let (mut input, mut want) = (String::new(), String::new());
    for number in 0..2_500 {
        input += &format!("set k{number} 0 0 4\r\n{number:04}\r\nget k{number}\r\n");
        input += &format!("incr k{number} 1\r\ntouch none{number} 5\r\n");
        want += &format!("STORED\r\nVALUE k{number} 0 4\r\n{number:04}\r\nEND\r\n");
        want += &format!("{}\r\nNOT_FOUND\r\n", number + 1);
    }
    let replies = fixture.talk(64 * 1024, input.as_bytes()).await;
    assert!(replies == want, "{} bytes of {}", replies.len(), want.len());
    assert_ne!(fixture.shared.counters.totals().conn_yields, 0, "others had no turn");
}

#[tokio::test]
async fn draining_finishes_what_was_begun_and_closes_what_is_idle() {
    let fixture = Fixture::new();
    fixture.node.hold();
    let (mut idle, mut busy) = (fixture.connect(64), fixture.connect(1024));
    busy.write_all(b"set k 0 0 1\r\n1\r\n").await.unwrap();
    fixture.until("the set is proposed", |fixture| fixture.node.held_count() == 1).await;
    fixture.shared.start_draining();
    expect_closed(&mut idle).await;
    expect_silence(&fixture, &mut busy).await;
    fixture.node.release(1);
    expect(&mut busy, "STORED\r\n").await;
    expect_closed(&mut busy).await;
}

/// A client that asked before it could know of the end is answered: what has arrived while another
/// reply was due, and the rest of what has arrived in part.
#[tokio::test]
async fn draining_answers_what_has_arrived_meanwhile() {
    let fixture = Fixture::new();
    fixture.node.hold();
    let mut client = fixture.connect(1024);
    client.write_all(b"set k 0 0 1\r\n1\r\n").await.unwrap();
    fixture.until("the set is proposed", |fixture| fixture.node.held_count() == 1).await;
    fixture.shared.start_draining();
    fixture.settle().await;
    client.write_all(b"set k 0 0 1\r\n2\r\nversion\r\nset l 0 0 ").await.unwrap();
    fixture.until("the next one is", |fixture| fixture.node.held_count() == 2).await;
    fixture.node.release(2);
    expect(&mut client, "STORED\r\nSTORED\r\nVERSION 1.6.27\r\n").await;
    expect_silence(&fixture, &mut client).await;
    client.write_all(b"1\r\n3\r\n").await.unwrap();
    fixture.until("the last one is", |fixture| fixture.node.held_count() == 1).await;
    fixture.node.release(1);
    expect(&mut client, "STORED\r\n").await;
    expect_closed(&mut client).await;
    // Too late, and yet no error: a reset could take replies with it.
    client.write_all(b"version\r\n").await.unwrap();
}

async fn expect_closed(client: &mut tokio::io::DuplexStream) {
    let read = tokio::io::AsyncReadExt::read_u8(client);
    let error = tokio::time::timeout(super::DEADLINE, read).await.expect("still open").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}
