//! Input that has broken memcached, sent to a node that serves others meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Cluster, ClusterOptions, Figures, TextClient, Undisturbed, Violations, alone, count, pause,
};

/// What has to come back, on a connection that then sends no more.
enum Want {
    /// Exactly this, and the end.
    Exactly(&'static str),
    /// A beginning, and the end.
    Begins(&'static [u8]),
    /// Nothing, and the end.
    Nothing,
    /// No success; whatever else, and the end.
    NoSuccess,
}

/// One bad input.
struct Case {
    /// Where it is from.
    name: &'static str,
    input: Vec<u8>,
    want: Want,
}

/// Method: each input alone, to each node; its answer is judged, the node's memory after all of
/// them, and that it serves. Source: memcached's fixed vulnerabilities, and what its tests send.
#[test]
fn each_is_answered_or_closed_and_costs_nothing() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::start(1)?;
    let port = cluster.client_port(0);
    TextClient::connect(port)?.set("large", 0, 0, &vec![b'1'; 500_000])?;
    let before = cluster.resources(0)?.resident;
    let mut wrong = Vec::new();
    for case in cases() {
        let reply = send(port, &case.input).with_context(|| case.name)?;
        if !case.want.is_met(&reply) {
            let shown = String::from_utf8_lossy(reply.get(..reply.len().min(80)).unwrap_or(&reply));
            wrong.push(format!("{}: {shown:?}", case.name));
        }
        ensure!(TextClient::connect(port)?.get("large")?.is_some(), "after {}", case.name);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let grown = cluster.resources(0)?.resident_max.saturating_sub(before);
    println!("{} inputs; grown by {} KiB at the most", cases().len(), grown / 1024);
    ensure!(grown < 32 << 20, "grown by {grown} bytes");
    cluster.finish()
}

/// Method: rounds alone, beside two friendly clients and beside two hostile ones take turns; in each,
/// one client reads and writes, and its 99th percentile is taken. The medians of the rounds are
/// compared. The friendly ones send as much as often, and take processor time, too. All are served by
/// one thread.
#[test]
fn others_hardly_notice() -> Result<()> {
    let _alone = alone();
    let args = ["--threads", "1"].map(str::to_owned).to_vec();
    let options = ClusterOptions { nodes: 1, args, ..ClusterOptions::default() };
    let cluster = Cluster::start_with(options)?;
    let port = cluster.client_port(0);
    TextClient::connect(port)?.set("large", 0, 0, &vec![b'1'; 500_000])?;
    let hostile: Vec<_> = cases().into_iter().map(|case| case.input).collect();
    let friendly: Vec<_> = hostile.iter().map(|input| well_formed(input.len())).collect();
    let mut beside = [("nobody", vec![]), ("friends", friendly), ("enemies", hostile)]
        .map(|(name, inputs)| (name, inputs, Figures::default()));
    let violations = Violations::default();
    for _ in 0..count("ROUNDS", 12, 4) {
        for (name, inputs, figures) in &mut beside {
            let stop = AtomicBool::new(false);
            let begun = Undisturbed::now();
            let percentile = thread::scope(|scope| {
                for offset in 0..2 {
                    let (name, inputs, stop, violations) = (&*name, &*inputs, &stop, &violations);
                    scope.spawn(move || {
                        for input in inputs.iter().cycle().skip(offset * inputs.len() / 2) {
                            if stop.load(Ordering::Relaxed) {
                                return;
                            }
                            if let Err(error) = send(port, input) {
                                violations.record(format!("one of the {name}: {error}"));
                            }
                            pause();
                        }
                    });
                }
                let probed = probe(port);
                stop.store(true, Ordering::Relaxed);
                probed
            })?;
            figures.push_undisturbed(percentile, begun);
        }
    }
    violations.check()?;
    for (name, _, figures) in &beside {
        println!("p99 of a round beside {name}: median {:?}; {figures}", figures.percentile(50));
    }
    let [_, (.., friends), (.., enemies)] = &beside;
    enemies.judge(50, 2 * friends.percentile(50).max(TICK))?;
    cluster.finish()
}

/// A store that is as long as this, or as short as there are some.
fn well_formed(len: usize) -> Vec<u8> {
    let value_len = len.saturating_sub("set friend 0 0 9999\r\n\r\n".len()).clamp(1, 1_000_000);
    let value = "v".repeat(value_len);
    format!("set friend 0 0 {value_len}\r\n{value}\r\n").into_bytes()
}

/// A second of reads and writes, one after the other.
fn probe(port: u16) -> Result<Duration> {
    let mut client = TextClient::connect(port)?;
    let (started, mut figures) = (Instant::now(), Figures::default());
    while started.elapsed() < ROUND {
        let asked = Instant::now();
        client.set("probe", 0, 0, b"1")?;
        ensure!(client.get("probe")?.is_some(), "a false miss");
        figures.push(asked.elapsed());
    }
    Ok(figures.percentile(99))
}

/// Sends `input` and no more, and returns all that comes until the node closes.
fn send(port: u16, input: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    // Closed in the middle of it is a reaction, too.
    let _ = stream.write_all(input);
    let _ = stream.shutdown(Shutdown::Write);
    let mut reply = Vec::new();
    match stream.read_to_end(&mut reply) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error.into()),
        Ok(_) | Err(_) => Ok(reply),
    }
}

