//! One address of `-l`, as memcached writes it.
//!
//! # Source
//!
//! memcached's `server_sockets`: `[PREFIX:...]HOST[:PORT]`, where HOST may be `*` or an IPv6 address,
//! in brackets if a port follows. `unix:PATH` is ours: a socket beside the TCP ports.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::values::{BadValue, Dialect, host_name};

/// Where clients may connect, and what is different there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenAddress {
    pub(crate) place: Place,
    pub(crate) tls: ListenTls,
    /// What clients speak here (`proto[...]:`); `None`: as everywhere.
    pub(crate) dialect: Option<Dialect>,
}

/// The address itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A TCP (and UDP) port of one host.
    Host {
        /// `None`: all addresses of this machine (`*`).
        host: Option<String>,
        /// `None`: that of `-p` (or `-U`); 0: any free one.
        port: Option<u16>,
    },
    /// The file of a Unix socket, never empty.
    Unix(PathBuf),
}

/// Whether clients speak TLS at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListenTls {
    /// As `-Z` says.
    AsEverywhere,
    /// Never (`notls:`).
    Off,
    /// Without a certificate of the client's (`btls:`).
    Basic,
    /// With one (`mtls:`).
    Mutual,
}

impl ListenAddress {
    /// A host with the port of `-p`.
    pub(crate) fn host(host: &str) -> Self {
        let place = Place::Host { host: Some(host.to_owned()), port: None };
        Self { place, tls: ListenTls::AsEverywhere, dialect: None }
    }
}

impl FromStr for ListenAddress {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (mut tls, mut dialect) = (ListenTls::AsEverywhere, None);
        let mut rest = text.trim();
        loop {
            let after = if let Some(after) = rest.strip_prefix("notls:") {
                tls = ListenTls::Off;
                after
            } else if let Some(after) = rest.strip_prefix("btls:") {
                tls = ListenTls::Basic;
                after
            } else if let Some(after) = rest.strip_prefix("mtls:") {
                tls = ListenTls::Mutual;
                after
            } else if let Some(spec) = rest.strip_prefix("proto[") {
                let (name, after) = spec.split_once("]:").ok_or(BadValue(PROTO))?;
                dialect = Some(listed_dialect(name)?);
                after
            } else if let Some(after) = after_tag(rest)? {
                // A tag tells connections apart for memcached's proxy, which we are not.
                after
            } else {
                return Ok(Self { place: place(rest)?, tls, dialect });
            };
            rest = after;
        }
    }
}

/// A list in a file may be one string, with commas, or several.
pub(crate) fn list<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<ListenAddress>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "an address, or a list of them")]
    enum List {
        One(String),
        Many(Vec<String>),
    }
    let texts = match List::deserialize(from)? {
        List::One(text) => vec![text],
        List::Many(texts) => texts,
    };
    let addresses = texts.iter().flat_map(|text| text.split(SEPARATORS)).map(str::parse);
    addresses.collect::<Result<_, _>>().map(Some).map_err(serde::de::Error::custom)
}

fn listed_dialect(name: &str) -> Result<Dialect, BadValue> {
    match name {
        "ascii" => Ok(Dialect::Ascii),
        "binary" => Ok(Dialect::Binary),
        "negotiating" => Ok(Dialect::Auto),
        "proxy" => Err(BadValue("proto[proxy]: memcached's proxy is not supported")),
        _ => Err(BadValue(PROTO)),
    }
}

/// What follows `tag_NAME_:` or, before 1.6.22, `tag[NAME]:`; `None`: no tag.
fn after_tag(text: &str) -> Result<Option<&str>, BadValue> {
    let spec = text.strip_prefix("tag[").map(|rest| rest.split_once("]:"));
    let spec = spec.or_else(|| text.strip_prefix("tag_").map(|rest| rest.split_once("_:")));
    match spec {
        None => Ok(None),
        Some(Some((name, after))) if (1..=8).contains(&name.len()) => Ok(Some(after)),
        Some(_) => Err(BadValue("a tag is written tag_NAME_: with 1 to 8 characters")),
    }
}

