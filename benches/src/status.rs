//! The two pages of a node's admin HTTP that the benchmark reads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The part of `/v1/status` that decides who is asked.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Status {
    /// Whether a majority answers.
    pub(crate) quorum: bool,
    /// How many more nodes may be lost.
    pub(crate) can_lose: usize,
    /// One per raft group.
    pub(crate) shards: Vec<ShardStatus>,
}

/// One raft group.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ShardStatus {
    /// The leader's name, when there is one.
    pub(crate) leader: Option<String>,
}

impl Status {
    /// The one leader of all shards, once as many nodes as `can_lose` may be lost.
    pub(crate) fn settled_leader(&self, can_lose: usize) -> Option<&str> {
        if !self.quorum || self.can_lose < can_lose {
            return None;
        }
        let (first, others) = self.shards.split_first()?;
        let same = others.iter().all(|shard| shard.leader == first.leader);
        first.leader.as_deref().filter(|_| same)
    }
}

/// Whether the node at `admin` serves clients.
pub(crate) fn is_ready(admin: SocketAddr) -> bool {
    page(admin, "/readyz").is_ok()
}

/// Asks the node at `admin` for its view of the cluster.
///
/// # Errors
///
/// If it does not answer, or not in the agreed form.
pub(crate) fn read(admin: SocketAddr) -> anyhow::Result<Status> {
    let body = page(admin, "/v1/status")?;
    serde_json::from_str(&body).with_context(|| format!("reading /v1/status of {admin}: {body}"))
}

/// Returns the body of a page that answers 200. HTTP/1.0, so that the end of the stream is its end.
fn page(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, WAIT).context("connecting")?;
    stream.set_read_timeout(Some(WAIT)).context("setting a read timeout")?;
    // One write: a node that answers before the rest of a request arrives resets the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n");
    stream.write_all(request.as_bytes()).context("sending")?;
    let mut reply = String::new();
    stream.take(PAGE_LEN_MAX).read_to_string(&mut reply).context("receiving")?;
    let (head, body) = reply.split_once("\r\n\r\n").context("not an HTTP reply")?;
    let status = head.split_ascii_whitespace().nth(1);
    ensure!(status == Some("200"), "{path} of {admin} answers {}", status.unwrap_or("nothing"));
    Ok(body.to_owned())
}

const WAIT: Duration = Duration::from_secs(2);
const PAGE_LEN_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders() {
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("one", r#"{"quorum":true,"can_lose":1,"shards":[{"leader":"n2"}]}"#, Some("n2")),
            (
                "more fields",
                r#"{"quorum":true,"can_lose":1,"nodes":[],
                "shards":[{"shard":0,"term":3,"leader":"n1"}]}"#,
                Some("n1"),
            ),
            ("electing", r#"{"quorum":true,"can_lose":1,"shards":[{"leader":null}]}"#, None),
            (
                "a node is missing",
                r#"{"quorum":true,"can_lose":0,"shards":[{"leader":"n1"}]}"#,
                None,
            ),
            ("no quorum", r#"{"quorum":false,"can_lose":1,"shards":[{"leader":"n1"}]}"#, None),
            (
                "two leaders",
                r#"{"quorum":true,"can_lose":1,
                "shards":[{"leader":"n1"},{"leader":"n2"}]}"#,
                None,
            ),
            ("no shards", r#"{"quorum":true,"can_lose":1,"shards":[]}"#, None),
        ];
        for (name, json, want) in cases {
            let status: Status = serde_json::from_str(json).unwrap();
            assert_eq!(status.settled_leader(1), *want, "case: {name}");
        }
    }

    #[test]
    fn pages() {
        let cases: &[(&str, &[u8], Option<&str>)] = &[
            ("ready", b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nready\n", Some("ready\n")),
            ("not ready", b"HTTP/1.1 503 Service Unavailable\r\n\r\ncatching up", None),
            ("not HTTP", b"ERROR\r\n", None),
            ("silence", b"", None),
        ];
        for (name, reply, want) in cases {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let admin = listener.local_addr().unwrap();
            let reply = reply.to_vec();
            let serving = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let len = stream.read(&mut request).unwrap();
                assert!(request[..len].starts_with(b"GET /readyz HTTP/1.0\r\n"));
                stream.write_all(&reply).unwrap();
            });
            assert_eq!(page(admin, "/readyz").ok().as_deref(), *want, "case: {name}");
            serving.join().unwrap();
        }
    }
}
