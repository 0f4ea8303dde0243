//! `raftcached health`: the verdict of one node on itself, as an exit status.

use std::time::Duration;

use crate::cli::HealthOptions;
use crate::http;

/// Exit status 0 if the node answers clients, or with `--live` anything at all; else 1 and why.
pub(crate) fn run(options: &HealthOptions) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin = &options.admin;
    let (path, good) = if options.live { ("/livez", "live") } else { ("/readyz", "ready") };
    match runtime.block_on(http::get(admin, path, LIMIT)) {
        Ok(reply) if reply.status == 200 => {
            crate::say(format_args!("{admin}: {good}"));
            Ok(0)
        }
        Ok(reply) => {
            let reason = String::from_utf8_lossy(&reply.body).trim().to_owned();
            crate::say(format_args!("{admin}: not {good}: {reason}"));
            Ok(1)
        }
        Err(error) => {
            crate::say(format_args!("{admin}: not {good}: {error:#}"));
            Ok(1)
        }
    }
}

const LIMIT: Duration = Duration::from_secs(2);
