//! A scripted endpoint answers: right, wrong by one byte, too much, not at all.

use std::io::BufRead;
use std::net::TcpListener;
use std::sync::LazyLock;
use std::thread::JoinHandle;

use super::*;
use crate::store::VALUE_LEN;

/// Making a store takes longer than a test.
static REPLIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut store = Store::new(VALUE_LEN);
    let mut reply = |index| {
        let mut reply = Vec::new();
        store.append_request(Operation::Get, index, &mut Vec::new(), &mut reply).unwrap();
        reply
    };
    (0..ITEM_COUNT).map(&mut reply).collect()
});

fn right_reply(index: usize) -> Vec<u8> {
    REPLIES[index].clone()
}

/// Answers every `get` with what `reply` makes of the right bytes, until the peer hangs up.
fn endpoint(
    reply: impl Fn(usize, Vec<u8>) -> Vec<u8> + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let (stream, _) = listener.accept().unwrap();
        let mut output = stream.try_clone().unwrap();
        for (count, line) in std::io::BufReader::new(stream).lines().enumerate() {
            let Ok(line) = line else { return };
            let index = line.rsplit(':').next().unwrap().parse().unwrap();
            let reply = reply(count, right_reply(index));
            if reply.is_empty() || output.write_all(&reply).is_err() {
                return;
            }
        }
    };
    (address, std::thread::spawn(serve))
}

fn run(
    store: &mut Store,
    reply: impl Fn(usize, Vec<u8>) -> Vec<u8> + Send + 'static,
) -> anyhow::Result<Phase> {
    let (address, serving) = endpoint(reply);
    let case = Case { operation: Operation::Get, connection_count: 1, depth: 4 };
    let phase = {
        let mut load = Load::connect(address, case)?;
        load.run(store, Duration::from_millis(20))
    };
    serving.join().unwrap();
    phase
}

#[test]
fn right_replies_are_counted() {
    let phase = run(&mut Store::new(VALUE_LEN), |_, right| right).unwrap();
    assert!(0 < phase.reply_count && phase.reply_count.is_multiple_of(4), "{phase:?}");
    assert_eq!(phase.latency_ns.len(), phase.reply_count);
    assert!(Duration::from_millis(20) <= phase.elapsed);
}

/// Every byte of a reply matters: each is wrong once, in the second reply of a batch.
#[test]
fn every_wrong_byte_ends_the_run() {
    let mut store = Store::new(VALUE_LEN);
    // The shortest reply: its key has flags of one digit.
    for at in 0..right_reply(0).len() {
        let error = run(&mut store, move |count, mut right| {
            if count == 1 {
                right[at] ^= 1;
            }
            right
        });
        let error = error.expect_err("a wrong byte").to_string();
        assert!(error.contains("wrong reply from 127.0.0.1:"), "byte {at}: {error}");
    }
}

#[test]
fn other_ends_of_a_run() {
    type Reply = fn(usize, Vec<u8>) -> Vec<u8>;
    let cases: &[(&str, Reply, &str)] = &[
        ("miss", |_, _| b"END\r\n".to_vec(), "have \"END"),
        ("error", |_, _| b"SERVER_ERROR no quorum\r\n".to_vec(), "have \"SERVER_ERROR no q"),
        ("stray byte", |_, right| [&right[..], b"\n"].concat(), "wrong reply"),
        ("hang-up", |_, _| Vec::new(), "closed the connection"),
    ];
    let mut store = Store::new(VALUE_LEN);
    for (name, reply, want) in cases {
        let error = format!("{:#}", run(&mut store, *reply).expect_err(name));
        // A hang-up with unread requests is a reset on some kernels.
        let reset = *name == "hang-up" && error.contains("reset");
        assert!(error.contains(want) || reset, "case: {name}: {error}");
    }
}

/// Otherwise the copy could not say what a `get` must return after concurrent writes.
#[test]
fn connections_share_no_key_of_a_set() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let case = Case { operation: Operation::Set, connection_count: 3, depth: 500 };
    for index in 0..case.connection_count {
        let mut connection = Connection::open(address, index).unwrap();
        connection.send_random(&mut Store::new(VALUE_LEN), case).unwrap();
        let request = connection.request.escape_ascii().to_string();
        let keys = request.split("set bench:").skip(1);
        let keys: Vec<usize> = keys.map(|rest| rest[..6].parse().unwrap()).collect();
        assert_eq!(keys.len(), 500);
        assert!(keys.iter().all(|key| key % 3 == index && *key < ITEM_COUNT), "{keys:?}");
    }
}
