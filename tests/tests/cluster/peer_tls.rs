//! Nodes with certificates serve as others do, and let no stranger in.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Certificates, Cluster, ClusterOptions, Process, TextClient, Undisturbed, alone, binary,
    free_port, http, millis, wait_for,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn start() -> Result<Cluster> {
    Cluster::start_with(ClusterOptions { peer_tls: true, ..ClusterOptions::default() })
}

/// Method: the leader is killed under a client of another node, whose next write is timed; then the
/// node comes back.
#[test]
fn a_cluster_with_tls_survives_its_leader() -> Result<()> {
    let _alone = alone();
    let cluster = start()?;
    for round in 0..3 {
        let leader = cluster.leader()?;
        let other = (leader + 1) % cluster.nodes();
        let mut client = TextClient::connect(cluster.client_port(other))?;
        client.set("k", 0, 0, b"before")?;
        cluster.kill(leader)?;
        let (begun, undisturbed) = (Instant::now(), Undisturbed::now());
        client.set("k", 0, 0, b"after")?;
        let pause = begun.elapsed();
        println!("round {round}: pause of {}", millis(pause));
        let short = pause < Duration::from_secs(1);
        ensure!(short || !undisturbed.holds(), "a pause of {pause:?}");
        let item = client.get("k")?.context("a false miss")?;
        ensure!(item.value == b"after", "{item:?}");
        cluster.restart(leader)?;
        cluster.wait_healthy(Duration::from_secs(20))?;
    }
    cluster.finish()
}

/// Method: whoever has no certificate of the cluster tries to speak or to join. The node that is
/// asked must say so in its log, and the cluster must not notice otherwise.
#[test]
fn strangers_are_refused_and_named() -> Result<()> {
    let _alone = alone();
    let cluster = start()?;
    let (terms, undisturbed) = (cluster.status(0)?.terms(), Undisturbed::now());

    let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, cluster.peer_port(0)))?;
    plain.set_read_timeout(Some(Duration::from_secs(10)))?;
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    let mut reply = Vec::new();
    // Reset or closed, with at most an alert before.
    let _ = plain.read_to_end(&mut reply);
    ensure!(reply.len() < 16, "answered {reply:?}");
    wait_logged(&cluster, 0, "this is not TLS", 1)?;

    let plain = join(&cluster, "n8", &[])?;
    wait_logged(&cluster, 1, "this is not TLS", 1)?;
    drop(plain);

    let foreign = Certificates::init(&cluster.dir().join("foreign"))?;
    foreign.issue("n9")?;
    // Trusts the cluster, so that it is the cluster that refuses.
    let ours = cluster.certificates()?;
    let both = [fs::read(foreign.path("ca", "crt"))?, fs::read(ours.path("ca", "crt"))?];
    fs::write(foreign.path("ca", "crt"), both.concat())?;
    let joining = join(&cluster, "n9", &foreign.options("n9"))?;
    wait_logged(&cluster, 2, "is not signed by the CA in use", 1)?;
    drop(joining);

    // Its own CA does not know the cluster: it says so itself.
    let alien = Certificates::init(&cluster.dir().join("alien"))?;
    alien.issue("n7")?;
    let mut joining = join(&cluster, "n7", &alien.options("n7"))?;
    wait_for("the newcomer's complaint", Duration::from_secs(15), || {
        ensure!(joining.ended()?.is_none(), "it has ended: {}", joining.output()?);
        let said = joining.output()?;
        ensure!(said.contains("is not signed by the CA in use"), "{said}");
        Ok(())
    })?;

    let status = cluster.wait_healthy(Duration::from_secs(10))?;
    // A machine that stands still for longer than an election timeout has its own elections.
    let calm = status.terms() == terms;
    ensure!(calm || !undisturbed.holds(), "terms {:?}, before {terms:?}", status.terms());
    cluster.finish()
}

/// Method: nodes that must not start are started; each ends by itself and names option and file.
#[test]
fn a_certificate_that_does_not_fit_is_refused_at_the_start() -> Result<()> {
    let _alone = alone();
    let dir = tempfile::tempdir()?;
    let certificates = Certificates::init(&dir.path().join("certificates"))?;
    certificates.issue("n1")?;
    certificates.issue("n2")?;
    let log = dir.path().join("log");
    let refused = |words: &[OsString], want: &[&str]| -> Result<()> {
        fs::write(&log, "")?;
        let own = "server --name n1 -p 0 --admin-listen 127.0.0.1:0";
        let own = own.split(' ').map(OsString::from);
        let args: Vec<_> = own.chain(words.iter().cloned()).collect();
        let mut process = Process::spawn(&binary()?, &args, &log)?;
        let status = process.wait(Duration::from_secs(15))?;
        let said = process.output()?;
        ensure!(status.code() == Some(64), "{words:?}: {status}: {said}");
        ensure!(want.iter().all(|want| said.contains(want)), "{words:?}: {said}");
        Ok(())
    };
    refused(&certificates.options("n2"), &["--peer-cert", "n2.crt", "is of node `n2`"])?;
    let mut mixed = certificates.options("n1");
    let key = mixed.last_mut().context("no key")?;
    *key = certificates.path("n2", "key").into_os_string();
    refused(&mixed, &["--peer-key", "n2.key", "not the key"])?;
    let wide = ["--peer-listen", "0.0.0.0:0"].map(OsString::from);
    refused(&wide, &["--peer-listen", "--peer-ca", "--insecure-peers"])?;
    Ok(())
}

