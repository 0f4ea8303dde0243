//! The whole run, with memcacheds in every place.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn bench(arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-benches"));
    command.args(arguments).env_remove("RAFTCACHED_BIN").output().context("running the benchmark")
}

fn read_json(path: &Path) -> anyhow::Result<Value> {
    let json = std::fs::read(path).context("reading the JSON")?;
    serde_json::from_slice(&json).context("parsing the JSON")
}

/// Method: a tenth of a second per case, and every figure must be there and make sense. What the
/// figures are is nobody's business here: tests run beside other tests.
#[test]
fn control_run_measures_every_case() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("figures.json");
    let json = path.to_str().context("a path in UTF-8")?;
    let output = bench(&["--control", "--seconds", "0.1", "--rounds", "2", "--json", json])?;
    let (table, errors) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{table}{errors}");
    ensure!(table.contains("CONTROL"), "a control must not pass for a measurement:\n{table}");

    let report = read_json(&path)?;
    let rows = report["rows"].as_array().context("rows")?;
    ensure!(rows.len() == 24, "8 cases on 3 targets, not {}", rows.len());
    for row in rows {
        let samples = row["samples"].as_array().context("samples")?;
        ensure!(samples.len() == 2, "two rounds: {row}");
        for sample in samples {
            for figure in ["operations_per_s", "cpu_us", "latency_us_p50", "generator_cpus"] {
                ensure!(0.0 < sample[figure].as_f64().context(figure)?, "{figure} in {row}");
            }
            let (p50, p99) = (&sample["latency_us_p50"], &sample["latency_us_p99"]);
            ensure!(p50.as_f64() <= p99.as_f64(), "{row}");
        }
    }
    Ok(())
}

#[test]
fn a_missing_binary_is_named() -> anyhow::Result<()> {
    let cases = [
        (&["--raftcached", "/nowhere/raftcached"][..], "no raftcached at /nowhere/raftcached"),
        (&["--memcached", "/nowhere/memcached"], "starting memcached1"),
    ];
    for (arguments, want) in cases {
        let output = bench(arguments)?;
        let errors = text(&output.stderr);
        ensure!(output.status.code() == Some(1) && errors.contains(want), "{errors}");
    }
    Ok(())
}

/// Method: interrupt a long run in its first case, and look for what it had started.
#[test]
fn an_interrupted_run_leaves_no_process() -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-benches"));
    command.args(["--control", "--seconds", "600"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut run = command.spawn().context("starting the benchmark")?;
    let mut errors = BufReader::new(run.stderr.take().context("standard error")?);
    let mut line = String::new();
    errors.read_line(&mut line)?;
    ensure!(line == "idle\n", "the run did not get as far as its first measurement: {line}");

    let pid = Pid::from_raw(run.id().try_into()?);
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children: Vec<&str> = children.split_ascii_whitespace().collect();
    ensure!(children.len() == 4, "four memcacheds: {children:?}");
    kill(pid, Signal::SIGTERM)?;
    let start = Instant::now();
    while run.try_wait()?.is_none() {
        if Duration::from_secs(10) < start.elapsed() {
            run.kill()?;
            bail!("the run did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    errors.read_to_string(&mut line)?;
    ensure!(run.wait()?.code() == Some(1) && line.ends_with("error: interrupted\n"), "{line}");
    for child in children {
        ensure!(!Path::new("/proc").join(child).exists(), "process {child} was left behind");
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
