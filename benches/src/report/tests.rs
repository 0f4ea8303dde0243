use super::*;

/// A report in which every figure of a row is `cpu_us(row.case, row.target)`.
fn report(cpu_us: impl Fn(Case, Target) -> f64) -> Report {
    let mut rows = Vec::new();
    for case in crate::workload::cases() {
        for target in Target::ALL {
            let mut row = Row::new(case, target);
            let cpu_us = cpu_us(case, target);
            row.samples.push(Sample {
                operations_per_s: cpu_us,
                cpu_us,
                latency_us_p50: cpu_us,
                latency_us_p99: cpu_us,
                generator_cpus: 0.5,
                operation_count: 1,
            });
            rows.push(row);
        }
    }
    let machine = Machine {
        cpu_model: "Test CPU".to_owned(),
        cpu_count: 2,
        kernel: "6.0".to_owned(),
        rounds: 1,
        seconds_per_round: 1.0,
        is_pinned: false,
        is_control: false,
    };
    let idle = Idle { before: 0.01, after: 0.02 };
    Report { machine, rows, idle, foreign_cpus: 0.0, leader_moves: 0 }
}

#[test]
fn verdicts() {
    let ratios: &[(&str, f64, f64, bool)] = &[
        ("at the bars", 1.3, 4.0, true),
        ("get too dear", 1.31, 1.0, false),
        ("set too dear", 1.0, 4.01, false),
        ("no figure", f64::NAN, 1.0, false),
    ];
    for (name, get, set, want) in ratios {
        let report = report(|case, target| match (target, case.operation) {
            (Target::Memcached, _) => 1.0,
            // Followers are printed and not judged.
            (Target::Follower | Target::Etcd, _) => 100.0,
            (Target::Leader, Operation::Get) if case.connection_count == 50 && case.depth == 1 => {
                *get
            }
            (Target::Leader, Operation::Set) if case.connection_count == 50 => *set,
            (Target::Leader, _) => 100.0,
        });
        assert_eq!(report.verdict().met(), *want, "case: {name}");
        assert_eq!(report.verdict().to_string().contains("MISSED"), !want, "case: {name}");
    }
}

/// Nothing is left out because it looks bad: every ratio is in the table.
#[test]
fn the_table_has_every_row() {
    let table = report(|_, target| if target == Target::Memcached { 2.0 } else { 25.0 });
    let table = table.to_string();
    for target in Target::ALL {
        let cell = format!("  {:<9} ", target.name());
        let rows = table.lines().skip(4).filter(|line| line.contains(&cell)).count();
        assert_eq!(rows, crate::workload::cases().len(), "{table}");
    }
    assert_eq!(table.matches("12.50 (12.50-12.50)").count(), 16, "{table}");
    assert!(table.contains("idle cluster: 1.00 % of one CPU before the load, 2.00 % after"));
    assert!(table.lines().all(|line| line.len() <= 100), "{table}");
}
