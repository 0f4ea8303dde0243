//! The rules for one key: short histories, and whether there is an order.

use oracle::Input::{self, *};
use oracle::Output::{
    self, Deleted, Exists, Miss, NotANumber, NotFound, NotStored, Number, Stored,
};
use oracle::Output::{Touched, Unknown};
use oracle::Ttl::{Millis, Never, Past};
use oracle::{Limits, Operation, check, final_reads, survived};

/// Steps one after the other, a millisecond each: from 0 to 900 us, from 1000 to 1900 us.
type Steps = Vec<(Input, Output)>;

fn judge(steps: &[(Input, Output)]) -> bool {
    let operation = |(at, (input, output)): (u64, &(Input, Output))| {
        Operation::at("k", at * 1000, at * 1000 + 900, input.clone(), output.clone())
    };
    linearizable(&(0..).zip(steps).map(operation).collect::<Vec<_>>())
}

fn linearizable(history: &[Operation]) -> bool {
    !check(history, Limits { clock_slack_us: 500, steps_max: 10_000 }).is_violation()
}

fn set(value: &str) -> (Input, Output) {
    (Set { value: value.into(), ttl: Never }, Stored)
}

fn hit(value: &str) -> (Input, Output) {
    (Get, Output::Value { value: value.into(), cas: None })
}

fn gets(value: &str, token: u64) -> (Input, Output) {
    (Gets, Output::Value { value: value.into(), cas: Some(token) })
}

fn cas(value: &str, token: u64, output: Output) -> (Input, Output) {
    (Cas { value: value.into(), ttl: Never, token }, output)
}

fn text(make: fn(String) -> Input, value: &str, output: Output) -> (Input, Output) {
    (make(value.into()), output)
}

fn append(value: &str, output: Output) -> (Input, Output) {
    text(|value| Append { value }, value, output)
}

fn prepend(value: &str, output: Output) -> (Input, Output) {
    text(|value| Prepend { value }, value, output)
}

fn add(value: &str, output: Output) -> (Input, Output) {
    text(|value| Add { value, ttl: Never }, value, output)
}

fn replace(value: &str, output: Output) -> (Input, Output) {
    text(|value| Replace { value, ttl: Never }, value, output)
}

fn incr(by: u64, output: Output) -> (Input, Output) {
    (Incr { by }, output)
}

fn decr(by: u64, output: Output) -> (Input, Output) {
    (Decr { by }, output)
}

fn assert_all(cases: Vec<(&str, bool, Steps)>) {
    for (name, want, steps) in cases {
        assert_eq!(judge(&steps), want, "case: {name}");
    }
}

#[test]
fn values_and_conditions() {
    let cut = (Delete, Deleted);
    let nothing = (Get, Miss);
    assert_all(vec![
        ("miss at first", true, vec![nothing.clone()]),
        ("hit at first", false, vec![hit("a")]),
        ("set, get", true, vec![set("a"), hit("a"), set("b"), hit("b")]),
        ("stale", false, vec![set("a"), set("b"), hit("a")]),
        ("add", true, vec![add("a", Stored), add("b", NotStored), hit("a")]),
        ("add over", false, vec![set("a"), add("b", Stored)]),
        ("add refused", false, vec![add("b", NotStored)]),
        ("replace", true, vec![replace("a", NotStored), set("a"), replace("b", Stored), hit("b")]),
        ("replace nothing", false, vec![replace("a", Stored)]),
        ("append", true, vec![append("x", NotStored), set("a"), append("b", Stored), hit("ab")]),
        ("prepend", true, vec![prepend("x", NotStored), set("a"), prepend("b", Stored), hit("ba")]),
        ("append twice", false, vec![set("a"), append("b", Stored), hit("abb")]),
        ("append to nothing", false, vec![append("b", Stored)]),
        ("delete", true, vec![(Delete, NotFound), set("a"), cut.clone(), nothing.clone()]),
        ("deleted nothing", false, vec![cut.clone()]),
        ("deleted returns", false, vec![set("a"), cut.clone(), hit("a")]),
        ("not found", false, vec![set("a"), (Delete, NotFound)]),
        ("reply of another", false, vec![(Set { value: "a".into(), ttl: Never }, Deleted)]),
    ]);
}

