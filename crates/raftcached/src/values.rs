//! Option values as the operator writes them, parsed into types that carry their unit.

mod clients;

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

pub(crate) use clients::{Compat, Delimiter, Dialect, IdleTimeout, Port, UnixMask};

/// Item memory in bytes, written as memcached does: a bare number counts MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(crate) struct MemoryLimit(pub(crate) u64);

impl FromStr for MemoryLimit {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        size(text, MIB).map(Self)
    }
}

/// The largest item in bytes, written as memcached does: a bare number counts bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(crate) struct ItemSize(pub(crate) u64);

impl FromStr for ItemSize {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        size(text, 1).map(Self)
    }
}

/// When a write is safe on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Durability {
    /// Once it is on the disk: survives a power cut
    Fsync,
    /// Once the operating system has it, which writes it out within a second: survives the process
    Os,
}

/// A host name or address and a port; an IPv6 address stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct HostPort {
    /// Never empty; an IPv6 address without its brackets.
    pub(crate) host: String,
    /// 0 asks the kernel for any free port, where that makes sense.
    pub(crate) port: u16,
}

impl HostPort {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }
}

impl FromStr for HostPort {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let text = text.trim();
        let (host, port) = text.rsplit_once(':').ok_or(BadValue("HOST:PORT is needed"))?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_none() && host.contains(':') {
            return Err(BadValue("an IPv6 address needs brackets: [::1]:21211"));
        }
        let host = host_name(bracketed.unwrap_or(host))?;
        let port = port.parse().map_err(|_| BadValue("the port is not in 0..65535"))?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl TryFrom<String> for HostPort {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

/// A host name or address without a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Host(pub(crate) String);

impl FromStr for Host {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        host_name(text.trim()).map(Self)
    }
}

impl TryFrom<String> for Host {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

/// The range a node draws its election timeout from, in milliseconds: `MIN..MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ElectionTimeout {
    pub(crate) min_ms: u64,
    pub(crate) max_ms: u64,
}

impl FromStr for ElectionTimeout {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let parts = text.trim().split_once("..");
        let parsed = parts.and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)));
        let (min_ms, max_ms) = parsed.ok_or(BadValue("MIN..MAX in milliseconds is needed"))?;
        Ok(Self { min_ms, max_ms })
    }
}

impl TryFrom<String> for ElectionTimeout {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

/// After how many seconds `dev` starts a dead node again, if ever.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Respawn(pub(crate) Option<f64>);

impl FromStr for Respawn {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text == "never" {
            return Ok(Self(None));
        }
        let seconds = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
        seconds.map(|seconds| Self(Some(seconds))).ok_or(BadValue("SECONDS or `never` is needed"))
    }
}

/// Why a value is refused; whoever parses puts the option's name in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadValue(pub(crate) &'static str);

/// A size in a file may be a TOML number or a string with a unit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, or a string like \"64m\"")]
enum Scalar {
    Number(i64),
    Text(String),
}

impl TryFrom<Scalar> for MemoryLimit {
    type Error = BadValue;

    fn try_from(scalar: Scalar) -> Result<Self, BadValue> {
        scalar.text().parse()
    }
}

impl TryFrom<Scalar> for ItemSize {
    type Error = BadValue;

    fn try_from(scalar: Scalar) -> Result<Self, BadValue> {
        scalar.text().parse()
    }
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// A host name or address; nothing of it is looked up.
pub(crate) fn host_name(text: &str) -> Result<String, BadValue> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    if text.is_empty() {
        Err(BadValue("the host is empty"))
    } else if text.contains(',') {
        Err(BadValue("only one host is possible here"))
    } else if text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(BadValue("a host has only letters, digits and .-_:"))
    }
}

fn size(text: &str, bare_unit: u64) -> Result<u64, BadValue> {
    let text = text.trim();
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (text.get(..text.len() - 1), 1024),
        Some(b'm' | b'M') => (text.get(..text.len() - 1), MIB),
        Some(b'g' | b'G') => (text.get(..text.len() - 1), 1024 * MIB),
        _ => (Some(text), bare_unit),
    };
    // `parse` would take a sign.
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let digits = digits.filter(|digits| !digits.is_empty());
    let digits =
        digits.ok_or(BadValue("a number is needed, with k, m or g behind it if wanted"))?;
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| *bytes <= SIZE_MAX).ok_or(BadValue("more than 16 TiB"))
}

const MIB: u64 = 1024 * 1024;
const SIZE_MAX: u64 = 16 * 1024 * 1024 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_memcacheds_units() {
        let cases: &[(&str, Option<u64>, Option<u64>)] = &[
            ("64", Some(64 << 20), Some(64)),
            (" 64 ", Some(64 << 20), Some(64)),
            ("512k", Some(512 << 10), Some(512 << 10)),
            ("2m", Some(2 << 20), Some(2 << 20)),
            ("1G", Some(1 << 30), Some(1 << 30)),
            ("0", Some(0), Some(0)),
            ("", None, None),
            ("m", None, None),
            ("-1", None, None),
            ("+1", None, None),
            ("1.5g", None, None),
            ("64mb", None, None),
            ("99999999999G", None, None),
            ("18446744073709551616", None, None),
            ("\u{ff11}", None, None),
        ];
        for (text, memory, item) in cases {
            let have = (text.parse::<MemoryLimit>().ok(), text.parse::<ItemSize>().ok());
            assert_eq!(have, (memory.map(MemoryLimit), item.map(ItemSize)), "case: {text:?}");
        }
    }

    #[test]
    fn addresses() {
        let cases: &[(&str, Option<(&str, u16)>)] = &[
            ("127.0.0.1:21211", Some(("127.0.0.1", 21211))),
            ("n1:1", Some(("n1", 1))),
            ("[::1]:65535", Some(("::1", 65535))),
            ("n1:0", Some(("n1", 0))),
            ("n1", None),
            (":21211", None),
            ("n1:", None),
            ("n1:65536", None),
            ("n1:-1", None),
            ("::1:21211", None),
            ("n 1:21211", None),
            ("n1\n:21211", None),
            ("http://n1:21211", None),
        ];
        for (text, want) in cases {
            let have = text.parse::<HostPort>().ok();
            assert_eq!(have, want.map(|(host, port)| HostPort::new(host, port)), "case: {text:?}");
            if let Some(have) = have {
                assert_eq!(have.to_string(), *text, "shown as it was written");
            }
        }
    }

    #[test]
    fn election_timeouts_and_respawns() {
        let range = |min_ms, max_ms| Ok(ElectionTimeout { min_ms, max_ms });
        assert_eq!("50..75".parse(), range(50, 75));
        for bad in ["50", "50-75", "..75", "50..", "a..b", "-1..5"] {
            assert!(bad.parse::<ElectionTimeout>().is_err(), "case: {bad}");
        }
        assert_eq!("never".parse(), Ok(Respawn(None)));
        assert_eq!("0.5".parse(), Ok(Respawn(Some(0.5))));
        for bad in ["", "-1", "NaN", "inf", "1e99", "soon"] {
            assert!(bad.parse::<Respawn>().is_err(), "case: {bad}");
        }
    }
}
