//! Invariant 5: what all clients together can make us hold.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{Fixture, expect};
use crate::budget::ALWAYS_LEN;
use crate::options::Options;

const LIMIT: usize = 1024 * 1024;

fn fixture() -> Fixture {
    Fixture::with_options(Options { threads: 1, buffers_len_max: LIMIT, ..Options::default() })
}

/// Announces a value that fits and sends `len` bytes of it, as far as they are taken.
async fn begin_value(fixture: &Fixture, len: usize) -> DuplexStream {
    let mut client = fixture.connect(len + 64);
    client.write_all(b"set k 0 0 1000000\r\n").await.unwrap();
    client.write_all(&vec![b'v'; len]).await.unwrap();
    client
}

/// Everything until the end, which may be a sudden one.
async fn rest(client: &mut DuplexStream) -> String {
    let mut replies = Vec::new();
    let _ = client.read_to_end(&mut replies).await;
    String::from_utf8_lossy(&replies).into_owned()
}

/// Method: a hundred clients send the first tenth of a value, and no more. (Time is not real here:
/// it jumps when nothing else is to be done.)
#[tokio::test(start_paused = true)]
async fn slow_senders_are_closed_when_together_they_hold_too_much() {
    let fixture = fixture();
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(begin_value(&fixture, 100_000).await);
        fixture.settle().await;
        assert!(fixture.shared.budget.total() <= LIMIT + clients.len() * ALWAYS_LEN);
    }
    let set = b"set other 0 0 5\r\nvalue\r\nget other\r\n";
    let want = "STORED\r\nVALUE other 0 5\r\nvalue\r\nEND\r\n";
    assert_eq!(fixture.talk(65_536, set).await, want);

    for client in &mut clients {
        assert_eq!(rest(client).await, "SERVER_ERROR out of memory reading request\r\n");
    }
    drop(clients);
    fixture.until("all is given back", |fixture| fixture.shared.budget.total() == 0).await;
    assert_eq!(fixture.shared.counters.totals().read_buf_oom, 100);
}

/// With room for it, a client may take its time.
#[tokio::test(start_paused = true)]
async fn a_slow_sender_is_waited_for_while_there_is_room() {
    let fixture = fixture();
    let mut client = begin_value(&fixture, 500_000).await;
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    let send = async {
        client.write_all(&vec![b'v'; 500_000]).await.unwrap();
        client.write_all(b"\r\n").await.unwrap();
        expect(&mut client, "STORED\r\n").await;
    };
    send.await;
    fixture.until("all is given back", |fixture| fixture.shared.budget.total() == 0).await;
}

/// A client that moves is slowed down, and served when there is room again.
#[tokio::test(start_paused = true)]
async fn whoever_moves_is_served_after_those_who_do_not() {
    let fixture = fixture();
    let mut stuck = Vec::new();
    for _ in 0..20 {
        stuck.push(begin_value(&fixture, 100_000).await);
    }
    fixture.settle().await;
    let (mut from_server, mut to_server) = tokio::io::split(fixture.connect(1_024));
    let send = tokio::spawn(async move {
        let value = vec![b'v'; 300_000];
        to_server.write_all(b"set k 0 0 300000\r\n").await.unwrap();
        // A byte now and then, and the rest at the end.
        for byte in value.chunks(1).take(20_000) {
            to_server.write_all(byte).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        to_server.write_all(&value[20_000..]).await.unwrap();
        to_server.write_all(b"\r\n").await.unwrap();
        to_server
    });
    let mut reply = [0; 8];
    from_server.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"STORED\r\n");
    drop(send.await.unwrap());
}

/// Method: clients ask for values and never read; then one more asks for one and does read.
#[tokio::test(start_paused = true)]
async fn clients_that_never_read_are_closed_when_together_they_hold_too_much() {
    let fixture = fixture();
    let set = format!("set k 0 0 100000\r\n{}\r\n", "v".repeat(100_000));
    assert_eq!(fixture.talk(65_536, set.as_bytes()).await, "STORED\r\n");
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = fixture.connect(1_024);
        client.write_all(b"get k\r\nget k\r\nget k\r\nget k\r\n").await.unwrap();
        clients.push(client);
        fixture.settle().await;
    }
    let over = fixture.shared.budget.total();
    assert!(LIMIT < over, "{over} bytes");
    let got = format!("VALUE k 0 100000\r\n{}\r\nEND\r\n", "v".repeat(100_000));
    assert!(fixture.talk(512, b"get k\r\n").await == got);

    // As many go as have to.
    let is_over = |fixture: &Fixture| LIMIT < fixture.shared.budget.total();
    while is_over(&fixture) {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let closed = fixture.shared.counters.totals().read_buf_oom;
    assert!(0 < closed && closed < 50, "{closed}");
}

/// Slow lines are cheap, however many.
#[tokio::test]
async fn the_beginning_of_a_request_costs_what_it_is_long() {
    let fixture = fixture();
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = fixture.connect(1_024);
        client.write_all(&[b'g'; 100]).await.unwrap();
        clients.push(client);
    }
    fixture
        .until("all has arrived", |fixture| {
            fixture.shared.counters.totals().bytes_read == 100 * 100
        })
        .await;
    fixture.settle().await;
    assert!(fixture.shared.budget.total() <= 100 * 100);
}
