//! Random numbers: the system's, or those of a seed.
//!
//! A simulation runs all of its nodes on one thread and seeds it; then every id and every election
//! timeout is the same in each run.

use std::cell::Cell;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Makes everything random on the calling thread follow from `seed`, from now on.
pub fn seed_thread(seed: u64) {
    SEED.set(Some(seed));
}

/// A generator of its own for each call.
pub(crate) fn rng() -> StdRng {
    match SEED.get() {
        None => StdRng::from_rng(&mut rand::rng()),
        Some(seed) => {
            SEED.set(Some(seed.wrapping_add(STEP)));
            StdRng::seed_from_u64(seed)
        }
    }
}

/// A number for a replica or a cluster: not 0, and never drawn again.
pub(crate) fn id() -> u64 {
    rng().random_range(1..=u64::MAX)
}

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Odd, so that no seed comes again.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_what_is_drawn() {
        let draw = |seed| {
            let drawn = std::thread::spawn(move || {
                seed_thread(seed);
                [id(), id(), id()]
            });
            drawn.join().unwrap()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let [one, two, three] = draw(1);
        assert!(one != two && two != three);
        assert_ne!(id(), id());
    }
}
