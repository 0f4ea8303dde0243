//! `raftcached config convert`: memcached's option file, as Debian has it, as a file of ours.
//!
//! # Source
//!
//! `/etc/memcached.conf` and the wrapper that reads it: an option on each line, `#` before comments,
//! `-d` and what does not begin with a dash left to the service manager.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _};
use toml::Value;

use crate::cli::{Cli, ConfigCommand};
use crate::config::Config;
use crate::options::Options;
use crate::{complain, say};

/// Prints the file, converted; the exit status is 2 if something in it is unknown.
///
/// # Errors
///
/// A file that cannot be read.
pub(crate) fn run(command: &ConfigCommand) -> anyhow::Result<u8> {
    let ConfigCommand::Convert { file } = command;
    let shown = file.display();
    let text = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
    match convert(&String::from_utf8_lossy(&text)) {
        Ok(toml) => {
            say(format_args!("# What {shown} says, for `raftcached server --config`.\n{toml}"));
            Ok(0)
        }
        Err(refusals) => {
            for Refused { line, why } in refusals {
                complain(format_args!("raftcached: {shown}: line {line}: {why}"));
            }
            Ok(2)
        }
    }
}

/// A line that cannot be converted.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    /// From 1; the last one if it is about several.
    line: usize,
    why: String,
}

/// One line of the result.
enum Line {
    Comment(String),
    Option { key: String, value: Value },
}

fn convert(text: &str) -> Result<String, Vec<Refused>> {
    let mut lines = Vec::new();
    let mut refusals = Vec::new();
    let mut last = 0;
    for (number, text) in (1..).zip(text.lines()) {
        last = number;
        if let Err(why) = convert_line(text.trim(), &mut lines) {
            refusals.push(Refused { line: number, why });
        }
    }
    let mut toml = String::new();
    for line in &lines {
        // A string grows.
        let _ = match line {
            Line::Comment(text) => writeln!(toml, "{text}"),
            Line::Option { key, value } => writeln!(toml, "{key} = {value}"),
        };
    }
    if refusals.is_empty() {
        // Each option for itself is good; together they may contradict each other.
        let options = Options::from_text(toml.as_bytes()).map_err(|error| format!("{error:#}"));
        let checked = options.and_then(|options| {
            Config::try_from(options.with_memcacheds_environment())
                .map_err(|error| error.to_string())
        });
        refusals.extend(checked.err().map(|why| Refused { line: last, why }));
    }
    if refusals.is_empty() { Ok(toml) } else { Err(refusals) }
}

fn convert_line(text: &str, lines: &mut Vec<Line>) -> Result<(), String> {
    let note = |why: &str| Line::Comment(format!("# {text}: {why}"));
    if text.is_empty() || text.starts_with('#') {
        lines.push(Line::Comment(text.to_owned()));
        return Ok(());
    }
    match text.split_whitespace().next() {
        Some("-d" | "--daemon") => {
            lines.push(note("left to the service manager; daemon = true says the same"));
            return Ok(());
        }
        Some("logfile") => {
            lines.push(note("messages go to standard error"));
            return Ok(());
        }
        Some(word) if word.starts_with('-') => {}
        _ => return Err(format!("{text:?} is no option of memcached's")),
    }
    let matches = parse(text)?;
    for id in matches.ids() {
        let id = id.as_str();
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let key = id.replace('_', "-");
        match id {
            "extended" => extended(&words(&matches, id), lines)?,
            "verbose" => {
                set(lines, key, Value::Integer(matches.get_count(id).into()));
            }
            "slab_growth_factor" | "slab_min_size" | "enable_largepages" | "napi_ids" => {
                lines.push(note("of no effect here"));
            }
            "memory_file" => return Err("-e: --data-dir keeps items".to_owned()),
            // Groups of arguments have an id, too.
            _ if matches.try_get_raw(id).is_err() || id == "Options" || id == "Memcached" => {}
            "listen" => add(lines, &key, words(&matches, id)),
            "license" => return Err("-i is no option of a node".to_owned()),
            _ => {
                let word = words(&matches, id).pop().unwrap_or_default();
                let value = typed(&key, word)?;
                set(lines, key, value);
            }
        }
    }
    Ok(())
}

/// What one line would say on a command line; the environment has no word in it.
fn parse(text: &str) -> Result<ArgMatches, String> {
    let words = ["raftcached", "server"].into_iter().chain(text.split_whitespace());
    let cli = Cli::command()
        .mut_subcommand("server", |server| server.mut_args(|arg| arg.env(Resettable::Reset)));
    let matches = cli.try_get_matches_from(words).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    })?;
    let server = matches.subcommand_matches("server").cloned();
    server.ok_or_else(|| format!("{text:?} is no option"))
}

