//! Whether a history can be explained: the quick judge, and then the judge of record.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cluster_tests::Fleet;
use oracle::porcupine::{Judgement, Porcupine, PorcupineError};
use oracle::{Limits, Operation, Verdict, write_jsonl};
use tempfile::TempDir;

/// Both judges.
#[derive(Debug)]
pub(crate) struct Judge {
    /// None without Go.
    porcupine: Option<Porcupine>,
    dir: TempDir,
    clock_slack_us: u64,
}

/// What they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    Linearizable,
    /// One of them gave up, and the other found nothing.
    Undecided(String),
    Violation(String),
}

impl Judge {
    /// Builds porcupine where there is Go.
    pub(crate) fn build() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let porcupine = match Porcupine::build(dir.path()) {
            Ok(porcupine) => Some(porcupine),
            Err(error @ PorcupineError::GoMissing) => {
                println!("judged by the quick judge alone: {error}");
                None
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { porcupine, dir, clock_slack_us: CLOCK_SLACK_US })
    }

    /// With another idea of how far an expiry may be from what was asked for.
    pub(crate) fn with_slack(self, clock_slack_us: u64) -> Self {
        Self { clock_slack_us, ..self }
    }

    /// Judges one history.
    pub(crate) fn judge(&self, history: &[Operation]) -> Result<Finding> {
        let limits = Limits { clock_slack_us: self.clock_slack_us, ..Limits::default() };
        let undecided = match oracle::check(history, limits) {
            Verdict::Linearizable => None,
            Verdict::Violation(violation) => {
                return Ok(Finding::Violation(violation.to_string()));
            }
            Verdict::Undecided(why) => Some(why),
        };
        let Some(porcupine) = &self.porcupine else {
            return Ok(undecided.map_or(Finding::Linearizable, Finding::Undecided));
        };
        let file = self.dir.path().join("history.jsonl");
        write(&file, history)?;
        let judgements = porcupine.judge_files(&[file], self.clock_slack_us, PORCUPINE_MS)?;
        Ok(match judgements.first() {
            Some(Judgement::Ok) => Finding::Linearizable,
            Some(Judgement::Violation) => Finding::Violation(format!(
                "not linearizable, says porcupine; the quick judge: {undecided:?}"
            )),
            Some(Judgement::Undecided) | None => {
                Finding::Undecided(undecided.unwrap_or_else(|| "porcupine ran out of time".into()))
            }
        })
    }
}

/// Keeps a history, and what the nodes said, for people, in the target directory; says where.
pub(crate) fn keep(
    name: &str,
    history: &[Operation],
    fleet: &Fleet,
    nodes: usize,
) -> Result<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{name}"));
    fs::create_dir_all(&dir)?;
    write(&dir.join("history.jsonl"), history)?;
    for node in 0..nodes {
        fs::write(dir.join(fleet.name(node)).with_extension("log"), fleet.log(node))?;
    }
    Ok(dir)
}

fn write(file: &Path, history: &[Operation]) -> Result<()> {
    let to = File::create(file).with_context(|| file.display().to_string())?;
    Ok(write_jsonl(BufWriter::new(to), history)?)
}

/// A deadline is exact to the millisecond, in cluster time. That goes with the leader's monotonic
/// clock, and may fall behind by what a message needs that sets the clock of a node that started.
const CLOCK_SLACK_US: u64 = 1_000_000;
const PORCUPINE_MS: u64 = 60_000;
