//! Prints how many operations a second the checker judges, for several kinds of histories.
//!
//! `cargo run --release -p oracle --example throughput`

use std::time::Instant;

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
        ("8 clients on 1 key", Shape { clients: 8, keys: 1, ..usual }),
        (
            "8 clients on 1 key, 20000 operations",
            Shape { clients: 8, keys: 1, operations: 20_000, ..usual },
        ),
        ("20 clients on 2 keys", Shape { clients: 20, keys: 2, ..usual }),
    ];
    for (name, shape) in shapes {
        let histories: Vec<_> = (0..20).map(|seed| generate(seed, &shape)).collect();
        let limits = Limits { clock_slack_us: shape.clock_slack_us, ..Limits::default() };
        let mut good = 0;
        let start = Instant::now();
        for history in &histories {
            let verdict = check(history, limits);
            good += usize::from(verdict.is_linearizable());
            if !verdict.is_linearizable() {
                println!("{verdict}");
            }
        }
        let operations = histories.iter().map(Vec::len).sum::<usize>();
        let per_second = operations as f64 / start.elapsed().as_secs_f64();
        println!("{per_second:>10.0} operations/s, {good} of 20 linearizable: {name}");
    }
}
