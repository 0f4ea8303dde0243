//! Bad input gets a clear error and loses nothing.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Cluster, ClusterOptions, Process, Rng, StockMemcached, TextClient, alone, binary, free_port,
    pause, seed,
};

/// Method: every input is sent to a node and to stock memcached, followed by `version`; all lines
/// up to the version's must be the same, and so must be whether the connection is closed.
#[test]
fn malformed_lines_are_answered_like_memcached_does() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::start(3)?;
    let stock = StockMemcached::start(1)?;
    let mut differ = Vec::new();
    let lines = malformed();
    for (number, line) in lines.iter().enumerate() {
        let node = number % cluster.nodes();
        let have = reaction(cluster.client_port(node), line)?;
        let want = reaction(stock.client_port(0), line)?;
        let shown = String::from_utf8_lossy(line.get(..line.len().min(60)).unwrap_or_default());
        if have != want {
            differ.push(format!("{shown:?}: {have:?}, memcached {want:?}"));
        }
    }
    serves(&cluster)?;
    println!("{} malformed inputs, {} answered differently", lines.len(), differ.len());
    ensure!(differ.is_empty(), "{}", differ.join("\n"));
    cluster.finish()
}

fn malformed() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = [
        "\r\n",
        "get\r\n",
        "gets\r\n",
        "frobnicate\r\n",
        "GET k\r\n",
        "\0\0\0\r\n",
        "set\r\n",
        "set k\r\n",
        "set k 0 0\r\n",
        "set k 0 0 abc\r\n",
        "set k 0 0 -1\r\n",
        "set k abc 0 1\r\n",
        "set k 0 abc 1\r\n",
        "set k 4294967296 0 1\r\n",
        "set k 0 0 2147483648\r\n",
        "set k 0 0 18446744073709551616\r\n",
        "set k 0 0 3\r\nabcdef\r\n",
        "cas k 0 0 1\r\n",
        "cas k 0 0 1 x\r\n",
        "append k 0 0 1\r\nx\r\n",
        "incr k\r\n",
        "incr k abc\r\n",
        "incr k -1\r\n",
        "incr k 18446744073709551616\r\n",
        "decr k\r\n",
        "decr k abc\r\n",
        "touch k\r\n",
        "touch k abc\r\n",
        "gat\r\n",
        "gat 0\r\n",
        "delete\r\n",
        "delete k 10\r\n",
        "delete k 0 0 0\r\n",
        "verbosity\r\n",
    ]
    .map(|line| line.as_bytes().to_vec())
    .to_vec();
    let long_key = "k".repeat(251);
    lines.push(format!("get {long_key}\r\n").into_bytes());
    lines.push(format!("set {long_key} 0 0 1\r\nx\r\n").into_bytes());
    lines.push(format!("delete {long_key}\r\n").into_bytes());
    lines.push(format!("incr {long_key} 1\r\n").into_bytes());
    lines.push(vec![b'x'; 100_000]);
    lines
}

/// The lines a server answers before its version, and whether it then closes the connection.
fn reaction(port: u16, input: &[u8]) -> Result<(Vec<String>, bool)> {
    let mut client = TextClient::connect(port)?;
    let mut lines = Vec::new();
    // A server that closes in the middle of the input is a reaction, too.
    if client.send(input).and_then(|()| client.send(b"version\r\n")).is_err() {
        return Ok((lines, true));
    }
    loop {
        match client.line() {
            Ok(line) if line.starts_with("VERSION ") => return Ok((lines, false)),
            Ok(line) => lines.push(line),
            Err(_) => return Ok((lines, true)),
        }
    }
}

/// Method: 2 GB are announced to each node and 64 MB of them sent: the bytes must be swallowed and
/// not kept. (memcached answers after the last byte; earlier is as good.) A value of 8 MB is sent to
/// its end, after which the connection must be in step. Binary headers that lie are no success.
#[test]
fn a_length_of_two_gigabytes_costs_nothing() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::start(3)?;
    serves(&cluster)?;
    let chunk = vec![b'x'; 1 << 20];
    for node in 0..cluster.nodes() {
        let port = cluster.client_port(node);
        let before = cluster.resources(node)?.resident;
        let mut client = TextClient::connect(port)?;
        client.send(b"set huge 0 0 2000000000\r\n")?;
        (0..64).try_for_each(|_| client.send(&chunk))?;
        drop(client);
        let mut client = TextClient::connect(port)?;
        client.send(b"set large 0 0 8388608\r\n")?;
        (0..8).try_for_each(|_| client.send(&chunk))?;
        client.send(b"\r\nversion\r\n")?;
        let line = client.line()?;
        ensure!(line == "SERVER_ERROR object too large for cache", "answered {line:?}");
        let line = client.line()?;
        ensure!(line.starts_with("VERSION "), "out of step: {line:?}");
        let grown = cluster.resources(node)?.resident_max.saturating_sub(before);
        println!("{}: grown by {} KiB", cluster.name(node), grown / 1024);
        ensure!(grown < 16 << 20, "{}: grown by {grown} bytes", cluster.name(node));
        lying_headers(port)?;
    }
    serves(&cluster)?;
    cluster.finish()
}

