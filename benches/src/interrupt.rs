//! Ctrl-C and SIGTERM, so that an interrupted run leaves no process behind.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Starts to listen for SIGINT and SIGTERM, for the life of the program.
///
/// # Errors
///
/// If the operating system refuses the thread or the handlers.
pub(crate) fn watch() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.context("starting the signal runtime")?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        let interrupt = signal(SignalKind::interrupt()).context("handling SIGINT")?;
        (interrupt, signal(SignalKind::terminate()).context("handling SIGTERM")?)
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).context("a thread")?;
    Ok(())
}

/// Returns an error once the program was asked to end. Every loop that waits calls it.
///
/// # Errors
///
/// After SIGINT or SIGTERM.
pub(crate) fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
