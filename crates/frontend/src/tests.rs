//! Connections over pipes: no socket, and pipes as narrow as one byte.

mod admin;
mod bounds;
mod budget;
mod idle;
mod meta;
mod order;
mod reads;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::connection::serve;
use crate::options::Options;
use crate::registry::{Endpoint, Entry};
use crate::server::{Context, Shared};
use crate::testing::OneNode;

/// Long enough for anything that happens at all.
const DEADLINE: Duration = Duration::from_secs(20);

/// A node, and what its connections share.
struct Fixture {
    node: OneNode,
    shared: Arc<Shared>,
}

impl Fixture {
    fn new() -> Self {
        Self::with_options(Options { threads: 1, ..Options::default() })
    }

    fn with_options(options: Options) -> Self {
        Self { node: OneNode::default(), shared: Arc::new(Shared::new(options)) }
    }

    /// A client on a pipe that holds `width` bytes in each direction.
    fn connect(&self, width: usize) -> DuplexStream {
        let (client, server) = tokio::io::duplex(width);
        let context = Context::new(&self.shared, 0);
        let entry = Arc::new(Entry::new(-1, Endpoint::UnixClient, None));
        tokio::spawn(serve(server, self.node.clone(), context, entry));
        client
    }

    /// Sends all of `input` and no more, and returns everything that comes back.
    async fn talk(&self, width: usize, input: &[u8]) -> String {
        let (mut from_server, mut to_server) = tokio::io::split(self.connect(width));
        let send = async {
            // The server may close before it has read everything.
            let _ = to_server.write_all(input).await;
            let _ = to_server.shutdown().await;
        };
        let mut replies = Vec::new();
        let both = async { tokio::join!(send, from_server.read_to_end(&mut replies)) };
        tokio::time::timeout(DEADLINE, both).await.expect("no end of the replies").1.unwrap();
        String::from_utf8_lossy(&replies).into_owned()
    }

    /// Waits until `condition` holds.
    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let poll = async {
            while !condition(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, poll).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// Lets every connection do all it can.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

/// Reads exactly `want` from the server.
async fn expect(client: &mut DuplexStream, want: &str) {
    let mut have = vec![0; want.len()];
    let read = tokio::time::timeout(DEADLINE, client.read_exact(&mut have));
    read.await.unwrap_or_else(|_| panic!("no reply, wanted {want:?}")).unwrap();
    assert_eq!(String::from_utf8_lossy(&have), want);
}

/// Checks that nothing has been sent that was not expected.
async fn expect_silence(fixture: &Fixture, client: &mut DuplexStream) {
    fixture.settle().await;
    let mut byte = [0];
    let read = std::future::poll_fn(|cx| {
        let mut buffer = tokio::io::ReadBuf::new(&mut byte);
        let read =
            tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut *client), cx, &mut buffer);
        std::task::Poll::Ready(read.is_ready())
    });
    assert!(!read.await, "an early reply: {:?}", char::from(byte[0]));
}