fn words(matches: &ArgMatches, id: &str) -> Vec<String> {
    let raw = matches.get_raw(id).into_iter().flatten();
    raw.map(|word| word.to_string_lossy().trim().to_owned()).collect()
}

/// What of `-o` is an option of ours becomes one.
fn extended(words: &[String], lines: &mut Vec<Line>) -> Result<(), String> {
    for suboption in words.iter().flat_map(|word| word.split(',')).filter(|word| !word.is_empty()) {
        let mut options = Options::default();
        options.memcached.extended = vec![suboption.to_owned()];
        crate::extended::take(&mut options).map_err(|error| error.to_string())?;
        if options == Options::default() {
            lines.push(Line::Comment(format!("# -o {suboption}: of no effect here")));
            continue;
        }
        let (key, value) = match suboption.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => match suboption.strip_prefix("no_") {
                Some(name) => (name.to_owned(), "false".to_owned()),
                None => (suboption.to_owned(), "true".to_owned()),
            },
        };
        // `no_modern` is several; this is the one that has an effect here.
        let key = if key == "modern" { "maxconns-fast".to_owned() } else { key.replace('_', "-") };
        let value = typed(&key, value)?;
        set(lines, key, value);
    }
    Ok(())
}

/// The TOML type that the option has.
fn typed(key: &str, word: String) -> Result<Value, String> {
    let integer = word.parse().ok().map(Value::Integer);
    let boolean = word.parse().ok().map(Value::Boolean);
    let values = [integer, boolean, Some(Value::String(word))];
    let taken = |value: &Value| Options::from_text(format!("{key} = {value}").as_bytes()).is_ok();
    let value = values.into_iter().flatten().find(taken);
    value.ok_or_else(|| format!("--{key} cannot be said in a file"))
}

/// As on a command line, the last word counts; TOML wants it once.
fn set(lines: &mut Vec<Line>, key: String, value: Value) {
    lines.retain(|line| !matches!(line, Line::Option { key: other, .. } if *other == key));
    lines.push(Line::Option { key, value });
}

/// Adds to a list, which may have begun on an earlier line.
fn add(lines: &mut Vec<Line>, key: &str, words: Vec<String>) {
    let more = words.into_iter().map(Value::String);
    let list = lines.iter_mut().find_map(|line| match line {
        Line::Option { key: other, value: Value::Array(list) } if other == key => Some(list),
        Line::Option { .. } | Line::Comment(_) => None,
    });
    match list {
        Some(list) => list.extend(more),
        None => {
            let value = Value::Array(more.collect());
            lines.push(Line::Option { key: key.to_owned(), value });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_file() {
        let text = "# memcached default config file\n\n-d\nlogfile /var/log/memcached.log\n\
            # -v\n-vv\n-m 64\n-p 11211\n-u memcache\n-l 127.0.0.1\n-l ::1\n# -c 1024\n-M\n\
            -P /var/run/memcached/memcached.pid\n-m 128\n-I 2m -a 0770\n\
            -o idle_timeout=30,slab_automove=0,no_maxconns_fast\n";
        let want = "# memcached default config file\n\n\
            # -d: left to the service manager; daemon = true says the same\n\
            # logfile /var/log/memcached.log: messages go to standard error\n\
            # -v\nverbose = 2\nport = 11211\nuser = \"memcache\"\nlisten = [\"127.0.0.1\", \"::1\"]\n\
            # -c 1024\ndisable-evictions = true\n\
            pidfile = \"/var/run/memcached/memcached.pid\"\nmemory-limit = 128\n\
            max-item-size = \"2m\"\nunix-mask = 770\nidle-timeout = 30\n\
            # -o slab_automove=0: of no effect here\nmaxconns-fast = false\n";
        let have = convert(text).unwrap();
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&have), sorted(want), "{have}");
    }

    #[test]
    fn what_is_unknown_is_named_by_its_line() {
        let refused = |line, why: &str| (line, why.to_owned());
        let cases = [
            ("-m 64\n-q\n", refused(2, "unexpected argument '-q'")),
            ("\nuser x\n", refused(2, "is no option of memcached's")),
            ("-m x\n", refused(1, "invalid value 'x' for '--memory-limit")),
            ("-o colour\n", refused(1, "Illegal suboption \"colour\"")),
            ("-e /x\n", refused(1, "--data-dir")),
            ("-m 64\n-t 0\n", refused(2, "-t (--threads) 0: at least 1")),
        ];
        for (text, (line, why)) in cases {
            let refusals = convert(text).expect_err(text);
            let have: Vec<_> = refusals.iter().map(|refused| refused.line).collect();
            assert_eq!(have, [line], "case: {text}: {refusals:?}");
            assert!(refusals.iter().all(|refused| refused.why.contains(&why)), "{refusals:?}");
        }
    }
}
