//! Random commands to one stock memcached and, each through another node, to a cluster: nobody can
//! tell the two apart.
//!
//! Replies are compared byte for byte. Only a CAS unique may be another number, and then always the
//! same one: what memcached says twice the cluster says twice, and the other way round.

mod binary;
mod meta;
mod text;

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{Cluster, Rng, StockMemcached, count, seed};

use self::binary::Binary;
use self::meta::Meta;
use self::text::Text;

#[test]
fn the_text_protocol_answers_like_memcached() -> Result<()> {
    compare(&Text)
}

#[test]
fn the_binary_protocol_answers_like_memcached() -> Result<()> {
    compare(&Binary)
}

#[test]
fn the_meta_commands_answer_like_memcached() -> Result<()> {
    compare(&Meta)
}

/// Method: a handful of keys, so that commands meet each other. Batches of commands, valid and not,
/// go to memcached and to a node of the cluster drawn at random, in one write each; the replies up
/// to the end of the batch must be the same.
fn compare(protocol: &dyn Protocol) -> Result<()> {
    let commands = count("COMMANDS", 100_000, 10_000);
    let mut rng = Rng::new(seed());
    // Its maintainer holds items now and then, and then arithmetic does not pad: see `Command::first`.
    let memcached = StockMemcached::start_with(1, &["-o", "no_lru_maintainer"])?;
    let cluster = Cluster::start(3)?;
    let mut stock = Wire::connect(memcached.client_port(0))?;
    let mut nodes = (0..cluster.nodes())
        .map(|node| Wire::connect(cluster.client_port(node)))
        .collect::<Result<Vec<_>>>()?;
    let mut known = Known::default();
    let mut done = 0;
    let mut before = VecDeque::new();
    while done < commands {
        let batch = draw_batch(protocol, &mut rng);
        let [to_stock, to_ours] = [0, 1].map(|side| protocol.encode(&batch, &known, side));
        let node = rng.index(nodes.len());
        let ours = nodes.get_mut(node).context("a node")?;
        let context = || {
            let sent = to_ours.escape_ascii();
            format!("after {done} commands, through node {node}: {sent}\nbefore: {before:#?}")
        };
        let expected = stock.ask(&to_stock, protocol).context("memcached").with_context(context)?;
        let replies = ours.ask(&to_ours, protocol).context("the cluster").with_context(context)?;
        ensure!(
            expected.bytes == replies.bytes,
            "{}\nmemcached: {}\ncluster:   {}",
            context(),
            expected.bytes.escape_ascii(),
            replies.bytes.escape_ascii(),
        );
        known.pair(&expected.cas, &replies.cas).with_context(context)?;
        done += batch.len() as u64;
        before.push_back(format!(
            "{}\n -> {}",
            to_ours.escape_ascii(),
            replies.bytes.escape_ascii()
        ));
        if BATCHES_SHOWN < before.len() {
            before.pop_front();
        }
    }
    println!("{done} commands, {} versions of items: the same replies", known.to_ours.len());
    cluster.finish()
}

fn draw_batch(protocol: &dyn Protocol, rng: &mut Rng) -> Vec<Command> {
    let mut batch = Vec::new();
    for _ in 0..=rng.below(12) {
        let command = protocol.draw(rng);
        if command.first && !batch.is_empty() {
            break;
        }
        batch.push(command);
    }
    batch
}

trait Protocol {
    fn draw(&self, rng: &mut Rng) -> Command;
    /// For memcached (0) or the cluster (1), with something at the end that is always answered.
    fn encode(&self, batch: &[Command], known: &Known, side: usize) -> Vec<u8>;
    /// What has come so far, when it is everything.
    fn replies(&self, bytes: &[u8]) -> Result<Option<Replies>>;
}

/// With CAS uniques taken out.
#[derive(Default)]
struct Replies {
    bytes: Vec<u8>,
    cas: Vec<(String, u64)>,
}

/// A command without the numbers in which the two differ.
struct Command {
    before: Vec<u8>,
    cas: Option<(String, CasWanted)>,
    after: Vec<u8>,
    /// memcached answers otherwise behind replies that it has not sent yet.
    first: bool,
}

