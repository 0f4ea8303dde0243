//! Monotonic time, the system's or a simulation's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the log's delays are measured with. A clone shows the same time.
#[derive(Clone)]
pub(crate) struct Clock {
    begun: Instant,
    /// Microseconds since `begun`, set by hand; none: the system's time.
    elapsed_us: Option<Arc<AtomicU64>>,
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self { begun: Instant::now(), elapsed_us: None }
    }

    pub(crate) fn by_hand() -> Self {
        Self { begun: Instant::now(), elapsed_us: Some(Arc::default()) }
    }

    pub(crate) fn now(&self) -> Instant {
        match &self.elapsed_us {
            None => Instant::now(),
            Some(elapsed_us) => {
                self.begun + Duration::from_micros(elapsed_us.load(Ordering::Relaxed))
            }
        }
    }

    /// Only for a clock that is set by hand; it never goes back.
    pub(crate) fn set(&self, elapsed: Duration) {
        if let Some(elapsed_us) = &self.elapsed_us {
            let elapsed = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            elapsed_us.fetch_max(elapsed, Ordering::Relaxed);
        }
    }
}
