//! What goes to standard error, and how much of it.
//!
//! A release has nothing below `info` compiled in: openraft traces every step of every request. So
//! `-v` is about who speaks.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. `RUST_LOG` wins over `-v`.
pub(crate) fn init(verbosity: u8) {
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(directives(verbosity)));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only if logging has been started before, and then it is there already.
    let _ = subscriber.try_init();
}

/// Lines with the target `details` are those that only somebody who looks for something wants.
fn directives(verbosity: u8) -> &'static str {
    match verbosity {
        // openraft warns of every peer that is away, again and again; we say it once ourselves.
        0 => "info,details=off,openraft=error,h2=error,tonic=error,hyper=error",
        1 => "info,openraft=warn,h2=warn,tonic=warn,hyper=warn",
        _ => "info",
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    /// Whoever asks for more than is compiled in is told so by crate tracing, line by line.
    #[test]
    fn no_verbosity_asks_for_what_a_release_does_not_have() {
        for verbosity in 0..=3 {
            let filter = EnvFilter::new(directives(verbosity));
            assert_eq!(filter.max_level_hint(), Some(LevelFilter::INFO), "-v {verbosity} times");
        }
    }
}
