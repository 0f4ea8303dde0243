//! Real sockets: who is let in, who is turned away, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use frontend::testing::OneNode;
use frontend::{Address, Listener, Options};

const DEADLINE: Duration = Duration::from_secs(20);

/// A server on a thread of its own.
struct Server {
    address: SocketAddr,
    handle: frontend::Server,
    node: OneNode,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Server {
    fn start(options: Options) -> anyhow::Result<Self> {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let Address::Tcp(address) = *listener.address() else { anyhow::bail!("not TCP") };
        let node = OneNode::default();
        let backend = node.clone();
        let handle = frontend::Server::new(options);
        let server = handle.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let shutdown = async {
                let _ = stopped.await;
            };
            Ok(runtime.block_on(server.run(vec![listener], backend, shutdown))?)
        });
        Ok(Self { address, handle, node, stop: Some(stop), thread: Some(thread) })
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        // The server opens its address on its own thread.
        let stream = until("connected", || TcpStream::connect(self.address).ok())?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        drop(self.stop.take());
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow::anyhow!("the server panicked"))?,
            None => Ok(()),
        }
    }
}

fn until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(done) = poll() {
            return Ok(done);
        }
        ensure!(start.elapsed() < DEADLINE, "never: {what}");
        std::thread::yield_now();
    }
}

/// One request, and the first line of the reply.
fn ask(stream: &mut TcpStream, request: &str) -> anyhow::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut line = String::new();
    BufReader::new(&*stream).read_line(&mut line)?;
    Ok(line)
}

fn stat(server: &Server, name: &str) -> anyhow::Result<u64> {
    let mut stream = server.connect()?;
    stream.write_all(b"stats\r\nquit\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let prefix = format!("STAT {name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    Ok(line.with_context(|| format!("no {name} in {text}"))?.parse()?)
}

#[test]
fn one_connection_too_many_is_told_so_and_there_is_room_again_later() -> anyhow::Result<()> {
    let server = Server::start(Options { connections_max: 3, threads: 2, ..Options::default() })?;
    let mut clients = (0..3).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        ensure!(ask(client, "version\r\n")? == "VERSION 1.6.27\r\n");
    }
    let mut text = String::new();
    server.connect()?.read_to_string(&mut text)?;
    ensure!(text == "ERROR Too many open connections\r\n", "{text:?}");

    clients.pop();
    until("room again", || {
        let mut stream = server.connect().ok()?;
        ask(&mut stream, "version\r\n").ok().filter(|line| line.starts_with("VERSION"))
    })?;
    until("the refusal is counted", || {
        (stat(&server, "rejected_connections").ok()? >= 1).then_some(())
    })
}

#[test]
fn connections_are_spread_evenly_and_counted() -> anyhow::Result<()> {
    let server = Server::start(Options { threads: 4, ..Options::default() })?;
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = server.connect()?;
        ensure!(ask(&mut client, "version\r\n")? == "VERSION 1.6.27\r\n");
        clients.push(client);
    }
    ensure!(stat(&server, "curr_connections")? == 41);
    ensure!(stat(&server, "threads")? == 4);
    drop(clients);
    until("they are gone", || (stat(&server, "curr_connections").ok()? == 1).then_some(()))
}

#[test]
fn a_node_that_takes_no_clients_refuses_them_and_keeps_those_it_has() -> anyhow::Result<()> {
    let server = Server::start(Options { threads: 1, ..Options::default() })?;
    let mut client = server.connect()?;
    ensure!(ask(&mut client, "version\r\n")? == "VERSION 1.6.27\r\n");
    for _ in 0..2 {
        server.node.set_accepting(false);
        until("refused", || {
            let error = TcpStream::connect(server.address).err()?;
            (error.kind() == std::io::ErrorKind::ConnectionRefused).then_some(())
        })?;
        ensure!(ask(&mut client, "version\r\n")? == "VERSION 1.6.27\r\n");
        server.node.set_accepting(true);
        let mut other = server.connect()?;
        ensure!(ask(&mut other, "version\r\n")? == "VERSION 1.6.27\r\n");
    }
    Ok(())
}

#[test]
fn shutdown_answers_what_was_asked_closes_the_rest_and_ends() -> anyhow::Result<()> {
    let mut server = Server::start(Options { threads: 2, ..Options::default() })?;
    let (mut idle, mut busy) = (server.connect()?, server.connect()?);
    ensure!(ask(&mut idle, "version\r\n")? == "VERSION 1.6.27\r\n");
    server.node.hold();
    busy.write_all(b"set k 0 0 1\r\n1\r\n")?;
    until("the set is proposed", || (server.node.held_count() == 1).then_some(()))?;
    drop(server.stop.take());
    let mut text = String::new();
    idle.read_to_string(&mut text)?;
    ensure!(text.is_empty(), "{text:?}");
    ensure!(TcpStream::connect(server.address).is_err(), "new clients are still taken");
    server.node.release_all();
    busy.read_to_string(&mut text)?;
    ensure!(text == "STORED\r\n", "{text:?}");
    server.stop()
}

