use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream as StdTcpStream};
use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, TE};
use http_body::Body as _;
use hyper_util::rt::TokioIo;
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::dial::Dial;
use crate::error::Fatal;
use crate::node::{Addresses, Node, NodeConfig, start};
use crate::pb;
use crate::stream::PeerStream;
use crate::tls::PeerTls;
use crate::tls::testing::{TestCa, client_with};
use crate::world::{Listener, Wire, World};

/// Every method of the contract, and whether its caller streams.
fn methods() -> Vec<(String, bool)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let descriptors = protox::compile([root.join("peer.proto")], [&root]).unwrap();
    let mut methods = Vec::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                methods.push((path, method.client_streaming()));
            }
        }
    }
    assert!(11 <= methods.len(), "{methods:?}");
    methods
}

/// A cluster of one node called n1.
struct Under {
    node: Node,
    address: SocketAddr,
    id: u64,
    cluster: u64,
}

impl Under {
    async fn start(peer_tls: Option<PeerTls>) -> Self {
        let peer_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = peer_listener.local_addr().unwrap();
        let node = start(NodeConfig {
            name: "n1".to_owned(),
            peer_listener: Listener::Tcp(peer_listener),
            peer_tls: peer_tls.map(Arc::new),
            advertise: Addresses {
                client: "127.0.0.1:1".to_owned(),
                peer: address.to_string(),
                admin: "127.0.0.1:2".to_owned(),
            },
            join: Vec::new(),
            bootstrap_expect: 1,
            heartbeat_ms: 20,
            election_timeout_ms: (50, 75),
            operation_budget_ms: 2000,
            isolation_close_ms: 3000,
            settings: engine::Settings::default(),
            version: "test".to_owned(),
            begin_from: None,
            data_dir: None,
            log_limits: crate::LogLimits::default(),
            world: World::real(),
        })
        .unwrap();
        node.serving().await.unwrap();
        let mut cluster = 0;
        node.client().cluster_stats(&mut |name, value| {
            if name == "cluster_id" {
                cluster = value.to_string().parse().unwrap();
            }
        });
        let id = node.status().await.nodes.first().unwrap().id.parse().unwrap();
        Self { node, address, id, cluster }
    }

    /// Nothing that was refused may have left a trace.
    async fn check_unchanged(&self, term: u64) {
        let status = self.node.status().await;
        assert_eq!(status.shards.first().map(|shard| shard.term), Some(term));
        assert_eq!(status.shards.first().and_then(|shard| shard.leader.as_deref()), Some("n1"));
        assert_eq!(status.nodes.len(), 1, "{:?}", status.nodes);
        assert!(status.quorum);
    }

    async fn term(&self) -> u64 {
        self.node.status().await.shards.first().unwrap().term
    }

    fn dial(&self, tls: Option<PeerTls>, name: Option<&str>) -> Channel {
        let dial = Dial {
            address: self.address.to_string(),
            name: name.map(str::to_owned),
            tls: tls.map(Arc::new),
            refusals: Arc::default(),
            net: World::real().net,
        };
        self.endpoint().connect_with_connector_lazy(dial)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }

    fn envelope(&self, from: u64) -> Envelope {
        Envelope { cluster: self.cluster, from, to: self.id }
    }
}

/// Connects with TLS and whatever certificate it has.
#[derive(Clone)]
struct Presenting(SocketAddr, Arc<rustls::ClientConfig>);

impl Service<http::Uri> for Presenting {
    type Response = TokioIo<PeerStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _address: http::Uri) -> Self::Future {
        let Self(address, config) = self.clone();
        Box::pin(async move {
            let stream = Wire::Tcp(TcpStream::connect(address).await?);
            let name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
            let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await?;
            Ok(TokioIo::new(PeerStream::tls(stream, None)))
        })
    }
}

