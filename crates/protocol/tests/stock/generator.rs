//! Streams of requests from one seed, right and wrong ones, without those in which we differ
//! from stock memcached on purpose.

/// One stream, in one of the two dialects; cas uniques in it are those that come after `cas`.
pub(crate) fn stream(seed: u64, cas: u64) -> Vec<u8> {
    let mut rng = Rng(seed);
    let mut stream = Vec::new();
    let text = rng.below(2) == 0;
    for _ in 0..1 + rng.below(30) {
        stream.extend(match (text, rng.below(3)) {
            (true, 0) => any_line(&mut rng),
            (true, _) => line(&mut rng, cas),
            (false, _) => any_frame(&mut rng, cas),
        });
    }
    // A value that never comes would take the replies before it down with it in stock memcached;
    // none is longer than this.
    if text {
        stream.extend(b"\n".repeat(110));
    }
    stream
}

/// A stream of meta commands, without what 1.6.18 does not know or answers with another text.
pub(crate) fn meta_stream(seed: u64, cas: u64) -> Vec<u8> {
    let mut rng = Rng(seed);
    let mut stream = Vec::new();
    for _ in 0..1 + rng.below(30) {
        stream.extend(if rng.below(4) == 0 {
            let key = rng.pick(&["a", "b", "foo", "Zm9v", "n", "n"]);
            let name = rng.pick(&["set", "append", "get", "gets", "incr", "delete"]);
            match name {
                "set" | "append" => format!("{name} {key} 5 0 1\r\n7\r\n"),
                "incr" => "incr n 1\r\n".to_owned(),
                _ => format!("{name} {key}\r\n"),
            }
            .into_bytes()
        } else {
            meta(&mut rng, cas)
        });
    }
    stream.extend(b"mn\r\n");
    stream
}

/// No `T` below 0, whose `t` wraps; no number of seconds that is shown; no quiet `ma` that makes
/// an item, which 1.6.18 answers. Numbers have a key of their own: an item forgets its marks when
/// a number grows, and when a reply before it in the same pipeline still holds it.
fn meta(rng: &mut Rng, cas: u64) -> Vec<u8> {
    let key = rng.pick(&["a", "b", "foo", "Zm9v"]);
    let value = rng.pick(VALUES);
    let (name, block) = match rng.below(7) {
        0..=2 => ("mg", None),
        3 | 4 => ("ms", Some(value)),
        5 => ("md", None),
        _ => ("ma", None),
    };
    let key = if name == "ma" { "n" } else { key };
    let mut line = format!("{name} {key}");
    if block.is_some() {
        line += &format!(" {}", value.len());
    }
    let mut used = String::new();
    for _ in 0..rng.below(6) {
        let flag = match name {
            "mg" => rng.pick(&[
                "s", "v", "c", "f", "h", "k", "Oo", "O", "q", "u", "N0", "v", "t", "R", "b", "I",
                "F7", "m", "C1",
            ]),
            "ms" => rng.pick(&[
                "c", "k", "F7", "Oab", "q", "I", "ME", "MA", "MP", "MR", "MS", "MZ", "C", "CAS",
                "CAS", "b", "v",
            ]),
            "md" => rng.pick(&["k", "q", "Oo", "CAS", "I", "I", "b", "C0"]),
            _ => rng.pick(&["v", "v", "k", "N0", "J9", "D5", "t", "c", "Ox", "CAS", "MI", "M+"]),
        };
        // `md` has another text for what is wrong with its flags.
        let repeats = used.contains(&flag[..1]) || (flag == "b" && key != "Zm9v");
        if repeats && (name == "md" || rng.below(8) != 0) {
            continue;
        }
        used += &flag[..1];
        match flag {
            "CAS" => line += &format!(" C{}", cas + rng.below(8) as u64),
            flag => line += &format!(" {flag}"),
        }
    }
    line += "\r\n";
    if let Some(value) = block {
        line += &format!("{value}\r\n");
    }
    line.into_bytes()
}

/// A well-formed frame.
pub(crate) fn frame(opcode: u8, cas: u64, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let [.., k1, k0] = key.len().to_be_bytes();
    let [.., extras_len] = extras.len().to_be_bytes();
    let body_len = extras.len() + key.len() + value.len();
    let header = header(opcode, cas, u16::from_be_bytes([k1, k0]), extras_len, body_len);
    [&header, extras, key, value].concat()
}

pub(crate) fn header(
    opcode: u8,
    cas: u64,
    key_len: u16,
    extras_len: u8,
    body_len: usize,
) -> Vec<u8> {
    let [k1, k0] = key_len.to_be_bytes();
    let [.., b3, b2, b1, b0] = body_len.to_be_bytes();
    let start = [0x80, opcode, k1, k0, extras_len, 0, 0, 0, b3, b2, b1, b0, 1, 2, 3, opcode];
    [&start[..], &cas.to_be_bytes()].concat()
}

