//! A data directory that is not what the node left there: the node says so, by file and offset, and
//! stays out; the others serve; and once the directory is wiped it comes back as a new replica.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::data_files::{replica, segments, snapshot};
use cluster_tests::{
    Cluster, ClusterOptions, Durability, Process, TextClient, alone, binary, free_port,
};

/// One way to ruin the data directory of a node that is down, and what the node must then say.
struct Damage {
    name: &'static str,
    ruin: fn(&Path, &Path) -> Result<()>,
    wants: &'static [&'static str],
}

/// The second path is another node's data directory.
const DAMAGES: &[Damage] = &[
    Damage {
        name: "another node's identity",
        ruin: |dir, other| Ok(fs::copy(other.join("identity"), dir.join("identity")).map(drop)?),
        wants: &["data directory", "of node `n", "a directory of its own"],
    },
    Damage {
        name: "no identity",
        ruin: |dir, _| Ok(fs::remove_file(dir.join("identity"))?),
        wants: &["/identity: is missing, but replica-"],
    },
    Damage {
        name: "a bit of the identity",
        ruin: |dir, _| flip(&dir.join("identity"), 40),
        wants: &["/identity: the checksum differs"],
    },
    Damage {
        name: "no log",
        ruin: |dir, _| Ok(fs::remove_dir_all(replica(dir)?)?),
        wants: &["/replica-", "the log is missing"],
    },
    Damage {
        name: "no segments",
        ruin: |dir, _| segments(dir)?.iter().try_for_each(|path| Ok(fs::remove_file(path)?)),
        wants: &["/replica-", "there is no log here"],
    },
    Damage {
        name: "the segment in use is gone",
        ruin: |dir, _| Ok(fs::remove_file(in_use(dir)?.0)?),
        wants: &["/replica-", "wal-", ".seg"],
    },
    Damage {
        name: "a bit in the middle of a segment",
        ruin: |dir, _| {
            let (path, used) = in_use(dir)?;
            flip(&path, used / 2)
        },
        wants: &["wal-", ".seg, offset ", "a record that was durable is damaged"],
    },
    Damage {
        name: "half a segment",
        ruin: |dir, _| {
            let (path, used) = in_use(dir)?;
            Ok(fs::File::options().write(true).open(path)?.set_len(used / 2)?)
        },
        wants: &["wal-", ".seg, offset ", "the file has lost its end"],
    },
    Damage {
        name: "a bit in the middle of a snapshot",
        ruin: |dir, _| {
            let path = snapshot(dir)?;
            flip(&path, fs::metadata(&path)?.len() / 2)
        },
        wants: &["snapshot-", ", offset ", "checksum mismatch"],
    },
    Damage {
        name: "half a snapshot",
        ruin: |dir, _| {
            let path = snapshot(dir)?;
            let len = fs::metadata(&path)?.len();
            Ok(fs::File::options().write(true).open(path)?.set_len(len / 2)?)
        },
        wants: &["snapshot-", ", offset ", "is cut short"],
    },
    Damage {
        name: "no snapshot",
        ruin: |dir, _| Ok(fs::remove_file(snapshot(dir)?)?),
        wants: &["/replica-", "the log begins behind entry", "there is none"],
    },
    Damage {
        name: "a symbolic link among the files",
        ruin: |dir, _| Ok(std::os::unix::fs::symlink("/etc", replica(dir)?.join("link"))?),
        wants: &["/replica-", "link is a symbolic link"],
    },
];

/// Method: the nodes' logs are filled until each has purged some of it and has a snapshot. Then,
/// for each damage, a node is killed, its files are ruined, and it is started: it must end with
/// status 1 and the right words while the others serve on. Wiped, it must come back by itself with
/// everything.
#[test]
fn a_node_that_cannot_trust_its_files_stays_out() -> Result<()> {
    let _alone = alone();
    let cluster = start()?;
    for (number, damage) in DAMAGES.iter().enumerate() {
        let node = number % cluster.nodes();
        strike(&cluster, node, damage).with_context(|| damage.name.to_owned())?;
    }
    cluster.finish()
}

fn strike(cluster: &Cluster, node: usize, damage: &Damage) -> Result<()> {
    let other = (node + 1) % cluster.nodes();
    let dir = cluster.data_dir(node);
    // What must be damaged must have been there.
    snapshot(&dir)?;
    cluster.kill(node)?;
    (damage.ruin)(&dir, &cluster.data_dir(other))?;

    let said = refused(cluster, node, &[])?;
    let line = said.lines().find(|line| line.starts_with("raftcached: ")).unwrap_or_default();
    println!("{}: {}: {line}", cluster.name(node), damage.name);
    for want in damage.wants {
        ensure!(line.contains(want), "no {want:?} in {said}");
    }
    serve(cluster, &[other, (node + 2) % cluster.nodes()], damage.name)?;

    fs::remove_dir_all(&dir)?;
    cluster.restart(node)?;
    cluster.wait_healthy(HEALTHY_WITHIN)?;
    cluster.wait_equal(HEALTHY_WITHIN)?;
    serve(cluster, &[node], damage.name)
}

