//! memcached that does not forget when a machine dies.
//!
//! The binary: command line, wiring, signals. What a node does is in the crates below; see
//! `ARCHITECTURE.md`.

mod addresses;
mod admin;
mod backend;
mod cert;
mod certificates;
mod cli;
mod config;
mod convert;
mod dev;
mod drain;
mod drop_in;
mod ending;
mod extended;
mod failure;
mod health;
mod http;
mod listen_address;
mod logging;
mod member;
mod metrics;
mod options;
mod process;
mod server;
mod service;
mod settings;
mod status;
mod told_files;
mod values;

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use cli::{Cli, Command};
use drop_in::Called;
use failure::{EX_USAGE, Failure};
use options::Options;

/// Items of all sizes come and go for months; jemalloc gives their memory back to the system, and
/// does so on a thread of its own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let (words, as_memcached) = match Called::by(std::env::args_os()) {
        Called::Command(words) => (words, false),
        Called::AsMemcached(words) => (words, true),
        Called::Help => {
            drop_in::help();
            return ExitCode::SUCCESS;
        }
    };
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let ended = match cli.command {
        Command::Dev(options) => dev::run(&options).map(|()| 0),
        Command::Server(options) => server::run(Options { as_memcached, ..options }),
        Command::Status(options) => status::run(&options).map_err(Failure::from),
        Command::Member(options) => member::run(&options).map_err(Failure::from),
        Command::Drain(options) => drain::run(&options).map_err(Failure::from),
        Command::Cert(command) => cert::run(&command).map_err(Failure::from),
        Command::Config(command) => convert::run(&command).map_err(Failure::from),
        Command::Health(options) => health::run(&options).map_err(Failure::from),
    };
    match ended {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            complain(format_args!("raftcached: {failure}"));
            ExitCode::from(failure.status)
        }
    }
}

/// Help and version are asked for and succeed; of the rest, nodes end with memcached's status for a
/// bad option, and the operator's tools with 2, since 64 says nothing to a monitoring system.
fn refused(error: &clap::Error) -> ExitCode {
    // Fails only if nobody reads it.
    let _ = error.print();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ExitCode::SUCCESS;
    }
    const TOOLS: [&str; 6] = ["cert", "config", "drain", "health", "member", "status"];
    let tool = std::env::args().nth(1).is_some_and(|word| TOOLS.contains(&word.as_str()));
    ExitCode::from(if tool { 2 } else { EX_USAGE })
}

/// Writes one line to standard output; nobody has to read it.
fn say(line: fmt::Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Writes one line to standard error; nobody has to read it.
fn complain(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
