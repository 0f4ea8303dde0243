//! Requests of a history on the wire, in either dialect, and what their replies mean.

use std::time::Duration;

use cluster_tests::{BinaryClient, BinaryReply, ClientError, Protocol, TextClient};
use oracle::{Input, Output, Ttl};

/// One connection, which asks one thing at a time.
#[derive(Debug)]
pub(crate) enum Wire {
    Text(TextClient),
    Binary(BinaryClient),
}

/// What is known of a request that has no good reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was not done, and never will be: the node has said so.
    NotDone,
    /// It may have been done, or be done one day.
    Unknown,
    /// No node may say this.
    Broken(String),
}

type Result<T> = std::result::Result<T, ClientError>;

impl Wire {
    /// Connects to a port of this machine, for replies within `patience`.
    pub(crate) fn connect(protocol: Protocol, port: u16, patience: Duration) -> Result<Self> {
        match protocol {
            Protocol::Text => TextClient::connect_within(port, patience).map(Self::Text),
            Protocol::Binary => BinaryClient::connect_within(port, patience).map(Self::Binary),
        }
    }

    /// Asks, and waits for the reply.
    pub(crate) fn ask(&mut self, key: &str, input: &Input) -> Result<Output> {
        match self {
            Self::Text(client) => text(client, key, input),
            Self::Binary(client) => binary(client, key, input),
        }
    }
}

impl Fate {
    /// What an error leaves known.
    pub(crate) fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Connect(_) => Self::NotDone,
            ClientError::Closed(_) | ClientError::Timeout => Self::Unknown,
            ClientError::Refused(text) if NOT_DONE.iter().any(|words| text.contains(words)) => {
                Self::NotDone
            }
            ClientError::Refused(text) if text.contains("outcome unknown") => Self::Unknown,
            ClientError::Refused(_) | ClientError::Unexpected(_) => Self::Broken(error.to_string()),
        }
    }
}

fn text(client: &mut TextClient, key: &str, input: &Input) -> Result<Output> {
    let store = |verb: &str, value: &String, ttl: Ttl, token: &str| {
        format!("{verb} {key} 0 {} {}{token}\r\n{value}\r\n", exptime(ttl), value.len())
    };
    let request = match input {
        Input::Get => format!("get {key}\r\n"),
        Input::Gets => format!("gets {key}\r\n"),
        Input::Gat { ttl } => format!("gat {} {key}\r\n", exptime(*ttl)),
        Input::Set { value, ttl } => store("set", value, *ttl, ""),
        Input::Add { value, ttl } => store("add", value, *ttl, ""),
        Input::Replace { value, ttl } => store("replace", value, *ttl, ""),
        Input::Append { value } => store("append", value, Ttl::Never, ""),
        Input::Prepend { value } => store("prepend", value, Ttl::Never, ""),
        Input::Cas { value, ttl, token } => store("cas", value, *ttl, &format!(" {token}")),
        Input::Delete => format!("delete {key}\r\n"),
        Input::Touch { ttl } => format!("touch {key} {}\r\n", exptime(*ttl)),
        Input::Incr { by } => format!("incr {key} {by}\r\n"),
        Input::Decr { by } => format!("decr {key} {by}\r\n"),
    };
    client.send(request.as_bytes())?;
    if matches!(input, Input::Get | Input::Gets | Input::Gat { .. }) {
        let found = client.items()?.remove(key);
        return Ok(found.map_or(Output::Miss, |item| Output::Value {
            value: String::from_utf8_lossy(&item.value).into_owned(),
            cas: Some(item.cas_unique).filter(|cas| *cas != 0),
        }));
    }
    let line = client.line()?;
    Ok(match line.as_str() {
        "STORED" => Output::Stored,
        "NOT_STORED" => Output::NotStored,
        "EXISTS" => Output::Exists,
        "NOT_FOUND" => Output::NotFound,
        "DELETED" => Output::Deleted,
        "TOUCHED" => Output::Touched,
        "CLIENT_ERROR cannot increment or decrement non-numeric value" => Output::NotANumber,
        line if line.contains("ERROR") => return Err(ClientError::Refused(line.to_owned())),
        line => match line.parse() {
            Ok(number) => Output::Number(number),
            Err(_) => return Err(ClientError::Unexpected(line.to_owned())),
        },
    })
}

