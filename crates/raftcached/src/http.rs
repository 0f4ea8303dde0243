//! A small HTTP client for the admin port of a node.

#[cfg(fuzzing)]
pub mod fuzzing;

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::values::HostPort;

/// What the admin port answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Asks the admin port at `address` for `path`, within `limit` altogether.
///
/// # Errors
///
/// When nobody answers in time, not in HTTP, or at unreasonable length.
pub(crate) async fn get(address: &HostPort, path: &str, limit: Duration) -> anyhow::Result<Reply> {
    timed(limit, exchange(address, "GET", path, "")).await
}

/// Posts `body`, which is JSON, to `path` at the admin port at `address`; else as [`get`].
///
/// # Errors
///
/// As for [`get`]; what was asked for may have been done.
pub(crate) async fn post(
    address: &HostPort,
    path: &str,
    body: &str,
    limit: Duration,
) -> anyhow::Result<Reply> {
    timed(limit, exchange(address, "POST", path, body)).await
}

async fn timed(
    limit: Duration,
    exchange: impl Future<Output = anyhow::Result<Reply>>,
) -> anyhow::Result<Reply> {
    match tokio::time::timeout(limit, exchange).await {
        Ok(reply) => reply,
        Err(_) => bail!("no answer within {} ms", limit.as_millis()),
    }
}

async fn exchange(
    address: &HostPort,
    method: &str,
    path: &str,
    body: &str,
) -> anyhow::Result<Reply> {
    let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    // HTTP/1.0, so that the body is neither chunked nor followed by anything.
    let len = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(REPLY_LEN_MAX + 1).read_to_end(&mut bytes).await?;
    ensure!(bytes.len() as u64 <= REPLY_LEN_MAX, "the reply is longer than {REPLY_LEN_MAX} bytes");
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> anyhow::Result<Reply> {
    const END: &[u8] = b"\r\n\r\n";
    let split = bytes.windows(END.len()).position(|window| window == END);
    let (head, body) = split
        .and_then(|at| Some((str::from_utf8(bytes.get(..at)?).ok()?, bytes.get(at + END.len()..)?)))
        .context("this is not a raftcached admin port: it does not speak HTTP")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .context("this is not a raftcached admin port: it does not speak HTTP")?;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            ensure!(value.trim().parse() == Ok(body.len()), "the reply was cut off");
        }
    }
    Ok(Reply { status, body: body.to_vec() })
}

/// More than the status of a thousand nodes.
const REPLY_LEN_MAX: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies() {
        let cases = [
            ("ok", "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nok\n", Some((200, "ok\n"))),
            ("no length", "HTTP/1.1 503 Sorry\r\n\r\nno", Some((503, "no"))),
            ("cut off", "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nok\n", None),
            ("head cut off", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n", None),
            ("a memcached", "ERROR\r\nERROR\r\n\r\n", None),
            ("nothing", "", None),
        ];
        for (name, bytes, want) in cases {
            let want = want.map(|(status, body)| Reply { status, body: body.into() });
            assert_eq!(parse(bytes.as_bytes()).ok(), want, "case: {name}");
        }
    }
}
