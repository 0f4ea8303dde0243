//! In the place of memcached: its command line, its files, its exit codes, its signals.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{Process, TextClient, binary, free_port, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

/// Method: command lines that cannot be, each with the status that memcached's scripts know and a
/// word that has to be on standard error.
#[test]
fn refusals_have_memcacheds_exit_codes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let taken = taken.local_addr()?.port().to_string();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["-B", "http"], 64, "--protocol"),
        (&["-c", "0"], 64, "-c (--conn-limit) 0"),
        (&["-t", "0"], 64, "-t (--threads) 0"),
        (&["-I", "1000"], 64, "-I (--max-item-size)"),
        (&["-I", "256m", "-m", "64"], 64, "half of -m"),
        (&["-S", "-B", "auto", "--sasl-pwdb", "x"], 64, "-B binary"),
        (&["-o", "slab_reassign,colour=red"], 1, "Illegal suboption \"colour=red\""),
        (&["-o", "hashpower=11"], 1, "hashpower"),
        (&["-l", "no.such.host.invalid"], 71, "no.such.host.invalid"),
        (&["-p", &taken], 71, "already in use"),
        // The terminal hears what is wrong, although the node would have gone into the background.
        (&["-d", "-p", &taken], 71, "already in use"),
        (&["-s", "no/such/directory"], 71, "no/such/directory"),
        (&["-Y", "no-such-file"], 1, "no-such-file"),
        (&["--no-such-option"], 64, "--no-such-option"),
    ];
    for (words, status, text) in cases {
        let output = call(dir.path(), words, &[])?;
        let shown = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(*status), "{words:?}: {}: {shown}", output.status);
        ensure!(shown.contains(text), "{words:?}: {shown}");
    }
    Ok(())
}

/// Method: root without `-u`, and with one that there is not. Only root can see it.
#[test]
fn root_says_whom_to_become() -> Result<()> {
    if !geteuid().is_root() {
        println!("SKIPPED, NOTHING WAS PROVED: only root can become somebody");
        return Ok(());
    }
    for (words, status) in [(&["-p", "0"] as &[&str], 64), (&["-u", "no-such-user"], 67)] {
        let output = Command::new(binary()?).args(words).output()?;
        ensure!(output.status.code() == Some(status), "{words:?}: {output:?}");
    }
    let dir = tempfile::tempdir()?;
    let port = free_port()?;
    let words = ["-u", "nobody", "-p", &port.to_string()].map(OsString::from);
    let node = Process::spawn(&binary()?, &words, &dir.path().join("log"))?;
    ask(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)), "version\r\nquit\r\n")?;
    let status = fs::read_to_string(format!("/proc/{}/status", node.id()))?;
    let ids = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    ensure!(ids("Uid:").is_some_and(|ids| ids.split('\t').all(|id| id != "0")), "{status}");
    ensure!(ids("Gid:").is_some_and(|ids| ids.split('\t').all(|id| id != "0")), "{status}");
    ensure!(ids("Groups:") == Some(""), "{status}");
    Ok(())
}

/// Method: `-d` with relative paths. What was started ends with 0, the file has the process that
/// answers, and both files are gone when that has been told to end.
#[test]
fn a_daemon_is_found_by_its_pidfile() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let words = ["-d", "-P", "pid", "-s", "socket", "-a", "0770", "-o", "relaxed_privileges"];
    let output = call(dir.path(), &words, &[])?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    let pidfile = dir.path().join("pid");
    let daemon = wait_for("the pidfile", SOON, || {
        Ok(Daemon(Pid::from_raw(fs::read_to_string(&pidfile)?.trim().parse()?)))
    })?;
    let path = dir.path().join("socket");
    let stats = ask(|| UnixStream::connect(&path), "stats\r\nquit\r\n")?;
    ensure!(stats.contains(&format!("STAT pid {}\r\n", daemon.0)), "{stats}");
    let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
    ensure!(mode == 0o770, "{mode:o}");
    kill(daemon.0, Signal::SIGTERM)?;
    wait_for("the daemon's end", SOON, || {
        ensure!(kill(daemon.0, None).is_err(), "it lives");
        Ok(())
    })?;
    ensure!(
        !pidfile.exists() && !path.exists(),
        "what it has left: {:?}",
        fs::read_dir(dir.path())
    );
    Ok(())
}