/// One call with `message` as it stands on the wire; its gRPC status, or none without a connection.
async fn call(channel: &Channel, path: &str, headers: HeaderMap, message: &[u8]) -> Option<Code> {
    let mut request = Request::post(path).body(Body::new(Full::new(message))).unwrap();
    *request.headers_mut() = headers;
    request.headers_mut().insert(CONTENT_TYPE, "application/grpc".parse().unwrap());
    request.headers_mut().insert(TE, "trailers".parse().unwrap());
    let mut channel = channel.clone();
    let answer = async {
        std::future::poll_fn(|context| channel.poll_ready(context)).await.ok()?;
        let mut response = channel.call(request).await.ok()?;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Some(status.code());
        }
        loop {
            let body = Pin::new(response.body_mut());
            let mut body = body;
            let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await?;
            if let Some(trailers) = frame.ok()?.trailers_ref() {
                return Status::from_header_map(trailers).map(|status| status.code());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an answer")
}

/// A body of one frame.
struct Full(Option<bytes::Bytes>);

impl Full {
    fn new(bytes: &[u8]) -> Self {
        Self(Some(bytes::Bytes::copy_from_slice(bytes)))
    }
}

impl http_body::Body for Full {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

/// A message of gRPC: not compressed, its length, its bytes.
fn framed(message: &impl prost::Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], len.as_slice(), &bytes].concat()
}

fn headers(request: tonic::Request<()>) -> HeaderMap {
    request.into_parts().0.into_headers()
}

/// Invariant 6. Method: every call of the contract by everybody who must not even get a connection.
#[tokio::test]
async fn no_stranger_gets_through() {
    let (ca, other_ca) = (TestCa::new(), TestCa::new());
    let under = Under::start(Some(ca.tls("n1"))).await;
    let term = under.term().await;
    let good = ca.tls("n2");
    let presenting =
        |config| under.endpoint().connect_with_connector_lazy(Presenting(under.address, config));
    // They all trust the node: it is the node that must refuse them.
    let with = |files| presenting(client_with(&good, &files));
    let mut nameless = (*good.client()).clone();
    nameless.client_auth_cert_resolver = Arc::new(NoCertificate);
    let strangers = [
        ("plain", under.dial(None, None)),
        ("nameless", presenting(Arc::new(nameless))),
        ("foreign", with(other_ca.issue("n2"))),
        (
            "expired",
            with(ca.issue_with("n3", |params| params.not_after = date_time_ymd(2020, 1, 1))),
        ),
        (
            "client",
            with(ca.issue_with("n4", |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            })),
        ),
    ];
    let envelope = headers(under.envelope(2).wrap(()));
    for (path, _) in methods() {
        for (who, channel) in &strangers {
            let have = call(channel, &path, envelope.clone(), &[]).await;
            assert!(matches!(have, None | Some(Code::Unavailable)), "{path}, {who}: {have:?}");
        }
    }
    // The same connections with a good certificate do get through.
    let peer = with(ca.issue("n5"));
    let hello = framed(&pb::HelloRequest { name: "n5".to_owned(), id: 5 });
    let bare = headers(crate::peers::greeting(()));
    let have = call(&peer, "/raftcached.peer.v1.Cluster/Hello", bare, &hello).await;
    assert_eq!(have, Some(Code::Ok));
    under.check_unchanged(term).await;
}

