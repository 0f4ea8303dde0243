//! Ports for the nodes.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::Rng;

/// A loopback port nobody listens on, given out once in this process.
///
/// Below the range the kernel takes for outgoing connections: a client of one test must not sit on
/// the port of a node that another test is about to start again.
///
/// # Errors
///
/// When a thousand random ports are all taken.
pub fn free_port() -> Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rng = Rng::new((u64::from(std::process::id()) << 32) | given.len() as u64);
    for _ in 0..1000 {
        let port = FIRST + u16::try_from(rng.below(u64::from(LAST - FIRST)))?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free && given.insert(port) {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {LAST}")
}

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;