/// Method: free ports on two addresses and a Unix socket; the file with the ports appears when clients
/// can connect, and what is stored through one is read through the others.
#[test]
fn several_addresses_and_the_file_with_their_ports() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let words = ["-p", "-1", "-l", "127.0.0.1,127.0.0.2", "-l", "unix:socket"];
    let mut node = start(dir.path(), &words, &[("MEMCACHED_PORT_FILENAME", "ports")])?;
    let text = wait_for("the file", SOON, || Ok(fs::read_to_string(dir.path().join("ports"))?))?;
    let ports: Vec<u16> = text
        .lines()
        .map(|line| Ok(line.strip_prefix("TCP INET: ").context(line.to_owned())?.parse()?))
        .collect::<Result<_>>()?;
    let [one, two] = ports.as_slice() else { anyhow::bail!("{text:?}") };
    let stored = "set k 0 0 1\r\nv\r\nquit\r\n";
    ensure!(ask(|| TcpStream::connect(("127.0.0.1", *one)), stored)? == "STORED\r\n");
    let path = dir.path().join("socket");
    let want = "VALUE k 0 1\r\nv\r\nEND\r\n";
    ensure!(ask(|| TcpStream::connect(("127.0.0.2", *two)), "get k\r\nquit\r\n")? == want);
    ensure!(ask(|| UnixStream::connect(&path), "get k\r\nquit\r\n")? == want);
    // memcached's graceful end.
    node.signal(Signal::SIGUSR1)?;
    ensure!(node.wait(SOON)?.code() == Some(0), "{}", node.output()?);
    Ok(())
}

/// Method: two nodes of no cluster, each with a socket and no port. Both serve, and the one that
/// found the usual ports taken says where it went.
#[test]
fn several_on_one_machine() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let first = start(&one, &["-s", "socket"], &[])?;
    ask(|| UnixStream::connect(one.join("socket")), "version\r\nquit\r\n")
        .with_context(|| first.output().unwrap_or_default())?;
    let mut second = start(&two, &["-s", "socket"], &[])?;
    ask(|| UnixStream::connect(two.join("socket")), "version\r\nquit\r\n")
        .with_context(|| second.output().unwrap_or_default())?;
    said(&second, "already in use; the peer address is 127.0.0.1:")?;
    said(&second, "already in use; the admin address is 127.0.0.1:")?;
    second.signal(Signal::SIGINT)?;
    ensure!(second.wait(SOON)?.code() == Some(0), "{}", second.output()?);
    Ok(())
}

/// Method: two clients where two may be. The third is told so; or, where memcached would let it wait,
/// is answered when one of them has gone, and the wait is counted.
#[test]
fn one_client_too_many_is_told_or_waits() -> Result<()> {
    for waits in [false, true] {
        let (dir, port) = (tempfile::tempdir()?, free_port()?);
        let mode = if waits { "no_maxconns_fast" } else { "maxconns_fast" };
        let words = ["-c", "2", "-o", mode, "-p", &port.to_string()];
        let _node = start(dir.path(), &words, &[])?;
        let mut one = wait_for("the node", SOON, || Ok(TextClient::connect(port)?))?;
        let two = TextClient::connect(port)?;
        let mut three = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        three.write_all(b"version\r\nquit\r\n")?;
        let mut reply = String::new();
        if waits {
            wait_for("the wait to be counted", SOON, || {
                let stats = one.stats()?;
                let [waits, open] =
                    ["listen_disabled_num", "curr_connections"].map(|name| stats.get(name));
                let right = waits.is_some_and(|n| n == "1") && open.is_some_and(|n| n == "2");
                ensure!(right, "{waits:?} waits, {open:?} connections");
                Ok(())
            })?;
            three.set_read_timeout(Some(Duration::from_millis(100)))?;
            ensure!(three.read_to_string(&mut reply).is_err(), "answered: {reply:?}");
            three.set_read_timeout(Some(SOON))?;
            drop(two);
        }
        // The end may come as a reset: it has sent what nobody has read.
        let ended = three.read_to_string(&mut reply);
        let want = if waits { "VERSION " } else { "ERROR Too many open connections\r\n" };
        ensure!(reply.starts_with(want), "{reply:?} {ended:?}");
    }
    Ok(())
}

/// Method: the file of `-Y` changes; SIGHUP is answered in the log, and ends nothing.
#[test]
fn sighup_reads_the_users_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let users = dir.path().join("users");
    fs::write(&users, "one:secret\n")?;
    let mut node = start(dir.path(), &["-s", "socket", "-Y", "users"], &[])?;
    wait_for("the node", SOON, || said(&node, "ready for clients"))?;
    node.signal(Signal::SIGHUP)?;
    wait_for("the word", SOON, || said(&node, "SIGHUP: users were read"))?;
    fs::write(&users, "no user\n")?;
    node.signal(Signal::SIGHUP)?;
    wait_for("the refusal", SOON, || said(&node, "users: line 1:"))?;
    ensure!(node.ended()?.is_none(), "it has ended");
    Ok(())
}

