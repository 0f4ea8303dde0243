//! Invariants 3 and 4: when a read is looked up, and that its answer is whole.

use tokio::io::AsyncWriteExt;

use super::{Fixture, expect, expect_silence};
use crate::Unavailable;

#[tokio::test]
async fn without_a_lease_one_barrier_serves_all_reads_that_have_arrived() {
    let fixture = Fixture::new();
    fixture.node.set_lease(false);
    fixture.node.hold_barriers(true);
    let mut client = fixture.connect(1024);
    client.write_all(b"get a\r\nget b\r\nadd c 0 -1 0\r\n\r\nget d\r\n").await.unwrap();
    fixture.until("it waits", |fixture| fixture.node.barrier_count() == 1).await;
    expect_silence(&fixture, &mut client).await;
    // This one has not arrived when the barrier begins, so the barrier proves nothing about it.
    client.write_all(b"get e\r\n").await.unwrap();
    fixture.settle().await;
    fixture.node.hold_barriers(false);
    expect(&mut client, "END\r\nEND\r\nSTORED\r\nEND\r\nEND\r\n").await;
    assert_eq!(fixture.node.barrier_count(), 2);
}

/// What was proven before a write says nothing about this node's copy after it.
#[tokio::test]
async fn a_barrier_does_not_outlive_a_write() {
    let fixture = Fixture::new();
    fixture.node.set_lease(false);
    let replies = fixture.talk(1024, b"get a\r\nset a 0 0 1\r\n1\r\nget a\r\n").await;
    assert_eq!(replies, "END\r\nSTORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
    assert_eq!(fixture.node.barrier_count(), 2);
}

#[tokio::test]
async fn a_lease_needs_no_barrier() {
    let fixture = Fixture::new();
    fixture.talk(1, b"get a\r\nget b\r\n").await;
    assert_eq!(fixture.node.barrier_count(), 0);
}

/// A session manager takes a miss for "log the user out", so no answer is better than a miss.
#[tokio::test]
async fn a_read_that_cannot_be_proven_is_an_error_and_the_connection_goes_on() {
    for error in [Unavailable::NoQuorum, Unavailable::Draining] {
        let fixture = Fixture::new();
        assert_eq!(fixture.talk(1, b"set k 0 0 1\r\n1\r\n").await, "STORED\r\n");
        fixture.node.set_lease(false);
        fixture.node.set_unavailable(Some(error));
        let mut client = fixture.connect(1);
        client.write_all(b"get k none k\r\ngets k\r\n").await.unwrap();
        expect(&mut client, &format!("SERVER_ERROR {error}\r\nSERVER_ERROR {error}\r\n")).await;
        fixture.node.set_unavailable(None);
        client.write_all(b"get k\r\n").await.unwrap();
        expect(&mut client, "VALUE k 0 1\r\n1\r\nEND\r\n").await;
    }
}

/// libmemcached's `memcached_exist`, with which PHP looks for a free session id.
#[tokio::test]
async fn an_existence_probe_is_a_read_and_leaves_nothing_behind() {
    for lease in [true, false] {
        let fixture = Fixture::new();
        fixture.node.set_lease(lease);
        let probe = b"add k 0 2678400 0\r\n\r\nget k\r\nadd k 0 -1 1\r\n1\r\nget k\r\n";
        assert_eq!(fixture.talk(1, probe).await, "STORED\r\nEND\r\nSTORED\r\nEND\r\n");
        assert_eq!(fixture.node.proposed_count(), 0);
        fixture.talk(1, b"set k 0 0 1\r\n1\r\n").await;
        let replies = fixture.talk(1, b"add k 0 2678400 0\r\n\r\nget k\r\n").await;
        assert_eq!(replies, "NOT_STORED\r\nVALUE k 0 1\r\n1\r\nEND\r\n");
        assert_eq!(fixture.node.proposed_count(), 1);
    }
}

#[tokio::test]
async fn a_delete_or_touch_that_misses_under_a_lease_logs_nothing() {
    let fixture = Fixture::new();
    let misses = b"delete k\r\ntouch k 5\r\n";
    assert_eq!(fixture.talk(1, misses).await, "NOT_FOUND\r\nNOT_FOUND\r\n");
    assert_eq!(fixture.node.proposed_count(), 0);
    fixture.node.set_lease(false);
    assert_eq!(fixture.talk(1, misses).await, "NOT_FOUND\r\nNOT_FOUND\r\n");
    assert_eq!(fixture.node.proposed_count(), 2, "nothing else can know");
}

/// Method: stop reading in the middle of a large value, replace it, and read on.
#[tokio::test]
async fn a_value_under_way_stays_as_it_was_when_it_was_read() {
    let fixture = Fixture::new();
    let old = "o".repeat(100_000);
    let set = format!("set k 0 0 {}\r\n{old}\r\n", old.len());
    assert_eq!(fixture.talk(4096, set.as_bytes()).await, "STORED\r\n");
    let mut slow = fixture.connect(1024);
    slow.write_all(b"get k\r\n").await.unwrap();
    expect(&mut slow, "VALUE k 0 100000\r\noooo").await;
    assert_eq!(fixture.talk(4096, b"set k 0 0 3\r\nnew\r\n").await, "STORED\r\n");
    expect(&mut slow, &format!("{}\r\nEND\r\n", &old[4..])).await;
    slow.write_all(b"get k\r\n").await.unwrap();
    expect(&mut slow, "VALUE k 0 3\r\nnew\r\nEND\r\n").await;
}

#[tokio::test]
async fn large_and_small_values_come_out_of_a_narrow_pipe_whole() {
    let fixture = Fixture::new();
    let (mut sets, mut gets, mut want) = (String::new(), String::from("get"), String::new());
    for (number, len) in [20_000, 5, 16_384, 0, 16_383, 70_000].into_iter().enumerate() {
        let value = char::from(b'a' + u8::try_from(number).unwrap()).to_string().repeat(len);
        sets += &format!("set k{number} 7 0 {len}\r\n{value}\r\n");
        gets += &format!(" k{number} none");
        want += &format!("VALUE k{number} 7 {len}\r\n{value}\r\n");
    }
    fixture.talk(64 * 1024, sets.as_bytes()).await;
    for width in [7, 1000, 1 << 20] {
        let replies = fixture.talk(width, format!("{gets}\r\nversion\r\n").as_bytes()).await;
        assert!(replies == format!("{want}END\r\nVERSION 1.6.27\r\n"), "width {width}");
    }
}