/// Method: a second process with ports of its own is started on the directory of a node that runs;
/// then the node itself on a directory that it may not write.
#[test]
fn a_directory_that_cannot_be_had_is_refused() -> Result<()> {
    let _alone = alone();
    let options = ClusterOptions { data: Some(Durability::Fsync), ..ClusterOptions::default() };
    let cluster = Cluster::start_with(options)?;
    let node = 1;
    let dir = cluster.data_dir(node);
    let log = cluster.dir().join("second.log");
    let (port, peer, admin) = (free_port()?, free_port()?, free_port()?);
    let line = format!(
        "server --name n2 -p {port} --peer-listen 127.0.0.1:{peer} --admin-listen 127.0.0.1:{admin} \
         --data-dir {}",
        dir.display()
    );
    let args: Vec<_> = line.split_whitespace().map(Into::into).collect();
    let mut second = Process::spawn(&binary()?, &args, &log)?;
    let status = second.wait(ENDS_WITHIN)?;
    let said = second.output()?;
    ensure!(status.code() == Some(1), "{status}: {said}");
    let want = format!("is in use by another process (pid {})", cluster.pid(node)?);
    ensure!(said.contains(&want), "no {want:?} in {said}");
    serve(&cluster, &[0, 1, 2], "a second process")?;

    cluster.kill(node)?;
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let dir = dir.to_str().context("a path in UTF-8")?;
    let said = refused(&cluster, node, &["unshare", "-m", "sh", "-c", script, dir])?;
    ensure!(said.contains("lock: Read-only file system"), "{said}");
    serve(&cluster, &[0, 2], "read-only")?;
    // Nothing is wrong with what is in it.
    cluster.restart(node)?;
    cluster.wait_healthy(HEALTHY_WITHIN)?;
    cluster.wait_equal(HEALTHY_WITHIN)?;
    cluster.finish()
}

/// Starts a node that must end by itself; returns what it said.
fn refused(cluster: &Cluster, node: usize, wrapper: &[&str]) -> Result<String> {
    let before = cluster.said(node).len();
    cluster.restart_under(node, wrapper)?;
    let status = cluster.wait_exit(node, ENDS_WITHIN)?;
    let said = cluster.said(node).get(before..).unwrap_or_default().to_owned();
    ensure!(status.code() == Some(1), "{} ended with {status}: {said}", cluster.name(node));
    Ok(said)
}

/// A write through each of `nodes` and its read through the next.
fn serve(cluster: &Cluster, nodes: &[usize], value: &str) -> Result<()> {
    for (node, next) in nodes.iter().zip(nodes.iter().cycle().skip(1)) {
        let key = format!("through-{node}");
        let mut client = TextClient::connect(cluster.client_port(*node))?;
        client.set(&key, 0, 0, value.as_bytes())?;
        let mut client = TextClient::connect(cluster.client_port(*next))?;
        let item = client.get(&key)?.context("a false miss")?;
        ensure!(item.value == value.as_bytes(), "stale");
    }
    Ok(())
}

/// A cluster with a snapshot in each node's directory.
fn start() -> Result<Cluster> {
    let options = ClusterOptions { data: Some(Durability::Fsync), ..ClusterOptions::default() };
    let cluster = Cluster::start_with(options)?;
    let mut client = TextClient::connect(cluster.client_port(0))?;
    let value = vec![b'v'; VALUE_LEN];
    for write in 0..FILL_LEN / VALUE_LEN {
        client.set(&format!("fill-{}", write % 50), 0, 0, &value)?;
    }
    for node in 0..cluster.nodes() {
        cluster_tests::wait_for("a snapshot", HEALTHY_WITHIN, || {
            snapshot(&cluster.data_dir(node))
        })?;
    }
    Ok(cluster)
}

/// The newest segment with records, and where they end.
fn in_use(dir: &Path) -> Result<(PathBuf, u64)> {
    for path in segments(dir)?.into_iter().rev() {
        let bytes = fs::read(&path)?;
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if SEGMENT_HEADER_LEN < used {
            return Ok((path, used as u64));
        }
    }
    anyhow::bail!("no segment is in use")
}

fn flip(path: &Path, at: u64) -> Result<()> {
    let file = fs::File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    Ok(file.write_all_at(&[byte[0] ^ 1], at)?)
}

const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
const ENDS_WITHIN: Duration = Duration::from_secs(10);
const SEGMENT_HEADER_LEN: usize = 64;
const VALUE_LEN: usize = 100_000;
/// More than the log may grow before a snapshot is made.
const FILL_LEN: usize = 80 * 1024 * 1024;
