//! `raftcached health`: the verdict of one node on itself, as an exit status.

use std::time::Duration;

use crate::cli::HealthOptions;
use crate::http;

/// Exit status 0 if the node answers clients, else 1 and the reason.
pub(crate) fn run(options: &HealthOptions) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin = &options.admin;
    match runtime.block_on(http::get(admin, "/readyz", LIMIT)) {
        Ok(reply) if reply.status == 200 => {
            crate::say(format_args!("{admin}: ready"));
            Ok(0)
        }
        Ok(reply) => {
            let reason = String::from_utf8_lossy(&reply.body).trim().to_owned();
            crate::say(format_args!("{admin}: not ready: {reason}"));
            Ok(1)
        }
        Err(error) => {
            crate::say(format_args!("{admin}: not ready: {error:#}"));
            Ok(1)
        }
    }
}

const LIMIT: Duration = Duration::from_secs(2);
