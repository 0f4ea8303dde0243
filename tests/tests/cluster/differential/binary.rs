//! Commands of the binary protocol, and what comes back.

use anyhow::{Context, Result, bail, ensure};
use cluster_tests::Rng;

use super::{CasWanted, Command, Known, Protocol, Replies, addition, key, pick, value};

pub(crate) struct Binary;

impl Binary {
    /// Get, getk, gat, gatk; set, add, replace; append, prepend; delete; incr, decr, with their quiet
    /// forms; touch; noop; two that nobody knows. Some more than once.
    const OPCODES: [u8; 34] = [
        0x00, 0x09, 0x0c, 0x0d, 0x1d, 0x1e, 0x23, 0x24, 0x01, 0x11, 0x02, 0x12, 0x03, 0x13, 0x0e,
        0x19, 0x0f, 0x1a, 0x04, 0x14, 0x05, 0x15, 0x06, 0x16, 0x1c, 0x0a, 0x1b, 0x30, 0x01, 0x01,
        0x05, 0x06, 0x00, 0x0c,
    ];
    const FLUSHES: [u8; 2] = [0x08, 0x18];

    fn expiry(rng: &mut Rng) -> u32 {
        pick(rng, &[0, 0, 0, 0, 100, 2_592_000, 1_893_456_000, LONG_AGO, u32::MAX])
    }

    fn number(rng: &mut Rng) -> u64 {
        pick(rng, &[0, 1, 5, 100])
    }
}

impl Protocol for Binary {
    fn draw(&self, rng: &mut Rng) -> Command {
        let opcode = match rng.below(200) {
            0 => pick(rng, &Self::FLUSHES),
            _ => pick(rng, &Self::OPCODES),
        };
        let mut key = key(rng);
        let (mut extras, mut data) = (Vec::new(), Vec::new());
        match opcode {
            0x01..=0x03 | 0x11..=0x13 => {
                extras.extend(u32::try_from(rng.below(3)).unwrap_or(0).to_be_bytes());
                // An add of what is over already is answered here like a read, without a CAS unique.
                let expiry = match (opcode, Self::expiry(rng)) {
                    (0x02 | 0x12, LONG_AGO) => 0,
                    (_, expiry) => expiry,
                };
                extras.extend(expiry.to_be_bytes());
                data = value(rng);
            }
            0x05 | 0x06 | 0x15 | 0x16 => {
                extras.extend(Self::number(rng).to_be_bytes());
                extras.extend(Self::number(rng).to_be_bytes());
                extras.extend(Self::expiry(rng).to_be_bytes());
            }
            0x0e | 0x0f | 0x19 | 0x1a => data = addition(rng),
            0x1c..=0x1e | 0x23 | 0x24 => extras.extend(Self::expiry(rng).to_be_bytes()),
            // memcached 1.6.18 stops listening behind an unknown opcode with a body.
            0x08 | 0x18 | 0x0a | 0x1b | 0x30 => key.clear(),
            _ => {}
        }
        let (key_len, body_len) = (key.len(), extras.len() + key.len() + data.len());
        let mut before = vec![0x80, opcode];
        before.extend(u16::try_from(key_len).unwrap_or(0).to_be_bytes());
        before.extend([u8::try_from(extras.len()).unwrap_or(0), 0, 0, 0]);
        before.extend(u32::try_from(body_len).unwrap_or(0).to_be_bytes());
        before.extend(u32::try_from(rng.below(1 << 31)).unwrap_or(0).to_be_bytes());
        let wanted = match rng.below(12) {
            0 => CasWanted::Wrong,
            1..4 => CasWanted::Last,
            _ => CasWanted::Zero,
        };
        let after = [extras, key.clone().into_bytes(), data].concat();
        // Where a key is missing, memcached makes a counter although another CAS was named; we do not.
        let counts = matches!(opcode, 0x05 | 0x06 | 0x15 | 0x16);
        let wanted = if counts { CasWanted::Zero } else { wanted };
        Command { before, cas: Some((key, wanted)), after, first: counts }
    }

    fn encode(&self, batch: &[Command], known: &Known, side: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for Command { before, cas, after, .. } in batch {
            bytes.extend(before);
            let cas = cas.as_ref().map_or(0, |(key, wanted)| known.cas(key, *wanted, side));
            bytes.extend(cas.to_be_bytes());
            bytes.extend(after);
        }
        // Keys are asked for by name, so that every version's CAS is seen.
        for key in (0..6).map(|number| format!("k{number}")) {
            bytes.extend([
                0x80, 0x0d, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ]);
            bytes.extend(key.bytes());
        }
        bytes.extend([0x80, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(END.to_be_bytes());
        bytes.extend([0; 8]);
        bytes
    }

    fn replies(&self, bytes: &[u8]) -> Result<Option<Replies>> {
        let mut replies = Replies::default();
        let mut rest = bytes;
        while let Some((header, behind)) = rest.split_at_checked(24) {
            let [magic, opcode, key_high, key_low, extras_len, ..] = *header else {
                bail!("a header")
            };
            ensure!(magic == 0x81, "{header:?} is no reply");
            let body_len = u32::from_be_bytes(header.get(8..12).context("length")?.try_into()?);
            let Some((body, behind)) = behind.split_at_checked(body_len as usize) else {
                return Ok(None);
            };
            rest = behind;
            let opaque = u32::from_be_bytes(header.get(12..16).context("opaque")?.try_into()?);
            let cas = u64::from_be_bytes(header.get(16..24).context("CAS")?.try_into()?);
            replies.bytes.extend(header.iter().take(16));
            replies.bytes.push(u8::from(cas != 0));
            replies.bytes.extend(body);
            let key_len = usize::from(u16::from_be_bytes([key_high, key_low]));
            let key = body.iter().skip(usize::from(extras_len)).take(key_len);
            if cas != 0 {
                let key = String::from_utf8_lossy(&key.copied().collect::<Vec<_>>()).into_owned();
                replies.cas.push((key, cas));
            }
            if opcode == 0x0a && opaque == END {
                ensure!(rest.is_empty(), "{rest:?} behind the end");
                return Ok(Some(replies));
            }
        }
        Ok(None)
    }
}

const LONG_AGO: u32 = 1_000_000_000;
/// The opaque of the last request of a batch.
const END: u32 = u32::MAX;