/// Sends binary sets whose lengths contradict each other.
fn lying_headers(port: u16) -> Result<()> {
    let headers: [(u16, u8, u32); 5] =
        [(1, 8, 0xffff_ffe8), (250, 8, 10), (1, 200, 10), (0, 8, 8), (1, 0, 1)];
    for (key_len, extras_len, body_len) in headers {
        let mut header = vec![0x80, 0x01];
        header.extend(key_len.to_be_bytes());
        header.extend([extras_len, 0, 0, 0]);
        header.extend(body_len.to_be_bytes());
        // Opaque and cas unique, and some body.
        header.extend([0; 12 + 32]);
        let reply = shout(port, &header)?;
        let what = format!("key {key_len}, extras {extras_len}, body {body_len}");
        let status = reply.get(6..8).map(<[u8]>::to_vec);
        ensure!(status != Some(vec![0, 0]), "{what}: answered as a success");
    }
    Ok(())
}

/// Method: whatever does not speak our peer protocol is sent to every peer port, fifty connections
/// are left half open, and no term may change.
#[test]
fn a_peer_that_speaks_garbage_is_ignored() -> Result<()> {
    let _alone = alone();
    let mut rng = Rng::new(seed());
    let cluster = Cluster::start(3)?;
    let terms = cluster.status(0)?.terms();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut half_open = Vec::new();
    for node in 0..cluster.nodes() {
        let port = cluster.peer_port(node);
        let settings = [preface.clone(), vec![0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        let mut garbage = vec![
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"get k\r\n".to_vec(),
            [preface.clone(), vec![0xff; 64]].concat(),
            [settings.clone(), vec![0, 0, 64, 1, 5, 0, 0, 0, 1], rng.bytes(64)].concat(),
            settings.clone(),
        ];
        garbage.extend((0..20).map(|_| rng.bytes(4096)));
        for bytes in garbage {
            shout(port, &bytes)?;
        }
        for count in 0..50 {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.write_all(settings.get(..count % settings.len()).unwrap_or_default())?;
            half_open.push(stream);
        }
        for _ in 0..200 {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        }
        serves(&cluster).with_context(|| format!("after garbage at {}", cluster.name(node)))?;
    }
    let status = cluster.wait_healthy(Duration::from_secs(10))?;
    ensure!(status.terms() == terms, "terms {:?}, before {terms:?}", status.terms());
    println!("{} connections still half open, terms {terms:?}", half_open.len());
    cluster.finish()
}

/// Sends bytes and returns what comes back until the other side closes or falls silent.
fn shout(port: u16, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut reply = Vec::new();
    // Refused in the middle of the sentence: as good as any answer.
    if stream.write_all(bytes).is_ok() {
        match stream.take(1 << 20).read_to_end(&mut reply) {
            Ok(_) => {}
            Err(error) => {
                let silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                let closed = error.kind() == ErrorKind::ConnectionReset;
                ensure!(silent || closed, "{error}");
            }
        }
    }
    Ok(reply)
}

/// Method: nodes that must not start are started beside a running cluster; each must end by itself
/// with a failure, and say in words what was wrong.
#[test]
fn a_start_that_cannot_work_says_why() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::start(3)?;
    let alone = |ports: [u16; 3]| -> Vec<OsString> {
        let [client, peer, admin] = ports;
        let line = format!(
            "server --name n9 -l 127.0.0.1 -p {client} --peer-listen 127.0.0.1:{peer} \
             --admin-listen 127.0.0.1:{admin} --join 127.0.0.1:{peer} --bootstrap-expect 1"
        );
        line.split(' ').map(OsString::from).collect()
    };
    let free = || Ok::<_, anyhow::Error>([free_port()?, free_port()?, free_port()?]);

    for wrong in ["--no-such-flag", "--election-timeout soon", "-t many", "--heartbeat -1"] {
        let words = wrong.split(' ').map(OsString::from).collect();
        let (code, said) = refused(&cluster, &[alone(free()?), words].concat())?;
        let flag = wrong.split(' ').next().unwrap_or_default();
        ensure!(code == 2 || code == 64, "{wrong}: exit status {code}: {said}");
        ensure!(said.contains(flag), "{wrong} is not named: {said}");
    }

    let used = [cluster.client_port(0), cluster.peer_port(0), cluster.admin_port(0)];
    for (which, port) in used.into_iter().enumerate() {
        let mut ports = free()?;
        if let Some(slot) = ports.get_mut(which) {
            *slot = port;
        }
        let (_, said) = refused(&cluster, &alone(ports))?;
        let named = said.contains(&port.to_string()) && said.contains("in use");
        ensure!(named, "port {port} is not named as in use: {said}");
    }

    let file = cluster.dir().join("wrong.toml");
    fs::write(&file, "no_such_key = 1\n")?;
    let config = vec![OsString::from("--config"), file.into_os_string()];
    let (_, said) = refused(&cluster, &[alone(free()?), config].concat())?;
    ensure!(said.contains("no_such_key"), "the key is not named: {said}");

    serves(&cluster)?;
    cluster.finish()
}

/// Method: while n1 lives, a second process of that name joins from other ports. It must end by
/// itself and say so; the first one must not even lose its connections.
#[test]
fn a_second_node_of_one_name_is_refused() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::start(3)?;
    let terms = cluster.status(0)?.terms();
    let mut client = TextClient::connect(cluster.client_port(0))?;
    client.set("before", 0, 0, b"1")?;
    let join = cluster.join();
    let [client_port, peer, admin] = [free_port()?, free_port()?, free_port()?];
    let line = format!(
        "server --name n1 -l 127.0.0.1 -p {client_port} --peer-listen 127.0.0.1:{peer} \
         --admin-listen 127.0.0.1:{admin} --join {join} --bootstrap-expect 3"
    );
    let args: Vec<_> = line.split(' ').map(OsString::from).collect();
    let (_, said) = refused(&cluster, &args)?;
    ensure!(said.contains("n1"), "the name is not named: {said}");
    let status = cluster.wait_healthy(Duration::from_secs(5))?;
    ensure!(status.terms() == terms, "terms {:?}, before {terms:?}", status.terms());
    ensure!(client.get("before")?.is_some(), "a false miss on the old connection");
    serves(&cluster)?;
    cluster.finish()
}

