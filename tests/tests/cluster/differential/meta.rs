//! Meta commands, and what comes back.
//!
//! Drawn as memcached 1.6.18 understands them: without what 1.6.45 added (`E`, `x`, `N` of `ms`, `C`
//! of `mg`) and without errors, for which it has other words. Not asked for either: `h` and `l`, which
//! a node knows of itself alone.

use anyhow::{Context, Result};
use cluster_tests::Rng;

use super::{CasWanted, Command, Known, Protocol, Replies, addition, pick, value};

pub(crate) struct Meta;

impl Meta {
    fn get(rng: &mut Rng) -> Command {
        let (key, base64) = Self::key(rng);
        let change = match rng.below(12) {
            0 => pick(rng, &[" T100", " T0", " T1893456000"]),
            // memcached calls what it makes by the bytes of its key, whatever they are.
            1 | 2 if base64.is_empty() => pick(rng, &[" N100", " N0"]),
            3 | 4 => pick(rng, &[" R60", " R200", " R0"]),
            _ => "",
        };
        let shown = Self::shown(rng, &[" v", " s", " f", " t", " q"]);
        Self::command(format!("mg {key}{base64}{shown}{change}"), None)
    }

    fn store(rng: &mut Rng) -> Command {
        let (key, base64) = Self::key(rng);
        // memcached forgets what an item is called when something is appended to it.
        let modes: &[_] = match base64 {
            "" => &["", " MS", " ME", " MR", " MA", " MP"],
            _ => &["", " MS", " ME", " MR"],
        };
        let mode = pick(rng, modes);
        let joins = matches!(mode, " MA" | " MP");
        let value = if joins { addition(rng) } else { value(rng) };
        let ttl = pick(rng, &["", "", " T100", " T0", " T-1", " T1893456000"]);
        let flags = pick(rng, &["", " F7", " F4294967295"]);
        let invalidate = pick(rng, &["", "", " I"]);
        let shown = Self::shown(rng, &[" q"]);
        let line = format!("ms {key} {}{base64}{shown}{mode}{ttl}{flags}{invalidate}", value.len());
        let mut command = Self::command(line, Self::cas(rng, &key));
        command.after.extend(value);
        command.after.extend_from_slice(b"\r\n");
        command
    }

    fn delete(rng: &mut Rng) -> Command {
        let (key, base64) = Self::key(rng);
        let stale = pick(rng, &["", " I", " I T100", " I T0", " I T30"]);
        let shown = pick(rng, &["", " q", " k", " O3 k", " k O4"]);
        Self::command(format!("md {key}{base64}{shown}{stale}"), Self::cas(rng, &key))
    }

    /// On keys of its own: memcached forgets that an item was stale when its number gets longer.
    fn arithmetic(rng: &mut Rng) -> Command {
        let key = pick(rng, &["n0", "n1"]);
        match rng.below(8) {
            0 => return Self::command(format!("md {key} k"), None),
            1 => {
                let number = pick(rng, &["7", "99", "0007", "1152921504606846976", "x"]);
                let line = format!("ms {key} {}", number.len());
                let mut command = Self::command(line, None);
                command.after.extend(format!("{number}\r\n").bytes());
                return command;
            }
            _ => {}
        }
        let mode = pick(rng, &["", " MI", " M+", " MD", " M-"]);
        let delta = pick(rng, &["", " D1", " D100", " D1000"]);
        let create = pick(rng, &["", "", " N0", " N100 J13", " J5"]);
        let shown = Self::shown(rng, &[" v", " t", " q"]);
        // Without T: when a number gets longer, memcached sets the deadline of the item that was.
        let line = format!("ma {key}{shown}{mode}{delta}{create}");
        Command { first: true, ..Self::command(line, Self::cas(rng, key)) }
    }

    fn classic(rng: &mut Rng) -> Command {
        let (key, _) = Self::key(rng);
        let line = match rng.below(6) {
            0..3 => format!("get {key}"),
            3 => format!("touch {key} 100"),
            4 => format!("delete {key}"),
            _ => "flush_all".to_owned(),
        };
        let line =
            if line == "flush_all" && rng.below(6) != 0 { format!("gat 0 {key}") } else { line };
        Self::command(line, None)
    }

