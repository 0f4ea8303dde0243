//! Values of memcached's own options.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::{BadValue, Scalar};

/// A port as `-p` and `-U` take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(crate) enum Port {
    /// 0: none.
    Off,
    /// -1: any free one.
    Any,
    /// This one, never 0.
    Number(u16),
}

impl Port {
    /// What to bind: 0 takes any free port; `None`: nothing.
    pub(crate) fn to_bind(self) -> Option<u16> {
        match self {
            Self::Off => None,
            Self::Any => Some(0),
            Self::Number(port) => Some(port),
        }
    }
}

impl FromStr for Port {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.trim().parse::<i32>() {
            Ok(-1) => Ok(Self::Any),
            Ok(0) => Ok(Self::Off),
            Ok(port) => u16::try_from(port).map(Self::Number).map_err(|_| BadValue(PORT_RANGE)),
            Err(_) => Err(BadValue(PORT_RANGE)),
        }
    }
}

impl TryFrom<Scalar> for Port {
    type Error = BadValue;

    fn try_from(scalar: Scalar) -> Result<Self, BadValue> {
        scalar.text().parse()
    }
}

/// Who may open a Unix socket: access bits in octal digits, as for `chmod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(crate) struct UnixMask(pub(crate) u32);

impl FromStr for UnixMask {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let mask = u32::from_str_radix(text.trim(), 8).ok().filter(|mask| *mask <= 0o777);
        mask.map(Self).ok_or(BadValue("octal digits are needed, 0 to 777"))
    }
}

impl TryFrom<Scalar> for UnixMask {
    type Error = BadValue;

    fn try_from(scalar: Scalar) -> Result<Self, BadValue> {
        scalar.text().parse()
    }
}

/// How long a client may be silent, in seconds; 0 is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub(crate) struct IdleTimeout(pub(crate) u32);

impl IdleTimeout {
    /// `None`: for ever.
    pub(crate) fn limit(self) -> Option<Duration> {
        (self.0 != 0).then(|| Duration::from_secs(self.0.into()))
    }
}

impl FromStr for IdleTimeout {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        text.trim().parse().map(Self).map_err(|_| BadValue("a number of seconds is needed"))
    }
}

impl TryFrom<Scalar> for IdleTimeout {
    type Error = BadValue;

    fn try_from(scalar: Scalar) -> Result<Self, BadValue> {
        scalar.text().parse()
    }
}

/// What ends the prefix of a key: one byte of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Delimiter(pub(crate) u8);

impl FromStr for Delimiter {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.as_bytes() {
            [byte] if byte.is_ascii_graphic() => Ok(Self(*byte)),
            _ => Err(BadValue("one visible ASCII character is needed")),
        }
    }
}

impl TryFrom<String> for Delimiter {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

/// Which protocol clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dialect {
    /// The first byte of a connection tells
    Auto,
    /// Text and meta commands
    Ascii,
    /// 24-byte headers
    Binary,
}

impl Dialect {
    /// The only protocol there is; `None`: both.
    pub(crate) fn only(self) -> Option<protocol::Protocol> {
        match self {
            Self::Auto => None,
            Self::Ascii => Some(protocol::Protocol::Text),
            Self::Binary => Some(protocol::Protocol::Binary),
        }
    }
}

/// Which memcached is followed where two of them differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
pub(crate) enum Compat {
    /// Debian 12's
    #[value(name = "1.6.18")]
    #[serde(rename = "1.6.18")]
    V1_6_18,
    /// The newest
    #[value(name = "1.6.45")]
    #[serde(rename = "1.6.45")]
    V1_6_45,
}

impl From<Compat> for frontend::Compat {
    fn from(compat: Compat) -> Self {
        match compat {
            Compat::V1_6_18 => Self::V1_6_18,
            Compat::V1_6_45 => Self::V1_6_45,
        }
    }
}

const PORT_RANGE: &str = "a port is needed: 1 to 65535, 0 for none, -1 for any";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_memcached_counts_them() {
        let cases = [
            ("0", Some(Port::Off)),
            ("-1", Some(Port::Any)),
            (" 11211", Some(Port::Number(11211))),
            ("65535", Some(Port::Number(65535))),
            ("65536", None),
            ("-2", None),
            ("", None),
            ("11211x", None),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse().ok(), want, "case: {text:?}");
        }
        assert_eq!(Port::Any.to_bind(), Some(0));
        assert_eq!(Port::Off.to_bind(), None);
    }

    #[test]
    fn masks_delimiters_and_timeouts() {
        let masks = [("700", Some(0o700)), ("0777", Some(0o777)), ("778", None), ("1000", None)];
        for (text, want) in masks {
            assert_eq!(text.parse().ok(), want.map(UnixMask), "case: {text}");
        }
        let delimiters = [(":", Some(b':')), ("", None), ("::", None), ("\u{e9}", None)];
        for (text, want) in delimiters {
            assert_eq!(text.parse().ok(), want.map(Delimiter), "case: {text}");
        }
        assert_eq!(IdleTimeout(0).limit(), None);
        assert_eq!(IdleTimeout(3).limit(), Some(Duration::from_secs(3)));
        assert!("-1".parse::<IdleTimeout>().is_err());
    }
}
