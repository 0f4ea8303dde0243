//! CPU time and CPU sets.

use std::time::Duration;

use anyhow::Context;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// Returns the CPU time, user and system, of all threads that `pids` have or had.
///
/// The clock is the scheduler's own, in nanoseconds: `/proc/PID/stat` counts in steps of 10 ms,
/// and a sum over `/proc/PID/task` forgets threads that have ended.
///
/// # Errors
///
/// If one of the processes has gone.
pub(crate) fn cpu_time(pids: &[Pid]) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for pid in pids {
        let clock = clock_getcpuclockid(*pid).with_context(|| format!("process {pid} has gone"))?;
        sum += clock_time(clock)?;
    }
    Ok(sum)
}

/// Returns the CPU time of this program.
///
/// # Errors
///
/// If the operating system has no such clock.
pub(crate) fn own_cpu_time() -> anyhow::Result<Duration> {
    clock_time(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_time(clock: ClockId) -> anyhow::Result<Duration> {
    Ok(clock.now().context("reading a CPU clock")?.into())
}

/// Returns the time that all CPUs of the machine together were busy since it started.
///
/// # Errors
///
/// If `/proc/stat` is not what proc(5) says.
pub(crate) fn machine_busy_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    busy_time(&stat).context("no CPU times in /proc/stat")
}

/// Sums user, nice, system, irq, softirq and steal of the first line; guest time is in user time.
fn busy_time(stat: &str) -> Option<Duration> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let mut ticks = Vec::new();
    for field in fields.split_ascii_whitespace() {
        ticks.push(field.parse::<u64>().ok()?);
    }
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = *ticks.as_slice() else {
        return None;
    };
    let busy = user + nice + system + irq + softirq + steal;
    Some(Duration::from_millis(busy * TICK_MS))
}

/// Returns the time that the machine's host gave the CPUs to others, since it started.
///
/// # Errors
///
/// If `/proc/stat` is not what proc(5) says.
pub(crate) fn stolen_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let field = stat.lines().next().and_then(|line| line.split_ascii_whitespace().nth(8));
    let ticks = field.and_then(|ticks| ticks.parse::<u64>().ok());
    Ok(Duration::from_millis(ticks.context("no stolen time in /proc/stat")? * TICK_MS))
}

/// Who may run where. A child inherits the CPUs of the thread that started it.
#[derive(Debug, Clone)]
pub(crate) struct Pinning {
    generator: CpuSet,
    measured: CpuSet,
}

impl Pinning {
    /// Gives the last CPU this program may use to the load, and the others to the measured
    /// processes.
    ///
    /// # Errors
    ///
    /// If there are fewer than two CPUs.
    pub(crate) fn split() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(this_thread()).context("reading the allowed CPUs")?;
        let (mut generator, mut measured) = (CpuSet::new(), CpuSet::new());
        let mut cpus = Vec::new();
        for cpu in 0..CpuSet::count() {
            if allowed.is_set(cpu)? {
                cpus.push(cpu);
            }
        }
        let (last, others) = cpus.split_last().context("no CPU allowed")?;
        anyhow::ensure!(!others.is_empty(), "--pin needs two CPUs, this program has one");
        generator.set(*last)?;
        for cpu in others {
            measured.set(*cpu)?;
        }
        Ok(Self { generator, measured })
    }

    /// Moves the calling thread, and what it starts, to the measured processes' CPUs.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub(crate) fn enter_measured(&self) -> anyhow::Result<()> {
        sched_setaffinity(this_thread(), &self.measured).context("pinning the processes")
    }

    /// Moves the calling thread to the load generator's CPU.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub(crate) fn enter_generator(&self) -> anyhow::Result<()> {
        sched_setaffinity(this_thread(), &self.generator).context("pinning the load generator")
    }
}

/// Process id 0 stands for the calling thread.
fn this_thread() -> Pid {
    Pid::from_raw(0)
}

/// `/proc/stat` counts in `USER_HZ`, which is 100 on every architecture that we build for.
const TICK_MS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_leaves_idle_and_guest_out() {
        let stat = "cpu  1 2 4 1000 1000 8 16 32 1000 1000\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_time(stat), Some(Duration::from_millis(630)));
        assert_eq!(busy_time("cpu  1 2 3\n"), None);
        assert_eq!(busy_time("intr 1 2 3\n"), None);
    }

    /// The clock must run with the work of a process.
    #[test]
    fn cpu_time_grows_with_work() {
        let own = [Pid::this()];
        let before = cpu_time(&own).unwrap();
        let mut random = crate::store::Random(1);
        while cpu_time(&own).unwrap() < before + Duration::from_millis(5) {
            std::hint::black_box(random.below(10));
        }
        assert!(own_cpu_time().unwrap() >= before + Duration::from_millis(5));
    }
}
