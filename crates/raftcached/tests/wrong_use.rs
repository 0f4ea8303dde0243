//! Wrong use of the program: what it says, and the exit status that scripts rely on.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Runs the program to its end with an environment of nothing but `environment`.
fn raftcached(words: &[&str], environment: &[(&str, &str)]) -> Result<(Option<i32>, String)> {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_raftcached"))
        .args(words)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("raftcached {words:?}"))?;
    let text = [stdout, stderr].concat();
    Ok((status.code(), String::from_utf8(text)?))
}

/// Method: each line of the table is run; all of them must end by themselves, with the status and
/// with the text.
#[test]
fn refusals_have_a_status_and_name_the_option() -> Result<()> {
    let cases: &[(&str, i32, &str)] = &[
        ("server --frobnicate", 64, "--frobnicate"),
        ("server -p 70000", 64, "--port"),
        ("server -P=", 64, "--pidfile"),
        ("server -S", 64, "--sasl-pwdb"),
        ("server -Z", 64, "--ssl-chain-cert"),
        ("server -Z --ssl-chain-cert /no/such -p -1", 64, "/no/such"),
        ("server -B http", 64, "--protocol"),
        ("server -o frobnicate", 1, "Illegal suboption \"frobnicate\""),
        ("server --durability os", 64, "--durability is of no use without --data-dir"),
        ("server -U 11211 -Y /no/such", 64, "-U (--udp-port): no UDP with -S or -Y"),
        ("server -t 0", 64, "-t (--threads) 0"),
        ("server -m 2 -I 2m", 64, "-I (--max-item-size)"),
        ("server --heartbeat 60", 64, "--heartbeat 60"),
        ("server --config /no/such/file", 64, "/no/such/file"),
        ("server --peer-ca a", 64, "--peer-cert and --peer-key missing"),
        (
            "server --peer-ca /no/ca --peer-cert b --peer-key c",
            64,
            "--peer-ca /no/ca: cannot be read",
        ),
        ("server -p 0 --peer-listen 0.0.0.0:0 --admin-listen 127.0.0.1:0", 64, "--insecure-peers"),
        ("cert issue n1", 2, "--dir"),
        ("cert issue n1 --dir /no/such --host n1", 1, "/no/such/ca.key"),
        ("cert issue n1 --dir /no/such --host n1 --days 0", 2, "--days"),
        ("cert issue n/1 --dir /no/such --host n1", 1, "NODE \"n/1\""),
        ("dev --port 60000", 64, "--port 60000"),
        ("dev --respawn soon", 64, "--respawn"),
        ("dev -I 1g", 64, "-I (--max-item-size)"),
        ("dev --heartbeat fast", 64, "--heartbeat"),
        ("status --cluster nowhere", 2, "--cluster"),
        ("status -o xml", 2, "xml"),
        ("server --drain-time 60001", 64, "--drain-time 60001"),
        ("health --admin nowhere", 2, "--admin"),
        ("health --ready --live", 2, "--live"),
        ("drain --admin nowhere", 2, "--admin"),
        ("member", 2, "Usage"),
        ("member add n4", 2, "--peer"),
        ("member remove", 2, "<NAME>"),
        ("member recover", 2, "--from"),
        ("agent", 64, "agent"),
        ("--version", 0, env!("CARGO_PKG_VERSION")),
        ("server -h", 0, "--bootstrap-expect"),
        ("server -V", 0, env!("CARGO_PKG_VERSION")),
    ];
    for (line, want, text) in cases {
        let words: Vec<_> = line.split_whitespace().collect();
        let (status, shown) = raftcached(&words, &[])?;
        ensure!(status == Some(*want), "raftcached {line}: status {status:?}: {shown}");
        ensure!(shown.contains(text), "raftcached {line}: {shown}");
    }
    Ok(())
}

#[test]
fn the_environment_is_checked_like_flags_and_loses_to_them() -> Result<()> {
    let cases = [
        ("server", "RAFTCACHED_THREADS", "0", "-t (--threads) 0"),
        ("server", "RAFTCACHED_PORT", "x", "--port"),
        ("server", "RAFTCACHED_DURABILITY", "never", "possible values: fsync, os"),
        ("server", "RAFTCACHED_DISABLE_EVICTIONS", "perhaps", "--disable-evictions"),
        ("server -t 999", "RAFTCACHED_THREADS", "0", "-t (--threads) 999"),
    ];
    for (line, name, value, text) in cases {
        let words: Vec<_> = line.split(' ').collect();
        let (status, shown) = raftcached(&words, &[(name, value)])?;
        ensure!(status == Some(64), "{line}, {name}={value}: status {status:?}: {shown}");
        ensure!(shown.contains(text), "{line}, {name}={value}: {shown}");
    }
    Ok(())
}

/// Help of a flag that does not exist would be believed by memcached's own test suite.
#[test]
fn help_lists_only_what_there_is() -> Result<()> {
    let (_, top) = raftcached(&["--help"], &[])?;
    let (_, server) = raftcached(&["server", "-h"], &[])?;
    for absent in ["agent", "bench"] {
        ensure!(!top.contains(absent), "{absent}: {top}");
    }
    for absent in ["stdin-eof", "begin-from", "ext_path", "proxy_config", "no_drop_privileges"] {
        ensure!(!server.contains(absent), "{absent}: {server}");
    }
    for present in ["unix-socket", "sasl", "enable-ssl"] {
        ensure!(server.contains(present), "{present}: {server}");
    }
    Ok(())
}

#[test]
fn an_address_in_use_is_named_before_anything_starts() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let port = taken.local_addr()?.port().to_string();
    let free = "127.0.0.1:0";
    let cases: &[(&str, &[&str])] = &[
        ("client", &["-p", &port, "--peer-listen", free, "--admin-listen", free]),
        ("peer", &["-p", "0", "--peer-listen", &address, "--admin-listen", free]),
        ("admin", &["-p", "0", "--peer-listen", free, "--admin-listen", &address]),
    ];
    for (purpose, words) in cases {
        let (status, shown) = raftcached(&[&["server"], *words].concat(), &[])?;
        ensure!(status == Some(71), "{purpose}: status {status:?}: {shown}");
        let want = format!("{purpose} address {address} is already in use");
        ensure!(shown.contains(&want), "{purpose}: {shown}");
    }
    Ok(())
}

#[test]
fn status_and_health_of_nobody() -> Result<()> {
    // Bound and dropped: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let (status, shown) = raftcached(&["status", "--cluster", &nobody], &[])?;
    ensure!(status == Some(1) && shown.starts_with("unhealthy: no node answers"), "{shown}");
    let (status, shown) = raftcached(&["status", "--cluster", &nobody, "-o", "json"], &[])?;
    ensure!(status == Some(1) && shown.contains("\"quorum\":false"), "{shown}");
    let (status, shown) = raftcached(&["health", "--admin", &nobody], &[])?;
    ensure!(status == Some(1) && shown.contains("not ready"), "{shown}");
    Ok(())
}
