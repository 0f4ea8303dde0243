//! What goes to standard error, and how much of it.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. `RUST_LOG` wins over `-v`.
pub(crate) fn init(verbosity: u8) {
    let filter = match verbosity {
        // openraft warns of every peer that is away, again and again; we say it once ourselves.
        0 => "info,openraft=error,h2=error,tonic=error,hyper=error",
        1 => "debug,openraft=warn,h2=warn,tonic=warn,hyper=warn",
        _ => "debug,raftcached=trace,replication=trace,frontend=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only if logging has been started before, and then it is there already.
    let _ = subscriber.try_init();
}