    fn command(line: String, cas: Option<(String, CasWanted)>) -> Command {
        Command { before: line.into_bytes(), cas, after: b"\r\n".to_vec(), first: false }
    }

    /// And the flag for one in base64. Each is always called the same.
    fn key(rng: &mut Rng) -> (String, &'static str) {
        match rng.below(16) {
            // "a key" and "b\nkey".
            0 => ("YSBrZXk=".to_owned(), " b"),
            1 => ("YgprZXk=".to_owned(), " b"),
            2 => ("k".repeat(250), ""),
            number => (format!("k{}", number % 5), ""),
        }
    }

    /// Some of what can be shown, in any order; the version always with its key.
    fn shown(rng: &mut Rng, more: &[&'static str]) -> String {
        let mut all = [" k", " c"].to_vec();
        all.extend(more);
        let mut shown = pick(rng, &["", "", " O1", " Oabc"]).to_owned();
        while !all.is_empty() {
            let flag = all.swap_remove(rng.index(all.len()));
            if rng.below(2) == 0 {
                shown.push_str(flag);
            }
        }
        if shown.contains(" c") && !shown.contains(" k") { shown + " k" } else { shown }
    }

    fn cas(rng: &mut Rng, key: &str) -> Option<(String, CasWanted)> {
        match rng.below(12) {
            0 => Some((key.to_owned(), CasWanted::Wrong)),
            1 => Some((key.to_owned(), CasWanted::Zero)),
            2..=4 => Some((key.to_owned(), CasWanted::Last)),
            _ => None,
        }
    }
}

impl Protocol for Meta {
    fn draw(&self, rng: &mut Rng) -> Command {
        match rng.below(16) {
            0..5 => Self::get(rng),
            5..9 => Self::store(rng),
            9..11 => Self::delete(rng),
            11..14 => Self::arithmetic(rng),
            14 => Self::classic(rng),
            _ => Self::command("mn".to_owned(), None),
        }
    }

    fn encode(&self, batch: &[Command], known: &Known, side: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for Command { before, cas, after, .. } in batch {
            bytes.extend(before);
            if let Some((key, wanted)) = cas {
                bytes.extend(format!(" C{}", known.cas(key, *wanted, side)).bytes());
            }
            bytes.extend(after);
        }
        for key in ["k0", "k1", "k2", "k3", "k4", "n0", "n1"] {
            bytes.extend(format!("mg {key} k c t f s v\r\n").bytes());
        }
        bytes.extend_from_slice(b"mg YSBrZXk= b k c t\r\nmg YgprZXk= b k c t\r\nversion\r\n");
        bytes
    }

    fn replies(&self, bytes: &[u8]) -> Result<Option<Replies>> {
        let Some(end) = bytes.windows(8).rposition(|word| word == b"VERSION ") else {
            return Ok(None);
        };
        let (mut rest, version) = bytes.split_at(end);
        if !version.ends_with(b"\n") {
            return Ok(None);
        }
        let mut replies = Replies::default();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end + 1);
            rest = behind;
            let text = String::from_utf8_lossy(line);
            let words: Vec<_> = text.trim_end().split(' ').collect();
            let key = words.iter().find_map(|word| word.strip_prefix('k')).unwrap_or_default();
            for word in &words {
                match word.split_at_checked(1) {
                    Some(("c", cas)) if cas.parse::<u64>().is_ok() => {
                        replies.bytes.extend_from_slice(b"cCAS ");
                        replies.cas.push((key.to_owned(), cas.parse()?));
                    }
                    // They count seconds from different moments.
                    Some(("t", left)) if left.parse::<u64>().is_ok() => {
                        replies.bytes.extend_from_slice(b"tLEFT ");
                    }
                    _ => replies.bytes.extend(format!("{word} ").bytes()),
                }
            }
            replies.bytes.push(b'\n');
            let (["VA", len, ..] | ["VALUE", _, _, len, ..]) = words.as_slice() else { continue };
            let len: usize = len.parse()?;
            let (data, behind) = rest.split_at_checked(len + 2).context("a short value")?;
            replies.bytes.extend(data);
            rest = behind;
        }
        replies.bytes.extend(rest);
        Ok(Some(replies))
    }
}