#[test]
fn shutdown_cuts_off_what_does_not_end() -> anyhow::Result<()> {
    let drain_timeout = Duration::from_millis(50);
    let mut server = Server::start(Options { threads: 1, drain_timeout, ..Options::default() })?;
    server.node.hold();
    let mut busy = server.connect()?;
    busy.write_all(b"set k 0 0 1\r\n1\r\n")?;
    until("the set is proposed", || (server.node.held_count() == 1).then_some(()))?;
    let start = Instant::now();
    server.stop()?;
    ensure!(start.elapsed() < DEADLINE);
    let mut text = String::new();
    // A reset would do as well.
    let _ = busy.read_to_string(&mut text);
    ensure!(text.is_empty(), "{text:?}");
    Ok(())
}

#[test]
fn dumped_keys_are_those_that_are_there() -> anyhow::Result<()> {
    let server = Server::start(Options { threads: 1, ..Options::default() })?;
    let mut client = server.connect()?;
    client.write_all(b"set a 0 0 3\r\nxyz\r\nset b 0 100 0\r\n\r\nset gone 0 -1 1\r\nx\r\n")?;
    client.write_all(b"stats cachedump 1 0\r\nstats cachedump 2 0\r\nstats cluster\r\n")?;
    client.write_all(b"stats nonsense\r\nstats reset\r\nquit\r\n")?;
    let mut text = String::new();
    client.read_to_string(&mut text)?;
    let mut lines: Vec<&str> = text.lines().skip(3).collect();
    lines.get_mut(..2).context("too few lines")?.sort_unstable();
    let want = [
        "ITEM a [3 b; 0 s]",
        "ITEM b [0 b; 1800000100 s]",
        "END",
        "END",
        "STAT nodes 1",
        "STAT unavailable 0",
        "STAT unaccepted_connections 0",
        "END",
        "ERROR",
        "RESET",
    ];
    ensure!(lines == want, "{lines:#?}");
    Ok(())
}

#[test]
fn connections_are_shown_with_what_they_are_doing() -> anyhow::Result<()> {
    let server = Server::start(Options { threads: 1, ..Options::default() })?;
    let (mut idle, mut busy) = (server.connect()?, server.connect()?);
    let mut sending = server.connect()?;
    ensure!(ask(&mut idle, "version\r\n")? == "VERSION 1.6.27\r\n");
    ensure!(ask(&mut sending, "set k 0 0 6\r\n12345678set k 0 0 6\r\n")?.starts_with("CLIENT_"));
    server.node.hold();
    busy.write_all(b"set k 0 0 1\r\n1\r\n")?;
    until("the set is proposed", || (server.node.held_count() == 1).then_some(()))?;

    let shown = |address: SocketAddr| {
        let (mut found, address) = (None, format!("tcp:{address}"));
        server.handle.for_each_connection(&mut |info| {
            if info.address == address {
                found = Some(info);
            }
        });
        found
    };
    let listener = shown(server.address).context("no listener")?;
    ensure!((listener.state, listener.listen_address) == ("conn_listening", None));
    let from = format!("tcp:{}", server.address);
    for (client, state) in
        [(&idle, "conn_read"), (&busy, "conn_parse_cmd"), (&sending, "conn_nread")]
    {
        let address = client.local_addr()?;
        let info = until(state, || shown(address).filter(|info| info.state == state))?;
        ensure!(info.listen_address.as_ref() == Some(&from), "{info:?}");
        ensure!(0 < info.fd && info.fd != listener.fd && !info.udp, "{info:?}");
    }
    let gone = idle.local_addr()?;
    drop(idle);
    until("it is gone", || shown(gone).is_none().then_some(()))?;
    server.node.release_all();
    Ok(())
}

/// Over real sockets, which have addresses.
#[test]
fn connections_are_shown_to_those_who_watch_them() -> anyhow::Result<()> {
    let server = Server::start(Options { threads: 1, ..Options::default() })?;
    let mut watcher = server.connect()?;
    watcher.write_all(b"watch connevents\r\n")?;
    let mut lines = BufReader::new(watcher).lines();
    ensure!(lines.next().context("no answer")?? == "OK");
    for (input, reason) in [("quit\r\n", "normal"), ("GET / HTTP/1.1\r\n", "error")] {
        let mut client = server.connect()?;
        client.write_all(input.as_bytes())?;
        let port = client.local_addr()?.port();
        let want = format!("rip=127.0.0.1 rport={port} transport=tcp ");
        let line = lines.next().context("no line")??;
        ensure!(line.contains(&format!(" type=conn_new {want}cfd=")), "{line}");
        let line = lines.next().context("no line")??;
        ensure!(line.contains(&format!(" type=conn_close {want}reason={reason} cfd=")), "{line}");
    }
    Ok(())
}

#[test]
fn one_connection_too_many_waits_if_it_is_to() -> anyhow::Result<()> {
    let options = Options { connections_max: 2, maxconns_fast: false, ..Options::default() };
    let server = Server::start(Options { threads: 1, ..options })?;
    let mut clients = (0..2).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        ensure!(ask(client, "version\r\n")? == "VERSION 1.6.27\r\n");
    }
    let mut waiting = server.connect()?;
    waiting.write_all(b"version\r\n")?;
    until("accepting stops", || {
        (server.handle.figures().listen_disabled_count == 1).then_some(())
    })?;
    ensure!(server.handle.figures().connections_open == 2);
    clients.pop();
    let mut line = String::new();
    BufReader::new(&waiting).read_line(&mut line)?;
    ensure!(line == "VERSION 1.6.27\r\n", "{line:?}");
    ensure!(server.handle.figures().rejected_count == 0);
    Ok(())
}
