//! Invariant 5: what one client can make us hold.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Fixture;
use crate::output::OUTPUT_LEN_MAX;

const VALUE_LEN: usize = 10_000;

async fn fixture_with_value(lease: bool) -> Fixture {
    let fixture = Fixture::new();
    let set = format!("set k 0 0 {VALUE_LEN}\r\n{}\r\n", "v".repeat(VALUE_LEN));
    assert_eq!(fixture.talk(65_536, set.as_bytes()).await, "STORED\r\n");
    fixture.node.set_lease(lease);
    fixture
}

/// Bytes of the values found so far.
fn looked_up_len(fixture: &Fixture) -> usize {
    usize::try_from(fixture.shared.counters.totals().get_hits).unwrap() * VALUE_LEN
}

/// Method: ask for far more than may be held, never read, and see how much was looked up.
#[tokio::test]
async fn a_client_that_never_reads_is_not_served_without_end() {
    for (lease, request) in [
        (true, String::from("get k\r\n")),
        (false, String::from("get k\r\n")),
        (true, format!("get{}\r\n", " k".repeat(1_000))),
    ] {
        let fixture = fixture_with_value(lease).await;
        let mut client = fixture.connect(1024);
        let asked = tokio::time::timeout(Duration::from_secs(1), async {
            for _ in 0..10_000 {
                client.write_all(request.as_bytes()).await.unwrap();
            }
        });
        assert!(asked.await.is_err(), "all of it was taken");
        let held = looked_up_len(&fixture);
        assert!(OUTPUT_LEN_MAX < held, "{held} bytes: stopped for another reason");
        assert!(held < OUTPUT_LEN_MAX + 2 * VALUE_LEN, "{held} bytes looked up");
    }
}

/// The line is longer than the answers that fit: answered piece by piece, and whole.
#[tokio::test]
async fn a_get_of_very_many_keys_is_answered_whole() {
    for lease in [true, false] {
        let fixture = fixture_with_value(lease).await;
        let input = format!("get{}\r\nversion\r\n", "  k none".repeat(2_000));
        let replies = fixture.talk(8_192, input.as_bytes()).await;
        let item = format!("VALUE k 0 {VALUE_LEN}\r\n{}\r\n", "v".repeat(VALUE_LEN));
        assert!(replies == format!("{}END\r\nVERSION 1.6.27\r\n", item.repeat(2_000)));
        assert_eq!(fixture.shared.counters.totals().get_misses, 2_000);
    }
}

/// Method: hold the log and send writes without end.
#[tokio::test]
async fn writes_under_way_are_bounded() {
    let fixture = Fixture::new();
    fixture.node.hold();
    let mut client = fixture.connect(1024);
    let asked = tokio::time::timeout(Duration::from_secs(1), async {
        loop {
            client.write_all(b"incr n 1 noreply\r\n").await.unwrap();
        }
    });
    let never: Result<(), _> = asked.await;
    assert!(never.is_err());
    assert_eq!(fixture.node.held_count(), crate::pending::PENDING_COUNT_MAX);
    // And it goes on from there, with what waits in the pipe.
    fixture.node.release_all();
    let more = crate::pending::PENDING_COUNT_MAX as u64 + 50;
    fixture.until("more is taken", |fixture| more < fixture.node.proposed_count()).await;
}

/// A reader that comes back after it has stalled gets every reply.
#[tokio::test]
async fn a_stalled_reader_that_comes_back_gets_everything() {
    let fixture = fixture_with_value(true).await;
    let (mut from_server, mut to_server) = tokio::io::split(fixture.connect(1024));
    let sender = tokio::spawn(async move {
        for _ in 0..300 {
            to_server.write_all(b"get k\r\nset j 0 0 1\r\n1\r\n").await.unwrap();
        }
        to_server.shutdown().await.unwrap();
    });
    fixture.until("the output is full", |fixture| OUTPUT_LEN_MAX < looked_up_len(fixture)).await;
    let mut replies = Vec::new();
    let read = tokio::time::timeout(super::DEADLINE, from_server.read_to_end(&mut replies));
    read.await.expect("stuck").unwrap();
    sender.await.unwrap();
    let item = format!("VALUE k 0 {VALUE_LEN}\r\n{}\r\nEND\r\nSTORED\r\n", "v".repeat(VALUE_LEN));
    assert!(replies == item.repeat(300).as_bytes(), "{} bytes", replies.len());
}
