//! Commands of the text protocol, and what comes back.

use anyhow::{Context, Result};
use cluster_tests::Rng;

use super::{CasWanted, Command, Known, Protocol, Replies, addition, key, pick, value};

pub(crate) struct Text;

impl Text {
    fn expiry(rng: &mut Rng) -> &'static str {
        let usual = pick(rng, &["0", "100", "2592000", "1893456000", "-1", "1000000000", "abc"]);
        if rng.below(2) == 0 { "0" } else { usual }
    }

    fn flags(rng: &mut Rng) -> &'static str {
        pick(rng, &["0", "0", "0", "7", "4294967295", "4294967301", "-1", "abc", "5x"])
    }

    fn noreply(rng: &mut Rng) -> &'static str {
        pick(rng, &["", "", "", "", " noreply", " noreply", " NOREPLY"])
    }

    fn store(rng: &mut Rng) -> Command {
        let verb =
            pick(rng, &["set", "set", "set", "add", "replace", "append", "prepend", "cas", "cas"]);
        let adds = matches!(verb, "append" | "prepend");
        let (key, value) = (key(rng), if adds { addition(rng) } else { value(rng) });
        let (flags, expiry) = (Self::flags(rng), Self::expiry(rng));
        let len = match rng.below(30) {
            0 => (value.len() + 3).to_string(),
            1 => value.len().saturating_sub(1).to_string(),
            2 => pick(rng, &["-1", "abc", "2147483647", "", "99999999999999999999"]).to_owned(),
            _ => value.len().to_string(),
        };
        let before = format!("{verb} {key} {flags} {expiry} {len}").into_bytes();
        let mut after = Self::noreply(rng).as_bytes().to_vec();
        after.extend_from_slice(b"\r\n");
        after.extend(value);
        after.extend_from_slice(b"\r\n");
        let wanted = match rng.below(6) {
            0 => CasWanted::Wrong,
            1 => CasWanted::Zero,
            _ => CasWanted::Last,
        };
        Command { before, cas: (verb == "cas").then_some((key, wanted)), after, first: false }
    }

    fn other(rng: &mut Rng) -> String {
        let (key, noreply) = (key(rng), Self::noreply(rng));
        match rng.below(22) {
            0..4 => format!("get {key}"),
            4..8 => format!("gets {key}"),
            8 => format!("{} {key} k1  k2 {key}", pick(rng, &["get", "gets"])),
            9 => format!("gat {} {key}", Self::expiry(rng)),
            10 => format!("gats {} {key} k3", Self::expiry(rng)),
            11..14 => format!("incr {key} {}{noreply}", Self::delta(rng)),
            14..16 => format!("decr {key} {}{noreply}", Self::delta(rng)),
            16..18 => format!("delete {key}{}{noreply}", pick(rng, &["", "", " 0", " 5", " a b"])),
            18..20 => format!("touch {key} {}{noreply}", Self::expiry(rng)),
            // None for later: in memcached 1.6.18 that takes back the one before.
            20 => match rng.below(8) {
                0 => format!("flush_all{}", pick(rng, &["", " 0", " noreply", " -1", " abc"])),
                _ => format!("get {key}"),
            },
            _ => pick(rng, &Self::WRONG).replace("LONG", &"k".repeat(251)),
        }
    }

    fn delta(rng: &mut Rng) -> &'static str {
        pick(rng, &["1", "1", "5", "100", "0", "18446744073709551616", "-1", "x", ""])
    }

    const WRONG: [&str; 24] = [
        "foo",
        "get",
        "gets",
        "set k1",
        "set k1 0 0",
        "incr k1",
        "incr",
        "decr k1",
        "touch k1",
        "touch",
        "delete",
        "gat",
        "gat 0",
        "GET k1",
        "get LONG",
        "get k1 LONG k2",
        "delete LONG",
        "incr LONG 1",
        "touch LONG 0",
        "gat 0 LONG",
        "cas k1 0 0",
        "verbosity",
        "get k1 ",
        "mget",
    ];
}

impl Protocol for Text {
    fn draw(&self, rng: &mut Rng) -> Command {
        if rng.below(5) < 2 {
            return Self::store(rng);
        }
        let end = pick(rng, &["\r\n", "\r\n", "\r\n", "\n"]);
        let before = format!("{}{end}", Self::other(rng)).into_bytes();
        // A get with a key that is too long makes it forget them; and as long as one of them holds a
        // value, arithmetic does not pad the new one to the old one's length.
        let first =
            before.len() > 251 || before.starts_with(b"incr") || before.starts_with(b"decr");
        Command { before, cas: None, after: Vec::new(), first }
    }

    fn encode(&self, batch: &[Command], known: &Known, side: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for Command { before, cas, after, .. } in batch {
            bytes.extend(before);
            if let Some((key, wanted)) = cas {
                bytes.extend(format!(" {}", known.cas(key, *wanted, side)).bytes());
            }
            bytes.extend(after);
        }
        // A value that is too short takes what follows: enough of it that the end is still read.
        bytes.extend_from_slice(&b"get nobody\r\n".repeat(4));
        bytes.extend_from_slice(
            b"gets k0 k1 k2 k3 k4 k5\r\nset end 0 0 3 noreply\r\nEND\r\nget end\r\n",
        );
        bytes
    }

    fn replies(&self, bytes: &[u8]) -> Result<Option<Replies>> {
        if !bytes.ends_with(b"VALUE end 0 3\r\nEND\r\nEND\r\n") {
            return Ok(None);
        }
        let mut replies = Replies::default();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end + 1);
            rest = behind;
            let text = String::from_utf8_lossy(line);
            let words: Vec<_> = text.split(' ').collect();
            let ["VALUE", key, flags, len, cas @ ..] = words.as_slice() else {
                replies.bytes.extend(line);
                continue;
            };
            replies.bytes.extend(format!("VALUE {key} {flags} {}", len.trim()).bytes());
            if let [cas] = cas {
                replies.bytes.extend_from_slice(b" CAS");
                replies.cas.push(((*key).to_owned(), cas.trim().parse()?));
            }
            let len: usize = len.trim().parse()?;
            let (data, behind) = rest.split_at_checked(len + 2).context("a short value")?;
            replies.bytes.extend_from_slice(b"\r\n");
            replies.bytes.extend(data);
            rest = behind;
        }
        replies.bytes.extend(rest);
        Ok(Some(replies))
    }
}
