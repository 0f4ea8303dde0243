//! Short runs of operations with one planted bug, to be put behind a valid history.

use crate::history::{Input, Operation, Output, Ttl};

/// A run of operations on one key that no store could give.
#[derive(Clone, Copy, Debug)]
pub struct Episode {
    /// What went wrong.
    pub name: &'static str,
    /// Requests and replies, one after the other, and a pause before each in milliseconds.
    steps: fn(&str) -> Vec<(u64, Input, Output)>,
    /// The step that is dropped to make the run right, or replies that would be.
    right: fn(&str) -> Vec<(u64, Input, Output)>,
}

impl Episode {
    /// One for each known bug.
    pub const ALL: [Self; 12] = [
        Self { name: "lost write", steps: |t| lost(t, t, "a"), right: |t| lost(t, t, "b") },
        Self { name: "stale read", steps: |t| stale(t, "a"), right: |t| stale(t, "c") },
        Self { name: "doubled incr", steps: |_| incr("14"), right: |_| incr("12") },
        Self { name: "doubled append", steps: |t| append(t, 2), right: |t| append(t, 1) },
        Self { name: "expired returns", steps: |t| expired(t, true), right: |t| expired(t, false) },
        Self { name: "false miss", steps: |t| miss(t, true), right: |t| miss(t, false) },
        Self { name: "old token taken", steps: |t| cas(t, true), right: |t| cas(t, false) },
        Self { name: "token reused", steps: |t| tokens(t, 7), right: |t| tokens(t, 9) },
        Self { name: "add over item", steps: |t| add(t, true), right: |t| add(t, false) },
        Self { name: "deleted returns", steps: |t| deleted(t, true), right: |t| deleted(t, false) },
        Self { name: "lives too long", steps: |t| lives(t, 150), right: |t| lives(t, 105) },
        Self { name: "dies too early", steps: |t| dies(t, 50), right: |t| dies(t, 95) },
    ];
}

/// Puts an episode behind a history, on a key of the history.
///
/// It begins a minute after the last return. `tag` is text that the history does not have, and no
/// number: values are made of it. With `wrong` false the replies are those of a right store.
pub fn plant(
    history: &[Operation],
    key: &str,
    episode: &Episode,
    tag: &str,
    wrong: bool,
) -> Vec<Operation> {
    let ends = history.iter().map(|operation| operation.return_us.unwrap_or(operation.call_us));
    let mut now = ends.max().unwrap_or(0) + 60_000_000;
    let mut planted = history.to_vec();
    let steps = if wrong { (episode.steps)(tag) } else { (episode.right)(tag) };
    for (pause_ms, input, output) in steps {
        let call_us = now + pause_ms * 1000;
        planted.push(Operation::at(key, call_us, call_us + 100, input, output));
        now = call_us + 200;
    }
    planted
}

type Steps = Vec<(u64, Input, Output)>;

fn set(value: String) -> (u64, Input, Output) {
    (0, Input::Set { value, ttl: Ttl::Never }, Output::Stored)
}

fn get(value: String) -> (u64, Input, Output) {
    (0, Input::Get, Output::Value { value, cas: None })
}

fn lost(tag: &str, _: &str, seen: &str) -> Steps {
    vec![set(format!("{tag}a")), set(format!("{tag}b")), get(format!("{tag}{seen}"))]
}

fn stale(tag: &str, seen: &str) -> Steps {
    let first = [set(format!("{tag}a")), get(format!("{tag}a")), set(format!("{tag}b"))];
    let then = [set(format!("{tag}c")), get(format!("{tag}{seen}"))];
    first.into_iter().chain(then).collect()
}

fn incr(seen: &str) -> Steps {
    let counted = (0, Input::Incr { by: 2 }, Output::Number(12));
    vec![set("10".into()), counted, get(seen.into())]
}

fn append(tag: &str, times: usize) -> Steps {
    let appended = (0, Input::Append { value: format!("{tag}b") }, Output::Stored);
    let seen = get(format!("{tag}a{}", format!("{tag}b").repeat(times)));
    vec![set(format!("{tag}a")), appended, seen]
}

fn expired(tag: &str, returns: bool) -> Steps {
    let stored = (0, Input::Set { value: tag.into(), ttl: Ttl::Millis(100) }, Output::Stored);
    let miss = (98, Input::Get, Output::Miss);
    let last = if returns { get(tag.into()) } else { (0, Input::Get, Output::Miss) };
    vec![stored, miss, last]
}

fn miss(tag: &str, missed: bool) -> Steps {
    let seen = get(tag.to_owned());
    let middle = if missed { (0, Input::Get, Output::Miss) } else { seen.clone() };
    vec![set(tag.to_owned()), seen.clone(), middle, seen]
}

fn cas(tag: &str, taken: bool) -> Steps {
    let gets = |value: &str, token| {
        (0, Input::Gets, Output::Value { value: format!("{tag}{value}"), cas: Some(token) })
    };
    let token = EPISODE_TOKENS + 1;
    let input = Input::Cas { value: format!("{tag}c"), ttl: Ttl::Never, token };
    let output = if taken { Output::Stored } else { Output::Exists };
    let seen = get(format!("{tag}{}", if taken { "c" } else { "b" }));
    vec![set(format!("{tag}a")), gets("a", token), set(format!("{tag}b")), (0, input, output), seen]
}

fn tokens(tag: &str, second: u64) -> Steps {
    let gets = |value: &str, token| {
        let cas = Some(EPISODE_TOKENS + token);
        (0, Input::Gets, Output::Value { value: format!("{tag}{value}"), cas })
    };
    vec![set(format!("{tag}a")), gets("a", 7), set(format!("{tag}b")), gets("b", second)]
}

fn add(tag: &str, added: bool) -> Steps {
    let input = Input::Add { value: format!("{tag}b"), ttl: Ttl::Never };
    let output = if added { Output::Stored } else { Output::NotStored };
    let seen = get(format!("{tag}{}", if added { "b" } else { "a" }));
    vec![set(format!("{tag}a")), get(format!("{tag}a")), (0, input, output), seen]
}

fn deleted(tag: &str, returns: bool) -> Steps {
    let miss = (0, Input::Get, Output::Miss);
    let last = if returns { get(tag.to_owned()) } else { miss.clone() };
    vec![set(tag.to_owned()), (0, Input::Delete, Output::Deleted), miss, last]
}

fn lives(tag: &str, ms: u64) -> Steps {
    let stored = (0, Input::Set { value: tag.into(), ttl: Ttl::Millis(100) }, Output::Stored);
    vec![stored, (ms, Input::Get, Output::Value { value: tag.into(), cas: None })]
}

fn dies(tag: &str, ms: u64) -> Steps {
    let stored = (0, Input::Set { value: tag.into(), ttl: Ttl::Millis(100) }, Output::Stored);
    vec![stored, (ms, Input::Get, Output::Miss), (0, Input::Get, Output::Miss)]
}

/// Above every token that the generated store gives out.
const EPISODE_TOKENS: u64 = 1 << 40;
