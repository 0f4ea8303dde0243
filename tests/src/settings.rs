//! What a run can be told through the environment.

use std::time::{SystemTime, UNIX_EPOCH};

/// Whether `QUICK=1` asks for low counts: enough to see that a test works, too few to prove much.
pub fn quick() -> bool {
    std::env::var("QUICK").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// The count named `name` in the environment; else `low` under `QUICK=1`, else `full`.
pub fn count(name: &str, full: u64, low: u64) -> u64 {
    let told = std::env::var(name).ok().and_then(|value| value.parse().ok());
    told.unwrap_or(if quick() { low } else { full })
}

/// The seed of this run: `SEED`, else a new one. Printed, so that a failure can be replayed.
pub fn seed() -> u64 {
    let told = std::env::var("SEED").ok().and_then(|value| value.parse().ok());
    let seed = told.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) ^ u64::from(std::process::id())
    });
    println!("replay with SEED={seed}");
    seed
}
