//! The client side over one node's engine, without replication: for stock tools and for measuring.
//!
//! `cargo run --release -p frontend --example standalone -- [PORT [THREADS [MEGABYTES]]]`

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use engine::{Settings, UnixMillis};
use frontend::testing::OneNode;
use frontend::{Listener, Options, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| -> anyhow::Result<u64> {
        arguments.next().map_or(Ok(default), |text| text.parse().context("not a number"))
    };
    let port = u16::try_from(number(11211)?)?;
    let threads = usize::try_from(number(1)?)?;
    let megabytes = number(64)?;

    let settings = Settings { memory_limit: megabytes << 20, ..Settings::default() };
    let backend = OneNode::new(settings);
    let clock = backend.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now_ms = now.map_or(0, |now| now.as_millis());
            clock.set_now(UnixMillis(u64::try_from(now_ms).unwrap_or(u64::MAX)));
        }
    });

    let listener = Listener::bind((Ipv4Addr::LOCALHOST, port).into())?;
    println!("listening on {}", listener.address());
    let shutdown = async {
        // Without a handler for it, Ctrl-C ends the process all the same.
        let _ = tokio::signal::ctrl_c().await;
    };
    let options = Options { threads, ..Options::default() };
    Ok(Server::new(options).run(vec![listener], backend, shutdown).await?)
}