#[derive(Clone, Copy)]
enum CasWanted {
    /// The last that was seen of this key.
    Last,
    Wrong,
    Zero,
}

/// CAS uniques that have been seen: memcached's and the cluster's.
#[derive(Default)]
struct Known {
    last: HashMap<String, [u64; 2]>,
    to_ours: HashMap<u64, u64>,
    to_stock: HashMap<u64, u64>,
}

impl Known {
    fn pair(&mut self, stock: &[(String, u64)], ours: &[(String, u64)]) -> Result<()> {
        ensure!(stock.len() == ours.len(), "{stock:?} and {ours:?}");
        for ((key, stock), (_, ours)) in stock.iter().zip(ours) {
            let there = *self.to_ours.entry(*stock).or_insert(*ours);
            let back = *self.to_stock.entry(*ours).or_insert(*stock);
            ensure!(
                there == *ours && back == *stock,
                "CAS of {key}: memcached's {stock} was {there} here and is {ours} now, which was \
                 memcached's {back}",
            );
            self.last.insert(key.clone(), [*stock, *ours]);
        }
        Ok(())
    }

    fn cas(&self, key: &str, wanted: CasWanted, side: usize) -> u64 {
        match wanted {
            CasWanted::Last => {
                self.last.get(key).and_then(|pair| pair.get(side)).map_or(1 << 60, |cas| *cas)
            }
            CasWanted::Wrong => (1 << 61) + 1,
            CasWanted::Zero => 0,
        }
    }
}

struct Wire(TcpStream);

impl Wire {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_WITHIN))?;
        Ok(Self(stream))
    }

    fn ask(&mut self, request: &[u8], protocol: &dyn Protocol) -> Result<Replies> {
        self.0.write_all(request)?;
        let (mut bytes, mut chunk) = (Vec::new(), [0; 16 * 1024]);
        loop {
            if let Some(replies) = protocol.replies(&bytes)? {
                return Ok(replies);
            }
            let read = self.0.read(&mut chunk);
            let so_far = || format!("so far {:?}", String::from_utf8_lossy(&bytes));
            let len = read.with_context(so_far)?;
            ensure!(len != 0, "closed, {}", so_far());
            bytes.extend(chunk.iter().take(len));
        }
    }
}

fn pick<T: Copy + Default>(rng: &mut Rng, from: &[T]) -> T {
    from.get(rng.index(from.len())).copied().unwrap_or_default()
}

fn key(rng: &mut Rng) -> String {
    match rng.below(40) {
        0 => "k".repeat(250),
        1 => "\u{1}caf\u{e9}\t".to_owned(),
        number => format!("k{}", number % 6),
    }
}

fn value(rng: &mut Rng) -> Vec<u8> {
    // None with the highest bit set: memcached 1.6.18 looks for a minus sign behind the end of those.
    let numbers =
        ["0", "7", "99", "100", "0007", "12 ", "1152921504606846976", "18446744073709551616"];
    // None of blanks alone: there memcached looks for a number behind the end of the value.
    let others = ["", "-1", " 5", "12abc", "END\r\n", "value"];
    match rng.below(8) {
        0..4 => pick(rng, &numbers).into(),
        4..6 => pick(rng, &others).into(),
        6 => vec![b'x'; rng.index(3000)],
        // Of any bytes, but no blanks alone, and no number that a zero byte ends for memcached.
        _ => {
            let len = rng.index(40);
            [&b"b"[..], &rng.bytes(len)].concat()
        }
    }
}

/// What `append` and `prepend` add: no digits, which would make numbers with the highest bit set, and
/// no minus sign, because memcached takes "-0" for a number.
fn addition(rng: &mut Rng) -> Vec<u8> {
    pick(rng, &["", "x", "+", "END\r\n", "some more of it"]).into()
}

/// What a failure shows of what came before it.
const BATCHES_SHOWN: usize = 8;
const REPLY_WITHIN: Duration = Duration::from_secs(5);