/// Method: the CA itself is replaced, as an operator does it: all nodes trust both, get certificates
/// of the new one, and trust that alone. Each step must be taken without a restart. A node that is
/// restarted then believes nobody who still uses what was there before. A bad file changes nothing.
#[test]
fn certificates_rotate_without_a_restart() -> Result<()> {
    let _alone = alone();
    let cluster = start()?;
    let certificates = cluster.certificates()?;
    let renewed = Certificates::init(&cluster.dir().join("renewed"))?;
    let (ca, new_ca) = (certificates.path("ca", "crt"), renewed.path("ca", "crt"));
    let taken = |times: usize| {
        let every = 0..cluster.nodes();
        every.into_iter().try_for_each(|node| wait_logged(&cluster, node, TAKEN, times))
    };
    fs::write(&ca, [fs::read(&ca)?, fs::read(&new_ca)?].concat())?;
    taken(1)?;
    for node in 0..cluster.nodes() {
        let name = cluster.name(node);
        renewed.issue(name)?;
        for extension in ["crt", "key"] {
            fs::copy(renewed.path(name, extension), certificates.path(name, extension))?;
        }
    }
    taken(2)?;
    fs::copy(&new_ca, &ca)?;
    taken(3)?;
    cluster.wait_healthy(Duration::from_secs(5))?;
    for node in 0..cluster.nodes() {
        cluster.kill(node)?;
        cluster.restart(node)?;
        cluster.wait_healthy(Duration::from_secs(20))?;
    }

    fs::write(certificates.path("n1", "crt"), "no certificate")?;
    wait_logged(&cluster, 0, "the certificates in use stay as they are", 1)?;
    cluster.kill(1)?;
    cluster.restart(1)?;
    cluster.wait_healthy(Duration::from_secs(20))?;
    cluster.finish()
}

/// Method: an operator says so, by HTTP and by SIGHUP, once nothing has changed, once the CA's file
/// is new, and once it is a bad one. Each time the node must say what it did, and live. The
/// files are looked at every two seconds as well: so what is new may be in force already.
#[test]
fn certificates_are_loaded_when_an_operator_says_so() -> Result<()> {
    let _alone = alone();
    let cluster = start()?;
    let certificates = cluster.certificates()?;
    let reload = |node: usize| http::post(cluster.admin_port(node), "/v1/certs/reload");

    let reply = reload(0)?;
    ensure!(reply.code == 200, "{} {}", reply.code, reply.body);
    let said: serde_json::Value = serde_json::from_str(&reply.body)?;
    let path = certificates.path("n1", "crt").display().to_string();
    ensure!(said["changed"] == false && said["certificate"] == *path, "{said}");
    hang_up(&cluster)?;
    wait_logged(&cluster, 0, "SIGHUP: certificates were read changed=false", 1)?;

    // Other bytes of the same certificates are new as well.
    let ca = certificates.path("ca", "crt");
    fs::write(&ca, [fs::read(&ca)?, b"\n".to_vec()].concat())?;
    let reply = reload(0)?;
    ensure!(reply.code == 200, "{} {}", reply.code, reply.body);
    // In force when the answer is there, whoever has seen it first.
    ensure!(cluster.said(0).contains(TAKEN), "{}", cluster.said(0));

    fs::write(certificates.path("n1", "crt"), "no certificate")?;
    let reply = reload(0)?;
    ensure!(reply.code == 409 && reply.body.contains("n1.crt"), "{} {}", reply.code, reply.body);
    hang_up(&cluster)?;
    wait_logged(&cluster, 0, "SIGHUP: nothing was loaded", 1)?;
    cluster.wait_healthy(Duration::from_secs(5))?;
    cluster.finish()
}

/// Method: the same without certificates: there is nothing to load, and the node lives.
#[test]
fn without_certificates_there_is_nothing_to_load() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::start_with(ClusterOptions::default())?;
    let reply = http::post(cluster.admin_port(0), "/v1/certs/reload")?;
    ensure!(reply.code == 409 && reply.body.contains("--peer-ca"), "{}", reply.body);
    hang_up(&cluster)?;
    wait_logged(&cluster, 0, "SIGHUP: there is nothing to read again", 1)?;
    cluster.wait_healthy(Duration::from_secs(5))?;
    cluster.finish()
}

/// Sends SIGHUP to the first node.
fn hang_up(cluster: &Cluster) -> Result<()> {
    let pid = Pid::from_raw(cluster.pid(0)?.try_into()?);
    kill(pid, Signal::SIGHUP).context("sending SIGHUP")
}

/// Starts a process that asks the cluster to let it in.
fn join(cluster: &Cluster, name: &str, tls: &[OsString]) -> Result<Process> {
    let [client, peer, admin] = [free_port()?, free_port()?, free_port()?];
    let line = format!(
        "server --name {name} -l 127.0.0.1 -p {client} --peer-listen 127.0.0.1:{peer} \
         --admin-listen 127.0.0.1:{admin} --join {} --bootstrap-expect 3",
        cluster.join()
    );
    let args: Vec<_> = line.split(' ').map(OsString::from).chain(tls.iter().cloned()).collect();
    Process::spawn(&binary()?, &args, &cluster.dir().join(format!("{name}.log")))
}

/// Waits until a node has said something so many times; a refusal, once in five seconds.
fn wait_logged(cluster: &Cluster, node: usize, want: &str, times: usize) -> Result<()> {
    let what = format!("{} to say {want:?}, {times} times", cluster.name(node));
    wait_for(&what, Duration::from_secs(20), || {
        let said = cluster.said(node);
        let mut lines = said.lines().filter(|line| line.contains(want));
        let line = lines.nth(times - 1).context("not yet")?;
        println!("{line}");
        Ok(())
    })
}

const TAKEN: &str = "new certificates are in use";
