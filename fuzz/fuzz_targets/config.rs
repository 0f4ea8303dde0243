//! A configuration file: refused with a reason, or a configuration that keeps what it promises.
//!
//! Input: a byte. Is it even, what follows is the file; is it odd, each pair of bytes is a line: an
//! option and one of the values that options have, since what contradicts each other has to meet.
#![no_main]

use std::fmt::Write as _;

use harness::allocations::{LIMIT, bounded};
use harness::binary::config::fuzzing::check;
use harness::input::Input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded(LIMIT, || {
    let mut input = Input(data);
    if !input.flag() {
        return check(input.rest());
    }
    // Each option once, as TOML has it.
    let mut values = [None; OPTIONS.len()];
    while !input.is_empty() {
        let option = input.below(OPTIONS.len());
        values[option] = Some(input.pick(OPTIONS[option].1));
    }
    let mut text = String::new();
    for ((option, _), value) in OPTIONS.iter().zip(values) {
        if let Some(value) = value {
            writeln!(text, "{option} = {value}").expect("a string grows");
        }
    }
    check(text.as_bytes());
}));

/// Each with values of its type, right and wrong ones, so that few files fail for a type alone.
const OPTIONS: [(&str, &[&str]); 41] = [
    ("admin-listen", &ADDRESSES),
    ("advertise-admin", &ADDRESSES),
    ("advertise-client", &ADDRESSES),
    ("advertise-peer", &ADDRESSES),
    ("auth-file", &TEXTS),
    ("bootstrap-expect", &NUMBERS),
    ("conn-limit", &NUMBERS),
    ("data-dir", &TEXTS),
    ("disable-evictions", &FLAGS),
    ("drain-time", &NUMBERS),
    ("durability", &["\"fsync\"", "\"os\"", "\"never\""]),
    ("election-timeout", &["\"50..75\"", "\"75..50\"", "\"1..2\"", "\"50..60001\"", "\"..\""]),
    ("enable-sasl", &FLAGS),
    ("enable-ssl", &FLAGS),
    ("heartbeat", &NUMBERS),
    ("idle-timeout", &NUMBERS),
    ("insecure-peers", &FLAGS),
    ("isolation-close", &NUMBERS),
    (
        "join",
        &["[]", "[\"a:1\"]", "[\"a:1\", \"b:1\", \"c:1\"]", "[\"a:1\", \"a:1\"]", "[\"a:0\"]"],
    ),
    (
        "listen",
        &[
            "\"0.0.0.0\"",
            "\"::\"",
            "\"n1\"",
            "\"\"",
            "\"a,b\"",
            "[\"a:5\", \"*\"]",
            "\"notls:a\"",
            "\"proto[ascii]:a\"",
            "\"[::1]:7\"",
            "\"unix:/x\"",
        ],
    ),
    ("listen-backlog", &NUMBERS),
    ("max-item-size", &SIZES),
    ("max-reqs-per-event", &NUMBERS),
    ("memory-limit", &SIZES),
    ("name", &TEXTS),
    ("operation-budget", &NUMBERS),
    ("peer-ca", &TEXTS),
    ("peer-cert", &TEXTS),
    ("peer-key", &TEXTS),
    ("peer-listen", &ADDRESSES),
    ("port", &NUMBERS),
    ("prefix-delimiter", &["\":\"", "\"|\"", "\"\"", "\"::\""]),
    ("protocol", &["\"auto\"", "\"ascii\"", "\"binary\"", "\"http\""]),
    ("sasl-pwdb", &TEXTS),
    ("ssl-chain-cert", &TEXTS),
    ("ssl-verify-mode", &NUMBERS),
    ("threads", &NUMBERS),
    ("udp-port", &NUMBERS),
    ("unix-mask", &NUMBERS),
    ("unix-socket", &TEXTS),
    ("verbose", &["0", "1", "2", "256"]),
];

const ADDRESSES: [&str; 6] =
    ["\"a:0\"", "\"a:1\"", "\"b:2\"", "\"n1:11211\"", "\"[::1]:21211\"", "\"::1:5\""];
const FLAGS: [&str; 3] = ["true", "false", "1"];
const NUMBERS: [&str; 14] = [
    "0", "1", "2", "20", "50", "75", "76", "100", "1024", "55535", "60000", "60001", "-1",
    "4000000",
];
const SIZES: [&str; 10] =
    ["0", "1", "2", "1024", "\"512k\"", "\"2m\"", "\"1g\"", "\"16384g\"", "\"16385g\"", "-1"];
const TEXTS: [&str; 4] = ["\"\"", "\"n1\"", "\"a/b\"", "1"];