impl Want {
    fn is_met(&self, reply: &[u8]) -> bool {
        match self {
            Self::Exactly(want) => reply == want.as_bytes(),
            Self::Begins(want) => reply.starts_with(want),
            Self::Nothing => reply.is_empty(),
            // STORED, a value, or a binary reply of status 0.
            Self::NoSuccess => {
                let binary = reply.first() == Some(&0x81) && reply.get(6..8) == Some(&[0, 0]);
                !binary && !reply.starts_with(b"STORED") && !reply.starts_with(b"VALUE")
            }
        }
    }
}

/// A binary request whose header says what it likes.
fn binary(opcode: u8, key_len: u16, extras_len: u8, body_len: u32, body: &[u8]) -> Vec<u8> {
    let mut request = vec![0x80, opcode];
    request.extend(key_len.to_be_bytes());
    request.extend([extras_len, 0, 0, 0]);
    request.extend(body_len.to_be_bytes());
    request.extend([0; 12]);
    request.extend(body);
    request
}

fn cases() -> Vec<Case> {
    use Want::{Begins, Exactly, NoSuccess, Nothing};
    let text = |name, input: &str, want| Case { name, input: input.as_bytes().to_vec(), want };
    let case = |name, input, want| Case { name, input, want };
    let bad_line = "CLIENT_ERROR bad command line format\r\n";
    let mut cases = vec![
        text("CVE-2009-1255", "stats maps\r\n", NoSuccess),
        text("CVE-2009-2415: negative length", "set k 0 0 -1\r\n", Exactly(bad_line)),
        text("CVE-2009-2415: huge length", "set k 0 0 4294967295\r\n", Exactly(bad_line)),
        case("CVE-2010-1152: endless line", vec![b'x'; 1 << 20], NoSuccess),
        text("CVE-2019-11596", "lru mode\r\nlru temp_ttl\r\nlru\r\n", NoSuccess),
        text("CVE-2019-15026", "stats conns\r\n", Begins(b"STAT ")),
        text("CVE-2023-46853: bare line feed", "get none\nget none\n", Exactly("END\r\nEND\r\n")),
        text(
            "CVE-2018-1000127: one key often",
            &format!("get{}\r\n", " none".repeat(70_000)),
            Exactly("END\r\n"),
        ),
        text("spaces without an end", &" ".repeat(14_000), NoSuccess),
        text("CVE-2023-46852: spaces", &format!("get{}none\r\n", " ".repeat(500)), NoSuccess),
        text("HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", NoSuccess),
        text("HTTP with a body", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", NoSuccess),
        text("slow-loris", "set k 0 0 100000\r\nabc", Nothing),
        text(
            "two gigabytes",
            &format!("set k 0 0 2000000000\r\n{}", "x".repeat(100_000)),
            NoSuccess,
        ),
        text("a megabyte is no number", "incr large 1\r\n", Begins(b"CLIENT_ERROR ")),
        text("exptime", "set k 0 -2147483648 1\r\n1\r\nget k\r\n", Exactly("STORED\r\nEND\r\n")),
        text("base64 of nothing", "mg = b v\r\n", NoSuccess),
        text("base64 too long", &format!("mg {} b v\r\n", "QUFB".repeat(100)), NoSuccess),
        text("meta flags twice", "mg large v v v\r\n", Begins(b"CLIENT_ERROR ")),
        text("meta flags without end", &format!("mg none{}\r\n", " v".repeat(900)), NoSuccess),
        text("meta flag of no letter", "mg none \u{7f}\r\n", NoSuccess),
        text("ms with a bad flag", "ms k 2 !!\r\nhi\r\nmn\r\n", Begins(b"CLIENT_ERROR ")),
        text("slabs", "slabs reassign 99 -1\r\nslabs automove window 0\r\n", NoSuccess),
        text("huge cas", "cas large 0 0 1 99999999999999999999\r\n1\r\n", NoSuccess),
        case("NUL", b"get a\0b\r\nset\0 k\r\n\0\r\n".to_vec(), Begins(b"END\r\n")),
        case(
            "TLS",
            [&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], [0xaa; 506].as_slice()].concat(),
            Nothing,
        ),
        case(
            "bad magic in the second request",
            [binary(0x0a, 0, 0, 0, b""), vec![0x55; 24]].concat(),
            Begins(&[0x81, 0x0a]),
        ),
        case("opcode 0xff", binary(0xff, 0, 0, 4, b"body"), NoSuccess),
    ];
    // CVE-2011-4971, -2016-8704, -8705, -8706, -2017-9951, -2020-10931: lengths that lie.
    for opcode in [0x01, 0x02, 0x03, 0x05, 0x0e, 0x0f, 0x11, 0x19, 0x1c, 0x1d, 0x20, 0x21, 0x22] {
        for (key_len, extras_len, body_len) in [
            (1, 8, 0xffff_ffe8),
            (0xffff, 0, 0xffff_ffff),
            (250, 8, 10),
            (1, 200, 10),
            (0xfff0, 0xff, 0),
            (1, 0xff, 0x100),
            (251, 8, 300),
        ] {
            let input = binary(opcode, key_len, extras_len, body_len, &[b'k'; 64]);
            cases.push(case("lengths that lie", input, NoSuccess));
        }
    }
    cases
}

const ROUND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(20);
/// What a shared machine's scheduler does to a 99th percentile anyway.
const TICK: Duration = Duration::from_millis(2);