/// Ends a transcript, so that what came before it is seen to be over.
pub(crate) fn version() -> Vec<u8> {
    header(0x0b, 0, 0, 0, 0)
}

/// A command that is mostly right.
fn line(rng: &mut Rng, cas: u64) -> Vec<u8> {
    let key = rng.pick(KEYS);
    let noreply = rng.pick(&["", "", "", " noreply"]);
    match rng.below(8) {
        0..=2 => {
            let name = rng.pick(&["set", "add", "replace", "append", "prepend"]);
            let (value, flags) = (rng.pick(VALUES), rng.pick(FLAGS));
            let exptime = rng.pick(&["0", "0", "100", "-1", "x"]);
            format!("{name} {key} {flags} {exptime} {}{noreply}\r\n{value}\r\n", value.len())
        }
        3 => {
            let (value, cas) = (rng.pick(VALUES), cas + rng.below(4) as u64);
            format!("cas {key} 0 0 {} {cas}{noreply}\r\n{value}\r\n", value.len())
        }
        4 => {
            let (name, number) =
                (rng.pick(&["incr", "touch"]), rng.pick(&["100", "+3", "-9x", "x"]));
            format!("{name} {key} {number}{noreply}\r\n")
        }
        5 => format!("delete {key}{noreply}\r\n"),
        6 => format!("{} {key} {} \r\n", rng.pick(&["get", "gets", "gat 0"]), rng.pick(KEYS)),
        _ => format!("{}\r\n", rng.pick(&["version", "mq", "flush_all", "verbosity 0", ""])),
    }
    .into_bytes()
}

/// Words in no order. No `flush_all`, which would strike some seconds later.
fn any_line(rng: &mut Rng) -> Vec<u8> {
    let mut words = vec![rng.pick(NAMES)];
    for _ in 0..rng.below(7) {
        words.push(match rng.below(3) {
            0 => rng.pick(NUMBERS),
            1 => rng.pick(KEYS),
            _ => rng.pick(&["noreply", "0", "5", "", "x\ty"]),
        });
    }
    let end = rng.pick(&["\r\n", "\r\n", "\n", "\r\r\n", "\r\nhello\r\n", "\r\nhelloxx"]);
    format!("{}{end}", words.join(" ")).into_bytes()
}

fn any_frame(rng: &mut Rng, cas: u64) -> Vec<u8> {
    let key = rng.pick(KEYS).as_bytes();
    let value = rng.pick(VALUES).as_bytes();
    let cas = if rng.below(2) == 0 { 0 } else { cas + rng.below(4) as u64 };
    let opcode = [0, 1, 2, 3, 4, 5, 8, 9, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf]
        .into_iter()
        .chain(0x11..=0x15)
        .chain([0x18, 0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x23, 0x24])
        .nth(rng.below(27))
        .unwrap_or(0x1f);
    match opcode {
        1..=3 | 0x11..=0x13 => frame(opcode, cas, &[0, 0, 0, 7, 0, 0, 0, 0], key, value),
        5 | 0x15 => {
            let end: &[u8] = if rng.below(2) == 0 { &[0; 4] } else { &[0xff; 4] };
            let extras = [&[0; 7][..], &[3], &[0; 7], &[200], end].concat();
            frame(opcode, cas, &extras, key, b"")
        }
        8 | 0x18 | 0xa | 0xb | 0x1f => frame(opcode, cas, b"", b"", b""),
        0xe | 0xf | 0x19 | 0x1a => frame(opcode, cas, b"", key, value),
        0x1c..=0x1e | 0x23 | 0x24 => frame(opcode, cas, &[0; 4], key, b""),
        _ => frame(opcode, cas, b"", key, b""),
    }
}

/// SplitMix64: same seed, same sequence, on every machine and in every release.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).unwrap_or_default() % bound
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words.get(self.below(words.len())).copied().unwrap_or_default()
    }
}

const KEYS: &[&str] = &["a", "b", "c", "noreply", "0"];
/// Nothing that becomes shorter by `incr`, and no `decr`: stock memcached pads a number to its old
/// length, but not while a reply before it in the same pipeline still holds the old value. No
/// value of blanks alone: there `incr` reads on into whatever memory is behind.
const VALUES: &[&str] = &["", "5", "99", "100", "-1", "12abc", "hello", "x\r\n"];
const NUMBERS: &[&str] = &["0", "50", "7", "100", "+3", "-1", "x", "18446744073709551615", "50\t2"];
const FLAGS: &[&str] = &["0", "0", "7", "4294967301", "18446744073709551615", "-1"];
const NAMES: &[&str] = &[
    "set",
    "add",
    "replace",
    "append",
    "prepend",
    "cas",
    "get",
    "gets",
    "gat",
    "gats",
    "delete",
    "touch",
    "verbosity",
    "version",
    "bogus",
    "x",
    "",
    "bget",
    "shutdown",
];