/// Invariants 5 and 6. Method: every call of the contract by a peer, with every envelope that must
/// not pass.
#[tokio::test]
async fn no_call_passes_without_a_right_envelope() {
    let ca = TestCa::new();
    let under = Under::start(Some(ca.tls("n1"))).await;
    let term = under.term().await;
    let peer = under.dial(Some(ca.tls("n2")), Some("n1"));
    let envelope = under.envelope(2);
    let enveloped = |envelope: Envelope| headers(envelope.wrap(()));
    let bare = || headers(crate::peers::greeting(()));
    let mut versionless = enveloped(envelope);
    versionless.remove("raftcached-version");
    let mut newer = enveloped(envelope);
    newer.insert("raftcached-version", "2..3".parse().unwrap());
    for (path, _) in methods() {
        for (how, headers) in [("no version", &versionless), ("newer", &newer)] {
            let have = call(&peer, &path, headers.clone(), &[]).await;
            assert_eq!(have, Some(Code::FailedPrecondition), "{path}, {how}");
        }
        if OPEN.contains(&path.as_str()) {
            continue;
        }
        let wrong = [
            ("none", bare(), Code::InvalidArgument),
            ("to", enveloped(Envelope { to: 7, ..envelope }), Code::NotFound),
            ("cluster", enveloped(Envelope { cluster: 7, ..envelope }), Code::PermissionDenied),
            ("name", enveloped(Envelope { from: under.id, ..envelope }), Code::PermissionDenied),
        ];
        for (how, headers, want) in wrong {
            assert_eq!(call(&peer, &path, headers, &[]).await, Some(want), "{path}, {how}");
        }
    }
    let unknown = call(&peer, "/no.such/Method", enveloped(envelope), &[]).await;
    assert_eq!(unknown, Some(Code::Unimplemented));
    let unknown = call(&peer, "/no.such/Method", bare(), &[]).await;
    assert_eq!(unknown, Some(Code::InvalidArgument), "strangers are not even told that");
    under.check_unchanged(term).await;
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Without TLS there is still the envelope.
#[tokio::test]
async fn without_tls_a_call_still_needs_its_envelope() {
    let under = Under::start(None).await;
    let term = under.term().await;
    let channel = under.dial(None, None);
    for (path, _) in methods().iter().filter(|(path, _)| !OPEN.contains(&path.as_str())) {
        let bare = headers(crate::peers::greeting(()));
        assert_eq!(call(&channel, path, bare, &[]).await, Some(Code::InvalidArgument), "{path}");
    }
    under.check_unchanged(term).await;
}

#[tokio::test]
async fn a_node_speaks_for_itself_alone() {
    let ca = TestCa::new();
    let under = Under::start(Some(ca.tls("n1"))).await;
    let term = under.term().await;
    let good = under.dial(Some(ca.tls("n2")), Some("n1"));
    let bare = || headers(crate::peers::greeting(()));
    let path = |name: &str| format!("/raftcached.peer.v1.{name}");

    let hello = |name: &str| framed(&pb::HelloRequest { name: name.to_owned(), id: 2 });
    for (name, want) in
        [("n2", Code::Ok), ("n1", Code::PermissionDenied), ("", Code::PermissionDenied)]
    {
        let have = call(&good, &path("Cluster/Hello"), bare(), &hello(name)).await;
        assert_eq!(have, Some(want), "Hello as {name:?}");
    }
    let member = pb::Member { name: "n1".to_owned(), ..pb::Member::default() };
    let join = framed(&pb::JoinRequest { id: 9, member: Some(member.clone()) });
    let have = call(&good, &path("Cluster/Join"), bare(), &join).await;
    assert_eq!(have, Some(Code::PermissionDenied), "Join as n1");
    let members = vec![pb::MemberOf { id: under.id, member: Some(member) }];
    let form = framed(&pb::FormRequest { cluster: 7, members });
    let have = call(&good, &path("Cluster/Form"), bare(), &form).await;
    assert_eq!(have, Some(Code::PermissionDenied), "Form without n2");

    let envelope = headers(under.envelope(2).wrap(()));
    for (node, term) in [(under.id, 1000), (2, u64::MAX)] {
        let leader = Some(pb::LeaderId { term, node });
        let vote = Some(pb::Vote { leader, committed: false });
        let vote = framed(&pb::VoteRequest { vote, ..pb::VoteRequest::default() });
        for method in ["Raft/Vote", "Raft/PreVote"] {
            let have = call(&good, &path(method), envelope.clone(), &vote).await;
            assert_ne!(have, Some(Code::Ok), "{method} as {node} in term {term}");
        }
    }
    // Whoever wanted n3 at this address must not be served by n1.
    let other = under.dial(Some(ca.tls("n2")), Some("n3"));
    let have = call(&other, &path("Cluster/Hello"), bare(), &hello("n2")).await;
    assert_ne!(have, Some(Code::Ok));
    under.check_unchanged(term).await;
}

#[tokio::test]
async fn only_streams_may_be_large() {
    let streams: BTreeSet<_> = methods().into_iter().filter(|(_, streams)| *streams).collect();
    let streams: BTreeSet<_> = streams.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(streams, LARGE.into(), "what streams carries items");
    let known: BTreeSet<_> = methods().into_iter().map(|(path, _)| path).collect();
    assert!(OPEN.iter().all(|path| known.contains(*path)), "{known:?}");

    let under = Under::start(None).await;
    let channel = under.dial(None, None);
    let announced = |len: u32| [&[0], len.to_be_bytes().as_slice()].concat();
    let envelope = headers(under.envelope(2).wrap(()));
    let small_len_max = u32::try_from(SMALL_LEN_MAX).unwrap();
    for (path, is_stream) in methods() {
        for len in [small_len_max + 1, u32::MAX] {
            if is_stream && len != u32::MAX {
                continue;
            }
            let have = call(&channel, &path, envelope.clone(), &announced(len)).await;
            assert!(is_stream || have == Some(Code::OutOfRange), "{path}, {len}: {have:?}");
        }
    }
    under.node.serving().await.unwrap();
}

/// Method: more silent connections than there may be handshakes. A peer must get in all the same.
#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let ca = TestCa::new();
    let under = Under::start(Some(ca.tls("n1"))).await;
    let silent: Vec<_> = (0..300).map(|_| StdTcpStream::connect(under.address).unwrap()).collect();
    let begun = Instant::now();
    let channel = under.dial(Some(ca.tls("n2")), Some("n1"));
    let hello = framed(&pb::HelloRequest { name: "n2".to_owned(), id: 2 });
    let bare = headers(crate::peers::greeting(()));
    let have = call(&channel, "/raftcached.peer.v1.Cluster/Hello", bare, &hello).await;
    assert_eq!(have, Some(Code::Ok));
    assert!(begun.elapsed() < Duration::from_secs(4), "not before the others had timed out");
    drop(silent);
}

/// What a newer program wrote must stop this one: it is never left out.
#[tokio::test]
async fn an_entry_of_unknown_type_stops_the_node() {
    let under = Under::start(None).await;
    let leader = Some(pb::LeaderId { term: 1, node: 2 });
    let log_id = Some(pb::LogId { leader, index: 41 });
    let request = pb::AppendRequest {
        vote: Some(pb::Vote { leader, committed: true }),
        entries: vec![pb::Entry { log_id, payload: None }],
        ..pb::AppendRequest::default()
    };
    let mut client = pb::raft_client::RaftClient::new(under.dial(None, None));
    let stream = tokio_stream::iter([request]);
    let _ = client.append(under.envelope(2).wrap(stream)).await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), under.node.stopped()).await;
    let fatal = stopped.expect("the node stops");
    assert!(matches!(&fatal, Fatal::TooOld { what, .. } if what.contains("entry 42")), "{fatal}");
}