#[test]
fn tokens() {
    let touched = (Touch { ttl: Never }, Touched);
    let mut gat_same = vec![set("a"), gets("a", 5), touched.clone()];
    gat_same.push((Gat { ttl: Never }, Output::Value { value: "a".into(), cas: Some(5) }));
    assert_all(vec![
        ("taken", true, vec![set("a"), gets("a", 5), cas("b", 5, Stored), hit("b")]),
        ("refused", true, vec![set("a"), gets("a", 5), cas("b", 4, Exists), hit("a")]),
        ("nothing there", true, vec![cas("b", 5, NotFound)]),
        ("something there", false, vec![set("a"), cas("b", 5, NotFound)]),
        ("wrongly refused", false, vec![set("a"), gets("a", 5), cas("b", 5, Exists)]),
        ("wrongly taken", false, vec![set("a"), gets("a", 5), cas("b", 4, Stored)]),
        ("old", true, vec![set("a"), gets("a", 5), set("b"), cas("c", 5, Exists)]),
        ("old taken", false, vec![set("a"), gets("a", 5), set("b"), cas("c", 5, Stored)]),
        ("old shown", false, vec![set("a"), gets("a", 5), set("b"), gets("b", 5)]),
        ("spent", false, vec![set("a"), gets("a", 5), cas("b", 5, Stored), cas("c", 5, Stored)]),
        ("spent shown", false, vec![set("a"), cas("b", 5, Stored), gets("b", 5)]),
        ("guessed", true, vec![set("a"), cas("b", 5, Stored), gets("b", 6)]),
        ("two of one", false, vec![set("a"), gets("a", 5), gets("a", 6)]),
        ("new after append", true, vec![set("a"), gets("a", 5), append("", Stored), gets("a", 6)]),
        ("old after append", false, vec![set("a"), gets("a", 5), append("", Stored), gets("a", 5)]),
        ("kept by touch", true, gat_same),
        ("not new by touch", false, vec![set("a"), gets("a", 5), touched, gets("a", 6)]),
        (
            "after delete",
            false,
            vec![set("a"), gets("a", 5), (Delete, Deleted), set("a"), gets("a", 5)],
        ),
    ]);
}

#[test]
fn counting() {
    let max = u64::MAX.to_string();
    assert_all(vec![
        ("incr", true, vec![set("9"), incr(1, Number(10)), hit("10")]),
        ("incr twice", false, vec![set("9"), incr(1, Number(10)), hit("11")]),
        ("nothing", true, vec![incr(1, NotFound), decr(1, NotFound)]),
        ("something", false, vec![set("9"), incr(1, NotFound)]),
        ("no number", true, vec![set("a"), incr(1, NotANumber), hit("a")]),
        ("a number", false, vec![set("9"), incr(1, NotANumber)]),
        ("wraps", true, vec![set(&max), incr(2, Number(1)), hit("1                   ")]),
        ("floor", true, vec![set("5"), decr(6, Number(0)), hit("0")]),
        ("no wrap", false, vec![set("5"), decr(6, Number(u64::MAX))]),
        ("padded", true, vec![set("100"), decr(1, Number(99)), hit("99 ")]),
        ("not padded", false, vec![set("100"), decr(1, Number(99)), hit("99")]),
        (
            "padded stays",
            true,
            vec![set("100"), decr(1, Number(99)), incr(0, Number(99)), hit("99 ")],
        ),
        (
            "behind the pad",
            true,
            vec![
                set("10"),
                decr(1, Number(9)),
                append("1", Stored),
                hit("9 1"),
                incr(1, Number(10)),
                hit("10 "),
            ],
        ),
        ("leading zeros", true, vec![set("007"), incr(1, Number(8)), hit("8  ")]),
    ]);
}

/// A set from 0 to 100 us with a slack of 500 us.
#[test]
fn expiry() {
    let stored = |ttl| Operation::at("k", 0, 100, Set { value: "a".into(), ttl }, Stored);
    let get = |at: u64, there| {
        let output = if there { hit("a").1 } else { Miss };
        Operation::at("k", at, at + 50, Get, output)
    };
    let at = |at: u64, input, output| Operation::at("k", at, at + 50, input, output);
    let touch = |time, ttl| at(time, Touch { ttl }, Touched);
    let gat = |time, ttl| at(time, Gat { ttl }, hit("a").1);
    let ten = Millis(10);
    let cases = vec![
        ("there before", true, vec![stored(ten), get(9000, true)]),
        ("there till 10600", true, vec![stored(ten), get(10_599, true)]),
        ("there at 10600", false, vec![stored(ten), get(10_600, true)]),
        ("gone from 9500", true, vec![stored(ten), get(9450, false)]),
        ("gone before", false, vec![stored(ten), get(9449, false)]),
        ("comes back", false, vec![stored(ten), get(9800, false), get(9900, true)]),
        ("never", false, vec![stored(Never), get(1 << 40, false)]),
        ("past", true, vec![stored(Past), get(200, false)]),
        ("past and there", false, vec![stored(Past), get(200, true)]),
        ("touched", true, vec![stored(ten), touch(5000, ten), get(14_000, true)]),
        ("touched, gone", false, vec![stored(ten), touch(5000, ten), get(11_000, false)]),
        ("touched too late", false, vec![stored(ten), touch(10_600, ten)]),
        ("gat", true, vec![stored(ten), gat(5000, Never), get(99_000, true)]),
        ("gat past", true, vec![stored(Never), gat(5000, Past), get(6000, false)]),
        (
            "append keeps",
            false,
            vec![stored(ten), at(9000, Append { value: String::new() }, Stored), get(12_000, true)],
        ),
        (
            "set anew",
            true,
            vec![
                stored(ten),
                at(5000, Set { value: "a".into(), ttl: Never }, Stored),
                get(12_000, true),
            ],
        ),
    ];
    for (name, want, history) in cases {
        assert_eq!(linearizable(&history), want, "case: {name}");
    }
}