/// Starts a process that must end by itself with a failure. Returns its exit status and words.
fn refused(cluster: &Cluster, args: &[OsString]) -> Result<(i32, String)> {
    let log = cluster.dir().join("refused.log");
    fs::write(&log, "")?;
    let mut process = Process::spawn(&binary()?, args, &log)?;
    let status = process.wait(Duration::from_secs(15)).with_context(|| format!("{args:?}"))?;
    let said = process.output()?;
    let code = status.code().with_context(|| format!("{status}: {said}"))?;
    ensure!(code != 0, "{args:?}: ended as if all were well: {said}");
    ensure!(!said.contains("panicked"), "{args:?}: {said}");
    println!("status {code}: {}", said.trim());
    Ok((code, said))
}

/// Method: n3 of the first cluster dies, and a node of a second cluster takes its peer address. The
/// first cluster now talks to a stranger: neither may learn a term, a member or an item from the
/// other, and once the stranger has gone n3 must find its own cluster again.
#[test]
fn a_node_of_another_cluster_is_refused() -> Result<()> {
    let _alone = alone();
    let first = Cluster::start(3)?;
    TextClient::connect(first.client_port(0))?.set("whose", 0, 0, b"first")?;
    first.kill(2)?;
    let first_terms = first.status(first.leader()?)?.terms();
    let peer_ports = vec![first.peer_port(2)];
    let second = Cluster::start_with(ClusterOptions { peer_ports, ..ClusterOptions::default() })?;
    TextClient::connect(second.client_port(0))?.set("whose", 0, 0, b"second")?;
    let second_terms = second.status(0)?.terms();

    // Long enough for many election timeouts and attempts to reach the address.
    let watched_until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < watched_until {
        for (cluster, nodes, want) in [(&first, 0..2, "first"), (&second, 0..3, "second")] {
            for node in nodes {
                let item = TextClient::connect(cluster.client_port(node))?.get("whose")?;
                let have = item.map(|item| item.value);
                ensure!(have == Some(want.into()), "{want}, node {node}: {have:?}");
            }
        }
        let terms = second.status(0)?.terms();
        ensure!(terms == second_terms, "second: terms {terms:?}, before {second_terms:?}");
        pause();
    }
    let terms = first.status(first.leader()?)?.terms();
    ensure!(terms == first_terms, "first: terms {terms:?}, before {first_terms:?}");
    second.wait_healthy(Duration::from_secs(5)).context("the second cluster")?;
    serves(&second)?;
    second.finish()?;
    first.restart(2)?;
    first.wait_healthy(Duration::from_secs(30)).context("the first cluster")?;
    serves(&first)?;
    first.finish()
}

/// Checks that what is written through any node is read through every node.
fn serves(cluster: &Cluster) -> Result<()> {
    for writer in 0..cluster.nodes() {
        let key = format!("serves-{writer}");
        TextClient::connect(cluster.client_port(writer))?.set(&key, 0, 60, key.as_bytes())?;
        for reader in 0..cluster.nodes() {
            let item = TextClient::connect(cluster.client_port(reader))?.get(&key)?;
            let item = item.with_context(|| format!("{key} is missing at node {reader}"))?;
            ensure!(item.value == key.as_bytes(), "{key} is wrong at node {reader}");
        }
    }
    Ok(())
}
