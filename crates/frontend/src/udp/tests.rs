//! What memcached's `t/udp.t` asks, and what it does not.

use std::net::Ipv4Addr;

use tokio::time::timeout;

use super::*;
use crate::options::Options;
use crate::registry::{Endpoint, Registry};
use crate::server::Shared;
use crate::testing::OneNode;

struct Fixture {
    node: OneNode,
    shared: Arc<Shared>,
    client: UdpSocket,
    server: tokio::task::JoinHandle<()>,
}

impl Fixture {
    async fn new() -> Self {
        let node = OneNode::default();
        let shared = Arc::new(Shared::new(Options { threads: 1, ..Options::default() }));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        client.connect(address).await.unwrap();
        let registered = Arc::new(Registry::default()).add(3, Endpoint::Udp(address), None);
        let context = Context::new(&shared, 0);
        let server = tokio::spawn(serve(socket, node.clone(), context, registered));
        Self { node, shared, client, server }
    }

    async fn send(&self, number: u16, request: &[u8]) {
        let header = [number.to_be_bytes(), [0, 0], [0, 1], [0, 0]].concat();
        self.client.send(&[&header, request].concat()).await.unwrap();
    }

    /// The whole reply to the request of that number, which has to be the next one.
    async fn receive(&self, number: u16) -> Vec<u8> {
        let (mut pieces, mut left) = (Vec::new(), 1);
        while left != 0 {
            let mut datagram = vec![0; DATAGRAM_LEN_MAX];
            let received = timeout(DEADLINE, self.client.recv(&mut datagram)).await;
            let len = received.expect("no reply").unwrap();
            assert!(len <= 1400, "{len} bytes");
            let (header, piece) = datagram[..len].split_at(HEADER_LEN);
            let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
            assert_eq!((field(0), field(6)), (number, 0));
            if pieces.is_empty() {
                left = usize::from(field(4));
                pieces.resize(left, Vec::new());
            }
            assert_eq!(pieces.len(), usize::from(field(4)));
            pieces[usize::from(field(2))] = piece.to_vec();
            left -= 1;
        }
        pieces.concat()
    }

    async fn ask(&self, number: u16, request: &str) -> String {
        self.send(number, request.as_bytes()).await;
        String::from_utf8(self.receive(number).await).unwrap()
    }
}

#[tokio::test]
async fn text_is_answered_under_the_number_of_the_request() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.ask(45, "set k 0 0 6\r\nfooval\r\n").await, "STORED\r\n");
    for number in [161, 161, 162, 0, u16::MAX] {
        let got = fixture.ask(number, "get k\r\n").await;
        assert_eq!(got, "VALUE k 0 6\r\nfooval\r\nEND\r\n");
    }
    let cases = [
        ("get none\r\n", "END\r\n"),
        ("set n 0 0 1\r\n1\r\n", "STORED\r\n"),
        ("incr n 1\r\n", "2\r\n"),
        ("decr n 2\r\n", "0\r\n"),
        ("mg n v\r\n", "VA 1\r\n0\r\n"),
        ("delete n\r\n", "DELETED\r\n"),
        ("frobnicate\r\n", "ERROR\r\n"),
        ("get none\r\nget none\r\n", "END\r\nEND\r\n"),
    ];
    for (request, want) in cases {
        assert_eq!(fixture.ask(7, request).await, want, "{request:?}");
    }
}

/// Both lengths at which one more datagram begins, and one far beyond.
#[tokio::test]
async fn a_long_reply_comes_in_pieces() {
    let fixture = Fixture::new().await;
    for len in [1_392 - 23, 1_392 - 22, 4_096, 20_000] {
        let value = "v".repeat(len);
        let set = format!("set big 0 0 {len}\r\n{value}\r\n");
        assert_eq!(fixture.ask(1, &set).await, "STORED\r\n");
        let want = format!("VALUE big 0 {len}\r\n{value}\r\nEND\r\n");
        assert!(fixture.ask(2, "get big\r\n").await == want, "{len}");
    }
    let many = format!("get{}\r\n", " big".repeat(100));
    let want = "SERVER_ERROR out of memory writing get response\r\n";
    assert_eq!(fixture.ask(3, &many).await, want);
}

#[tokio::test]
async fn binary_is_answered_in_binary() {
    let fixture = Fixture::new().await;
    let request = |opcode: u8, extras: &[u8], key: &[u8], value: &[u8]| {
        let body_len = u8::try_from(extras.len() + key.len() + value.len()).unwrap();
        let key_len = u8::try_from(key.len()).unwrap();
        let extras_len = u8::try_from(extras.len()).unwrap();
        let head = [0x80, opcode, 0, key_len, extras_len, 0, 0, 0, 0, 0, 0, body_len];
        [&head, [0; 12].as_slice(), extras, key, value].concat()
    };
    // SET, GET, DELETE, and GET of nothing.
    for (opcode, extras, value, status, body) in [
        (0x01, [0; 8].as_slice(), b"abc".as_slice(), 0, b"".as_slice()),
        (0x00, &[], &[], 0, b"\0\0\0\0abc"),
        (0x04, &[], &[], 0, b""),
        (0x00, &[], &[], 1, b"Not found"),
    ] {
        fixture.send(45, &request(opcode, extras, b"k", value)).await;
        let reply = fixture.receive(45).await;
        assert_eq!((reply[0], reply[1], reply[7]), (0x81, opcode, status));
        assert_eq!(reply[24..], *body);
    }
}

/// Nothing comes back for them, and what is asked behind them is answered.
#[tokio::test]
async fn what_is_no_whole_request_is_dropped() {
    let fixture = Fixture::new().await;
    for datagram in [
        b"".as_slice(),
        b"\0\x01\0\0\0\x01\0",
        b"\0\x01\0\0\0\x01\0\0",
        b"\0\x01\0\0\0\x02\0\0get k\r\n",
        b"\0\x01\0\0\x01\x01\0\0get k\r\n",
        b"\0\x01\0\0\0\0\0\0get k\r\n",
        b"\0\x01\0\0\0\x01\0\0get k",
        b"\0\x01\0\0\0\x01\0\0set k 0 0 10\r\nabc\r\n",
        b"\0\x01\0\0\0\x01\0\0set k 0 0 1 noreply\r\n1\r\n",
    ] {
        fixture.client.send(datagram).await.unwrap();
        assert_eq!(fixture.ask(9, "get none\r\n").await, "END\r\n");
    }
    fixture.node.set_accepting(false);
    fixture.send(1, b"get none\r\n").await;
    let dropped = async {
        while fixture.shared.unaccepting_count.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, dropped).await.expect("not dropped");
    fixture.node.set_accepting(true);
    assert_eq!(fixture.ask(2, "get none\r\n").await, "END\r\n");
}

#[tokio::test]
async fn shutdown_waits_for_what_is_under_way() {
    let fixture = Fixture::new().await;
    fixture.node.hold();
    for number in 0..3 {
        fixture.send(number, b"incr n 1\r\n").await;
    }
    let proposed = async {
        while fixture.node.held_count() < 3 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, proposed).await.expect("not proposed");
    fixture.shared.start_draining();
    tokio::task::yield_now().await;
    fixture.node.release_all();
    for _ in 0..3 {
        let mut datagram = [0; 64];
        let received = timeout(DEADLINE, fixture.client.recv(&mut datagram)).await;
        let len = received.expect("no reply").unwrap();
        assert_eq!(datagram[HEADER_LEN..len], *b"NOT_FOUND\r\n");
    }
    timeout(DEADLINE, fixture.server).await.expect("it goes on").unwrap();
}

const DEADLINE: Duration = Duration::from_secs(20);