#[test]
fn unknown_outcomes() {
    let unknown = |input| (input, Unknown);
    let value = || "b".to_owned();
    let set_b = unknown(Set { value: value(), ttl: Never });
    let cases = vec![
        ("applied", true, vec![set_b.clone(), hit("b")]),
        ("not applied", true, vec![set_b.clone(), (Get, Miss)]),
        ("applied late", true, vec![set_b.clone(), (Get, Miss), set("a"), hit("a"), hit("b")]),
        ("applied before its call", false, vec![hit("b"), set_b.clone()]),
        ("applied twice", false, vec![set_b, hit("b"), set("a"), hit("a"), hit("b")]),
        ("incr once", true, vec![set("1"), unknown(Incr { by: 1 }), hit("2"), hit("2")]),
        ("incr twice", false, vec![set("1"), unknown(Incr { by: 1 }), hit("2"), hit("3")]),
        (
            "cas without the token",
            false,
            vec![
                set("a"),
                gets("a", 5),
                set("c"),
                unknown(Cas { value: value(), ttl: Never, token: 5 }),
                hit("b"),
            ],
        ),
        ("add over", false, vec![set("a"), unknown(Add { value: value(), ttl: Never }), hit("b")]),
        (
            "expires any time",
            true,
            vec![
                unknown(Set { value: value(), ttl: Millis(2) }),
                (Get, Miss),
                (Get, Miss),
                (Get, Miss),
                hit("b"),
                (Get, Miss),
            ],
        ),
        ("read of unknown outcome", true, vec![unknown(Get), unknown(Gets)]),
    ];
    assert_all(cases);
}

#[test]
fn overlapping_operations_take_any_order() {
    let at = |call, ret, step: (Input, Output)| Operation::at("k", call, ret, step.0, step.1);
    let writes = [at(0, 10, set("a")), at(5, 20, set("b"))];
    for (name, want, reads) in [
        ("a last", true, vec![at(30, 31, hit("a")), at(32, 33, hit("a"))]),
        ("b last", true, vec![at(30, 31, hit("b"))]),
        ("both last", false, vec![at(30, 31, hit("a")), at(32, 33, hit("b"))]),
        ("between", true, vec![at(6, 7, hit("b")), at(30, 31, hit("a"))]),
        ("closed intervals", true, vec![at(20, 21, hit("a")), at(30, 31, hit("b"))]),
        ("after both", false, vec![at(21, 22, hit("a")), at(30, 31, hit("b"))]),
    ] {
        let history: Vec<_> = writes.iter().cloned().chain(reads).collect();
        assert_eq!(linearizable(&history), want, "case: {name}");
    }
}

#[test]
fn final_values_must_follow() {
    let history = [
        Operation::at("k", 0, 10, Set { value: "a".into(), ttl: Never }, Stored),
        Operation::at("j", 0, 10, Set { value: "b".into(), ttl: Millis(1) }, Stored),
    ];
    let values = |k: Option<&str>, j: Option<&str>| {
        [("k", k), ("j", j)].map(|(key, value)| (key.to_owned(), value.map(str::to_owned))).into()
    };
    let limits = Limits { clock_slack_us: 500, ..Limits::default() };
    for (k, j, want) in [
        (Some("a"), None, true),
        (Some("a"), Some("b"), false),
        (None, None, false),
        (Some("b"), None, false),
    ] {
        let verdict = survived(&history, &values(k, j), 5000, limits);
        assert_eq!(verdict.is_linearizable(), want, "{k:?} {j:?}: {verdict}");
    }
    assert_eq!(final_reads(&values(None, None), 5000).len(), 2);
}
