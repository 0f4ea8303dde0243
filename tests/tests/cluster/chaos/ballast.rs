//! Writes that nobody reads: so that logs grow, and snapshots take their place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use cluster_tests::{Rng, TextClient, pause};

/// Writes through one node after the other, until `stop`; what becomes of it is nobody's business
/// but that of the digests.
pub(crate) fn ballast(ports: &[u16], rng: &mut Rng, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let port = ports.get(rng.index(ports.len())).copied().unwrap_or_default();
        let Ok(mut client) = TextClient::connect_within(port, PATIENCE) else {
            pause();
            continue;
        };
        while !stop.load(Ordering::SeqCst) {
            let key = format!("ballast{}", rng.below(KEYS));
            if client.set(&key, 0, 0, &rng.bytes(VALUE_LEN)).is_err() {
                break;
            }
            // A pace, not a wait.
            thread::sleep(PERIOD);
        }
    }
}

/// Writes so many bytes through one node, at once.
pub(crate) fn write(port: u16, len: usize) -> Result<()> {
    let mut client = TextClient::connect(port)?;
    let mut rng = Rng::new(0);
    for _ in 0..len.div_ceil(VALUE_LEN) {
        client.set(&format!("ballast{}", rng.below(KEYS)), 0, 0, &rng.bytes(VALUE_LEN))?;
    }
    Ok(())
}

const KEYS: u64 = 16;
/// They cannot be compressed. With the period, a megabyte and a half each second.
const VALUE_LEN: usize = 64 * 1024;
const PERIOD: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_millis(2500);
