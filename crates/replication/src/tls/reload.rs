//! Takes new certificates from the files without a restart.
//!
//! The files are looked at every two seconds, and not only when somebody says so: whatever replaces
//! them (a cron job, an agent, a mounted secret) need not know whom to tell. Connections that exist
//! stay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::UnixTime;
use tokio::time::{MissedTickBehavior, interval};

use super::PeerTls;

/// Looks at the files for as long as the task lives.
pub(crate) async fn keep_fresh(tls: Arc<PeerTls>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    loop {
        ticks.tick().await;
        let looked = Arc::clone(&tls);
        // Reading a file can take its time, and the raft thread has none.
        let Ok((error, dying)) = tokio::task::spawn_blocking(move || look(&looked)).await else {
            return;
        };
        seen.tell(error, dying, Instant::now());
    }
}

/// What is wrong with the files, and what will be wrong with the certificate in use before long.
fn look(tls: &PeerTls) -> (Option<String>, Option<String>) {
    let error = tls.reload().err().map(|error| error.to_string());
    let before_long = UnixTime::since_unix_epoch(
        Duration::from_secs(UnixTime::now().as_secs()).saturating_add(WARN_AHEAD),
    );
    (error, tls.check_at(before_long).err().map(|error| error.to_string()))
}

/// What was found at the last look, and what has been said.
#[derive(Debug, Default)]
struct Seen {
    error: Option<String>,
    told: Option<String>,
    warned: Option<Instant>,
}

impl Seen {
    fn tell(&mut self, error: Option<String>, dying: Option<String>, now: Instant) {
        // Seen twice: files that are replaced one after the other do not fit together at first.
        if error.is_some() && error == self.error && error != self.told {
            let why = error.as_deref().unwrap_or_default();
            tracing::error!("{why}: the certificates in use stay as they are");
            self.told.clone_from(&error);
        }
        if error.is_none() {
            self.told = None;
        }
        self.error = error;
        if let Some(why) = dying
            && self.warned.is_none_or(|warned| WARN_EVERY < now - warned)
        {
            let days = WARN_AHEAD.as_secs() / 86_400;
            tracing::warn!("within {days} days peers will refuse this node: {why}");
            self.warned = Some(now);
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(2);
const WARN_AHEAD: Duration = Duration::from_secs(14 * 86_400);
const WARN_EVERY: Duration = Duration::from_secs(86_400);
