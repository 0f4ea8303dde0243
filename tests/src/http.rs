//! A tiny HTTP client for the admin port.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// What an admin port answered.
#[derive(Debug, Clone)]
pub struct HttpReply {
    /// The status code of the first line.
    pub code: u16,
    /// Everything after the headers.
    pub body: String,
}

/// Asks the admin port `port` of this machine for `path`.
///
/// # Errors
///
/// When nobody answers within two seconds, or not in HTTP.
pub fn get(port: u16, path: &str) -> Result<HttpReply> {
    exchange(port, "GET", path, "", Duration::from_secs(2))
}

/// Posts an empty body to `path` at the admin port `port` of this machine.
///
/// # Errors
///
/// When nobody answers within ten seconds, or not in HTTP.
pub fn post(port: u16, path: &str) -> Result<HttpReply> {
    exchange(port, "POST", path, "", Duration::from_secs(10))
}

/// Posts `body` to `path` at the admin port `port` of this machine.
///
/// # Errors
///
/// When nobody answers within ten seconds, or not in HTTP.
pub fn post_json(port: u16, path: &str, body: &str) -> Result<HttpReply> {
    exchange(port, "POST", path, body, Duration::from_secs(10))
}

fn exchange(
    port: u16,
    method: &str,
    path: &str,
    body: &str,
    within: Duration,
) -> Result<HttpReply> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let what = || format!("{method} {path} at admin port {port}");
    let mut stream = TcpStream::connect_timeout(&address, within).with_context(what)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    // HTTP/1.0, so that the body is neither chunked nor followed by anything.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).with_context(what)?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).with_context(what)?;
    let (head, body) = reply.split_once("\r\n\r\n").with_context(what)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).with_context(what)?;
    Ok(HttpReply { code, body: body.to_owned() })
}
