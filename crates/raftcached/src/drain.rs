//! `raftcached drain`: ends one node in good order, from outside.

use std::time::{Duration, Instant};

use crate::cli::DrainOptions;
use crate::http;
use crate::say;

/// Exit status 0 once the node has ended, else 1 and the reason.
pub(crate) fn run(options: &DrainOptions) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(drain(options))
}

async fn drain(options: &DrainOptions) -> anyhow::Result<u8> {
    let admin = &options.admin;
    match http::post(admin, "/v1/drain", "", REPLY_LIMIT).await {
        Ok(reply) if reply.status == 200 => say(format_args!("{admin}: is ending")),
        Ok(reply) => {
            say(format_args!("{admin}: answers with status {}", reply.status));
            return Ok(1);
        }
        Err(error) => {
            say(format_args!("{admin}: {error:#}"));
            return Ok(1);
        }
    }
    let deadline = Instant::now() + END_LIMIT;
    while Instant::now() < deadline {
        // Its address is closed last.
        if http::get(admin, "/livez", REPLY_LIMIT).await.is_err() {
            say(format_args!("{admin}: has ended"));
            return Ok(0);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    say(format_args!("{admin}: has not ended within {} s", END_LIMIT.as_secs()));
    Ok(1)
}

const REPLY_LIMIT: Duration = Duration::from_secs(2);
/// The longest `--drain-time`, and what comes after it.
const END_LIMIT: Duration = Duration::from_secs(75);
const LOOK_EVERY: Duration = Duration::from_millis(50);
