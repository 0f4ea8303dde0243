//! From rounds to one line of the table: medians and ratios.

use std::time::Duration;

use serde::Serialize;

use crate::load::Phase;
use crate::workload::{Case, Target};

/// One case on one target, in all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was asked.
    pub(crate) case: Case,
    /// Who was asked.
    pub(crate) target: Target,
    /// One per round, in the order of the rounds.
    pub(crate) samples: Vec<Sample>,
}

/// One case on one target, in one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sample {
    /// Right replies per second.
    pub(crate) operations_per_s: f64,
    /// CPU time of all processes of the target per reply.
    pub(crate) cpu_us: f64,
    /// Half of the replies took no longer.
    pub(crate) latency_us_p50: f64,
    /// 99 of 100 replies took no longer.
    pub(crate) latency_us_p99: f64,
    /// The load generator's share of one CPU; near 1, it and not the target is the limit.
    pub(crate) generator_cpus: f64,
    /// Replies in this sample.
    pub(crate) operation_count: u64,
}

/// A quotient of two targets, round by round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// The middle one.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Sample {
    /// Divides a phase, and the CPU times read around it, by its replies.
    pub(crate) fn new(phase: &Phase, cpu: Duration, generator_cpu: Duration) -> Self {
        let elapsed_s = phase.elapsed.as_secs_f64();
        let operations = phase.reply_count as f64;
        let latency_us = |quantile| phase.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            operations_per_s: operations / elapsed_s,
            cpu_us: cpu.as_secs_f64() * 1e6 / operations,
            latency_us_p50: latency_us(0.5),
            latency_us_p99: latency_us(0.99),
            generator_cpus: generator_cpu.as_secs_f64() / elapsed_s,
            operation_count: phase.reply_count,
        }
    }
}

impl Row {
    /// Makes a row without rounds.
    pub(crate) fn new(case: Case, target: Target) -> Self {
        Self { case, target, samples: Vec::new() }
    }

    /// Returns the median over the rounds of what `figure` picks.
    pub(crate) fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(figure).collect())
    }

    /// Divides what `figure` picks by the same of `base`, round by round.
    ///
    /// The rounds of a pair are seconds apart, so what slows the machine for longer cancels out.
    pub(crate) fn ratio(&self, base: &Self, figure: impl Fn(&Sample) -> f64) -> Ratio {
        let pairs = self.samples.iter().zip(&base.samples);
        let ratios: Vec<f64> = pairs.map(|(own, base)| figure(own) / figure(base)).collect();
        Ratio {
            min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            max: ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            median: median(ratios),
        }
    }
}

/// Of an even number, the mean of the two in the middle; of none, not a number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied();
    let lower = values.get(values.len().saturating_sub(1) / 2).copied();
    match (lower, upper) {
        (Some(lower), Some(upper)) => f64::midpoint(lower, upper),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;
    use crate::workload::Operation;

    #[test]
    fn medians() {
        let cases: &[(&[f64], f64)] =
            &[(&[3.0], 3.0), (&[9.0, 1.0, 2.0], 2.0), (&[4.0, 1.0, 9.0, 2.0], 3.0)];
        for (values, want) in cases {
            assert_eq!(median(values.to_vec()), *want, "{values:?}");
        }
        assert!(median(Vec::new()).is_nan());
    }

    fn row(target: Target, cpu_us: &[f64]) -> Row {
        let case = Case { operation: Operation::Get, connection_count: 1, depth: 1 };
        let mut row = Row::new(case, target);
        for cpu_us in cpu_us {
            row.samples.push(Sample {
                operations_per_s: 1.0,
                cpu_us: *cpu_us,
                latency_us_p50: 1.0,
                latency_us_p99: 1.0,
                generator_cpus: 1.0,
                operation_count: 1,
            });
        }
        row
    }

    /// A machine that is three times slower for one whole round changes no ratio.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let base = row(Target::Memcached, &[10.0, 30.0, 20.0]);
        let slow = row(Target::Leader, &[12.0, 36.0, 26.0]);
        let ratio = slow.ratio(&base, |sample| sample.cpu_us);
        assert_eq!(ratio, Ratio { median: 1.2, min: 1.2, max: 1.3 });
    }

    #[test]
    fn a_sample_is_per_operation() {
        let mut latency_ns = Histogram::new(3).unwrap();
        latency_ns.record_n(1_000, 99).unwrap();
        latency_ns.record(9_000).unwrap();
        let phase = Phase { reply_count: 100, elapsed: Duration::from_millis(10), latency_ns };
        let sample = Sample::new(&phase, Duration::from_millis(2), Duration::from_millis(5));
        assert_eq!(sample.operations_per_s, 10_000.0);
        assert_eq!(sample.cpu_us, 20.0);
        assert_eq!(sample.generator_cpus, 0.5);
        assert_eq!((sample.latency_us_p50, sample.latency_us_p99), (1.0, 1.0));
    }
}
