//! What a right store gives is linearizable, and what no store could give is a violation.

use oracle::testing::{Bug, Episode, Shape, generate, plant};
use oracle::{Input, Limits, Operation, Output, Ttl, Verdict, check};

/// Method: histories of a right store of every kind of shape, from seeds.
///
/// `SEED=<n>` checks one.
#[test]
fn right_stores_are_linearizable() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..150,
    };
    for seed in seeds {
        for shape in shapes() {
            let verdict = check(&generate(seed, &shape), limits(&shape));
            assert!(verdict.is_linearizable(), "SEED={seed} {shape:?}: {verdict}");
        }
    }
}

/// Method: each bug in a store, over many seeds. A bug may leave no trace in one history, and most
/// leave one in most.
#[test]
fn wrong_stores_are_found() {
    let shape = Shape { operations: 400, keys: 4, unknown_per_mille: 5, ..Shape::default() };
    for bug in Bug::ALL {
        let found = (0..30)
            .filter(|seed| {
                let history = generate(*seed, &Shape { bug: Some(bug), ..shape });
                check(&history, limits(&shape)).is_violation()
            })
            .count();
        println!("{bug:?}: {found} of 30");
        assert!(15 <= found, "{bug:?} is found in {found} histories of 30");
    }
}

/// Method: each episode behind valid histories, wrong and as a right store would answer. The key
/// has no unknown operation that could explain it.
#[test]
fn planted_episodes_are_violations() {
    let shape = Shape { operations: 300, ..Shape::default() };
    for seed in 0..20 {
        let mut history = generate(seed, &shape);
        history.retain(|operation| operation.key != "key-0" || !operation.is_unknown());
        history = valid(history, &shape);
        for episode in Episode::ALL {
            let name = episode.name;
            let wrong = check(&plant(&history, "key-0", &episode, "e", true), limits(&shape));
            let Verdict::Violation(violation) = wrong else {
                panic!("{name} behind seed {seed}: {wrong}");
            };
            assert_eq!(violation.key, "key-0", "{name}");
            let right = check(&plant(&history, "key-0", &episode, "e", false), limits(&shape));
            assert!(right.is_linearizable(), "{name}, right, behind seed {seed}: {right}");
        }
    }
}

/// Method: an unknown set, delete, touch or incr is put where it explains an episode, and must.
#[test]
fn unknown_operations_explain() {
    let shape = Shape { operations: 0, ..Shape::default() };
    let set = |value: &str| Input::Set { value: value.into(), ttl: Ttl::Never };
    let cases = [
        ("lost write", set("ea")),
        ("stale read", set("ea")),
        ("doubled incr", Input::Incr { by: 2 }),
        ("doubled append", Input::Append { value: "eb".into() }),
        ("expired returns", set("e")),
        ("deleted returns", set("e")),
        ("add over item", Input::Delete),
        ("lives too long", Input::Touch { ttl: Ttl::Never }),
        ("dies too early", Input::Delete),
    ];
    for (name, input) in cases {
        let episode = Episode::ALL.into_iter().find(|episode| episode.name == name);
        let mut history = plant(&[], "k", &episode.expect(name), "e", true);
        assert!(check(&history, limits(&shape)).is_violation(), "{name}");
        history.push(Operation::at("k", 5, 5, input.clone(), Output::Unknown));
        let verdict = check(&history, limits(&shape));
        assert!(verdict.is_linearizable(), "{name} with {input:?}: {verdict}");
    }
}

/// A violation is an excerpt that a person can read.
#[test]
fn violations_are_shown() {
    let shape = Shape::default();
    let episode = Episode::ALL.into_iter().find(|episode| episode.name == "stale read");
    let mut history = plant(&[], "k", &episode.expect("it is there"), "e", true);
    history.push(Operation::at("k", 7, 7, Input::Incr { by: 1 }, Output::Unknown));
    let want = r#"not linearizable: key "k"
explained: 4 of 6 operations; the last 4:
    [   60000.000,    60000.100] client 0   Set { value: "ea", ttl: Never } -> Stored
    [   60000.200,    60000.300] client 0   Get -> Value { value: "ea", cas: None }
    [   60000.400,    60000.500] client 0   Set { value: "eb", ttl: Never } -> Stored
    [   60000.600,    60000.700] client 0   Set { value: "ec", ttl: Never } -> Stored
then the key holds a value that is never read with a token not seen yet, for ever
no place for the one marked, whatever else took effect:
    [       0.007,      unknown] client 0   Incr { by: 1 } -> ?
  > [   60000.800,    60000.900] client 0   Get -> Value { value: "ea", cas: None }"#;
    assert_eq!(check(&history, limits(&shape)).to_string(), want);
}

/// Steps that run out are never taken for an answer.
#[test]
fn no_steps_no_verdict() {
    let shape = Shape { operations: 300, ..Shape::default() };
    let limits = Limits { steps_max: 3, ..limits(&shape) };
    assert!(matches!(check(&generate(1, &shape), limits), Verdict::Undecided(_)));
}

fn shapes() -> [Shape; 4] {
    let usual = Shape { operations: 600, keys: 8, ..Shape::default() };
    [
        usual,
        Shape { unknown_per_mille: 40, keys: 12, ..usual },
        Shape { clients: 3, keys: 2, unknown_per_mille: 4, operations: 300, ..usual },
        Shape { count_per_mille: 700, unknown_per_mille: 15, ttl_ms_max: 5, ..usual },
    ]
}

fn limits(shape: &Shape) -> Limits {
    Limits { clock_slack_us: shape.clock_slack_us, ..Limits::default() }
}

/// The history without the keys that taking operations out has made wrong.
fn valid(history: Vec<Operation>, shape: &Shape) -> Vec<Operation> {
    let mut history = history;
    while let Verdict::Violation(violation) = check(&history, limits(shape)) {
        history.retain(|operation| operation.key != violation.key);
    }
    history
}
