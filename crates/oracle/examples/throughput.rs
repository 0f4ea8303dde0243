//! Prints how many operations a second the checker judges, for several kinds of histories.
//!
//! `cargo run --release -p oracle --example throughput`

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use oracle::testing::{Shape, generate};
use oracle::{Limits, check};

fn main() {
    let usual = Shape::default();
    let shapes = [
        ("usual: 6 clients, 30 keys, 1 % unknown", usual),
        (
            "8 clients, 20 keys, 5000 operations",
            Shape { clients: 8, keys: 20, operations: 5000, ..usual },
        ),
        ("no unknown outcomes", Shape { unknown_per_mille: 0, ..usual }),
        ("5 % unknown", Shape { unknown_per_mille: 50, ..usual }),
        ("20 % unknown", Shape { unknown_per_mille: 200, ..usual }),
        ("5 % unknown, counters", Shape { unknown_per_mille: 50, count_per_mille: 600, ..usual }),
        ("100000 operations", Shape { clients: 8, operations: 100_000, ..usual }),
        (
            "100000 operations, 3 % unknown",
            Shape { clients: 8, operations: 100_000, unknown_per_mille: 30, ..usual },
        ),
        ("8 clients on 3 keys", Shape { clients: 8, keys: 3, ..usual }),
        (
            "8 clients on 1 key, no unknown",
            Shape { clients: 8, keys: 1, unknown_per_mille: 0, ..usual },
        ),
        ("8 clients on 1 key", Shape { clients: 8, keys: 1, ..usual }),
    ];
    for (name, shape) in shapes {
        let history_count = if shape.operations < 50_000 { 20 } else { 1 };
        let histories: Vec<_> = (0..history_count).map(|seed| generate(seed, &shape)).collect();
        let limits = Limits { clock_slack_us: shape.clock_slack_us, steps_max: 1_000_000 };
        let mut good = 0;
        let start = cpu_time();
        for history in &histories {
            let verdict = check(history, limits);
            good += usize::from(verdict.is_linearizable());
            if !verdict.is_linearizable() {
                println!("{verdict}");
            }
        }
        let operations = histories.iter().map(Vec::len).sum::<usize>();
        let per_second = operations as f64 / (cpu_time() - start).as_secs_f64();
        println!(
            "{per_second:>10.0} operations per processor second, {good} of {history_count} \
             linearizable: {name}"
        );
    }
}

/// What this thread took of a processor so far; where Linux does not tell, the time that passed.
fn cpu_time() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| BEGAN.elapsed(), Duration::from_nanos)
}
