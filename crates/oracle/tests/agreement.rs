//! Two judges who know nothing of each other's code agree on every history.

use anyhow::{Context, Result};
use oracle::porcupine::{Judgement, Porcupine};
use oracle::testing::{Bug, Episode, Rng, Shape, disturb, generate, plant};
use oracle::{Limits, Operation, Verdict, check};

const SLACK_US: u64 = 2000;
/// How many are judged unless the environment says otherwise.
const HISTORIES: u64 = 400;

/// Method: histories of a right store, of stores with each bug, of episodes planted behind them,
/// and right ones with a reply exchanged or a time moved, are judged by this crate and porcupine.
/// `SEED=<n>` judges one, `HISTORIES=<n>` so many.
#[test]
fn agrees_with_porcupine() -> Result<()> {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().context("SEED is a number")?],
        Err(_) => {
            let count = std::env::var("HISTORIES").map_or(Ok(HISTORIES), |count| count.parse());
            (0..count.context("HISTORIES is a number")?).collect()
        }
    };
    let histories: Vec<_> = seeds.iter().map(|seed| history(*seed)).collect();
    let dir = tempfile::tempdir()?;
    let porcupine = Porcupine::build(dir.path())?;
    let judgements = porcupine.judge(&histories, dir.path(), SLACK_US, 5000)?;

    let mut counts = [0; 3];
    for ((seed, history), judgement) in seeds.iter().zip(&histories).zip(judgements) {
        let verdict = check(history, Limits { clock_slack_us: SLACK_US, ..Limits::default() });
        let ours = match &verdict {
            Verdict::Linearizable => Judgement::Ok,
            Verdict::Violation(_) => Judgement::Violation,
            Verdict::Undecided(_) => Judgement::Undecided,
        };
        let either = judgement == Judgement::Undecided || ours == Judgement::Undecided;
        assert!(either || ours == judgement, "SEED={seed}: porcupine {judgement:?}, we: {verdict}");
        counts[match (either, ours) {
            (true, _) => 2,
            (false, Judgement::Ok) => 0,
            (false, _) => 1,
        }] += 1;
    }
    let [ok, violations, undecided] = counts;
    println!("both: {ok} linearizable, {violations} violations; {undecided} undecided by one");
    if 1 < seeds.len() {
        assert!(100 <= ok && 100 <= violations && undecided <= seeds.len() / 50, "{counts:?}");
    }
    Ok(())
}

fn history(seed: u64) -> Vec<Operation> {
    let mut rng = Rng::new(seed.wrapping_mul(77));
    let mut history = exact_history(seed, &mut rng);
    let unknown = history.iter().filter(|operation| operation.is_unknown()).count();
    if rng.below(2) == 0 && unknown < 4 {
        coarsen(&mut history);
    }
    history
}

/// Records by a clock that ticks every quarter of a millisecond, so that operations meet each other and
/// the ends of windows exactly. Intervals only grow: what was right stays right.
fn coarsen(history: &mut [Operation]) {
    for operation in history {
        operation.call_us -= operation.call_us % 250;
        operation.return_us = operation.return_us.map(|at| at.next_multiple_of(250));
    }
}

fn exact_history(seed: u64, rng: &mut Rng) -> Vec<Operation> {
    let many_unknown = rng.below(5) == 0;
    let shape = Shape {
        clients: rng.pick(&[2, 3, 5, 7]),
        keys: 1 + rng.below(6),
        operations: if many_unknown { 30 + rng.index(50) } else { 40 + rng.index(200) },
        unknown_per_mille: if many_unknown { 100 } else { rng.below(4) * 12 },
        latency_us_max: 500 + rng.below(3000),
        ttl_ms_max: 1 + rng.below(60),
        clock_slack_us: SLACK_US,
        count_per_mille: rng.below(4) * 120,
        bug: None,
    };
    match seed % 5 {
        0 => generate(seed, &shape),
        1 => generate(seed, &Shape { bug: Some(rng.pick(&Bug::ALL)), ..shape }),
        2 => {
            let episode = rng.pick(&Episode::ALL);
            plant(&generate(seed, &shape), "key-0", &episode, "e", rng.below(2) == 0)
        }
        _ => {
            let mut history = generate(seed, &shape);
            for _ in 0..=rng.below(3) {
                disturb(&mut history, rng);
            }
            history
        }
    }
}

/// The judge's own tests, which are in Go.
#[test]
fn porcupine_model_holds() -> Result<()> {
    let mut go = std::process::Command::new("go");
    go.args(["test", "-p", "1", "./..."]);
    go.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/porcupine"));
    let output = go.output().context("go test")?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
