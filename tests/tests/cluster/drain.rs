//! A node that is told to end sends its clients away in good order; nobody else notices.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Fleet, Journal, Liveness, PacedWriter, TextClient, Undisturbed, Violations, alone, binary,
    free_port, http, millis, wait_for,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Method: open-loop writers at the two nodes that stay, while the leader is drained by the tool
/// and then, started again, a follower by SIGTERM. No error, and the longest write is printed.
#[test]
fn clients_of_other_nodes_see_a_short_pause() -> Result<()> {
    let _alone = alone();
    for follower in [false, true] {
        let fleet = Fleet::new(3)?;
        (0..3).try_for_each(|node| fleet.start(node, &fleet.join(3)))?;
        fleet.wait_members(&[0, 1, 2], SOON)?;
        let leader = fleet.leader(0)?;
        let leaves = if follower { (leader + 1) % 3 } else { leader };
        let steady = Undisturbed::now();
        let longest = while_written(&fleet, leaves, || {
            if follower {
                fleet.signal(leaves, Signal::SIGTERM)?;
            } else {
                let admin = fleet.admin_port(leaves);
                fleet.run(&format!("drain --admin 127.0.0.1:{admin}"))?.check(0, "has ended")?;
            }
            let ended = fleet.wait_exit(leaves, SOON)?;
            ensure!(ended.code() == Some(0), "{ended}");
            Ok(())
        })?;
        let who = if follower { "follower" } else { "leader" };
        println!("longest write of others while a {who} drains: {}", millis(longest));
        ensure!(longest <= PAUSE_MAX || !steady.holds(), "{who}: {}", millis(longest));
        fleet.finish()?;
    }
    Ok(())
}

/// Writers at the nodes that stay, around `story`; the longest write.
fn while_written(
    fleet: &Fleet,
    leaves: usize,
    story: impl FnOnce() -> Result<()>,
) -> Result<Duration> {
    let (journal, violations) = (Journal::default(), Violations::default());
    let liveness = Liveness::new(3);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for node in (0..3).filter(|node| *node != leaves) {
            let writer = PacedWriter {
                prefix: "w",
                node,
                port: fleet.client_port(node),
                period: Duration::from_millis(5),
                journal: &journal,
                liveness: &liveness,
                violations: &violations,
            };
            let stop = &stop;
            scope.spawn(move || writer.run(stop));
        }
        let more = |count: u64| {
            let wanted = journal.acknowledged() + count;
            wait_for("acknowledged writes", SOON, || {
                ensure!(wanted <= journal.acknowledged(), "{}", journal.acknowledged());
                Ok(())
            })
        };
        let told = more(50).and_then(|()| {
            journal.take_longest();
            story()?;
            more(50)
        });
        stop.store(true, Ordering::SeqCst);
        told
    })?;
    violations.check()?;
    for node in (0..3).filter(|node| *node != leaves) {
        journal.verify(&mut TextClient::connect(fleet.client_port(node))?)?;
    }
    Ok(journal.take_longest())
}

/// Method: 300 idle connections and a drain over two seconds. Once the request for it is answered,
/// the node is not ready, and connections are still served; then they close bit by bit.
#[test]
fn not_ready_comes_first_and_connections_close_bit_by_bit() -> Result<()> {
    let _alone = alone();
    let fleet = Fleet::new(1)?;
    fleet.start(0, "--drain-time 2000")?;
    fleet.wait_members(&[0], SOON)?;
    let connections = crowd(fleet.client_port(0))?;
    let began = Instant::now();
    let reply = http::post(fleet.admin_port(0), "/v1/drain")?;
    ensure!(reply.code == 200, "{} {}", reply.code, reply.body);
    ensure!(http::get(fleet.admin_port(0), "/readyz")?.code == 503, "it is still ready");
    let live = connections.iter().filter(|stream| is_served(stream)).count();
    println!("{live} of {} connections served behind the 503", connections.len());
    ensure!(0 < live, "all connections were closed at once");
    let mut closed = Vec::new();
    for mut stream in connections {
        stream.set_read_timeout(Some(SOON))?;
        ensure!(matches!(stream.read(&mut [0; 64]), Ok(0)), "closed in another way");
        closed.push(began.elapsed());
    }
    let last = closed.into_iter().max().unwrap_or_default();
    println!("the last one closed after {}", millis(last));
    ensure!(Duration::from_millis(1000) < last, "closed all at once: {}", millis(last));
    ensure!(fleet.wait_exit(0, SOON)?.code() == Some(0), "it failed");
    fleet.finish()
}

fn crowd(port: u16) -> Result<Vec<TcpStream>> {
    let connect = |_| {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        // Served, and not only accepted by the kernel.
        ensure!(is_served(&stream), "no answer");
        Ok(stream)
    };
    (0..300).map(connect).collect()
}

fn is_served(mut stream: &TcpStream) -> bool {
    let mut reply = [0; 64];
    stream.write_all(b"version\r\n").is_ok()
        && stream.read(&mut reply).is_ok_and(|len| reply.get(..len.min(8)) == Some(b"VERSION "))
}

/// Whoever sends a second signal does not want to wait.
#[test]
fn a_second_signal_ends_it_at_once() -> Result<()> {
    let _alone = alone();
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let fleet = Fleet::new(1)?;
        fleet.start(0, "--drain-time 60000")?;
        fleet.wait_members(&[0], SOON)?;
        let connections = crowd(fleet.client_port(0))?;
        fleet.signal(0, Signal::SIGTERM)?;
        wait_for("the drain to begin", SOON, || {
            ensure!(http::get(fleet.admin_port(0), "/readyz")?.code == 503, "ready");
            Ok(())
        })?;
        fleet.signal(0, signal)?;
        let ended = fleet.wait_exit(0, Duration::from_secs(5))?;
        ensure!(ended.code() == Some(code), "{signal}: {ended}");
        drop(connections);
        fleet.finish()?;
    }
    Ok(())
}

/// Method: a socket where a service manager would listen; it must hear READY, the watchdog, and
/// STOPPING, in this order.
#[test]
fn a_service_manager_is_told() -> Result<()> {
    let _alone = alone();
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(SOON))?;
    let (client, peer, admin) = (free_port()?, free_port()?, free_port()?);
    let mut node = Command::new(binary()?)
        .args(["server", "-p", &client.to_string()])
        .args(["--peer-listen", &format!("127.0.0.1:{peer}")])
        .args(["--admin-listen", &format!("127.0.0.1:{admin}")])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .spawn()?;
    let told = (|| {
        hear(&socket, "READY=1")?;
        hear(&socket, "WATCHDOG=1")?;
        hear(&socket, "WATCHDOG=1")?;
        kill(Pid::from_raw(i32::try_from(node.id())?), Signal::SIGTERM)?;
        hear(&socket, "STOPPING=1")
    })();
    if told.is_err() {
        node.kill()?;
    }
    let ended = node.wait()?;
    told?;
    ensure!(ended.code() == Some(0), "{ended}");
    Ok(())
}

fn hear(socket: &UnixDatagram, word: &str) -> Result<()> {
    let mut bytes = [0; 1024];
    for _ in 0..1000 {
        let len = socket.recv(&mut bytes).with_context(|| format!("waiting for {word}"))?;
        let said = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).into_owned();
        if said.lines().any(|line| line == word) {
            return Ok(());
        }
    }
    anyhow::bail!("never heard {word}")
}

const PAUSE_MAX: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(30);
