//! Golden transcripts, replayed against us and, where it is installed, against stock memcached.
//!
//! A transcript is a text file in `tests/transcripts`. `> ` sends, `< ` is what must come back,
//! `# ` is a comment. Text lines end in CRLF; in files named `binary*` a line is a list of hex
//! bytes and "quoted text". `*` matches one run of digits (a cas unique), and in binary `**` skips
//! the eight bytes of one. Each group of `>` lines is sent at once, and again byte by byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use frontend::testing::OneNode;
use frontend::{Address, Listener, Options};

const DEADLINE: Duration = Duration::from_secs(20);

/// One byte of an expected reply.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Want {
    Byte(u8),
    Digits,
    Any,
}

#[derive(Debug, Default)]
struct Exchange {
    line: usize,
    send: Vec<u8>,
    want: Vec<Want>,
}

fn transcripts() -> anyhow::Result<Vec<(PathBuf, Vec<Exchange>)>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths = std::fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    paths.sort();
    ensure!(!paths.is_empty(), "no transcripts");
    let read = |path: PathBuf| {
        let name = path.display().to_string();
        let binary =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("binary"));
        let exchanges = exchanges(&std::fs::read_to_string(&path)?, binary).context(name)?;
        Ok((path, exchanges))
    };
    paths.into_iter().map(read).collect()
}

fn exchanges(text: &str, binary: bool) -> anyhow::Result<Vec<Exchange>> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        if !mark.starts_with(['<', '>']) {
            ensure!(mark.trim().is_empty() || mark.starts_with('#'), "line {}", index + 1);
            continue;
        }
        let bytes = if binary { frame(rest) } else { Ok(text_line(rest)) };
        let bytes = bytes.with_context(|| format!("line {}", index + 1))?;
        if mark.starts_with('<') {
            exchanges.last_mut().context("< before >")?.want.extend(bytes);
            continue;
        }
        if exchanges.last().is_none_or(|last| !last.want.is_empty()) {
            exchanges.push(Exchange { line: index + 1, ..Exchange::default() });
        }
        let send = bytes.iter().map(|want| match want {
            Want::Byte(byte) => *byte,
            Want::Digits | Want::Any => b'*',
        });
        exchanges.last_mut().context("no exchange")?.send.extend(send);
    }
    Ok(exchanges)
}

fn text_line(line: &str) -> Vec<Want> {
    let want = |byte| if byte == b'*' { Want::Digits } else { Want::Byte(byte) };
    line.bytes().chain(*b"\r\n").map(want).collect()
}

fn frame(line: &str) -> anyhow::Result<Vec<Want>> {
    let mut frame = Vec::new();
    for word in line.split_whitespace() {
        if let Some(text) = word.strip_prefix('"') {
            frame.extend(text.trim_end_matches('"').bytes().map(Want::Byte));
        } else if word == "**" {
            frame.extend([Want::Any; 8]);
        } else {
            for at in (0..word.len()).step_by(2) {
                let hex = word.get(at..at + 2).context("half a byte")?;
                frame.push(Want::Byte(u8::from_str_radix(hex, 16)?));
            }
        }
    }
    Ok(frame)
}

/// Reads as many bytes as `want` takes, and says whether they fit.
fn receive(stream: &mut TcpStream, want: &[Want]) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut have = Vec::new();
    let mut next = |have: &mut Vec<u8>| -> anyhow::Result<u8> {
        let mut byte = [0];
        stream
            .read_exact(&mut byte)
            .with_context(|| format!("after {:?}", have.escape_ascii().to_string()))?;
        have.extend(byte);
        Ok(byte[0])
    };
    let mut peeked = None;
    for want in want {
        let mut byte = match peeked.take() {
            Some(byte) => byte,
            None => next(&mut have)?,
        };
        match want {
            Want::Any => {}
            Want::Byte(want) if *want == byte => {}
            Want::Byte(_) => return Ok((have, false)),
            Want::Digits => {
                while byte.is_ascii_digit() {
                    byte = next(&mut have)?;
                }
                peeked = Some(byte);
            }
        }
    }
    Ok((have, true))
}

fn replay(address: SocketAddr, who: &str) -> anyhow::Result<()> {
    for (path, exchanges) in transcripts()? {
        for bytewise in [false, true] {
            let mut stream = connect(address)?;
            stream.write_all(b"flush_all\r\n")?;
            stream.read_exact(&mut [0; 4])?;
            let mut stream = connect(address)?;
            for Exchange { line, send, want } in &exchanges {
                let chunk_len = if bytewise { 1 } else { send.len() };
                for chunk in send.chunks(chunk_len) {
                    stream.write_all(chunk)?;
                }
                let at = || format!("{who}, {}:{line}, bytewise: {bytewise}", path.display());
                let (have, fits) = receive(&mut stream, want).with_context(at)?;
                ensure!(fits, "{}: got {:?}", at(), have.escape_ascii().to_string());
            }
            // Nothing is left over.
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest)?;
            ensure!(rest.is_empty(), "{who}, {}: {:?}", path.display(), rest.escape_ascii());
        }
    }
    Ok(())
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let start = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(DEADLINE))?;
                return Ok(stream);
            }
            Err(error) => ensure!(start.elapsed() < DEADLINE, "{address}: {error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn we_answer_as_the_transcripts_say() -> anyhow::Result<()> {
    for lease in [true, false] {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let Address::Tcp(address) = *listener.address() else { anyhow::bail!("not TCP") };
        let node = OneNode::default();
        node.set_lease(lease);
        // The server's threads end with the process.
        std::thread::spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let never = std::future::pending();
            let options = Options { threads: 1, ..Options::default() };
            Ok(runtime.block_on(frontend::Server::new(options).run(vec![listener], node, never))?)
        });
        replay(address, &format!("raftcached, lease: {lease}"))?;
    }
    Ok(())
}

/// The transcripts say what memcached does, not what we believe it does.
#[test]
fn memcached_answers_as_the_transcripts_say() -> anyhow::Result<()> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let port = address.port().to_string();
    let memcached = Command::new("memcached")
        .args(["-u", "nobody", "-l", "127.0.0.1", "-t", "1", "-p", &port])
        .stderr(Stdio::null())
        .spawn();
    let Ok(memcached) = memcached else {
        println!("skipped: memcached is not installed");
        return Ok(());
    };
    let _guard = Running(memcached);
    replay(address, "memcached")
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
