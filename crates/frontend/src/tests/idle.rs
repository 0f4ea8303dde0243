//! `-o idle_timeout`

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Fixture, expect};
use crate::options::Options;

const LIMIT: Duration = Duration::from_millis(200);

fn fixture() -> Fixture {
    let idle_timeout = Some(LIMIT);
    Fixture::with_options(Options { threads: 1, idle_timeout, ..Options::default() })
}

fn kicks(fixture: &Fixture) -> u64 {
    fixture.shared.counters.totals().idle_kicks
}

/// Method: one client keeps asking for many times the limit, others fall silent, one of them in the
/// middle of a line. The order is that of events: no duration is judged.
#[tokio::test]
async fn whoever_asks_nothing_is_closed_and_whoever_asks_is_not() {
    let fixture = fixture();
    let (mut silent, mut asking) = (fixture.connect(1024), fixture.connect(1024));
    let mut mute = fixture.connect(1024);
    silent.write_all(b"get none\r\nget no").await.unwrap();
    expect(&mut silent, "END\r\n").await;
    let asked = async {
        while kicks(&fixture) < 2 {
            asking.write_all(b"get none\r\n").await.unwrap();
            expect(&mut asking, "END\r\n").await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::DEADLINE, asked).await.expect("nobody is closed");
    for client in [&mut silent, &mut mute] {
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
    asking.write_all(b"get none\r\n").await.unwrap();
    expect(&mut asking, "END\r\n").await;
    assert_eq!(kicks(&fixture), 2);
}

/// A write that takes longer than the limit is answered, and so is a value that takes longer.
#[tokio::test]
async fn whoever_waits_for_an_answer_or_sends_is_not_closed() {
    let fixture = fixture();
    fixture.node.hold();
    let (mut waiting, mut sending) = (fixture.connect(1024), fixture.connect(1024));
    let mut silent = fixture.connect(1024);
    waiting.write_all(b"set k 0 0 1\r\n1\r\n").await.unwrap();
    sending.write_all(b"set j 0 0 1000000\r\n").await.unwrap();
    let mut sent = 0;
    let send = async {
        while kicks(&fixture) == 0 || sent < 1_000 {
            sending.write_all(b"v").await.unwrap();
            sent += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(super::DEADLINE, send).await.expect("nobody is closed");
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(kicks(&fixture), 1);
    fixture.node.release_all();
    expect(&mut waiting, "STORED\r\n").await;
    sending.write_all(&vec![b'v'; 1_000_000 - sent]).await.unwrap();
    sending.write_all(b"\r\n").await.unwrap();
    expect(&mut sending, "STORED\r\n").await;
}
