//! Real sockets, and rustls on the other end.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;
use std::{fs, thread};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::testing::TestCa;
use super::*;
use crate::connection;
use crate::registry::{Endpoint, Entry};
use crate::server::{Context, Shared};
use crate::testing::OneNode;
use crate::{Address, Listener, Options, Server};

type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// A server with one listener for TLS and one without.
struct Fixture {
    server: Server,
    tls: SocketAddr,
    plain: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Fixture {
    fn start(options: TlsOptions) -> Self {
        let listen = || Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let (tls, plain) = (listen().with_tls(), listen());
        let address = |listener: &Listener| match listener.address() {
            Address::Tcp(address) => *address,
            Address::Udp(_) | Address::Unix(_) => panic!("not TCP"),
        };
        let (tls_address, plain_address) = (address(&tls), address(&plain));
        let loaded = Some(ClientTls::load(options).unwrap());
        let server = Server::new(Options { threads: 1, tls: loaded, ..Options::default() });
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (opened, open) = std::sync::mpsc::channel();
        let run = server.clone();
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let ran = run.run(vec![tls, plain], OneNode::default(), async {
                // The first poll comes when the addresses are open.
                opened.send(()).unwrap();
                let _ = stopped.await;
            });
            runtime.block_on(ran).unwrap();
        });
        open.recv_timeout(DEADLINE).unwrap();
        let (stop, thread) = (Some(stop), Some(thread));
        Self { server, tls: tls_address, plain: plain_address, stop, thread }
    }

    fn client(&self, config: &Arc<ClientConfig>) -> io::Result<TlsClient> {
        let mut socket = connect(self.tls);
        let name = "localhost".try_into().unwrap();
        let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(session, socket))
    }

    fn until(&self, what: &str, condition: impl Fn(&crate::Totals) -> bool) {
        let start = Instant::now();
        while !condition(&self.totals()) {
            assert!(start.elapsed() < DEADLINE, "never: {what}");
            thread::yield_now();
        }
    }

    fn totals(&self) -> crate::Totals {
        self.server.figures().totals
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn ask<S: Read + Write>(stream: &mut S, request: &[u8], reply: &str) {
    stream.write_all(request).unwrap();
    let mut have = vec![0; reply.len()];
    stream.read_exact(&mut have).unwrap();
    assert_eq!(String::from_utf8_lossy(&have), reply);
}

fn config_of(
    ca: &TestCa,
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<(&TestCa, &str)>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.path("ca.crt")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match certificate {
        None => builder.with_no_client_auth(),
        Some((ca, name)) => {
            ca.issue(name);
            let chain = CertificateDer::from_pem_file(ca.path(&format!("{name}.crt"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(ca.path(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    })
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// A value far longer than one record, both ways, and the end is told.
#[test]
fn clients_are_served_over_both_versions_beside_plain_ones() {
    let ca = TestCa::new();
    let fixture = Fixture::start(ca.options());
    let value = "v".repeat(900_000);
    for versions in [&[&TLS12], &[&TLS13]] {
        let mut client = fixture.client(&config_of(&ca, versions, None)).unwrap();
        let set = format!("set k 0 0 {}\r\n{value}\r\n", value.len());
        ask(&mut client, set.as_bytes(), "STORED\r\n");
        let got = format!("VALUE k 0 {}\r\n{value}\r\nEND\r\n", value.len());
        ask(&mut client, b"get k\r\n", &got);
        client.write_all(b"quit\r\n").unwrap();
        // Without the word that it is the end, rustls would call it an error.
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    let mut plain = connect(fixture.plain);
    ask(&mut plain, b"get none\r\n", "END\r\n");
    assert_eq!(fixture.totals().ssl_handshake_errors, 0);
    assert_eq!(fixture.totals().ssl_new_sessions, 0);
}

/// Method: a pipe far narrower than a record, so that whatever is written waits in the end.
#[tokio::test]
async fn the_end_of_a_reply_is_not_kept() {
    let ca = TestCa::new();
    let tls = ClientTls::load(ca.options()).unwrap();
    let shared = Arc::new(Shared::new(Options { threads: 1, ..Options::default() }));
    let context = Context::new(&shared, 0);
    let (client, server) = tokio::io::duplex(100);
    let serve = tokio::spawn(async move {
        let mut stream = shake_hands(&tls, server, &context).await.unwrap();
        let entry = Arc::new(Entry::new(-1, Endpoint::UnixClient, None));
        connection::serve(&mut stream, OneNode::default(), context, entry).await.unwrap();
    });
    let connector = tokio_rustls::TlsConnector::from(config_of(&ca, BOTH, None));
    let mut client = connector.connect("localhost".try_into().unwrap(), client).await.unwrap();
    let value = "v".repeat(5_000);
    let talk = async {
        client.write_all(format!("set k 0 0 5000\r\n{value}\r\n").as_bytes()).await.unwrap();
        client.write_all(b"get k\r\n").await.unwrap();
        client.flush().await.unwrap();
        let want = format!("STORED\r\nVALUE k 0 5000\r\n{value}\r\nEND\r\n");
        let mut have = vec![0; want.len()];
        client.read_exact(&mut have).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&have), want);
    };
    tokio::time::timeout(DEADLINE, talk).await.expect("something is kept");
    drop(client);
    // Hung up on without a word, which TLS calls an error.
    serve.await.unwrap_err();
}

#[test]
fn plain_text_at_a_tls_port_and_the_reverse_are_closed() {
    let ca = TestCa::new();
    let fixture = Fixture::start(ca.options());
    let mut plain = connect(fixture.tls);
    plain.write_all(b"set k 0 0 1\r\n1\r\nversion\r\n").unwrap();
    let mut reply = Vec::new();
    plain.read_to_end(&mut reply).unwrap();
    // At the most an alert, which is a record of type 21.
    assert!(reply.is_empty() || reply.starts_with(&[21]), "{reply:?}");
    fixture.until("it is counted", |totals| totals.ssl_handshake_errors == 1);

    let config = config_of(&ca, BOTH, None);
    let mut socket = connect(fixture.plain);
    let mut session = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    session.complete_io(&mut socket).expect_err("there is no TLS here");
    let mut reply = Vec::new();
    socket.read_to_end(&mut reply).unwrap();
    assert!(reply.is_empty(), "{reply:?}");
}

#[test]
fn what_is_no_tls_after_the_handshake_is_closed_and_counted() {
    let ca = TestCa::new();
    let fixture = Fixture::start(ca.options());
    let config = config_of(&ca, BOTH, None);
    // Hung up on without a word: no more than a client that has gone.
    drop(fixture.client(&config).unwrap());
    let mut client = fixture.client(&config).unwrap();
    client.sock.write_all(b"version\r\n").unwrap();
    let mut rest = Vec::new();
    client.sock.read_to_end(&mut rest).unwrap();
    fixture.until("it is counted", |totals| totals.ssl_proto_errors == 1);
    assert_eq!(fixture.totals().ssl_handshake_errors, 0);
}

#[test]
fn certificates_of_clients_are_verified_as_told() {
    use Verify::{None as Never, Once, Request, Require};
    let (ca, other) = (TestCa::new(), TestCa::new());
    let anonymous = config_of(&ca, BOTH, None);
    let good = config_of(&ca, BOTH, Some((&ca, "client")));
    let foreign = config_of(&ca, BOTH, Some((&other, "client")));
    for (verify, want) in [
        (Never, [true, true, true]),
        (Request, [true, true, false]),
        (Require, [false, true, false]),
        (Once, [false, true, false]),
    ] {
        let fixture = Fixture::start(TlsOptions { verify, ..ca.options() });
        for (config, served) in [&anonymous, &good, &foreign].into_iter().zip(want) {
            let talk = || -> io::Result<usize> {
                let mut client = fixture.client(config)?;
                client.write_all(b"version\r\n")?;
                client.read(&mut [0])
            };
            assert_eq!(talk().is_ok_and(|len| len == 1), served, "{verify:?}");
        }
        let refused = want.iter().filter(|served| !**served).count() as u64;
        fixture.until("the refusals are counted", |totals| totals.ssl_handshake_errors == refused);
    }
}

#[test]
fn the_least_version_and_the_cipher_suites_are_kept_to() {
    let ca = TestCa::new();
    let (old, new) = (config_of(&ca, &[&TLS12], None), config_of(&ca, &[&TLS13], None));
    let fixture = Fixture::start(TlsOptions { min_version: 3, ..ca.options() });
    assert!(fixture.client(&old).is_err());
    assert!(fixture.client(&new).is_ok());
    drop(fixture);
    let name = "ECDHE-ECDSA-AES128-GCM-SHA256";
    let ciphers = Some(name.to_owned());
    let fixture = Fixture::start(TlsOptions { ciphers, ..ca.options() });
    let client = fixture.client(&old).unwrap();
    let suite = client.conn.negotiated_cipher_suite().unwrap();
    let want = rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    assert_eq!(suite.suite(), want);
}

#[test]
fn sessions_are_resumed_only_if_they_may_be() {
    let ca = TestCa::new();
    for (session_cache, kind, count) in
        [(false, HandshakeKind::Full, 0), (true, HandshakeKind::Resumed, 1)]
    {
        let fixture = Fixture::start(TlsOptions { session_cache, ..ca.options() });
        for (number, versions) in [&[&TLS12], &[&TLS13]].into_iter().enumerate() {
            let config = config_of(&ca, versions, None);
            let mut client = fixture.client(&config).unwrap();
            // Tickets come with the first reply.
            ask(&mut client, b"get none\r\n", "END\r\n");
            let mut client = fixture.client(&config).unwrap();
            ask(&mut client, b"get none\r\n", "END\r\n");
            assert_eq!(client.conn.handshake_kind(), Some(kind), "{versions:?}");
            let want = count * (number as u64 + 1);
            fixture.until("sessions are counted", |totals| totals.ssl_new_sessions == want);
        }
    }
}

#[test]
fn new_certificates_are_for_new_connections() {
    let ca = TestCa::new();
    let fixture = Fixture::start(ca.options());
    let config = config_of(&ca, BOTH, None);
    let mut before = fixture.client(&config).unwrap();
    let refresh = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(fixture.server.refresh_certs())
    };
    assert!(!refresh().unwrap(), "nothing has changed");
    let old_key = fs::read(ca.path("localhost.key")).unwrap();
    ca.issue("localhost");
    let new_key = fs::read(ca.path("localhost.key")).unwrap();
    ca.file("localhost.key", &old_key);
    let error = refresh().unwrap_err().to_string();
    let path = ca.path("localhost.key").display().to_string();
    assert_eq!(error, format!("{path}: this is not the key of the certificate"));
    assert!(fixture.client(&config).is_ok(), "the old certificate stays in use");

    ca.file("localhost.key", &new_key);
    assert!(refresh().unwrap());
    let after = fixture.client(&config).unwrap();
    let shown = |client: &TlsClient| client.conn.peer_certificates().unwrap().to_vec();
    assert_ne!(shown(&before), shown(&after));
    ask(&mut before, b"get none\r\n", "END\r\n");
}

#[test]
fn what_cannot_be_used_is_named() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    other.options();
    let good = ca.options();
    let garbage = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let nothing = "there is nothing in it";
    let with_ca = |path| TlsOptions { ca: Some(path), ..good.clone() };
    let with_cert = |path| TlsOptions { chain_cert: path, ..good.clone() };
    let with_key = |path| TlsOptions { key: path, ..good.clone() };
    let with_ciphers = |names: &str| TlsOptions { ciphers: Some(names.into()), ..good.clone() };
    let cases = [
        (with_ca(ca.path("none")), "none: cannot be read"),
        (with_ca(ca.path("")), "cannot be read"),
        (with_ca(ca.file("empty", b"")), nothing),
        (with_cert(ca.file("garbage", garbage)), nothing),
        (with_cert(ca.file("long", &vec![b'x'; 1024 * 1024 + 1])), "longer than"),
        (with_cert(good.key.clone()), nothing),
        (with_key(good.chain_cert.clone()), nothing),
        (with_key(other.path("localhost.key")), "localhost.key: this is not the key"),
        (TlsOptions { ca: None, verify: Verify::Request, ..good.clone() }, "ssl_ca_cert"),
        (TlsOptions { min_version: 4, ..good.clone() }, "least TLS version 4"),
        (with_ciphers("RC4-MD5"), "cipher suite `RC4-MD5` is unknown"),
    ];
    for (options, want) in cases {
        let error = ClientTls::load(options).unwrap_err().to_string();
        assert!(error.contains(want), "{want}: {error}");
    }
    let none = TlsOptions { ca: None, ..good };
    assert!(ClientTls::load(none).is_ok());
}

const DEADLINE: Duration = Duration::from_secs(20);