fn binary(client: &mut BinaryClient, key: &str, input: &Input) -> Result<Output> {
    let seconds = |ttl: Ttl| exptime(ttl).to_be_bytes();
    let mut store = |opcode: u8, value: &String, ttl: Ttl, token: u64| {
        let extras = [[0; 4], seconds(ttl)].concat();
        client.ask(opcode, token, &extras, key, value.as_bytes())
    };
    let reply = match input {
        Input::Set { value, ttl } => store(0x01, value, *ttl, 0),
        Input::Add { value, ttl } => store(0x02, value, *ttl, 0),
        Input::Replace { value, ttl } => store(0x03, value, *ttl, 0),
        Input::Cas { value, ttl, token } => store(0x01, value, *ttl, *token),
        Input::Get | Input::Gets => client.ask(0x00, 0, &[], key, b""),
        Input::Delete => client.ask(0x04, 0, &[], key, b""),
        Input::Incr { by } => client.ask(0x05, 0, &no_initial(*by), key, b""),
        Input::Decr { by } => client.ask(0x06, 0, &no_initial(*by), key, b""),
        Input::Append { value } => client.ask(0x0e, 0, &[], key, value.as_bytes()),
        Input::Prepend { value } => client.ask(0x0f, 0, &[], key, value.as_bytes()),
        Input::Touch { ttl } => client.ask(0x1c, 0, &seconds(*ttl), key, b""),
        Input::Gat { ttl } => client.ask(0x1d, 0, &seconds(*ttl), key, b""),
    }?;
    meaning(input, &reply).ok_or_else(|| reply.refused())
}

/// `None` for an error.
fn meaning(input: &Input, reply: &BinaryReply) -> Option<Output> {
    let reads = matches!(input, Input::Get | Input::Gets | Input::Gat { .. });
    let stores_new = matches!(input, Input::Add { .. });
    let needs_old =
        matches!(input, Input::Replace { .. } | Input::Append { .. } | Input::Prepend { .. });
    let output = match (reply.status, input) {
        (OK, _) if reads => Output::Value {
            value: String::from_utf8_lossy(&reply.value).into_owned(),
            cas: Some(reply.cas_unique),
        },
        (OK, Input::Incr { .. } | Input::Decr { .. }) => {
            Output::Number(u64::from_be_bytes(reply.value.as_slice().try_into().ok()?))
        }
        (OK, Input::Delete) => Output::Deleted,
        (OK, Input::Touch { .. }) => Output::Touched,
        (OK, _) => Output::Stored,
        (NOT_FOUND, _) if reads => Output::Miss,
        (NOT_FOUND | NOT_STORED, _) if needs_old => Output::NotStored,
        (NOT_FOUND, _) => Output::NotFound,
        (EXISTS, _) if stores_new => Output::NotStored,
        (EXISTS, _) => Output::Exists,
        (NOT_A_NUMBER, _) => Output::NotANumber,
        _ => return None,
    };
    Some(output)
}

/// Delta, an initial value, and the exptime that asks for none to be stored.
fn no_initial(by: u64) -> Vec<u8> {
    [&by.to_be_bytes()[..], &[0; 8], &[0xff; 4]].concat()
}

/// Whole seconds.
fn exptime(ttl: Ttl) -> i32 {
    match ttl {
        Ttl::Never => 0,
        Ttl::Past => -1,
        Ttl::Millis(ms) => i32::try_from(ms / 1000).unwrap_or(i32::MAX),
    }
}

/// What a node says that has done nothing and never will.
const NOT_DONE: [&str; 3] =
    ["node is shutting down", "no quorum", "no space on the disks of a majority"];
const OK: u16 = 0x00;
const NOT_FOUND: u16 = 0x01;
const EXISTS: u16 = 0x02;
const NOT_STORED: u16 = 0x05;
const NOT_A_NUMBER: u16 = 0x06;