/// Method: Debian's file is converted, and a node starts with the result; one with what memcached does
/// not know is refused by its line.
#[test]
fn memcacheds_file_becomes_one_of_ours() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("memcached.conf");
    let port = free_port()?;
    let text = format!(
        "# Debian's\n-d\nlogfile /var/log/memcached.log\n-m 64\n-p {port}\n-u nobody\n\
         -l 127.0.0.1\n-P {}\n",
        dir.path().join("pid").display(),
    );
    fs::write(&file, text)?;
    let convert = ["config", "convert", "memcached.conf"];
    let output = command(dir.path(), &convert, &[])?.output()?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    // The directory is this user's.
    let toml = String::from_utf8(output.stdout)?.replace("user = \"nobody\"\n", "");
    fs::write(dir.path().join("ours.toml"), &toml)?;
    let node = start(dir.path(), &["--config", "ours.toml"], &[])?;
    let asked = ask(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)), "version\r\nquit\r\n");
    asked.with_context(|| format!("{toml}\n{}", node.output().unwrap_or_default()))?;
    let pid = fs::read_to_string(dir.path().join("pid"))?;
    ensure!(pid.trim() == node.id().to_string(), "{pid}");

    fs::write(&file, "-m 64\n--colour red\n")?;
    let output = command(dir.path(), &convert, &[])?.output()?;
    let shown = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "{output:?}");
    ensure!(shown.contains("line 2: unexpected argument '--colour'"), "{shown}");
    Ok(())
}

/// Method: what memcached's tests and other scripts look for in it.
#[test]
fn help_says_what_a_memcached_can_do() -> Result<()> {
    let output = Command::new(binary()?).arg("-h").output()?;
    let help = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(0), "{}", output.status);
    for there in ["unix-socket", "sasl", "enable-ssl", "dev", "status"] {
        ensure!(help.contains(there), "{there} is not in it: {help}");
    }
    for absent in ["ext_path", "proxy_config", "no_drop_privileges"] {
        ensure!(!help.contains(absent), "{absent} is in it");
    }
    for option in ["-V", "-i"] {
        let output = Command::new(binary()?).arg(option).output()?;
        ensure!(output.stdout.starts_with(b"raftcached "), "{option}: {output:?}");
        ensure!(output.status.code() == Some(0), "{option}: {output:?}");
    }
    Ok(())
}

/// A process that is nobody's child.
struct Daemon(Pid);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It is gone, if all went well.
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

/// The program in `dir`, called with these words; the environment says nothing else to it.
fn command(dir: &Path, words: &[&str], env: &[(&str, &str)]) -> Result<Command> {
    fs::create_dir_all(dir)?;
    let mut command = Command::new(binary()?);
    command.args(words).current_dir(dir);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RAFTCACHED_") {
            command.env_remove(name);
        }
    }
    command.envs(env.iter().copied());
    Ok(command)
}

/// Calls it as memcached is called, and waits for its end.
fn call(dir: &Path, words: &[&str], env: &[(&str, &str)]) -> Result<Output> {
    let mut command = command(dir, words, env)?;
    Ok(command.args(stays_who_it_is()).output()?)
}

/// Starts it as memcached is started.
fn start(dir: &Path, words: &[&str], env: &[(&str, &str)]) -> Result<Process> {
    fs::create_dir_all(dir)?;
    let mut all: Vec<OsString> = vec!["-C".into(), dir.into()];
    all.extend(env.iter().map(|(name, value)| format!("{name}={value}").into()));
    all.push(binary()?.into());
    all.extend(words.iter().map(OsString::from));
    all.extend(stays_who_it_is().map(OsString::from));
    Process::spawn(Path::new("env"), &all, &dir.join("log"))
}

/// As root, memcached wants to be told whom to become.
fn stays_who_it_is() -> impl Iterator<Item = &'static str> {
    ["-u", "root"].into_iter().filter(|_| geteuid().is_root())
}

/// Connects as soon as that can be, and returns all that is answered before the end.
fn ask<S: Read + Write>(connect: impl Fn() -> std::io::Result<S>, request: &str) -> Result<String> {
    let mut stream = wait_for("somebody who listens", SOON, || Ok(connect()?))?;
    stream.write_all(request.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    ensure!(!reply.is_empty(), "no answer to {request:?}");
    Ok(reply)
}

fn said(node: &Process, text: &str) -> Result<()> {
    let output = node.output()?;
    ensure!(output.contains(text), "{output}");
    Ok(())
}

const SOON: Duration = Duration::from_secs(20);
