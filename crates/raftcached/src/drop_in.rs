//! Called as memcached is: options, and no command.
//!
//! `raftcached -m 64 -p 11211 -u memcache` is `raftcached server` with the same options, and with
//! memcached's refusal to stay root unless told to.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::say;

/// What the words of a command line come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// A command, or what clap refuses: the words as they are.
    Command(Vec<OsString>),
    /// For help: all commands and all options.
    Help,
    /// As memcached: the words with the command that they mean.
    AsMemcached(Vec<OsString>),
}

impl Called {
    /// Decides by the first word behind the program's name.
    pub(crate) fn by(words: impl IntoIterator<Item = OsString>) -> Self {
        let mut words: Vec<_> = words.into_iter().collect();
        let first = words.get(1).map(|word| word.to_string_lossy().into_owned());
        match first.as_deref() {
            Some("-h" | "--help") => Self::Help,
            Some("-V" | "--version") => Self::Command(words),
            Some(word) if !word.starts_with('-') => Self::Command(words),
            _ => {
                words.iter_mut().skip(1).for_each(skip_blanks);
                words.insert(words.len().min(1), "server".into());
                Self::AsMemcached(words)
            }
        }
    }
}

/// Prints what `-h` asks for. Scripts look in it for what a memcached can do.
pub(crate) fn help() {
    let mut cli = Cli::command();
    cli.build();
    say(format_args!("{}", cli.render_help()));
    say(format_args!(
        "Without a command the options are those of `server`, which are memcached's and more.\n"
    ));
    if let Some(server) = cli.find_subcommand_mut("server") {
        say(format_args!("{}", server.render_help()));
    }
}

/// Prints what `-i` asks for.
pub(crate) fn licence() {
    say(format_args!(
        "raftcached {}\n\n{}.\n\
         A work of its own: nothing of memcached or libevent is in it.",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_LICENSE"),
    ));
}

/// Blanks before an option's value are what a unit file or a wrapper left there: `"-p 11211"`.
fn skip_blanks(word: &mut OsString) {
    let Some(text) = word.to_str() else { return };
    let skipped = match text.as_bytes() {
        [b'-', letter, b' ' | b'\t', ..] if letter.is_ascii_alphabetic() => {
            let (option, value) = text.split_at(2);
            format!("{option}{}", value.trim_start())
        }
        _ => text.trim_start().to_owned(),
    };
    if OsStr::new(&skipped) != word {
        *word = skipped.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(line: &[&str]) -> Called {
        Called::by(["raftcached"].iter().chain(line).map(OsString::from))
    }

    #[test]
    fn options_alone_are_a_memcacheds() {
        let as_memcached = [
            (&[] as &[&str], &["raftcached", "server"] as &[&str]),
            (&["-m", "64", "-vv"], &["raftcached", "server", "-m", "64", "-vv"]),
            (&["-p 11211", " 1"], &["raftcached", "server", "-p11211", "1"]),
            (&["--port=1"], &["raftcached", "server", "--port=1"]),
        ];
        for (line, want) in as_memcached {
            let want = want.iter().map(OsString::from).collect();
            assert_eq!(called(line), Called::AsMemcached(want), "case: {line:?}");
        }
        for line in [&["server", "-m", "64"] as &[&str], &["dev"], &["-V"], &["colour"]] {
            let want = ["raftcached"].iter().chain(line).map(OsString::from).collect();
            assert_eq!(called(line), Called::Command(want), "case: {line:?}");
        }
        assert_eq!(called(&["-h"]), Called::Help);
    }
}
