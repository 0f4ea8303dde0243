//! Idle clients cost next to nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{Certificates, Cluster, ClusterOptions, Undisturbed, alone, count, wait_for};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Method: one node; a hundred connections first, so that what is made once is there; then ten
/// thousand, each of which stores and reads an item, so that it has had its buffers; and the
/// difference of resident memory, divided.
#[test]
fn ten_thousand_of_them_take_10_kib_each() -> Result<()> {
    let _alone = alone();
    let connections = usize::try_from(count("CONNECTIONS", 10_000, 10_000))?;
    let each = measure(connections, Vec::new(), connect)?;
    println!("{connections} idle connections: {each} bytes each");
    ensure!(each <= EACH_MAX, "{each} bytes each, more than {EACH_MAX}");
    Ok(())
}

/// As above over TLS, with fewer, because each costs both sides a handshake. The figure is only
/// shown: nothing is promised for it but that it is bounded.
#[test]
fn those_over_tls_take_more() -> Result<()> {
    let _alone = alone();
    let connections = usize::try_from(count("TLS_CONNECTIONS", 2_000, 500))?;
    let dir = tempfile::tempdir()?;
    let certificates = Certificates::init(&dir.path().join("certificates"))?;
    certificates.issue("n1")?;
    let path = |extension| certificates.path("n1", extension).display().to_string();
    let files = format!("ssl_chain_cert={},ssl_key={}", path("crt"), path("key"));
    let config = trusting(&certificates.path("ca", "crt"))?;
    let args = vec!["-Z".to_owned(), "-o".to_owned(), files];
    let each = measure(connections, args, |port| {
        let session = ClientConnection::new(Arc::clone(&config), "localhost".try_into()?)?;
        let mut stream = StreamOwned::new(session, socket(port)?);
        ask(&mut stream)?;
        Ok(stream)
    })?;
    println!("{connections} idle connections over TLS: {each} bytes each");
    ensure!(each <= TLS_EACH_MAX, "{each} bytes each, more than {TLS_EACH_MAX}");
    Ok(())
}

/// Bytes of a node's resident memory for each of so many connections.
fn measure<S: Read + Write + Send>(
    connections: usize,
    args: Vec<String>,
    connect: impl Fn(u16) -> Result<S> + Sync,
) -> Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = connections as u64 + 1_000;
    ensure!(wanted <= hard, "{connections} connections need {wanted} descriptors, not {hard}");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted), hard)?;
    let args = [args, vec!["-c".to_owned(), (connections + 200).to_string()]].concat();
    let cluster =
        Cluster::start_with(ClusterOptions { nodes: 1, args, ..ClusterOptions::default() })?;
    let port = cluster.client_port(0);
    let _first = (0..100).map(|_| connect(port)).collect::<Result<Vec<_>>>()?;
    let undisturbed = Undisturbed::now();
    let before = cluster.resources(0)?.resident;
    let mut clients = many(connections, || connect(port))?;
    // What was freed goes back to the system by and by: until it does not change any more.
    let mut last = u64::MAX;
    let after = wait_for("memory to be given back", SOON, || {
        let now = cluster.resources(0)?.resident;
        let steady = now.abs_diff(last) < 64 * 1024;
        last = now;
        ensure!(steady, "still changing: {now} bytes");
        Ok(now)
    })?;
    println!("{before} bytes before, {after} after; stolen {:?}", undisturbed.stolen());
    // And they are all served, still.
    for client in clients.iter_mut().step_by(100) {
        ask(client)?;
    }
    cluster.finish()?;
    Ok(after.saturating_sub(before) / connections as u64)
}

/// So many, a few at a time.
fn many<S: Send>(count: usize, make: impl Fn() -> Result<S> + Sync) -> Result<Vec<S>> {
    let share = || (0..count / AT_A_TIME).map(|_| make()).collect::<Result<Vec<_>>>();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(share)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().expect("a worker panicked")?);
        }
        Ok(all)
    })
}

fn connect(port: u16) -> Result<TcpStream> {
    let mut stream = socket(port)?;
    ask(&mut stream)?;
    Ok(stream)
}

fn socket(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

fn trusting(ca: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn ask<S: Read + Write>(stream: &mut S) -> Result<()> {
    stream.write_all(b"set idle 0 0 4\r\nidle\r\nget idle\r\n")?;
    let mut lines = BufReader::with_capacity(256, stream).lines();
    for want in ["STORED", "VALUE idle 0 4", "idle", "END"] {
        let line = lines.next().context("closed")??;
        ensure!(line == want, "{line:?} for {want:?}");
    }
    Ok(())
}

const AT_A_TIME: usize = 10;
const EACH_MAX: u64 = 10 * 1024;
const TLS_EACH_MAX: u64 = 64 * 1024;
const SOON: Duration = Duration::from_secs(30);