fn place(text: &str) -> Result<Place, BadValue> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.is_empty() {
            Err(BadValue("unix: needs the path of a socket"))
        } else {
            Ok(Place::Unix(path.into()))
        };
    }
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let closed = bracketed.split_once(']').ok_or(BadValue("an IPv6 address has no `]`"))?;
        match closed {
            (host, "") => (host, None),
            (host, port) => (host, Some(port.strip_prefix(':').ok_or(BadValue(PORT))?)),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            // More than one colon: an IPv6 address without a port.
            _ => (text, None),
        }
    };
    let port = match port {
        Some("-1") => Some(0),
        Some(port) => Some(port.parse().map_err(|_| BadValue(PORT))?),
        None => None,
    };
    let host = if host == "*" { None } else { Some(host_name(host)?) };
    Ok(Place::Host { host, port })
}

/// What stands between addresses in one text; memcached takes both.
const SEPARATORS: [char; 2] = [',', ';'];
const PORT: &str = "the port is not in 0..65535";
const PROTO: &str = "a protocol is written proto[ascii]:, proto[binary]: or proto[negotiating]:";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: Option<&str>, port: Option<u16>) -> ListenAddress {
        let place = Place::Host { host: host.map(str::to_owned), port };
        ListenAddress { place, tls: ListenTls::AsEverywhere, dialect: None }
    }

    #[test]
    fn addresses_as_memcached_writes_them() {
        let plain = [
            ("127.0.0.1", at(Some("127.0.0.1"), None)),
            (" localhost:11300", at(Some("localhost"), Some(11300))),
            ("*", at(None, None)),
            ("*:11300", at(None, Some(11300))),
            ("::1", at(Some("::1"), None)),
            ("[::1]", at(Some("::1"), None)),
            ("[::1]:11300", at(Some("::1"), Some(11300))),
            ("127.0.0.1:-1", at(Some("127.0.0.1"), Some(0))),
            ("tag_web_:127.0.0.1:1", at(Some("127.0.0.1"), Some(1))),
            ("tag[web]:127.0.0.1", at(Some("127.0.0.1"), None)),
            ("tagged.example", at(Some("tagged.example"), None)),
        ];
        for (text, want) in plain {
            assert_eq!(text.parse(), Ok(want), "case: {text}");
        }
        let tls = [
            ("notls:127.0.0.1:1", ListenTls::Off),
            ("btls:127.0.0.1:1", ListenTls::Basic),
            ("mtls:proto[negotiating]:127.0.0.1:1", ListenTls::Mutual),
        ];
        for (text, want) in tls {
            let have: ListenAddress = text.parse().unwrap();
            assert_eq!((have.tls, have.place), (want, at(Some("127.0.0.1"), Some(1)).place));
        }
        let have: ListenAddress = "proto[binary]:127.0.0.1".parse().unwrap();
        assert_eq!(have.dialect, Some(Dialect::Binary));
        let have: ListenAddress = "unix:/run/x".parse().unwrap();
        assert_eq!(have.place, Place::Unix("/run/x".into()));
    }

    #[test]
    fn what_is_no_address_is_refused_by_reason() {
        let cases = [
            ("", "the host is empty"),
            ("notls:", "the host is empty"),
            ("a:b", "the port is not"),
            ("a:65536", "the port is not"),
            ("[::1", "no `]`"),
            ("[::1]x", "the port is not"),
            ("a b", "only letters"),
            ("proto[http]:a", "proto[ascii]"),
            ("proto[proxy]:a", "proxy is not supported"),
            ("tag_much_too_long_:a", "1 to 8"),
            ("unix:", "path"),
        ];
        for (text, want) in cases {
            let error = text.parse::<ListenAddress>().expect_err(text).to_string();
            assert!(error.contains(want), "case: {text}: {error}");
        }
    }
}
